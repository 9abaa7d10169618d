//! `mma.sync`: D = A B + C over a warp, for A of 16 × k and B of k × 8.
//!
//! PTX ISA, "Matrix fragments for mma": with g = lane / 4 and t = lane mod 4, and e elements per register (2 halves or
//! 1 tf32), register r of A holds row g + 8 (r mod 2), columns 4 e (r / 2) + e t + (0..e); register r of B holds the
//! same k of column g, with r instead of r / 2; C and D hold rows g and g + 8, columns 2 t and 2 t + 1.
//!
//! Products are exact and summed in `f32` in the order of k. Tensor cores sum in another order with other rounding, so
//! results agree to the accuracy of `f32` sums, not to the bit, except where every sum is exact.

use ::half::{bf16, f16};

use super::super::PtxError;
use super::super::decode::Decoding;
use super::super::operation::{Action, Members, Operation};
use super::super::registers::{Class, LANES, Registers, Slot, halves, join};
use super::super::types::Type;

/// The elements of a register of A or B, as `f32`; of a tf32 register only the first counts.
type Elements = fn(u32) -> [f32; 2];

/// C and D hold `f32`, or pairs of `f16`.
#[derive(Clone, Copy, PartialEq)]
enum Accumulator {
    Single,
    Half,
}

/// A form of the instruction.
#[derive(Clone, Copy)]
struct Form {
    /// Elements per register of A and B.
    elements: usize,
    unpack: Elements,
    k: usize,
    accumulator: Accumulator,
}

pub fn decode(d: &mut Decoding) -> Result<Operation, PtxError> {
    if !(d.take("sync") && d.take("aligned") && d.take("row") && d.take("col")) {
        return Err(d.unknown());
    }
    let k = d.one_of(&[("m16n8k4", 4), ("m16n8k8", 8), ("m16n8k16", 16)])?;
    let [to, a, b, c] = [d.kind()?, d.kind()?, d.kind()?, d.kind()?];
    let accumulator = match (to, c) {
        (Type::F32, Type::F32) => Accumulator::Single,
        (Type::F16, Type::F16) if a == Type::F16 => Accumulator::Half,
        _ => return Err(d.unknown()),
    };
    let (elements, unpack): (usize, Elements) = match (a, k) {
        (Type::Bf16, 8 | 16) => (2, |word| halves(word).map(|bits| bf16::from_bits(bits).to_f32())),
        (Type::F16, 8 | 16) => (2, |word| halves(word).map(|bits| f16::from_bits(bits).to_f32())),
        // The lower 13 bits of a tf32 operand are not looked at.
        (Type::Tf32, 4 | 8) => (1, |word| [f32::from_bits(word & !0x1fff), 0.0]),
        _ => return Err(d.unknown()),
    };
    if a != b {
        return Err(d.unknown());
    }
    d.operands(4)?;
    let accumulators = if accumulator == Accumulator::Single { 4 } else { 2 };
    let counts = [accumulators, k / 2 / elements, k / 4 / elements, accumulators];
    let mut slots = [const { Vec::new() }; 4];
    for (index, slots) in slots.iter_mut().enumerate() {
        for element in d.vector(index, counts[index])? {
            slots.push(if index == 0 {
                d.target_of(element, Class::Word)?
            } else {
                d.source_of(element, Class::Word)?
            });
        }
    }
    let form = Form { elements, unpack, k, accumulator };
    let action: Action = Box::new(move |machine, _| {
        multiply(machine.registers, form, &slots);
        Ok(())
    });
    Ok(Operation::Together { members: Members::All, action })
}

fn multiply(registers: &mut Registers, form: Form, [to, a, b, c]: &[Vec<Slot>; 4]) {
    let Form { elements, unpack, k, accumulator } = form;
    let mut a_matrix = [[0_f32; 16]; 16];
    for (register, &slot) in a.iter().enumerate() {
        for (lane, &word) in registers.words[slot as usize].iter().enumerate() {
            let (row, first) = (lane / 4 + 8 * (register % 2), elements * (4 * (register / 2) + lane % 4));
            a_matrix[row][first..first + elements].copy_from_slice(&unpack(word)[..elements]);
        }
    }
    let mut b_matrix = [[0_f32; 8]; 16];
    for (register, &slot) in b.iter().enumerate() {
        for (lane, &word) in registers.words[slot as usize].iter().enumerate() {
            let first = elements * (4 * register + lane % 4);
            for (element, value) in unpack(word).into_iter().take(elements).enumerate() {
                b_matrix[first + element][lane / 4] = value;
            }
        }
    }
    let mut sums = [[0_f32; 8]; 16];
    for lane in 0..LANES {
        let (row, column) = (lane / 4, lane % 4 * 2);
        let word = |index: usize| registers.words[c[index] as usize][lane];
        let [top, bottom] = match accumulator {
            Accumulator::Single => {
                [[word(0), word(1)], [word(2), word(3)]].map(|pair| pair.map(f32::from_bits))
            }
            Accumulator::Half => {
                [word(0), word(1)].map(|pair| halves(pair).map(|bits| f16::from_bits(bits).to_f32()))
            }
        };
        sums[row][column..column + 2].copy_from_slice(&top);
        sums[row + 8][column..column + 2].copy_from_slice(&bottom);
    }
    for (a_row, sums) in a_matrix.iter().zip(&mut sums) {
        for (&a, b_row) in a_row[..k].iter().zip(&b_matrix) {
            for (sum, &b) in sums.iter_mut().zip(b_row) {
                *sum += a * b;
            }
        }
    }
    for lane in 0..LANES {
        let (row, column) = (lane / 4, lane % 4 * 2);
        for (half, row) in [row, row + 8].into_iter().enumerate() {
            let pair = [sums[row][column], sums[row][column + 1]];
            match accumulator {
                Accumulator::Single => {
                    for (index, value) in pair.into_iter().enumerate() {
                        registers.words[to[2 * half + index] as usize][lane] = value.to_bits();
                    }
                }
                Accumulator::Half => {
                    let bits = pair.map(|value| f16::from_f32(value).to_bits());
                    registers.words[to[half] as usize][lane] = join(bits);
                }
            }
        }
    }
}
