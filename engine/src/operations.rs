//! What model code can do with tensors.
//!
//! Every method checks shapes and stops the program where the model's code is wrong, before any data is read.

use kernels::activation::Activation;
use kernels::add::Add;
use kernels::attention::Attention;
use kernels::columns::Columns;
use kernels::cross_entropy::CrossEntropy;
use kernels::dropout::Dropout;
use kernels::embedding::Embedding;
use kernels::gather::Gather;
use kernels::layer_norm::LayerNorm;
use kernels::linear::Linear;
use kernels::scale::Scale;
use kernels::sequence_cross_entropy::SequenceCrossEntropy;
use kernels::sequence_softmax::SequenceSoftmax;
use kernels::sequence_sum::SequenceSum;
use kernels::squared_error::SquaredError;

use crate::graph::{Content, Graph, Indices, Kind, Source, Tensor, ValueId};
use crate::op::Op;
use crate::shape::{Axis, Rows, Shape};

impl Indices<'_> {
    /// How many there are.
    pub fn rows(&self) -> Rows {
        self.graph.record.borrow().shape(self.id).rows
    }

    /// What they may be, checked at every run.
    fn content(&self) -> Content {
        self.graph.record.borrow().content(self.id)
    }

    /// Requires that whatever may be bound names one of `rows` rows, so that no kernel reads beyond them.
    #[track_caller]
    fn require_within(&self, operation: &str, rows: Rows) {
        let within = match (self.content(), rows) {
            (Content::Below(limit), Rows::Fixed(rows)) => limit <= rows,
            (Content::RowOf(axis) | Content::RowOfSequence(_, axis), Rows::Along(of)) => axis == of,
            _ => false,
        };
        self.graph.require(within, operation, || format!("{:?} may lie outside {rows:?}", self.content()));
    }

    /// Whether these are rows of the sequences that `offsets` begin.
    fn are_rows_of(&self, offsets: Indices<'_>) -> bool {
        let record = self.graph.record.borrow();
        let source = record.values[offsets.id.0].source;
        matches!(record.content(self.id), Content::RowOfSequence(of, _) if source == Source::Input(of))
    }

    /// Whether these are the rows of `list` in its order.
    fn orders(&self, list: Indices<'_>) -> bool {
        let record = self.graph.record.borrow();
        matches!(self.content(), Content::OrderOf(of) if record.values[list.id.0].source == Source::Input(of))
    }

    /// Requires that these are the borders of sequences in `rows`, and returns the axis of the sequences.
    #[track_caller]
    fn require_offsets(&self, operation: &str, rows: Rows) -> Axis {
        match (self.rows(), self.content(), rows) {
            (Rows::Offsets(sequences), Content::OffsetsOf(axis), Rows::Along(of)) if axis == of => sequences,
            (_, content, _) => {
                self.graph.refuse(operation, &format!("{content:?} are no borders of {rows:?}"))
            }
        }
    }
}

/// What a token is, for [`Graph::embedding`].
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'g> {
    /// Row of the word table.
    pub ids: Indices<'g>,
    /// Row of the position table.
    pub positions: Indices<'g>,
    /// Row of the segment table.
    pub segments: Indices<'g>,
    /// Rows sorted by id, stably.
    pub order: Indices<'g>,
}

/// Gain and offset of a layer norm, and its ε.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'g> {
    /// γ
    pub gamma: Tensor<'g>,
    /// β
    pub beta: Tensor<'g>,
    /// Added to the variance.
    pub epsilon: f64,
}

/// Loss of a classifier and what metrics are made of; of [`Tensor::sequence_cross_entropy`] with a sequence in place of a row.
#[derive(Clone, Copy, Debug)]
pub struct Classified<'g> {
    /// Weighted sum of the rows' losses.
    pub loss: Tensor<'g>,
    /// Unweighted loss of each row.
    pub row_losses: Tensor<'g>,
    /// Index of the largest logit of each row: to be an output of a plan and read by
    /// [`Runtime::read_indices`](crate::Runtime::read_indices).
    pub predictions: Tensor<'g>,
}

