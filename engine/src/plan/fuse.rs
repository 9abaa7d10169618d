//! Two operations that are one step where nobody else reads what lies between them.

use kernels::linear::AfterActivation;

use crate::graph::{Graph, Node, Record};
use crate::op::{GradientOp, Operation};
use crate::operands as at;

/// Lets the product that gives the gradient of `x = f(u)` go on to that of u: x's has no place of its own; where a device takes two passes, it lies where u's is stored.
///
/// The product moves to where f was differentiated. What it was before is still there, and read by nobody.
pub(super) fn fuse(graph: &Graph) {
    let record = &mut *graph.record.borrow_mut();
    let mut readers = vec![0; record.values.len()];
    for node in &record.nodes {
        node.inputs.iter().chain(node.into.iter().flatten()).for_each(|value| readers[value.0] += 1);
    }
    for index in 0..record.nodes.len() {
        if let Some(fused) = preactivation_gradient(record, &record.nodes[index], &readers) {
            record.nodes[index] = fused;
        }
    }
}

/// A derivative of an activation function together with the product before it, if that is its reader's alone.
fn preactivation_gradient(record: &Record, node: &Node, readers: &[usize]) -> Option<Node> {
    use at::{activation_gradient, linear_input};
    let Operation::Backward(GradientOp::ActivationGradient(activation)) = node.operation else { return None };
    let dx = node.inputs[activation_gradient::DY];
    let product = &record.nodes[record.producer(dx)?];
    let Operation::Backward(GradientOp::LinearInput(linear)) = product.operation else { return None };
    if readers[dx.0] > 1 || product.into[linear_input::DX].is_some() {
        return None;
    }
    let [dy, weight] = [linear_input::DU, linear_input::WEIGHT].map(|position| product.inputs[position]);
    Some(Node {
        operation: Operation::Backward(GradientOp::LinearPreactivation(AfterActivation {
            linear,
            activation,
        })),
        inputs: vec![dy, weight, node.inputs[activation_gradient::SAVED]],
        ..node.clone()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kernels::cpu::Isa;
    use kernels::{Activation, Cpu};

    use super::super::build;
    use super::*;
    use crate::differentiate::differentiate;
    use crate::{
        Bindings, Declaration, Device, Initializer, ParameterId, Parameters, Part, Plan, Precision,
        Recompute, Rows, Runtime, Shape, State, Tensor,
    };

    /// Rows and columns that are no whole tiles, and more than three of those.
    const ROWS: usize = 23;
    const WIDTHS: [usize; 4] = [37, 205, 70, 1];

    fn matrices() -> (Arc<Parameters>, [[ParameterId; 2]; 3]) {
        let mut parameters = Parameters::default();
        let mut declare = |name: String, rows, columns| {
            parameters.declare(Declaration {
                columns,
                parts: vec![Part { name, shape: vec![rows, columns] }],
                initializer: Initializer::TruncatedNormal { deviation: 0.2 },
                decays: true,
                adapts: true,
            })
        };
        let matrices = std::array::from_fn(|layer| {
            let [inputs, outputs] = [WIDTHS[layer], WIDTHS[layer + 1]];
            [declare(format!("w{layer}"), outputs, inputs), declare(format!("b{layer}"), outputs, 1)]
        });
        (Arc::new(parameters), matrices)
    }

    fn layer<'g>(x: Tensor<'g>, matrices: [ParameterId; 2], f: Activation) -> Tensor<'g> {
        let [weight, bias] = matrices.map(|id| x.graph.parameter(id));
        x.linear(weight, Some(bias), f)
    }

    /// A plan that trains three layers; f follows the first, whose result `twice` says is read by two.
    fn plan(
        (parameters, matrices): &(Arc<Parameters>, [[ParameterId; 2]; 3]),
        f: Activation,
        precision: Precision,
        twice: bool,
        fused: bool,
    ) -> Plan {
        let graph = Graph::new(parameters.clone());
        let rows = Rows::Along(graph.axis("rows", ROWS));
        let x = graph.input("x", Shape::new(rows, WIDTHS[0]));
        let [targets, weights] =
            ["targets", "weights"].map(|name| graph.statistic(name, Shape::new(rows, 1)));
        let hidden = layer(x, matrices[0], f);
        let mut narrow = layer(hidden, matrices[1], Activation::Identity);
        if twice {
            narrow = narrow.weighted_add(1.0, layer(hidden, matrices[1], Activation::Identity), -0.25);
        }
        let loss = layer(narrow, matrices[2], Activation::Identity).squared_error(targets, weights);
        differentiate(&graph, loss, Recompute::None).expect("all are trained");
        if fused {
            fuse(&graph);
        }
        build::build(&graph, &[("loss".to_owned(), loss.id)], precision, Some(loss.id))
    }

    fn calls(plan: &Plan, name: &str) -> usize {
        plan.cost_by_operation().iter().filter(|known| known.0 == name).map(|known| known.1).sum()
    }

    #[test]
    fn the_same_bits_in_one_call() {
        let (all, count) = (matrices(), ROWS * WIDTHS[0]);
        let values = all.0.initial_values(3).expect("memory");
        let x: Vec<f32> = (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 20.0).collect();
        let [targets, weights] =
            [0.1, 0.3].map(|step| (0..ROWS).map(|row| row as f32 * step).collect::<Vec<_>>());
        let reals: [(&str, &[f32]); 3] = [("x", &x), ("targets", &targets), ("weights", &weights)];
        let bindings = Bindings { lengths: &[ROWS], reals: &reals, ..Bindings::default() };
        for isa in Isa::available() {
            for precision in [Precision::F32, Precision::Bf16] {
                for f in [Activation::Gelu, Activation::GeluNew, Activation::Relu, Activation::Tanh] {
                    let run = |fused| {
                        let plan = plan(&all, f, precision, false, fused);
                        assert_eq!(calls(&plan, "linear_preactivation_gradient"), usize::from(fused));
                        assert_eq!(calls(&plan, "activation_gradient"), usize::from(!fused));
                        assert_eq!(calls(&plan, "linear_input_gradient"), if fused { 1 } else { 2 });
                        let cpu = Device::Cpu(Cpu::new(Some(2), Some(isa)).expect("available"));
                        let mut runtime =
                            Runtime::in_precision(cpu, precision, all.0.clone()).expect("memory");
                        runtime.write(State::Values, &values);
                        let plan = runtime.load(plan).expect("memory");
                        runtime.zero_gradients();
                        runtime.poison(f64::NAN);
                        runtime.run(plan, &bindings).expect("inputs that fit");
                        let gradients: Vec<f32> = runtime.read(State::Gradients);
                        gradients.into_iter().map(f32::to_bits).collect::<Vec<_>>()
                    };
                    assert!(run(true) == run(false), "{isa}, {precision}, {f:?}");
                }
            }
        }
    }

    #[test]
    fn a_gradient_of_several_parts_is_left_alone() {
        let plan = plan(&matrices(), Activation::GeluNew, Precision::F32, true, true);
        assert_eq!(calls(&plan, "linear_preactivation_gradient"), 0);
        assert_eq!(calls(&plan, "activation_gradient"), 1);
    }
}
