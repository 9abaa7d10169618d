//! The sections of [`Pretrain`](super::Pretrain) other than the model.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::{Device, Interval, KeyHelp, Span};
use super::DEFAULT_STEPS;
use crate::data::{Format, Reading};
use crate::optimization::{OptimizerKind, OptimizerSettings};

/// `[data]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSettings {
    /// Text files or prepared folders; empty for the built-in stories.
    pub train: Vec<PathBuf>,
    /// Text or prepared folders for evaluation; empty to hold documents of `train` out.
    pub held_out: Vec<PathBuf>,
    /// Distance between held-out documents of `train`.
    pub held_out_every: usize,
    /// How text files are laid out; `None` for each as its content and name say.
    pub format: Option<Format>,
    /// Leave out lines that cannot be read.
    pub skip_bad_lines: bool,
    /// A tokenizer's file or folder; `None` for that of the prepared folder, or one trained on the text.
    pub tokenizer: Option<PathBuf>,
}

impl Default for DataSettings {
    fn default() -> Self {
        DataSettings {
            train: Vec::new(),
            held_out: Vec::new(),
            held_out_every: 100,
            format: None,
            skip_bad_lines: false,
            tokenizer: None,
        }
    }
}

impl DataSettings {
    /// How text files are read.
    pub fn reading(&self) -> Reading {
        Reading { format: self.format, skip_bad_lines: self.skip_bad_lines }
    }
}

/// `[optimizer]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LearningSettings {
    /// Which optimizer: the key `optimizer.optimizer`, so that the flag is `--optimizer`.
    #[serde(rename = "optimizer")]
    pub kind: OptimizerKind,
    /// Its highest learning rate; `None` only before the rule for the batch size is applied.
    pub learning_rate: Option<f64>,
    /// Steps over which it rises; `None` only before the rule for the batch size is applied.
    pub warmup_steps: Option<u64>,
    /// The step at which it begins to rise.
    pub start_warmup_step: u64,
    /// Power of its decay to zero.
    pub poly_power: f64,
    /// See [`OptimizerSettings::beta1`].
    pub beta1: f64,
    /// See [`OptimizerSettings::beta2`].
    pub beta2: f64,
    /// See [`OptimizerSettings::epsilon`].
    pub epsilon: f64,
    /// See [`OptimizerSettings::weight_decay`].
    pub weight_decay: f64,
    /// See [`OptimizerSettings::clip_norm`].
    pub clip_norm: f64,
    /// See [`OptimizerSettings::bias_correction`].
    pub bias_correction: bool,
}

impl LearningSettings {
    /// The keys whose meaning does not depend on what is learnt, with a line of help.
    pub(crate) const KEYS: &'static [KeyHelp] = &[
        ("optimizer.start_warmup_step", "step at which the learning rate begins to rise"),
        ("optimizer.poly_power", "power of the learning rate's decay to zero; 1 is linear"),
        ("optimizer.beta1", "decay of the first moment"),
        ("optimizer.beta2", "decay of the second moment"),
        ("optimizer.epsilon", "added to the root of the second moment"),
        ("optimizer.weight_decay", "weight decay; not for biases and layer norms"),
        ("optimizer.clip_norm", "largest global norm of the gradient; 0 for no limit"),
        (
            "optimizer.bias_correction",
            "correct the moments' bias, as the papers do and ALBERT's code does not",
        ),
    ];
}

impl Default for LearningSettings {
    fn default() -> Self {
        let OptimizerSettings { kind, beta1, beta2, epsilon, weight_decay, clip_norm, bias_correction } =
            OptimizerSettings::default();
        LearningSettings {
            kind,
            learning_rate: None,
            warmup_steps: None,
            start_warmup_step: 0,
            poly_power: 1.0,
            beta1,
            beta2,
            epsilon,
            weight_decay,
            clip_norm,
            bias_correction,
        }
    }
}

/// Steps that a line of the journal is the mean of where nobody says.
pub(in crate::config) const LOG_EVERY: u64 = 10;

