//! Running a plan's steps in host memory, on the reference device or the CPU.

use kernels::columns::Columns;
use kernels::dropout::Randomness;
use kernels::memory::views;
use kernels::{
    Host, Real, Store, activation, add, attention, columns, cross_entropy, dropout, embedding, gather,
    layer_norm, linear, scale, sequence_softmax, sequence_sum, squared_error,
};

use crate::op::{GradientOp, Op, Operation};
use crate::plan::{Location, Operand, Step};
use crate::shape::Rows;

/// What the steps of one run work on.
pub(crate) struct Memory<'a, R> {
    pub arena: &'a mut [R],
    pub parameters: &'a [R],
    pub gradients: &'a mut [R],
    /// By position among the plan's inputs; empty for real ones.
    pub integers: &'a [&'a [i32]],
    /// Length of every axis in this run.
    pub lengths: &'a [usize],
    /// What earlier micro-batches held along every axis; empty for nothing.
    pub starts: &'a [u64],
    /// Source of the dropout coins of row 0.
    pub randomness: Randomness,
}

/// Operands of a step: what it reads, what it writes, what it adds to.
type Operands<'m, R, const READS: usize, const WRITES: usize, const GRADIENTS: usize> =
    ([&'m [R]; READS], [&'m mut [R]; WRITES], [&'m mut [R]; GRADIENTS]);

impl<R: Real> Memory<'_, R> {
    /// The operands at the given positions of a step. A position past the end is an absent operand: an empty slice.
    fn operands<const READS: usize, const WRITES: usize, const GRADIENTS: usize>(
        &mut self,
        step: &Step,
        reads: [usize; READS],
    ) -> Operands<'_, R, READS, WRITES, GRADIENTS> {
        let arena_range = |operand: Option<&Operand>| match operand {
            Some(Operand { location: Location::Arena(offset), shape }) => {
                let start = offset / size_of::<R>();
                start..start + shape.elements(self.lengths)
            }
            _ => 0..0,
        };
        let read_ranges = reads.map(|position| arena_range(step.reads.get(position)));
        let write_ranges =
            std::array::from_fn(|position| arena_range(step.writes.get(position).and_then(Option::as_ref)));
        let (mut sources, destinations) = views(self.arena, read_ranges, write_ranges);
        for (source, position) in sources.iter_mut().zip(reads) {
            if let Some(Operand { location: Location::Parameter(start), shape }) = step.reads.get(position) {
                *source = &self.parameters[*start..start + shape.elements(self.lengths)];
            }
        }
        let gradient_ranges =
            std::array::from_fn(|position| step.accumulates.get(position).cloned().unwrap_or(0..0));
        let ([], gradients) = views(self.gradients, [], gradient_ranges);
        (sources, destinations, gradients)
    }

    /// The coins of rows like those of `operand`.
    fn randomness(&self, operand: &Operand) -> Randomness {
        match operand.shape.rows {
            Rows::Along(axis) if !self.starts.is_empty() => {
                Randomness { first_row: self.starts[axis.0], ..self.randomness }
            }
            Rows::Along(_) | Rows::Fixed(_) | Rows::Borders(_) => self.randomness,
        }
    }
}

/// Runs one step.
pub(crate) fn execute<H: Host>(host: &H, step: &Step, memory: &mut Memory<'_, H::Real>) {
    match &step.operation {
        Operation::Forward(op) => forward(host, op, step, memory),
        Operation::Backward(op) => backward(host, op, step, memory),
    }
}

/// The integers bound to the operand at `position`.
fn integers<'a, R>(memory: &Memory<'a, R>, step: &Step, position: usize) -> &'a [i32] {
    match step.reads[position].location {
        Location::Input(input) => memory.integers[input],
        Location::Arena(_) | Location::Parameter(_) => {
            unreachable!("{}: operand {position} is not a list", step.name)
        }
    }
}

