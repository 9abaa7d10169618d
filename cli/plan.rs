//! `albert-train plan`: what a training step costs, without a device and without data.

use anyhow::Result;
use clap::{Args, ValueEnum};
use engine::{Plan, PlanOptions};
use model::{Albert, Capacity, Head, Mode, ModelError};
use serde_json::json;
use train::exit::ExitCode;
use train::training::bytes;

use crate::arguments::few_settings;
use crate::output::say;

/// Rows are counted in 32 bits.
const MOST_TOKENS: u64 = 1 << 30;

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
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// Print every kernel call with its places in memory
    #[arg(long)]
    steps: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { preset, tokens, seq, vocab_size, recompute, precision, steps, json } = arguments;
    let settings = few_settings(&[
        ("model.preset", "--preset", Some(preset.clone())),
        ("model.vocab_size", "--vocab-size", Some(vocab_size.to_string())),
        ("sampling.max_seq_length", "--seq", Some(seq.to_string())),
    ])?;
    let config = settings.model.albert_config(*vocab_size);
    let albert = Albert::new(config, &[Head::Pretraining]).map_err(ModelError::from)?;
    let sequences = (*tokens as usize).div_ceil(*seq);
    let capacity = Capacity {
        tokens: sequences * seq,
        sequences,
        masked: sequences * settings.masking.predictions(*seq),
    };
    let recompute = match recompute {
        Recompute::None => engine::Recompute::None,
        Recompute::Gelu => engine::Recompute::Gelu,
        Recompute::Layer => engine::Recompute::Layer,
    };
    let precision = match precision {
        Precision::F32 => engine::Precision::F32,
        Precision::Bf16 => engine::Precision::Bf16,
    };
    let options = PlanOptions { precision, recompute };
    let plan = albert.plan(&Head::Pretraining, capacity, Mode::Training, options)?;
    if *steps {
        say!("{}", plan.to_string().trim_end());
    } else if *json {
        print_json(&albert, &plan, capacity)?;
    } else {
        say!("{preset}: {:.2} M parameters", albert.parameters().count() as f64 / 1e6);
        print_plan(&albert, &plan, capacity, precision)?;
    }
    Ok(ExitCode::Done)
}

/// Bytes by what they are for. Gaps for alignment belong to what they follow.
fn memory(albert: &Albert, plan: &Plan) -> [(&'static str, usize); 5] {
    let buffer = albert.parameters().buffer_length() * size_of::<f32>();
    [
        ("parameters", buffer),
        ("gradients", buffer),
        ("moments", 2 * buffer),
        ("copies of weights", plan.parameter_size() - 4 * buffer),
        ("activations", plan.arena_size()),
    ]
}

fn print_json(albert: &Albert, plan: &Plan, capacity: Capacity) -> Result<()> {
    let by_kernel: Vec<_> = (plan.cost_by_operation().into_iter())
        .map(|(name, calls, cost)| json!({ "kernel": name, "calls": calls, "model_flops": cost.model_flops, "executed_flops": cost.executed_flops, "bytes": cost.bytes }))
        .collect();
    let memory = memory(albert, plan);
    let object = json!({
        "parameters": albert.parameters().count(),
        "tokens": capacity.tokens,
        "sequences": capacity.sequences,
        "masked_tokens": capacity.masked,
        "kernel_calls": plan.step_count(),
        "model_flops": plan.cost().model_flops,
        "executed_flops": plan.cost().executed_flops,
        "bytes_moved": plan.cost().bytes,
        "memory_bytes": serde_json::Map::from_iter(memory.map(|(name, size)| (name.replace(' ', "_"), size.into()))),
        "kernels": by_kernel,
    });
    say!("{object}");
    Ok(())
}

fn print_plan(albert: &Albert, plan: &Plan, capacity: Capacity, precision: engine::Precision) -> Result<()> {
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
    let memory = memory(albert, plan);
    for (name, size) in memory.into_iter().filter(|&(_, size)| size > 0) {
        say!("  {name:24} {:>10}", bytes(size));
    }
    say!("  {:24} {:>10}", "all", bytes(memory.iter().map(|(_, size)| size).sum()));
    Ok(())
}
