//! From a graph to steps: what is read, in which buffer it lives, and for how long.

use std::ops::Range;

use kernels::Store;
use kernels::scale::Scale;

use super::arena::{Lifetime, place};
use super::cost::cost;
use super::{Location, Operand, Output, Plan, Precision, Step};
use crate::graph::{Content, Graph, Node, Record, Source, ValueId};
use crate::op::{GradientOp, Op, Operation};

/// A kernel call before its operands have places.
struct Call<'a> {
    node: &'a Node,
    /// A copy of an earlier contribution that is still wanted elsewhere, made before `node` adds to it.
    copies: Vec<(ValueId, ValueId)>,
}

pub(super) fn build(
    graph: &Graph,
    outputs: &[(String, ValueId)],
    precision: Precision,
    trains: bool,
) -> Plan {
    let record = &*graph.record.borrow();
    let nodes = needed(record, outputs, trains);
    let (buffers, calls) = Buffers::assign(record, precision, &nodes, &last_reads(record, &nodes, outputs));
    let (offsets, arena_size) = place(&buffers.lifetimes);
    let places = Places { graph, record, buffers, offsets };
    let mut input_places = vec![None; record.inputs.len()];
    for (value, declared) in record.values.iter().enumerate() {
        if let (Source::Input(input), Some(_)) = (declared.source, places.buffers.of_value[value]) {
            input_places[input] = Some(places.operand(ValueId(value)));
        }
    }
    Plan {
        precision,
        parameters: graph.parameters.clone(),
        axes: record.axes.clone(),
        inputs: record.inputs.clone(),
        input_places,
        outputs: (outputs.iter())
            .map(|(name, value)| Output { name: name.clone(), operand: places.operand(*value) })
            .collect(),
        steps: calls.iter().flat_map(|call| places.steps(call)).collect(),
        arena_size,
        trains,
    }
}

/// Where everything lies.
struct Places<'r> {
    graph: &'r Graph,
    record: &'r Record,
    buffers: Buffers<'r>,
    offsets: Vec<usize>,
}

impl Places<'_> {
    fn operand(&self, value: ValueId) -> Operand {
        let shape = self.record.shape(value);
        let location = match (self.record.values[value.0].source, self.buffers.of_value[value.0]) {
            (Source::Parameter(id), _) => Location::Parameter(self.graph.parameters.range(id).start),
            (_, Some(buffer)) => Location::Arena(self.offsets[buffer]),
            (Source::Input(input), None) => Location::Input(input),
            (Source::Node(_), None) => unreachable!("every value that is read has a buffer"),
        };
        Operand { location, shape }
    }

    /// The copies that a call needs, then the call.
    fn steps<'a>(&'a self, Call { node, copies }: &'a Call<'_>) -> impl Iterator<Item = Step> + 'a {
        let copies = copies.iter().map(|&(from, to)| {
            let copy = Operation::Backward(GradientOp::Scale(Scale { factor: 1.0 }));
            let (reads, writes) = (vec![self.operand(from)], vec![Some(self.operand(to))]);
            self.step(node, copy, reads, writes, vec![Store::Assign], Vec::new())
        });
        let reads = node.inputs.iter().map(|&input| self.operand(input)).collect();
        let write = |&output: &ValueId| self.buffers.of_value[output.0].map(|_| self.operand(output));
        let writes = node.outputs.iter().map(write).collect();
        let store = |into: &Option<_>| if into.is_some() { Store::Add } else { Store::Assign };
        let stores = node.into.iter().map(store).collect();
        let accumulates = node.accumulates.iter().map(|&id| self.graph.parameters.range(id)).collect();
        let call = self.step(node, node.operation.clone(), reads, writes, stores, accumulates);
        copies.chain([call])
    }

    fn step(
        &self,
        node: &Node,
        operation: Operation,
        reads: Vec<Operand>,
        writes: Vec<Option<Operand>>,
        stores: Vec<Store>,
        accumulates: Vec<Range<usize>>,
    ) -> Step {
        let Buffers { capacities, precision, .. } = &self.buffers;
        let cost = cost(&operation, &reads, &writes, capacities, *precision);
        let cost = if node.again { cost.again() } else { cost };
        Step { name: node.name.clone(), operation, reads, writes, stores, accumulates, cost }
    }
}

/// The nodes whose results are wanted, in order. Gradients of parameters are, if the plan trains.
fn needed<'r>(record: &'r Record, outputs: &[(String, ValueId)], trains: bool) -> Vec<&'r Node> {
    let mut wanted = vec![false; record.values.len()];
    outputs.iter().for_each(|(_, value)| wanted[value.0] = true);
    let mut nodes: Vec<_> = (record.nodes.iter().rev())
        .filter(|node| {
            let trained = trains && !node.accumulates.is_empty();
            let needed = trained || node.outputs.iter().any(|output| wanted[output.0]);
            if needed {
                node.inputs.iter().chain(node.into.iter().flatten()).for_each(|input| wanted[input.0] = true);
            }
            needed
        })
        .collect();
    nodes.reverse();
    nodes
}

