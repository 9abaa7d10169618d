//! Training: a model that learns, what is measured of it, the loop that drives it, and the session that a command runs.
//!
//! Nothing here knows a task. What differs between pre-training and fine-tuning is an [`Objective`], which gives batches and
//! says what their predictions are worth, and a [`Job`], which gathers data and makes a model for a [`Session`].

mod alarm;
mod best;
mod choices;
mod companions;
mod device;
mod error;
mod estimate;
mod event;
mod inputs;
mod interval;
mod job;
mod learner;
mod memory;
mod metrics;
mod objective;
mod session;
mod state;
mod stream;
mod trainer;

pub use alarm::Alarm;
pub use best::Best;
pub use device::{
    available_memory, bytes, cpu, device, machine, most_fitting, precision, recompute, recompute_that_fits,
    settle,
};
pub use error::{SessionError, TrainError};
pub use estimate::Estimate;
pub use event::TrainEvent;
pub use inputs::{Evaluator, Inputs, Outputs};
pub use interval::{Interval, Outlier, StepTime};
pub use job::{Job, Prepared, Publish, Published, RunSettings};
pub use learner::{Learner, Outcome, Plans};
pub use memory::resident_memory;
pub use metrics::{Measure, Metrics, Sums};
pub use objective::{Finding, Objective, Position, Step, Terms};
pub use session::{Ended, Session, Watch, rehearse};
pub use state::TrainingState;
pub use stream::BatchStream;
pub use trainer::{Finished, Trainer, TrainerOptions};
