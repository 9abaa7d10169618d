//! `albert-train bench gemm` and `bench kernels`: the kernels of a model's training step one by one, and those of other heads.

use anyhow::Result;
use clap::Args;
use engine::{Device, Precision};
use kernels::precision::{Bf16, F32};
use kernels::{Kernels, Peak};
use serde_json::{Map, Value};
use train::exit::ExitCode;
use train::run::info::Machine;
use train::training::{self, SessionError};

use super::VOCABULARY_SIZE;
use super::calls::{self, Sizes};
use super::timing::Bench;
use crate::arguments::{CpuArguments, few_settings};
use crate::output::tell;

/// Tokens where none are asked for: a small batch for a processor, a full micro-batch for a GPU.
const TOKENS: [usize; 2] = [1024, 33_792];

/// Kernels, and the sizes of their operands.
#[derive(Args)]
pub struct Arguments {
    /// Only kernels that have one of these words in their name
    #[arg(value_name = "WORD")]
    words: Vec<String>,
    /// Model size: micro, tiny, small, base, large, xlarge, xxlarge, or base-v1 … with dropout
    #[arg(long, default_value = "base")]
    preset: String,
    /// Tokens of each sequence
    #[arg(long, default_value_t = 128, value_name = "N")]
    seq: usize,
    /// Tokens computed at a time; not given: 1024 on a processor, 33 792 on a GPU
    #[arg(long, value_name = "N")]
    tokens: Option<usize>,
    /// f32, bf16 or auto (f32 on a processor, bf16 on a GPU)
    #[arg(long, default_value = "auto")]
    precision: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cpu: CpuArguments,
}

/// Which kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Products of matrices.
    Products,
    /// All others.
    Others,
}

/// Runs the command.
pub fn run(arguments: &Arguments, kind: Kind) -> Result<ExitCode> {
    let Arguments { words, preset, seq, tokens, precision, json, cpu } = arguments;
    let mut settings = few_settings(&[
        ("model.preset", "--preset", Some(preset.clone())),
        ("sampling.max_seq_length", "--seq", Some(seq.to_string())),
        ("device.device", "--device", Some(cpu.device.to_string())),
        ("device.precision", "--precision", Some(precision.clone())),
        ("device.threads", "--threads", cpu.threads.map(|threads| threads.to_string())),
        ("device.isa", "--isa", cpu.isa.map(|isa| isa.to_string())),
    ])?;
    if let Some(said) = training::settle(&mut settings.device, None) {
        tell(format_args!("{said}"));
    }
    let machine = training::machine(&settings.device)?;
    let device = training::device(&settings.device)?;
    let [few, many] = TOKENS;
    let tokens = tokens.unwrap_or(if matches!(device, Device::Cuda(_)) { many } else { few });
    let config = settings.model.albert_config(VOCABULARY_SIZE);
    let sizes = Sizes::new(config, tokens, *seq, settings.masking.predictions(*seq))?;
    let about = Map::from_iter([
        ("preset".to_owned(), preset.as_str().into()),
        ("sequence_length".to_owned(), (*seq).into()),
        ("tokens".to_owned(), sizes.rows().into()),
    ]);
    let run = Run { kind, sizes, about, machine, words, json: *json };
    match (device, training::precision(&settings.device)) {
        (Device::Cuda(gpu), precision) => {
            let peak = gpu.peak().map_err(SessionError::from)?;
            if precision == Precision::Bf16 {
                run.on::<_, Bf16>(&*gpu, peak)
            } else {
                run.on::<_, F32>(&*gpu, peak)
            }
        }
        (Device::Cpu(cpu), Precision::Bf16) => run.on::<_, Bf16>(&cpu, cpu.peak()),
        (Device::Cpu(cpu), _) => run.on::<_, F32>(&cpu, cpu.peak()),
        (Device::Reference, _) => unreachable!("no setting names the oracle"),
    }
}

/// What is to be timed, whatever on.
struct Run<'a> {
    kind: Kind,
    sizes: Sizes,
    about: Map<String, Value>,
    machine: Machine,
    words: &'a [String],
    json: bool,
}

impl Run<'_> {
    fn on<B: Kernels<P>, P: kernels::Precision>(self, backend: &B, peak: Peak) -> Result<ExitCode> {
        let Self { kind, sizes, about, machine, words, json } = self;
        let mut bench = Bench::<B, P>::new(backend, machine, peak, words, json)?;
        match kind {
            Kind::Products => calls::products(&mut bench, &sizes)?,
            Kind::Others => calls::others(&mut bench, &sizes)?,
        }
        bench.finish(about)?;
        Ok(ExitCode::Done)
    }
}
