//! The weighted sum, a range of elements per task.

use super::{Add, Forward};
use crate::Cpu;
use crate::cpu::CpuPrecision;
use crate::cpu::simd::{Floats, kernel};
use crate::cpu::threads::{Grid, Pieces};
use crate::memory::Host;

/// `y = alpha · a + beta · b`
pub fn forward<P: CpuPrecision>(cpu: &Cpu, add: &Add, operands: Forward<'_, Host, P>) {
    let Forward { a, b, y } = operands;
    let factors = [add.alpha as f32, add.beta as f32];
    let grid = Grid::of_elements(y.len(), 1);
    let y = Pieces::new(y);
    cpu.for_each_range(grid, |_, range| {
        // SAFETY: ranges of a grid are disjoint.
        let y = unsafe { y.piece(range.clone()) };
        weighted_sum(cpu.token(), factors, &a[range.clone()], &b[range], y);
    });
}

kernel! {
    fn weighted_sum<S, A>(simd, factors: [f32; 2], a: &[A], b: &[A], y: &mut [A]) {
        let (alpha, beta) = (simd.splat(factors[0]), simd.splat(factors[1]));
        for at in (0..y.len()).step_by(S::LANES) {
            let sum = alpha.mul_add(simd.load(&a[at..]), beta * simd.load(&b[at..]));
            sum.store(&mut y[at..]);
        }
    }
}
