//! Attention over packed sequences.

use kernels::{Precision, attention, dropout::Dropout};

use crate::case::{Case, Derivative, Device, Step};
use crate::pool::{Operands, Packed, randomness};
use crate::step;

#[derive(Debug)]
pub struct Attention {
    attention: attention::Attention,
    batch: Packed,
}

impl Attention {
    pub fn new(batch: Packed, heads: usize, head_width: usize, probability: Option<f32>) -> Self {
        let dropout = probability.map(|probability| Dropout { probability, stream: 3 });
        Self { attention: attention::Attention { heads, head_width, dropout }, batch }
    }
}

impl Case for Attention {
    fn all() -> Vec<Self> {
        let mut cases = Self::small();
        for batch in Packed::batches() {
            cases.push(Self::new(batch.clone(), 2, 64, None));
            cases.push(Self::new(batch.clone(), 2, 64, Some(0.1)));
            cases.push(Self::new(batch, 3, 26, Some(0.25)));
        }
        cases.push(Self::new(Packed::new(&[65, 3], 0), 1, 128, Some(0.1)));
        cases
    }

    /// Every kernel, with sequences of three tiles, of whole ones, of a row more or less, of one row and of none.
    fn on_gpu() -> Vec<Self> {
        let mut cases = Self::small();
        let ragged = Packed::new(&[1, 15, 64, 65, 130, 0, 33], 5);
        cases.extend([None, Some(0.1)].map(|probability| Self::new(ragged.clone(), 2, 64, probability)));
        cases.push(Self::new(Packed::new(&[300, 7, 128], 3), 1, 64, None));
        cases.push(Self::new(Packed::new(&[257, 16], 0), 1, 128, None));
        cases.push(Self::new(Packed::new(&[129, 1, 0, 64], 130), 1, 128, Some(0.1)));
        cases.push(Self::new(Packed::new(&[30, 1, 0, 65, 32], 5), 3, 26, Some(0.25)));
        cases.push(Self::new(Packed::new(&[0, 0], 9), 1, 64, None));
        cases
    }

    fn small() -> Vec<Self> {
        vec![
            Self::new(Packed::new(&[4, 1, 0, 3], 0), 2, 3, None),
            Self::new(Packed::new(&[6, 2, 0], 0), 2, 5, Some(0.3)),
        ]
    }

    fn operands(&self, operands: &mut Operands) {
        let (rows, live, width) = (self.batch.rows, self.batch.live(), self.attention.width());
        operands
            .random_until("qkv", rows * 3 * width, live * 3 * width)
            .random_until("d_context", rows * width, live * width)
            .random("context", rows * width)
            .random("log_sum_exp", rows * self.attention.heads)
            .random("d_qkv", rows * 3 * width);
    }

    fn steps<B: Device<P>, P: Precision>(&self) -> Vec<Step<'_, B>> {
        // A score sums a head's width; what follows sums a sequence.
        let reduced = self.attention.head_width + self.batch.longest();
        vec![
            step! { p, reduced, attention_forward(&self.attention, attention::Forward {
                qkv: &p.read("qkv"),
                offsets: &self.batch.offsets,
                randomness: randomness(),
                context: &mut p.assign("context"),
                log_sum_exp: &mut p.assign("log_sum_exp"),
            }) },
            step! { p, reduced, attention_backward(&self.attention, attention::Backward {
                qkv: &p.read("qkv"),
                offsets: &self.batch.offsets,
                randomness: randomness(),
                context: &p.read("context"),
                log_sum_exp: &p.read("log_sum_exp"),
                d_context: &p.read("d_context"),
                d_qkv: &mut p.assign("d_qkv"),
            }) },
        ]
    }

    fn derivative(&self) -> Derivative {
        Derivative { output: "context", upstream: "d_context", gradients: vec![("qkv", "d_qkv")] }
    }
}
