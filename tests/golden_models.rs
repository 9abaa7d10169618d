//! Recorded models: outputs, loss and every gradient of `tests/golden/pretraining_*`, on every device.

#[path = "support/golden_folders.rs"]
mod golden_folders;
#[path = "support/gradients.rs"]
mod gradients;
#[path = "support/nudged.rs"]
mod nudged;
mod support;

use std::path::Path;

use engine::{Bindings, Device, PlanOptions, Precision, Recompute, Runtime, State};
use golden_folders::golden_folders;
use gradients::{assert_gradient, tolerance};
use model::{Capacity, Head, LoadedModel, Mode};
use nudged::nudged;
use support::{assert_close, devices, recorded};
use train::pretraining::{Batch, Padded};

struct Golden {
    tensors: std::collections::BTreeMap<String, support::Recorded>,
    model: LoadedModel,
    batch: Batch,
    /// Cell of the padded matrices that each row of the batch is.
    cells: Vec<usize>,
}

impl Golden {
    fn load(folder: &Path) -> Self {
        let tensors = recorded(&folder.join("reference.safetensors"));
        let mask = tensors["in.attention_mask"].integer();
        let columns = tensors["in.attention_mask"].shape()[1];
        let labels = tensors["in.labels"].integer();
        let weights: Vec<f32> = labels.iter().map(|&label| f32::from(u8::from(label >= 0))).collect();
        let positions: Vec<i32> = (0..labels.len()).map(|cell| (cell % columns) as i32).collect();
        let mut batch = Batch::from_padded(&Padded {
            sequence_length: columns,
            input_ids: tensors["in.input_ids"].integer(),
            attention_mask: mask,
            token_type_ids: tensors["in.token_type_ids"].integer(),
            masked_positions: &positions,
            masked_labels: labels,
            masked_weights: &weights,
            sentence_order_labels: tensors["in.sentence_order_label"].integer(),
        })
        .expect("a golden batch");
        // Recorded with a plain mean, not with the reference's Σw + 1e-5.
        let count = batch.masked_weights.len() as f32;
        batch.masked_weights.fill(1.0 / count);
        let cells = (0..mask.len()).filter(|&cell| mask[cell] != 0).collect();
        Self { model: model::load(folder).expect("a model directory"), tensors, batch, cells }
    }

    fn capacity(&self) -> Capacity {
        Capacity {
            tokens: self.batch.tokens(),
            sequences: self.batch.sequences(),
            masked: self.batch.tokens().max(self.batch.predictions()),
        }
    }

    /// More of everything: a run whose lengths are rounded up is computed for more than it is given.
    fn roomy(&self) -> Capacity {
        let Capacity { tokens, sequences, masked } = self.capacity();
        Capacity { tokens: tokens + 50, sequences: sequences + 3, masked: masked + 20 }
    }

    /// Recorded rows of real tokens.
    fn rows(&self, name: &str) -> Vec<f32> {
        let tensor = &self.tensors[name];
        let width = tensor.shape()[2];
        self.cells.iter().flat_map(|cell| &tensor.real()[cell * width..(cell + 1) * width]).copied().collect()
    }
}

fn runtime(device: Device, golden: &Golden) -> Runtime {
    let mut runtime = Runtime::new(device, golden.model.albert.parameters().clone()).expect("memory");
    runtime.write(State::Values, &golden.model.values);
    runtime
}

