//! Residual, dropout and layer normalisation, each with and without the others.

use kernels::{Precision, Store, dropout::Dropout, layer_norm};

use crate::case::{Case, Derivative, Device, Step};
use crate::pool::{Operands, randomness};
use crate::step;

#[derive(Debug)]
pub struct LayerNorm {
    layer_norm: layer_norm::LayerNorm,
    rows: usize,
    residual: bool,
    store: Store,
    /// Whether a list says which rows they are.
    listed: bool,
}

impl LayerNorm {
    fn each(rows: usize, width: usize, store: Store) -> Vec<Self> {
        let dropouts = [None, Some(Dropout { probability: 0.2, stream: 9 })];
        let mut cases = Vec::new();
        for dropout in dropouts {
            let layer_norm = layer_norm::LayerNorm { width, epsilon: 1e-12, dropout };
            let listed = store == Store::Add;
            cases.extend([false, true].map(|residual| Self { layer_norm, rows, residual, store, listed }));
        }
        cases
    }

    fn writes_sum(&self) -> bool {
        self.residual || self.drops()
    }

    fn drops(&self) -> bool {
        self.layer_norm.dropout.is_some()
    }
}

impl Case for LayerNorm {
    fn all() -> Vec<Self> {
        let sizes = [
            (1, 16, Store::Assign),
            (7, 5, Store::Add),
            (127, 33, Store::Assign),
            (130, 312, Store::Add),
            (512, 128, Store::Assign),
            (1025, 101, Store::Add),
        ];
        sizes.into_iter().flat_map(|(rows, width, store)| Self::each(rows, width, store)).collect()
    }

    fn small() -> Vec<Self> {
        [Store::Assign, Store::Add].into_iter().flat_map(|store| Self::each(3, 6, store)).collect()
    }

    fn operands(&self, operands: &mut Operands) {
        let (rows, width) = (self.rows, self.layer_norm.width);
        for name in ["x", "residual", "sum", "y", "dy", "d_sum", "d_x"] {
            operands.random(name, rows * width);
        }
        for name in ["gamma", "beta", "d_gamma", "d_beta"] {
            operands.random(name, width);
        }
        operands.random("mean", rows).random("rstd", rows).rows("logical_rows", rows);
    }

    fn steps<B: Device<P>, P: Precision>(&self) -> Vec<Step<'_, B>> {
        let sum = if self.writes_sum() { "sum" } else { "x" };
        vec![
            step! { p, self.layer_norm.width, layer_norm_forward(&self.layer_norm, layer_norm::Forward {
                x: &p.read("x"),
                residual: self.residual.then(|| p.read("residual")).as_deref(),
                gamma: &p.read("gamma"),
                beta: &p.read("beta"),
                randomness: randomness(),
                logical_rows: self.listed.then(|| p.read("logical_rows")).as_deref(),
                sum: self.writes_sum().then(|| p.assign("sum")).as_deref_mut(),
                mean: &mut p.assign("mean"),
                rstd: &mut p.assign("rstd"),
                y: &mut p.assign("y"),
            }) },
            step! { p, self.layer_norm.width.max(self.rows), layer_norm_backward(&self.layer_norm, layer_norm::Backward {
                sum: &p.read(sum),
                mean: &p.read("mean"),
                rstd: &p.read("rstd"),
                gamma: &p.read("gamma"),
                dy: &p.read("dy"),
                randomness: randomness(),
                logical_rows: self.listed.then(|| p.read("logical_rows")).as_deref(),
                d_sum: &mut p.store("d_sum", self.store),
                store: self.store,
                d_x: self.drops().then(|| p.assign("d_x")).as_deref_mut(),
                d_gamma: &mut p.accumulate("d_gamma"),
                d_beta: &mut p.accumulate("d_beta"),
            }) },
        ]
    }

    fn derivative(&self) -> Derivative {
        let mut gradients = vec![("gamma", "d_gamma"), ("beta", "d_beta")];
        gradients.push(("x", if self.drops() { "d_x" } else { "d_sum" }));
        if self.residual {
            gradients.push(("residual", "d_sum"));
        }
        Derivative { output: "y", upstream: "dy", gradients }
    }
}
