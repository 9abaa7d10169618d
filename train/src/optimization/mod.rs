//! How the weights are to move: optimizer settings, the learning rate over time, and the guard against bad numbers.

pub mod guard;
pub mod schedule;
pub mod settings;

pub use guard::{Action, Guard};
pub use schedule::Schedule;
pub use settings::{OptimizerKind, OptimizerSettings};
