//! Masked words and sentence order as an objective of the training loop.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use engine::RunError;

use super::batch::{Batch, Division, Normalizers};
use super::dataset::{Dataset, Reader};
use super::diagnosis::{self, Baselines, Sameness};
use crate::run::progress::{Figure, Form};
use crate::training::{
    Alarm, Evaluator, Finding, Inputs, Metrics, Objective, Outputs, Position, Step, Sums, Terms,
};

/// The two tasks: the outputs of a plan, the input with the labels, and the names of the sums.
const TASKS: [Task; 2] = [
    Task {
        losses: "masked_lm_row_losses",
        predictions: "masked_lm_predictions",
        labels: "masked_labels",
        sums: ["masked_lm_loss", "masked_lm_correct", "masked_tokens"],
    },
    Task {
        losses: "sentence_order_row_losses",
        predictions: "sentence_order_predictions",
        labels: "sentence_order_labels",
        sums: ["sentence_order_loss", "sentence_order_correct", "sequences"],
    },
];

struct Task {
    losses: &'static str,
    predictions: &'static str,
    labels: &'static str,
    /// Σ −log probability of the right class, right predictions, predictions.
    sums: [&'static str; 3],
}

impl Task {
    /// Loss and accuracy; `None` where nothing was asked for.
    fn means(&self, sums: &Sums) -> Option<[f64; 2]> {
        let [loss, correct, count] = self.sums;
        (sums.get(count) > 0.0).then(|| [sums.mean(loss, count), sums.mean(correct, count)])
    }
}

/// Pre-training: what is learnt from, what it is measured on, and how much at a time.
#[derive(Debug)]
pub struct Pretraining {
    training: Option<Arc<Dataset>>,
    held_out: Vec<Inputs>,
    vocabulary_size: usize,
    /// What needs no model, on the held-out text. It takes a walk over the whole training text, and is not made before an
    /// evaluation asks for it.
    baselines: OnceLock<Baselines>,
    batch: usize,
    division: Division,
    scratch: Mutex<(Vec<f32>, Vec<i32>)>,
}

impl Pretraining {
    /// Learns from `training` in batches of `batch` sequences that are computed as `division` says, and is measured on the first
    /// `held_out.1` sequences of `held_out.0`, always the same.
    ///
    /// # Panics
    /// If a batch has no sequence.
    pub fn new(
        training: Arc<Dataset>,
        held_out: (Arc<Dataset>, usize),
        vocabulary_size: usize,
        batch: usize,
        division: Division,
    ) -> Self {
        assert!(batch > 0, "a batch has sequences");
        let measured = Self::measure(held_out.0, held_out.1, vocabulary_size, division);
        Self { training: Some(training), batch, ..measured }
    }

    /// Only measures.
    ///
    /// # Panics
    /// If no sequence is computed at a time.
    pub fn measure(
        held_out: Arc<Dataset>,
        sequences: usize,
        vocabulary_size: usize,
        division: Division,
    ) -> Self {
        let within_epoch = held_out.epoch(0).samples().min(sequences as u64) as usize;
        let examples = Reader::new(held_out, Position::default()).examples(within_epoch);
        let pack = |part| Batch::pack(part, Normalizers::of(part)).into_inputs();
        let held_out: Vec<Inputs> = division.of(&examples).into_iter().map(pack).collect();
        let (baselines, scratch) = (OnceLock::new(), Mutex::default());
        Self { training: None, held_out, vocabulary_size, baselines, batch: 1, division, scratch }
    }

    fn baselines(&self) -> &Baselines {
        self.baselines.get_or_init(|| {
            let baselines = Baselines::of(&self.held_out, self.vocabulary_size);
            match &self.training {
                Some(text) => baselines.knowing(&text.piece_counts(self.vocabulary_size), &self.held_out),
                None => baselines,
            }
        })
    }

    /// The most that a plan must hold to measure: members of each axis, one at least, for a plan has no place for nothing.
    pub fn largest(&self) -> [usize; 3] {
        let most = |axis: usize| self.held_out.iter().map(|inputs| inputs.lengths[axis]).fold(1, usize::max);
        [0, 1, 2].map(most)
    }

    fn training(&self) -> &Arc<Dataset> {
        self.training.as_ref().expect("only a run that trains has steps")
    }
}

impl Objective for Pretraining {
    fn name(&self) -> &str {
        "pretrain"
    }

