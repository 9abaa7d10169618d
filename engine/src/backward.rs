//! Recording the backward pass: where gradients are added up, and which forward values are computed again.

use std::collections::{BTreeSet, HashMap};

use kernels::layer_norm::LayerNorm;
use kernels::scale::Scale;

use crate::graph::{Kind, Node, Record, ValueId};
use crate::op::{GradientOp, Op, Operation};
use crate::parameters::ParameterId;
use crate::shape::Shape;

/// Which forward values backward computes again instead of keeping them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Recompute {
    /// Keep everything.
    #[default]
    None,
    /// Compute `gelu(u)` again from u: the widest activation of a layer for the price of an elementwise pass.
    Gelu,
    /// Keep only what crosses the border of a [`Graph::region`](crate::Graph::region) and compute the region again: a third more work.
    Layer,
}

/// A backward pass that is being recorded.
pub(crate) struct Backward<'r> {
    pub record: &'r mut Record,
    pub recompute: Recompute,
    pub needs_gradient: Vec<bool>,
    pub escapes: Vec<bool>,
    /// The sum of all contributions so far.
    pub gradients: HashMap<ValueId, ValueId>,
    /// Forward values that were computed a second time.
    pub again: HashMap<ValueId, ValueId>,
    pub trained: BTreeSet<ParameterId>,
}

impl Backward<'_> {
    pub fn shape(&self, value: ValueId) -> Shape {
        self.record.shape(value)
    }

    /// What another value like this one is.
    fn like(&self, value: ValueId) -> (Shape, Kind) {
        (self.record.shape(value), self.record.kind(value))
    }

    /// Appends an operation whose result has the shape of `like` and is nobody's gradient yet.
    pub fn fresh(&mut self, op: GradientOp, inputs: &[ValueId], like: ValueId) -> ValueId {
        let (name, output) = (self.name_of(like), self.like(like));
        self.push(&name, op, inputs, &[output], vec![None], &[])[0]
    }

    /// Appends an operation that adds to the gradients of parameters.
    pub fn parameters(&mut self, op: GradientOp, inputs: &[ValueId], parameters: &[ValueId]) {
        let name = self.name_of(inputs[inputs.len() - 1]);
        let ids = self.as_parameters(&name, parameters);
        self.push(&name, op, inputs, &[], Vec::new(), &ids);
    }

    /// Appends an operation that contributes to the gradient of `value`, if that is wanted.
    pub fn contribute(&mut self, op: GradientOp, inputs: &[ValueId], value: ValueId) {
        if self.needs_gradient[value.0] {
            let into = self.gradients.get(&value).copied();
            let (name, output) = (self.name_of(value), self.like(value));
            let total = self.push(&name, op, inputs, &[output], vec![into], &[])[0];
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
        let (name, outputs) = (self.name_of(first), values.map(|value| self.like(value)));
        let totals = self.push(&name, op, inputs, &outputs, into.to_vec(), &[]);
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
        let gradient = self.like(x);
        let ids = self.as_parameters(&name, parameters);
        let shared = residual.is_some() && op.dropout.is_none();
        let into = if shared { None } else { self.gradients.get(&residual.unwrap_or(x)).copied() };
        let outputs = if op.dropout.is_some() { vec![gradient; 2] } else { vec![gradient] };
        let mut all_into = vec![None; outputs.len()];
        all_into[0] = into;
        let outputs = self.push(&name, GradientOp::LayerNorm(op), inputs, &outputs, all_into, &ids);
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
            let like: Vec<_> = node.outputs.iter().map(|&output| self.like(output)).collect();
            let name = format!("{} again", node.name);
            let copy = Node { name, inputs, region: None, again: true, ..node.clone() };
            let outputs = self.record.push(copy, &like);
            self.again.extend(node.outputs.into_iter().zip(outputs));
        }
    }

    /// The parameters of an operation, each once: its kernel adds to the gradients of all of them at the same time.
    fn as_parameters(&mut self, name: &str, values: &[ValueId]) -> Vec<ParameterId> {
        let distinct = values.iter().enumerate().all(|(index, value)| !values[..index].contains(value));
        assert!(distinct, "{name}: one parameter is two of this operation's, which cannot be trained");
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

    pub fn push(
        &mut self,
        name: &str,
        op: GradientOp,
        inputs: &[ValueId],
        outputs: &[(Shape, Kind)],
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
        self.record.push(node, outputs)
    }
}
