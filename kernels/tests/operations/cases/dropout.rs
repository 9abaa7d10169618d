//! Dropout on its own.

use kernels::{Precision, Store, dropout};

use crate::case::{Case, Derivative, Device, Step};
use crate::pool::{Operands, randomness};
use crate::step;

#[derive(Debug)]
pub struct Dropout {
    dropout: dropout::Dropout,
    rows: usize,
    width: usize,
    store: Store,
    /// Whether a list says which rows they are.
    listed: bool,
}

impl Dropout {
    fn new(rows: usize, width: usize, probability: f32, store: Store) -> Self {
        Self { dropout: dropout::Dropout { probability, stream: 5 }, rows, width, store, listed: false }
    }

    fn listed(self) -> Self {
        Self { listed: true, ..self }
    }
}

impl Case for Dropout {
    fn all() -> Vec<Self> {
        let sizes = [(1, 1), (7, 3), (127, 17), (130, 128), (512, 313)];
        let mut cases = vec![Self::new(9, 40, 0.0, Store::Assign)];
        for (rows, width) in sizes {
            cases.push(Self::new(rows, width, 0.1, Store::Assign));
            cases.push(Self::new(rows, width, 0.5, Store::Add));
            cases.push(Self::new(rows, width, 0.5, Store::Assign).listed());
        }
        cases
    }

    fn small() -> Vec<Self> {
        vec![Self::new(3, 7, 0.4, Store::Assign), Self::new(3, 7, 0.4, Store::Add).listed()]
    }

    fn operands(&self, operands: &mut Operands) {
        for name in ["x", "y", "dy", "dx"] {
            operands.random(name, self.rows * self.width);
        }
        operands.rows("logical_rows", self.rows);
    }

    fn steps<B: Device<P>, P: Precision>(&self) -> Vec<Step<'_, B>> {
        vec![
            step! { p, 1, dropout_forward(&self.dropout, dropout::Forward {
                width: self.width,
                randomness: randomness(),
                logical_rows: self.listed.then(|| p.read("logical_rows")).as_deref(),
                x: &p.read("x"),
                y: &mut p.assign("y"),
            }) },
            step! { p, 1, dropout_backward(&self.dropout, dropout::Backward {
                width: self.width,
                randomness: randomness(),
                logical_rows: self.listed.then(|| p.read("logical_rows")).as_deref(),
                dy: &p.read("dy"),
                dx: &mut p.store("dx", self.store),
                store: self.store,
            }) },
        ]
    }

    fn derivative(&self) -> Derivative {
        Derivative { output: "y", upstream: "dy", gradients: vec![("x", "dx")] }
    }
}
