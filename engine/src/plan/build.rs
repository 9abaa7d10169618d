//! From a graph to steps: what is read, in which buffer it lives, and for how long.

use std::ops::Range;

use kernels::Store;
use kernels::memory::RunScalars;
use kernels::scale::Scale;

use super::arena::{ALIGNMENT, Lifetime, place};
use super::cost::cost;
use super::{Location, Operand, Output, Plan, Precision, Regions, Step, Union};
use crate::graph::{Graph, Kind, Node, Record, Source, Value, ValueId};
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
    loss: Option<ValueId>,
) -> Plan {
    let record = &*graph.record.borrow();
    let read: Vec<_> = outputs.iter().map(|(_, value)| *value).chain(loss).collect();
    let nodes = needed(record, &read, loss.is_some());
    let last_reads = last_reads(record, &nodes, &read);
    let (regions, fixed) = regions(record, precision, &last_reads, &read);
    let (buffers, calls) = Buffers::assign(record, precision, &nodes, &last_reads, fixed);
    let (offsets, arena_size) = place(&buffers.lifetimes);
    let places = Places { graph, record, buffers, offsets, start: regions.outputs.end };
    let read = |value: ValueId| places.buffers.of_value[value.0].map(|_| places.operand(value));
    let mut input_places = vec![None; record.inputs.len()];
    for (value, declared) in record.values.iter().enumerate() {
        if let Source::Input(input) = declared.source {
            input_places[input] = read(ValueId(value));
        }
    }
    let unions = record.unions.iter().map(|union| Union {
        axis: union.axis.0,
        rows_of: union.rows_of.0,
        lists: union.lists.clone(),
        rows: read(union.rows),
        places: union.places.iter().map(|&places| read(places)).collect(),
    });
    Plan {
        precision,
        parameters: graph.parameters.clone(),
        axes: record.axes.clone(),
        inputs: record.inputs.clone(),
        input_places,
        unions: unions.collect(),
        outputs: (outputs.iter())
            .map(|(name, value)| Output { name: name.clone(), operand: places.operand(*value) })
            .collect(),
        steps: calls.iter().flat_map(|call| places.steps(call)).collect(),
        loss: loss.map(|loss| places.operand(loss)),
        arena_size: places.start + arena_size,
        regions,
        trains: loss.is_some(),
    }
}

/// Lays inputs and outputs side by side at the start of the arena; returns the offsets of their values.
fn regions(
    record: &Record,
    precision: Precision,
    last_reads: &[usize],
    outputs: &[ValueId],
) -> (Regions, Vec<Option<usize>>) {
    let capacities: Vec<_> = record.axes.iter().map(|axis| axis.capacity).collect();
    let mut end = 0;
    let mut next = |size: usize| {
        let start = end;
        end += size.next_multiple_of(ALIGNMENT);
        start
    };
    let mut fixed = vec![None; record.values.len()];
    let scalars = next(RunScalars::words(capacities.len()) * size_of::<u64>());
    let one = next(precision.master_size());
    let is_computed = |value: usize| matches!(record.values[value].source, Source::Node(_));
    let size = |value: usize| {
        record.values[value].shape.elements(&capacities) * precision.size(record.values[value].kind)
    };
    for value in 0..record.values.len() {
        match record.values[value].source {
            Source::Input(_) | Source::Union { .. } if last_reads[value] != NEVER => {
                fixed[value] = Some(next(size(value)));
            }
            Source::Node(node) if record.nodes[node].operation == Operation::Backward(GradientOp::Seed) => {
                fixed[value] = Some(one);
            }
            Source::Input(_) | Source::Union { .. } | Source::Parameter(_) | Source::Node(_) => {}
        }
    }
    let first_output = next(0);
    for value in outputs.iter().map(|value| value.0).filter(|&value| is_computed(value)) {
        if fixed[value].is_none() {
            fixed[value] = Some(next(size(value)));
        }
    }
    let outputs = first_output..next(0);
    (Regions { inputs: 0..first_output, scalars, one, outputs }, fixed)
}

/// Where everything lies.
struct Places<'r> {
    graph: &'r Graph,
    record: &'r Record,
    buffers: Buffers<'r>,
    offsets: Vec<usize>,
    /// Where the buffers begin.
    start: usize,
}

