//! Shapes: a matrix has a number of rows that may change from run to run, and a fixed number of columns.

use std::fmt;

/// A named dimension whose length is known only when a plan runs: tokens, sequences, masked tokens.
///
/// Its *capacity*, fixed when the graph is recorded, bounds it; memory is planned for the capacity, and a run computes
/// only the rows that live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Axis(pub(crate) usize);

/// How many rows a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rows {
    /// Always this many.
    Fixed(usize),
    /// One per member of the axis.
    Along(Axis),
    /// One per member and one more: where each member starts, and the end.
    Offsets(Axis),
}

impl Rows {
    /// The number of rows when axis `a` has `lengths[a]` members.
    pub fn count(self, lengths: &[usize]) -> usize {
        match self {
            Self::Fixed(rows) => rows,
            Self::Along(axis) => lengths[axis.0],
            Self::Offsets(axis) => lengths[axis.0] + 1,
        }
    }
}

/// Rows and columns of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Rows.
    pub rows: Rows,
    /// Columns.
    pub columns: usize,
}

impl Shape {
    /// A single number.
    pub const SCALAR: Self = Self { rows: Rows::Fixed(1), columns: 1 };

    /// A matrix.
    pub fn new(rows: Rows, columns: usize) -> Self {
        Self { rows, columns }
    }

    /// Number of elements when axis `a` has `lengths[a]` members.
    pub fn elements(&self, lengths: &[usize]) -> usize {
        self.rows.count(lengths) * self.columns
    }
}

/// A shape with the names of its axes, for messages.
pub(crate) struct Named<'a>(pub Shape, pub &'a [AxisSpec]);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(shape, axes) = self;
        match shape.rows {
            Rows::Fixed(rows) => write!(f, "[{rows}, {}]", shape.columns),
            Rows::Along(axis) => write!(f, "[{}, {}]", axes[axis.0].name, shape.columns),
            Rows::Offsets(axis) => write!(f, "[{} + 1, {}]", axes[axis.0].name, shape.columns),
        }
    }
}

/// An axis as the graph knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AxisSpec {
    /// What its members are.
    pub name: String,
    /// The most members a run may have.
    pub capacity: usize,
    /// The axis whose rows its members are, if they are those that [`Graph::union`](crate::Graph::union) gathers: no run
    /// is told their number.
    pub rows_of: Option<Axis>,
}
