//! Bits: logic, shifts, fields, permutations.

use super::super::PtxError;
use super::super::decode::Decoding;
use super::super::operation::Operation;
use super::super::types::Type;
use super::{with_bits, with_integer};

pub fn decode(d: &mut Decoding) -> Result<Operation, PtxError> {
    match d.instruction.opcode {
        "shf" => return funnel_shift(d),
        "lop3" => return three_input_logic(d),
        "prmt" => return permute_bytes(d),
        _ => {}
    }
    // `bfind.shiftamt` gives the distance to the top bit instead of the position.
    let shift_amount = d.take("shiftamt");
    let kind = d.kind()?;
    match (d.instruction.opcode, kind) {
        ("and", Type::Predicate) => d.binary(|a: bool, b: bool| a & b),
        ("or", Type::Predicate) => d.binary(|a: bool, b: bool| a | b),
        ("xor", Type::Predicate) => d.binary(|a: bool, b: bool| a ^ b),
        ("not", Type::Predicate) => d.unary(|a: bool| !a),
        ("and", _) => with_bits!(d, kind, T => d.binary(|a: T, b: T| a & b)),
        ("or", _) => with_bits!(d, kind, T => d.binary(|a: T, b: T| a | b)),
        ("xor", _) => with_bits!(d, kind, T => d.binary(|a: T, b: T| a ^ b)),
        ("not", _) => with_bits!(d, kind, T => d.unary(|a: T| !a)),
        ("cnot", _) => with_bits!(d, kind, T => d.unary(|a: T| T::from(a == 0))),
        // Shifts by the width or more give 0, or the sign.
        ("shl", _) => with_bits!(d, kind, T => d.binary(|a: T, n: u32| a.checked_shl(n).unwrap_or(0))),
        ("shr", _) => with_integer!(d, kind, T => d.binary(|a: T, n: u32| {
            a >> n.min(T::BITS - 1) >> u32::from(n >= T::BITS)
        })),
        ("popc", _) => with_bits!(d, kind, T => d.unary(|a: T| a.count_ones())),
        ("clz", _) => with_bits!(d, kind, T => d.unary(|a: T| a.leading_zeros())),
        ("brev", _) => with_bits!(d, kind, T => d.unary(|a: T| a.reverse_bits())),
        ("bfind", _) => {
            with_integer!(d, kind, T => d.unary(move |a: T| find_top_bit(a.into(), T::BITS, shift_amount)))
        }
        ("bfe", Type::Unsigned(32)) => {
            d.ternary(|a: u32, start: u32, length: u32| extract(a.into(), start, length, 32, false) as u32)
        }
        ("bfe", Type::Signed(32)) => {
            d.ternary(|a: u32, start: u32, length: u32| extract(a.into(), start, length, 32, true) as u32)
        }
        ("bfe", Type::Unsigned(64)) => {
            d.ternary(|a: u64, start: u32, length: u32| extract(a, start, length, 64, false))
        }
        ("bfe", Type::Signed(64)) => {
            d.ternary(|a: u64, start: u32, length: u32| extract(a, start, length, 64, true))
        }
        ("bfi", Type::Bits(32)) => d.quaternary(|a: u32, b: u32, start: u32, length: u32| {
            insert(a.into(), b.into(), start, length) as u32
        }),
        ("bfi", Type::Bits(64)) => d.quaternary(insert),
        _ => Err(d.unknown()),
    }
}

/// Position of the topmost bit that differs from the sign, or -1.
fn find_top_bit(value: i128, bits: u32, shift_amount: bool) -> u32 {
    let magnitude = if value < 0 { !value } else { value };
    match magnitude {
        0 => u32::MAX,
        _ if shift_amount => magnitude.leading_zeros() - (128 - bits),
        _ => 127 - magnitude.leading_zeros(),
    }
}

/// The lowest `count` bits.
fn ones(count: u32) -> u64 {
    !u64::MAX.checked_shl(count).unwrap_or(0)
}

/// `length` bits of `value` from `start`, with the top one repeated if `signed`.
fn extract(value: u64, start: u32, length: u32, width: u32, signed: bool) -> u64 {
    let (start, length) = (start & 255, length & 255);
    let inside = ones(length.min(width.saturating_sub(start)));
    let field = value.checked_shr(start).unwrap_or(0) & inside;
    let top = (start + length).saturating_sub(1).min(width - 1);
    let negative = signed && length > 0 && value >> top & 1 == 1;
    if negative { field | !inside } else { field }
}

/// `b` with its bits from `start` replaced by the lowest `length` of `a`.
fn insert(a: u64, b: u64, start: u32, length: u32) -> u64 {
    let (start, length) = (start & 255, length & 255);
    let field = ones(length).checked_shl(start).unwrap_or(0);
    b & !field | a.checked_shl(start).unwrap_or(0) & field
}

/// `shf`: the 64-bit value `b:a` shifted, its upper (left) or lower (right) half.
fn funnel_shift(d: &mut Decoding) -> Result<Operation, PtxError> {
    let left = d.one_of(&[("l", true), ("r", false)])?;
    let wrap = d.one_of(&[("wrap", true), ("clamp", false)])?;
    if d.kind()? != Type::Bits(32) {
        return Err(d.unknown());
    }
    d.ternary(move |a: u32, b: u32, c: u32| {
        let n = if wrap { c & 31 } else { c.min(32) };
        let both = u64::from(b) << 32 | u64::from(a);
        if left { (both << n >> 32) as u32 } else { (both >> n) as u32 }
    })
}

/// `lop3`: any function of three bits, as the truth table in the last operand.
fn three_input_logic(d: &mut Decoding) -> Result<Operation, PtxError> {
    if d.kind()? != Type::Bits(32) {
        return Err(d.unknown());
    }
    d.quaternary(|a: u32, b: u32, c: u32, table: u32| {
        let pick = |value: u32, wanted: u32| if wanted & 1 == 1 { value } else { !value };
        let rows = (0..8).filter(|row| table >> row & 1 == 1);
        rows.fold(0, |result, row| result | pick(a, row >> 2) & pick(b, row >> 1) & pick(c, row))
    })
}

/// `prmt`: four bytes picked from eight, each perhaps replaced by its sign.
fn permute_bytes(d: &mut Decoding) -> Result<Operation, PtxError> {
    let mode = d.choose(&[("f4e", 0), ("b4e", 1), ("rc8", 2), ("ecl", 3), ("ecr", 4), ("rc16", 5)]);
    if d.kind()? != Type::Bits(32) {
        return Err(d.unknown());
    }
    d.ternary(move |a: u32, b: u32, c: u32| {
        let bytes = u64::from(b) << 32 | u64::from(a);
        let result = std::array::from_fn(|i| {
            let (i, k) = (i as u32, c & 3);
            let selector = match mode {
                None => c >> (4 * i) & 15,
                Some(0) => k + i,
                Some(1) => (k + 8 - i) & 7,
                Some(2) => k,
                Some(3) => k.max(i),
                Some(4) => k.min(i),
                Some(_) => (k & 1) * 2 + (i & 1),
            };
            let byte = (bytes >> (8 * (selector & 7))) as u8;
            if selector & 8 == 0 { byte } else { (byte as i8 >> 7) as u8 }
        });
        u32::from_le_bytes(result)
    })
}
