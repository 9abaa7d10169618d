//! Matrices of 8 × 8 halves between shared memory and registers: `ldmatrix`, `stmatrix`, `movmatrix`.
//!
//! PTX ISA, "Warp-level matrix load instruction": of each matrix, lane `l` holds elements (l / 4, 2 (l mod 4)) and
//! the one to its right, in one register. With `.trans` the same of the transposed matrix. Lanes 8 i to 8 i + 7 give
//! the addresses of the rows of matrix i.

use super::super::PtxError;
use super::super::decode::Decoding;
use super::super::operation::{Members, Operation};
use super::super::registers::{Registers, Slot, halves, join};
use super::super::run::{Reach, Request};
use super::super::syntax::Space;
use super::super::types::Type;

/// Rows of 8 halves.
type Matrix = [[u16; 8]; 8];

pub fn decode(d: &mut Decoding) -> Result<Operation, PtxError> {
    if !(d.take("sync") && d.take("aligned") && d.take("m8n8")) {
        return Err(d.unknown());
    }
    if d.instruction.opcode == "movmatrix" {
        return transpose(d);
    }
    let count = d.one_of(&[("x1", 1), ("x2", 2), ("x4", 4)])?;
    let transposed = d.take("trans");
    if !(d.take("shared") || d.take("shared::cta")) || d.kind()? != Type::Bits(16) {
        return Err(d.unknown());
    }
    d.operands(2)?;
    let loads = d.instruction.opcode == "ldmatrix";
    let (vector, address) = if loads { (0, 1) } else { (1, 0) };
    let mut slots = Vec::new();
    for element in d.vector(vector, count)? {
        let class = super::super::registers::Class::Word;
        slots.push(if loads { d.target_of(element, class)? } else { d.source_of(element, class)? });
    }
    let (address, _) = d.address(address)?;
    let reach = Reach::new(Space::Shared, address);
    // The lanes that give addresses of rows.
    let givers = u32::MAX >> (32 - 8 * count);
    let action: super::super::operation::Action = if loads {
        Box::new(move |machine, _| {
            let addresses = machine.addresses(&reach);
            machine.count(Space::Shared, Request::Load, &addresses, givers, 16);
            for (index, &slot) in slots.iter().enumerate() {
                let mut matrix = Matrix::default();
                for (row, elements) in matrix.iter_mut().enumerate() {
                    let mut bytes = [0; 16];
                    machine.load_row(&reach, index * 8 + row, &mut bytes)?;
                    for (element, pair) in elements.iter_mut().zip(bytes.chunks_exact(2)) {
                        *element = u16::from_le_bytes([pair[0], pair[1]]);
                    }
                }
                scatter(machine.registers, slot, &matrix, transposed);
            }
            Ok(())
        })
    } else {
        Box::new(move |machine, _| {
            let addresses = machine.addresses(&reach);
            machine.count(Space::Shared, Request::Store, &addresses, givers, 16);
            for (index, &slot) in slots.iter().enumerate() {
                let matrix = gather(machine.registers, slot, transposed);
                for (row, elements) in matrix.iter().enumerate() {
                    let mut bytes = [0; 16];
                    for (element, pair) in elements.iter().zip(bytes.chunks_exact_mut(2)) {
                        pair.copy_from_slice(&element.to_le_bytes());
                    }
                    machine.store_row(&reach, index * 8 + row, &bytes)?;
                }
            }
            Ok(())
        })
    };
    Ok(Operation::Together { members: Members::All, action })
}

/// `movmatrix.trans`: a fragment to that of the transposed matrix.
fn transpose(d: &mut Decoding) -> Result<Operation, PtxError> {
    if !d.take("trans") || d.kind()? != Type::Bits(16) {
        return Err(d.unknown());
    }
    d.operands(2)?;
    let (target, source) = (d.target::<u32>(0)?, d.source::<u32>(1)?);
    let action: super::super::operation::Action = Box::new(move |machine, _| {
        let matrix = gather(machine.registers, source, false);
        scatter(machine.registers, target, &matrix, true);
        Ok(())
    });
    Ok(Operation::Together { members: Members::All, action })
}

/// Row and column of a lane's first and second half.
fn positions(lane: usize, transposed: bool) -> [(usize, usize); 2] {
    [0, 1].map(|half| {
        let (row, column) = (lane / 4, lane % 4 * 2 + half);
        if transposed { (column, row) } else { (row, column) }
    })
}

fn scatter(registers: &mut Registers, slot: Slot, matrix: &Matrix, transposed: bool) {
    for (lane, word) in registers.words[slot as usize].iter_mut().enumerate() {
        *word = join(positions(lane, transposed).map(|(row, column)| matrix[row][column]));
    }
}

fn gather(registers: &Registers, slot: Slot, transposed: bool) -> Matrix {
    let mut matrix = Matrix::default();
    for (lane, &word) in registers.words[slot as usize].iter().enumerate() {
        for ((row, column), half) in positions(lane, transposed).into_iter().zip(halves(word)) {
            matrix[row][column] = half;
        }
    }
    matrix
}
