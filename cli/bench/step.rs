//! `albert-train bench step`: the speed of a whole training step on this machine.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use engine::{Device, Precision};
use kernels::Peak;
use kernels::cpu::clock::ProcessorTime;
use kernels::cuda::ProductChoice;
use serde_json::json;
use train::config::Pretrain;
use train::exit::ExitCode;
use train::pretraining::{self, RandomBatch, Timing, time_steps};
use train::run::info::Machine;
use train::training::{self, SessionError, bytes};

use super::VOCABULARY_SIZE;
use crate::arguments::{CpuArguments, few_settings};
use crate::output::{say, tell};

/// The share of the wanted processor time that other work may take before a share of the peak means nothing.
const MOST_DISTURBANCE: f64 = 0.1;

/// Time whole training steps (forward, backward, clipping, update) on random sequences of full length.
#[derive(Args)]
pub struct Arguments {
    /// Model size: micro, tiny, small, base, large, xlarge, xxlarge, or base-v1 … with dropout
    #[arg(long, default_value = "base")]
    preset: String,
    /// Tokens of each sequence
    #[arg(long, default_value_t = 128, value_name = "N")]
    seq: usize,
    /// Sequences of a step
    #[arg(long, default_value_t = 8, value_name = "N")]
    batch: usize,
    /// Sequences computed at a time; not given: as in training
    #[arg(long, value_name = "N")]
    micro_batch: Option<usize>,
    /// What backward computes again: none, gelu or layer
    #[arg(long, default_value = "none")]
    recompute: String,
    /// Whether the last layer is computed only for the tokens that are read
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    gather_last_layer: bool,
    /// f32, bf16 or auto (f32 on a processor, bf16 on a GPU)
    #[arg(long, default_value = "auto")]
    precision: String,
    /// lamb or adamw
    #[arg(long, default_value = "lamb")]
    optimizer: String,
    /// Steps timed, after two that are not
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Also show the time spent in each kind of kernel
    #[arg(long)]
    profile: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cpu: CpuArguments,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut settings = settings(arguments)?;
    if let Some(said) = training::settle(&mut settings.device, None) {
        tell(format_args!("{said}"));
    }
    let measured = measure(arguments, &settings)?;
    for remark in &measured.remarks {
        tell(format_args!("slower than it could be: {remark}"));
    }
    if arguments.json {
        measured.print_json(arguments, &settings)?;
    } else {
        measured.print(arguments, &settings)?;
    }
    Ok(ExitCode::Done)
}

fn settings(arguments: &Arguments) -> Result<Pretrain> {
    let Arguments { preset, seq, batch, micro_batch, recompute, precision, optimizer, cpu, .. } = arguments;
    let number = |value: Option<usize>| value.map(|value| value.to_string());
    Ok(few_settings(&[
        ("model.preset", "--preset", Some(preset.clone())),
        ("sampling.max_seq_length", "--seq", number(Some(*seq))),
        ("training.batch", "--batch", number(Some(*batch))),
        ("training.micro_batch", "--micro-batch", number(*micro_batch)),
        ("training.recompute", "--recompute", Some(recompute.clone())),
        ("training.gather_last_layer", "--gather-last-layer", Some(arguments.gather_last_layer.to_string())),
        ("device.device", "--device", Some(cpu.device.to_string())),
        ("device.precision", "--precision", Some(precision.clone())),
        ("optimizer.optimizer", "--optimizer", Some(optimizer.clone())),
        ("device.threads", "--threads", number(cpu.threads)),
        ("device.isa", "--isa", cpu.isa.map(|isa| isa.to_string())),
    ])?)
}

