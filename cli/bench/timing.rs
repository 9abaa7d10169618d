//! How long a call takes, beside the least that it could: its operations at the device's measured peak or its bytes at its
//! measured bandwidth, whichever takes longer.

use std::time::Instant;

use anyhow::Result;
use kernels::{Backend, Cost, DeviceError, Kernels, Peak, Precision};
use serde_json::{Map, Value, json};
use train::run::info::Machine;
use train::training::SessionError;

use super::calls::{Operands, Timer, Unit};
use crate::output::{say, tell};

/// Operands of a kernel are made so often that they fill so many bytes: no cache holds what a call finds.
const COLD: u64 = 256 << 20;
/// But no more often.
const MOST_SETS: u64 = 32;
/// Measurements of each kernel, of which the median counts.
const SAMPLES: usize = 7;
/// Seconds that one of them should last, so that starting it costs nothing.
const SAMPLE: f64 = 0.02;
/// The most calls of one.
const MOST_CALLS: f64 = 512.0;

/// Times kernels on one device in one precision, and shows what it sees.
pub struct Bench<'a, B, P: Precision> {
    backend: &'a B,
    operands: Operands<'a, B, P>,
    machine: Machine,
    peak: Peak,
    /// Parts of the names of the kernels that are wanted; none for all.
    wanted: &'a [String],
    /// Whether all is shown at the end, as one JSON object.
    json: bool,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    cost: Cost,
    seconds: f64,
    /// Operations and bytes a second at most.
    peak: f64,
    bandwidth: f64,
}

impl<'a, B: Kernels<P>, P: Precision> Bench<'a, B, P> {
    /// On a device with these limits.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub fn new(
        backend: &'a B,
        machine: Machine,
        peak: Peak,
        wanted: &'a [String],
        json: bool,
    ) -> Result<Self> {
        let bench =
            Self { backend, operands: Operands::new(backend), machine, peak, wanted, json, rows: Vec::new() };
        if !json {
            bench.head()?;
        }
        Ok(bench)
    }

    /// What operations are counted in.
    fn rate(&self) -> (f64, &'static str) {
        if self.machine.device == "cpu" { (1e-9, "GFLOP/s") } else { (1e-12, "TFLOP/s") }
    }

    fn head(&self) -> Result<()> {
        let Peak { flops_per_second, bf16_flops_per_second, copy_bytes_per_second } = self.peak;
        let (rate, unit) = self.rate();
        let Machine { processor, isa, threads, device, precision, .. } = &self.machine;
        let threads = if device == "cpu" { format!(", {threads} threads") } else { String::new() };
        say!("{processor}, {isa}{threads}, {precision}");
        say!(
            "measured: {:.1} {unit} in f32, {:.1} {unit} in bf16, {:.0} GB/s of copying\n",
            flops_per_second * rate,
            bf16_flops_per_second * rate,
            copy_bytes_per_second * 1e-9,
        );
        say!(
            "{:36} {:>11} {:>9} {:>8} {:>8} {:>8} {:>10} by",
            "kernel",
            "us",
            unit,
            "of peak",
            "GB/s",
            "of copy",
            "roofline"
        );
        Ok(())
    }

    /// Shows the JSON object, if that is wanted; `about` is what the sizes of the operands come from.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub fn finish(self, about: Map<String, Value>) -> Result<()> {
        let Peak { flops_per_second, bf16_flops_per_second, copy_bytes_per_second } = self.peak;
        if self.rows.is_empty() {
            tell(format_args!("warning: no kernel has {} in its name", self.wanted.join(" or ")));
        }
        if self.json {
            let mut object = about;
            let machine = json!({
                "device": self.machine.device,
                "processor": self.machine.processor,
                "isa": self.machine.isa,
                "threads": self.machine.threads,
                "precision": self.machine.precision,
                "peak_flops_per_second": flops_per_second,
                "peak_bf16_flops_per_second": bf16_flops_per_second,
                "copy_bytes_per_second": copy_bytes_per_second,
                "kernels": self.rows.iter().map(Row::to_json).collect::<Vec<_>>(),
            });
            object.extend(machine.as_object().cloned().unwrap_or_default());
            say!("{}", Value::Object(object));
        }
        Ok(())
    }
}