impl Places<'_> {
    /// A value as a caller or an operation reads it.
    fn operand(&self, value: ValueId) -> Operand {
        let Value { shape, kind, source } = self.record.values[value.0];
        let location = match (source, self.buffers.of_value[value.0]) {
            (Source::Parameter(id), _) => Location::Weight(self.graph.parameters.range(id).start),
            (_, Some(Place::Buffer(buffer))) => Location::Arena(self.start + self.offsets[buffer]),
            (_, Some(Place::Fixed(offset))) => Location::Arena(offset),
            (_, None) => unreachable!("every value that is read has a place"),
        };
        Operand { location, shape, kind }
    }

    /// The same as the operation reads it at `position`: biases, γ, β and tables are read from the masters.
    fn read(&self, operation: &Operation, position: usize, value: ValueId) -> Operand {
        let operand = self.operand(value);
        match operand.location {
            Location::Weight(first) if operation.reads_master(position) => {
                Operand { location: Location::Master(first), kind: Kind::Statistic, ..operand }
            }
            _ => operand,
        }
    }

    /// The copies that a call needs, then the call.
    fn steps<'a>(&'a self, Call { node, copies }: &'a Call<'_>) -> impl Iterator<Item = Step> + 'a {
        let copies = copies.iter().map(|&(from, to)| {
            let copy = Operation::Backward(GradientOp::Scale(Scale { factor: 1.0 }));
            let (reads, writes) = (vec![self.operand(from)], vec![Some(self.operand(to))]);
            self.step(node, copy, reads, writes, vec![Store::Assign], Vec::new())
        });
        let read = |(position, &input)| self.read(&node.operation, position, input);
        let reads = node.inputs.iter().enumerate().map(read).collect();
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
fn needed<'r>(record: &'r Record, outputs: &[ValueId], trains: bool) -> Vec<&'r Node> {
    let mut wanted = vec![false; record.values.len()];
    outputs.iter().for_each(|value| wanted[value.0] = true);
    let mut nodes: Vec<_> = (record.nodes.iter().rev())
        .filter(|node| {
            let trained = trains && !node.accumulates.is_empty();
            let needed = trained || node.outputs.iter().any(|output| wanted[output.0]);
            if needed {
                node.inputs.iter().chain(node.into.iter().flatten()).for_each(|input| wanted[input.0] = true);
            }
            // What differentiation starts from is no step.
            needed && node.operation != Operation::Backward(GradientOp::Seed)
        })
        .collect();
    nodes.reverse();
    nodes
}

/// Marks a value that nobody reads.
const NEVER: usize = usize::MAX;

/// The last step that reads each value; one past the last step for what the caller reads.
fn last_reads(record: &Record, nodes: &[&Node], outputs: &[ValueId]) -> Vec<usize> {
    let mut last = vec![NEVER; record.values.len()];
    for (step, node) in nodes.iter().enumerate() {
        node.inputs.iter().chain(node.into.iter().flatten()).for_each(|input| last[input.0] = step);
    }
    outputs.iter().for_each(|value| last[value.0] = nodes.len());
    last
}

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a buffer whose lifetime is known.
    Buffer(usize),
    /// At an offset among inputs or outputs.
    Fixed(usize),
}

/// Which value is in which buffer: several may share one, each adding to the one before.
struct Buffers<'r> {
    record: &'r Record,
    precision: Precision,
    capacities: Vec<usize>,
    /// One past the last step.
    end: usize,
    of_value: Vec<Option<Place>>,
    lifetimes: Vec<Lifetime>,
}

impl<'r> Buffers<'r> {
    fn assign(
        record: &'r Record,
        precision: Precision,
        nodes: &[&'r Node],
        last_read: &[usize],
        fixed: Vec<Option<usize>>,
    ) -> (Self, Vec<Call<'r>>) {
        let mut buffers = Self {
            record,
            precision,
            capacities: record.axes.iter().map(|axis| axis.capacity).collect(),
            end: nodes.len(),
            of_value: fixed.into_iter().map(|offset| offset.map(Place::Fixed)).collect(),
            lifetimes: Vec::new(),
        };
        let calls =
            (nodes.iter().enumerate()).map(|(step, &node)| buffers.call(step, node, last_read)).collect();
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
                None if self.of_value[output.0].is_some() => {}
                None if let Some(place) = self.overwritten(step, node, position, last_read) => {
                    self.of_value[output.0] = Some(place);
                }
                None => self.own(output),
                // Nobody else wants it: neither a later step, nor this one as an operand, nor as the start of another output.
                Some(into)
                    if last_read[into.0] == step
                        && !node.inputs.contains(&into)
                        && !node.into[..position].contains(&Some(into)) =>
                {
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

    /// The buffer of what a node reads, if its output may take that place.
    fn overwritten(&self, step: usize, node: &Node, output: usize, last_read: &[usize]) -> Option<Place> {
        let read = *node.inputs.get(node.operation.overwrites()?)?;
        let once = node.inputs.iter().filter(|&&input| input == read).count() == 1;
        let place = self.of_value[read.0].filter(|place| matches!(place, Place::Buffer(_)))?;
        (output == 0 && once && last_read[read.0] == step).then_some(place)
    }

    /// Gives a value a buffer of its own.
    fn own(&mut self, value: ValueId) {
        let size = self.precision.size(self.record.kind(value));
        let size = self.record.shape(value).elements(&self.capacities) * size;
        self.of_value[value.0] = Some(Place::Buffer(self.lifetimes.len()));
        self.lifetimes.push(Lifetime { size, first: self.end, last: 0 });
    }

    /// Keeps a value's buffer from step `first` to step `last`.
    fn live(&mut self, value: ValueId, first: usize, last: usize) {
        let Some(Place::Buffer(buffer)) = self.of_value[value.0] else { return };
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
        let scalars_and_one = 2 * ALIGNMENT;
        assert_eq!(plan.arena_size(), scalars_and_one + 8 * (16 + 64) * size_of::<f32>());
    }
}
