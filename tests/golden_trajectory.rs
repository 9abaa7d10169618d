//! Recorded training: every loss, gradient norm and final weight of the LAMB run in `tests/golden/trajectory*`.

mod support;

use engine::{Bindings, Device, PlanOptions, Recompute, Runtime, State};
use model::{Albert, AlbertConfig, Capacity, Heads, LOSSES};
use serde::Deserialize;
use support::{assert_close, devices, golden_folders, recorded};
use train::data::{Batch, Padded};
use train::optimization::{OptimizerKind, OptimizerSettings, Schedule};

#[derive(Deserialize)]
struct Run {
    optimizer: Optimizer,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Optimizer {
    kind: OptimizerKind,
    lr: f64,
    warmup_steps: u64,
    total_steps: u64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    clip_norm: f64,
}

#[derive(Deserialize)]
struct Step {
    step: u64,
    loss: f64,
    mlm_loss: f64,
    sop_loss: f64,
    grad_norm: f64,
    lr: f64,
}

/// Of a loss, and of a final weight matrix.
fn tolerances(device: &Device) -> (f64, f64) {
    match device {
        Device::Reference => (1e-6, 1e-5),
        Device::Cpu(_) => (1e-4, 1e-3),
    }
}

#[test]
fn training_takes_the_recorded_way() {
    for folder in golden_folders("trajectory") {
        let run: Run =
            serde_json::from_slice(&std::fs::read(folder.join("run.json")).expect("run.json")).expect("JSON");
        let [batches, initial, last] =
            ["batches", "init", "final"].map(|file| recorded(&folder.join(format!("{file}.safetensors"))));
        let config = AlbertConfig::load(&folder.join("config.json")).expect("a configuration");
        let albert = Albert::new(config, Heads::PRETRAINING).expect("a valid configuration");
        let parameters = albert.parameters();
        let [_, sequences, columns] = batches["input_ids"].shape()[..] else { panic!("three dimensions") };
        let predictions = batches["masked_lm_positions"].shape()[2];
        let capacity = Capacity { tokens: sequences * columns, sequences, masked: sequences * predictions };
        let optimizer = OptimizerSettings {
            kind: run.optimizer.kind,
            beta1: run.optimizer.beta1,
            beta2: run.optimizer.beta2,
            epsilon: run.optimizer.eps,
            weight_decay: run.optimizer.weight_decay,
            clip_norm: run.optimizer.clip_norm,
            bias_correction: false,
        };
        let schedule = Schedule {
            learning_rate: run.optimizer.lr,
            steps: run.optimizer.total_steps,
            warmup_steps: run.optimizer.warmup_steps,
            start_warmup_step: 0,
            poly_power: 1.0,
        };
        for (name, device) in devices() {
            let (loss_tolerance, weight_tolerance) = tolerances(&device);
            let mut runtime = Runtime::new(device, parameters.clone()).expect("memory");
            let mut values = vec![0.0_f32; parameters.buffer_length()];
            for (part, range) in parameters.placed_parts() {
                values[range].copy_from_slice(initial[&part.name].real());
            }
            runtime.write(State::Values, &values);
            let options = PlanOptions { precision: runtime.precision(), recompute: Recompute::None };
            let plan = runtime
                .load(albert.pretraining_plan(capacity, options).expect("all are trained"))
                .expect("memory");
            for (index, expected) in run.steps.iter().enumerate() {
                let cells = index * sequences * columns..(index + 1) * sequences * columns;
                let slots = index * sequences * predictions..(index + 1) * sequences * predictions;
                let batch = Batch::from_padded(&Padded {
                    sequence_length: columns,
                    input_ids: &batches["input_ids"].integer()[cells.clone()],
                    attention_mask: &batches["attention_mask"].integer()[cells.clone()],
                    token_type_ids: &batches["token_type_ids"].integer()[cells],
                    masked_positions: &batches["masked_lm_positions"].integer()[slots.clone()],
                    masked_labels: &batches["masked_lm_ids"].integer()[slots.clone()],
                    masked_weights: &batches["masked_lm_weights"].real()[slots],
                    sentence_order_labels: &batches["sentence_order_labels"].integer()
                        [index * sequences..(index + 1) * sequences],
                })
                .expect("a recorded batch");
                runtime.zero_gradients();
                let (integers, reals) = (batch.integers(), batch.floats());
                let lengths = [batch.tokens(), batch.sequences(), batch.predictions()];
                let bindings =
                    Bindings { lengths: &lengths, integers: &integers, reals: &reals, ..Bindings::default() };
                runtime.run(plan, &bindings).expect("a recorded batch");
                let what = |quantity: &str| {
                    format!("{} on {name}, step {}: {quantity}", folder.display(), expected.step)
                };
                for (output, recorded) in
                    LOSSES.iter().zip([expected.loss, expected.mlm_loss, expected.sop_loss])
                {
                    let found = runtime.output(plan, output)[0];
                    let distance = ((found - recorded) / recorded).abs();
                    assert!(distance <= loss_tolerance, "{}: {found} and {recorded}", what(output));
                }
                let norm = runtime.gradient_norm();
                assert!(
                    (norm / expected.grad_norm - 1.0).abs() <= weight_tolerance,
                    "{}",
                    what("gradient norm")
                );
                let lr = schedule.at(expected.step);
                assert!((lr - expected.lr).abs() <= 1e-15, "{}", what("learning rate"));
                runtime.update(&optimizer.update(expected.step + 1, lr));
            }
            let values: Vec<f64> = runtime.read(State::Values);
            for (part, range) in parameters.placed_parts() {
                let what = format!("{} on {name}: final {}", folder.display(), part.name);
                assert_close(&values[range], last[&part.name].real(), weight_tolerance, &what);
            }
        }
    }
}