impl Graph {
    /// `words[id] + positions[position] + segments[segment]`; the three tables are parameters.
    #[track_caller]
    pub fn embedding<'g>(&'g self, tables: [Tensor<'g>; 3], tokens: Tokens<'g>) -> Tensor<'g> {
        let width = tables[0].columns();
        let indices = [tokens.ids, tokens.positions, tokens.segments, tokens.order];
        for table in tables {
            table.require_parameter("embedding");
            self.require(table.columns() == width, "embedding", || {
                format!(
                    "tables are {} and {}",
                    self.describe(tables[0].shape()),
                    self.describe(table.shape())
                )
            });
        }
        let rows = tokens.ids.rows();
        self.require(indices.iter().all(|i| i.rows() == rows), "embedding", || {
            "index lists differ in length".into()
        });
        let sorted = tokens.order.orders(tokens.ids);
        self.require(sorted, "embedding", || "the order is that of other lists than the token ids".into());
        for (table, indices) in tables.iter().zip(indices) {
            indices.require_within("embedding", table.shape().rows);
        }
        let inputs: Vec<_> = tables.iter().map(|t| t.id).chain(indices.iter().map(|i| i.id)).collect();
        self.tensor(
            self.forward(
                "embedding",
                Op::Embedding(Embedding { width }),
                &inputs,
                &[(Shape::new(rows, width), Kind::Activation)],
            )[0],
        )
    }

    /// The columns of all `tensors` side by side.
    #[track_caller]
    pub fn concatenate<'g>(&'g self, tensors: &[Tensor<'g>]) -> Tensor<'g> {
        self.require(!tensors.is_empty(), "concatenate_columns", || "nothing to concatenate".into());
        let rows = tensors[0].shape().rows;
        self.require(tensors.iter().all(|t| t.shape().rows == rows), "concatenate_columns", || {
            "the matrices differ in rows".into()
        });
        tensors.iter().for_each(|tensor| tensor.require_kind("concatenate_columns", Kind::Activation));
        let columns = tensors.iter().map(Tensor::columns).sum();
        let inputs: Vec<_> = tensors.iter().map(|t| t.id).collect();
        self.tensor(
            self.forward(
                "concatenate_columns",
                Op::ConcatenateColumns,
                &inputs,
                &[(Shape::new(rows, columns), Kind::Activation)],
            )[0],
        )
    }
}

impl<'g> Tensor<'g> {
    /// Rows and columns.
    pub fn shape(&self) -> Shape {
        self.graph.record.borrow().shape(self.id)
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.shape().columns
    }

    /// `activation(self · weightᵀ + bias)`; weight `[outputs, inputs]` and bias `[outputs, 1]` are parameters.
    #[track_caller]
    pub fn linear(self, weight: Tensor<'g>, bias: Option<Tensor<'g>>, activation: Activation) -> Self {
        self.require_kind("linear", Kind::Activation);
        weight.require_parameter("linear");
        self.same("linear", "columns of input and weight", self.columns(), weight.columns());
        let Rows::Fixed(outputs) = weight.shape().rows else { unreachable!("parameters have fixed rows") };
        let mut inputs = vec![self.id, weight.id];
        if let Some(bias) = bias {
            bias.require_parameter("linear");
            self.same("linear", "shape of bias", bias.shape(), Shape::new(Rows::Fixed(outputs), 1));
            inputs.push(bias.id);
        }
        let shape = Shape::new(self.shape().rows, outputs);
        let made = if activation.keeps_preactivation() { 2 } else { 1 };
        self.record(
            "linear",
            Op::Linear(Linear { inputs: self.columns(), outputs, activation }),
            &inputs,
            &[(shape, Kind::Activation); 2][..made],
        )[0]
    }

