//! Reverse-mode differentiation: walks the recorded operations backwards and appends their gradients.
//!
//! The first contribution to a value's gradient is stored, later ones are added *into* it; nothing is zero-filled and no
//! addition is an operation of its own. Where a gradient is its upstream unchanged, it is the same value.

use std::collections::{BTreeSet, HashMap};

use kernels::layer_norm::LayerNorm;
use kernels::scale::Scale;

use crate::error::PlanError;
use crate::graph::{Graph, Node, Record, ValueId};
use crate::op::{GradientOp, Op, Operation};
use crate::parameters::{ParameterId, Parameters};
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::vjp::vjp;

/// Which forward values backward computes again instead of keeping them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Recompute {
    /// Keep everything.
    #[default]
    None,
    /// Compute `gelu(u)` again from u: the widest activation of a layer for the price of an elementwise pass.
    Gelu,
    /// Keep only what crosses the border of a [`Graph::region`] and compute the region again: a third more work.
    Layer,
}

/// Appends the gradient of `loss` to the graph.
///
/// # Errors
/// If a parameter receives no gradient, or only a part of it.
pub(crate) fn differentiate(graph: &Graph, loss: Tensor<'_>, recompute: Recompute) -> Result<(), PlanError> {
    assert_eq!(loss.shape(), Shape::SCALAR, "a loss is a single number");
    let mut record = graph.record.borrow_mut();
    let recorded = |node: &Node| matches!(node.operation, Operation::Forward(_));
    assert!(record.nodes.iter().all(recorded), "a graph serves one training plan");
    let forward_nodes = record.nodes.len();
    let needs_gradient = needs_gradient(&record);
    let escapes = escapes(&record);
    let mut d = Differentiation {
        record: &mut record,
        recompute,
        needs_gradient,
        escapes,
        gradients: HashMap::new(),
        again: HashMap::new(),
        trained: BTreeSet::new(),
    };
    let seed = d.push("seed", GradientOp::Seed, &[], &[Shape::SCALAR], vec![None], &[])[0];
    d.gradients.insert(loss.id, seed);
    for index in (0..forward_nodes).rev() {
        let node = d.record.nodes[index].clone();
        let Operation::Forward(op) = &node.operation else { unreachable!("checked above") };
        for (position, output) in node.outputs.iter().enumerate().skip(1) {
            assert!(
                !d.gradients.contains_key(output),
                "{}: output {position} is not differentiable",
                node.name
            );
        }
        if let Some(&dy) = d.gradients.get(&node.outputs[0]) {
            vjp(&mut d, &node, op, dy);
        }
    }
    every_parameter_is_trained(&graph.parameters, &d)
}

/// Gradients of parameters are added up in the flat buffer, by the operations that have weights; what would flow into a
/// parameter anywhere else is lost.
fn every_parameter_is_trained(parameters: &Parameters, d: &Differentiation<'_>) -> Result<(), PlanError> {
    let names = |of: &dyn Fn(ParameterId) -> bool| -> Vec<String> {
        parameters.ids().filter(|&id| of(id)).map(|id| parameters.name(id)).collect()
    };
    let lost: BTreeSet<_> = d.gradients.keys().filter_map(|&value| d.record.as_parameter(value)).collect();
    let (untrained, operands) = (names(&|id| !d.trained.contains(&id)), names(&|id| lost.contains(&id)));
    match (untrained.is_empty(), operands.is_empty()) {
        (_, false) => Err(PlanError::NoWeight { parameters: operands }),
        (false, true) => Err(PlanError::Untrained { parameters: untrained }),
        (true, true) => Ok(()),
    }
}

/// Whether a value depends on a parameter through differentiable operations.
fn needs_gradient(record: &Record) -> Vec<bool> {
    let mut needs: Vec<bool> =
        (0..record.values.len()).map(|v| record.as_parameter(ValueId(v)).is_some()).collect();
    for node in &record.nodes {
        let needed = node.inputs.iter().any(|input| needs[input.0]);
        node.outputs.iter().for_each(|output| needs[output.0] = needed);
    }
    needs
}

