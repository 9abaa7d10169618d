//! What a model's code or its caller can do wrong, and how it is told.

use std::sync::Arc;

use engine::*;
use kernels::optimizer::{Rule, Update};

const OPTIONS: PlanOptions = PlanOptions { precision: Precision::F64, recompute: Recompute::None };

/// A graph over `w` `[1, 2]` and `v` `[4, 2]`, with rows of its one axis.
struct Ground {
    parameters: Arc<Parameters>,
    graph: Graph,
    w: ParameterId,
    v: ParameterId,
    axis: Axis,
}

impl Ground {
    fn new() -> Self {
        let mut parameters = Parameters::default();
        let [w, v] = [("w", 1), ("v", 4)].map(|(name, rows)| {
            parameters.declare(Declaration {
                columns: 2,
                parts: vec![Part { name: name.into(), shape: vec![rows, 2] }],
                initializer: Initializer::Ones,
                decays: true,
                adapts: true,
            })
        });
        let parameters = Arc::new(parameters);
        let graph = Graph::new(parameters.clone());
        let axis = graph.axis("rows", 4);
        Self { parameters, graph, w, v, axis }
    }

    /// `x · wᵀ`, `x · vᵀ`
    fn products(&self) -> [Tensor<'_>; 2] {
        let x = self.input("x", 2);
        [self.w, self.v].map(|weight| x.linear(self.graph.parameter(weight), None, Activation::Identity))
    }

    fn input(&self, name: &str, columns: usize) -> Tensor<'_> {
        self.graph.input(name, Shape::new(Rows::Along(self.axis), columns))
    }

    fn statistic(&self, name: &str) -> Tensor<'_> {
        self.graph.statistic(name, Shape::new(Rows::Along(self.axis), 1))
    }

    fn indices(&self, name: &str, content: Content) -> Indices<'_> {
        self.graph.indices(name, Rows::Along(self.axis), content)
    }

    /// The squared error of one column.
    fn error<'g>(&'g self, column: Tensor<'g>) -> Tensor<'g> {
        column.squared_error(self.statistic("y"), self.statistic("weights"))
    }

    fn train(&self, loss: Tensor<'_>) -> Result<Plan, PlanError> {
        Plan::training(&self.graph, loss, &[("loss", loss)], OPTIONS)
    }
}

#[test]
fn a_parameter_without_gradient_is_named() {
    let ground = Ground::new();
    let loss = ground.error(ground.products()[0]);
    let error = ground.train(loss).expect_err("v is forgotten");
    assert_eq!(error, PlanError::Untrained { parameters: vec!["v".into()] });
}

/// It would be trained by one of its uses only.
#[test]
fn a_parameter_that_is_no_weight_is_named() {
    let ground = Ground::new();
    let [a, b] = ground.products();
    let weight =
        ground.graph.parameter(ground.w).linear(ground.graph.parameter(ground.v), None, Activation::Tanh);
    let fixed = ground.graph.statistic("z", Shape::new(Rows::Fixed(1), 1));
    let other = weight.slice_columns(0, 1).squared_error(fixed, ground.graph.statistic("u", Shape::SCALAR));
    let loss = ground.error(a.weighted_add(1.0, b.slice_columns(1, 1), 1.0)).weighted_add(1.0, other, 1.0);
    let error = ground.train(loss).expect_err("w is an operand");
    assert_eq!(error, PlanError::NoWeight { parameters: vec!["w".into()] });
}

#[test]
#[should_panic(expected = "losses are told weights and targets that are declared by")]
fn targets_are_constants() {
    let ground = Ground::new();
    let [a, b] = ground.products();
    let loss = a.squared_error(b.slice_columns(0, 1), ground.statistic("weights"));
    let _ = ground.train(loss);
}