fn forward<H: Host>(host: &H, op: &Op, step: &Step, memory: &mut Memory<'_, H::Real>) {
    match op {
        Op::Embedding(op) => {
            let indices = embedding::Indices {
                tokens: integers(memory, step, 3),
                positions: integers(memory, step, 4),
                segments: integers(memory, step, 5),
            };
            let ([words, positions, segments], [y], []) = memory.operands(step, [0, 1, 2]);
            host.embedding_forward(op, embedding::Forward { indices, words, positions, segments, y });
        }
        Op::Linear(op) => {
            let ([x, weight, bias], [y, preactivation], []) = memory.operands(step, [0, 1, 2]);
            let (bias, preactivation) =
                (step.has_read(2).then_some(bias), step.has_write(1).then_some(preactivation));
            host.linear_forward(op, linear::Forward { x, weight, bias, preactivation, y });
        }
        Op::LayerNorm(op) => {
            let randomness = memory.randomness(&step.reads[0]);
            let ([x, gamma, beta, residual], [y, mean, reciprocal_deviation, sum], []) =
                memory.operands(step, [0, 1, 2, 3]);
            let (residual, sum) = (step.has_read(3).then_some(residual), step.has_write(3).then_some(sum));
            let operands = layer_norm::Forward {
                x,
                residual,
                gamma,
                beta,
                randomness,
                sum,
                mean,
                reciprocal_deviation,
                y,
            };
            host.layer_norm_forward(op, operands);
        }
        Op::Attention(op) => {
            let (randomness, offsets) = (memory.randomness(&step.reads[0]), integers(memory, step, 1));
            let ([qkv], [context, log_sum_exp], []) = memory.operands(step, [0]);
            host.attention_forward(op, attention::Forward { qkv, offsets, randomness, context, log_sum_exp });
        }
        Op::Dropout(op) => {
            let (randomness, width) = (memory.randomness(&step.reads[0]), step.reads[0].shape.columns);
            let ([x], [y], []) = memory.operands(step, [0]);
            host.dropout_forward(op, dropout::Forward { width, randomness, x, y });
        }
        Op::Gather(op) => {
            let rows = integers(memory, step, 1);
            let ([x], [y], []) = memory.operands(step, [0]);
            host.gather_forward(op, gather::Forward { rows, x, y });
        }
        Op::CrossEntropy(op) => {
            let labels = integers(memory, step, 1);
            let ([logits, weights], [loss, row_loss, log_sum_exp, prediction], []) =
                memory.operands(step, [0, 2]);
            let operands =
                cross_entropy::Forward { logits, labels, weights, loss, row_loss, log_sum_exp, prediction };
            host.cross_entropy_forward(op, operands);
        }
        Op::SquaredError(op) => {
            let ([x, targets, weights], [loss], []) = memory.operands(step, [0, 1, 2]);
            host.squared_error_forward(op, squared_error::Forward { x, targets, weights, loss });
        }
        Op::Add(op) => {
            let ([a, b], [y], []) = memory.operands(step, [0, 1]);
            host.add_forward(op, add::Forward { a, b, y });
        }
        Op::Scale(op) => {
            let ([x], [y], []) = memory.operands(step, [0]);
            host.scale_forward(op, scale::Forward { x, y, store: Store::Assign });
        }
        Op::SliceColumns(op) => copy_columns(host, op, columns::Place::Keep, step, 0, memory),
        Op::ConcatenateColumns => {
            let width = |operand: &Operand| operand.shape.columns;
            let total: usize = step.reads.iter().map(width).sum();
            let mut to = 0;
            for (index, operand) in step.reads.iter().enumerate() {
                let width = operand.shape.columns;
                let block = Columns { width, x_width: width, from: 0, y_width: total, to };
                copy_columns(host, &block, columns::Place::Keep, step, index, memory);
                to += width;
            }
        }
        Op::SequenceSoftmax(op) => {
            let offsets = integers(memory, step, 1);
            let ([x], [y], []) = memory.operands(step, [0]);
            host.sequence_softmax_forward(op, sequence_softmax::Forward { x, offsets, y });
        }
        Op::SequenceSum(op) => {
            let offsets = integers(memory, step, 2);
            let ([weights, x], [y], []) = memory.operands(step, [0, 1]);
            host.sequence_sum_forward(op, sequence_sum::Forward { weights, x, offsets, y });
        }
    }
}

fn copy_columns<H: Host>(
    host: &H,
    op: &Columns,
    place: columns::Place,
    step: &Step,
    read: usize,
    memory: &mut Memory<'_, H::Real>,
) {
    let ([x], [y], []) = memory.operands(step, [read]);
    host.columns_copy(op, columns::Copy { x, y, place });
}