/// Marks a value that nobody reads.
const NEVER: usize = usize::MAX;

/// The last step that reads each value; one past the last step for what the caller reads.
fn last_reads(record: &Record, nodes: &[&Node], outputs: &[(String, ValueId)]) -> Vec<usize> {
    let mut last = vec![NEVER; record.values.len()];
    for (step, node) in nodes.iter().enumerate() {
        node.inputs.iter().chain(node.into.iter().flatten()).for_each(|input| last[input.0] = step);
    }
    outputs.iter().for_each(|(_, value)| last[value.0] = nodes.len());
    last
}

/// Which value is in which buffer: several may share one, each adding to the one before.
struct Buffers<'r> {
    record: &'r Record,
    precision: Precision,
    capacities: Vec<usize>,
    /// One past the last step.
    end: usize,
    of_value: Vec<Option<usize>>,
    lifetimes: Vec<Lifetime>,
}

impl<'r> Buffers<'r> {
    fn assign(
        record: &'r Record,
        precision: Precision,
        nodes: &[&'r Node],
        last_read: &[usize],
    ) -> (Self, Vec<Call<'r>>) {
        let mut buffers = Self {
            record,
            precision,
            capacities: record.axes.iter().map(|axis| axis.capacity).collect(),
            end: nodes.len(),
            of_value: vec![None; record.values.len()],
            lifetimes: Vec::new(),
        };
        let calls =
            (nodes.iter().enumerate()).map(|(step, &node)| buffers.call(step, node, last_read)).collect();
        for (value, declared) in record.values.iter().enumerate() {
            if let Source::Input(input) = declared.source
                && record.inputs[input].content == Content::Real
                && last_read[value] != NEVER
            {
                buffers.own(ValueId(value));
                buffers.live(ValueId(value), 0, last_read[value]);
            }
        }
        (buffers, calls)
    }

    /// Gives the outputs of a node their buffers.
    fn call(&mut self, step: usize, node: &'r Node, last_read: &[usize]) -> Call<'r> {
        let mut copies = Vec::new();
        for (position, (&output, &into)) in node.outputs.iter().zip(&node.into).enumerate() {
            // Kernels write everything, but not a preactivation that nobody reads.
            let optional = position == 1 && matches!(node.operation, Operation::Forward(Op::Linear(_)));
            match into {
                None if optional && last_read[output.0] == NEVER => continue,
                None => self.own(output),
                Some(into) if last_read[into.0] == step && !node.inputs.contains(&into) => {
                    self.of_value[output.0] = self.of_value[into.0];
                }
                Some(into) => {
                    self.own(output);
                    copies.push((into, output));
                }
            }
            self.live(output, step, last_read[output.0].max(step));
        }
        Call { node, copies }
    }

    /// Gives a value a buffer of its own.
    fn own(&mut self, value: ValueId) {
        let size = self.record.shape(value).elements(&self.capacities) * self.precision.size();
        self.of_value[value.0] = Some(self.lifetimes.len());
        self.lifetimes.push(Lifetime { size, first: self.end, last: 0 });
    }

    /// Keeps a value's buffer from step `first` to step `last`.
    fn live(&mut self, value: ValueId, first: usize, last: usize) {
        let buffer = self.of_value[value.0].expect("a value gets its buffer before its lifetime");
        let lifetime = &mut self.lifetimes[buffer];
        lifetime.first = lifetime.first.min(first);
        lifetime.last = lifetime.last.max(if last == NEVER { first } else { last });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kernels::Activation;

    use super::*;
    use crate::{Declaration, Initializer, Parameters, Part, Rows, Shape};

    #[test]
    fn a_preactivation_that_nobody_reads_takes_no_memory() {
        let mut parameters = Parameters::default();
        let weight = parameters.declare(Declaration {
            columns: 16,
            parts: vec![Part { name: "w".into(), shape: vec![64, 16] }],
            initializer: Initializer::Ones,
            decays: true,
            adapts: true,
        });
        let graph = Graph::new(Arc::new(parameters));
        let x = graph.input("x", Shape::new(Rows::Along(graph.axis("rows", 8)), 16));
        let y = x.linear(graph.parameter(weight), None, Activation::Gelu);
        let plan = Plan::inference(&graph, &[("y", y)], Precision::F32);
        assert_eq!(plan.arena_size(), 8 * (16 + 64) * size_of::<f32>());
    }
}
