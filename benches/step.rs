//! A whole training step: forward, backward, clipping and LAMB update, f32, all cores.
//!
//! `cargo bench --bench step`; the same figure for other shapes, beside the machine's limits, is `albert-train bench step`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::{Device, PlanOptions, Precision, Recompute};
use kernels::Cpu;
use model::{Albert, Capacity, Head, preset};
use train::optimization::OptimizerSettings;
use train::pretraining::{self, RandomBatch};
use train::training::Learner;

/// Preset, sequences, tokens of each.
const SHAPES: [(&str, usize, usize); 3] = [("micro", 32, 64), ("tiny", 8, 128), ("base", 8, 128)];

fn step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    group.sample_size(10);
    for (name, sequences, length) in SHAPES {
        let config = preset(name).expect("a preset");
        let predictions = length * 15 / 100;
        let capacity = Capacity { tokens: sequences * length, sequences, masked: sequences * predictions };
        let batch = RandomBatch { sequences, length, predictions, vocabulary_size: config.vocab_size };
        let batch = [batch.draw(1).into_inputs()];
        let albert = Albert::new(config, &[Head::Pretraining]).expect("a preset is valid");
        let cpu = Cpu::new(None, None).expect("this machine has a CPU");
        let options = PlanOptions { precision: Precision::F32, recompute: Recompute::None };
        let plans = pretraining::plans(&albert, capacity, options);
        let mut learner =
            Learner::new(albert, Device::Cpu(cpu), options.precision, plans, 1).expect("memory");
        let optimizer = OptimizerSettings::default();
        let mut number = 0;
        group.throughput(Throughput::Elements((sequences * length) as u64));
        group.bench_function(format!("{name} {sequences} x {length}"), |bencher| {
            bencher.iter(|| {
                learner.gradient(&batch, number).expect("a batch that fits");
                number += 1;
                learner.update(&optimizer.update(number, 1e-5)).expect("a device that works");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
