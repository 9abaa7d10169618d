//! From text to a trained ALBERT: tokenizers, prepared text, samples, optimisation, runs, and what a finished model can do.
//!
//! The command line is one user of this crate; everything that it does can be done from here. The way of a run:
//!
//! 1. [`config`] resolves settings from files, variables and flags, and knows where each value comes from.
//! 2. [`tokenizer`] turns text into ids; [`data`] turns text into shards of ids; [`pretraining`] turns shards into samples, and
//!    samples into packed batches.
//! 3. [`training`] has a [`Learner`](training::Learner), which is a model with its gradients and moments on a device, the
//!    [`Trainer`](training::Trainer), the loop that drives it, and the [`Session`](training::Session), which is all that a
//!    command does with a run; [`optimization`] says how far each step goes.
//! 4. [`run`] is the directory in which all of this can be stopped at any moment and continued: checkpoints, journal, lock,
//!    signals.
//! 5. [`inference`] loads a finished model and fills masks, encodes and evaluates.
//!
//! [`report`] shows a run, or several side by side, as a page for people.
//!
//! [`tables`] reads rows of examples, [`finetuning`] has the tasks that they make: GLUE, SQuAD, RACE, tables of one's own.
//! [`hub`] finds models that were fetched before, [`stories`] makes up a small corpus where there is none, [`scores`] has the metrics of GLUE, SQuAD and RACE, [`exit`] says how a program ends because of an error, and
//! [`files`] writes files whole or not at all.
//!
//! One gradient from three sentences of text, without a run:
//!
//! ```
//! use std::sync::Arc;
//! use train::config::{Layers, Pretrain};
//! use train::data::{Corpus, Selection, ShardBuilder, TokenizerIdentity};
//! use train::pretraining::{self, Batch, Normalizers, Reader};
//! use train::tokenizer::{TrainOptions, Tokenizer};
//! use train::training::Position;
//!
//! let text = ["The cat saw the dog.", "The dog slept in the garden.", "The cat slept, too."];
//! let tokenizer = Tokenizer::train(text, &TrainOptions { vocabulary_size: 45, ..TrainOptions::default() })?;
//! let mut shard = ShardBuilder::new(tokenizer.vocabulary_size())?;
//! text.iter().for_each(|sentence| shard.push_sentence(&tokenizer.encode(sentence)));
//! let corpus = Arc::new(Corpus::new(vec![shard.into_shard()], TokenizerIdentity::of(&tokenizer)));
//!
//! let mut layers = Layers::<Pretrain>::new();
//! layers.toml("[model]\npreset = 'micro'\n[training]\nbatch = 2", "example.toml".as_ref());
//! let settings = layers.resolve()?.settings;
//! let dataset = pretraining::dataset(&tokenizer, corpus, Selection::All, &settings, settings.training.seed)?;
//! let examples = Reader::new(dataset, Position::default()).examples(2);
//!
//! let config = pretraining::albert_config(&settings.model, &tokenizer)?;
//! let mut learner = pretraining::learner(&settings, config, None)?;
//! let outcome = learner.gradient(&[Batch::pack(&examples, Normalizers::of(&examples)).into_inputs()], 0)?;
//! // Before the first step a model knows nothing: any piece is as likely as any other, and so is either order.
//! let guessing = (tokenizer.vocabulary_size() as f64).ln() + 2f64.ln();
//! assert!((outcome.loss - guessing).abs() < 1.0, "{} is far from {guessing}", outcome.loss);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod config;
pub mod data;
mod draws;
pub mod exit;
pub mod files;
pub mod finetuning;
pub mod hub;
pub mod inference;
#[cfg(test)]
mod messages;
pub mod optimization;
mod permutation;
pub mod pretraining;
pub mod report;
pub mod run;
pub mod scores;
pub mod shell;
pub mod stories;
pub mod tables;
pub mod threads;
pub mod tokenizer;
pub mod training;
pub use model::visible;
