//! The settings of `pretrain`.

mod check;
mod sections;

use serde::{Deserialize, Serialize};
use serde_json::json;

pub(super) use check::{MOST_SEQUENCES, MOST_TOKENS, check_device, check_moments, check_saving};
pub(super) use sections::LOG_EVERY;
pub use sections::{DataSettings, DeviceSettings, LearningSettings, Precision, Recompute, TrainingSettings};

use super::{Implied, KeyHelp, Layers, ModelSettings, Objections, Settings};
use crate::data::STANDARD_INPUT;
use crate::files::is_address;
use crate::hub::{is_model_name, is_of_hub};
use crate::optimization::{OptimizerKind, Schedule, schedule};
use crate::pretraining::recipes::RECIPES;
use crate::pretraining::{MaskingOptions, SampleOptions};
use crate::run::directory::model_in;

/// Everything a pre-training run can be told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pretrain {
    /// The network.
    pub model: ModelSettings,
    /// Where text comes from.
    pub data: DataSettings,
    /// How samples are cut from it.
    pub sampling: SampleOptions,
    /// How words are masked.
    pub masking: MaskingOptions,
    /// How weights move.
    pub optimizer: LearningSettings,
    /// How long, how much at a time, what is kept.
    pub training: TrainingSettings,
    /// Where it is computed.
    pub device: DeviceSettings,
}

impl Pretrain {
    /// The learning rate over the run. The settings must be resolved, so that the rules have been applied.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            learning_rate: self.optimizer.learning_rate.unwrap_or_else(|| self.ruled_learning_rate()),
            steps: self.training.steps,
            warmup_steps: self.optimizer.warmup_steps.unwrap_or_else(|| self.ruled_warmup()),
            start_warmup_step: self.optimizer.start_warmup_step,
            poly_power: self.optimizer.poly_power,
        }
    }

    /// The same settings with the steps of a run whose data have so many samples and tokens in a pass. Both are counted only
    /// where they are needed: all of the data are looked at for it.
    pub fn of_length(&self, samples: impl FnOnce() -> u64, tokens: impl FnOnce() -> u64) -> Self {
        let mut settings = self.clone();
        let passes = match (self.training.epochs, self.training.tokens) {
            (None, None) => return settings,
            (Some(epochs), _) => epochs,
            (None, Some(wanted)) => wanted as f64 / tokens().max(1) as f64,
        };
        let steps = (passes * samples() as f64 / self.training.batch as f64).ceil();
        settings.training.steps = (steps as u64).max(1);
        settings
    }

    /// Whether the learning rate comes to its height within the steps, which must be known (see [`of_length`](Self::of_length)).
    pub fn warms_up_in_time(&self) -> bool {
        self.schedule().reaches_its_height()
    }

    /// Whether the data say how many steps there are.
    fn has_length_of_data(&self) -> bool {
        self.training.epochs.is_some() || self.training.tokens.is_some()
    }

    fn ruled_learning_rate(&self) -> f64 {
        match self.optimizer.kind {
            OptimizerKind::Lamb => schedule::lamb_learning_rate(self.training.batch),
            OptimizerKind::Adamw => schedule::adamw_learning_rate(self.training.batch),
        }
    }

    fn ruled_warmup(&self) -> u64 {
        schedule::warmup_steps(self.training.batch, self.training.steps)
    }
}

