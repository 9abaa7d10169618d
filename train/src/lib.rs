//! From text to a trained model: tokenizers, shards, batches, optimisation, runs.

pub mod config;
pub mod data;
mod draws;
pub mod exit;
pub mod files;
pub mod inference;
pub mod optimization;
pub mod run;
pub mod scores;
pub mod stories;
pub mod threads;
pub mod tokenizer;
pub mod training;
pub mod visible;
