//! The mathematics of residual, dropout and layer normalisation.

use super::{Backward, Forward, LayerNorm};
use crate::dropout::logical_row;
use crate::dropout::reference::factor;
use crate::memory::Host;
use crate::precision::F64;

/// `z = dropout(x) + residual`, `y = γ · (z − μ) / √(σ² + ε) + β`
pub fn forward(layer_norm: &LayerNorm, operands: Forward<'_, Host, F64>) {
    let Forward { x, residual, gamma, beta, randomness, logical_rows, mut sum, mean, rstd, y } = operands;
    let width = layer_norm.width;
    let mut z = vec![0.0; width];
    for row in 0..y.len() / width {
        let (first, logical_row) = (row * width, logical_row(logical_rows, row));
        for c in 0..width {
            z[c] = x[first + c] * factor(layer_norm.dropout.as_ref(), &randomness, logical_row, c)
                + residual.map_or(0.0, |residual| residual[first + c]);
        }
        let mu = z.iter().sum::<f64>() / width as f64;
        let variance = z.iter().map(|z| (z - mu).powi(2)).sum::<f64>() / width as f64;
        let r = 1.0 / (variance + layer_norm.epsilon).sqrt();
        for c in 0..width {
            y[first + c] = gamma[c] * (z[c] - mu) * r + beta[c];
        }
        if let Some(sum) = &mut sum {
            sum[first..first + width].copy_from_slice(&z);
        }
        mean[row] = mu;
        rstd[row] = r;
    }
}

/// `dz = r · (g − mean(g) − x̂ · mean(g · x̂))` with g = γ · dy, and the gradients of x, γ and β.
pub fn backward(layer_norm: &LayerNorm, operands: Backward<'_, Host, F64>) {
    let Backward { sum, mean, rstd, gamma, dy, randomness, logical_rows, .. } = operands;
    let Backward { d_sum, store, mut d_x, d_gamma, d_beta, .. } = operands;
    let width = layer_norm.width;
    for row in 0..dy.len() / width {
        let (first, logical_row) = (row * width, logical_row(logical_rows, row));
        let r = rstd[row];
        let normed = |c: usize| (sum[first + c] - mean[row]) * r;
        let g = |c: usize| gamma[c] * dy[first + c];
        let mean_g = (0..width).map(g).sum::<f64>() / width as f64;
        let mean_g_normed = (0..width).map(|c| g(c) * normed(c)).sum::<f64>() / width as f64;
        for c in 0..width {
            let dz = r * (g(c) - mean_g - normed(c) * mean_g_normed);
            store.put(&mut d_sum[first + c], dz);
            if let Some(d_x) = &mut d_x {
                d_x[first + c] = dz * factor(layer_norm.dropout.as_ref(), &randomness, logical_row, c);
            }
            d_gamma[c] += dy[first + c] * normed(c);
            d_beta[c] += dy[first + c];
        }
    }
}