impl Settings for Pretrain {
    const KEYS: &'static [&'static [KeyHelp]] = &[
        &[
            (
                "model.preset",
                "model size: micro, tiny, small, base, large, xlarge, xxlarge, or base-v1 … with dropout; tiny and small bring the recipe \
                 small-machine",
            ),
            (
                "model.init",
                "begin with the weights of this model (a directory, a run, or hf:owner/name), and its sizes and vocabulary",
            ),
            ("model.vocab_size", "rows of the word embedding; not set: as many as the tokenizer has pieces"),
            ("model.embedding_size", "width of the embeddings"),
            ("model.hidden_size", "width of the layers"),
            ("model.num_hidden_layers", "layers: how often the shared weights are applied"),
            ("model.num_hidden_groups", "sets of layer weights that the layers share"),
            ("model.num_attention_heads", "attention heads; must divide hidden_size"),
            ("model.intermediate_size", "width of the feed-forward layers"),
            ("model.inner_group_num", "blocks with weights of their own within a group"),
            ("model.hidden_act", "gelu_new (ALBERT's own), gelu, relu, tanh or linear"),
            ("model.hidden_dropout_prob", "dropout after the embeddings and in each layer"),
            ("model.attention_probs_dropout_prob", "dropout of the attention probabilities"),
            ("model.max_position_embeddings", "longest sequence the model can take"),
            ("model.type_vocab_size", "number of segments; pre-training needs 2"),
            ("model.initializer_range", "standard deviation of the initial weights"),
            (
                "model.frequency_bias",
                "begin the bias of the predicted pieces with the logarithm of their frequencies: spares a new model the first \
             minutes, but it learns more slowly then",
            ),
            (
                "data.train",
                "text: files, folders of them, - for standard input; or a prepared folder; or the reference's TFRecord files; not given: built-in stories",
            ),
            (
                "data.held_out",
                "text or prepared folders for evaluation; not given: documents of the training data",
            ),
            ("data.held_out_every", "of the training data, hold out one document in so many for evaluation"),
            (
                "data.format",
                "layout of text files: sentences (one a line, blank line between documents), prose or jsonl; not set: jsonl where \
             a file's content or name says so, else sentences",
            ),
            (
                "data.skip_bad_lines",
                "skip and count lines that are not UTF-8 text, and records without a \"text\"",
            ),
            (
                "data.tokenizer",
                "tokenizer file or folder; not set: that of the prepared data, or one trained on the text",
            ),
            ("sampling.max_seq_length", "largest number of tokens in a sequence"),
            ("sampling.short_seq_prob", "share of documents cut into sequences of a random shorter length"),
            (
                "sampling.single_segment",
                "what becomes of a sequence of one sentence: split, skip, or random (as ALBERT did)",
            ),
            (
                "sampling.random_next_sentence",
                "BERT's next-sentence task in place of ALBERT's sentence order",
            ),
            ("masking.masked_lm_prob", "share of the tokens to predict"),
            ("masking.max_predictions_per_seq", "largest number of predictions in a sequence"),
            ("masking.ngram", "longest masked span, in words"),
            ("masking.favor_shorter_ngram", "prefer shorter spans"),
            ("masking.whole_word", "mask whole words"),
            (
                "masking.words_by_space",
                "words begin at spaces in every script that has them (ALBERT did so in English only)",
            ),
            (
                "masking.spans_cross_separator",
                "let spans run from the first segment into the second (as ALBERT did)",
            ),
            ("masking.random_ordinary", "never replace a token by a special piece or by itself"),
            ("masking.permutation", "also exchange further words among themselves, and predict them"),
            ("optimizer.optimizer", "lamb or adamw"),
            ("optimizer.learning_rate", "highest learning rate; auto: a rule for the batch size"),
            (
                "optimizer.warmup_steps",
                "steps over which the learning rate rises; auto: a rule for the batch size",
            ),
        ],
        LearningSettings::KEYS,
        &[
            ("training.steps", "optimizer steps of the whole run"),
            ("training.epochs", "passes over the training data, in place of --steps"),
            ("training.tokens", "tokens to learn from, as in 1e9, in place of --steps"),
            ("training.batch", "sequences per optimizer step"),
            (
                "training.micro_batch",
                "sequences computed at a time; on a GPU, as many as have the tokens of N of full length. The result is the same up to rounding; not set: as many as make 4096 tokens, on a GPU 16384",
            ),
            Recompute::KEY,
            (
                "training.gather_last_layer",
                "compute the last layer only for the tokens that are read: those to predict, and the first of each sequence",
            ),
            ("training.eval_every", "steps between held-out evaluations; 0: only one at the end"),
            ("training.eval_sequences", "sequences per evaluation"),
            ("training.log_every", "steps that each line of metrics.jsonl averages"),
            (
                "training.tensorboard",
                "keep the same for TensorBoard, as events.out.tfevents files in the run directory",
            ),
            ("training.save_every", "steps (1000) or time (30m) between checkpoints"),
            ("training.keep", "number of newest checkpoints to keep (at least 2), besides the best"),
            ("training.seed", "seed of initial weights, order, masks and dropout"),
            ("training.max_time", "save and stop after this time, for example 7h50m"),
        ],
        DeviceSettings::KEYS,
    ];

    const LENGTHS: &'static [(&'static str, &'static [u64])] = &[
        ("training.steps", &[DEFAULT_STEPS, BUILT_IN_STEPS, SMALL_STEPS]),
        ("training.epochs", &[]),
        ("training.tokens", &[]),
    ];

    const BEFORE: &'static [(&'static str, bool)] = &[("training.gather_last_layer", false)];

    fn implied(&self) -> Vec<Implied> {
        let batch = self.training.batch;
        let mut implied = vec![Implied {
            key: "optimizer.learning_rate",
            value: json!(self.ruled_learning_rate()),
            reason: match (self.optimizer.kind, self.ruled_learning_rate()) {
                (_, rate @ (schedule::LAMB_FLOOR | schedule::ADAMW_FLOOR)) => {
                    format!("rule: {rate:e} for batch {batch}, the least for a small one")
                }
                (OptimizerKind::Lamb, _) => format!("rule 0.00176·√(batch {batch}/4096)"),
                (OptimizerKind::Adamw, _) => format!("rule 1e-4·√(batch {batch}/256)"),
            },
        }];
        let warmup = |value: u64, reason: String| Implied {
            key: "optimizer.warmup_steps",
            value: value.into(),
            reason,
        };
        if !self.has_length_of_data() {
            implied.push(warmup(self.ruled_warmup(), format!("rule: share of the steps for batch {batch}")));
        }
        if self.data.train.is_empty() {
            let recipe = of_recipe("built-in", "built-in stories");
            implied.extend(
                recipe.filter(|implied| !["data.train", "optimizer.warmup_steps"].contains(&implied.key)),
            );
            if !self.has_length_of_data() {
                implied
                    .push(warmup(self.training.steps / 25, "built-in stories: a 25th of the steps".into()));
            }
        } else if self.model.preset.as_deref().is_some_and(|preset| SMALL_PRESETS.contains(&preset)) {
            // Rates and moments are AdamW's: with another optimizer its own rules hold.
            let is_adamw = self.optimizer.kind == OptimizerKind::Adamw;
            let recipe = of_recipe("small-machine", "recipe small-machine, for a small preset");
            implied.extend(recipe.filter(|implied| match implied.key {
                "model.preset" => false,
                "optimizer.optimizer" => true,
                key => is_adamw || !key.starts_with("optimizer."),
            }));
            if is_adamw && self.model.preset.as_deref() == Some("small") {
                implied.push(Implied {
                    key: "optimizer.learning_rate",
                    value: json!(RATE_OF_SMALL),
                    reason: "preset small".into(),
                });
            }
            if !self.has_length_of_data() {
                let steps = self.ruled_warmup().max(LEAST_WARMUP).min(self.training.steps / 5);
                let reason =
                    format!("small preset: {LEAST_WARMUP} steps at least, a fifth of the run at most");
                implied.push(warmup(steps, reason));
            }
        }
        implied.extend(self.model.implied());
        if let Some(init) = &self.model.init {
            let directory = model_in(init).unwrap_or_else(|_| init.clone());
            let reason = "the model of --init".into();
            implied.push(Implied { key: "data.tokenizer", value: json!(directory), reason });
        }
        let length = implied.iter().rev().find(|implied| implied.key == "sampling.max_seq_length");
        let length = length.and_then(|implied| implied.value.as_u64());
        let positions = self.model.max_position_embeddings;
        if (positions as u64) < length.unwrap_or(SampleOptions::default().max_seq_length as u64) {
            implied.push(Implied {
                key: "sampling.max_seq_length",
                value: positions.into(),
                reason: format!("the model's {positions} positions"),
            });
        }
        implied
    }

    /// Makes paths absolute, so that the saved configuration means the same in any folder.
    fn normalize(&mut self) {
        let DataSettings { train, held_out, tokenizer, .. } = &mut self.data;
        let texts = train
            .iter_mut()
            .chain(held_out)
            .filter(|path| path.as_os_str() != STANDARD_INPUT && !is_of_hub(path) && !is_address(path));
        let models = tokenizer.iter_mut().chain(&mut self.model.init).filter(|path| !is_model_name(path));
        for path in texts.chain(models) {
            // A path that is not Unicode cannot be written into the file; it stays as it was given.
            if let Ok(absolute) = std::path::absolute(&path)
                && absolute.to_str().is_some()
            {
                *path = absolute;
            }
        }
    }

    fn check(&self, objections: &mut Objections) {
        self.check_all(objections);
    }
}