#[test]
fn outputs_are_the_recorded_ones() {
    for folder in golden_folders("pretraining_") {
        let golden = Golden::load(&folder);
        for (name, device) in devices() {
            let tolerance = tolerance(&device);
            let mut runtime = runtime(device, &golden);
            let plan = golden.model.albert.encoding_plan(golden.capacity(), true, runtime.precision());
            let plan = runtime.load(plan).expect("memory");
            let everything: Vec<i32> = (0..golden.batch.tokens() as i32).collect();
            let mut integers = golden.batch.integers();
            integers
                .iter_mut()
                .filter(|(name, _)| *name == "masked_rows")
                .for_each(|(_, rows)| *rows = &everything);
            let lengths = [golden.batch.tokens(), golden.batch.sequences(), golden.batch.tokens()];
            let bindings = Bindings { lengths: &lengths, integers: &integers, ..Bindings::default() };
            runtime.run(plan, &bindings).expect("a golden batch");
            let config = golden.model.albert.config();
            let mut per_token = vec!["last_hidden_state".to_owned(), "prediction_logits".to_owned()];
            let blocks = config.num_hidden_layers * config.inner_group_num;
            per_token.extend((0..=blocks).map(|block| format!("hidden_states.{block}")));
            for output in per_token {
                let what = format!("{} on {name}: {output}", folder.display());
                let expected = golden.rows(&format!("out.{output}"));
                assert_close(&runtime.output(plan, &output), &expected, tolerance, &what);
            }
            for output in ["pooler_output", "sop_logits"] {
                let what = format!("{} on {name}: {output}", folder.display());
                let expected = golden.tensors[&format!("out.{output}")].real();
                assert_close(&runtime.output(plan, output), expected, tolerance, &what);
            }
        }
    }
}

#[test]
fn loss_and_gradients_are_the_recorded_ones() {
    for folder in golden_folders("pretraining_") {
        let golden = Golden::load(&folder);
        let parameters = golden.model.albert.parameters();
        let cases = [
            (Recompute::None, golden.capacity()),
            (Recompute::None, golden.roomy()),
            (Recompute::Gelu, golden.capacity()),
            (Recompute::Layer, golden.roomy()),
        ];
        for (recompute, capacity) in cases {
            for (name, device) in devices() {
                let tolerance = tolerance(&device);
                let mut runtime = runtime(device, &golden);
                runtime.round_lengths_up(true);
                let options = PlanOptions { precision: runtime.precision(), recompute };
                let plan = golden
                    .model
                    .albert
                    .plan(&Head::Pretraining, capacity, Mode::Training, options)
                    .expect("all are trained");
                let plan = runtime.load(plan).expect("memory");
                let (integers, reals) = (golden.batch.integers(), golden.batch.floats());
                let lengths = [golden.batch.tokens(), golden.batch.sequences(), golden.batch.predictions()];
                let bindings =
                    Bindings { lengths: &lengths, integers: &integers, reals: &reals, ..Bindings::default() };
                runtime.run(plan, &bindings).expect("a golden batch");
                let context = format!("{} on {name} with {recompute:?}, {capacity:?}", folder.display());
                let loss = golden.tensors["out.loss"].real();
                assert_close(&runtime.output(plan, "loss"), loss, tolerance, &format!("{context}: loss"));
                let gradients: Vec<f64> = runtime.read(State::Gradients);
                // What a device records when it sees a batch like one before, and then repeats, gives the same bits.
                for time in ["second", "third"] {
                    runtime.zero_gradients();
                    runtime.run(plan, &bindings).expect("the same batch");
                    let again: Vec<f64> = runtime.read(State::Gradients);
                    assert!(again == gradients, "{context}: other gradients the {time} time");
                }
                for (part, range) in parameters.placed_parts() {
                    let expected = golden.tensors[&format!("grad.{}", part.name)].real();
                    let what = format!("{context}: gradient of {}", part.name);
                    assert_gradient(&gradients[range], expected, tolerance, &[], &what);
                }
            }
        }
    }
}

/// What a golden model makes of its batch in one precision: every output and every gradient, by name.
fn everything(
    golden: &Golden,
    device: Device,
    precision: Precision,
    values: &[f32],
) -> Vec<(String, Vec<f64>)> {
    let (albert, batch) = (&golden.model.albert, &golden.batch);
    let mut runtime = Runtime::in_precision(device, precision, albert.parameters().clone()).expect("memory");
    runtime.write(State::Values, values);
    // The reference simulates bf16 in plans of f64.
    let precision = runtime.precision();
    let (integers, reals) = (batch.integers(), batch.floats());
    let lengths = [batch.tokens(), batch.sequences(), batch.predictions()];
    let bindings = Bindings { lengths: &lengths, integers: &integers, reals: &reals, ..Bindings::default() };
    let outputs = albert.encoding_plan(golden.capacity(), true, precision);
    let outputs = runtime.load(outputs).expect("memory");
    runtime.run(outputs, &bindings).expect("a golden batch");
    let mut found: Vec<_> = ["last_hidden_state", "pooler_output", "prediction_logits", "sop_logits"]
        .map(|name| (name.to_owned(), runtime.output(outputs, name)))
        .into();
    let options = PlanOptions { precision, recompute: Recompute::None };
    let plan =
        albert.plan(&Head::Pretraining, golden.capacity(), Mode::Training, options).expect("all are trained");
    let plan = runtime.load(plan).expect("memory");
    runtime.run(plan, &bindings).expect("a golden batch");
    let gradients: Vec<f64> = runtime.read(State::Gradients);
    for (part, range) in albert.parameters().placed_parts() {
        found.push((format!("gradient of {}", part.name), gradients[range].to_vec()));
    }
    found
}

