//! Every kernel, forward and backward, at the shapes of ALBERT-base: 8 sequences of 128 tokens, all cores.
//!
//! `cargo bench --bench kernels [-- FILTER]`; an element is a floating-point operation. `albert-train bench gemm` and `bench kernels` time
//! the same calls on either device and set each beside the least time that it could take.

#[path = "../cli/bench/calls/mod.rs"]
mod calls;

use std::time::Duration;

use anyhow::Result;
use calls::{Operands, Sizes, Timer, Unit};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kernels::precision::{Bf16, F32};
use kernels::{Cost, Cpu, DeviceError, Kernels, Precision};

const SEQUENCES: usize = 8;
const LENGTH: usize = 128;

/// Criterion, in one precision.
struct Timed<'a, P: Precision> {
    cpu: &'a Cpu,
    precision: &'static str,
    operands: Operands<'a, Cpu, P>,
    criterion: &'a mut Criterion,
}

impl<P: Precision> Timer<Cpu, P> for Timed<'_, P> {
    fn kernel<C: FnMut(&Cpu) + Send>(
        &mut self,
        name: &str,
        _: Unit,
        cost: Cost,
        make: impl Fn(&Operands<'_, Cpu, P>) -> Result<C, DeviceError>,
    ) -> Result<()> {
        let mut group = self.criterion.benchmark_group(self.precision);
        group.throughput(match cost.executed_flops {
            0 => Throughput::Bytes(cost.bytes),
            elements => Throughput::ElementsAndBytes { elements, bytes: cost.bytes },
        });
        // Only of kernels that are wanted.
        let mut call = None;
        group.bench_function(name, |bencher| {
            let call = call.get_or_insert_with(|| make(&self.operands).expect("memory"));
            bencher.iter(|| call(self.cpu));
        });
        group.finish();
        Ok(())
    }
}

fn all<P: Precision>(criterion: &mut Criterion, cpu: &Cpu, precision: &'static str)
where
    Cpu: Kernels<P>,
{
    let config = model::preset("base").expect("a preset");
    let sizes = Sizes::new(config, SEQUENCES * LENGTH, LENGTH, LENGTH * 15 / 100).expect("a model");
    let mut timed = Timed { cpu, precision, operands: Operands::<_, P>::new(cpu), criterion };
    calls::products(&mut timed, &sizes).expect("memory");
    calls::others(&mut timed, &sizes).expect("memory");
}

fn kernels_of_a_step(criterion: &mut Criterion) {
    let cpu = Cpu::new(None, None).expect("this machine has a CPU");
    all::<F32>(criterion, &cpu, "f32");
    all::<Bf16>(criterion, &cpu, "bf16");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(300))
        .sample_size(20);
    targets = kernels_of_a_step
}
criterion_main!(benches);
