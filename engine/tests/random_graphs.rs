//! Random graphs, a property test: values used several times, residuals, regions inside regions, dropout, shared weights.
//!
//! What no list of cases covers: which gradient starts from which contribution, what is copied, what shares a place in the
//! arena. For every graph the directional derivative of its loss agrees with central differences, every way of computing
//! again gives the same gradients, and the CPU agrees with the reference; the arena is full of NaN when a run begins.

use std::sync::Arc;

use engine::*;
use kernels::Cpu;
use kernels::random::{Philox, below, unit};

const GRAPHS: u64 = 150;
const WIDTH: usize = 6;
const CLASSES: usize = 5;
/// A batch: three sequences of 3, 1 and 4 tokens.
const OFFSETS: [i32; 4] = [0, 3, 4, 8];
const TOKEN_IDS: [i32; 8] = [3, 0, 3, 6, 1, 0, 3, 2];

/// Draws that decide what a graph looks like.
struct Draws {
    philox: Philox,
    count: u64,
}

impl Draws {
    fn below(&mut self, bound: usize) -> usize {
        self.count += 1;
        below(self.philox.word(0, self.count), bound as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// What graphs are drawn over.
struct Material {
    parameters: Arc<Parameters>,
    tables: [ParameterId; 3],
    squares: [[ParameterId; 2]; 2],
    norm: [ParameterId; 2],
    qkv: ParameterId,
    score: ParameterId,
    head: ParameterId,
}

impl Material {
    fn new() -> Self {
        let mut parameters = Parameters::default();
        let mut matrix = |name: &str, rows, columns| {
            parameters.declare(Declaration {
                columns,
                parts: vec![Part { name: name.into(), shape: vec![rows, columns] }],
                initializer: Initializer::TruncatedNormal { deviation: 0.5 },
                decays: true,
                adapts: true,
            })
        };
        Self {
            tables: [matrix("words", 7, WIDTH), matrix("positions", 4, WIDTH), matrix("segments", 2, WIDTH)],
            squares: [
                [matrix("w", WIDTH, WIDTH), matrix("b", WIDTH, 1)],
                [matrix("w'", WIDTH, WIDTH), matrix("b'", WIDTH, 1)],
            ],
            norm: [matrix("gamma", WIDTH, 1), matrix("beta", WIDTH, 1)],
            qkv: matrix("qkv", 3 * WIDTH, WIDTH),
            score: matrix("score", 1, WIDTH),
            head: matrix("head", CLASSES, WIDTH),
            parameters: Arc::new(parameters),
        }
    }
}

/// The inputs that operations need, and the parameters as tensors of one graph.
struct Pieces<'g> {
    graph: &'g Graph,
    material: &'g Material,
    offsets: Indices<'g>,
    permuted: Indices<'g>,
    sequence_of_token: Indices<'g>,
    norm: Norm<'g>,
}

impl<'g> Pieces<'g> {
    fn linear(&self, x: Tensor<'g>, which: usize, activation: Activation) -> Tensor<'g> {
        let [weight, bias] = self.material.squares[which].map(|id| self.graph.parameter(id));
        x.linear(weight, Some(bias), activation)
    }

    fn without_bias(&self, x: Tensor<'g>, weight: ParameterId) -> Tensor<'g> {
        x.linear(self.graph.parameter(weight), None, Activation::Identity)
    }

    /// Each token gets the weighted sum of its sequence.
    fn summary(&self, x: Tensor<'g>, weights: Tensor<'g>) -> Tensor<'g> {
        x.sequence_sum(weights, self.offsets).gather(self.sequence_of_token)
    }

    /// One operation on one or two of `values`, which may be the same.
    fn operation(&self, values: &[Tensor<'g>], draws: &mut Draws) -> Tensor<'g> {
        let [a, b] = [draws.one_of(values), draws.one_of(values)];
        match draws.below(11) {
            0 => {
                use Activation::{Gelu, GeluNew, Identity, Tanh};
                let which = draws.below(2);
                self.linear(a, which, draws.one_of(&[Identity, Gelu, GeluNew, Tanh]))
            }
            1 => a.weighted_add(draws.one_of(&[1.0, 0.5]), b, draws.one_of(&[1.0, -0.3])),
            2 => a.scale(draws.one_of(&[1.0, -0.7])),
            3 => a.dropout(0.3),
            4 => a.residual_layer_norm(b, draws.one_of(&[0.0, 0.25]), self.norm),
            5 => a.layer_norm(self.norm),
            6 => {
                self.without_bias(a, self.material.qkv).attention(self.offsets, 3, draws.one_of(&[0.0, 0.3]))
            }
            7 => a.gather(self.permuted),
            8 => self.graph.concatenate(&[a, b, a]).slice_columns(draws.one_of(&[3, 5]), WIDTH),
            9 => a.sequence_softmax(self.offsets),
            _ => {
                let weights = b.slice_columns(draws.below(WIDTH), 1);
                let softmax = draws.below(2) == 1;
                self.summary(a, if softmax { weights.sequence_softmax(self.offsets) } else { weights })
            }
        }
    }
}

/// The loss of a random graph.
fn record<'g>(graph: &'g Graph, material: &'g Material, draws: &mut Draws) -> Tensor<'g> {
    let (tokens, sequences) = (graph.axis("tokens", 11), graph.axis("sequences", 4));
    let rows = Rows::Along(tokens);
    let list = |name, content| graph.indices(name, rows, content);
    let ids = list("ids", Content::Below(7));
    let [gamma, beta] = material.norm.map(|id| graph.parameter(id));
    let pieces = Pieces {
        graph,
        material,
        offsets: graph.indices("offsets", Rows::Offsets(sequences), Content::OffsetsOf(tokens)),
        permuted: list("permuted", Content::RowOf(tokens)),
        sequence_of_token: list("sequence_of_token", Content::RowOf(sequences)),
        norm: Norm { gamma, beta, epsilon: 1e-3 },
    };
    let x = graph.embedding(
        material.tables.map(|table| graph.parameter(table)),
        Tokens {
            ids,
            positions: list("positions", Content::Below(4)),
            segments: list("segments", Content::Below(2)),
            order: graph.order("order", ids),
        },
    );
    // Every parameter once, so that all are trained.
    let mut values = vec![
        x,
        pieces.linear(x, 0, Activation::Gelu),
        pieces.linear(x, 1, Activation::Tanh),
        x.layer_norm(pieces.norm),
        pieces.without_bias(x, material.qkv).attention(pieces.offsets, 2, 0.2),
        pieces.summary(x, pieces.without_bias(x, material.score).sequence_softmax(pieces.offsets)),
    ];
    for _ in 0..2 + draws.below(3) {
        let region = draws.below(2) == 1;
        let mut operations = || {
            for _ in 0..1 + draws.below(5) {
                let value = pieces.operation(&values, draws);
                values.push(value);
            }
        };
        if region { graph.region(operations) } else { operations() }
    }
    let first = values[0];
    let total = values[1..].iter().fold(first, |total, value| total.weighted_add(0.6, *value, 1.0));
    let real = |name| graph.statistic(name, Shape::new(rows, 1));
    let (labels, weights, targets) =
        (list("labels", Content::Below(CLASSES)), real("weights"), real("targets"));
    let pointed_at = graph.rows_of_sequences("rows_of_sequences", pieces.offsets);
    let of_sequences = graph.statistic("sequence_weights", Shape::new(Rows::Along(sequences), 1));
    let pointed =
        total.slice_columns(2, 1).sequence_cross_entropy(pieces.offsets, pointed_at, of_sequences).loss;
    let classes = pieces.without_bias(total, material.head).cross_entropy(labels, weights).loss;
    let classes = classes.weighted_add(1.0, pointed, 0.8);
    classes.weighted_add(1.0, total.slice_columns(1, 1).squared_error(targets, weights), 0.5)
}

/// Runs work with the batch bound.
fn with_batch<T>(work: impl FnOnce(&Bindings<'_>) -> T) -> T {
    let integers: [(&str, &[i32]); 9] = [
        ("ids", &TOKEN_IDS),
        ("positions", &[0, 1, 2, 0, 0, 1, 2, 3]),
        ("segments", &[0, 1, 1, 0, 0, 0, 1, 1]),
        ("order", &[1, 5, 4, 7, 0, 2, 6, 3]),
        ("offsets", &OFFSETS),
        ("permuted", &[4, 0, 4, 7, 1, 1, 6, 2]),
        ("sequence_of_token", &[0, 0, 0, 1, 2, 2, 2, 2]),
        ("labels", &[1, 4, 0, 2, 2, 3, 3, 1]),
        ("rows_of_sequences", &[2, 3, 4]),
    ];
    let weights: Vec<f32> = (0..8).map(|row| 0.1 + 0.05 * row as f32).collect();
    let targets: Vec<f32> = (0..8).map(|row| (row as f32).sin()).collect();
    let reals: [(&str, &[f32]); 3] =
        [("weights", &weights), ("targets", &targets), ("sequence_weights", &[0.4, 0.0, 0.7])];
    work(&Bindings {
        lengths: &[8, 3],
        integers: &integers,
        reals: &reals,
        seed: 5,
        step: 3,
        ..Bindings::default()
    })
}

/// The relative distance of two vectors.
fn distance(found: &[f64], expected: &[f64]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let difference = square(&mut found.iter().zip(expected).map(|(found, expected)| found - expected));
    (difference / square(&mut expected.iter().copied())).sqrt()
}

/// A random graph on a device, with a plan that trains it.
struct Trained {
    runtime: Runtime,
    plan: PlanId,
}

impl Trained {
    fn new(seed: u64, material: &Material, device: Device, recompute: Recompute) -> Self {
        let graph = Graph::new(material.parameters.clone());
        let mut draws = Draws { philox: Philox::new(seed, 1), count: 0 };
        let loss = record(&graph, material, &mut draws);
        let options = PlanOptions { precision: device.precision(), recompute };
        let plan = Plan::training(&graph, loss, &[("loss", loss)], options).expect("all are trained");
        let mut runtime = Runtime::new(device, material.parameters.clone()).expect("memory");
        let plan = runtime.load(plan).expect("memory");
        Self { runtime, plan }
    }

    fn loss(&mut self, values: &[f64]) -> f64 {
        self.runtime.write(State::Values, values);
        self.runtime.poison(f64::NAN);
        with_batch(|batch| self.runtime.run(self.plan, batch)).expect("a batch that fits");
        self.runtime.output(self.plan, "loss")[0]
    }

    fn loss_and_gradient(&mut self, values: &[f64]) -> (f64, Vec<f64>) {
        self.runtime.zero_gradients();
        (self.loss(values), self.runtime.read(State::Gradients))
    }
}

#[test]
fn gradients_of_random_graphs_are_right_everywhere() {
    /// Central differences in f64 are this good: curvature · h² from above, rounding / h from below.
    const OF_DIFFERENCES: f64 = 1e-6;
    /// The same sums in another order.
    const OF_ROUNDING: f64 = 1e-12;
    /// f32 through some twenty operations, layer norms of nearly constant rows among them.
    const OF_F32: f64 = 3e-4;
    let material = Material::new();
    for seed in 0..GRAPHS {
        let initial = material.parameters.initial_values(seed).expect("memory");
        let values: Vec<f64> = initial.into_iter().map(f64::from).collect();
        let mut reference = Trained::new(seed, &material, Device::Reference, Recompute::None);
        let (loss, gradient) = reference.loss_and_gradient(&values);

        let philox = Philox::new(seed, 3);
        let direction: Vec<f64> =
            (0..values.len()).map(|index| unit(philox.word(1, index as u64)) - 0.5).collect();
        let mut along = |step: f64| {
            let moved: Vec<f64> = values.iter().zip(&direction).map(|(value, d)| value + step * d).collect();
            reference.loss(&moved)
        };
        let numeric = (along(1e-5) - along(-1e-5)) / 2e-5;
        let analytic: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let scale = 1.0 + numeric.abs().max(analytic.abs());
        assert!((numeric - analytic).abs() <= OF_DIFFERENCES * scale, "{seed}: {numeric} and {analytic}");

        for recompute in [Recompute::Gelu, Recompute::Layer] {
            let found =
                Trained::new(seed, &material, Device::Reference, recompute).loss_and_gradient(&values);
            let close = (found.0 - loss).abs() <= OF_ROUNDING * loss.abs().max(1.0);
            assert!(close && distance(&found.1, &gradient) < OF_ROUNDING, "{seed}: {recompute:?}");
        }
        let cpu = Device::Cpu(Cpu::new(Some(2), None).expect("a CPU"));
        let (_, found) = Trained::new(seed, &material, cpu, Recompute::Layer).loss_and_gradient(&values);
        let distance = distance(&found, &gradient);
        assert!(distance < OF_F32, "{seed}: the CPU's gradient is off by {distance:e}");
    }
}
