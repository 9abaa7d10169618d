//! `albert-train plan`: what a training step costs, without a device and without data.

use anyhow::Result;
use clap::{Args, ValueEnum};
use engine::{Plan, PlanOptions, WorkSpace};
use kernels::cuda;
use model::{Albert, Capacity, Head, Mode, ModelError};
use serde_json::json;
use train::config::Device;
use train::exit::ExitCode;
use train::training::{bytes, most_fitting};

use crate::arguments::{device, few_settings};
use crate::output::say;

/// Rows are counted in 32 bits.
const MOST_TOKENS: u64 = 1 << 30;
/// Bytes that a process takes of a GPU before it asks for any: CUDA's context, code of libraries and kernels. About, for it is
/// another number on every GPU and driver; `nvidia-smi` shows it.
const CONTEXT: usize = 600 << 20;

/// What backward computes again.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Recompute {
    /// Nothing: every value is kept
    None,
    /// The activations of the feed-forward layers
    Gelu,
    /// Everything but each layer's input
    Layer,
}

/// What activations are stored in.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Precision {
    /// f32 on a processor, bf16 on a GPU
    Auto,
    /// 32 bits
    F32,
    /// 16 bits; weights, their gradients and moments stay f32
    Bf16,
}

/// Plan a training step: kernel calls, arithmetic and memory, with no device and no data.
#[derive(Args)]
pub struct Arguments {
    /// Model size: micro, tiny, small, base, large, xlarge, xxlarge, or base-v1 … with dropout
    #[arg(long, default_value = "base")]
    preset: String,
    /// Tokens computed at a time
    #[arg(long, default_value_t = 4096, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_TOKENS))]
    tokens: u64,
    /// Tokens of each sequence
    #[arg(long, default_value_t = 128, value_name = "N")]
    seq: usize,
    /// Rows of the word table
    #[arg(long, default_value_t = 30_000, value_name = "N")]
    vocab_size: usize,
    /// What backward computes again to need less memory
    #[arg(long, value_enum, default_value_t = Recompute::None)]
    recompute: Recompute,
    /// What activations are stored in
    #[arg(long, value_enum, default_value_t = Precision::Auto)]
    precision: Precision,
    /// What is planned for: cpu, or cuda or cuda:1, which need not be there
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = device)]
    device: Device,
    /// Memory of the device, such as 80GB or 24GiB: whether the step fits, and how many tokens would; not given: that of the GPU,
    /// if it is there
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<usize>,
    /// Print every kernel call with its places in memory
    #[arg(long)]
    steps: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { preset, tokens, seq, vocab_size, recompute, steps, json, .. } = arguments;
    let settings = few_settings(&[
        ("model.preset", "--preset", Some(preset.clone())),
        ("model.vocab_size", "--vocab-size", Some(vocab_size.to_string())),
        ("sampling.max_seq_length", "--seq", Some(seq.to_string())),
    ])?;
    let config = settings.model.albert_config(*vocab_size);
    let albert = Albert::new(config, &[Head::Pretraining]).map_err(ModelError::from)?;
    let recompute = match recompute {
        Recompute::None => engine::Recompute::None,
        Recompute::Gelu => engine::Recompute::Gelu,
        Recompute::Layer => engine::Recompute::Layer,
    };
    let gpu = match arguments.device {
        Device::Cuda(ordinal) => Some(ordinal),
        Device::Auto => cuda::usable(0).is_ok().then_some(0),
        Device::Cpu => None,
    };
    let precision = match arguments.precision {
        Precision::F32 => engine::Precision::F32,
        Precision::Bf16 => engine::Precision::Bf16,
        Precision::Auto if gpu.is_some() => engine::Precision::Bf16,
        Precision::Auto => engine::Precision::F32,
    };
    let options = PlanOptions { precision, recompute };
    let predictions = settings.masking.predictions(*seq);
    let planned = |sequences: usize| {
        let capacity = Capacity { tokens: sequences * seq, sequences, masked: sequences * predictions };
        let plan = albert.plan(&Head::Pretraining, capacity, Mode::Training, options)?;
        let mut memory = memory(&albert, &plan);
        if gpu.is_some() {
            let evaluation = albert.plan(&Head::Pretraining, capacity, Mode::Evaluation, options)?;
            memory.extend(memory_of_a_gpu(&plan, &evaluation));
        }
        anyhow::Ok(Planned { memory, plan, capacity })
    };
    let plan = planned((*tokens as usize).div_ceil(*seq))?;
    if *steps {
        say!("{}", plan.plan.to_string().trim_end());
        return Ok(ExitCode::Done);
    }
    let there = || gpu.and_then(|ordinal| cuda::usable(ordinal).ok()).map(|found| found.memory);
    let room = arguments.memory.or_else(there).map(|bytes| {
        let too_many = MOST_TOKENS as usize / seq;
        let headroom = if gpu.is_some() { cuda::headroom(bytes) } else { 0 };
        let room = Room { bytes, headroom, most_tokens: 0 };
        let fits = |sequences| planned(sequences).is_ok_and(|planned| room.has(planned.bytes()));
        Room { most_tokens: seq * most_fitting(too_many, fits), ..room }
    });
    let parameters = albert.parameters().count();
    if *json {
        return print_json(parameters, &plan, room);
    }
    say!("{preset}: {:.2} M parameters", parameters as f64 / 1e6);
    plan.print(precision, room)
}

