//! What stands on the encoder, a file for each head: the parameters it declares, the computation it records, and the names
//! of what its plans read and write.
//!
//! Inputs of every plan are those of a packed batch (`token_ids`, `position_ids`, `segment_ids`, `token_order`, `offsets`); losses are weighted sums, whose weights carry the normalisation, so
//! that the micro-batches of a step simply add up. Axes of a plan, in the order of [`engine::Bindings::lengths`]: tokens,
//! sequences, and a third where a head says so.

mod answerable_span;
mod beam;
mod choice;
mod classification;
mod encoding;
mod pretraining;
mod span;
mod token_classification;

use engine::{
    Activation, Axis, Content, Graph, Indices, ParameterId, Plan, PlanError, PlanOptions, Rows, Shape, Tensor,
};

use crate::albert::Albert;
use crate::config::AlbertConfig;
use crate::declare::{Declarer, Dense};
use crate::encoder::{Mode, Packed};

pub use beam::{Beam, BeamEntry, Candidates, Found};
pub use pretraining::LOSSES;

/// What stands on top of the encoder.
#[derive(Clone, Debug, PartialEq)]
pub enum Head {
    /// Masked words and sentence order: everything that pre-training trains. `AlbertForPreTraining`.
    Pretraining,
    /// Classes of sequences, or, with one output, a number for each: `AlbertForSequenceClassification`.
    Classification {
        /// Classes; 1 for a number, learnt by its squared error.
        outputs: usize,
        /// Dropout of the pooled first token.
        dropout: f64,
    },
    /// The right one of several sequences, as many as each question has: `AlbertForMultipleChoice`.
    Choice {
        /// Dropout of the pooled first token.
        dropout: f64,
    },
    /// First and last token of an answer, each by itself (SQuAD 1.1): `AlbertForQuestionAnswering`.
    Span,
    /// First and last token of an answer, the last one given the first, and whether there is one (SQuAD 2.0); transformers
    /// has no such head for ALBERT.
    AnswerableSpan {
        /// Dropout of the layer that says whether there is an answer.
        dropout: f64,
    },
    /// Classes of tokens: `AlbertForTokenClassification`.
    TokenClassification {
        /// Classes.
        outputs: usize,
        /// Dropout of the last hidden state.
        dropout: f64,
    },
    /// A part of pre-training's heads, as files may hold it: the dense layer over each sequence's first token.
    Pooler,
    /// The masked-word head alone: `AlbertForMaskedLM`.
    MaskedWords,
    /// The sentence-order head alone, on the pooler.
    SentenceOrder,
}

/// transformers' class for an encoder alone.
pub(crate) const ENCODER: &str = "AlbertModel";

/// transformers' class for an encoder with these heads: that of the first head that has one.
pub(crate) fn architecture(heads: &[Head]) -> &'static str {
    heads.iter().map(Head::architecture).find(|class| *class != ENCODER).unwrap_or(ENCODER)
}

