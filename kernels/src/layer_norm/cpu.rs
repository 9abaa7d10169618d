//! See the parent module.

use super::{Backward, Forward, LayerNorm};
use crate::cpu::CpuPrecision;
use crate::cpu::scratch;
use crate::cpu::simd::{Floats, kernel};
use crate::cpu::sums::add_column_sums;
use crate::cpu::threads::{Grid, Pieces};
use crate::dropout::cpu::row_factors;
use crate::dropout::{Randomness, logical_row};
use crate::memory::Host;
use crate::{Cpu, Store};

/// See [`super`].
pub fn forward<P: CpuPrecision>(cpu: &Cpu, layer_norm: &LayerNorm, operands: Forward<'_, Host, P>) {
    let Forward { x, residual, gamma, beta, randomness, logical_rows, sum, mean, rstd, y } = operands;
    let width = layer_norm.width;
    let grid = Grid::of_elements(mean.len(), width);
    let (mean, rstd) = (Pieces::new(mean), Pieces::new(rstd));
    let (sum, y) = (sum.map(Pieces::new), Pieces::new(y));
    cpu.for_each_with_space(grid.tasks(), 2 * scratch::padded(width), |task, space| {
        let rows = grid.range(task);
        let elements = rows.start * width..rows.end * width;
        // SAFETY: every row belongs to one task.
        let (sum, mean, rstd, y) = unsafe {
            (
                sum.as_ref().map(|sum| sum.piece(elements.clone())),
                mean.piece(rows.clone()),
                rstd.piece(rows.clone()),
                y.piece(elements.clone()),
            )
        };
        let mut rows = ForwardRows {
            layer_norm,
            randomness: &randomness,
            logical_rows,
            first_row: rows.start,
            x: &x[elements.clone()],
            residual: residual.map(|residual| &residual[elements]),
            gamma,
            beta,
            sum,
            mean,
            rstd,
            y,
        };
        let (factors, z) = space.split_at_mut(scratch::padded(width));
        normalise(cpu.token(), &mut rows, &mut factors[..width], &mut z[..width]);
    });
}

/// Some rows of the forward pass.
struct ForwardRows<'a, A> {
    layer_norm: &'a LayerNorm,
    randomness: &'a Randomness,
    logical_rows: Option<&'a [i32]>,
    first_row: usize,
    x: &'a [A],
    residual: Option<&'a [A]>,
    gamma: &'a [f32],
    beta: &'a [f32],
    sum: Option<&'a mut [A]>,
    mean: &'a mut [f32],
    rstd: &'a mut [f32],
    y: &'a mut [A],
}

kernel! {
    fn normalise<S, A>(simd, rows: &mut ForwardRows<'_, A>, factors: &mut [f32], z: &mut [f32]) {
        let width = rows.layer_norm.width;
        for row in 0..rows.mean.len() {
            let elements = row * width..(row + 1) * width;
            let (x, y) = (&rows.x[elements.clone()], &mut rows.y[elements.clone()]);
            let residual = rows.residual.map(|residual| &residual[elements.clone()]);
            if let Some(dropout) = &rows.layer_norm.dropout {
                let row = logical_row(rows.logical_rows, rows.first_row + row);
                row_factors(simd, dropout, rows.randomness, row, 0, factors);
            }
            // First z, then z − μ, then the result: three passes over a row in the nearest cache.
            let mut total = simd.splat(0.0);
            for at in (0..width).step_by(S::LANES) {
                let mut sum = simd.load(&x[at..]);
                if rows.layer_norm.dropout.is_some() {
                    sum = sum * simd.load(&factors[at..]);
                }
                if let Some(residual) = residual {
                    sum = sum + simd.load(&residual[at..]);
                }
                total = total + sum;
                sum.store(&mut z[at..]);
            }
            if let Some(sum) = &mut rows.sum {
                let sum = &mut sum[elements];
                for at in (0..width).step_by(S::LANES) {
                    simd.load(&z[at..]).store(&mut sum[at..]);
                }
            }
            let mean = total.sum() / width as f32;
            let mut squares = simd.splat(0.0);
            for at in (0..width).step_by(S::LANES) {
                (simd.load(&z[at..]) - simd.splat(mean)).store(&mut z[at..]);
                let centred = simd.load(&z[at..]); // once more, for the zeros beyond the end
                squares = centred.mul_add(centred, squares);
            }
            let variance = squares.sum() / width as f32;
            let r = 1.0 / (variance + rows.layer_norm.epsilon as f32).sqrt();
            for at in (0..width).step_by(S::LANES) {
                let normed = simd.load(&z[at..]) * simd.splat(r);
                normed.mul_add(simd.load(&rows.gamma[at..]), simd.load(&rows.beta[at..])).store(&mut y[at..]);
            }
            rows.mean[row] = mean;
            rows.rstd[row] = r;
        }
    }
}