    fn terms(&self) -> &'static Terms {
        &Terms {
            material: "the text is",
            faster: "a smaller --preset or --max-seq-length makes",
            model: "look at --initializer-range and the sizes of the model first",
            batch: "; `albert-train inspect batches --step N` shows the batch of a step",
        }
    }

    fn steps(self: Arc<Self>, from: Position) -> Box<dyn Iterator<Item = Step> + Send> {
        let mut reader = Reader::new(self.training().clone(), from);
        Box::new(std::iter::from_fn(move || {
            let from = reader.position();
            let examples = reader.examples(self.batch);
            let normalizers = Normalizers::of(&examples);
            let pack = |part| Batch::pack(part, normalizers).into_inputs();
            let micro_batches = self.division.of(&examples).into_iter().map(pack).collect();
            Some(Step { micro_batches, from, until: reader.position() })
        }))
    }

    fn examples(&self) -> u64 {
        self.training().epoch(0).samples()
    }

    fn evaluation_batches(&self) -> u64 {
        self.held_out.len() as u64
    }

    fn tally(&self, inputs: &Inputs, outputs: Outputs<'_>, sums: &mut Sums) {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let (losses, predictions) = &mut *scratch;
        for Task { losses: row_losses, predictions: found, labels, sums: [loss, correct, count] } in TASKS {
            outputs.read(row_losses, losses);
            outputs.read_indices(found, predictions);
            let labels = inputs.integer(labels);
            let right = predictions.iter().zip(labels).filter(|(found, label)| found == label).count();
            sums.add(loss, losses.iter().map(|&loss| f64::from(loss)).sum());
            sums.add(correct, right as f64);
            sums.add(count, labels.len() as f64);
        }
        if let Some(computed) = outputs.computed_tokens() {
            sums.add("tokens", inputs.tokens() as f64);
            sums.add("computed_tokens", computed as f64);
        }
    }

    /// On a GPU `fill` is the share of the computed tokens that were given: lengths are rounded up there. A step without a
    /// masked word has no figure of masked words.
    fn metrics(&self, sums: &Sums) -> Metrics {
        let metrics = TASKS.iter().fold(Metrics::default(), |metrics, task| match task.means(sums) {
            Some([loss, accuracy]) => {
                let [of_loss, correct, _] = task.sums;
                metrics.with(of_loss, loss).with(correct.replace("correct", "accuracy"), accuracy)
            }
            None => metrics,
        });
        match sums.get("computed_tokens") > 0.0 {
            true => metrics.with("fill", sums.mean("tokens", "computed_tokens")),
            false => metrics,
        }
    }

