//! A model that answers: features in micro-batches through a head's prediction, and out of it an answer to each example.

use std::ops::Range;

use engine::{DeviceError, RunError, Runtime};
use model::{Albert, Beam, Capacity, Head, Mode};

use super::answers::{Answer, AnswerLimits, BeamEntry, Output};
use super::batch::{pack, predictions};
use super::features::Feature;
use super::task::Kind;
use crate::tokenizer::SpecialTokens;
use crate::training::{Evaluator, Inputs, Outputs};

/// Starts of answers that are tried, and ends for each, with the answerable head (the reference's numbers).
const BEAM: [usize; 2] = [5, 5];

/// The head that answers what a task asks.
pub fn head(kind: Kind, dropout: f64) -> Head {
    match kind {
        Kind::Classes(outputs) => Head::Classification { outputs, dropout },
        Kind::Value => Head::Classification { outputs: 1, dropout },
        Kind::Choice(_) => Head::Choice { dropout },
        Kind::TokenClasses(outputs) => Head::TokenClassification { outputs, dropout },
        Kind::Span => Head::Span,
        Kind::AnswerableSpan => Head::AnswerableSpan { dropout },
    }
}

/// How a model is asked.
#[derive(Debug)]
pub struct Answering {
    head: Head,
    special: SpecialTokens,
    capacity: Capacity,
    limits: AnswerLimits,
    /// Whether what is right is known, of some features at least, and how far the answers are from it is told.
    has_loss: bool,
    /// The search of the answerable head.
    beam: Option<Beam>,
}

/// What a model answers to a split, or to a part of it.
#[derive(Clone, Debug)]
pub struct Answered {
    /// An answer to each example.
    pub answers: Vec<Answer>,
    /// What training minimises, the mean over the features of the split whose targets are known, or the part of it that these
    /// have; `None` where nobody asked for it, or nothing is known.
    pub loss: Option<f64>,
}

impl Answering {
    /// Asks the model `albert`, whose `runtime` it is, by its `head`, in micro-batches of at most `capacity`; in the mode of an
    /// evaluation it tells the loss too.
    ///
    /// # Errors
    /// If the device lacks memory for what only the answerable head needs.
    pub fn new(
        albert: &Albert,
        head: Head,
        special: SpecialTokens,
        capacity: Capacity,
        mode: Mode,
        runtime: &mut Runtime,
    ) -> Result<Self, DeviceError> {
        let beam = match head {
            Head::AnswerableSpan { .. } => Some(Beam::new(albert, capacity, mode, runtime, BEAM)?),
            _ => None,
        };
        let has_loss = mode != Mode::Prediction;
        Ok(Self { head, special, capacity, limits: AnswerLimits::default(), has_loss, beam })
    }

    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The answers to `examples` examples, whose features these are in order; `None` where somebody asked to stop. What the
    /// model says of one micro-batch is shrunk to answers before the next.
    ///
    /// # Errors
    /// If a feature is larger than a micro-batch.
    pub fn answers(
        &self,
        kind: Kind,
        features: &[Feature],
        examples: usize,
        model: &mut Evaluator<'_>,
    ) -> Result<Option<Answered>, RunError> {
        let known: Vec<&Feature> = features.iter().filter(|feature| feature.target.is_some()).collect();
        let predicted = self.has_loss.then(|| predictions(&known, &self.head));
        let mut loss = (self.has_loss && !known.is_empty()).then_some(0.0);
        let mut answers: Vec<Option<Answer>> = vec![None; examples];
        for range in in_order(features, &self.capacity) {
            let features: Vec<&Feature> = features[range].iter().collect();
            let inputs = pack(&features, &self.head, &self.special, predicted);
            let Some(found) = self.of_micro_batch(&features, &inputs, model)? else {
                return Ok(None);
            };
            loss = loss.zip(found.loss).map(|(loss, part)| loss + part);
            for (feature, answer) in features.iter().zip(found.answers) {
                match &mut answers[feature.example] {
                    Some(earlier) => earlier.merge(answer, &self.limits),
                    none => *none = Some(answer),
                }
            }
        }
        // Every example has a feature; one that had none would be answered as by somebody who has not looked.
        let silent = Answer::constant(kind, &[]);
        let answers = answers.into_iter().map(|answer| answer.unwrap_or_else(|| silent.clone())).collect();
        Ok(Some(Answered { answers, loss }))
    }

