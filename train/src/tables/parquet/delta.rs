//! Texts whose lengths, or beginnings, stand apart from them, written out one after the other
//! ([`DELTA_LENGTH_BYTE_ARRAY`, `DELTA_BYTE_ARRAY`](https://parquet.apache.org/docs/file-format/data-pages/encodings/)).
//!
//! The library keeps as many lengths as such a page says that it has, and copies each text's beginning from the one before, which
//! is any number of bytes from hardly any. Here each of them is charged first.

use parquet::errors::ParquetError;

/// Takes so many bytes from what is left.
type Take<'a> = &'a dyn Fn(u64) -> Result<(), ParquetError>;

/// What is wrong with a page whose numbers do not fit together.
fn damaged() -> ParquetError {
    ParquetError::General("lengths of texts that do not fit together".to_owned())
}

/// The same values in the encoding PLAIN: each behind its length, if `has_lengths` (those of a fixed length have none there).
/// Texts share the beginnings of those before them, if `is_shared`. They are `most` at most.
pub(super) fn plain(
    mut encoded: &[u8],
    is_shared: bool,
    has_lengths: bool,
    most: usize,
    take: Take<'_>,
) -> Result<Vec<u8>, ParquetError> {
    let beginnings = if is_shared { Some(lengths(&mut encoded, most, take)?) } else { None };
    let rests = lengths(&mut encoded, most, take)?;
    if beginnings.as_ref().is_some_and(|beginnings| beginnings.len() != rests.len()) {
        return Err(damaged());
    }
    let mut values = Vec::new();
    let mut last = 0..0;
    for (index, &rest) in rests.iter().enumerate() {
        let beginning = beginnings.as_ref().map_or(0, |beginnings| beginnings[index]);
        let rest = split(&mut encoded, rest)?;
        if beginning > last.len() {
            return Err(damaged());
        }
        let length = beginning + rest.len();
        take((size_of::<u32>() + length) as u64)?;
        if has_lengths {
            values.extend_from_slice(&(length as u32).to_le_bytes());
        }
        let begins = values.len();
        values.extend_from_within(last.start..last.start + beginning);
        values.extend_from_slice(rest);
        last = begins..values.len();
    }
    Ok(values)
}

/// Lengths as `DELTA_BINARY_PACKED` has them: blocks of differences, each block in parts of one width.
fn lengths(encoded: &mut &[u8], most: usize, take: Take<'_>) -> Result<Vec<usize>, ParquetError> {
    let [block, parts, count] = [number(encoded)?, number(encoded)?, number(encoded)?];
    let mut last = difference(number(encoded)?);
    let of_part = block.checked_div(parts).filter(|of_part| of_part % 8 == 0).ok_or_else(damaged)?;
    let (of_part, parts, count) = (of_part as usize, parts as usize, count as usize);
    if count > most || of_part == 0 {
        return Err(damaged());
    }
    take((count * size_of::<usize>()) as u64)?;
    let mut lengths = Vec::with_capacity(count);
    let length = |number: i32| usize::try_from(number).map_err(|_| damaged());
    if count > 0 {
        lengths.push(length(last)?);
    }
    while lengths.len() < count {
        let least = difference(number(encoded)?);
        for &width in split(encoded, parts)? {
            let left = count - lengths.len();
            if left == 0 {
                break;
            }
            let width = usize::from(width);
            let packed = split(encoded, (of_part / 8).checked_mul(width).ok_or_else(damaged)?)?;
            for index in 0..of_part.min(left) {
                last = last.wrapping_add(least).wrapping_add(bits(packed, index * width, width)?);
                lengths.push(length(last)?);
            }
        }
    }
    Ok(lengths)
}

/// The number of `width` bits from bit `at` on, the lowest first.
fn bits(packed: &[u8], at: usize, width: usize) -> Result<i32, ParquetError> {
    if width > 32 {
        return Err(damaged());
    }
    let bytes = packed[at / 8..(at + width).div_ceil(8)].iter().rev();
    let number = bytes.fold(0u64, |number, &byte| number << 8 | u64::from(byte));
    Ok((number >> (at % 8) & ((1 << width) - 1)) as u32 as i32)
}

/// A number of seven bits a byte, the lowest first.
fn number(encoded: &mut &[u8]) -> Result<u64, ParquetError> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let byte = split(encoded, 1)?[0];
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(damaged())
}

/// A number of 32 bits with a sign, which stands in the lowest bit.
fn difference(number: u64) -> i32 {
    (number >> 1) as i32 ^ -((number & 1) as i32)
}

/// The first bytes of what is left.
fn split<'a>(encoded: &mut &'a [u8], length: usize) -> Result<&'a [u8], ParquetError> {
    let (first, rest) = encoded.split_at_checked(length).ok_or_else(damaged)?;
    *encoded = rest;
    Ok(first)
}
