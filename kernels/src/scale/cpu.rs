//! The product with a constant, a range of elements per task.

use super::{Forward, Scale};
use crate::cpu::CpuPrecision;
use crate::cpu::simd::{Floats, kernel};
use crate::cpu::threads::{Grid, Pieces};
use crate::memory::Host;
use crate::{Cpu, Store};

/// `y = factor · x`
pub fn forward<P: CpuPrecision>(cpu: &Cpu, scale: &Scale, operands: Forward<'_, Host, P>) {
    let Forward { x, y, store } = operands;
    let factor = scale.factor as f32;
    let grid = Grid::of_elements(y.len(), 1);
    let y = Pieces::new(y);
    cpu.for_each_range(grid, |_, range| {
        // SAFETY: ranges of a grid are disjoint.
        let y = unsafe { y.piece(range.clone()) };
        product(cpu.token(), factor, &x[range], y, store);
    });
}

kernel! {
    /// `y (+)= factor · x`
    pub(crate) fn product<S, A, B>(simd, factor: f32, x: &[A], y: &mut [B], store: Store) {
        let factor = simd.splat(factor);
        for at in (0..y.len()).step_by(S::LANES) {
            let x = simd.load(&x[at..]);
            let value = match store {
                Store::Assign => factor * x,
                Store::Add => factor.mul_add(x, simd.load(&y[at..])),
            };
            value.store(&mut y[at..]);
        }
    }
}
