//! From resolved settings to a finished model: everything between the command line and the loop.

use std::path::PathBuf;

use engine::{DeviceError, PlanOptions, Precision, Recompute};
use kernels::Cpu;
use kernels::cpu::{CpuError, Isa};
use model::{Albert, AlbertConfig, Capacity, Heads, ModelError};

use crate::config::{self, ModelSettings, Pretrain};
use crate::data::{Batch, DataError, Dataset, Normalizers, Position, Reader};
use crate::exit::{Classify, ExitCode};
use crate::run::checkpoint::CheckpointError;
use crate::run::directory::DirectoryError;
use crate::run::info::Machine;
use crate::threads::ThreadsError;
use crate::tokenizer::{Tokenizer, TokenizerError};

use super::error::TrainError;
use super::learner::Learner;

/// Why a session could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The run directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(Box<CheckpointError>),
    /// The loop.
    #[error(transparent)]
    Train(Box<TrainError>),
    /// The processor does not have what was asked for.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// The system gives no threads.
    #[error(transparent)]
    Threads(#[from] ThreadsError),
    /// A prepared folder together with something else.
    #[error(
        "{} is a folder: give one prepared folder, or one or more text files, not a mixture\n  \
         help: `albert-train prepare` makes one folder of all text files", folder.display()
    )]
    MixedSources {
        /// The folder.
        folder: PathBuf,
    },
    /// The device refused, for want of memory.
    #[error("{0}\n  help: use a smaller --micro-batch, a smaller model or shorter sequences, or free memory")]
    Refused(#[from] DeviceError),
    /// A device that this version cannot use.
    #[error("device {device} was asked for, but this version computes on the CPU only: use --device cpu")]
    Device {
        /// What was asked for.
        device: String,
    },
    /// The vocabulary and the tokenizer do not belong together.
    #[error(
        "model.vocab_size is {vocab_size}, but the tokenizer has {pieces} pieces: leave vocab_size out, or give at \
         least {pieces}"
    )]
    Vocabulary {
        /// Rows of the word table.
        vocab_size: usize,
        /// Pieces of the tokenizer.
        pieces: usize,
    },
    /// The step does not fit into memory.
    #[error(
        "a micro-batch of {micro_batch} sequences of {length} tokens needs about {needed} of memory ({activations} of it \
         activations: ALBERT shares its weights, not its activations); {available} are free\n  help: {advice}",
        needed = bytes(*.needed), activations = bytes(*.activations), available = bytes(*.available)
    )]
    Memory {
        /// Sequences.
        micro_batch: usize,
        /// Tokens of each.
        length: usize,
        /// Bytes needed.
        needed: usize,
        /// Of which activations.
        activations: usize,
        /// Bytes free.
        available: usize,
        /// What to do.
        advice: String,
    },
}

impl From<CheckpointError> for SessionError {
    fn from(error: CheckpointError) -> Self {
        Self::Checkpoint(Box::new(error))
    }
}

impl From<TrainError> for SessionError {
    fn from(error: TrainError) -> Self {
        Self::Train(Box::new(error))
    }
}

impl Classify for SessionError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Data(error) => error.exit_code(),
            Self::Tokenizer(error) => error.exit_code(),
            Self::Model(error) => error.exit_code(),
            Self::MixedSources { .. } | Self::Vocabulary { .. } => ExitCode::Usage,
            Self::Directory(error) => error.exit_code(),
            Self::Checkpoint(error) => error.exit_code(),
            Self::Train(error) => error.exit_code(),
            Self::Cpu(error) => error.exit_code(),
            Self::Threads(error) => error.exit_code(),
            Self::Device { .. } => ExitCode::Device,
            Self::Memory { .. } | Self::Refused(DeviceError::OutOfMemory { .. }) => ExitCode::Memory,
        }
    }
}

