//! Arguments that several commands share: a finished model, the processor.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use engine::Device;
use kernels::Cpu;
use kernels::cpu::Isa;
use train::inference::Inference;
use train::tokenizer::{LoadOptions, Tokenizer};

/// A finished model.
#[derive(Args)]
pub struct ModelArguments {
    /// Model directory: config.json, model.safetensors and tokenizer files
    #[arg(short, long, value_name = "DIR")]
    model: PathBuf,
    /// Tokenizer file or folder; not given: the one in the model directory
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    #[command(flatten)]
    cpu: CpuArguments,
}

/// The processor.
#[derive(Args)]
pub struct CpuArguments {
    /// Processor threads; not given: all cores. Results do not depend on it
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Instruction set: avx512, avx2 or scalar; not given: the best there is
    #[arg(long, value_name = "NAME")]
    pub isa: Option<String>,
}

impl CpuArguments {
    /// The device.
    pub fn device(&self) -> Result<Device> {
        let isa = self.isa.as_deref().map(str::parse::<Isa>).transpose()?;
        Ok(Device::Cpu(Cpu::new(self.threads, isa)?))
    }
}

impl ModelArguments {
    /// The model, with a warning for what its configuration may have wrong.
    pub fn load(&self) -> Result<Inference> {
        let model = Inference::load(&self.model, self.cpu.device()?)?;
        for note in model.albert().config().notes() {
            eprintln!("warning: {note}");
        }
        Ok(model)
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        Ok(Tokenizer::load(self.tokenizer.as_ref().unwrap_or(&self.model), &LoadOptions::default())?)
    }
}
