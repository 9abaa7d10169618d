//! Timing kernels, and the table at the end.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use kernels::cpu::Peak;
use kernels::{Cost, Cpu};

/// Times kernels on one device and remembers what it saw.
pub struct Bench<'a> {
    cpu: &'a Cpu,
    criterion: Criterion,
    peak: Peak,
    rows: Vec<(String, Cost, Duration)>,
}

impl<'a> Bench<'a> {
    /// Measures the device's limits.
    pub fn new(cpu: &'a Cpu) -> Self {
        let criterion = Criterion::default().measurement_time(Duration::from_secs(2)).sample_size(20);
        let criterion = criterion.warm_up_time(Duration::from_millis(300)).configure_from_args();
        Self { cpu, criterion, peak: cpu.peak(), rows: Vec::new() }
    }

    /// Times one kernel.
    pub fn kernel(&mut self, name: &str, cost: Cost, mut run: impl FnMut(&Cpu)) {
        let mut fastest = Duration::MAX;
        let mut group = self.criterion.benchmark_group("kernels");
        group.throughput(match cost.executed_flops {
            0 => Throughput::Bytes(cost.bytes),
            elements => Throughput::ElementsAndBytes { elements, bytes: cost.bytes },
        });
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let start = Instant::now();
                (0..times).for_each(|_| run(self.cpu));
                let elapsed = start.elapsed();
                fastest = fastest.min(elapsed / times as u32);
                elapsed
            });
        });
        group.finish();
        if fastest < Duration::MAX {
            self.rows.push((name.into(), cost, fastest));
        }
    }

    /// Prints the table.
    pub fn report(&self) {
        let Peak { flops_per_second, bf16_flops_per_second, copy_bytes_per_second } = self.peak;
        println!(
            "\n{} threads, {}: {:.1} GFLOP/s of multiply-adds, {:.1} of bf16, {:.1} GB/s of copying",
            self.cpu.threads(),
            self.cpu.isa(),
            flops_per_second / 1e9,
            bf16_flops_per_second / 1e9,
            copy_bytes_per_second / 1e9,
        );
        println!("{:32} {:>10} {:>9} {:>9} {:>18}", "kernel", "ms", "GFLOP/s", "GB/s", "of the limit");
        for (name, cost, fastest) in &self.rows {
            let seconds = fastest.as_secs_f64();
            let of_bf16 = name.ends_with(crate::BF16);
            let peak = if of_bf16 { bf16_flops_per_second } else { flops_per_second };
            let compute = cost.executed_flops as f64 / peak;
            let memory = cost.bytes as f64 / copy_bytes_per_second;
            println!(
                "{name:32} {:10.3} {:9.1} {:9.1} {:8.0} % {}",
                seconds * 1e3,
                cost.executed_flops as f64 / seconds / 1e9,
                cost.bytes as f64 / seconds / 1e9,
                100.0 * compute.max(memory) / seconds,
                if compute > memory { "compute" } else { "memory" },
            );
        }
    }
}
