//! What a GPU needs for a plan beside its arena.

use kernels::{attention, cuda, embedding, gather, layer_norm, linear, optimizer, squared_error};

use super::{Operand, Plan, Step};
use crate::op::{GradientOp, Op, Operation};
use crate::operands as at;

/// Micro-batches whose inputs are on their way to a device that works by itself.
pub(crate) const INPUTS: usize = 2;
/// The most recordings of runs that a device keeps of a plan. Packed text of a corpus has about 30 kinds of rounded lengths.
pub(crate) const MOST_RECORDINGS: usize = 64;
/// Recordings that there is always memory for: more are kept while the device is not short of it.
pub(crate) const RESERVED_RECORDINGS: usize = 16;
/// Calls that a GPU makes for a step of a plan, on average at most: most steps are one kernel or product, and sums over rows want a
/// second. Should there be more, fewer recordings are kept.
const CALLS_OF_STEP: usize = 2;

/// Bytes that a GPU needs to run a plan at capacity, beside arena and flat buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkSpace {
    /// What its kernels share.
    pub kernels: usize,
    /// What matrix products of cuBLASLt's share.
    pub products: usize,
    /// Inputs that arrive while earlier ones are worked on.
    pub inputs: usize,
    /// Recorded runs, CUDA graphs: those that are kept in any case. More are where memory is left over.
    pub recordings: usize,
}

impl WorkSpace {
    /// All of it.
    pub fn total(&self) -> usize {
        self.kernels + self.products + self.inputs + self.recordings
    }
}

impl Plan {
    /// What a GPU needs beside the plan's memory.
    pub fn work_space(&self) -> WorkSpace {
        WorkSpace {
            kernels: self.scratch_size(),
            products: cuda::PRODUCTS_WORKSPACE,
            inputs: INPUTS * self.regions.inputs.len(),
            recordings: RESERVED_RECORDINGS * self.recording_size(),
        }
    }

    /// Bytes that recorded runs may take together.
    pub(crate) fn recordings_size(&self) -> usize {
        MOST_RECORDINGS * self.recording_size()
    }

    fn recording_size(&self) -> usize {
        CALLS_OF_STEP * self.steps.len() * cuda::RECORDED_CALL
    }

    /// Bytes that the kernels share: what the one that wants most wants.
    pub(crate) fn scratch_size(&self) -> usize {
        let capacities: Vec<_> = self.axes.iter().map(|axis| axis.capacity).collect();
        let of_steps = self.steps.iter().map(|step| self.scratch_of(step, &capacities)).max().unwrap_or(0);
        let update =
            || optimizer::scratch_bytes(&self.parameters.segments(), self.parameters.buffer_length());
        of_steps.max(if self.trains { update() } else { 0 })
    }

    fn scratch_of(&self, step: &Step, capacities: &[usize]) -> usize {
        let size = self.precision.activation_size();
        let rows = |operand: &Operand| operand.shape.rows.count(capacities);
        let read = |position: usize| rows(&step.reads[position]);
        match &step.operation {
            Operation::Forward(op) => match op {
                Op::Linear(op) => linear::scratch_bytes(op, read(at::linear::X), size),
                Op::SquaredError(_) => squared_error::scratch_bytes(read(at::squared_error::X)),
                Op::Embedding(_)
                | Op::LayerNorm(_)
                | Op::Attention(_)
                | Op::Dropout(_)
                | Op::Gather(_)
                | Op::CrossEntropy(_)
                | Op::SequenceCrossEntropy(_)
                | Op::Add(_)
                | Op::Scale(_)
                | Op::SliceColumns(_)
                | Op::ConcatenateColumns
                | Op::SequenceSoftmax(_)
                | Op::SequenceSum(_) => 0,
            },
            Operation::Backward(op) => match op {
                GradientOp::Embedding(op) => {
                    use at::embedding_gradient::{DY, POSITIONS, SEGMENTS};
                    let table = |position: usize| step.accumulates[position].len() / op.width;
                    embedding::scratch_bytes(op, read(DY), [POSITIONS, SEGMENTS].map(table))
                }
                GradientOp::LinearWeight(op) => linear::scratch_bytes(op, read(at::linear_weight::X), size),
                GradientOp::LayerNorm(op) => {
                    layer_norm::scratch_bytes(op, read(at::layer_norm_gradient::SUM))
                }
                GradientOp::Attention(op) => attention::scratch_bytes(op, read(at::attention_gradient::QKV)),
                GradientOp::Gather(_) => {
                    gather::scratch_bytes(step.writes.iter().flatten().map(rows).max().unwrap_or(0))
                }
                GradientOp::Seed
                | GradientOp::Activation(_)
                | GradientOp::ActivationGradient(_)
                | GradientOp::LinearInput(_)
                | GradientOp::LinearPreactivation(_)
                | GradientOp::Dropout(_)
                | GradientOp::CrossEntropy(_)
                | GradientOp::SequenceCrossEntropy(_)
                | GradientOp::SquaredError(_)
                | GradientOp::Scale(_)
                | GradientOp::Columns(_)
                | GradientOp::SequenceSoftmax(_)
                | GradientOp::SequenceSum(_) => 0,
            },
        }
    }
}
