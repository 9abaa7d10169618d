//! How many members of every axis a run is given, and how many it is computed for.
//!
//! A recorded run can be repeated for other runs of the same lengths only, and no two batches of real text have the same. So a
//! device that records computes a few members more than it is given: every length is rounded up, to one of few. Those that are
//! added change no result: they have no weight in a loss and belong to no sequence, so that nothing that is given reads them, and
//! every gradient that comes out of them is exactly 0. No output holds them.

use crate::graph::Content;
use crate::plan::{Location, Operand, Plan};
use crate::shape::AxisSpec;

/// Parts of a plan's largest capacity: every length becomes a multiple of one. What is computed for nothing is half a part on
/// average, 0.4% of a micro-batch that is full, and less for axes whose members cost less than tokens do.
const PARTS: usize = 128;
/// A part is a multiple of so many members: what tensor cores take at once.
const TOGETHER: usize = 8;

/// The lengths of one run.
#[derive(Debug)]
pub(super) struct Lengths {
    /// Members that the run is given.
    pub given: Vec<usize>,
    /// Members that it is computed for.
    pub computed: Vec<usize>,
}

impl Lengths {
    /// Those of a plan that has not run.
    pub fn of(plan: &Plan) -> Self {
        Self { given: vec![0; plan.axes.len()], computed: vec![0; plan.axes.len()] }
    }

    /// Settles for how many members of every axis the run is computed: as many as it is given, or a few more.
    pub fn settle(&mut self, axes: &[AxisSpec], rounds_up: bool) {
        self.computed.copy_from_slice(&self.given);
        if rounds_up {
            round_up(axes, &mut self.computed);
        }
    }
}

impl Plan {
    /// The lengths that a device which records computes a run for that has these: members of every axis, unions included, in the
    /// order of their declaration.
    pub fn computed_lengths(&self, lengths: &[usize]) -> Vec<usize> {
        let mut computed = lengths.to_vec();
        round_up(&self.axes, &mut computed);
        computed
    }
}

/// Rounds lengths up to multiples of a part, where the capacity allows.
fn round_up(axes: &[AxisSpec], lengths: &mut [usize]) {
    let largest = axes.iter().map(|axis| axis.capacity).max().unwrap_or(0);
    let part = largest.div_ceil(PARTS).max(1).next_multiple_of(TOGETHER);
    for (axis, length) in axes.iter().zip(lengths) {
        *length = length.next_multiple_of(part).min(axis.capacity);
    }
}

/// Fills what is staged up to the computed lengths: no weight, the largest of what names a row of a table, which an order has at
/// its end, rows that were added themselves where there are such, and no rows for a sequence.
pub(super) fn fill_up(plan: &Plan, lengths: &Lengths, staged: &mut [u8]) {
    let last = |axis: usize| lengths.computed[axis].saturating_sub(1) as i32;
    for (input, at) in plan.inputs.iter().zip(&plan.input_places) {
        let Some(at) = at else { continue };
        match input.content {
            Content::Real => added(plan, at, lengths, staged).fill(0),
            Content::Below(limit) => indices(plan, at, lengths, staged).fill(limit.saturating_sub(1) as i32),
            Content::RowOf(axis) | Content::RowOfSequence(_, axis) => {
                indices(plan, at, lengths, staged).fill(last(axis.0));
            }
            Content::OffsetsOf(axis) => {
                indices(plan, at, lengths, staged).fill(lengths.given[axis.0] as i32);
            }
            Content::OrderOf(_) => {
                let given = at.shape.elements(&lengths.given) as i32;
                indices(plan, at, lengths, staged).iter_mut().zip(given..).for_each(|(to, row)| *to = row);
            }
        }
    }
    for union in &plan.unions {
        if let Some(at) = &union.rows {
            indices(plan, at, lengths, staged).fill(last(union.rows_of));
        }
        for at in union.places.iter().flatten() {
            indices(plan, at, lengths, staged).fill(last(union.axis));
        }
    }
}

/// What lies behind what a run was given of an operand, up to what it is computed for.
fn added<'a>(plan: &Plan, at: &Operand, lengths: &Lengths, staged: &'a mut [u8]) -> &'a mut [u8] {
    let Location::Arena(offset) = at.location else { unreachable!("inputs lie in the arena") };
    let [given, computed] = [&lengths.given, &lengths.computed]
        .map(|lengths| at.shape.elements(lengths) * plan.precision.size(at.kind));
    &mut staged[offset + given..offset + computed]
}

fn indices<'a>(plan: &Plan, at: &Operand, lengths: &Lengths, staged: &'a mut [u8]) -> &'a mut [i32] {
    bytemuck::cast_slice_mut(added(plan, at, lengths, staged))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{Graph, Parameters, Plan, Precision, Rows, Shape};

    #[test]
    fn where_there_is_no_room_nothing_is_added() {
        for (capacities, lengths, expected) in
            [(&[0][..], &[0][..], &[0][..]), (&[0, 3], &[0, 2], &[0, 3]), (&[3000], &[1001], &[1008])]
        {
            let graph = Graph::new(Arc::new(Parameters::default()));
            let axes: Vec<_> = capacities.iter().map(|&capacity| graph.axis("rows", capacity)).collect();
            let y = graph.input("x", Shape::new(Rows::Along(axes[0]), 1)).scale(2.0);
            let plan = Plan::inference(&graph, &[("y", y)], Precision::F64);
            assert_eq!(plan.computed_lengths(lengths), expected, "{capacities:?}");
        }
    }
}
