//! The weighted sum over the tokens of each sequence.

use kernels::{Precision, Store, sequence_sum};

use crate::case::{Case, Derivative, Device, Step};
use crate::pool::{Operands, Packed};
use crate::step;

#[derive(Debug)]
pub struct SequenceSum {
    sum: sequence_sum::SequenceSum,
    batch: Packed,
    store: Store,
    store_weights: Store,
}

impl SequenceSum {
    fn stores(batch: &Packed, width: usize) -> [Self; 2] {
        let (sum, batch) = (sequence_sum::SequenceSum { width }, || batch.clone());
        [
            Self { sum, batch: batch(), store: Store::Assign, store_weights: Store::Add },
            Self { sum, batch: batch(), store: Store::Add, store_weights: Store::Assign },
        ]
    }
}

impl Case for SequenceSum {
    fn all() -> Vec<Self> {
        let widths = |batch: &Packed| [1, 7, 128].map(|width| Self::stores(batch, width));
        Packed::batches().iter().flat_map(widths).flatten().collect()
    }

    fn small() -> Vec<Self> {
        Self::stores(&Packed::new(&[3, 1, 0, 5], 0), 2).into()
    }

    fn operands(&self, operands: &mut Operands) {
        let (rows, live, width) = (self.batch.rows, self.batch.live(), self.sum.width);
        operands
            .random_until("weights", rows, live)
            .random_until("x", rows * width, live * width)
            .random("y", self.batch.sequences() * width)
            .random("dy", self.batch.sequences() * width)
            .random("d_weights", rows)
            .random("dx", rows * width);
    }

    fn steps<B: Device<P>, P: Precision>(&self) -> Vec<Step<'_, B>> {
        vec![
            step! { p, self.batch.longest(), sequence_sum_forward(&self.sum, sequence_sum::Forward {
                weights: &p.read("weights"),
                x: &p.read("x"),
                offsets: &self.batch.offsets,
                y: &mut p.assign("y"),
            }) },
            step! { p, self.sum.width, sequence_sum_backward(&self.sum, sequence_sum::Backward {
                weights: &p.read("weights"),
                x: &p.read("x"),
                offsets: &self.batch.offsets,
                dy: &p.read("dy"),
                d_weights: &mut p.store("d_weights", self.store_weights),
                store_weights: self.store_weights,
                dx: &mut p.store("dx", self.store),
                store: self.store,
            }) },
        ]
    }

    fn derivative(&self) -> Derivative {
        Derivative { output: "y", upstream: "dy", gradients: vec![("x", "dx"), ("weights", "d_weights")] }
    }
}
