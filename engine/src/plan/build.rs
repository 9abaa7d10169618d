//! From a graph to steps: what is read, in which buffer it lives, and for how long.

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
    let record = graph.record.borrow();
    let nodes = needed(&record, outputs, trains);
    let last_read = last_reads(&record, &nodes, outputs);
    let mut buffers = Buffers::new(&record, precision, nodes.len());
    let calls: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(step, &node)| {
            let mut copies = Vec::new();
            for (&output, &into) in node.outputs.iter().zip(&node.into) {
                match into {
                    Some(into) if last_read[into.0] == step && !node.inputs.contains(&into) => {
                        buffers.share(into, output)
                    }
                    Some(into) => {
                        buffers.own(output);
                        copies.push((into, output));
                    }
                    None => buffers.own(output),
                }
                buffers.live(output, step, last_read[output.0].max(step));
            }
            Call { node, copies }
        })
        .collect();
    for (value, declared) in record.values.iter().enumerate() {
        if let Source::Input(input) = declared.source
            && record.inputs[input].content == Content::Real
            && last_read[value] != NEVER
        {
            buffers.own(ValueId(value));
            buffers.live(ValueId(value), 0, last_read[value]);
        }
    }
    let (offsets, arena_size) = place(&buffers.lifetimes);
    let operand = |value: ValueId| {
        let shape = record.shape(value);
        let location = match (record.values[value.0].source, buffers.of_value[value.0]) {
            (Source::Parameter(id), _) => Location::Parameter(graph.parameters.range(id).start),
            (_, Some(buffer)) => Location::Arena(offsets[buffer]),
            (Source::Input(input), None) => Location::Input(input),
            (Source::Node(_), None) => unreachable!("every computed value has a buffer"),
        };
        Operand { location, shape }
    };
    let is_read = |value: ValueId| last_read[value.0] != NEVER;
    let capacities: Vec<usize> = record.axes.iter().map(|axis| axis.capacity).collect();
    let mut steps = Vec::new();
    for Call { node, copies } in &calls {
        for &(from, to) in copies {
            let copy = Operation::Backward(GradientOp::Scale(Scale { factor: 1.0 }));
            let (reads, writes) = (vec![operand(from)], vec![Some(operand(to))]);
            let cost = cost(&copy, &reads, &writes, &capacities, precision);
            let stores = vec![Store::Assign];
            let name = node.name.clone();
            steps.push(Step { name, operation: copy, reads, writes, stores, accumulates: Vec::new(), cost });
        }
        let reads: Vec<_> = node.inputs.iter().map(|&input| operand(input)).collect();
        let optional =
            |position| position == 1 && matches!(node.operation, Operation::Forward(Op::Linear(_)));
        let writes: Vec<_> = (node.outputs.iter().enumerate())
            .map(|(position, &output)| (is_read(output) || !optional(position)).then(|| operand(output)))
            .collect();
        steps.push(Step {
            name: node.name.clone(),
            cost: cost(&node.operation, &reads, &writes, &capacities, precision),
            operation: node.operation.clone(),
            reads,
            writes,
            stores: node
                .into
                .iter()
                .map(|into| if into.is_some() { Store::Add } else { Store::Assign })
                .collect(),
            accumulates: node.accumulates.iter().map(|&id| graph.parameters.range(id)).collect(),
        });
    }
    let mut input_places = vec![None; record.inputs.len()];
    for (value, declared) in record.values.iter().enumerate() {
        if let (Source::Input(input), Some(_)) = (declared.source, buffers.of_value[value]) {
            input_places[input] = Some(operand(ValueId(value)));
        }
    }
    Plan {
        precision,
        parameters: graph.parameters.clone(),
        axes: record.axes.clone(),
        inputs: record.inputs.clone(),
        input_places,
        outputs: (outputs.iter())
            .map(|(name, value)| Output { name: name.clone(), operand: operand(*value) })
            .collect(),
        steps,
        arena_size,
        trains,
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

/// Buffers under construction: several values may share one, each adding to the one before.
struct Buffers<'r> {
    record: &'r Record,
    precision: Precision,
    capacities: Vec<usize>,
    end: usize,
    of_value: Vec<Option<usize>>,
    lifetimes: Vec<Lifetime>,
}

impl<'r> Buffers<'r> {
    fn new(record: &'r Record, precision: Precision, end: usize) -> Self {
        let capacities = record.axes.iter().map(|axis| axis.capacity).collect();
        Self {
            record,
            precision,
            capacities,
            end,
            of_value: vec![None; record.values.len()],
            lifetimes: Vec::new(),
        }
    }

    fn own(&mut self, value: ValueId) {
        let size = self.record.shape(value).elements(&self.capacities) * self.precision.size();
        self.of_value[value.0] = Some(self.lifetimes.len());
        self.lifetimes.push(Lifetime { size, first: self.end, last: 0 });
    }

    fn share(&mut self, earlier: ValueId, value: ValueId) {
        self.of_value[value.0] = self.of_value[earlier.0];
    }

    fn live(&mut self, value: ValueId, first: usize, last: usize) {
        let buffer = self.of_value[value.0].expect("a value gets its buffer before its lifetime");
        let lifetime = &mut self.lifetimes[buffer];
        lifetime.first = lifetime.first.min(first);
        lifetime.last = lifetime.last.max(if last == NEVER { first } else { last });
    }
}
