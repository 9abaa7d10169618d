//! A run: its directory, lock, checkpoints, journal and progress, and how it is stopped.

pub mod checkpoint;
pub mod files;
#[cfg(test)]
mod simulated_disk;