impl<B: Kernels<P>, P: Precision> Timer<B, P> for Bench<'_, B, P> {
    fn kernel<C: FnMut(&B) + Send>(
        &mut self,
        name: &str,
        unit: Unit,
        cost: Cost,
        make: impl Fn(&Operands<'_, B, P>) -> Result<C, DeviceError>,
    ) -> Result<()> {
        if !self.wanted.is_empty() && !self.wanted.iter().any(|part| name.contains(part.as_str())) {
            return Ok(());
        }
        let sets = COLD.div_ceil(cost.bytes.max(1)).min(MOST_SETS);
        let calls = (0..sets).map(|_| make(&self.operands)).collect::<Result<Vec<_>, _>>();
        let seconds = calls.and_then(|mut calls| seconds_of(self.backend, &mut calls));
        let seconds = seconds.map_err(SessionError::from)?;
        let peak = match unit {
            Unit::Products if size_of::<P::Activation>() == 2 => self.peak.bf16_flops_per_second,
            Unit::Products | Unit::Single => self.peak.flops_per_second,
        };
        let bandwidth = self.peak.copy_bytes_per_second;
        let row = Row { name: name.into(), cost, seconds, peak, bandwidth };
        if !self.json {
            let rate = self.rate().0;
            say!(
                "{:36} {:11.1} {:9.1} {:7.1}% {:8.0} {:7.1}% {:9.1}% {}",
                row.name,
                row.seconds * 1e6,
                row.flops_per_second() * rate,
                100.0 * row.flops_per_second() / row.peak,
                row.bytes_per_second() * 1e-9,
                100.0 * row.bytes_per_second() / row.bandwidth,
                100.0 * row.share_of_roofline().0,
                row.share_of_roofline().1,
            );
        }
        self.rows.push(row);
        Ok(())
    }
}

/// Makes `times` calls, whose operands are those of the next set each time.
fn make<B: Backend, C: FnMut(&B)>(backend: &B, calls: &mut [C], times: usize) {
    let sets = calls.len();
    (0..times).for_each(|index| calls[index % sets](backend));
}

/// Seconds of one of `times` calls that `work` makes.
fn seconds<B: Backend>(backend: &B, times: usize, work: impl FnOnce()) -> Result<f64, DeviceError> {
    let start = Instant::now();
    work();
    backend.finish().map(|()| start.elapsed().as_secs_f64() / times as f64)
}

/// Seconds of one call: the median of some samples.
fn seconds_of<B: Backend, C: FnMut(&B) + Send>(backend: &B, calls: &mut [C]) -> Result<f64, DeviceError> {
    let sets = calls.len();
    let mut all = || seconds(backend, sets, || backend.run(|| make(backend, calls, sets)));
    // The first time pays for compiling, the second tells how many calls make a sample.
    all()?;
    let times = (SAMPLE / all()?.max(1e-9)).ceil().min(MOST_CALLS) as usize;
    // What is recorded is done as closely one after the other as the device can.
    let recorded = if B::RECORDS { backend.record(|| make(backend, calls, times), || false) } else { None };
    let mut sample = || match &recorded {
        None => seconds(backend, times, || backend.run(|| make(backend, calls, times))),
        Some(recorded) => seconds(backend, times, || backend.replay(recorded)),
    };
    let mut samples = (0..SAMPLES).map(|_| sample()).collect::<Result<Vec<_>, _>>()?;
    samples.sort_by(f64::total_cmp);
    Ok(samples[SAMPLES / 2])
}

impl Row {
    fn flops_per_second(&self) -> f64 {
        self.cost.executed_flops as f64 / self.seconds
    }

    fn bytes_per_second(&self) -> f64 {
        self.cost.bytes as f64 / self.seconds
    }

    /// The share of the time that the tighter limit takes, and which that is.
    fn share_of_roofline(&self) -> (f64, &'static str) {
        let compute = self.flops_per_second() / self.peak;
        let memory = self.bytes_per_second() / self.bandwidth;
        if compute > memory { (compute, "arithmetic") } else { (memory, "memory") }
    }

    fn to_json(&self) -> Value {
        let (share, limit) = self.share_of_roofline();
        json!({
            "name": self.name,
            "seconds": self.seconds,
            "flops": self.cost.executed_flops,
            "bytes": self.cost.bytes,
            "flops_per_second": self.flops_per_second(),
            "bytes_per_second": self.bytes_per_second(),
            "share_of_peak": self.flops_per_second() / self.peak,
            "share_of_copy": self.bytes_per_second() / self.bandwidth,
            "share_of_roofline": share,
            "limit": limit,
        })
    }
}
