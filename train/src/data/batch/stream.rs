//! Batches made ahead of time, on a thread of their own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use super::packed::{Batch, Normalizers};
use crate::data::error::DataError;
use crate::data::pretraining::{Dataset, Position, Reader};
use crate::threads::ThreadsError;

/// One optimisation batch, in micro-batches.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The micro-batches; their losses add up to the loss of the whole.
    pub micro_batches: Vec<Batch>,
    /// Where the batch begins.
    pub from: Position,
    /// Where the next one begins: the position to resume at once this batch is learnt.
    pub until: Position,
}

/// Makes optimisation batches one after the other, batch n + 1 while n is being learnt from.
///
/// Dropping it ends its thread.
#[derive(Debug)]
pub struct BatchStream {
    steps: Receiver<Step>,
}

impl BatchStream {
    /// Begins at `position` with batches of `batch_size` examples, at most `micro_batch_size` of them together.
    ///
    /// # Errors
    /// If a size is 0, or the system gives no thread.
    pub fn start(
        dataset: Arc<Dataset>,
        position: Position,
        batch_size: usize,
        micro_batch_size: usize,
    ) -> Result<Self, DataError> {
        for (option, size) in [("batch_size", batch_size), ("micro_batch_size", micro_batch_size)] {
            if size == 0 {
                return Err(DataError::Option { option, value: "0".into(), reason: "it must be at least 1" });
            }
        }
        let (sender, steps) = sync_channel(1);
        let make = move || {
            let mut reader = Reader::new(dataset, position);
            // Sending fails once nobody listens any more.
            while sender.send(next_step(&mut reader, batch_size, micro_batch_size)).is_ok() {}
        };
        thread::Builder::new()
            .name("batches".into())
            .spawn(make)
            .map_err(ThreadsError::of("the thread that makes batches"))?;
        Ok(Self { steps })
    }

    /// The next batch, waiting for it where it is not ready.
    pub fn next_step(&mut self) -> Step {
        let step = self.steps.recv();
        step.expect("the thread ends before its receiver only by a panic, which has been reported")
    }
}

/// The next `batch_size` examples of `reader` as one optimisation batch.
pub fn next_step(reader: &mut Reader, batch_size: usize, micro_batch_size: usize) -> Step {
    let from = reader.position();
    let examples = reader.examples(batch_size);
    let normalizers = Normalizers::of(&examples);
    let micro_batches =
        examples.chunks(micro_batch_size).map(|part| Batch::pack(part, normalizers)).collect();
    Step { micro_batches, from, until: reader.position() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::pretraining::synthetic::{self, Shape};

    #[test]
    fn batches_follow_each_other_and_resume() {
        let dataset = Arc::new(synthetic::dataset(&Shape::default(), 64, 7));
        let mut stream = BatchStream::start(dataset.clone(), Position::default(), 10, 4).unwrap();
        let steps: Vec<Step> = (0..40).map(|_| stream.next_step()).collect();
        assert!(steps.last().unwrap().until.epoch > 0, "an epoch's end lies within");
        for pair in steps.windows(2) {
            assert_eq!(pair[0].until, pair[1].from);
        }
        for step in &steps {
            let sequences: Vec<usize> = step.micro_batches.iter().map(Batch::sequences).collect();
            assert_eq!(sequences, [4, 4, 2]);
        }
        let mut resumed = BatchStream::start(dataset, steps[17].from, 10, 4).unwrap();
        assert_eq!(resumed.next_step(), steps[17]);
        assert_eq!(resumed.next_step(), steps[18]);
    }

    #[test]
    fn empty_batches_are_refused() {
        let dataset = Arc::new(synthetic::dataset(&Shape::default(), 64, 7));
        let start = |batch, micro| BatchStream::start(dataset.clone(), Position::default(), batch, micro);
        assert!(matches!(start(0, 1), Err(DataError::Option { option: "batch_size", .. })));
        assert!(matches!(start(1, 0), Err(DataError::Option { option: "micro_batch_size", .. })));
    }
}