/// `values` with the biases of linear maps as products of a GPU read them in bf16.
fn with_rounded_biases(golden: &Golden, values: &[f32]) -> Vec<f32> {
    type Rounded = <kernels::precision::Bf16 as kernels::Precision>::Activation;
    let mut values = values.to_vec();
    for (part, range) in golden.model.albert.parameters().placed_parts() {
        let norms = ["LayerNorm.bias", "layer_norm.bias"];
        if part.name.ends_with("bias") && !norms.iter().any(|norm| part.name.ends_with(norm)) {
            for value in &mut values[range] {
                *value = Rounded::from_f64(f64::from(*value)).to_f64() as f32;
            }
        }
    }
    values
}

/// Simulations of bf16 on a processor, and on a GPU.
const SIMULATIONS: [u64; 2] = [4, 16];

/// Numbers of an output or a gradient, fewer than which are one draw of a GPU's roundings and no measure of them.
const FEW: usize = 8;

/// In bf16 every output and every gradient is at most twice as far from the f64 reference as the farthest of some
/// simulations of it that round once, where they store. What is recorded is nearer to the reference than either. A GPU's
/// roundings are others from the first bias on: those of its outputs that are a few numbers are so far off in the mean of all models.
#[test]
fn in_bf16_outputs_and_gradients_stray_no_further_than_rounding_explains() {
    let distance = |found: &[f64], exact: &[f64]| -> f64 {
        found.iter().zip(exact).map(|(found, exact)| (found - exact).powi(2)).sum::<f64>().sqrt()
    };
    let mut of_few = Vec::new();
    for folder in golden_folders("pretraining_") {
        let golden = Golden::load(&folder);
        let values = &golden.model.values;
        let exact = everything(&golden, Device::Reference, Precision::F64, values);
        let [on_a_processor, on_a_gpu] = SIMULATIONS;
        let simulated: Vec<_> = (0..on_a_processor)
            .map(|seed| everything(&golden, Device::Reference, Precision::Bf16, &nudged(values, seed)))
            .collect();
        let on_a_gpu: Vec<_> = (0..on_a_gpu)
            .map(|seed| with_rounded_biases(&golden, &nudged(values, seed)))
            .map(|values| everything(&golden, Device::Reference, Precision::Bf16, &values))
            .collect();
        for (device_name, device) in devices().into_iter().filter(|(name, _)| name != "reference") {
            let simulated = if device_name == "gpu" { &on_a_gpu } else { &simulated };
            let found = everything(&golden, device, Precision::Bf16, values);
            for (index, (name, exact)) in exact.iter().enumerate() {
                let farthest = simulated.iter().map(|way| distance(&way[index].1, exact)).fold(0.0, f64::max);
                let off = distance(&found[index].1, exact);
                let context = format!("{} on {device_name}: {name}", folder.display());
                assert!(off > 0.0, "{context}");
                if device_name == "gpu" && exact.len() < FEW {
                    assert!(off <= 5.0 * farthest, "{context}: {off:e}, simulated {farthest:e}");
                    of_few.push((off / farthest).powi(2));
                } else {
                    assert!(off <= 2.0 * farthest, "{context}: {off:e}, simulated {farthest:e}");
                }
            }
        }
    }
    // Of one model they are two, whose errors go together.
    let mean = (of_few.iter().sum::<f64>() / of_few.len().max(1) as f64).sqrt();
    assert!(mean <= 2.0, "{} of few numbers: {mean} times the farthest simulation in the mean", of_few.len());
}