#[test]
#[should_panic(expected = "squared_error: targets and weights must not depend on parameters")]
fn weights_are_constants() {
    let ground = Ground::new();
    let [a, b] = ground.products();
    let labels = ground.indices("labels", Content::Below(4));
    let losses = b.cross_entropy(labels, ground.statistic("label_weights")).row_losses;
    let _ = ground.train(a.squared_error(ground.statistic("y"), losses));
}

#[test]
#[should_panic(expected = "cross_entropy: output 1 is not differentiable")]
fn the_losses_of_rows_are_no_way_to_train() {
    let ground = Ground::new();
    let [a, b] = ground.products();
    let list = |name, content| ground.graph.indices(name, Rows::Fixed(1), content);
    let row = b.gather(list("row", Content::RowOf(ground.axis)));
    let weight = ground.graph.statistic("weight", Shape::SCALAR);
    let loss_of_row = row.cross_entropy(list("label", Content::Below(4)), weight).row_losses;
    let _ = ground.train(ground.error(a).weighted_add(1.0, loss_of_row, 1.0));
}

#[test]
#[should_panic(expected = "a graph serves one training plan")]
fn a_graph_is_differentiated_once() {
    let ground = Ground::new();
    let [a, b] = ground.products();
    let loss = ground.error(a.weighted_add(1.0, b.slice_columns(0, 1), 1.0));
    ground.train(loss).expect("both are trained");
    let _ = ground.train(loss);
}

#[test]
fn a_graph_that_was_differentiated_still_computes() {
    let plan = |trained: bool| {
        let ground = Ground::new();
        let [a, b] = ground.products();
        let sum = a.weighted_add(1.0, b.slice_columns(0, 1), 1.0);
        let loss = ground.error(sum);
        if trained {
            ground.train(loss).expect("both are trained");
        }
        Plan::inference(&ground.graph, &[("sum", sum)], Precision::F64).to_string()
    };
    assert_eq!(plan(true), plan(false));
}

#[test]
#[should_panic(expected = "encoder/layer.3/linear: columns of input and weight: 5 and 2")]
fn a_wrong_shape_is_found_where_it_is_recorded() {
    let ground = Ground::new();
    let (x, w) = (ground.input("x", 5), ground.graph.parameter(ground.w));
    ground
        .graph
        .scope("encoder", || ground.graph.scope("layer.3", || x.linear(w, None, Activation::Identity)));
}

#[test]
#[should_panic(expected = "cross_entropy: Below(5) may lie outside Fixed(4)")]
fn labels_are_classes() {
    let ground = Ground::new();
    let labels = ground.indices("labels", Content::Below(5));
    ground.products()[1].cross_entropy(labels, ground.statistic("label_weights"));
}

#[test]
#[should_panic(expected = "gather: RowOf(Axis(1)) may lie outside Along(Axis(0))")]
fn selected_rows_are_rows_of_what_is_selected_from() {
    let ground = Ground::new();
    let other = ground.graph.axis("other", 9);
    ground.products()[1].gather(ground.indices("selected", Content::RowOf(other)));
}

#[test]
#[should_panic(expected = "attention: OffsetsOf(Axis(1)) are no borders of Along(Axis(0))")]
fn sequences_are_of_the_rows_that_attend() {
    let ground = Ground::new();
    let other = ground.graph.axis("other", 9);
    let offsets = ground.graph.indices("offsets", Rows::Offsets(ground.axis), Content::OffsetsOf(other));
    ground.input("qkv", 6).attention(offsets, 1, 0.0);
}

#[test]
#[should_panic(expected = "sequence_cross_entropy: RowOf(Axis(0)) may lie outside of its sequence")]
fn what_is_meant_in_a_sequence_is_one_of_its_rows() {
    let ground = Ground::new();
    let sequences = ground.graph.axis("sequences", 3);
    let offsets = ground.graph.indices("offsets", Rows::Offsets(sequences), Content::OffsetsOf(ground.axis));
    let labels = ground.graph.indices("labels", Rows::Along(sequences), Content::RowOf(ground.axis));
    let weights = ground.graph.statistic("weights", Shape::new(Rows::Along(sequences), 1));
    ground.input("x", 1).sequence_cross_entropy(offsets, labels, weights);
}

