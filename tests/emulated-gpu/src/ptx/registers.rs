//! The registers of a warp, and the Rust types that instructions read them as.
//!
//! A register holds a value for each of the 32 lanes. There are three files: predicates (a bit per lane), words
//! (everything up to 32 bits) and longs (64 bits). Constants and special registers have slots of their own, filled
//! at launch, so that an operand is always just a slot.

use half::{bf16, f16};

use super::types::Type;

/// Lanes of a warp.
pub const LANES: usize = 32;

/// Index into the register file of the operand's class.
pub type Slot = u32;

/// The register files.
#[derive(Debug, Clone, Default)]
pub struct Registers {
    pub predicates: Vec<u32>,
    pub words: Vec<[u32; LANES]>,
    pub longs: Vec<[u64; LANES]>,
}

/// Which register file holds a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Predicate,
    Word,
    Long,
}

impl Class {
    /// The file for values of a type.
    pub fn of(kind: Type) -> Class {
        match kind.bits() {
            1 => Class::Predicate,
            64 => Class::Long,
            _ => Class::Word,
        }
    }
}

/// A Rust type that a register can be read as.
pub trait Value: Copy + Send + Sync + 'static {
    /// The file.
    const CLASS: Class;
    /// The values of all lanes.
    type Column;
    /// A register's column.
    fn column(registers: &Registers, slot: Slot) -> &Self::Column;
    /// A register's column, to change.
    fn column_mut(registers: &mut Registers, slot: Slot) -> &mut Self::Column;
    /// The value of one lane.
    fn at(column: &Self::Column, lane: usize) -> Self;
    /// The column that `value` makes of each lane.
    fn collect(value: impl FnMut(usize) -> Self) -> Self::Column;
    /// Takes the lanes of `mask` from `new`.
    fn merge(column: &mut Self::Column, new: Self::Column, mask: u32);
}

impl Value for bool {
    const CLASS: Class = Class::Predicate;
    type Column = u32;

    fn column(registers: &Registers, slot: Slot) -> &u32 {
        &registers.predicates[slot as usize]
    }

    fn column_mut(registers: &mut Registers, slot: Slot) -> &mut u32 {
        &mut registers.predicates[slot as usize]
    }

    fn at(column: &u32, lane: usize) -> bool {
        column >> lane & 1 == 1
    }

    fn collect(mut value: impl FnMut(usize) -> bool) -> u32 {
        (0..LANES).fold(0, |bits, lane| bits | u32::from(value(lane)) << lane)
    }

    fn merge(column: &mut u32, new: u32, mask: u32) {
        *column = *column & !mask | new & mask;
    }
}

/// A value held in a file of `$raw`.
macro_rules! value {
    ($type:ty, $class:ident, $file:ident, $raw:ty, $from:expr, $into:expr) => {
        impl Value for $type {
            const CLASS: Class = Class::$class;
            type Column = [$raw; LANES];

            fn column(registers: &Registers, slot: Slot) -> &Self::Column {
                &registers.$file[slot as usize]
            }

            fn column_mut(registers: &mut Registers, slot: Slot) -> &mut Self::Column {
                &mut registers.$file[slot as usize]
            }

            #[inline(always)]
            fn at(column: &Self::Column, lane: usize) -> $type {
                let from: fn($raw) -> $type = $from;
                from(column[lane])
            }

            #[inline(always)]
            fn collect(mut value: impl FnMut(usize) -> $type) -> Self::Column {
                let into: fn($type) -> $raw = $into;
                std::array::from_fn(|lane| into(value(lane)))
            }

            #[inline(always)]
            fn merge(column: &mut Self::Column, new: Self::Column, mask: u32) {
                if mask == u32::MAX {
                    *column = new;
                } else {
                    for (lane, (old, new)) in column.iter_mut().zip(new).enumerate() {
                        *old = if mask >> lane & 1 == 1 { new } else { *old };
                    }
                }
            }
        }
    };
}

value!(u8, Word, words, u32, |raw| raw as u8, u32::from);
value!(i8, Word, words, u32, |raw| raw as i8, |value| value as u32);
value!(u16, Word, words, u32, |raw| raw as u16, u32::from);
value!(i16, Word, words, u32, |raw| raw as i16, |value| value as u32);
value!(u32, Word, words, u32, |raw| raw, |value| value);
value!(i32, Word, words, u32, |raw| raw as i32, |value| value as u32);
value!(u64, Long, longs, u64, |raw| raw, |value| value);
value!(i64, Long, longs, u64, |raw| raw as i64, |value| value as u64);
value!(f32, Word, words, u32, f32::from_bits, f32::to_bits);
value!(f64, Long, longs, u64, f64::from_bits, f64::to_bits);
value!(f16, Word, words, u32, |raw| f16::from_bits(raw as u16), |value| value.to_bits().into());
value!(bf16, Word, words, u32, |raw| bf16::from_bits(raw as u16), |value| value.to_bits().into());
/// The two 16-bit halves of a word, lower first.
pub fn halves(word: u32) -> [u16; 2] {
    [word as u16, (word >> 16) as u16]
}

/// The word of two halves, lower first.
pub fn join([low, high]: [u16; 2]) -> u32 {
    u32::from(high) << 16 | u32::from(low)
}

impl Registers {
    /// `d = f(a)` in the lanes of `mask`.
    #[inline(always)]
    pub fn map1<D: Value, A: Value>(&mut self, mask: u32, [d, a]: [Slot; 2], f: impl Fn(A) -> D) {
        let a = A::column(self, a);
        let new = D::collect(|lane| f(A::at(a, lane)));
        D::merge(D::column_mut(self, d), new, mask);
    }

    /// `d = f(a, b)` in the lanes of `mask`.
    #[inline(always)]
    pub fn map2<D: Value, A: Value, B: Value>(
        &mut self,
        mask: u32,
        [d, a, b]: [Slot; 3],
        f: impl Fn(A, B) -> D,
    ) {
        let (a, b) = (A::column(self, a), B::column(self, b));
        let new = D::collect(|lane| f(A::at(a, lane), B::at(b, lane)));
        D::merge(D::column_mut(self, d), new, mask);
    }

    /// `d = f(a, b, c)` in the lanes of `mask`.
    #[inline(always)]
    pub fn map3<D: Value, A: Value, B: Value, C: Value>(
        &mut self,
        mask: u32,
        [d, a, b, c]: [Slot; 4],
        f: impl Fn(A, B, C) -> D,
    ) {
        let (a, b, c) = (A::column(self, a), B::column(self, b), C::column(self, c));
        let new = D::collect(|lane| f(A::at(a, lane), B::at(b, lane), C::at(c, lane)));
        D::merge(D::column_mut(self, d), new, mask);
    }

    /// `d = f(a, b, c, e)` in the lanes of `mask`.
    #[inline(always)]
    pub fn map4<D: Value, A: Value, B: Value, C: Value, E: Value>(
        &mut self,
        mask: u32,
        [d, a, b, c, e]: [Slot; 5],
        f: impl Fn(A, B, C, E) -> D,
    ) {
        let (a, b, c, e) = (A::column(self, a), B::column(self, b), C::column(self, c), E::column(self, e));
        let new = D::collect(|lane| f(A::at(a, lane), B::at(b, lane), C::at(c, lane), E::at(e, lane)));
        D::merge(D::column_mut(self, d), new, mask);
    }

    /// The value of `V` in one lane.
    pub fn get<V: Value>(&self, slot: Slot, lane: usize) -> V {
        V::at(V::column(self, slot), lane)
    }
}