    /// `norm(self)`.
    #[track_caller]
    pub fn layer_norm(self, norm: Norm<'g>) -> Self {
        self.any_layer_norm(None, 0.0, norm)
    }

    /// `norm(dropout(self) + residual)`.
    #[track_caller]
    pub fn residual_layer_norm(self, residual: Tensor<'g>, dropout: f32, norm: Norm<'g>) -> Self {
        self.any_layer_norm(Some(residual), dropout, norm)
    }

    #[track_caller]
    fn any_layer_norm(self, residual: Option<Tensor<'g>>, dropout: f32, norm: Norm<'g>) -> Self {
        let (shape, vector) = (self.shape(), Shape::new(Rows::Fixed(self.columns()), 1));
        let statistics = Shape::new(shape.rows, 1);
        let mut inputs = vec![self.id, norm.gamma.id, norm.beta.id];
        for parameter in [norm.gamma, norm.beta] {
            parameter.require_parameter("layer_norm");
            self.same("layer_norm", "shape of γ or β", parameter.shape(), vector);
        }
        self.require_kind("layer_norm", Kind::Activation);
        let (activation, statistic) = ((shape, Kind::Activation), (statistics, Kind::Statistic));
        let mut outputs = vec![activation, statistic, statistic];
        if let Some(residual) = residual {
            self.same("layer_norm", "shapes of input and residual", shape, residual.shape());
            residual.require_kind("layer_norm", Kind::Activation);
            inputs.push(residual.id);
            outputs.push(activation);
        }
        let dropout = self.coins(dropout);
        inputs.extend(dropout.and_then(|_| self.logical_rows()));
        let op = LayerNorm { width: shape.columns, epsilon: norm.epsilon, dropout };
        self.record("layer_norm", Op::LayerNorm(op), &inputs, &outputs)[0]
    }

    /// Self-attention inside each sequence: `self` is (q, k, v), `offsets` where sequences start.
    #[track_caller]
    pub fn attention(self, offsets: Indices<'g>, heads: usize, dropout: f32) -> Self {
        let Shape { rows, columns } = self.shape();
        self.graph.require(heads > 0 && columns % (3 * heads) == 0, "attention", || {
            format!("{columns} columns are not q, k and v of {heads} heads")
        });
        offsets.require_offsets("attention", rows);
        let op = Attention { heads, head_width: columns / 3 / heads, dropout: self.coins(dropout) };
        self.require_kind("attention", Kind::Activation);
        let outputs =
            [(Shape::new(rows, columns / 3), Kind::Activation), (Shape::new(rows, heads), Kind::Statistic)];
        self.record("attention", Op::Attention(op), &[self.id, offsets.id], &outputs)[0]
    }

    /// Dropout; `self` itself if `probability` is 0.
    #[track_caller]
    pub fn dropout(self, probability: f32) -> Self {
        match self.coins(probability) {
            None => self,
            Some(dropout) => {
                let inputs: Vec<_> = [self.id].into_iter().chain(self.logical_rows()).collect();
                self.activation("dropout", Op::Dropout(dropout), &inputs, self.shape())
            }
        }
    }

    /// The rows that `rows` names.
    #[track_caller]
    pub fn gather(self, rows: Indices<'g>) -> Self {
        rows.require_within("gather", self.shape().rows);
        let shape = Shape::new(rows.rows(), self.columns());
        self.activation("gather", Op::Gather(Gather { width: self.columns() }), &[self.id, rows.id], shape)
    }

