//! Arguments that several commands share: a finished model, the processor.

use std::io::BufRead;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use engine::Device;
use kernels::cpu::Isa;
use model::{Origin, Report};
use train::config::{self, ConfigError, Layers, Pretrain, most_threads};
use train::data::{DataError, Format, Reading};
use train::files::is_address;
use train::inference::Inference;
use train::run::directory::{model_in, tokenizer_of};
use train::tokenizer::{LoadOptions, Tokenizer};
use train::training;
use train::visible::visible;

use crate::output::tell;

/// A model, finished or not.
#[derive(Args)]
pub struct ModelArguments {
    /// Model directory: config.json, model.safetensors and tokenizer files; a run, whose model/ is meant; a checkpoint of
    /// TensorFlow, its .tar.gz too; or hf:owner/name, from the Hub's cache on this machine
    #[arg(short, long, value_name = "DIR")]
    model: PathBuf,
    /// Tokenizer file or folder; not given: the one in the model directory
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    #[command(flatten)]
    cpu: CpuArguments,
    /// The model, of which an archive stays unpacked.
    #[arg(skip)]
    origin: OnceLock<Origin>,
}

/// What computes.
#[derive(Args)]
pub struct CpuArguments {
    /// Where to compute: cpu, cuda, cuda:1 or auto (a GPU if there is one)
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = device)]
    pub device: config::Device,
    /// Processor threads; not given: all cores. Results do not depend on it
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Instruction set: avx512bf16, avx512, avx2 or scalar; not given: the best there is
    #[arg(long, value_name = "NAME", value_parser = isa)]
    pub isa: Option<Isa>,
}

/// Reads the place of what is written. An address, or `~` where no shell has replaced it (as in `--out=~/run`), would become a
/// folder of that name here, where nobody looks for it.
pub fn place() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        if is_address(&path) {
            return Err("everything is written on this machine: name a place here, and copy from there");
        }
        if path.starts_with("~") {
            return Err(
                "a shell replaces ~ only where a word begins with it: write $HOME, or ./~ if that is meant",
            );
        }
        Ok(path)
    })
}

/// Reads the name of a device.
pub fn device(text: &str) -> Result<config::Device, String> {
    text.parse()
}

/// Reads the name of an instruction set.
fn isa(text: &str) -> Result<Isa, String> {
    let names = || Isa::ALL.map(|isa| isa.to_string()).join(", ");
    text.parse().map_err(|_| format!("there is no instruction set `{text}`; there are {}", names()))
}

/// Reads a number of threads.
pub fn threads(text: &str) -> Result<usize, String> {
    let most = most_threads();
    let within = text.parse().ok().filter(|threads| (1..=most).contains(threads));
    within.ok_or_else(|| {
        format!("from 1 to {most} on this machine; more than it has cores make nothing faster")
    })
}

impl CpuArguments {
    /// The device, which computes in f32 unless something else is asked of it.
    pub fn device(&self) -> Result<Device> {
        let mut settings = config::DeviceSettings {
            device: self.device,
            threads: self.threads,
            isa: self.isa.map(|isa| isa.to_string()),
            precision: config::Precision::F32,
            ..Default::default()
        };
        if let Some(said) = training::settle(&mut settings, None) {
            tell(format_args!("{said}"));
        }
        Ok(training::device(&settings)?)
    }
}

impl ModelArguments {
    /// The model, with a warning for what its configuration may have wrong.
    pub fn load(&self) -> Result<Inference> {
        let model = Inference::load(self.origin()?.path(), self.cpu.device()?)?;
        warn(model.warnings());
        let Report { unmapped, .. } = model.report();
        if !unmapped.is_empty() {
            tell(format_args!(
                "warning: tensors in {} that are not used: {}",
                model::WEIGHTS_FILE,
                visible(&unmapped.join(", "))
            ));
        }
        Ok(model)
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let options = LoadOptions::default();
        Ok(match &self.tokenizer {
            Some(path) => Tokenizer::load(&tokenizer_of(path)?, &options)?,
            None => Tokenizer::load(self.origin()?.folder(), &options)?,
        })
    }

    /// The model that is meant.
    fn origin(&self) -> Result<&Origin> {
        match self.origin.get() {
            Some(origin) => Ok(origin),
            None => {
                let found = Origin::of(&model_in(&self.model)?)?;
                Ok(self.origin.get_or_init(|| found))
            }
        }
    }
}

/// Tells what a person should know of a model.
pub fn warn(warnings: &[String]) {
    warnings.iter().for_each(|warning| tell(format_args!("warning: {}", visible(warning))));
}

/// Texts to work on one by one.
#[derive(Args)]
pub struct TextArguments {
    /// Texts; not given, or -: read from standard input, one a line
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
}

impl TextArguments {
    /// Works on each text, in order; blank lines of standard input are none.
    pub fn for_each(&self, mut work: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let reads_input = self.reads_input();
        self.for_each_line(|text| match text.trim() {
            "" if reads_input => Ok(()),
            text => work(text),
        })
    }

    fn reads_input(&self) -> bool {
        self.texts.is_empty() || self.texts == ["-"]
    }

    /// Works on each text, in order, blank lines of standard input too. A line ends with LF or CR LF and nowhere else.
    pub fn for_each_line(&self, mut work: impl FnMut(&str) -> Result<()>) -> Result<()> {
        if self.reads_input() {
            for (index, line) in std::io::stdin().lock().split(b'\n').enumerate() {
                let line = line.context("cannot read standard input")?;
                let text = std::str::from_utf8(&line).map_err(|error| DataError::InvalidUtf8 {
                    path: "standard input".into(),
                    line: index as u64 + 1,
                    column: error.valid_up_to() + 1,
                    advice: "convert it first, for example with `iconv`".into(),
                })?;
                let text = if index == 0 { text.strip_prefix('\u{FEFF}').unwrap_or(text) } else { text };
                work(text.strip_suffix('\r').unwrap_or(text))?;
            }
            return Ok(());
        }
        self.texts.iter().try_for_each(|text| work(text))
    }
}

/// How text is laid out.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum FormatArgument {
    /// One sentence a line, a blank line between documents
    Sentences,
    /// Paragraphs with a blank line between them, two or more blank lines between documents
    Prose,
    /// One JSON object a line, its "text" a document
    Jsonl,
}

/// How text files are read.
#[derive(Args, Clone)]
pub struct ReadingArguments {
    /// Layout of text files; not given: jsonl where a file's content or name says so, else sentences
    #[arg(long, value_enum)]
    format: Option<FormatArgument>,
    /// Skip and count lines that are not UTF-8 text, and records without a "text"
    #[arg(long)]
    skip_bad_lines: bool,
}

impl ReadingArguments {
    /// The same for the library.
    pub fn reading(&self) -> Reading {
        let format = self.format.map(|format| match format {
            FormatArgument::Sentences => Format::Sentences,
            FormatArgument::Prose => Format::Prose,
            FormatArgument::Jsonl => Format::Jsonl,
        });
        Reading { format, skip_bad_lines: self.skip_bad_lines }
    }
}

/// The settings of `pretrain` where only a few are given: key, flag, value.
pub fn few_settings(given: &[(&'static str, &'static str, Option<String>)]) -> Result<Pretrain, ConfigError> {
    let mut layers = Layers::<Pretrain>::new();
    for (key, flag, value) in given {
        if let Some(value) = value {
            layers.flag(key, flag, &[value]);
        }
    }
    Ok(layers.resolve()?.settings)
}