impl Head {
    /// transformers' class for an encoder with this head.
    pub fn architecture(&self) -> &'static str {
        match self {
            Self::Pretraining => "AlbertForPreTraining",
            Self::Classification { .. } => "AlbertForSequenceClassification",
            Self::Choice { .. } => "AlbertForMultipleChoice",
            Self::Span => "AlbertForQuestionAnswering",
            Self::TokenClassification { .. } => "AlbertForTokenClassification",
            Self::MaskedWords => "AlbertForMaskedLM",
            Self::AnswerableSpan { .. } | Self::Pooler | Self::SentenceOrder => ENCODER,
        }
    }

    /// Whether it reads the pooled first token.
    pub fn reads_pooler(&self) -> bool {
        match self {
            Self::Pretraining
            | Self::Classification { .. }
            | Self::Choice { .. }
            | Self::Pooler
            | Self::SentenceOrder => true,
            Self::Span
            | Self::AnswerableSpan { .. }
            | Self::TokenClassification { .. }
            | Self::MaskedWords => false,
        }
    }

    /// Whether it was taken for one that tells a value although `config`, its model's, does not say so: the tensors of one that
    /// chooses between options, as of RACE, are the same.
    pub fn is_guessed(&self, config: &AlbertConfig) -> bool {
        let is_said = config.architectures.iter().flatten().any(|class| class == self.architecture());
        matches!(self, Self::Classification { outputs: 1, .. }) && !is_said && config.problem_type().is_none()
    }

    /// Dropout within the head, where it has any.
    pub fn dropout(&self) -> Option<f64> {
        match *self {
            Self::Classification { dropout, .. }
            | Self::Choice { dropout }
            | Self::AnswerableSpan { dropout }
            | Self::TokenClassification { dropout, .. } => Some(dropout),
            Self::Pretraining | Self::Span | Self::Pooler | Self::MaskedWords | Self::SentenceOrder => None,
        }
    }

    /// What its parameters' names begin with; those of `albert.pooler` belong to the encoder.
    pub(crate) fn prefixes(&self) -> &'static [&'static str] {
        match self {
            Self::Pretraining => &["predictions.", "sop_classifier."],
            Self::Classification { .. } | Self::Choice { .. } | Self::TokenClassification { .. } => {
                &["classifier."]
            }
            Self::Span => &["qa_outputs."],
            Self::AnswerableSpan { .. } => &["start_logits.", "end_logits.", "answer_class."],
            Self::Pooler => &[],
            Self::MaskedWords => &["predictions."],
            Self::SentenceOrder => &["sop_classifier."],
        }
    }
}

/// The most that a plan's batch may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Real tokens.
    pub tokens: usize,
    /// Sequences.
    pub sequences: usize,
    /// Masked tokens; without meaning for other heads than those of pre-training.
    pub masked: usize,
}

/// The parameters of all heads of a model.
#[derive(Clone, Debug)]
pub(crate) struct HeadParameters {
    pub pooler: Option<Dense>,
    pub masked_words: Option<pretraining::MaskedWords>,
    pub sentence_order: Option<Dense>,
    /// Of classes of sequences or tokens, or of options.
    pub classifier: Option<Dense>,
    pub span: Option<Dense>,
    pub answerable_span: Option<answerable_span::Parameters>,
}

impl HeadParameters {
    /// Declares what `heads` need on an encoder whose word table is `words`.
    pub fn declare(d: &mut Declarer, config: &AlbertConfig, heads: &[Head], words: ParameterId) -> Self {
        let hidden = config.hidden_size;
        let any = |which: fn(&Head) -> bool| heads.iter().any(which);
        let classifiers = heads.iter().filter_map(|head| match *head {
            Head::Classification { outputs, .. } | Head::TokenClassification { outputs, .. } => Some(outputs),
            Head::Choice { .. } => Some(1),
            _ => None,
        });
        let outputs: Vec<usize> = classifiers.collect();
        assert!(outputs.len() <= 1, "the heads {heads:?} would share the name `classifier`");
        Self {
            pooler: any(Head::reads_pooler).then(|| d.dense(&["albert.pooler".into()], hidden, hidden)),
            masked_words: any(|head| matches!(head, Head::Pretraining | Head::MaskedWords))
                .then(|| pretraining::MaskedWords::declare(d, config, words)),
            sentence_order: any(|head| matches!(head, Head::Pretraining | Head::SentenceOrder))
                .then(|| d.dense(&["sop_classifier.classifier".into()], hidden, 2)),
            classifier: outputs.first().map(|&outputs| d.dense(&["classifier".into()], hidden, outputs)),
            span: any(|head| *head == Head::Span).then(|| d.dense(&["qa_outputs".into()], hidden, 2)),
            answerable_span: any(|head| matches!(head, Head::AnswerableSpan { .. }))
                .then(|| answerable_span::Parameters::declare(d, hidden)),
        }
    }
}

/// The outputs of a plan, the loss first if there is one.
type Outputs<'g> = Vec<(&'static str, Tensor<'g>)>;

