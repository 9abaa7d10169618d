//! Copying columns, a range of rows per task.

use super::{Columns, Copy, Place};
use crate::cpu::CpuPrecision;
use crate::cpu::simd::Stored;
use crate::cpu::threads::{Grid, Pieces};
use crate::memory::Host;
use crate::scale::cpu::product;
use crate::{Cpu, Store};

/// `y[r, to + c] = x[r, from + c]`
pub fn copy<P: CpuPrecision>(cpu: &Cpu, columns: &Columns, operands: Copy<'_, Host, P>) {
    let Copy { x, y, place } = operands;
    let Columns { width, x_width, from, y_width, to } = *columns;
    let grid = Grid::of_elements(y.len() / y_width, y_width);
    let y = Pieces::new(y);
    cpu.for_each_range(grid, |_, rows| {
        let x = &x[rows.start * x_width..rows.end * x_width];
        // SAFETY: ranges of a grid are disjoint.
        let y = unsafe { y.rows(rows, y_width) };
        for (x, y) in x.chunks_exact(x_width).zip(y.chunks_exact_mut(y_width)) {
            let x = &x[from..from + width];
            let (before, rest) = y.split_at_mut(to);
            let (block, after) = rest.split_at_mut(width);
            match place {
                Place::Keep => block.copy_from_slice(x),
                Place::Add => product(cpu.token(), 1.0, x, block, Store::Add),
                Place::Clear => {
                    before.fill(Stored::narrow(0.0));
                    block.copy_from_slice(x);
                    after.fill(Stored::narrow(0.0));
                }
            }
        }
    });
}