/// What was found out.
struct Measured {
    machine: Machine,
    /// The larger of what was measured before the steps and, on a processor, after them.
    peak: Peak,
    /// What products multiply.
    precision: Precision,
    timing: Timing,
    /// Operations of one step that the model needs.
    model_flops: f64,
    /// Operations done in one step.
    executed_flops: f64,
    /// Bytes of all buffers.
    memory: usize,
    profile: Vec<(&'static str, Duration)>,
    /// What was computed in a slower way than the device has.
    remarks: Vec<String>,
}

fn measure(arguments: &Arguments, settings: &Pretrain) -> Result<Measured> {
    let machine = training::machine(&settings.device)?;
    let peak = || -> Result<Peak> {
        Ok(match training::device(&settings.device)? {
            Device::Cuda(gpu) => gpu.peak().map_err(SessionError::from)?,
            Device::Cpu(cpu) => cpu.peak(),
            Device::Reference => unreachable!("no setting names the oracle"),
        })
    };
    let before = peak()?;
    let config = settings.model.albert_config(VOCABULARY_SIZE);
    let mut learner = pretraining::learner(settings, config, training::available_memory(&settings.device))?;
    let (length, micro_batch) = (arguments.seq, pretraining::micro_batch(settings));
    let batches: Vec<_> = (0..arguments.batch)
        .step_by(micro_batch)
        .map(|first| RandomBatch {
            sequences: micro_batch.min(arguments.batch - first),
            length,
            predictions: settings.masking.predictions(length),
            vocabulary_size: VOCABULARY_SIZE,
        })
        .zip(0..)
        .map(|(shape, seed)| shape.draw(seed).into_inputs())
        .collect();
    let optimizer = settings.optimizer.optimizer();
    if let Some(gpu) = learner.runtime().gpu() {
        gpu.choose_products(ProductChoice::Timed); // as training does, in steps that are not timed
    }
    let timing = time_steps(&mut learner, &batches, &optimizer, arguments.steps, arguments.profile)?;
    let id = learner.training_plan();
    let runtime = learner.runtime();
    let profile = if arguments.profile { runtime.profile_of(id) } else { Vec::new() };
    let (plan, precision, remarks) = (runtime.plan(id), runtime.precision(), runtime.remarks());
    let share = arguments.batch as f64 / micro_batch as f64;
    let [model_flops, executed_flops] =
        [plan.cost().model_flops, plan.cost().executed_flops].map(|flops| flops as f64 * share);
    let memory = plan.arena_size() + plan.parameter_size();
    // A GPU's memory is the learner's now.
    let peak = if machine.device == "cpu" { peak()?.larger(before) } else { before };
    Ok(Measured { machine, peak, precision, timing, model_flops, executed_flops, memory, profile, remarks })
}

impl Measured {
    /// The most operations a second, of the whole device, in the precision of the steps.
    fn peak_flops(&self) -> f64 {
        match self.precision {
            Precision::Bf16 => self.peak.bf16_flops_per_second,
            Precision::F32 | Precision::F64 => self.peak.flops_per_second,
        }
    }

    fn is_on_processor(&self) -> bool {
        self.machine.device == "cpu"
    }

    /// The share of the wanted processor time that other work took, if processors compute and the system tells.
    fn disturbance(&self) -> Option<f64> {
        self.timing.processor.filter(|_| self.is_on_processor()).map(ProcessorTime::disturbance)
    }

    /// The share of the machine's peak at which a step runs; `None` where other work makes it meaningless.
    fn share_of_peak(&self) -> Option<f64> {
        let share = self.executed_flops / self.timing.median() / self.peak_flops();
        let quiet = self.disturbance().is_none_or(|other| other <= MOST_DISTURBANCE);
        (quiet && share <= 1.0).then_some(share)
    }

    /// The same while the processors compute: without the time that they wait for each other or give to other work.
    fn share_while_computing(&self) -> Option<f64> {
        let processor = self.timing.processor.filter(|_| self.is_on_processor())?;
        let seconds = processor.computed / self.timing.seconds.len() as f64;
        let share = self.executed_flops * self.machine.threads as f64 / seconds / self.peak_flops();
        (share <= 1.0).then_some(share)
    }

    /// Milliseconds of a step in each kind of kernel, and in what is none.
    fn milliseconds(&self) -> Vec<(&'static str, f64)> {
        let steps = self.timing.seconds.len() as f64;
        let mut rows: Vec<_> =
            self.profile.iter().map(|(name, time)| (*name, 1e3 * time.as_secs_f64() / steps)).collect();
        let total = 1e3 * self.timing.seconds.iter().sum::<f64>() / steps;
        if !rows.is_empty() {
            rows.push(("norm, update and the rest", total - rows.iter().map(|row| row.1).sum::<f64>()));
        }
        rows
    }

