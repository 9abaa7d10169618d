//! Row selection, with repetitions and with rows that nobody selects.

use kernels::{Precision, Store, gather};

use crate::case::{Case, Derivative, Device, Step};
use crate::pool::{Indices, Operands, Random};
use crate::step;

#[derive(Debug)]
pub struct Gather {
    gather: gather::Gather,
    rows: usize,
    selected: Indices,
    store: Store,
}

impl Gather {
    fn new(rows: usize, selected: usize, width: usize, store: Store) -> Self {
        let selected = Random::new(6).indices(selected, rows);
        Self { gather: gather::Gather { width }, rows, selected, store }
    }
}

impl Case for Gather {
    fn all() -> Vec<Self> {
        let sizes = [(1, 1, 1), (7, 20, 3), (127, 1, 31), (512, 80, 128), (2000, 3000, 101), (5, 0, 8)];
        let stores = |(rows, selected, width)| {
            [Store::Assign, Store::Add].map(|store| Self::new(rows, selected, width, store))
        };
        sizes.into_iter().flat_map(stores).collect()
    }

    fn small() -> Vec<Self> {
        [Store::Assign, Store::Add].map(|store| Self::new(4, 5, 3, store)).into()
    }

    fn operands(&self, operands: &mut Operands) {
        let (all, selected) = (self.rows * self.gather.width, self.selected.len() * self.gather.width);
        operands.random("x", all).random("y", selected).random("dy", selected).random("dx", all);
    }

    fn steps<B: Device<P>, P: Precision>(&self) -> Vec<Step<'_, B>> {
        vec![
            step! { p, 1, gather_forward(&self.gather, gather::Forward {
                rows: &self.selected,
                x: &p.read("x"),
                y: &mut p.assign("y"),
            }) },
            step! { p, self.selected.len(), gather_backward(&self.gather, gather::Backward {
                rows: &self.selected,
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