/// Presets that somebody with a small machine trains, where what the paper does for large models teaches nothing in a day.
const SMALL_PRESETS: [&str; 2] = ["tiny", "small"];

/// The learning rate of preset `small`, whose layer is used more often than that of `tiny`: at 5e-4 it was seen to collapse.
const RATE_OF_SMALL: f64 = 3e-4;
/// Steps of warm-up of a small preset: in a hundred, what is learnt first (the pieces' frequencies) makes its layer collapse.
const LEAST_WARMUP: u64 = 1000;

/// The settings of a recipe for where nothing else is said.
fn of_recipe(name: &str, reason: &str) -> impl Iterator<Item = Implied> {
    let recipe = RECIPES.iter().find(|recipe| recipe.name == name).expect("one of the recipes");
    let mut layers = Layers::<Pretrain>::new();
    layers.toml(recipe.toml, name.as_ref());
    layers.assignments.into_iter().map(move |assignment| Implied {
        key: assignment.key,
        value: assignment.readings.into_iter().next().expect("a value of TOML has one reading"),
        reason: reason.into(),
    })
}

/// Steps of a run that nobody gave a length.
const DEFAULT_STEPS: u64 = 125_000;
/// Steps of the built-in run, as its recipe says.
const BUILT_IN_STEPS: u64 = 4000;
/// Steps of a small preset, as its recipe says.
const SMALL_STEPS: u64 = 10_000;