#[test]
fn the_row_of_another_sequence_is_refused() {
    let ground = Ground::new();
    let sequences = ground.graph.axis("sequences", 3);
    let offsets = ground.graph.indices("offsets", Rows::Offsets(sequences), Content::OffsetsOf(ground.axis));
    let labels = ground.graph.rows_of_sequences("labels", offsets);
    let weights = ground.graph.statistic("weights", Shape::new(Rows::Along(sequences), 1));
    let loss = ground.input("x", 1).sequence_cross_entropy(offsets, labels, weights).loss;
    let plan = Plan::inference(&ground.graph, &[("loss", loss)], Precision::F64);
    let mut runtime = Runtime::new(Device::Reference, ground.parameters.clone()).expect("memory");
    let plan = runtime.load(plan).expect("memory");
    let mut run = |labels: &[i32; 3]| {
        let integers: [(&str, &[i32]); 2] = [("offsets", &[0, 2, 2, 3]), ("labels", labels)];
        let reals: [(&str, &[f32]); 2] = [("x", &[0.0; 3]), ("weights", &[1.0; 3])];
        runtime.run(
            plan,
            &Bindings { lengths: &[3, 3], integers: &integers, reals: &reals, ..Bindings::default() },
        )
    };
    assert_eq!(run(&[1, 0, 2]), Ok(()), "an empty sequence has no row to name");
    let error = run(&[2, 0, 2]).expect_err("row 2 is the third sequence's");
    assert_eq!(error.to_string(), "input `labels` holds 2 at index 0: it must lie in its sequence, 0..2");
}

/// Without, they were checked as offsets at every run, and an empty list stopped the program there.
#[test]
#[should_panic(expected = "input offsets: there is one offset more than sequences")]
fn offsets_are_one_more_than_sequences() {
    let ground = Ground::new();
    ground.indices("offsets", Content::OffsetsOf(ground.axis));
}

/// What it says of another input is a position that nobody has checked.
#[test]
#[should_panic(expected = "input order: an order is declared by `Graph::order`")]
fn an_order_is_that_of_a_list() {
    Ground::new().indices("order", Content::OrderOf(7));
}

#[test]
#[should_panic(expected = "scale: integers, such as predictions, are read by")]
fn predictions_are_not_computed_with() {
    let ground = Ground::new();
    let labels = ground.indices("labels", Content::Below(4));
    let found = ground.products()[1].cross_entropy(labels, ground.statistic("label_weights"));
    found.predictions.scale(2.0);
}

/// In bf16 the two are of different size.
#[test]
#[should_panic(expected = "concatenate_columns: Statistic where Activation is needed")]
fn losses_do_not_stand_beside_activations() {
    let ground = Ground::new();
    ground.graph.concatenate(&[ground.products()[0], ground.statistic("z")]);
}

#[test]
#[should_panic(expected = "a loss is what an error or a cross-entropy gives")]
fn a_loss_is_no_activation() {
    let ground = Ground::new();
    let x = ground.graph.input("x", Shape::new(Rows::Fixed(1), 2));
    let _ = ground.train(x.linear(ground.graph.parameter(ground.w), None, Activation::Identity));
}

/// Both would be added to at the same time.
#[test]
#[should_panic(expected = "embedding: one parameter is two of this operation's")]
fn a_parameter_is_one_of_an_operations() {
    let ground = Ground::new();
    let table = ground.graph.parameter(ground.v);
    let list = |name| ground.indices(name, Content::Below(4));
    let [ids, positions, segments] = ["ids", "positions", "segments"].map(list);
    let tokens = Tokens { ids, positions, segments, order: ground.graph.order("order", ids) };
    let sum = ground.graph.embedding([table, table, table], tokens);
    let _ = ground.train(ground.error(sum.slice_columns(0, 1)));
}

