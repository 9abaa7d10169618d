//! The gradient of a whole pre-training loss (encoder, both heads, dropout) against central differences, in f64, for every
//! parameter of every kind of ALBERT.

use engine::{Bindings, Device, PlanOptions, Recompute, Runtime, State};
use model::{Albert, AlbertConfig, Capacity, Head, Mode};

/// As for single operations: a step of 1e-5 leaves an error far below this in f64.
const TOLERANCE: f64 = 1e-7;
const STEP: f64 = 1e-5;

fn config(change: impl FnOnce(&mut AlbertConfig)) -> AlbertConfig {
    let mut config = AlbertConfig {
        vocab_size: 11,
        embedding_size: 4,
        hidden_size: 6,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 8,
        max_position_embeddings: 6,
        initializer_range: 0.4,
        layer_norm_eps: 1e-3,
        hidden_dropout_prob: 0.2,
        attention_probs_dropout_prob: 0.2,
        ..AlbertConfig::default()
    };
    change(&mut config);
    config
}

fn check(name: &str, config: AlbertConfig, recompute: Recompute) {
    let albert = Albert::new(config, &[Head::Pretraining]).expect("valid");
    let parameters = albert.parameters().clone();
    let mut runtime = Runtime::new(Device::Reference, parameters.clone()).expect("memory");
    let options = PlanOptions { precision: runtime.precision(), recompute };
    let capacity = Capacity { tokens: 16, sequences: 4, masked: 8 };
    let plan = runtime
        .load(albert.plan(&Head::Pretraining, capacity, Mode::Training, options).expect("all are trained"))
        .expect("memory");
    let integers: [(&str, &[i32]); 9] = [
        ("token_ids", &[2, 5, 4, 3, 7, 3, 2, 9, 3, 4]),
        ("position_ids", &[0, 1, 2, 3, 4, 5, 0, 1, 2, 3]),
        ("segment_ids", &[0, 0, 0, 0, 1, 1, 0, 0, 1, 1]),
        ("token_order", &[0, 6, 3, 5, 8, 2, 9, 1, 4, 7]),
        ("offsets", &[0, 6, 10]),
        ("first_rows", &[0, 6]),
        ("masked_rows", &[2, 9, 4]),
        ("masked_labels", &[8, 10, 0]),
        ("sentence_order_labels", &[1, 0]),
    ];
    let reals: [(&str, &[f32]); 2] =
        [("masked_weights", &[0.5, 0.25, 0.25]), ("sentence_order_weights", &[0.5, 0.5])];
    let bindings = Bindings {
        lengths: &[10, 2, 3],
        integers: &integers,
        reals: &reals,
        seed: 1,
        step: 2,
        ..Bindings::default()
    };
    let mut values: Vec<f64> =
        parameters.initial_values(6).expect("memory").into_iter().map(f64::from).collect();
    // Biases and norms start at constants that hide mistakes: move everything a little.
    values.iter_mut().enumerate().for_each(|(index, value)| *value += 0.1 * (index as f64).sin());
    runtime.write(State::Values, &values);
    runtime.zero_gradients();
    runtime.run(plan, &bindings).expect("a batch that fits");
    let gradients: Vec<f64> = runtime.read(State::Gradients);
    for (part, range) in parameters.placed_parts() {
        let (mut difference, mut norm) = (0.0, 0.0);
        for index in range {
            let mut at = |offset: f64| {
                let mut moved = values.clone();
                moved[index] += offset;
                runtime.write(State::Values, &moved);
                runtime.run(plan, &bindings).expect("a batch that fits");
                runtime.output(plan, "loss")[0]
            };
            let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            difference += (gradients[index] - expected).powi(2);
            norm += expected.powi(2);
        }
        // A key bias adds the same number to all scores of a query, which softmax does not see: its gradient is 0, and
        // the bound is absolute.
        let scale = if part.name.ends_with("key.bias") { 1.0 } else { norm.sqrt() };
        assert!(scale > 0.0, "{name}: the loss does not depend on {}", part.name);
        let distance = difference.sqrt() / scale;
        assert!(distance < TOLERANCE, "{name}, {recompute:?}: gradient of {}: {distance:e}", part.name);
    }
}

#[test]
fn gradients_are_those_of_central_differences() {
    for recompute in [Recompute::None, Recompute::Gelu, Recompute::Layer] {
        check("gelu_new", config(|_| {}), recompute);
        check(
            "gelu, groups",
            config(|c| (c.hidden_act, c.num_hidden_groups) = ("gelu".into(), 2)),
            recompute,
        );
        check(
            "tanh, inner groups",
            config(|c| (c.hidden_act, c.inner_group_num) = ("tanh".into(), 2)),
            recompute,
        );
        check(
            "linear, E = H",
            config(|c| (c.hidden_act, c.embedding_size) = ("linear".into(), 6)),
            recompute,
        );
    }
}
