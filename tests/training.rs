//! What training promises (`ARCHITECTURE.md`, What is promised): the same bytes at any thread count, one gradient whatever the micro-batches, one
//! gradient for shared weights, and that it learns at all.

use engine::{Bindings, Device, PlanOptions, Precision, Recompute, Runtime, State};
use kernels::Cpu;
use kernels::optimizer::{Rule, Update};
use kernels::random::{Philox, below};
use model::{Albert, AlbertConfig, Capacity, Head, Mode};
use train::pretraining::{self, Batch};
use train::training::{Inputs, Learner, Outputs, Sums};

fn config(change: impl FnOnce(&mut AlbertConfig)) -> AlbertConfig {
    let mut config = AlbertConfig {
        vocab_size: 211,
        embedding_size: 24,
        hidden_size: 48,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        intermediate_size: 80,
        max_position_embeddings: 64,
        initializer_range: 0.1,
        hidden_dropout_prob: 0.1,
        attention_probs_dropout_prob: 0.1,
        ..AlbertConfig::default()
    };
    change(&mut config);
    config
}

const CAPACITY: Capacity = Capacity { tokens: 256, sequences: 8, masked: 64 };

/// Ragged sequences of random tokens, normalised over all of `lengths`.
fn batch(lengths: &[usize], of: &[usize], seed: u64) -> Batch {
    let draw = |index: u64, bound: u64| below(Philox::new(seed, 77).word(1, index), bound) as i32;
    let mut batch = Batch { offsets: vec![0], ..Batch::default() };
    let all_masked: usize = of.iter().map(|length| length.div_ceil(6)).sum();
    for &length in lengths {
        let first = batch.token_ids.len() as i32;
        // Tokens depend on the sequence's length only, so that a sequence is the same in any batch.
        let stream = length as u64 * 1000;
        batch.token_ids.extend((0..length).map(|i| draw(stream + i as u64, 211)));
        batch.position_ids.extend(0..length as i32);
        batch.segment_ids.extend((0..length).map(|i| i32::from(i >= length / 2)));
        batch.offsets.push(first + length as i32);
        batch.first_rows.push(first);
        for i in (0..length).step_by(6) {
            batch.masked_rows.push(first + i as i32);
            batch.masked_labels.push(draw(stream + 500 + i as u64, 211));
        }
        batch.sentence_order_labels.push(length as i32 % 2);
    }
    batch.masked_weights = vec![1.0 / all_masked as f32; batch.masked_rows.len()];
    batch.sentence_order_weights = vec![1.0 / of.len() as f32; lengths.len()];
    let mut order: Vec<i32> = (0..batch.token_ids.len() as i32).collect();
    order.sort_by_key(|&row| batch.token_ids[row as usize]);
    batch.token_order = order;
    batch
}

const LENGTHS: [usize; 6] = [40, 7, 1, 33, 64, 17];

fn learner(config: AlbertConfig, threads: usize, precision: Precision) -> Learner {
    let albert = Albert::new(config, &[Head::Pretraining]).expect("valid");
    let device = Device::Cpu(Cpu::new(Some(threads), None).expect("a CPU"));
    let options = PlanOptions { precision, recompute: Recompute::None };
    let plans = pretraining::plans(&albert, CAPACITY, options);
    Learner::new(albert, device, precision, plans, 11).expect("memory")
}

fn update(lr: f64) -> Update {
    Update {
        rule: Rule::Lamb,
        lr,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-6,
        weight_decay: 0.01,
        clip_norm: 0.0,
        bias_correction: None,
    }
}

/// Values, gradients and moments after five steps.
fn state_after_training(threads: usize, precision: Precision) -> Vec<Vec<f32>> {
    let mut learner = learner(config(|_| {}), threads, precision);
    for step in 0..5 {
        learner.gradient(&[batch(&LENGTHS, &LENGTHS, step).into_inputs()], step).expect("a batch that fits");
        learner.update(&update(0.01)).expect("a device that works");
    }
    let states = [State::Values, State::Gradients, State::FirstMoments, State::SecondMoments];
    states.map(|state| learner.runtime().read(state)).to_vec()
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    for precision in [Precision::F32, Precision::Bf16] {
        let one = state_after_training(1, precision);
        for threads in [2, 3] {
            assert!(one == state_after_training(threads, precision), "{threads} threads in {precision}");
        }
    }
}

