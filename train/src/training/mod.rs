//! Training: a model that learns, what is measured of it, and the loop that drives it.

mod learner;
mod metrics;
mod trainer;

pub use learner::{Learner, Outcome};
pub use metrics::{Evaluation, Tally};
pub use trainer::{Finished, Happening, TrainError, Trainer, TrainerOptions, TrainingState};