/// A graph to which a head is being recorded.
#[derive(Clone, Copy)]
struct Recording<'a, 'g> {
    albert: &'a Albert,
    graph: &'g Graph,
    batch: Packed<'g>,
    mode: Mode,
}

impl<'g> Recording<'_, 'g> {
    /// Whether there are labels and a loss.
    fn has_labels(&self) -> bool {
        self.mode != Mode::Prediction
    }

    fn dropout(&self, x: Tensor<'g>, probability: f64) -> Tensor<'g> {
        if self.mode == Mode::Training { x.dropout(probability as f32) } else { x }
    }

    fn dense(&self, x: Tensor<'g>, dense: Dense, activation: Activation) -> Tensor<'g> {
        self.albert.dense(self.graph, x, dense, activation)
    }

    /// The last hidden state, `[tokens, hidden_size]`.
    fn last_state(&self) -> Tensor<'g> {
        self.albert.encode_rows(self.graph, self.batch, self.mode, []).0
    }

    /// `tanh(dense(first token))`, `[sequences, hidden_size]`.
    fn pooled(&self) -> Tensor<'g> {
        let (last, [first_rows]) =
            self.albert.encode_rows(self.graph, self.batch, self.mode, [self.first_rows()]);
        self.albert.pooled(self.graph, last, first_rows)
    }

    /// The input `first_rows`: the row of each sequence's first token.
    fn first_rows(&self) -> Indices<'g> {
        let axes = self.batch.axes;
        self.graph.indices("first_rows", Rows::Along(axes.sequences), Content::RowOf(axes.tokens))
    }

    /// The input `masked_rows`: the rows of the tokens to predict.
    fn masked_rows(&self, masked: Axis) -> Indices<'g> {
        self.graph.indices("masked_rows", Rows::Along(masked), Content::RowOf(self.batch.axes.tokens))
    }

    /// An input of labels along an axis.
    fn labels(&self, name: &str, axis: Axis, classes: usize) -> Indices<'g> {
        self.graph.indices(name, Rows::Along(axis), Content::Below(classes))
    }

    /// An input of numbers that a loss is told, along an axis.
    fn numbers(&self, name: &str, axis: Axis) -> Tensor<'g> {
        self.graph.statistic(name, Shape::new(Rows::Along(axis), 1))
    }
}

impl Albert {
    /// The plan of a head's work on a batch of at most `capacity`; the page of each head says what it reads and writes.
    ///
    /// # Errors
    /// If a training plan would leave a parameter without a gradient: the model has other heads than this.
    ///
    /// # Panics
    /// If the model has no such head, or it is but a part of pre-training's, which [`Albert::encoding_plan`] computes.
    pub fn plan(
        &self,
        head: &Head,
        capacity: Capacity,
        mode: Mode,
        options: PlanOptions,
    ) -> Result<Plan, PlanError> {
        assert!(self.heads().contains(head), "the model has {:?} and no {head:?}", self.heads());
        let graph = Graph::new(self.parameters().clone());
        let batch = self.packed(&graph, capacity.tokens, capacity.sequences);
        let on = Recording { albert: self, graph: &graph, batch, mode };
        let outputs = match *head {
            Head::Pretraining => pretraining::record(&on, capacity.masked),
            Head::Classification { outputs, dropout } => classification::record(&on, outputs, dropout),
            Head::Choice { dropout } => choice::record(&on, capacity.sequences, dropout),
            Head::Span => span::record(&on),
            Head::AnswerableSpan { dropout } => answerable_span::record(&on, dropout),
            Head::TokenClassification { outputs, dropout } => {
                token_classification::record(&on, outputs, dropout)
            }
            Head::Pooler | Head::MaskedWords | Head::SentenceOrder => {
                unreachable!("a part of pre-training's heads has `encoding_plan`")
            }
        };
        match mode {
            Mode::Training => Plan::training(&graph, outputs[0].1, &outputs, options),
            Mode::Evaluation | Mode::Prediction => Ok(Plan::inference(&graph, &outputs, options.precision)),
        }
    }
}
