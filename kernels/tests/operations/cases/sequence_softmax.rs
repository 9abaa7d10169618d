//! Softmax over the tokens of each sequence.

use kernels::{Precision, Store, sequence_softmax};

use crate::case::{Case, Derivative, Device, Step};
use crate::pool::{Operands, Packed};
use crate::step;

#[derive(Debug)]
pub struct SequenceSoftmax {
    softmax: sequence_softmax::SequenceSoftmax,
    batch: Packed,
    store: Store,
}

impl SequenceSoftmax {
    fn stores(batch: &Packed, width: usize) -> [Self; 2] {
        let softmax = sequence_softmax::SequenceSoftmax { width };
        [Store::Assign, Store::Add].map(|store| Self { softmax, batch: batch.clone(), store })
    }
}

impl Case for SequenceSoftmax {
    fn all() -> Vec<Self> {
        let widths = |batch: &Packed| [1, 3, 40].map(|width| Self::stores(batch, width));
        Packed::batches().iter().flat_map(widths).flatten().collect()
    }

    fn small() -> Vec<Self> {
        Self::stores(&Packed::new(&[3, 1, 0, 5], 0), 2).into()
    }

    fn operands(&self, operands: &mut Operands) {
        let width = self.softmax.width;
        let (all, live) = (self.batch.rows * width, self.batch.live() * width);
        operands
            .random_until("x", all, live)
            .random_until("dy", all, live)
            .random("y", all)
            .random("dx", all);
    }

    fn steps<B: Device<P>, P: Precision>(&self) -> Vec<Step<'_, B>> {
        let reduced = self.batch.longest();
        vec![
            step! { p, reduced, sequence_softmax_forward(&self.softmax, sequence_softmax::Forward {
                x: &p.read("x"),
                offsets: &self.batch.offsets,
                y: &mut p.assign("y"),
            }) },
            step! { p, reduced, sequence_softmax_backward(&self.softmax, sequence_softmax::Backward {
                y: &p.read("y"),
                offsets: &self.batch.offsets,
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
