//! Recorded heads for fine-tuning: outputs, loss and every gradient, on every device; the beam of answers.

#[path = "support/golden_folders.rs"]
mod golden_folders;
#[path = "support/gradients.rs"]
mod gradients;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engine::{Bindings, Device, PlanId, PlanOptions, Recompute, Runtime, State};
use golden_folders::golden_folders;
use gradients::{assert_gradient, tolerance};
use model::{Beam, Capacity, Fresh, Head, LoadedModel, Mode};
use support::{Recorded, assert_close, devices, recorded};

/// Outputs that have a number for each token, and are recorded for every column.
const OF_TOKENS: [&str; 2] = ["start_logits", "end_logits"];

/// No logit of a token that is asked about is below.
const EXCLUDED: f64 = -1e29;

/// Lists of integers and of real numbers by the inputs they are bound to.
#[derive(Default)]
struct Inputs {
    integers: Vec<(&'static str, Vec<i32>)>,
    reals: Vec<(&'static str, Vec<f32>)>,
}

impl Inputs {
    fn integer(&mut self, name: &'static str, values: impl IntoIterator<Item = i32>) {
        self.integers.push((name, values.into_iter().collect()));
    }

    fn real(&mut self, name: &'static str, values: impl IntoIterator<Item = f32>) {
        self.reals.push((name, values.into_iter().collect()));
    }
}

/// A recorded model and batch.
struct Golden {
    folder: PathBuf,
    tensors: BTreeMap<String, Recorded>,
    /// By sequence, padding left out: first row, cells of the padded matrix.
    sequences: Vec<(i32, Vec<usize>)>,
    inputs: Inputs,
}

impl Golden {
    fn load(folder: &Path) -> Self {
        let tensors = recorded(&folder.join("reference.safetensors"));
        let mask = &tensors["in.attention_mask"];
        let columns = *mask.shape().last().expect("a matrix");
        let mut sequences: Vec<(i32, Vec<usize>)> = Vec::new();
        let mut row = 0;
        for (sequence, mask) in mask.integer().chunks_exact(columns).enumerate() {
            let cells = (0..columns).filter(|&column| mask[column] != 0);
            let cells: Vec<_> = cells.map(|column| sequence * columns + column).collect();
            row += cells.len() as i32;
            sequences.push((row - cells.len() as i32, cells));
        }
        let mut golden = Self { folder: folder.to_owned(), tensors, sequences, inputs: Inputs::default() };
        let ids = golden.per_token("in.input_ids");
        let mut order: Vec<i32> = (0..row).collect();
        order.sort_by_key(|&row| ids[row as usize]);
        let positions = golden.cells().map(|cell| (cell % columns) as i32).collect::<Vec<_>>();
        let first_rows: Vec<i32> = golden.sequences.iter().map(|(first, _)| *first).collect();
        let segments = golden.per_token("in.token_type_ids");
        golden.inputs.integer("token_ids", ids);
        golden.inputs.integer("position_ids", positions);
        golden.inputs.integer("segment_ids", segments);
        golden.inputs.integer("token_order", order);
        golden.inputs.integer("offsets", first_rows.iter().copied().chain([row]));
        golden.inputs.integer("first_rows", first_rows);
        golden
    }

    fn cells(&self) -> impl Iterator<Item = usize> {
        self.sequences.iter().flat_map(|(_, cells)| cells).copied()
    }

    /// Recorded integers of real tokens.
    fn per_token(&self, name: &str) -> Vec<i32> {
        self.cells().map(|cell| self.tensors[name].integer()[cell]).collect()
    }

    fn integers(&self, name: &str) -> Vec<i32> {
        self.tensors[name].integer().to_vec()
    }

    fn lengths(&self) -> [usize; 2] {
        [self.cells().count(), self.sequences.len()]
    }

    /// `1 / count`, `count` times.
    fn mean(&mut self, count: usize) {
        self.inputs.real("weights", vec![1.0 / count as f32; count]);
    }

    /// Recorded positions in sequences as rows of the batch.
    fn rows(&self, name: &str) -> Vec<i32> {
        let rows = self.sequences.iter().zip(self.tensors[name].integer());
        rows.map(|((first, _), position)| first + position).collect()
    }

    /// Runs a plan of `head` and compares the loss, the named outputs and, in training, every gradient. A second time in a plan that has more room and computes more than is given.
    fn check(&self, model: &LoadedModel, third_axis: Option<usize>, outputs: &[(&str, &str)]) {
        let [tokens, sequences] = self.lengths();
        self.check_within(Capacity { tokens, sequences, masked: 0 }, model, third_axis, outputs);
        let roomy = Capacity { tokens: tokens + 50, sequences: sequences + 3, masked: 0 };
        self.check_within(roomy, model, third_axis, outputs);
    }

    fn check_within(
        &self,
        capacity: Capacity,
        model: &LoadedModel,
        third_axis: Option<usize>,
        outputs: &[(&str, &str)],
    ) {
        let [tokens, sequences] = self.lengths();
        let lengths: Vec<usize> = [tokens, sequences].into_iter().chain(third_axis).collect();
        let head = &model.albert.heads()[0];
        let unseen: &[&str] = match head {
            Head::Choice { .. } => &["classifier.bias"],
            Head::Span => &["qa_outputs.bias"],
            Head::AnswerableSpan { .. } => {
                &["start_logits.dense.bias", "end_logits.LayerNorm.bias", "end_logits.dense_1.bias"]
            }
            _ => &[],
        };
        // The ends are those of answers whose start is known: the label, or what the beam tries.
        let given_start = matches!(head, Head::AnswerableSpan { .. });
        for (name, device) in devices() {
            let tolerance = tolerance(&device);
            let mut runtime = runtime(device, model);
            runtime.round_lengths_up(true);
            for mode in [Mode::Prediction, Mode::Evaluation, Mode::Training] {
                let options = PlanOptions { precision: runtime.precision(), recompute: Recompute::None };
                let plan = model.albert.plan(head, capacity, mode, options).expect("all are trained");
                let plan = runtime.load(plan).expect("memory");
                self.run(&mut runtime, plan, &lengths);
                let context = format!("{} on {name}, {mode:?}", self.folder.display());
                for &(output, of) in outputs {
                    if mode == Mode::Prediction && given_start && output == "end_logits" {
                        continue;
                    }
                    let expected = self.tensors[of].real();
                    let expected: Vec<f32> = if OF_TOKENS.contains(&output) {
                        self.cells().map(|cell| expected[cell]).collect()
                    } else {
                        expected.to_vec()
                    };
                    // Beside the logits of tokens that are excluded, which say so, nothing would show.
                    let (found, expected): (Vec<f64>, Vec<f32>) = (runtime.output(plan, output).into_iter())
                        .zip(expected)
                        .filter(|(found, expected)| {
                            assert_eq!(*found < EXCLUDED, *expected < EXCLUDED as f32, "{context}: {output}");
                            found.is_nan() || *found >= EXCLUDED // a NaN stays, and fails
                        })
                        .unzip();
                    assert_close(&found, &expected, tolerance, &format!("{context}: {output}"));
                }
                if mode == Mode::Prediction {
                    continue;
                }
                let (loss, found) = (self.tensors["out.loss"].real(), runtime.output(plan, "loss"));
                assert_close(&found, loss, tolerance, &format!("{context}: loss"));
                if mode == Mode::Training {
                    let gradients: Vec<f64> = runtime.read(State::Gradients);
                    for (part, range) in model.albert.parameters().placed_parts() {
                        let expected = self.tensors[&format!("grad.{}", part.name)].real();
                        let what = format!("{context}: gradient of {}", part.name);
                        assert_gradient(&gradients[range], expected, tolerance, unseen, &what);
                    }
                }
            }
        }
    }

    fn run(&self, runtime: &mut Runtime, plan: PlanId, lengths: &[usize]) {
        self.bound(lengths, |bindings| runtime.run(plan, bindings).expect("a golden batch"));
    }

    fn bound<T>(&self, lengths: &[usize], work: impl FnOnce(&Bindings<'_>) -> T) -> T {
        let integers: Vec<_> = self.inputs.integers.iter().map(|(name, list)| (*name, &list[..])).collect();
        let reals: Vec<_> = self.inputs.reals.iter().map(|(name, list)| (*name, &list[..])).collect();
        work(&Bindings { lengths, integers: &integers, reals: &reals, ..Bindings::default() })
    }
}

fn runtime(device: Device, model: &LoadedModel) -> Runtime {
    let mut runtime = Runtime::new(device, model.albert.parameters().clone()).expect("memory");
    runtime.write(State::Values, &model.values);
    runtime
}

fn load(folder: &Path) -> LoadedModel {
    let model = model::load(folder).expect("a model directory");
    assert_eq!(model.report.unmapped, [""; 0]);
    model
}

#[test]
fn classes_are_the_recorded_ones() {
    for folder in golden_folders("classification_") {
        let mut golden = Golden::load(&folder);
        let labels = golden.integers("in.labels");
        golden.mean(labels.len());
        golden.inputs.integer("labels", labels);
        golden.check(&load(&folder), None, &[("logits", "out.logits")]);
    }
}

#[test]
fn numbers_are_the_recorded_ones() {
    for folder in golden_folders("regression") {
        let mut golden = Golden::load(&folder);
        let targets = golden.tensors["in.labels"].real().to_vec();
        golden.mean(targets.len());
        golden.inputs.real("targets", targets);
        golden.check(&load(&folder), None, &[("logits", "out.logits")]);
    }
}

#[test]
fn choices_are_the_recorded_ones() {
    for folder in golden_folders("multiple_choice") {
        let mut golden = Golden::load(&folder);
        let head = Head::Choice { dropout: 0.0 };
        let model = model::load_head(&folder, &head, Fresh::Nothing).expect("a model directory");
        let options = golden.tensors["in.input_ids"].shape()[1] as i32;
        let labels = golden.integers("in.labels");
        let questions = labels.len();
        golden.mean(questions);
        golden.inputs.integer("option_offsets", (0..=questions as i32).map(|question| question * options));
        golden
            .inputs
            .integer("labels", (0..).zip(labels).map(|(question, label)| question * options + label));
        golden.check(&model, Some(questions), &[("logits", "out.logits")]);
    }
}

#[test]
fn spans_are_the_recorded_ones() {
    for folder in golden_folders("question_answering") {
        let mut golden = Golden::load(&folder);
        let [start, end] = ["in.start_positions", "in.end_positions"].map(|name| golden.rows(name));
        golden.mean(golden.sequences.len());
        golden.inputs.integer("start_labels", start);
        golden.inputs.integer("end_labels", end);
        let outputs = [("start_logits", "out.start_logits"), ("end_logits", "out.end_logits")];
        golden.check(&load(&folder), None, &outputs);
    }
}

/// No recorded model has classes of tokens with gradients: there they are what differences of the loss say, on the reference
/// in f64.
#[test]
fn the_gradients_of_token_classes_are_those_of_differences() {
    /// A step along one weight, of the size of weights: differences lose h² of its third derivative, and 1e-16 / h to rounding.
    const STEP: f32 = 1e-3;
    const TOLERANCE: f64 = 10.0 * (STEP * STEP) as f64;
    let folder = &golden_folders("classification_")[0];
    let mut golden = Golden::load(folder);
    let head = Head::TokenClassification { outputs: 4, dropout: 0.0 };
    let fresh = Fresh::Head { seed: 3, allowed: &[] };
    let model = model::load_head(folder, &head, fresh).expect("a model directory");
    let [tokens, sequences] = golden.lengths();
    // Every third token is asked about.
    golden.inputs.integer("labels", (0..tokens as i32).map(|row| row % 4));
    let asked = tokens.div_ceil(3) as f32;
    golden.inputs.real("weights", (0..tokens).map(|row| if row % 3 == 0 { 1.0 / asked } else { 0.0 }));
    let mut runtime = runtime(Device::Reference, &model);
    let options = PlanOptions { precision: runtime.precision(), recompute: Recompute::None };
    let capacity = Capacity { tokens, sequences, masked: 0 };
    let [training, evaluation] = [Mode::Training, Mode::Evaluation].map(|mode| {
        let plan = model.albert.plan(&head, capacity, mode, options).expect("all are trained");
        runtime.load(plan).expect("memory")
    });
    golden.run(&mut runtime, training, &[tokens, sequences]);
    let gradients: Vec<f64> = runtime.read(State::Gradients);
    let mut loss_with = |place: usize, value: f32| {
        let mut values = model.values.clone();
        values[place] = value;
        runtime.write(State::Values, &values);
        golden.run(&mut runtime, evaluation, &[tokens, sequences]);
        runtime.output(evaluation, "loss")[0]
    };
    for (part, range) in model.albert.parameters().placed_parts() {
        let largest = range
            .clone()
            .max_by(|&a, &b| gradients[a].abs().total_cmp(&gradients[b].abs()))
            .expect("weights");
        for place in [range.start, range.start + range.len() / 2, largest] {
            let [above, below] = [STEP, -STEP].map(|step| model.values[place] + step);
            let difference = loss_with(place, above) - loss_with(place, below);
            let expected = difference / (f64::from(above) - f64::from(below));
            let distance = (gradients[place] - expected).abs();
            assert!(distance <= TOLERANCE, "{}: {} and {expected}", part.name, gradients[place]);
        }
    }
}

fn answerable(folder: &Path) -> Golden {
    let mut golden = Golden::load(folder);
    let [start, end] = ["in.start_positions", "in.end_positions"].map(|name| golden.rows(name));
    golden.mean(golden.sequences.len());
    golden.inputs.integer("start_labels", start);
    golden.inputs.integer("end_labels", end);
    let impossible: Vec<i32> =
        golden.tensors["in.is_impossible"].real().iter().map(|&value| value as i32).collect();
    golden.inputs.integer("answerable_labels", impossible);
    let owner = |(sequence, (_, cells)): (usize, &(i32, Vec<usize>))| vec![sequence as i32; cells.len()];
    let owners: Vec<i32> = golden.sequences.iter().enumerate().flat_map(owner).collect();
    golden.inputs.integer("sequence_of_token", owners);
    let excluded = golden.per_token("in.p_mask");
    golden.inputs.real("excluded", excluded.into_iter().map(|value| value as f32));
    golden
}

#[test]
fn answerable_spans_are_the_recorded_ones() {
    for folder in golden_folders("answerable_question_answering") {
        let golden = answerable(&folder);
        let outputs = [
            ("start_logits", "out.start_logits"),
            ("end_logits", "out.end_logits"),
            ("answerability_logits", "out.answerability_logits"),
        ];
        golden.check(&load(&folder), None, &outputs);
    }
}

/// The likeliest starts and, for each, the likeliest ends: the same tokens, with log-probabilities of the recorded ones. With
/// labels the search tells the loss too.
#[test]
fn the_beam_is_the_recorded_one() {
    for folder in golden_folders("answerable_question_answering") {
        let (golden, model) = (answerable(&folder), load(&folder));
        let [tokens, sequences] = golden.lengths();
        let capacity = Capacity { tokens, sequences, masked: 0 };
        let tensor = |name: &str| &golden.tensors[&format!("out.beam_{name}")];
        let &[recorded_sequences, starts, ends] = tensor("end_positions").shape() else {
            panic!("sequences, starts, ends")
        };
        assert_eq!(recorded_sequences, sequences);
        let in_modes = [Mode::Prediction, Mode::Evaluation].into_iter();
        for (mode, (name, device)) in
            in_modes.flat_map(|mode| devices().into_iter().map(move |of| (mode, of)))
        {
            let (tolerance, name) = (tolerance(&device), format!("{name}, {mode:?}"));
            let mut runtime = runtime(device, &model);
            let beam =
                Beam::new(&model.albert, capacity, mode, &mut runtime, [starts, ends]).expect("memory");
            let found =
                golden.bound(&[tokens, sequences], |batch| beam.search(&mut runtime, batch)).expect("fits");
            let entries: Vec<_> = found.sequences.iter().flat_map(|sequence| &sequence.entries).collect();
            assert_eq!(entries.len(), sequences * starts * ends, "{name}");
            for (index, entry) in entries.iter().enumerate() {
                let start = tensor("start_positions").integer()[index / ends] as usize;
                let end = tensor("end_positions").integer()[index] as usize;
                assert_eq!((entry.start_row, entry.end_row), (start, end), "{name}, {index}");
            }
            let starts: Vec<f64> = entries.iter().step_by(ends).map(|entry| f64::from(entry.start)).collect();
            let ends: Vec<f64> = entries.iter().map(|entry| f64::from(entry.end)).collect();
            let nulls: Vec<f64> = found.sequences.iter().map(|sequence| f64::from(sequence.null)).collect();
            for (what, found, expected) in [
                ("starts", starts, tensor("start_log_probabilities")),
                ("ends", ends, tensor("end_log_probabilities")),
                ("answerability", nulls, &golden.tensors["out.answerability_logits"]),
            ] {
                assert_close(&found, expected.real(), tolerance, &format!("{name}: {what}"));
            }
            assert_eq!(found.loss.is_some(), mode == Mode::Evaluation);
            if let Some(loss) = found.loss {
                assert_close(&[loss], golden.tensors["out.loss"].real(), tolerance, &format!("{name}: loss"));
            }
        }
    }
}
