//! Batches made ahead of time, on a thread of their own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use super::objective::{Objective, Position, Step};
use crate::threads::ThreadsError;

/// How often a wait for a batch looks for a request to stop.
const POLL: Duration = Duration::from_millis(20);

/// Makes optimisation batches one after the other, batch n + 1 while n is being learnt from.
///
/// Dropping it ends its thread.
#[derive(Debug)]
pub struct BatchStream {
    steps: Receiver<Step>,
}

impl BatchStream {
    /// Begins with the batch at `position`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(objective: Arc<dyn Objective>, position: Position) -> Result<Self, ThreadsError> {
        let (sender, steps) = sync_channel(1);
        let make = move || {
            // Sending fails once nobody listens any more.
            objective.steps(position).map_while(|step| sender.send(step).ok()).for_each(drop);
        };
        let what = "the thread that makes batches";
        ThreadsError::expect_room(what)?;
        thread::Builder::new().name("batches".into()).spawn(make).map_err(ThreadsError::of(what))?;
        Ok(Self { steps })
    }

    /// The next batch, waiting for it where it is not ready; `None`, with the batch still to come, where `is_asked` to stop
    /// meanwhile: a batch of thousands of sequences takes seconds to make.
    pub fn next_step(&mut self, is_asked: &dyn Fn() -> bool) -> Option<Step> {
        loop {
            match self.steps.recv_timeout(POLL) {
                Ok(step) => return Some(step),
                Err(RecvTimeoutError::Timeout) if is_asked() => return None,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the thread ends before its receiver only by a panic, which has been reported")
                }
            }
        }
    }
}
