//! Every operation's gradient against central differences, in f64 on the reference device.
//!
//! Each case records a small graph whose loss depends on parameters through the operation; all parameters are disturbed.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine::*;
use kernels::random::{Philox, unit};

/// Central differences of a function with values and third derivatives around 1 have an error of about h² = 1e-10 from
/// the step and 1e-16 / h = 1e-11 from rounding: relative to a gradient's norm both are far below this.
const TOLERANCE: f64 = 1e-7;
const STEP: f64 = 1e-5;

/// Sequences of 3, 1 and 4 tokens.
const OFFSETS: [i32; 4] = [0, 3, 4, 8];
const TOKENS: usize = 8;
const SEQUENCES: usize = 3;

/// What a case records: the graph, its token and sequence rows, and a matrix with a gradient to start from.
struct Ground<'g> {
    graph: &'g Graph,
    tables: [ParameterId; 3],
    sequences: Axis,
    tokens: Rows,
    offsets: Indices<'g>,
    /// `[tokens, WIDTH]`, an embedding.
    x: Tensor<'g>,
}

const WIDTH: usize = 6;

fn parameter(parameters: &mut Parameters, name: &str, shape: [usize; 2]) -> ParameterId {
    parameters.declare(Declaration {
        columns: shape[1],
        parts: vec![Part { name: name.into(), shape: shape.to_vec() }],
        initializer: Initializer::TruncatedNormal { deviation: 0.5 },
        decays: true,
        adapts: true,
    })
}

/// A weighted sum of all elements, so that every element matters differently: squared error against zero would hide signs.
fn total<'g>(ground: &Ground<'g>, x: Tensor<'g>) -> Tensor<'g> {
    let rows = x.shape().rows;
    let weights = ground.graph.statistic("error_weights", Shape::new(rows, 1));
    let targets = ground.graph.statistic("targets", Shape::new(rows, 1));
    // One column by a fixed combination: slices of different scale.
    let mut column = x.slice_columns(0, 1);
    for index in 1..x.columns() {
        column = column.weighted_add(1.0, x.slice_columns(index, 1), 0.3 + index as f64);
    }
    column.squared_error(targets, weights)
}

/// A row of `x` for each sequence.
fn gathered<'g>(ground: &Ground<'g>, x: Tensor<'g>) -> Tensor<'g> {
    let Rows::Along(tokens) = ground.tokens else { unreachable!("tokens lie along an axis") };
    x.gather(ground.graph.indices("rows", Rows::Along(ground.sequences), Content::RowOf(tokens)))
}

type Case = (
    &'static str,
    &'static [(&'static str, [usize; 2])],
    for<'g> fn(&Ground<'g>, &[Tensor<'g>]) -> Tensor<'g>,
);

