//! Plans: a graph as a flat list of steps over one arena.
//!
//! Planning makes one call of two operations where it can, drops what nobody reads, decides which gradient is stored and
//! which is added to, gives every value a fixed place in the arena for exactly as long as it is alive, and adds up what the
//! steps cost. A plan needs no device and no data: `albert-train plan` prints one.

mod arena;
mod build;
mod cost;
mod fuse;
mod report;
mod work_space;

use std::ops::Range;
use std::sync::Arc;

use kernels::{Cost, Store};

use crate::backward::Recompute;
use crate::differentiate::differentiate;
use crate::error::PlanError;
use crate::graph::{Graph, InputSpec, Kind, Tensor, ValueId};
use crate::op::Operation;
use crate::parameters::Parameters;
use crate::shape::{AxisSpec, Shape};

pub use work_space::WorkSpace;
pub(crate) use work_space::{INPUTS, MOST_RECORDINGS, RESERVED_RECORDINGS};

/// What values are stored in; [`kernels::precision`] has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// f64 everywhere: the reference device.
    F64,
    /// f32 everywhere.
    F32,
    /// Activations, their gradients and copies of the weights in bf16; parameters, their gradients, moments, statistics and
    /// losses in f32.
    Bf16,
}

impl Precision {
    /// Bytes of an activation.
    pub fn activation_size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// Bytes of a parameter, a gradient of one, a moment or a statistic.
    pub fn master_size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 | Self::Bf16 => 4,
        }
    }

    /// Whether products read copies of the weights.
    pub(crate) fn copies_weights(self) -> bool {
        self.activation_size() < self.master_size()
    }

    /// Bytes of a number of a value.
    pub(crate) fn size(self, kind: Kind) -> usize {
        match kind {
            Kind::Activation => self.activation_size(),
            Kind::Statistic => self.master_size(),
            Kind::Index => size_of::<i32>(),
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

/// Choices that a plan is made under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Arithmetic.
    pub precision: Precision,
    /// What backward computes again.
    pub recompute: Recompute,
}

/// Where an operand of a step lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// Byte offset in the arena.
    Arena(usize),
    /// First element in the copies of weights that products read.
    Weight(usize),
    /// First element in the parameter buffer.
    Master(usize),
}

/// An operand of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operand {
    pub location: Location,
    pub shape: Shape,
    pub kind: Kind,
}

/// One kernel call.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub name: String,
    pub operation: Operation,
    pub reads: Vec<Operand>,
    /// `None` for an output that nobody reads and that the kernel need not write.
    pub writes: Vec<Option<Operand>>,
    pub stores: Vec<Store>,
    /// Ranges of the gradient buffer that are added to.
    pub accumulates: Vec<Range<usize>>,
    pub cost: Cost,
}

/// A value that the caller can read after a run.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub name: String,
    pub operand: Operand,
}

/// A union that a run makes of lists that it is given.
#[derive(Clone, Debug)]
pub(crate) struct Union {
    /// The axis of its rows.
    pub axis: usize,
    /// The axis that they are rows of.
    pub rows_of: usize,
    /// Its lists: positions among the inputs.
    pub lists: Vec<usize>,
    /// Where its rows lie, and the places of each list in them; `None` for what nobody reads.
    pub rows: Option<Operand>,
    pub places: Vec<Option<Operand>>,
}

/// Parts of the arena, in bytes. What a run is given lies in one piece, and so does what it is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Regions {
    /// Scalars of the run, the seed of differentiation, inputs.
    pub inputs: Range<usize>,
    /// Where [`kernels::memory::RunScalars`] lie.
    pub scalars: usize,
    /// Where a one lies that is stored as losses are.
    pub one: usize,
    /// Outputs that steps compute.
    pub outputs: Range<usize>,
}

/// A list of steps, the memory they need and what they cost.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) precision: Precision,
    pub(crate) parameters: Arc<Parameters>,
    pub(crate) axes: Vec<AxisSpec>,
    pub(crate) inputs: Vec<InputSpec>,
    /// Where inputs are copied to, `None` for what nobody reads.
    pub(crate) input_places: Vec<Option<Operand>>,
    pub(crate) unions: Vec<Union>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) regions: Regions,
    /// The loss, if the plan trains.
    pub(crate) loss: Option<Operand>,
    pub(crate) steps: Vec<Step>,
    pub(crate) arena_size: usize,
    pub(crate) trains: bool,
}

impl Plan {
    /// A plan that computes `outputs` and adds the gradient of `loss` to every parameter's.
    ///
    /// The graph's backward is appended to it, so a graph serves one training plan.
    ///
    /// # Errors
    /// If a parameter would receive no gradient, or only a part of it.
    ///
    /// # Panics
    /// If the loss is not a single number that an error or a cross-entropy gave, an operation has one parameter twice, or the graph
    /// has served a training plan before.
    pub fn training(
        graph: &Graph,
        loss: Tensor<'_>,
        outputs: &[(&str, Tensor<'_>)],
        options: PlanOptions,
    ) -> Result<Self, PlanError> {
        differentiate(graph, loss, options.recompute)?;
        fuse::fuse(graph);
        Ok(build::build(graph, &named(outputs), options.precision, Some(loss.id)))
    }

    /// A plan that computes `outputs` and no gradient.
    pub fn inference(graph: &Graph, outputs: &[(&str, Tensor<'_>)], precision: Precision) -> Self {
        build::build(graph, &named(outputs), precision, None)
    }

    /// Floating-point operations and bytes of all steps, at capacity.
    pub fn cost(&self) -> Cost {
        self.steps.iter().fold(Cost::default(), |sum, step| sum + step.cost)
    }

    /// Number of kernel calls of a run.
    pub fn step_count(&self) -> usize {
        self.steps.len()
    }

    /// Bytes of activations, gradients of activations, inputs and outputs.
    pub fn arena_size(&self) -> usize {
        self.arena_size
    }

    /// Bytes of the flat buffers: values, for training gradients and two moments, and copies of weights where products read
    /// such.
    pub fn parameter_size(&self) -> usize {
        let masters = if self.trains { 4 } else { 1 } * self.precision.master_size();
        let copies = if self.precision.copies_weights() { self.precision.activation_size() } else { 0 };
        (masters + copies) * self.parameters.buffer_length()
    }

    /// The inputs that a run needs.
    pub fn inputs(&self) -> &[InputSpec] {
        &self.inputs
    }
}

fn named(outputs: &[(&str, Tensor<'_>)]) -> Vec<(String, ValueId)> {
    outputs.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.id)).collect()
}