    /// `Σ weight · −log softmax(self)[label]`, one label and weight per row.
    #[track_caller]
    pub fn cross_entropy(self, labels: Indices<'g>, weights: Tensor<'g>) -> Classified<'g> {
        let per_row = Shape::new(self.shape().rows, 1);
        self.same("cross_entropy", "number of rows and labels", per_row.rows, labels.rows());
        labels.require_within("cross_entropy", Rows::Fixed(self.columns()));
        self.same("cross_entropy", "shape of weights", per_row, weights.shape());
        let op = Op::CrossEntropy(CrossEntropy { classes: self.columns() });
        self.require_kind("cross_entropy", Kind::Activation);
        weights.require_kind("cross_entropy", Kind::Statistic);
        self.classified("cross_entropy", op, &[self.id, labels.id, weights.id], per_row)
    }

    /// `Σ weight · −log softmax(self over the rows of a sequence)[label]`, one column, one label (a row of the sequence, see
    /// [`Graph::rows_of_sequences`]) and weight per sequence. Its predictions are rows.
    #[track_caller]
    pub fn sequence_cross_entropy(
        self,
        offsets: Indices<'g>,
        labels: Indices<'g>,
        weights: Tensor<'g>,
    ) -> Classified<'g> {
        const NAME: &str = "sequence_cross_entropy";
        let sequences = offsets.require_offsets(NAME, self.shape().rows);
        let per_sequence = Shape::new(Rows::Along(sequences), 1);
        self.same(NAME, "number of columns", self.columns(), 1);
        self.same(NAME, "shape of weights", per_sequence, weights.shape());
        self.graph.require(labels.are_rows_of(offsets), NAME, || {
            format!("{:?} may lie outside of its sequence", labels.content())
        });
        self.require_kind(NAME, Kind::Activation);
        weights.require_kind(NAME, Kind::Statistic);
        let inputs = [self.id, offsets.id, labels.id, weights.id];
        self.classified(NAME, Op::SequenceCrossEntropy(SequenceCrossEntropy), &inputs, per_sequence)
    }

    fn classified(self, name: &str, op: Op, inputs: &[ValueId], each: Shape) -> Classified<'g> {
        let outputs = [
            (Shape::SCALAR, Kind::Statistic),
            (each, Kind::Statistic),
            (each, Kind::Statistic),
            (each, Kind::Index),
        ];
        let outputs = self.record(name, op, inputs, &outputs);
        let [loss, row_losses, _, predictions] = std::array::from_fn(|index| outputs[index]);
        Classified { loss, row_losses, predictions }
    }

    /// `Σ weight · (self − target)²`, one column.
    #[track_caller]
    pub fn squared_error(self, targets: Tensor<'g>, weights: Tensor<'g>) -> Self {
        self.same("squared_error", "number of columns", self.columns(), 1);
        self.same("squared_error", "shapes of input and targets", self.shape(), targets.shape());
        self.same("squared_error", "shapes of input and weights", self.shape(), weights.shape());
        let inputs = [self.id, targets.id, weights.id];
        self.require_kind("squared_error", Kind::Activation);
        targets.require_kind("squared_error", Kind::Statistic);
        weights.require_kind("squared_error", Kind::Statistic);
        let loss = (Shape::SCALAR, Kind::Statistic);
        self.record("squared_error", Op::SquaredError(SquaredError), &inputs, &[loss])[0]
    }

    /// `alpha · self + beta · other`.
    #[track_caller]
    pub fn weighted_add(self, alpha: f64, other: Tensor<'g>, beta: f64) -> Self {
        self.same("add", "shapes", self.shape(), other.shape());
        self.require_reals("add");
        other.require_kind("add", self.kind());
        let output = (self.shape(), self.kind());
        self.record("add", Op::Add(Add { alpha, beta }), &[self.id, other.id], &[output])[0]
    }

    /// `factor · self`.
    #[track_caller]
    pub fn scale(self, factor: f64) -> Self {
        self.require_reals("scale");
        let output = (self.shape(), self.kind());
        self.record("scale", Op::Scale(Scale { factor }), &[self.id], &[output])[0]
    }

    /// Columns `from .. from + width`.
    #[track_caller]
    pub fn slice_columns(self, from: usize, width: usize) -> Self {
        let Shape { rows, columns } = self.shape();
        let within = from < columns && (1..=columns - from).contains(&width);
        self.graph
            .require(within, "slice_columns", || format!("{width} columns from {from} on, of {columns}"));
        let op = Columns { width, x_width: columns, from, y_width: width, to: 0 };
        self.activation("slice_columns", Op::SliceColumns(op), &[self.id], Shape::new(rows, width))
    }

    /// Softmax over the tokens of each sequence, column by column.
    #[track_caller]
    pub fn sequence_softmax(self, offsets: Indices<'g>) -> Self {
        offsets.require_offsets("sequence_softmax", self.shape().rows);
        let op = Op::SequenceSoftmax(SequenceSoftmax { width: self.columns() });
        self.activation("sequence_softmax", op, &[self.id, offsets.id], self.shape())
    }

    /// Sum of the tokens of each sequence, each multiplied with its weight (one column).
    #[track_caller]
    pub fn sequence_sum(self, weights: Tensor<'g>, offsets: Indices<'g>) -> Self {
        self.same("sequence_sum", "shape of weights", weights.shape(), Shape::new(self.shape().rows, 1));
        let sequences = offsets.require_offsets("sequence_sum", self.shape().rows);
        let shape = Shape::new(Rows::Along(sequences), self.columns());
        let op = Op::SequenceSum(SequenceSum { width: self.columns() });
        weights.require_kind("sequence_sum", Kind::Activation);
        self.activation("sequence_sum", op, &[weights.id, self.id, offsets.id], shape)
    }

    fn kind(&self) -> Kind {
        self.graph.record.borrow().kind(self.id)
    }

    /// Records an operation that makes one activation of others.
    #[track_caller]
    fn activation(self, name: &str, op: Op, inputs: &[ValueId], shape: Shape) -> Self {
        self.require_kind(name, Kind::Activation);
        self.record(name, op, inputs, &[(shape, Kind::Activation)])[0]
    }

    #[track_caller]
    fn require_kind(&self, operation: &str, kind: Kind) {
        self.graph.require(self.kind() == kind, operation, || match kind {
            Kind::Statistic => {
                "losses are told weights and targets that are declared by `Graph::statistic`".into()
            }
            Kind::Activation | Kind::Index => format!("{:?} where {kind:?} is needed", self.kind()),
        });
    }

    #[track_caller]
    fn require_reals(&self, operation: &str) {
        self.graph.require(self.kind() != Kind::Index, operation, || {
            "integers, such as predictions, are read by `Runtime::read_indices`, not computed with".into()
        });
    }

    fn record(self, name: &str, op: Op, inputs: &[ValueId], outputs: &[(Shape, Kind)]) -> Vec<Self> {
        self.graph.forward(name, op, inputs, outputs).into_iter().map(|id| self.graph.tensor(id)).collect()
    }

    #[track_caller]
    fn coins(self, probability: f32) -> Option<Dropout> {
        self.graph.require((0.0..1.0).contains(&probability), "dropout", || {
            format!("probability {probability} is not in [0, 1)")
        });
        (probability > 0.0).then(|| Dropout { probability, stream: self.graph.next_dropout() })
    }

    /// The rows whose coins an element has, where those are not its own.
    fn logical_rows(&self) -> Option<ValueId> {
        self.graph.record.borrow().logical_rows(self.shape().rows)
    }

    #[track_caller]
    fn same<T: PartialEq + std::fmt::Debug>(&self, operation: &str, what: &str, found: T, expected: T) {
        self.graph.require(found == expected, operation, || format!("{what}: {found:?} and {expected:?}"));
    }

    #[track_caller]
    fn require_parameter(&self, operation: &str) {
        let is_parameter = self.graph.record.borrow().as_parameter(self.id).is_some();
        self.graph.require(is_parameter, operation, || "weights must be parameters".into());
    }
}