#[test]
fn micro_batches_add_up_to_one_batch() {
    let gradient = |parts: &[&[usize]]| {
        let mut learner = learner(config(|_| {}), 2, Precision::F32);
        let parts: Vec<Inputs> = parts.iter().map(|part| batch(part, &LENGTHS, 3).into_inputs()).collect();
        let mut count = |inputs: &Inputs, _: Outputs<'_>, sums: &mut Sums| {
            sums.add("masked tokens", inputs.integer("masked_labels").len() as f64);
        };
        let outcome = learner.gradient_unless(&|| false, &parts, 9, &mut count).expect("batches that fit");
        (outcome.expect("nobody stops it"), learner.runtime().read::<f64>(State::Gradients))
    };
    let (one, together) = gradient(&[&LENGTHS]);
    for parts in
        [&[&LENGTHS[..2], &LENGTHS[2..]][..], &LENGTHS.map(|length| [length]).each_ref().map(|p| &p[..])]
    {
        let (many, added) = gradient(parts);
        assert_eq!((many.tokens, &many.sums), (one.tokens, &one.sums));
        // Sums of some hundred terms in another order: √k·u with room for the depth of the network.
        assert!((many.loss / one.loss - 1.0).abs() < 1e-5, "{} and {}", many.loss, one.loss);
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let difference = norm(&mut added.iter().zip(&together).map(|(a, b)| a - b));
        let distance = difference / norm(&mut together.iter().copied());
        assert!(distance < 1e-5, "{} parts: {distance:e}", parts.len());
    }
}

/// Gradients in f64 without dropout, by part name.
fn gradients(config: AlbertConfig, values: &dyn Fn(&str, usize) -> Vec<f64>) -> Vec<(String, Vec<f64>)> {
    let albert = Albert::new(config, &[Head::Pretraining]).expect("valid");
    let parameters = albert.parameters().clone();
    let mut runtime = Runtime::new(Device::Reference, parameters.clone()).expect("memory");
    let options = PlanOptions { precision: runtime.precision(), recompute: Recompute::None };
    let plan = runtime
        .load(albert.plan(&Head::Pretraining, CAPACITY, Mode::Training, options).expect("all are trained"))
        .expect("memory");
    let mut flat = vec![0.0; parameters.buffer_length()];
    for (part, range) in parameters.placed_parts() {
        let length = range.len();
        flat[range].copy_from_slice(&values(&part.name, length));
    }
    runtime.write(State::Values, &flat);
    runtime.zero_gradients();
    let batch = batch(&LENGTHS, &LENGTHS, 3);
    let lengths = [batch.tokens(), batch.sequences(), batch.predictions()];
    let bindings = Bindings {
        lengths: &lengths,
        integers: &batch.integers(),
        reals: &batch.floats(),
        ..Bindings::default()
    };
    runtime.run(plan, &bindings).expect("a batch that fits");
    let gradients: Vec<f64> = runtime.read(State::Gradients);
    parameters.placed_parts().map(|(part, range)| (part.name.clone(), gradients[range].to_vec())).collect()
}

