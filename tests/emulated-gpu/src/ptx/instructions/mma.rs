//! `mma.sync`: D = A B + C over a warp, for A of 16 × k and B of k × 8.
//!
//! PTX ISA, "Matrix fragments for mma": with g = lane / 4 and t = lane mod 4, and e elements per register (2 halves or
//! 1 tf32), register r of A holds row g + 8 (r mod 2), columns 4 e (r / 2) + e t + (0..e); register r of B holds the
//! same k of column g, with r instead of r / 2; C and D hold rows g and g + 8, columns 2 t and 2 t + 1.
//!
//! [`tensor_core`](crate::tensor_core) does the arithmetic, as an H100 does it.

use ::half::{bf16, f16};

use super::super::PtxError;
use super::super::decode::Decoding;
use super::super::operation::{Action, Members, Operation};
use super::super::registers::{Class, LANES, Registers, Slot, halves, join};
use super::super::types::Type;
use crate::tensor_core::{COLUMNS, Input, Output, Terms, add_block};

/// A form of the instruction.
#[derive(Clone, Copy)]
struct Form {
    input: Input,
    output: Output,
    k: usize,
}

impl Form {
    /// Elements per register of A and B.
    fn elements(self) -> usize {
        if self.input == Input::Tf32 { 1 } else { 2 }
    }
}

pub fn decode(d: &mut Decoding) -> Result<Operation, PtxError> {
    if !(d.take("sync") && d.take("aligned") && d.take("row") && d.take("col")) {
        return Err(d.unknown());
    }
    let k = d.one_of(&[("m16n8k4", 4), ("m16n8k8", 8), ("m16n8k16", 16)])?;
    let [to, a, b, c] = [d.kind()?, d.kind()?, d.kind()?, d.kind()?];
    let output = match (to, c) {
        (Type::F32, Type::F32) => Output::F32,
        (Type::F16, Type::F16) if a == Type::F16 => Output::F16,
        _ => return Err(d.unknown()),
    };
    let input = match (a, k) {
        (Type::Bf16, 8 | 16) => Input::Bf16,
        (Type::F16, 8 | 16) => Input::F16,
        (Type::Tf32, 4 | 8) => Input::Tf32,
        _ => return Err(d.unknown()),
    };
    let form = Form { input, output, k };
    if a != b {
        return Err(d.unknown());
    }
    d.operands(4)?;
    let elements = form.elements();
    let accumulators = if output == Output::F32 { 4 } else { 2 };
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
    let action: Action = Box::new(move |machine, _| {
        if let Some(counters) = machine.counters.as_deref_mut() {
            counters.matrix(2 * 16 * 8 * k as u64);
        }
        multiply(machine.registers, form, &slots);
        Ok(())
    });
    Ok(Operation::Together { members: Members::All, action })
}

/// The elements of a register of A or B; of a tf32 register only the first counts.
#[inline(always)]
fn unpack(word: u32, input: Input) -> [f32; 2] {
    match input {
        Input::Bf16 => halves(word).map(|bits| bf16::from_bits(bits).to_f32()),
        Input::F16 => halves(word).map(|bits| f16::from_bits(bits).to_f32()),
        // The lower 13 bits of a tf32 operand are not looked at.
        Input::Tf32 => [f32::from_bits(word & !0x1fff), 0.0],
    }
}

fn multiply(registers: &mut Registers, form: Form, [to, a, b, c]: &[Vec<Slot>; 4]) {
    let Form { input, output, k } = form;
    let elements = form.elements();
    let mut a_matrix = [[0_f32; 16]; 16];
    for (register, &slot) in a.iter().enumerate() {
        for (lane, &word) in registers.words[slot as usize].iter().enumerate() {
            let (row, first) = (lane / 4 + 8 * (register % 2), elements * (4 * (register / 2) + lane % 4));
            let values = unpack(word, input);
            a_matrix[row][first] = values[0];
            if elements == 2 {
                a_matrix[row][first + 1] = values[1];
            }
        }
    }
    let mut b_matrix = [[0_f32; COLUMNS]; 16];
    for (register, &slot) in b.iter().enumerate() {
        for (lane, &word) in registers.words[slot as usize].iter().enumerate() {
            let first = elements * (4 * register + lane % 4);
            for (element, value) in unpack(word, input).into_iter().take(elements).enumerate() {
                b_matrix[first + element][lane / 4] = value;
            }
        }
    }
    let mut sums = [[0_f32; COLUMNS]; 16];
    for lane in 0..LANES {
        let (row, column) = (lane / 4, lane % 4 * 2);
        let word = |index: usize| registers.words[c[index] as usize][lane];
        let [top, bottom] = match output {
            Output::F32 => [[word(0), word(1)], [word(2), word(3)]].map(|pair| pair.map(f32::from_bits)),
            Output::F16 => {
                [word(0), word(1)].map(|pair| halves(pair).map(|bits| f16::from_bits(bits).to_f32()))
            }
        };
        sums[row][column..column + 2].copy_from_slice(&top);
        sums[row + 8][column..column + 2].copy_from_slice(&bottom);
    }
    let b_terms = b_matrix.map(|row| Terms::new(row, input));
    for (a_row, sums) in a_matrix.into_iter().zip(&mut sums) {
        let a_terms = a_row.map(|value| Terms::new([value], input));
        add_block(&a_terms[..k], &b_terms[..k], sums, output);
    }
    for lane in 0..LANES {
        let (row, column) = (lane / 4, lane % 4 * 2);
        for (half, row) in [row, row + 8].into_iter().enumerate() {
            let pair = [sums[row][column], sums[row][column + 1]];
            match output {
                Output::F32 => {
                    for (index, value) in pair.into_iter().enumerate() {
                        registers.words[to[2 * half + index] as usize][lane] = value.to_bits();
                    }
                }
                Output::F16 => {
                    let bits = pair.map(|value| f16::from_f32(value).to_bits());
                    registers.words[to[half] as usize][lane] = join(bits);
                }
            }
        }
    }
}
