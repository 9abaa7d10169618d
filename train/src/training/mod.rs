//! Training: what a run learns from, a model that learns, what is measured of it, and the loop that drives it.

mod benchmark;
mod best;
mod error;
mod estimate;
mod evaluate;
mod happening;
mod learner;
mod materials;
mod memory;
mod metrics;
mod session;
mod state;
mod trainer;

pub use benchmark::{RandomBatch, Timing, time_steps};
pub use best::Best;
pub use error::TrainError;
pub use estimate::Estimate;
pub use evaluate::evaluate;
pub use happening::Happening;
pub use learner::{Learner, Outcome};
pub use materials::{Materials, Workshop, dataset, drop_other_data, read_corpus};
pub use memory::{available_memory, resident_memory};
pub use metrics::{Evaluation, Tally};
pub use session::{
    SessionError, albert_config, bytes, capacity, cpu, held_out_batches, learner, machine, micro_batch,
};
pub use state::TrainingState;
pub use trainer::{Finished, Trainer, TrainerOptions};