    fn print_json(&self, arguments: &Arguments, settings: &Pretrain) -> Result<()> {
        let Arguments { preset, seq, batch, optimizer, steps, .. } = arguments;
        let mut object = json!({
            "preset": preset,
            "sequence_length": seq,
            "batch": batch,
            "micro_batch": pretraining::micro_batch(settings),
            "precision": self.precision.to_string(),
            "recompute": arguments.recompute,
            "gather_last_layer": arguments.gather_last_layer,
            "optimizer": optimizer,
            "steps": steps,
            "device": self.machine.device,
            "processor": self.machine.processor,
            "isa": self.machine.isa,
            "threads": self.machine.threads,
            "seconds_per_step": self.timing.median(),
            "fastest_seconds_per_step": self.timing.seconds[0],
            "processor_seconds_per_step": self.timing.processor.map(|time| time.computed / *steps as f64),
            "disturbance": self.disturbance(),
            "sequences_per_second": *batch as f64 / self.timing.median(),
            "tokens_per_second": (batch * seq) as f64 / self.timing.median(),
            "model_flops_per_step": self.model_flops,
            "executed_flops_per_step": self.executed_flops,
            "model_flops_per_second": self.model_flops / self.timing.median(),
            "peak_flops_per_second": self.peak_flops(),
            "share_of_peak": self.share_of_peak(),
            "share_of_peak_while_computing": self.share_while_computing(),
            "copy_bytes_per_second": self.peak.copy_bytes_per_second,
            "memory_bytes": self.memory,
            "remarks": self.remarks,
        });
        if arguments.profile {
            object["profile_milliseconds"] = self.milliseconds().into_iter().collect();
        }
        say!("{object}");
        Ok(())
    }

    fn print(&self, arguments: &Arguments, settings: &Pretrain) -> Result<()> {
        let Arguments { preset, seq, batch, optimizer, .. } = arguments;
        let (median, giga) = (self.timing.median(), 1e-9);
        say!(
            "{preset}, {batch} sequences of {seq} tokens ({} at a time), {}, {optimizer}, {}, {}",
            pretraining::micro_batch(settings),
            self.precision,
            if self.is_on_processor() {
                format!("{} threads", self.machine.threads)
            } else {
                self.machine.processor.clone()
            },
            self.machine.isa
        );
        let seconds = &self.timing.seconds;
        let (fastest, slowest) = (seconds[0], seconds[seconds.len() - 1]);
        say!("step        {median:.4} s, the median of {} ({fastest:.4} to {slowest:.4})", seconds.len());
        say!(
            "speed       {:.2} sequences/s, {:.0} tokens/s",
            *batch as f64 / median,
            (batch * seq) as f64 / median
        );
        say!(
            "arithmetic  {:.1} GFLOP a step ({:.1} of them the model's), {:.1} GFLOP/s",
            self.executed_flops * giga,
            self.model_flops * giga,
            self.executed_flops / median * giga,
        );
        let percent = |share: Option<f64>| match share {
            Some(share) => format!("{:.1}%", 100.0 * share),
            None => "unknown".into(),
        };
        let while_computing = if self.is_on_processor() {
            format!(", while computing {}", percent(self.share_while_computing()))
        } else {
            String::new()
        };
        say!(
            "peak        {:.1} GFLOP/s measured; reached {}{while_computing}",
            self.peak_flops() * giga,
            percent(self.share_of_peak()),
        );
        if let Some(other) = self.disturbance().filter(|&other| other > MOST_DISTURBANCE) {
            say!(
                "disturbed   other work took {:.0}% of the processor time that the steps wanted: speeds are too low, and \
                 a share of the peak would mean nothing; measure on a quiet machine",
                100.0 * other
            );
        }
        say!("memory      {}", bytes(self.memory));
        for (name, milliseconds) in self.milliseconds() {
            say!("  {milliseconds:9.3} ms {:5.1}%  {name}", milliseconds / median / 10.0);
        }
        Ok(())
    }
}
