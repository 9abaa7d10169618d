//! Squared error with a weight per row.

use kernels::{Precision, Store, squared_error};

use crate::case::{Case, Derivative, Device, Step};
use crate::pool::Operands;
use crate::step;

#[derive(Debug)]
pub struct SquaredError {
    rows: usize,
    store: Store,
}

impl Case for SquaredError {
    fn all() -> Vec<Self> {
        let stores = |rows| [Store::Assign, Store::Add].map(|store| Self { rows, store });
        [1, 7, 127, 512, 5001].into_iter().flat_map(stores).collect()
    }

    fn small() -> Vec<Self> {
        vec![Self { rows: 6, store: Store::Assign }]
    }

    fn operands(&self, operands: &mut Operands) {
        for name in ["x", "targets", "dx"] {
            operands.random(name, self.rows);
        }
        operands.positive("weights", self.rows).random("loss", 1).random("d_loss", 1);
    }

    fn steps<B: Device<P>, P: Precision>(&self) -> Vec<Step<'_, B>> {
        vec![
            step! { p, self.rows, squared_error_forward(&squared_error::SquaredError, squared_error::Forward {
                x: &p.read("x"),
                targets: &p.read("targets"),
                weights: &p.read("weights"),
                loss: &mut p.assign("loss"),
            }) },
            step! { p, 1, squared_error_backward(&squared_error::SquaredError, squared_error::Backward {
                x: &p.read("x"),
                targets: &p.read("targets"),
                weights: &p.read("weights"),
                d_loss: &p.read("d_loss"),
                dx: &mut p.store("dx", self.store),
                store: self.store,
            }) },
        ]
    }

    fn derivative(&self) -> Derivative {
        Derivative { output: "loss", upstream: "d_loss", gradients: vec![("x", "dx")] }
    }
}