#[test]
#[should_panic(expected = "slice_columns: 0 columns from 1 on, of 2")]
fn a_slice_has_columns() {
    Ground::new().input("x", 2).slice_columns(1, 0);
}

#[test]
fn what_is_not_bound_is_named() {
    let (mut runtime, plan) = loaded();
    let error = runtime.run(plan, &Bindings { lengths: &[1], ..Bindings::default() });
    assert_eq!(error, Err(RunError::NotBound { name: "x".into() }));
}

#[test]
#[should_panic(expected = "what the plan computed is gone: another has run")]
fn plans_do_not_read_the_outputs_of_others() {
    let (mut runtime, first) = loaded();
    let second = runtime.load(runtime.plan(first).clone()).expect("memory");
    let bindings = Bindings { lengths: &[1], reals: &[("x", &[2.0, 3.0])], ..Bindings::default() };
    runtime.run(first, &bindings).expect("x is bound");
    assert_eq!(runtime.output(first, "sum"), [0.0]);
    runtime.run(second, &bindings).expect("x is bound");
    runtime.output(first, "sum");
}

#[test]
#[should_panic(expected = "FirstMoments are there once a plan that trains is loaded")]
fn moments_come_with_a_plan_that_trains() {
    let (mut runtime, _) = loaded();
    let length = runtime.parameters().buffer_length();
    runtime.write(State::FirstMoments, &vec![0.0_f32; length]);
}

#[test]
#[should_panic(expected = "an optimizer step needs gradients")]
fn updates_come_with_a_plan_that_trains() {
    let update = Update {
        rule: Rule::Lamb,
        lr: 0.1,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-6,
        weight_decay: 0.0,
        clip_norm: 1.0,
        bias_correction: None,
    };
    let _ = loaded().0.update(&update);
}

/// A norm that was asked for is that of the gradients that there were.
#[test]
fn no_norm_outlives_its_gradients() {
    let ground = Ground::new();
    let [a, b] = ground.products();
    let loss = ground.error(a.weighted_add(1.0, b.slice_columns(0, 1), 1.0));
    let plan = ground.train(loss).expect("both weights are trained");
    let mut runtime = Runtime::new(Device::Reference, ground.parameters.clone()).expect("memory");
    runtime.load(plan.clone()).expect("memory");
    let length = runtime.parameters().buffer_length();
    runtime.write(State::Gradients, &vec![2.0_f32; length]);
    assert_eq!(runtime.gradient_norm(), (4.0 * length as f64).sqrt());
    runtime.unload();
    runtime.load(plan).expect("memory");
    assert_eq!(runtime.gradient_norm(), 0.0);
}

#[test]
fn a_plan_that_is_too_large_is_refused() {
    let (mut runtime, plan) = loaded();
    let graph = Graph::new(runtime.parameters().clone());
    let x = graph.input("x", Shape::new(Rows::Along(graph.axis("rows", i32::MAX as usize)), 1 << 20));
    let large = Plan::inference(&graph, &[("y", x.scale(2.0))], Precision::F64);
    let bytes = large.arena_size();
    assert_eq!(runtime.load(large), Err(DeviceError::OutOfMemory { bytes }));
    let bindings = Bindings { lengths: &[1], reals: &[("x", &[2.0, 3.0])], ..Bindings::default() };
    runtime.run(plan, &bindings).expect("the plan before it still runs");
}

/// `x · wᵀ` on the reference device.
fn loaded() -> (Runtime, PlanId) {
    let ground = Ground::new();
    let plan = Plan::inference(&ground.graph, &[("sum", ground.products()[0])], Precision::F64);
    let mut runtime = Runtime::new(Device::Reference, ground.parameters.clone()).expect("memory");
    let plan = runtime.load(plan).expect("memory");
    (runtime, plan)
}
