//! Reverse-mode differentiation: walks the recorded operations backwards and appends their gradients.
//!
//! The first contribution to a value's gradient is stored, later ones are added *into* it; nothing is zero-filled and no
//! addition is an operation of its own. Where a gradient is its upstream unchanged, it is the same value.

use std::collections::{BTreeSet, HashMap};

use crate::backward::{Backward, Recompute};
use crate::error::PlanError;
use crate::graph::{Graph, Kind, Node, Record, Tensor, ValueId};
use crate::op::{GradientOp, Operation};
use crate::parameters::{ParameterId, Parameters};
use crate::shape::Shape;
use crate::vjp::vjp;

/// Appends the gradient of `loss` to the graph.
///
/// # Errors
/// If a parameter receives no gradient, or only a part of it.
pub(crate) fn differentiate(graph: &Graph, loss: Tensor<'_>, recompute: Recompute) -> Result<(), PlanError> {
    assert_eq!(loss.shape(), Shape::SCALAR, "a loss is a single number");
    let mut record = graph.record.borrow_mut();
    assert_eq!(
        record.kind(loss.id),
        Kind::Statistic,
        "a loss is what an error or a cross-entropy gives, or a sum of such"
    );
    let recorded = |node: &Node| matches!(node.operation, Operation::Forward(_));
    assert!(record.nodes.iter().all(recorded), "a graph serves one training plan");
    let forward_nodes = record.nodes.len();
    let needs_gradient = needs_gradient(&record);
    let escapes = escapes(&record);
    let mut d = Backward {
        record: &mut record,
        recompute,
        needs_gradient,
        escapes,
        gradients: HashMap::new(),
        again: HashMap::new(),
        trained: BTreeSet::new(),
    };
    let seed = d.push("seed", GradientOp::Seed, &[], &[(Shape::SCALAR, Kind::Statistic)], vec![None], &[])[0];
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
fn every_parameter_is_trained(parameters: &Parameters, d: &Backward<'_>) -> Result<(), PlanError> {
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
