//! What a run trains for: all that differs between one kind of work and another.

use std::sync::Arc;

use engine::RunError;
use serde::{Deserialize, Serialize};

use super::alarm::Alarm;
use super::inputs::{Evaluator, Inputs, Outputs};
use super::metrics::{Metrics, Sums};
use crate::run::progress::Figure;

/// A place in the sequence of examples: all that a checkpoint has to remember of the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The pass over the data.
    pub epoch: u32,
    /// The example within it.
    pub index: u64,
}

/// One optimisation batch, in micro-batches.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The micro-batches; their losses add up to the loss of the whole.
    pub micro_batches: Vec<Inputs>,
    /// Where the batch begins.
    pub from: Position,
    /// Where the next one begins: the position to resume at once this batch is learnt.
    pub until: Position,
}

/// What an evaluation shows of a model that has learnt nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The event of the journal.
    pub event: &'static str,
    /// What the figures show, as the end of a sentence that begins with the step.
    pub words: String,
}

/// How a kind of work is spoken of, where the loop gives advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What is learnt from, with its verb.
    pub material: &'static str,
    /// What makes steps faster, with its verb.
    pub faster: &'static str,
    /// What to look at where a model does not compute at all.
    pub model: &'static str,
    /// How the batch of a step can be looked at, as the end of a sentence, where it can.
    pub batch: &'static str,
}

/// A kind of work. What it gives is a pure function of (settings, seed, position), so that a run can be continued anywhere.
pub trait Objective: Send + Sync + 'static {
    /// What the line of progress calls it.
    fn name(&self) -> &str;

    /// How it is spoken of.
    fn terms(&self) -> &'static Terms;

    /// The optimisation batches from `from` on, without end.
    fn steps(self: Arc<Self>, from: Position) -> Box<dyn Iterator<Item = Step> + Send>;

    /// Examples of a pass over the data.
    fn examples(&self) -> u64;

    /// About how many micro-batches an evaluation has.
    fn evaluation_batches(&self) -> u64;

    /// Adds what the training plan predicted for one micro-batch.
    fn tally(&self, inputs: &Inputs, outputs: Outputs<'_>, sums: &mut Sums);

    /// The figures of a training step, beside its loss.
    fn metrics(&self, sums: &Sums) -> Metrics;

    /// The same as the line of progress shows them.
    fn figures(&self, metrics: &Metrics) -> Vec<Figure<'static>>;

    /// The held-out figures; `None` where somebody asked to stop.
    ///
    /// # Errors
    /// If a micro-batch does not fit the plan.
    fn evaluate(&self, model: &mut Evaluator<'_>) -> Result<Option<Metrics>, RunError>;

    /// Tells what is evaluated on apart from anything else.
    fn measured_on(&self) -> String;

    /// The held-out figure by which evaluations are compared; more is better.
    fn selects_by(&self) -> &str;

    /// An evaluation in words.
    fn in_words(&self, evaluation: &Metrics) -> String;

    /// What shows that nothing was learnt beyond what needs no model; `None` where something was.
    fn not_learnt(&self, evaluation: &Metrics) -> Option<Finding>;

    /// What else an evaluation shows that should not be, the best value so far by which evaluations are compared being `best`.
    /// `is_late` says that a good part of the run is over.
    fn alarms(&self, _evaluation: &Metrics, _best: Option<f64>, _is_late: bool) -> Vec<Alarm> {
        Vec::new()
    }

    /// What shows that the model is worse than none, as the end of a sentence that begins with the step; `None` where it is
    /// not.
    fn useless(&self, evaluation: &Metrics) -> Option<String>;
}