/// Whether a value is read outside the region that computes it.
fn escapes(record: &Record) -> Vec<bool> {
    let mut escapes = vec![false; record.values.len()];
    for node in &record.nodes {
        for input in &node.inputs {
            if record.producer(*input).is_none_or(|producer| record.nodes[producer].region != node.region) {
                escapes[input.0] = true;
            }
        }
    }
    escapes
}

/// A differentiation under way.
pub(crate) struct Differentiation<'r> {
    record: &'r mut Record,
    recompute: Recompute,
    needs_gradient: Vec<bool>,
    escapes: Vec<bool>,
    /// The sum of all contributions so far.
    gradients: HashMap<ValueId, ValueId>,
    /// Forward values that were computed a second time.
    again: HashMap<ValueId, ValueId>,
    trained: BTreeSet<ParameterId>,
}

impl Differentiation<'_> {
    pub fn shape(&self, value: ValueId) -> Shape {
        self.record.shape(value)
    }

    /// Appends an operation whose result has the shape of `like` and is nobody's gradient yet.
    pub fn fresh(&mut self, op: GradientOp, inputs: &[ValueId], like: ValueId) -> ValueId {
        let (name, shape) = (self.name_of(like), self.shape(like));
        self.push(&name, op, inputs, &[shape], vec![None], &[])[0]
    }

    /// Appends an operation that adds to the gradients of parameters.
    pub fn parameters(&mut self, op: GradientOp, inputs: &[ValueId], parameters: &[ValueId]) {
        let name = self.name_of(inputs[inputs.len() - 1]);
        let ids = self.as_parameters(parameters);
        self.push(&name, op, inputs, &[], Vec::new(), &ids);
    }

    /// Appends an operation that contributes to the gradient of `value`, if that is wanted.
    pub fn contribute(&mut self, op: GradientOp, inputs: &[ValueId], value: ValueId) {
        if self.needs_gradient[value.0] {
            let into = self.gradients.get(&value).copied();
            let (name, shape) = (self.name_of(value), self.shape(value));
            let total = self.push(&name, op, inputs, &[shape], vec![into], &[])[0];
            self.gradients.insert(value, total);
        }
    }

    /// The same for an operation that contributes to two values at once.
    pub fn contribute_two(&mut self, op: GradientOp, inputs: &[ValueId], values: [ValueId; 2]) {
        let [first, second] = values;
        let mut into = values.map(|value| self.gradients.get(&value).copied());
        if first == second {
            into[1] = None; // the two outputs are added up below
        }
        let (name, shapes) = (self.name_of(first), values.map(|value| self.shape(value)));
        let totals = self.push(&name, op, inputs, &shapes, into.to_vec(), &[]);
        self.gradients.insert(first, totals[0]);
        if first == second {
            self.flow(totals[1], second);
        } else {
            self.gradients.insert(second, totals[1]);
        }
    }

    /// Stops the program where a gradient would be cut: losses have none for their targets and weights.
    pub fn constants(&self, node: &Node, operands: &[ValueId]) {
        let constant = operands.iter().all(|operand| !self.needs_gradient[operand.0]);
        assert!(constant, "{}: targets and weights must not depend on parameters", node.name);
    }

    /// Lets `gradient` pass unchanged into the gradient of `value`.
    pub fn flow(&mut self, gradient: ValueId, value: ValueId) {
        self.scaled_flow(1.0, gradient, value);
    }

    /// Lets `factor · gradient` pass into the gradient of `value`.
    pub fn scaled_flow(&mut self, factor: f64, gradient: ValueId, value: ValueId) {
        if factor == 1.0 && self.needs_gradient[value.0] && !self.gradients.contains_key(&value) {
            self.gradients.insert(value, gradient);
        } else {
            self.contribute(GradientOp::Scale(Scale { factor }), &[gradient], value);
        }
    }

    /// Gradient of `y = norm(dropout(x) + residual)`.
    ///
    /// The gradient of the sum is the residual's and, where nothing is dropped, also the input's. It may be added into
    /// an earlier contribution only if nobody wants it alone.
    pub fn layer_norm(
        &mut self,
        op: LayerNorm,
        inputs: &[ValueId],
        x: ValueId,
        residual: Option<ValueId>,
        parameters: &[ValueId],
    ) {
        let name = self.name_of(x);
        let shape = self.shape(x);
        let ids = self.as_parameters(parameters);
        let shared = residual.is_some() && op.dropout.is_none();
        let into = if shared { None } else { self.gradients.get(&residual.unwrap_or(x)).copied() };
        let shapes = if op.dropout.is_some() { vec![shape; 2] } else { vec![shape] };
        let mut all_into = vec![None; shapes.len()];
        all_into[0] = into;
        let outputs = self.push(&name, GradientOp::LayerNorm(op), inputs, &shapes, all_into, &ids);
        match residual {
            None => {
                self.gradients.insert(x, outputs[0]);
            }
            Some(residual) if shared => {
                self.flow(outputs[0], residual);
                self.flow(outputs[0], x);
            }
            Some(residual) => {
                self.gradients.insert(residual, outputs[0]);
                self.flow(outputs[1], x);
            }
        }
    }

    /// A forward value as backward may read it: kept, or computed again.
    pub fn saved(&mut self, value: ValueId) -> ValueId {
        if let Some(&again) = self.again.get(&value) {
            return again;
        }
        let Some(producer) = self.record.producer(value) else { return value };
        let node = &self.record.nodes[producer];
        match (self.recompute, node.region) {
            (Recompute::Gelu, _) => match &node.operation {
                Operation::Forward(Op::Linear(op))
                    if op.activation.keeps_preactivation() && node.outputs[0] == value =>
                {
                    let (activation, preactivation) = (op.activation, node.outputs[1]);
                    let again = self.fresh(GradientOp::Activation(activation), &[preactivation], value);
                    self.again.insert(value, again);
                    again
                }
                _ => value,
            },
            (Recompute::Layer, Some(region)) if !self.escapes[value.0] => {
                self.compute_again(region);
                self.again[&value]
            }
            (Recompute::None | Recompute::Layer, _) => value,
        }
    }

    /// Appends the operations of a region once more. What nobody reads of it falls out when the plan is made.
    fn compute_again(&mut self, region: usize) {
        let nodes: Vec<Node> =
            self.record.nodes.iter().filter(|n| n.region == Some(region)).cloned().collect();
        for node in nodes {
            let inputs = node.inputs.iter().map(|input| *self.again.get(input).unwrap_or(input)).collect();
            let shapes: Vec<_> = node.outputs.iter().map(|&output| self.shape(output)).collect();
            let name = format!("{} again", node.name);
            let copy = Node { name, inputs, region: None, again: true, ..node.clone() };
            let outputs = self.record.push(copy, &shapes);
            self.again.extend(node.outputs.into_iter().zip(outputs));
        }
    }

    fn as_parameters(&mut self, values: &[ValueId]) -> Vec<ParameterId> {
        let ids: Vec<_> = values
            .iter()
            .map(|&value| {
                self.record.as_parameter(value).expect("weights are parameters: checked when recorded")
            })
            .collect();
        self.trained.extend(&ids);
        ids
    }

    /// The name of the operation that computes a value, for the operation that computes its gradient.
    fn name_of(&self, value: ValueId) -> String {
        self.record.producer(value).map_or("input".to_owned(), |node| self.record.nodes[node].name.clone())
    }

    fn push(
        &mut self,
        name: &str,
        op: GradientOp,
        inputs: &[ValueId],
        shapes: &[Shape],
        into: Vec<Option<ValueId>>,
        accumulates: &[ParameterId],
    ) -> Vec<ValueId> {
        let node = Node {
            name: name.to_owned(),
            operation: Operation::Backward(op),
            inputs: inputs.to_vec(),
            outputs: Vec::new(),
            into,
            accumulates: accumulates.to_vec(),
            region: None,
            again: false,
        };
        self.record.push(node, shapes)
    }
}