fn backward<H: Host>(host: &H, op: &GradientOp, step: &Step, memory: &mut Memory<'_, H::Real>) {
    let store = step.stores.first().copied().unwrap_or(Store::Add);
    match op {
        GradientOp::Seed => {
            let ([], [seed], []) = memory.operands(step, []);
            seed.fill(H::Real::from_f64(1.0));
        }
        GradientOp::Embedding(op) => {
            let indices = embedding::Indices {
                tokens: integers(memory, step, 0),
                positions: integers(memory, step, 1),
                segments: integers(memory, step, 2),
            };
            let token_order = integers(memory, step, 3);
            let ([dy], [], [d_words, d_positions, d_segments]) = memory.operands(step, [4]);
            let operands = embedding::Backward { indices, token_order, dy, d_words, d_positions, d_segments };
            host.embedding_backward(op, operands);
        }
        GradientOp::Activation(op) => {
            let ([x], [y], []) = memory.operands(step, [0]);
            host.activation_forward(op, activation::Forward { x, y });
        }
        GradientOp::ActivationGradient(op) => {
            let ([saved, dy], [du], []) = memory.operands(step, [0, 1]);
            host.activation_backward(op, activation::Backward { saved, dy, du });
        }
        GradientOp::LinearInput(op) => {
            let ([du, weight], [dx], []) = memory.operands(step, [0, 1]);
            host.linear_input_gradient(op, linear::InputGradient { du, weight, dx, store });
        }
        GradientOp::LinearWeight(op) => {
            let ([x, du], [], [d_weight, d_bias]) = memory.operands(step, [0, 1]);
            let d_bias = step.accumulates.get(1).map(|_| d_bias);
            host.linear_weight_gradient(op, linear::WeightGradient { x, du, d_weight, d_bias });
        }
        GradientOp::LayerNorm(op) => {
            let randomness = memory.randomness(&step.reads[0]);
            let ([sum, mean, reciprocal_deviation, gamma, dy], [d_sum, d_x], [d_gamma, d_beta]) =
                memory.operands(step, [0, 1, 2, 3, 4]);
            let d_x = step.has_write(1).then_some(d_x);
            let operands = layer_norm::Backward {
                sum,
                mean,
                reciprocal_deviation,
                gamma,
                dy,
                randomness,
                d_sum,
                store,
                d_x,
                d_gamma,
                d_beta,
            };
            host.layer_norm_backward(op, operands);
        }
        GradientOp::Attention(op) => {
            let (randomness, offsets) = (memory.randomness(&step.reads[0]), integers(memory, step, 1));
            let ([qkv, context, log_sum_exp, d_context], [d_qkv], []) = memory.operands(step, [0, 2, 3, 4]);
            let operands =
                attention::Backward { qkv, offsets, randomness, context, log_sum_exp, d_context, d_qkv };
            host.attention_backward(op, operands);
        }
        GradientOp::Dropout(op) => {
            let (randomness, width) = (memory.randomness(&step.reads[0]), step.reads[0].shape.columns);
            let ([dy], [dx], []) = memory.operands(step, [0]);
            host.dropout_backward(op, dropout::Backward { width, randomness, dy, dx, store });
        }
        GradientOp::Gather(op) => {
            let rows = integers(memory, step, 0);
            let ([dy], [dx], []) = memory.operands(step, [1]);
            host.gather_backward(op, gather::Backward { rows, dy, dx, store });
        }
        GradientOp::CrossEntropy(op) => {
            let labels = integers(memory, step, 1);
            let ([logits, weights, log_sum_exp, d_loss], [d_logits], []) =
                memory.operands(step, [0, 2, 3, 4]);
            let operands = cross_entropy::Backward { logits, labels, weights, log_sum_exp, d_loss, d_logits };
            host.cross_entropy_backward(op, operands);
        }
        GradientOp::SquaredError(op) => {
            let ([x, targets, weights, d_loss], [dx], []) = memory.operands(step, [0, 1, 2, 3]);
            host.squared_error_backward(
                op,
                squared_error::Backward { x, targets, weights, d_loss, dx, store },
            );
        }
        GradientOp::Scale(op) => {
            let ([x], [y], []) = memory.operands(step, [0]);
            host.scale_forward(op, scale::Forward { x, y, store });
        }
        GradientOp::Columns(op) => {
            let place = match store {
                Store::Assign => columns::Place::Clear,
                Store::Add => columns::Place::Add,
            };
            copy_columns(host, op, place, step, 0, memory);
        }
        GradientOp::SequenceSoftmax(op) => {
            let offsets = integers(memory, step, 1);
            let ([y, dy], [dx], []) = memory.operands(step, [0, 2]);
            host.sequence_softmax_backward(op, sequence_softmax::Backward { y, offsets, dy, dx, store });
        }
        GradientOp::SequenceSum(op) => {
            let offsets = integers(memory, step, 2);
            let ([weights, x, dy], [d_weights, dx], []) = memory.operands(step, [0, 1, 3]);
            let (store_weights, store) = (step.stores[0], step.stores[1]);
            let operands =
                sequence_sum::Backward { weights, x, offsets, dy, d_weights, store_weights, dx, store };
            host.sequence_sum_backward(op, operands);
        }
    }
}
