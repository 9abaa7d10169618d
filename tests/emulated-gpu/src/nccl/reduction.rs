//! How the parts of ranks become one: element by element, in the order of ranks, rounded after each step as NCCL's rings
//! do it. Averages of floats are sums of what was multiplied by 1 / ranks, those of integers are divided at the end, as
//! in NCCL. A real ring begins with another rank in each chunk: sums of three and more ranks may differ there in their
//! last bits, though not from run to run.

use half::{bf16, f16};

use crate::driver::error::{Failure, Result};

/// Declares an enumeration of NCCL's by name and number.
macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident: $what:literal; $($variant:ident = $number:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names are NCCL's")]
        pub enum $name { $($variant = $number,)* }

        impl $name {
            /// From NCCL's number.
            pub fn new(number: u32) -> Result<Self> {
                match number {
                    $($number => Ok(Self::$variant),)*
                    other => Err(Failure::invalid(format!("{} {other}", $what))),
                }
            }
        }
    };
}

numbered! {
    /// The format of a buffer's elements.
    Element: "ncclDataType";
    Int8 = 0, Uint8 = 1, Int32 = 2, Uint32 = 3, Int64 = 4, Uint64 = 5,
    Float16 = 6, Float32 = 7, Float64 = 8, Bfloat16 = 9,
}

numbered! {
    /// What is done with the elements of all ranks.
    Reduction: "ncclRedOp";
    Sum = 0, Prod = 1, Max = 2, Min = 3, Avg = 4,
}

impl Element {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::Int8 | Self::Uint8 => 1,
            Self::Float16 | Self::Bfloat16 => 2,
            Self::Int32 | Self::Uint32 | Self::Float32 => 4,
            Self::Int64 | Self::Uint64 | Self::Float64 => 8,
        }
    }
}

/// All parts as one; they are of equal lengths, one for each rank.
pub fn reduce(parts: &[&[u8]], element: Element, reduction: Reduction) -> Vec<u8> {
    match element {
        Element::Int8 => reduce_as::<i8, 1>(parts, reduction),
        Element::Uint8 => reduce_as::<u8, 1>(parts, reduction),
        Element::Int32 => reduce_as::<i32, 4>(parts, reduction),
        Element::Uint32 => reduce_as::<u32, 4>(parts, reduction),
        Element::Int64 => reduce_as::<i64, 8>(parts, reduction),
        Element::Uint64 => reduce_as::<u64, 8>(parts, reduction),
        Element::Float16 => reduce_as::<f16, 2>(parts, reduction),
        Element::Float32 => reduce_as::<f32, 4>(parts, reduction),
        Element::Float64 => reduce_as::<f64, 8>(parts, reduction),
        Element::Bfloat16 => reduce_as::<bf16, 2>(parts, reduction),
    }
}

fn reduce_as<T: Number<BYTES>, const BYTES: usize>(parts: &[&[u8]], reduction: Reduction) -> Vec<u8> {
    let ranks = parts.len();
    let columns: Vec<&[[u8; BYTES]]> = parts.iter().map(|part| part.as_chunks().0).collect();
    let average = reduction == Reduction::Avg;
    let value = |rank: usize, index: usize| {
        let value = T::from_bytes(columns[rank][index]);
        if average { value.before_average(ranks) } else { value }
    };
    let of_all = |index: usize| {
        let all = (1..ranks).fold(value(0, index), |sum, rank| {
            let next = value(rank, index);
            match reduction {
                Reduction::Sum | Reduction::Avg => sum.plus(next),
                Reduction::Prod => sum.times(next),
                Reduction::Max => sum.larger(next),
                Reduction::Min => sum.smaller(next),
            }
        });
        if average { all.after_average(ranks) } else { all }.to_bytes()
    };
    (0..columns[0].len()).flat_map(of_all).collect()
}

/// A number of `BYTES` bytes.
trait Number<const BYTES: usize>: Copy {
    fn from_bytes(bytes: [u8; BYTES]) -> Self;
    fn to_bytes(self) -> [u8; BYTES];
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    fn larger(self, other: Self) -> Self;
    fn smaller(self, other: Self) -> Self;
    fn before_average(self, ranks: usize) -> Self;
    fn after_average(self, ranks: usize) -> Self;
}

macro_rules! integers {
    ($($type:ty: $bytes:literal),*) => {$(
        impl Number<$bytes> for $type {
            fn from_bytes(bytes: [u8; $bytes]) -> Self { Self::from_le_bytes(bytes) }
            fn to_bytes(self) -> [u8; $bytes] { self.to_le_bytes() }
            fn plus(self, other: Self) -> Self { self.wrapping_add(other) }
            fn times(self, other: Self) -> Self { self.wrapping_mul(other) }
            fn larger(self, other: Self) -> Self { self.max(other) }
            fn smaller(self, other: Self) -> Self { self.min(other) }
            fn before_average(self, _ranks: usize) -> Self { self }
            fn after_average(self, ranks: usize) -> Self { self / ranks as $type }
        }
    )*};
}
integers!(i8: 1, u8: 1, i32: 4, u32: 4, i64: 8, u64: 8);