/// See [`super`]. Every task sums dγ and dβ over its own rows; the sums are added up in the order of the rows.
pub fn backward<P: CpuPrecision>(cpu: &Cpu, layer_norm: &LayerNorm, operands: Backward<'_, Host, P>) {
    let Backward { sum, mean, rstd, gamma, dy, randomness, logical_rows, .. } = operands;
    let Backward { d_sum, store, d_x, d_gamma, d_beta, .. } = operands;
    let width = layer_norm.width;
    let grid = Grid::of_elements(mean.len(), width);
    let (d_sum, d_x) = (Pieces::new(d_sum), d_x.map(Pieces::new));
    let stride = scratch::padded(width);
    cpu.shared().with(2 * stride * grid.tasks(), |sums| {
        let pieces = Pieces::new(sums);
        cpu.for_each_with_space(grid.tasks(), width, |task, factors| {
            let rows = grid.range(task);
            let elements = rows.start * width..rows.end * width;
            // SAFETY: every row, and every pair of sums, belongs to one task.
            let (d_sum, d_x, sums) = unsafe {
                (
                    d_sum.piece(elements.clone()),
                    d_x.as_ref().map(|d_x| d_x.piece(elements.clone())),
                    pieces.rows(task..task + 1, 2 * stride),
                )
            };
            sums.fill(0.0);
            let (d_gamma, d_beta) = sums.split_at_mut(stride);
            let mut rows = BackwardRows {
                layer_norm,
                randomness: &randomness,
                logical_rows,
                first_row: rows.start,
                sum: &sum[elements.clone()],
                mean: &mean[rows.clone()],
                rstd: &rstd[rows],
                gamma,
                dy: &dy[elements],
                d_sum,
                store,
                d_x,
                d_gamma: &mut d_gamma[..width],
                d_beta: &mut d_beta[..width],
            };
            differentiate(cpu.token(), &mut rows, factors);
        });
        add_column_sums(cpu, sums, 2 * stride, d_gamma);
        add_column_sums(cpu, sums.get(stride..).unwrap_or_default(), 2 * stride, d_beta);
    });
}

/// Some rows of the backward pass.
struct BackwardRows<'a, A> {
    layer_norm: &'a LayerNorm,
    randomness: &'a Randomness,
    logical_rows: Option<&'a [i32]>,
    first_row: usize,
    sum: &'a [A],
    mean: &'a [f32],
    rstd: &'a [f32],
    gamma: &'a [f32],
    dy: &'a [A],
    d_sum: &'a mut [A],
    store: Store,
    d_x: Option<&'a mut [A]>,
    d_gamma: &'a mut [f32],
    d_beta: &'a mut [f32],
}

kernel! {
    fn differentiate<S, A>(simd, rows: &mut BackwardRows<'_, A>, factors: &mut [f32]) {
        let width = rows.layer_norm.width;
        for row in 0..rows.mean.len() {
            let elements = row * width..(row + 1) * width;
            let (sum, dy) = (&rows.sum[elements.clone()], &rows.dy[elements.clone()]);
            let mean = simd.splat(rows.mean[row]);
            let r = simd.splat(rows.rstd[row]);
            let (mut mean_g, mut mean_g_normed) = (simd.splat(0.0), simd.splat(0.0));
            for at in (0..width).step_by(S::LANES) {
                let dy = simd.load(&dy[at..]);
                let normed = (simd.load(&sum[at..]) - mean) * r;
                let g = simd.load(&rows.gamma[at..]) * dy;
                mean_g = mean_g + g;
                mean_g_normed = g.mul_add(normed, mean_g_normed);
                dy.mul_add(normed, simd.load(&rows.d_gamma[at..])).store(&mut rows.d_gamma[at..]);
                (dy + simd.load(&rows.d_beta[at..])).store(&mut rows.d_beta[at..]);
            }
            let mean_g = simd.splat(mean_g.sum() / width as f32);
            let mean_g_normed = simd.splat(mean_g_normed.sum() / width as f32);
            let dropped = rows.layer_norm.dropout.as_ref().zip(rows.d_x.as_mut());
            let mut d_x = dropped.map(|(dropout, d_x)| {
                let row = logical_row(rows.logical_rows, rows.first_row + row);
                row_factors(simd, dropout, rows.randomness, row, 0, factors);
                &mut d_x[elements.clone()]
            });
            let d_sum = &mut rows.d_sum[elements];
            for at in (0..width).step_by(S::LANES) {
                let normed = (simd.load(&sum[at..]) - mean) * r;
                let g = simd.load(&rows.gamma[at..]) * simd.load(&dy[at..]);
                let dz = (g - mean_g - normed * mean_g_normed) * r;
                match rows.store {
                    Store::Assign => dz.store(&mut d_sum[at..]),
                    Store::Add => (dz + simd.load(&d_sum[at..])).store(&mut d_sum[at..]),
                }
                if let Some(d_x) = &mut d_x {
                    (dz * simd.load(&factors[at..])).store(&mut d_x[at..]);
                }
            }
        }
    }
}
