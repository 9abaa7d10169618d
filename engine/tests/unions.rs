//! Rows that lists name, as an axis of their own: what is computed along it is what is computed of all rows and read there,
//! dropout included, on every device.

use std::sync::Arc;

use engine::{
    Activation, Bindings, Content, Declaration, Device, Graph, Indices, Initializer, Norm, ParameterId,
    Parameters, Part, Plan, PlanOptions, Recompute, RunError, Runtime, Shape, State, Tensor, Union,
};
use engine::{Precision, Rows};
use kernels::Cpu;

const WIDTH: usize = 12;
const TOKENS: usize = 9;

struct Material {
    parameters: Arc<Parameters>,
    weights: [ParameterId; 2],
    norm: [ParameterId; 2],
    table: ParameterId,
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
            weights: [matrix("first", WIDTH, WIDTH), matrix("second", WIDTH, WIDTH)],
            norm: [matrix("gamma", WIDTH, 1), matrix("beta", WIDTH, 1)],
            table: matrix("score", 1, WIDTH),
            parameters: Arc::new(parameters),
        }
    }
}

/// A block with both kinds of dropout, of all rows or of those that are read, and the loss of two lists of rows. The
/// activations before and after it are outputs.
fn record<'g>(graph: &'g Graph, material: &Material, gathers: bool) -> [Tensor<'g>; 3] {
    let tokens = graph.axis("tokens", 16);
    let [few, some] = [("few", 4), ("some", 12)].map(|(name, capacity)| {
        graph.indices(name, Rows::Along(graph.axis(name, capacity)), Content::RowOf(tokens))
    });
    let parameter = |id| graph.parameter(id);
    let [first, second] = material.weights.map(parameter);
    let [gamma, beta] = material.norm.map(parameter);
    let x = graph.input("x", Shape::new(Rows::Along(tokens), WIDTH));
    let below = x.linear(first, None, Activation::Gelu);
    let (x, [few, some]) = match gathers {
        true => {
            let Union { rows, places } = graph.union("read rows", [few, some]);
            (below.gather(rows), places)
        }
        false => (below, [few, some]),
    };
    let z = x.linear(second, None, Activation::Identity);
    let y = z.residual_layer_norm(x, 0.3, Norm { gamma, beta, epsilon: 1e-6 }).dropout(0.4);
    let read = |rows: Indices<'g>, name: &str| {
        let read = y.gather(rows);
        let [targets, weights] = ["targets", "weights"]
            .map(|what| graph.statistic(&format!("{what} of {name}"), Shape::new(rows.rows(), 1)));
        read.linear(parameter(material.table), None, Activation::Identity).squared_error(targets, weights)
    };
    let (few, some) = (read(few, "few"), read(some, "some"));
    [few.weighted_add(1.0, some, 0.5), few, some]
}

/// Losses and gradient of the block with these two lists, in the second micro-batch of a step.
fn run(
    material: &Material,
    gathers: bool,
    device: Device,
    precision: Precision,
    lists: [&[i32]; 2],
) -> Vec<f64> {
    let graph = Graph::new(material.parameters.clone());
    let [loss, few, some] = record(&graph, material, gathers);
    let options = PlanOptions { precision, recompute: Recompute::None };
    let outputs = [("loss", loss), ("few", few), ("some", some)];
    let plan = Plan::training(&graph, loss, &outputs, options).expect("all are trained");
    let mut runtime = Runtime::in_precision(device, precision, material.parameters.clone()).expect("memory");
    runtime.write(State::Values, &material.parameters.initial_values(3).expect("memory"));
    let plan = runtime.load(plan).expect("memory");
    runtime.poison(f64::NAN);
    let x: Vec<f32> = (0..TOKENS * WIDTH).map(|i| (0.7 * i as f32).sin()).collect();
    let numbers =
        |count: usize, start: f32| -> Vec<f32> { (0..count).map(|i| start + 0.1 * i as f32).collect() };
    let [few, some] = lists.map(|list| (numbers(list.len(), -0.3), numbers(list.len(), 0.2)));
    runtime
        .run(
            plan,
            &Bindings {
                lengths: &[TOKENS, lists[0].len(), lists[1].len()],
                starts: &[1000, 10, 20],
                integers: &[("few", lists[0]), ("some", lists[1])],
                reals: &[
                    ("x", &x),
                    ("targets of few", &few.0),
                    ("weights of few", &few.1),
                    ("targets of some", &some.0),
                    ("weights of some", &some.1),
                ],
                seed: 4,
                step: 6,
            },
        )
        .expect("a batch that fits");
    let mut found: Vec<f64> =
        ["loss", "few", "some"].iter().flat_map(|name| runtime.output(plan, name)).collect();
    found.extend(runtime.read::<f64>(State::Gradients));
    found
}

