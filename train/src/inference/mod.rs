//! A finished model at work: hidden states and logits of any sequences, and masks filled in.
//!
//! [`Inference`] holds a model on a device and runs [`Sequences`], padded matrices of token ids, as packed batches.
//! [`fill_mask`] goes from a text with `[MASK]` in it to the likeliest pieces.

mod encode;
mod error;
mod fill_mask;
mod row_file;
mod sequences;
mod sources;

use std::path::Path;

use engine::{Bindings, Device, DeviceError, PlanId, PlanOptions, Recompute, Runtime, State};
use model::{Albert, Capacity, Head, Mode, Report};

pub use encode::encode;
pub use error::InferenceError;
pub use fill_mask::{Candidate, Filled, MASK, SEPARATOR, fill_mask};
pub use sequences::Sequences;
pub use sources::read_sequences;

use crate::pretraining::{Batch, Pretraining};
use crate::tokenizer::Tokenizer;
use crate::training::{Evaluator, Metrics, Objective};

/// Tokens of one run, unless a single sequence has more.
const RUN_TOKENS: usize = 1024;
/// Tokens of one run of an evaluation: as many as a micro-batch of training has.
const EVALUATION_TOKENS: usize = 4096;

/// A model on a device, without what only training needs.
#[derive(Debug)]
pub struct Inference {
    albert: Albert,
    runtime: Runtime,
    /// What became of the files that the model comes from.
    report: Report,
    /// What a person should know of it.
    warnings: Vec<String>,
    /// Fingerprint of the tokenizer that it was trained with, as its weights' file has it.
    trained_with: Option<String>,
    /// Plans without and with logits, made when they are first used.
    plans: [Option<PlanId>; 2],
}

impl Inference {
    /// A model with the parameters `values`, in the layout of [`engine::Parameters`], on `device`.
    ///
    /// # Errors
    /// If they do not fit into the device's memory.
    pub fn new(albert: Albert, values: &[f32], device: Device) -> Result<Self, DeviceError> {
        let mut runtime = Runtime::new(device, albert.parameters().clone())?;
        runtime.write(State::Values, values);
        let (report, warnings) = (Report::default(), Vec::new());
        Ok(Self { albert, runtime, report, warnings, trained_with: None, plans: [None; 2] })
    }

    /// The model in `directory`, in transformers' layout, on `device`.
    ///
    /// # Errors
    /// If a file is missing, damaged or does not fit the configuration, or the model does not fit into memory.
    pub fn load(directory: &Path, device: Device) -> Result<Self, InferenceError> {
        let loaded = model::load(directory)?;
        let warnings = loaded.warnings();
        let new = Self::new(loaded.albert, &loaded.values, device)?;
        Ok(Self { report: loaded.report, warnings, trained_with: loaded.tokenizer, ..new })
    }

    /// The model.
    pub fn albert(&self) -> &Albert {
        &self.albert
    }

    /// What became of the files that the model comes from.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What a person should know of it although it can be used, in words.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Refuses a tokenizer that makes ids which the model has no row for, or others than those it was trained with.
    ///
    /// # Errors
    /// If it has more pieces than the model has rows, or is not the one whose fingerprint the model's files hold.
    pub fn expect_tokenizer(&self, tokenizer: &Tokenizer) -> Result<(), InferenceError> {
        Ok(tokenizer.expect_model(self.albert.config().vocab_size, self.trained_with.as_deref())?)
    }

    /// How many sequences of `length` columns are run together.
    fn sequences_per_run(&self, length: usize) -> usize {
        (RUN_TOKENS / length.max(1)).max(1)
    }

    /// Runs the encoder, and its heads if `logits` are asked for, on the sequences of `batch`; `batch.masked_rows` are the
    /// rows whose prediction logits are wanted.
    fn run(&mut self, batch: &Batch, logits: bool) -> Result<Outputs<'_>, InferenceError> {
        let plan = match self.plans[usize::from(logits)] {
            Some(plan) => plan,
            None => {
                let tokens = RUN_TOKENS.max(self.albert.config().max_position_embeddings);
                let capacity = Capacity { tokens, sequences: tokens, masked: tokens };
                let plan = self.albert.encoding_plan(capacity, logits, self.runtime.precision());
                *self.plans[usize::from(logits)].insert(self.runtime.load(plan)?)
            }
        };
        let lengths = [batch.tokens(), batch.sequences(), batch.predictions()];
        let integers = batch.integers();
        self.runtime
            .run(plan, &Bindings { lengths: &lengths, integers: &integers, ..Bindings::default() })?;
        Ok(Outputs { runtime: &self.runtime, plan })
    }

    /// Held-out figures of pre-training, the same as training measures.
    ///
    /// # Errors
    /// If the model lacks a head that pre-training trains, or a batch does not fit.
    pub fn evaluate(&mut self, objective: &Pretraining) -> Result<Metrics, InferenceError> {
        let (words, order) = (self.albert.predicts_words(), self.albert.predicts_order());
        for (has, head) in [(words, "masked-word head"), (order, "sentence-order head")] {
            if !has {
                return Err(InferenceError::MissingHead { head });
            }
        }
        let [tokens, sequences, masked] = objective.largest();
        let capacity = Capacity { tokens, sequences, masked };
        let options = PlanOptions { precision: self.runtime.precision(), recompute: Recompute::None };
        let plan = self.albert.plan(&Head::Pretraining, capacity, Mode::Evaluation, options);
        let plan = self.runtime.load(plan.expect("nothing is trained"))?;
        let metrics = objective.evaluate(&mut Evaluator::new(&mut self.runtime, plan, &|| false))?;
        Ok(metrics.expect("nobody stops it"))
    }

    /// How many sequences of at most `length` tokens an evaluation computes together.
    pub fn evaluation_batch(length: usize) -> usize {
        (EVALUATION_TOKENS / length.max(1)).max(1)
    }
}

/// What a run computed.
struct Outputs<'a> {
    runtime: &'a Runtime,
    plan: PlanId,
}

impl Outputs<'_> {
    fn read(&self, name: &str, into: &mut Vec<f32>) {
        self.runtime.read_output(self.plan, name, into);
    }
}