    fn figures(&self, metrics: &Metrics) -> Vec<Figure<'static>> {
        let figures = [
            ("words", "masked_lm_loss", Form::Loss),
            ("right", "masked_lm_accuracy", Form::Accuracy),
            ("order", "sentence_order_loss", Form::Loss),
            ("right", "sentence_order_accuracy", Form::Accuracy),
            ("fill", "fill", Form::Accuracy),
        ];
        let there = figures.into_iter().filter_map(|(name, key, form)| Some((name, metrics.get(key)?, form)));
        there.map(|(name, value, form)| Figure { name, value, form }).collect()
    }

    /// Figures under the names of the reference's `eval_results.txt` (`model/ALBERT.md`, Evaluation); beside them what needs
    /// no model (`Baselines`), and what shows that a model answers always the same (`Sameness`).
    fn evaluate(&self, model: &mut Evaluator<'_>) -> Result<Option<Metrics>, RunError> {
        let mut sums = Sums::default();
        let mut sameness = Sameness::new(self.vocabulary_size);
        for inputs in &self.held_out {
            let Some(outputs) = model.run(inputs)? else { return Ok(None) };
            self.tally(inputs, outputs, &mut sums);
            sameness.add(inputs, outputs);
        }
        let means = TASKS.map(|task| task.means(&sums));
        let mut metrics =
            Metrics::default().with("loss", means.iter().flatten().map(|[loss, _]| loss).sum::<f64>());
        for (task, means) in ["masked_lm", "sentence_order"].iter().zip(means) {
            if let Some([loss, accuracy]) = means {
                metrics =
                    metrics.with(format!("{task}_accuracy"), accuracy).with(format!("{task}_loss"), loss);
            }
        }
        Ok(Some(
            sameness
                .record(self.baselines().record(metrics))
                .with_count("sequences", sums.get("sequences") as u64)
                .with_count("masked_tokens", sums.get("masked_tokens") as u64),
        ))
    }

    /// A hash of what an evaluation sees and is asked for, however it is divided into batches.
    fn measured_on(&self) -> String {
        let mut whole = blake3::Hasher::new();
        for stream in ["token_ids", "position_ids", "masked_labels", "sentence_order_labels"] {
            let mut part = blake3::Hasher::new();
            for number in self.held_out.iter().flat_map(|inputs| inputs.integer(stream)) {
                part.update(&number.to_le_bytes());
            }
            whole.update(part.finalize().as_bytes());
        }
        whole.finalize().to_hex().to_string()
    }

    fn selects_by(&self) -> &str {
        "masked_lm_accuracy"
    }

    fn in_words(&self, evaluation: &Metrics) -> String {
        let value = |name| evaluation.value(name);
        let unigram = evaluation.get(diagnosis::UNIGRAM_LOSS);
        let words = match evaluation.get("masked_lm_accuracy") {
            Some(right) => format!(
                "masked words {right:.3} right (always guessing the most common: {:.3}), loss {:.3}{}",
                value("majority_masked_lm_accuracy"),
                value("masked_lm_loss"),
                unigram.map_or(String::new(), |loss| format!(" (unigram frequencies alone: {loss:.3})")),
            ),
            None => "no word is masked".into(),
        };
        format!(
            "{words}; sentence order {:.3} right, loss {:.3}",
            value("sentence_order_accuracy"),
            value("sentence_order_loss"),
        )
    }

    fn not_learnt(&self, evaluation: &Metrics) -> Option<Finding> {
        let words = || {
            format!(
                "masked words are predicted no better ({:.3} right) than by always giving the most common one ({:.3}): nothing was learnt from \
                 the words around them",
                evaluation.value("masked_lm_accuracy"),
                evaluation.value("majority_masked_lm_accuracy")
            )
        };
        let was_asked = evaluation.get("masked_lm_accuracy").is_some();
        (was_asked && !beats_frequency(evaluation))
            .then(|| Finding { event: "no_better_than_frequency", words: words() })
    }

    fn alarms(&self, evaluation: &Metrics, best: Option<f64>, is_late: bool) -> Vec<Alarm> {
        diagnosis::alarms(evaluation, best, is_late)
    }

    fn useless(&self, evaluation: &Metrics) -> Option<String> {
        let (loss, uniform) = (evaluation.value("masked_lm_loss"), (self.vocabulary_size as f64).ln());
        // Twice the loss of knowing nothing is beyond any fluctuation of a few held-out words.
        (!evaluation.value("loss").is_finite() || loss > 2.0 * uniform).then(|| {
            format!(
                "the loss of held-out masked words is {loss:.4}, where giving all pieces the same probability has \
                 {uniform:.4}"
            )
        })
    }
}