fn distance(found: &[f64], expected: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(expected).map(|(found, expected)| found - expected));
    let expected = norm(&mut expected.iter().copied());
    if expected == 0.0 { difference } else { difference / expected }
}

#[test]
fn rows_that_nobody_reads_change_nothing() {
    let material = Material::new();
    let lists: [[&[i32]; 2]; 5] = [
        [&[0, 4], &[1, 3, 8]],
        [&[8, 0], &[4, 4, 0, 2, 8]],
        [&[3], &[]],
        [&[], &[]],
        [&[0, 1, 2, 3], &[4, 5, 6, 7, 8]],
    ];
    for lists in lists {
        let reference = |gathers| run(&material, gathers, Device::Reference, Precision::F64, lists);
        let (all, read) = (reference(false), reference(true));
        assert!(distance(&read[..3], &all[..3]) <= 1e-12, "{lists:?}: {read:?} and {all:?}");
        assert!(distance(&read[3..], &all[3..]) <= 1e-10, "{lists:?}");
        for precision in [Precision::F32, Precision::Bf16] {
            for isa in kernels::cpu::Isa::available() {
                let cpu = |gathers| {
                    let cpu = Cpu::new(Some(2), Some(isa)).expect("available");
                    run(&material, gathers, Device::Cpu(cpu), precision, lists)
                };
                let (cpu_all, cpu_read) = (cpu(false), cpu(true));
                // Forward there are the same sums in the same order; backward there are fewer terms, all others being 0.
                assert_eq!(cpu_read[..3], cpu_all[..3], "{isa}, {precision}, {lists:?}");
                assert!(distance(&cpu_read[3..], &cpu_all[3..]) <= 1e-6, "{isa}, {precision}, {lists:?}");
                let near = precision == Precision::Bf16 || distance(&cpu_read, &all) <= 1e-5;
                assert!(near, "{isa}, {precision}, {lists:?}");
            }
        }
    }
}

#[test]
fn a_list_that_names_no_row_is_refused_before_a_union_is_made_of_it() {
    let material = Material::new();
    let graph = Graph::new(material.parameters.clone());
    let [loss, ..] = record(&graph, &material, true);
    let plan = Plan::inference(&graph, &[("loss", loss)], Precision::F64);
    let mut runtime = Runtime::new(Device::Reference, material.parameters.clone()).expect("memory");
    let plan = runtime.load(plan).expect("memory");
    let x = [0.0; TOKENS * WIDTH];
    let error = runtime.run(
        plan,
        &Bindings {
            lengths: &[TOKENS, 1, 0],
            integers: &[("few", &[9]), ("some", &[])],
            reals: &[
                ("x", &x),
                ("targets of few", &[0.0]),
                ("weights of few", &[0.0]),
                ("targets of some", &[]),
                ("weights of some", &[]),
            ],
            ..Bindings::default()
        },
    );
    assert!(matches!(error, Err(RunError::Content { value: 9, .. })), "{error:?}");
}

#[test]
#[should_panic(expected = "its lists are inputs that name rows of one axis")]
fn a_union_is_of_rows_of_one_axis() {
    let graph = Graph::new(Arc::new(Parameters::default()));
    let lists = ["a", "b"].map(|name| {
        let axis = graph.axis(name, 4);
        graph.indices(&format!("rows of {name}"), Rows::Along(axis), Content::RowOf(axis))
    });
    graph.union("both", lists);
}

#[test]
#[should_panic(expected = "nobody knows how many rows a union has")]
fn nothing_is_bound_along_a_union() {
    let graph = Graph::new(Arc::new(Parameters::default()));
    let axis = graph.axis("tokens", 4);
    let union = graph.union("read", [graph.indices("rows", Rows::Along(axis), Content::RowOf(axis))]);
    graph.input("x", Shape::new(union.rows.rows(), 3));
}

#[test]
#[should_panic(expected = "nobody knows how many rows a union has")]
fn no_list_names_rows_of_a_union() {
    let graph = Graph::new(Arc::new(Parameters::default()));
    let axis = graph.axis("tokens", 4);
    let union = graph.union("read", [graph.indices("rows", Rows::Along(axis), Content::RowOf(axis))]);
    let Rows::Along(read) = union.rows.rows() else { unreachable!("a union is an axis") };
    graph.indices("rows of rows", Rows::Along(axis), Content::RowOf(read));
}