/// A number of bytes as a person reads it.
pub fn bytes(count: usize) -> String {
    match count {
        0..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}

/// The configuration of the model that `settings` describe, over a vocabulary of `pieces`.
///
/// # Errors
/// If the vocabulary does not hold the tokenizer's pieces.
pub fn albert_config(settings: &ModelSettings, tokenizer: &Tokenizer) -> Result<AlbertConfig, SessionError> {
    let pieces = tokenizer.vocabulary_size();
    let vocab_size = settings.vocab_size.unwrap_or(pieces);
    if vocab_size < pieces {
        return Err(SessionError::Vocabulary { vocab_size, pieces });
    }
    let special = tokenizer.special();
    Ok(AlbertConfig {
        pad_token_id: special.pad.into(),
        bos_token_id: special.classification.into(),
        eos_token_id: special.separator.into(),
        ..settings.albert_config(pieces)
    })
}

/// What the settings ask to compute with, looked at before anything is begun.
///
/// # Errors
/// If they ask for a device or an instruction set that this machine or this version lacks.
pub fn machine(settings: &config::DeviceSettings) -> Result<Machine, SessionError> {
    match settings.device {
        config::Device::Auto | config::Device::Cpu => {}
        config::Device::Cuda(_) => return Err(SessionError::Device { device: settings.device.to_string() }),
    }
    let isa = settings.isa.as_deref().map_or_else(Isa::chosen, str::parse)?;
    if !isa.is_available() {
        return Err(CpuError::MissingIsa { isa, best: Isa::available().last().unwrap_or(Isa::Scalar) }.into());
    }
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(Machine::new(isa.to_string(), settings.threads.unwrap_or_else(cores)))
}

/// The CPU that the settings ask for.
///
/// # Errors
/// As [`machine`]; and if its threads cannot be started.
pub fn cpu(settings: &config::DeviceSettings) -> Result<Cpu, SessionError> {
    let machine = machine(settings)?;
    Ok(Cpu::new(Some(machine.threads), Some(machine.isa.parse()?))?)
}

/// What the settings ask to store activations in.
pub fn precision(settings: &config::DeviceSettings) -> Precision {
    match settings.precision {
        config::Precision::F32 | config::Precision::Auto => Precision::F32,
        config::Precision::Bf16 => Precision::Bf16,
    }
}

/// Tokens of a micro-batch that nobody gave a size: enough for matrix products to be efficient, little enough for
/// activations to stay small. A function of the settings alone, so that a run is the same on any machine.
const MICRO_BATCH_TOKENS: usize = 4096;

/// Sequences that are computed together.
pub fn micro_batch(settings: &Pretrain) -> usize {
    let fitting = (MICRO_BATCH_TOKENS / settings.sampling.max_seq_length).max(1);
    settings.training.micro_batch.unwrap_or(fitting).min(settings.training.batch)
}

/// The most that a micro-batch of `sequences` holds.
pub fn capacity(settings: &Pretrain, sequences: usize) -> Capacity {
    let length = settings.sampling.max_seq_length;
    let predictions = settings.masking.predictions(length) * if settings.masking.permutation { 2 } else { 1 };
    Capacity { tokens: sequences * length, sequences, masked: sequences * predictions }
}

/// Bytes that a training step needs: all of it, and the activations.
fn memory(albert: &Albert, settings: &Pretrain, sequences: usize) -> (usize, usize) {
    let options = PlanOptions { precision: precision(&settings.device), recompute: Recompute::None };
    let plan = albert.pretraining_plan(capacity(settings, sequences), options);
    let plan = plan.expect("pre-training reaches every parameter");
    (plan.arena_size() + plan.parameter_size(), plan.arena_size())
}

/// The most sequences that fit, fewer than `too_many`, where more need more.
fn most_fitting(too_many: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut fitting, mut too_many) = (0, too_many);
    while too_many - fitting > 1 {
        let middle = fitting.midpoint(too_many);
        *if fits(middle) { &mut fitting } else { &mut too_many } = middle;
    }
    fitting
}

/// A model with fresh parameters, ready for the micro-batches that `settings` ask for.
///
/// # Errors
/// If the device cannot be had, or a step does not fit into `available` bytes of memory.
pub fn learner(
    settings: &Pretrain,
    config: AlbertConfig,
    available: Option<usize>,
) -> Result<Learner, SessionError> {
    let device = engine::Device::Cpu(cpu(&settings.device)?);
    let albert = Albert::new(config, Heads::PRETRAINING).map_err(ModelError::from)?;
    let sequences = micro_batch(settings);
    let (needed, activations) = memory(&albert, settings, sequences);
    if let Some(available) = available.filter(|&available| available < needed) {
        let advice = match most_fitting(sequences, |fewer| memory(&albert, settings, fewer).0 <= available) {
            0 => "not even one sequence fits: use a smaller model (--preset) or shorter sequences (--max-seq-length), or \
                  free memory"
                .into(),
            fewer => format!(
                "--micro-batch {fewer} fits and gives the same result up to rounding, only slower; a smaller model \
                 (--preset) or shorter sequences (--max-seq-length) need less as well"
            ),
        };
        let length = settings.sampling.max_seq_length;
        return Err(SessionError::Memory {
            micro_batch: sequences,
            length,
            needed,
            activations,
            available,
            advice,
        });
    }
    let capacity = capacity(settings, sequences);
    Ok(Learner::new(
        albert,
        device,
        precision(&settings.device),
        capacity,
        Recompute::None,
        settings.training.seed,
    )?)
}

/// The first `sequences` examples of a held-out dataset, always the same, in batches of `micro_batch`.
pub fn held_out_batches(
    dataset: std::sync::Arc<Dataset>,
    sequences: usize,
    micro_batch: usize,
) -> Vec<Batch> {
    let within_epoch = dataset.epoch(0).samples().min(sequences as u64) as usize;
    let examples = Reader::new(dataset, Position::default()).examples(within_epoch);
    examples.chunks(micro_batch).map(|part| Batch::pack(part, Normalizers::of(part))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_fits_is_found() {
        for (most, too_many) in [(0, 1), (0, 2), (1, 2), (5, 6), (5, 100), (0, 100), (98, 100), (99, 100)] {
            assert_eq!(most_fitting(too_many, |sequences| sequences <= most), most, "of {too_many}");
        }
    }
}
