//! Plans: a graph as a flat list of steps over one arena.
//!
//! Planning drops what nobody reads, decides which gradient is stored and which is added to, gives every value a fixed
//! place in the arena for exactly as long as it is alive, and adds up what the steps cost. A plan needs no device and no
//! data: `albert-train plan` prints one.

mod arena;
mod build;
mod cost;
mod report;

use std::ops::Range;
use std::sync::Arc;

use kernels::{Cost, Store};

use crate::differentiate::{Recompute, differentiate};
use crate::error::PlanError;
use crate::graph::{Graph, InputSpec, ValueId};
use crate::op::Operation;
use crate::parameters::Parameters;
use crate::shape::{AxisSpec, Shape};
use crate::tensor::Tensor;

/// What values are computed and stored in.
///
/// bf16 will be a third variant: parameters, gradients, moments and statistics stay f32, activations become two bytes
/// wide, and the arena, which counts bytes, shrinks by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// The reference device.
    F64,
    /// The CPU device.
    F32,
}

impl Precision {
    /// Bytes of an activation.
    pub fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
        }
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
    /// First element in the parameter buffer.
    Parameter(usize),
    /// Position among the plan's inputs, integers.
    Input(usize),
}

/// An operand of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operand {
    pub location: Location,
    pub shape: Shape,
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

impl Step {
    /// Whether there is an operand to read at `position`.
    pub fn has_read(&self, position: usize) -> bool {
        self.reads.len() > position
    }

    /// Whether there is an operand to write at `position`.
    pub fn has_write(&self, position: usize) -> bool {
        self.writes.get(position).is_some_and(Option::is_some)
    }
}

/// A value that the caller can read after a run.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub name: String,
    pub operand: Operand,
}

/// A list of steps, the memory they need and what they cost.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) precision: Precision,
    pub(crate) parameters: Arc<Parameters>,
    pub(crate) axes: Vec<AxisSpec>,
    pub(crate) inputs: Vec<InputSpec>,
    /// Where real inputs are copied to, `None` for integers and for what nobody reads.
    pub(crate) input_places: Vec<Option<Operand>>,
    pub(crate) outputs: Vec<Output>,
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
    /// If the loss is not a single number, or the graph has served a training plan before.
    pub fn training(
        graph: &Graph,
        loss: Tensor<'_>,
        outputs: &[(&str, Tensor<'_>)],
        options: PlanOptions,
    ) -> Result<Self, PlanError> {
        differentiate(graph, loss, options.recompute)?;
        Ok(build::build(graph, &named(outputs), options.precision, true))
    }

    /// A plan that computes `outputs` and no gradient.
    pub fn inference(graph: &Graph, outputs: &[(&str, Tensor<'_>)], precision: Precision) -> Self {
        build::build(graph, &named(outputs), precision, false)
    }

    /// Floating-point operations and bytes of all steps, at capacity.
    pub fn cost(&self) -> Cost {
        self.steps.iter().fold(Cost::default(), |sum, step| sum + step.cost)
    }

    /// Number of kernel calls of a run.
    pub fn step_count(&self) -> usize {
        self.steps.len()
    }

    /// Bytes of activations and gradients of activations.
    pub fn arena_size(&self) -> usize {
        self.arena_size
    }

    /// Bytes of the flat buffers: values, and for training gradients and two moments.
    pub fn parameter_size(&self) -> usize {
        let buffers = if self.trains { 4 } else { 1 };
        buffers * self.parameters.buffer_length() * self.precision.size()
    }

    /// The inputs that a run needs.
    pub fn inputs(&self) -> &[InputSpec] {
        &self.inputs
    }
}

fn named(outputs: &[(&str, Tensor<'_>)]) -> Vec<(String, ValueId)> {
    outputs.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.id)).collect()
}