/// `[training]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingSettings {
    /// Optimizer steps of the whole run, where neither `epochs` nor `tokens` says how long it is.
    pub steps: u64,
    /// Passes over the training data.
    pub epochs: Option<f64>,
    /// Tokens to learn from, in as many passes as it takes.
    pub tokens: Option<u64>,
    /// Sequences per optimizer step.
    pub batch: usize,
    /// Sequences computed at a time; `None` for as many as fit.
    pub micro_batch: Option<usize>,
    /// What backward computes again instead of keeping it.
    pub recompute: Recompute,
    /// Compute the last layer for the rows alone that the losses read.
    pub gather_last_layer: bool,
    /// Steps between held-out evaluations.
    pub eval_every: u64,
    /// Sequences per evaluation.
    pub eval_sequences: usize,
    /// Steps that a line of the journal is the mean of.
    pub log_every: u64,
    /// Keep TensorBoard's event files too.
    pub tensorboard: bool,
    /// Steps or time between checkpoints.
    pub save_every: Interval,
    /// Checkpoints kept besides the best.
    pub keep: usize,
    /// Decides initial weights, order of samples, masks and dropout.
    pub seed: u64,
    /// Stop, with a checkpoint, after this time.
    pub max_time: Option<Span>,
}

impl Default for TrainingSettings {
    fn default() -> Self {
        TrainingSettings {
            steps: DEFAULT_STEPS,
            epochs: None,
            tokens: None,
            batch: 256,
            micro_batch: None,
            recompute: Recompute::None,
            gather_last_layer: true,
            eval_every: 1000,
            eval_sequences: 1024,
            log_every: LOG_EVERY,
            tensorboard: true,
            save_every: Interval::Time(Duration::from_secs(30 * 60)),
            keep: 3,
            seed: 1,
            max_time: None,
        }
    }
}

/// What backward computes again instead of keeping it: time for memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// Nothing.
    #[default]
    None,
    /// The activations of the feed-forward layers.
    Gelu,
    /// Everything but each layer's input: a third more work.
    Layer,
}

impl Recompute {
    /// Its key, with a line of help.
    pub(crate) const KEY: KeyHelp = (
        "training.recompute",
        "what backward computes again to need less memory, with the same result (gelu in bf16: up to rounding): none, gelu, or \
         layer (a third more work)",
    );
}

/// What activations are stored in; weights, gradients of weights and moments are always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    F32,
    /// 16 bits with the exponent of f32.
    Bf16,
    /// f32 on a processor, where a run then gives the same on any; bf16 on a GPU.
    #[default]
    Auto,
}

impl std::str::FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "auto" => Ok(Self::Auto),
            _ => Err(format!("`{text}` is not a precision: expected f32, bf16 or auto")),
        }
    }
}

/// `[device]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceSettings {
    /// Where to compute.
    pub device: Device,
    /// Threads on the processor; `None` for all cores. The results do not depend on it.
    pub threads: Option<usize>,
    /// Instruction set of the processor; `None` for the best it has.
    pub isa: Option<String>,
    /// What numbers are computed in.
    pub precision: Precision,
    /// Whether nothing that a result depends on is found out by timing.
    pub deterministic: bool,
}

impl DeviceSettings {
    /// Its keys, with a line of help.
    pub(crate) const KEYS: &'static [KeyHelp] = &[
        ("device.device", "auto, cpu, cuda or cuda:1"),
        ("device.threads", "processor threads; not set: all cores. Results do not depend on it"),
        (
            "device.isa",
            "instruction set: avx512bf16, avx512, avx2 or scalar; not set: the best there is. Results differ in the last bits",
        ),
        (
            "device.precision",
            "f32, bf16 or auto (f32 on a processor, bf16 on a GPU); weights and moments are always f32",
        ),
        (
            "device.deterministic",
            "on a GPU, take the algorithm that cuBLASLt proposes first for each matrix product, so that two runs on GPUs of one kind give the same; else the fastest are found by timing at the start of a run, and kept",
        ),
    ];
}

impl Default for DeviceSettings {
    fn default() -> Self {
        DeviceSettings {
            device: Device::Auto,
            threads: None,
            isa: None,
            precision: Precision::Auto,
            deterministic: false,
        }
    }
}

impl LearningSettings {
    /// What the optimizer is told.
    pub fn optimizer(&self) -> OptimizerSettings {
        OptimizerSettings {
            kind: self.kind,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            clip_norm: self.clip_norm,
            bias_correction: self.bias_correction,
        }
    }
}