/// Name, further parameters, and what is recorded.
const CASES: &[Case] = &[
    ("embedding", &[], |g, _| total(g, g.x)),
    ("linear", &[("w", [5, WIDTH]), ("b", [5, 1])], |g, p| {
        total(g, g.x.linear(p[0], Some(p[1]), Activation::Identity))
    }),
    ("linear without bias", &[("w", [5, WIDTH])], |g, p| total(g, g.x.linear(p[0], None, Activation::Tanh))),
    ("linear gelu", &[("w", [5, WIDTH]), ("b", [5, 1])], |g, p| {
        total(g, g.x.linear(p[0], Some(p[1]), Activation::Gelu))
    }),
    ("linear gelu_new, used twice", &[("w", [WIDTH, WIDTH]), ("b", [WIDTH, 1])], |g, p| {
        let once = g.x.linear(p[0], Some(p[1]), Activation::GeluNew);
        total(g, once.linear(p[0], Some(p[1]), Activation::GeluNew))
    }),
    ("linear relu", &[("w", [5, WIDTH]), ("b", [5, 1])], |g, p| {
        total(g, g.x.linear(p[0], Some(p[1]), Activation::Relu))
    }),
    ("layer norm", &[("g", [WIDTH, 1]), ("b", [WIDTH, 1])], |g, p| {
        total(g, g.x.layer_norm(Norm { gamma: p[0], beta: p[1], epsilon: 1e-3 }))
    }),
    ("residual layer norm", &[("g", [WIDTH, 1]), ("b", [WIDTH, 1]), ("w", [WIDTH, WIDTH])], |g, p| {
        let norm = Norm { gamma: p[0], beta: p[1], epsilon: 1e-3 };
        total(g, g.x.linear(p[2], None, Activation::Identity).residual_layer_norm(g.x, 0.0, norm))
    }),
    (
        "residual layer norm with dropout",
        &[("g", [WIDTH, 1]), ("b", [WIDTH, 1]), ("w", [WIDTH, WIDTH])],
        |g, p| {
            let norm = Norm { gamma: p[0], beta: p[1], epsilon: 1e-3 };
            let once = g.x.linear(p[2], None, Activation::Identity).residual_layer_norm(g.x, 0.3, norm);
            total(g, once.residual_layer_norm(g.x, 0.2, norm))
        },
    ),
    ("attention", &[("w", [3 * WIDTH, WIDTH])], |g, p| {
        total(g, g.x.linear(p[0], None, Activation::Identity).attention(g.offsets, 2, 0.0))
    }),
    ("attention with dropout", &[("w", [3 * WIDTH, WIDTH])], |g, p| {
        total(g, g.x.linear(p[0], None, Activation::Identity).attention(g.offsets, 3, 0.4))
    }),
    ("dropout", &[], |g, _| total(g, g.x.dropout(0.4))),
    ("gather", &[], |g, _| total(g, gathered(g, g.x))),
    ("cross entropy", &[("w", [9, WIDTH])], |g, p| {
        let labels = g.graph.indices("labels", g.tokens, Content::Below(9));
        let weights = g.graph.statistic("label_weights", Shape::new(g.tokens, 1));
        g.x.linear(p[0], None, Activation::Identity).cross_entropy(labels, weights).loss
    }),
    ("tied decoder", &[], |g, _| {
        let words = g.graph.parameter(g.tables[0]);
        let Rows::Fixed(classes) = words.shape().rows else { unreachable!("a table has fixed rows") };
        let labels = g.graph.indices("labels", g.tokens, Content::Below(classes));
        let weights = g.graph.statistic("label_weights", Shape::new(g.tokens, 1));
        g.x.linear(words, None, Activation::Identity).cross_entropy(labels, weights).loss
    }),
    ("add and scale", &[("w", [WIDTH, WIDTH])], |g, p| {
        let y = g.x.linear(p[0], None, Activation::Identity);
        total(
            g,
            g.x.weighted_add(1.0, y, 1.0).weighted_add(0.5, y.scale(-2.0), 3.0).weighted_add(1.0, g.x, 1.0),
        )
    }),
    ("columns", &[("w", [4, WIDTH])], |g, p| {
        let y = g.x.linear(p[0], None, Activation::Identity);
        let all = g.graph.concatenate(&[y, g.x, y.slice_columns(1, 2)]);
        total(g, all.slice_columns(2, 9))
    }),
    ("sequence cross entropy", &[("w", [1, WIDTH])], |g, p| {
        let labels = g.graph.rows_of_sequences("rows_of_sequences", g.offsets);
        let weights = g.graph.statistic("sequence_weights", Shape::new(Rows::Along(g.sequences), 1));
        let scores = g.x.linear(p[0], None, Activation::Identity);
        scores.sequence_cross_entropy(g.offsets, labels, weights).loss
    }),
    ("softmax and sum over a sequence", &[("w", [1, WIDTH])], |g, p| {
        let scores = g.x.linear(p[0], None, Activation::Identity).sequence_softmax(g.offsets);
        total(
            g,
            g.x.sequence_sum(scores, g.offsets).weighted_add(1.0, g.x.sequence_sum(scores, g.offsets), 0.5),
        )
    }),
    ("sum over a sequence, each token weighted with itself", &[("w", [1, WIDTH])], |g, p| {
        let y = g.x.linear(p[0], None, Activation::Identity);
        total(g, y.sequence_sum(y, g.offsets))
    }),
    // What the sum adds to, the gradient of either, is one value: that of a + b.
    (
        "sum over a sequence of what its weights are added to",
        &[("w", [1, WIDTH]), ("v", [1, WIDTH])],
        |g, p| {
            let [a, b] = [p[0], p[1]].map(|weight| g.x.linear(weight, None, Activation::Identity));
            let sum = a.sequence_sum(b, g.offsets);
            total(g, sum.weighted_add(1.0, gathered(g, a.weighted_add(1.0, b, 1.0)), 0.7))
        },
    ),
];

fn numbers(count: usize, stream: u64) -> Vec<f32> {
    (0..count).map(|i| unit(Philox::new(9, 0).word(stream, i as u64)) as f32 - 0.3).collect()
}

