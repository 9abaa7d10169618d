//! Row selection, a range of the destination's rows per task.

use super::{Backward, Forward, Gather};
use crate::cpu::CpuPrecision;
use crate::cpu::simd::Stored;
use crate::cpu::threads::{Grid, Pieces};
use crate::memory::Host;
use crate::scale::cpu::product;
use crate::{Cpu, Store};

/// `y[i] = x[rows[i]]`
pub fn forward<P: CpuPrecision>(cpu: &Cpu, gather: &Gather, operands: Forward<'_, Host, P>) {
    let Forward { rows, x, y } = operands;
    let width = gather.width;
    let y = Pieces::new(y);
    cpu.for_each_range(Grid::of_elements(rows.len(), width), |_, range| {
        // SAFETY: ranges of a grid are disjoint.
        let y = unsafe { y.rows(range.clone(), width) };
        for (&row, y) in rows[range].iter().zip(y.chunks_exact_mut(width)) {
            y.copy_from_slice(&x[row as usize * width..][..width]);
        }
    });
}

/// `dx[rows[i]] += dy[i]`
///
/// A task reads all of `rows` and adds what falls into its range of `dx`: ascending in i whoever computes it.
pub fn backward<P: CpuPrecision>(cpu: &Cpu, gather: &Gather, operands: Backward<'_, Host, P>) {
    let Backward { rows, dy, dx, store } = operands;
    let width = gather.width;
    let height = dx.len() / width;
    let outside = rows.iter().find(|&&row| row < 0 || row as usize >= height);
    assert!(outside.is_none(), "no row {outside:?} of {height}");
    let dx = Pieces::new(dx);
    cpu.for_each_range(Grid::of_elements(height, width), |_, range| {
        // SAFETY: ranges of a grid are disjoint.
        let dx = unsafe { dx.rows(range.clone(), width) };
        if store == Store::Assign {
            dx.fill(Stored::narrow(0.0));
        }
        for (&row, dy) in rows.iter().zip(dy.chunks_exact(width)) {
            if range.contains(&(row as usize)) {
                let dx = &mut dx[(row as usize - range.start) * width..][..width];
                product(cpu.token(), 1.0, dy, dx, Store::Add);
            }
        }
    });
}