/// A step, and what it needs.
struct Planned {
    plan: Plan,
    capacity: Capacity,
    memory: Vec<(&'static str, usize)>,
}

/// What a device has.
#[derive(Clone, Copy)]
struct Room {
    bytes: usize,
    /// Bytes of it that a run leaves free for what is in no account.
    headroom: usize,
    /// Tokens that may be computed at a time.
    most_tokens: usize,
}

impl Room {
    /// Whether there is room for so much.
    fn has(&self, bytes: usize) -> bool {
        bytes + self.headroom <= self.bytes
    }
}

/// Reads a number of bytes: `80GB`, `24GiB`.
fn size(text: &str) -> Result<usize, String> {
    const UNITS: [(&str, u64); 7] = [
        ("kB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("", 1),
    ];
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let factor = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()));
    let bytes =
        number.trim().parse::<f64>().ok().zip(factor).map(|(number, (_, factor))| number * *factor as f64);
    let within = bytes.filter(|bytes| (1.0..1e18).contains(bytes));
    within.map(|bytes| bytes as usize).ok_or_else(|| "a number of bytes, such as 80GB or 24GiB".into())
}

/// Bytes by what they are for. Gaps for alignment belong to what they follow.
fn memory(albert: &Albert, plan: &Plan) -> Vec<(&'static str, usize)> {
    let buffer = albert.parameters().buffer_length() * size_of::<f32>();
    vec![
        ("parameters", buffer),
        ("gradients", buffer),
        ("moments", 2 * buffer),
        ("copies of weights", plan.parameter_size() - 4 * buffer),
        ("activations", plan.arena_size()),
    ]
}

/// What a GPU has beside, for a run that evaluates too.
fn memory_of_a_gpu(plan: &Plan, evaluation: &Plan) -> [(&'static str, usize); 5] {
    let WorkSpace { kernels, products, inputs, recordings } = plan.work_space();
    [
        ("inputs on their way", inputs),
        ("work space of kernels", kernels),
        ("work space of cuBLASLt", products),
        ("CUDA graphs", recordings + evaluation.work_space().recordings),
        ("CUDA itself, about", CONTEXT),
    ]
}

fn print_json(parameters: usize, planned: &Planned, room: Option<Room>) -> Result<ExitCode> {
    let Planned { plan, capacity, memory } = planned;
    let by_kernel: Vec<_> = (plan.cost_by_operation().into_iter())
        .map(|(name, calls, cost)| json!({ "kernel": name, "calls": calls, "model_flops": cost.model_flops, "executed_flops": cost.executed_flops, "bytes": cost.bytes }))
        .collect();
    let key = |name: &str| name.split(',').next().unwrap_or(name).replace(' ', "_").to_lowercase();
    let memory = memory.iter().map(|&(name, size)| (key(name), size.into()));
    let object = json!({
        "parameters": parameters,
        "tokens": capacity.tokens,
        "sequences": capacity.sequences,
        "masked_tokens": capacity.masked,
        "kernel_calls": plan.step_count(),
        "model_flops": plan.cost().model_flops,
        "executed_flops": plan.cost().executed_flops,
        "bytes_moved": plan.cost().bytes,
        "memory_bytes": serde_json::Map::from_iter(memory),
        "device_memory_bytes": room.map(|room| room.bytes),
        "headroom_bytes": room.map(|room| room.headroom),
        "most_tokens": room.map(|room| room.most_tokens),
        "kernels": by_kernel,
    });
    say!("{object}");
    Ok(ExitCode::Done)
}

impl Planned {
    /// All that it needs.
    fn bytes(&self) -> usize {
        self.memory.iter().map(|(_, size)| size).sum()
    }

    fn print(&self, precision: engine::Precision, room: Option<Room>) -> Result<ExitCode> {
        let Self { plan, capacity, memory } = self;
        let giga = |count: u64| count as f64 / 1e9;
        say!(
            "a training step over {} tokens: {} sequences, {} masked tokens, {precision}",
            capacity.tokens,
            capacity.sequences,
            capacity.masked
        );
        say!("\n  {:24} {:>7} {:>12} {:>10}", "kernel", "calls", "GFLOP", "GB moved");
        for (name, calls, cost) in plan.cost_by_operation() {
            say!("  {name:24} {calls:7} {:12.3} {:10.3}", giga(cost.executed_flops), giga(cost.bytes));
        }
        let cost = plan.cost();
        say!(
            "  {:24} {:7} {:12.3} {:10.3}",
            "all",
            plan.step_count(),
            giga(cost.executed_flops),
            giga(cost.bytes)
        );
        let model = giga(cost.model_flops);
        say!("  the model itself needs {model:.3} GFLOP; the rest computes again what backward needs");
        say!("\n  memory");
        for (name, size) in memory.iter().filter(|(_, size)| *size > 0) {
            say!("  {name:24} {:>10}", bytes(*size));
        }
        say!("  {:24} {:>10}", "all", bytes(self.bytes()));
        if let Some(room) = room {
            let fits = if room.has(self.bytes()) { "fits" } else { "does not fit" };
            let most = match room.most_tokens {
                0 => "not even one sequence does".into(),
                most => format!("up to {most} tokens at a time do"),
            };
            let free = match room.headroom {
                0 => String::new(),
                headroom => format!(", of which {} stay free for what is loaded later", bytes(headroom)),
            };
            say!("  it {fits} into {}{free}: {most}", bytes(room.bytes));
        }
        Ok(ExitCode::Done)
    }
}
