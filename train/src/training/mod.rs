//! Training: what a run learns from, a model that learns, what is measured of it, and the loop that drives it.

mod benchmark;
mod best;
mod estimate;
mod evaluate;
mod learner;
mod materials;
mod metrics;
mod session;
mod trainer;

pub use benchmark::{RandomBatch, Timing, time_steps};
pub use best::Best;
pub use estimate::Estimate;
pub use evaluate::evaluate;
pub use learner::{Learner, Outcome};
pub use materials::{Materials, Workshop, dataset, drop_other_data, read_corpus};
pub use metrics::{Evaluation, Tally};
pub use session::{
    SessionError, albert_config, available_memory, bytes, capacity, cpu, held_out_batches, learner, machine,
    micro_batch,
};
pub use trainer::{Finished, Happening, TrainError, Trainer, TrainerOptions, TrainingState};