    /// The answers to the features of a micro-batch, and their part of the loss.
    fn of_micro_batch(
        &self,
        features: &[&Feature],
        inputs: &Inputs,
        model: &mut Evaluator<'_>,
    ) -> Result<Option<Answered>, RunError> {
        if let Some(search) = &self.beam {
            let Some(runtime) = model.runtime() else { return Ok(None) };
            let found = inputs.bound(|bindings| search.search(runtime, bindings))?;
            let answer = |(feature, found): (&&Feature, model::Candidates)| {
                let beam: Vec<BeamEntry> = (found.entries.iter())
                    .map(|entry| BeamEntry {
                        start_row: entry.start_row,
                        end_row: entry.end_row,
                        start: entry.start,
                        end: entry.end,
                    })
                    .collect();
                Answer::of(Output::Beam { beam: &beam, null: found.null }, feature, &self.limits)
            };
            let answers = features.iter().zip(found.sequences).map(answer).collect();
            return Ok(Some(Answered { answers, loss: found.loss }));
        }
        let Some(outputs) = model.run(inputs)? else { return Ok(None) };
        let mut loss = Vec::new();
        if self.has_loss {
            outputs.read("loss", &mut loss);
        }
        let answers = self.read(features, outputs, inputs.integer("offsets"));
        Ok(Some(Answered { answers, loss: loss.first().copied().map(f64::from) }))
    }

    fn read(&self, features: &[&Feature], outputs: Outputs<'_>, offsets: &[i32]) -> Vec<Answer> {
        let (mut logits, mut ends) = (Vec::new(), Vec::new());
        if self.head == Head::Span {
            outputs.read("start_logits", &mut logits);
            outputs.read("end_logits", &mut ends);
        } else {
            outputs.read("logits", &mut logits);
        }
        let mut sequence = 0;
        let answer = |feature: &&Feature| {
            let first = sequence;
            sequence += feature.sequences.len();
            let rows = offsets[first] as usize..offsets[sequence] as usize;
            match self.head {
                Head::Classification { outputs: 1, .. } => self.answer(Output::Value(logits[first]), feature),
                Head::Classification { outputs, .. } => {
                    self.answer(Output::Scores(&logits[first * outputs..sequence * outputs]), feature)
                }
                Head::Choice { .. } => self.answer(Output::Scores(&logits[first..sequence]), feature),
                Head::TokenClassification { outputs, .. } => {
                    let of_row = |&row: &u32| {
                        let row = rows.start + row as usize;
                        &logits[row * outputs..(row + 1) * outputs]
                    };
                    let words: Vec<f32> = feature.rows.iter().flat_map(of_row).copied().collect();
                    self.answer(Output::Words(&words), feature)
                }
                _ => {
                    let (start, end) = (&logits[rows.clone()], &ends[rows]);
                    self.answer(Output::Span { start, end }, feature)
                }
            }
        };
        features.iter().map(answer).collect()
    }

    fn answer(&self, output: Output<'_>, feature: &Feature) -> Answer {
        Answer::of(output, feature, &self.limits)
    }
}

/// Features one after the other in micro-batches that hold as many as fit.
fn in_order(features: &[Feature], capacity: &Capacity) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let (mut start, mut tokens, mut sequences) = (0, 0, 0);
    for (index, feature) in features.iter().enumerate() {
        let more = (feature.tokens(), feature.sequences.len());
        if index > start && (tokens + more.0 > capacity.tokens || sequences + more.1 > capacity.sequences) {
            ranges.push(start..index);
            (start, tokens, sequences) = (index, 0, 0);
        }
        (tokens, sequences) = (tokens + more.0, sequences + more.1);
    }
    if start < features.len() {
        ranges.push(start..features.len());
    }
    ranges
}