/// Whether masked words are told better than by always giving the commonest, by more than one standard error of that
/// share: whoever has learnt frequencies alone is not.
pub fn beats_frequency(evaluation: &Metrics) -> bool {
    let share = evaluation.value("majority_masked_lm_accuracy");
    let error = (share * (1.0 - share) / evaluation.value("masked_tokens")).sqrt();
    evaluation.value("masked_lm_accuracy") > share + error
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::{self, Shape};
    use super::*;
    use crate::training::BatchStream;

    fn objective(batch: usize, micro_batch: usize) -> Arc<Pretraining> {
        let dataset = Arc::new(synthetic::dataset(&Shape::default(), 64, 7));
        let held_out = (dataset.clone(), 30);
        let division = Division::Sequences(micro_batch);
        Arc::new(Pretraining::new(dataset, held_out, synthetic::VOCABULARY, batch, division))
    }

    #[test]
    fn batches_follow_each_other_and_resume() {
        let objective = objective(10, 4);
        let mut stream = BatchStream::start(objective.clone(), Position::default()).unwrap();
        let steps: Vec<Step> = (0..40).map(|_| stream.next_step(&|| false).unwrap()).collect();
        assert!(steps.last().unwrap().until.epoch > 0, "an epoch's end lies within");
        for pair in steps.windows(2) {
            assert_eq!(pair[0].until, pair[1].from);
        }
        for step in &steps {
            let sequences: Vec<usize> = step.micro_batches.iter().map(Inputs::sequences).collect();
            assert_eq!(sequences, [4, 4, 2]);
        }
        let mut resumed = BatchStream::start(objective, steps[17].from).unwrap();
        assert_eq!(resumed.next_step(&|| false).unwrap(), steps[17]);
        assert_eq!(resumed.next_step(&|| false).unwrap(), steps[18]);
    }

    /// A GPU's runs say how many tokens they computed, a processor's do not.
    #[test]
    fn fill_is_the_share_of_the_computed_tokens_that_were_given() {
        let (objective, mut sums) = (objective(10, 4), Sums::default());
        sums.add("masked_tokens", 8.0);
        assert_eq!(objective.metrics(&sums).get("fill"), None);
        for (given, computed) in [(53.0, 56.0), (40.0, 40.0)] {
            sums.add("tokens", given);
            sums.add("computed_tokens", computed);
        }
        assert_eq!(objective.metrics(&sums).get("fill"), Some(93.0 / 96.0));
    }

    #[test]
    fn frequency_is_beaten_beyond_chance_only() {
        let beats = |accuracy| {
            let metrics = Metrics::default().with("masked_lm_accuracy", accuracy);
            // A standard error of 0.01.
            beats_frequency(
                &metrics.with("majority_masked_lm_accuracy", 0.1).with_count("masked_tokens", 900),
            )
        };
        let accuracies = [0.0, 0.1, 0.109, 0.111, 0.5, f64::NAN];
        assert_eq!(accuracies.map(beats), [false, false, false, true, true, false]);
    }

    /// A batch may have no masked word.
    #[test]
    fn what_was_not_asked_has_no_figure() {
        let objective = objective(10, 4);
        let mut sums = Sums::default();
        for (name, sum) in [("masked_tokens", 0.0), ("sentence_order_loss", 3.0), ("sequences", 4.0)] {
            sums.add(name, sum);
        }
        let metrics = objective.metrics(&sums);
        assert_eq!((metrics.get("masked_lm_loss"), metrics.get("sentence_order_loss")), (None, Some(0.75)));
        let shown = objective.figures(&metrics);
        assert_eq!(shown.iter().map(|figure| figure.name).collect::<Vec<_>>(), ["order", "right"]);
        assert!(objective.not_learnt(&metrics).is_none());
        assert_eq!(objective.in_words(&metrics), "no word is masked; sentence order 0.000 right, loss 0.750");
        let record = |baselines: &Baselines| baselines.record(Metrics::default());
        assert_eq!(record(&Baselines::of(&[], 9).knowing(&[1; 9], &[])), Metrics::default());
        assert_eq!(Sameness::new(9).record(Metrics::default()), Metrics::default());
    }

    /// A text of a hundred gigabytes takes minutes to walk over, which a run that goes on has no use for.
    #[test]
    fn the_text_is_not_walked_over_before_an_evaluation() {
        let objective = objective(10, 4);
        let mut stream = BatchStream::start(objective.clone(), Position::default()).unwrap();
        stream.next_step(&|| false).unwrap();
        objective.measured_on();
        assert_eq!(objective.baselines.get(), None);
        let figure = |metrics: Metrics| metrics.value(diagnosis::UNIGRAM_LOSS);
        let losses = [(); 2].map(|()| figure(objective.baselines().record(Metrics::default())));
        assert!(losses[0] > 0.0 && losses[0] < (synthetic::VOCABULARY as f64).ln(), "{losses:?}");
        assert_eq!(losses[0], losses[1]);
    }

    #[test]
    fn the_identity_is_of_the_text_and_not_of_its_division() {
        let whole = objective(10, 4).measured_on();
        assert_eq!(whole, objective(10, 3).measured_on());
        let other = Arc::new(synthetic::dataset(&Shape::default(), 64, 8));
        assert_ne!(
            whole,
            Pretraining::measure(other, 30, synthetic::VOCABULARY, Division::Sequences(4)).measured_on()
        );
    }
}