macro_rules! floats {
    ($($type:ty: $bytes:literal),*) => {$(
        impl Number<$bytes> for $type {
            fn from_bytes(bytes: [u8; $bytes]) -> Self { Self::from_le_bytes(bytes) }
            fn to_bytes(self) -> [u8; $bytes] { self.to_le_bytes() }
            fn plus(self, other: Self) -> Self { self + other }
            fn times(self, other: Self) -> Self { self * other }
            fn larger(self, other: Self) -> Self { self.max(other) }
            fn smaller(self, other: Self) -> Self { self.min(other) }
            fn before_average(self, ranks: usize) -> Self { self * (1.0 / ranks as f64) as $type }
            fn after_average(self, _ranks: usize) -> Self { self }
        }
    )*};
}
floats!(f32: 4, f64: 8);

macro_rules! halves {
    ($($type:ty),*) => {$(
        impl Number<2> for $type {
            fn from_bytes(bytes: [u8; 2]) -> Self { Self::from_le_bytes(bytes) }
            fn to_bytes(self) -> [u8; 2] { self.to_le_bytes() }
            fn plus(self, other: Self) -> Self { Self::from_f32(self.to_f32() + other.to_f32()) }
            fn times(self, other: Self) -> Self { Self::from_f32(self.to_f32() * other.to_f32()) }
            fn larger(self, other: Self) -> Self { Self::from_f32(self.to_f32().max(other.to_f32())) }
            fn smaller(self, other: Self) -> Self { Self::from_f32(self.to_f32().min(other.to_f32())) }
            fn before_average(self, ranks: usize) -> Self { self.times(Self::from_f32((1.0 / ranks as f64) as f32)) }
            fn after_average(self, _ranks: usize) -> Self { self }
        }
    )*};
}
halves!(f16, bf16);

#[cfg(test)]
mod tests {
    use super::*;

    fn of<T: Number<BYTES>, const BYTES: usize>(parts: &[&[T]], element: Element, by: Reduction) -> Vec<T> {
        let bytes: Vec<Vec<u8>> =
            parts.iter().map(|part| part.iter().flat_map(|value| value.to_bytes()).collect()).collect();
        let bytes: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        reduce(&bytes, element, by).as_chunks().0.iter().map(|&bytes| T::from_bytes(bytes)).collect()
    }

    #[test]
    fn each_reduction_of_each_kind_of_number() {
        let integers: [&[i32]; 3] = [&[7, i32::MAX, -1], &[-2, 1, -1], &[4, 0, -2]];
        let reduced = |by| of(&integers, Element::Int32, by);
        assert_eq!(reduced(Reduction::Sum), [9, i32::MIN, -4]);
        assert_eq!(reduced(Reduction::Prod), [-56, 0, -2]);
        assert_eq!(reduced(Reduction::Max), [7, i32::MAX, -1]);
        assert_eq!(reduced(Reduction::Min), [-2, 0, -2]);
        assert_eq!(reduced(Reduction::Avg)[0], 3);
        let floats: [&[f64]; 2] = [&[1.5, f64::NAN], &[2.5, 1.0]];
        assert_eq!(of(&floats, Element::Float64, Reduction::Avg)[0], 2.0);
        assert_eq!(of(&floats, Element::Float64, Reduction::Max), [2.5, 1.0]);
    }

    /// 1 + 2⁻⁸ is a tie in bf16: each of two small terms is lost when it is added alone, though not their sum.
    #[test]
    fn sums_are_rounded_after_each_rank_in_their_order() {
        let [one, small] = [1.0, 2f32.powi(-8)].map(bf16::from_f32);
        let sum = |parts: [bf16; 3]| {
            of(&parts.each_ref().map(std::slice::from_ref), Element::Bfloat16, Reduction::Sum)[0]
        };
        assert_eq!(sum([one, small, small]), one);
        assert_eq!(sum([small, small, one]), bf16::from_f32(1.0 + 2f32.powi(-7)));
        let tenth = [0.1f32, 0.2, 0.3];
        let parts = tenth.each_ref().map(std::slice::from_ref);
        assert_eq!(of(&parts, Element::Float32, Reduction::Sum), [0.1 + 0.2 + 0.3]);
        let third = (1.0f64 / 3.0) as f32;
        let average = 0.1 * third + 0.2 * third + 0.3 * third;
        assert_eq!(of(&parts, Element::Float32, Reduction::Avg), [average]);
    }
}
