//! The weighted sum of two matrices; its gradients are [`kernels::scale`].

use kernels::{Precision, Store, add, scale};

use crate::case::{Case, Derivative, Device, Step};
use crate::pool::Operands;
use crate::step;

#[derive(Debug)]
pub struct Add {
    add: add::Add,
    length: usize,
    store: Store,
}

impl Case for Add {
    fn all() -> Vec<Self> {
        let case = |length, store| Self { add: add::Add { alpha: 0.3, beta: -1.7 }, length, store };
        vec![
            case(1, Store::Assign),
            case(31, Store::Add),
            case(100_003, Store::Assign),
            case(100_003, Store::Add),
        ]
    }

    fn small() -> Vec<Self> {
        vec![Self { add: add::Add { alpha: 0.3, beta: -1.7 }, length: 9, store: Store::Add }]
    }

    fn operands(&self, operands: &mut Operands) {
        for name in ["a", "b", "y", "dy", "da", "db", "loss", "other loss", "losses", "d_loss"] {
            operands.random(name, self.length);
        }
    }

    fn steps<B: Device<P>, P: Precision>(&self) -> Vec<Step<'_, B>> {
        let gradient = |factor, gradient| {
            step! { p, 1, scale_forward(&scale::Scale { factor }, scale::Forward {
                x: &p.read("dy"),
                y: &mut p.store(gradient, self.store),
                store: self.store,
            }) }
        };
        vec![
            step! { p, 1, add_forward(&self.add, add::Forward {
                a: &p.read("a"),
                b: &p.read("b"),
                y: &mut p.assign("y"),
            }) },
            step! { p, 1, add_masters(&self.add, add::Forward {
                a: &p.read("loss"),
                b: &p.read("other loss"),
                y: &mut p.assign("losses"),
            }) },
            step! { p, 1, scale_masters(&scale::Scale { factor: -0.7 }, scale::Forward {
                x: &p.read("losses"),
                y: &mut p.store("d_loss", self.store),
                store: self.store,
            }) },
            gradient(self.add.alpha, "da"),
            gradient(self.add.beta, "db"),
        ]
    }

    fn derivative(&self) -> Derivative {
        Derivative { output: "y", upstream: "dy", gradients: vec![("a", "da"), ("b", "db")] }
    }
}
