//! A run: its directory, lock, checkpoints, journal and progress, and how it is stopped.

pub mod checkpoint;
pub mod clock;
pub mod directory;
pub mod info;
pub mod journal;
pub mod lock;
pub mod progress;
pub mod save_schedule;
pub mod signals;
#[cfg(test)]
mod simulated_disk;
pub mod tensorboard;