#[test]
fn a_shared_weight_has_the_sum_of_its_copies_gradients() {
    let plain = |groups| {
        config(|config| {
            config.num_hidden_groups = groups;
            (config.hidden_dropout_prob, config.attention_probs_dropout_prob) = (0.0, 0.0);
        })
    };
    // Copies of one group have the values of the shared one: a value depends on the name without the group's number.
    let values = |name: &str, length: usize| -> Vec<f64> {
        let name = name.split("layer_groups.").collect::<Vec<_>>();
        let rest = name.last().map_or("", |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
        let stream = rest.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let word = |i: u64| below(Philox::new(5, 5).word(stream, i), 2001) as f64 / 5000.0 - 0.2;
        (0..length as u64).map(word).collect()
    };
    let (shared, copies) = (gradients(plain(1), &values), gradients(plain(3), &values));
    let mut compared = 0;
    for (name, shared) in shared {
        let Some(rest) = name.strip_prefix("albert.encoder.albert_layer_groups.0.") else { continue };
        let suffix = rest.to_owned();
        let of_copies =
            copies.iter().filter(|(name, _)| name.contains("layer_groups.") && name.ends_with(&suffix));
        let mut sum = vec![0.0; shared.len()];
        let mut count = 0;
        for (_, gradient) in of_copies.filter(|(name, _)| name.split_once(".albert_layers").is_some()) {
            sum.iter_mut().zip(gradient).for_each(|(sum, gradient)| *sum += gradient);
            count += 1;
        }
        assert_eq!(count, 3, "{name}");
        let scale = shared.iter().map(|g| g * g).sum::<f64>().sqrt().max(1e-9);
        let difference = shared.iter().zip(&sum).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        assert!(difference / scale < 1e-10 || name.ends_with("key.bias"), "{name}: {:e}", difference / scale);
        compared += 1;
    }
    assert_eq!(compared, 16, "weights and biases of a block");
}

/// A loss or a norm that is none reaches neither parameters nor moments, whoever asks for the update.
#[test]
fn what_is_not_finite_changes_nothing() {
    for precision in [Precision::F32, Precision::Bf16] {
        let mut learner = learner(config(|_| {}), 2, precision);
        let batch = [batch(&LENGTHS, &LENGTHS, 3).into_inputs()];
        let states = [State::Values, State::FirstMoments, State::SecondMoments];
        learner.gradient(&batch, 0).expect("a batch that fits");
        let applied = learner.update(&update(0.01)).expect("a device that works");
        assert!(applied.applied && applied.gradient_norm > 0.0, "{applied:?}");
        let before = states.map(|state| learner.runtime().read::<f32>(state));
        let mut gradients = learner.runtime().read::<f32>(State::Gradients);
        gradients[7] = f32::NAN;
        learner.runtime().write(State::Gradients, &gradients);
        assert!(!learner.update(&update(0.01)).expect("a device that works").applied);
        assert!(before == states.map(|state| learner.runtime().read::<f32>(state)), "{precision}");
        // The loss alone, with gradients that are fine.
        let mut poisoned = before[0].clone();
        poisoned.fill(f32::NAN);
        learner.set_values(&poisoned);
        learner.gradient(&batch, 1).expect("a batch that fits");
        gradients[7] = 0.0;
        learner.runtime().write(State::Gradients, &gradients);
        learner.set_values(&before[0]);
        let applied = learner.update(&update(0.01)).expect("a device that works");
        assert!(!applied.applied && applied.gradient_norm.is_finite(), "{applied:?}");
        assert!(before == states.map(|state| learner.runtime().read::<f32>(state)), "{precision}");
    }
}

#[test]
fn one_batch_is_learnt_by_heart() {
    learn_by_heart(Precision::F32);
    learn_by_heart(Precision::Bf16);
}

fn learn_by_heart(precision: Precision) {
    let without_dropout = config(|config| {
        (config.hidden_dropout_prob, config.attention_probs_dropout_prob) = (0.0, 0.0);
    });
    let mut learner = learner(without_dropout, 2, precision);
    let batch = [batch(&LENGTHS, &LENGTHS, 3).into_inputs()];
    let first = learner.gradient(&batch, 0).expect("a batch that fits").loss;
    let mut last = first;
    for step in 0..300 {
        let outcome = learner.gradient(&batch, step).expect("a batch that fits");
        learner
            .update(&Update { rule: Rule::AdamW, bias_correction: Some(step + 1), ..update(3e-3) })
            .expect("a device that works");
        last = outcome.loss;
    }
    assert!(first > 5.0 && last < 0.3, "{precision}: {first} to {last}");
}