fn check(case: &Case, recompute: Recompute) -> BTreeSet<String> {
    let (name, shapes, record) = case;
    let mut parameters = Parameters::default();
    let tables = [("words", 7), ("positions", 4), ("segments", 2)]
        .map(|(table, rows)| parameter(&mut parameters, table, [rows, WIDTH]));
    let further: Vec<_> =
        shapes.iter().map(|(name, shape)| parameter(&mut parameters, name, *shape)).collect();
    let parameters = Arc::new(parameters);
    let graph = Graph::new(parameters.clone());
    let (tokens, sequences) = (graph.axis("tokens", TOKENS + 3), graph.axis("sequences", SEQUENCES + 1));
    let rows = Rows::Along(tokens);
    let indices = |name, limit| graph.indices(name, rows, Content::Below(limit));
    let offsets = graph.indices("offsets", Rows::Offsets(sequences), Content::OffsetsOf(tokens));
    let ids = indices("ids", 7);
    let list = Tokens {
        ids,
        positions: indices("position_ids", 4),
        segments: indices("segment_ids", 2),
        order: graph.order("order", ids),
    };
    let x = graph.embedding(tables.map(|table| graph.parameter(table)), list);
    let further: Vec<_> = further.into_iter().map(|id| graph.parameter(id)).collect();
    let ground = Ground { graph: &graph, tables, sequences, tokens: rows, offsets, x };
    let loss = graph.region(|| record(&ground, &further));
    let options = PlanOptions { precision: Precision::F64, recompute };
    let plan = Plan::training(&graph, loss, &[("loss", loss)], options).expect("every parameter is reached");
    let names = plan.cost_by_operation().into_iter().map(|(name, _, _)| name.to_owned()).collect();
    let inputs: Vec<_> = plan.inputs().to_vec();
    let mut runtime = Runtime::new(Device::Reference, parameters.clone()).expect("memory");
    let plan = runtime.load(plan).expect("memory");

    let ids = [3, 0, 3, 6, 1, 0, 3, 2];
    let mut order: Vec<i32> = (0..TOKENS as i32).collect();
    order.sort_by_key(|&row| ids[row as usize]);
    let lists: Vec<(&str, Vec<i32>)> = vec![
        ("ids", ids.to_vec()),
        ("position_ids", vec![0, 1, 2, 0, 0, 1, 2, 3]),
        ("segment_ids", vec![0, 1, 1, 0, 0, 0, 1, 1]),
        ("order", order),
        ("offsets", OFFSETS.to_vec()),
        ("rows", vec![4, 0, 4]),
        ("rows_of_sequences", vec![1, 3, 7]),
        ("labels", vec![1, 4, 0, 6, 2, 5, 3, 3]),
    ];
    let lengths = [TOKENS, SEQUENCES];
    let reals: Vec<(&str, Vec<f32>)> = (inputs.iter())
        .filter(|input| input.content == Content::Real)
        .map(|input| (input.name.as_str(), numbers(input.shape.elements(&lengths), input.name.len() as u64)))
        .collect();
    let integers: Vec<_> = lists.iter().map(|(name, list)| (*name, list.as_slice())).collect();
    let reals: Vec<_> = reals.iter().map(|(name, list)| (*name, list.as_slice())).collect();
    let bindings = Bindings {
        lengths: &lengths,
        integers: &integers,
        reals: &reals,
        seed: 5,
        step: 3,
        ..Bindings::default()
    };

    let values: Vec<f64> = parameters.initial_values(1).expect("memory").into_iter().map(f64::from).collect();
    runtime.write(State::Values, &values);
    runtime.zero_gradients();
    runtime.run(plan, &bindings).expect("the inputs fit");
    let gradients: Vec<f64> = runtime.read(State::Gradients);
    for id in parameters.ids() {
        let (mut difference, mut norm) = (0.0, 0.0);
        for index in parameters.range(id) {
            let mut at = |offset: f64| {
                let mut values = values.clone();
                values[index] += offset;
                runtime.write(State::Values, &values);
                runtime.run(plan, &bindings).expect("the inputs fit");
                runtime.output(plan, "loss")[0]
            };
            let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            difference += (gradients[index] - expected).powi(2);
            norm += expected.powi(2);
        }
        let distance = (difference / norm).sqrt();
        assert!(norm > 0.0, "{name}: the loss does not depend on {}", parameters.name(id));
        assert!(
            distance < TOLERANCE,
            "{name}, {recompute:?}: gradient of {}: {distance:e}",
            parameters.name(id)
        );
    }
    names
}

#[test]
fn gradients_are_those_of_central_differences() {
    let mut covered = BTreeSet::new();
    for case in CASES {
        for recompute in [Recompute::None, Recompute::Gelu, Recompute::Layer] {
            covered.extend(check(case, recompute));
        }
    }
    let missing: Vec<_> = operation_names().filter(|name| !covered.contains(*name)).collect();
    assert!(missing.is_empty(), "operations without a gradient case: {missing:?}");
}
