//! A finished model at its task: answers to examples, without anything that only training needs.

use std::path::Path;

use engine::{Device, PlanId, PlanOptions, Recompute, Runtime, State};
use model::{Albert, Capacity, Fresh, Head, MULTI_LABEL, Mode, Origin};

use super::answering::{Answering, head};
use super::answers::Answer;
use super::error::TaskError;
use super::features::expect_segments;
use super::job::{capacity, load};
use super::objective::Examined;
use super::task::Kind;
use crate::run::directory::model_in;
use crate::tokenizer::{LoadOptions, Tokenizer};
use crate::training::{Evaluator, SessionError};

/// Tokens computed at a time.
const TOKENS: usize = 4096;

/// A fine-tuned model and its tokenizer.
pub struct Predictor {
    albert: Albert,
    head: Head,
    runtime: Runtime,
    tokenizer: Tokenizer,
    /// What a person should know of the model.
    warnings: Vec<String>,
    /// What was asked last, with the plan for micro-batches of its size.
    loaded: Option<(Capacity, PlanId, Answering)>,
}

/// What a model's files say that it was trained for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purpose {
    /// The names of its classes, in the order of its outputs; where its files give none, or not to each, those that transformers
    /// gives them.
    pub labels: Vec<String>,
    /// What it answers to a text alone; nothing of a model that was not fine-tuned, or chooses between options.
    pub kind: Option<Kind>,
    /// Whether its classes stand for themselves, so that a text has any number of them.
    pub is_multi_label: bool,
    /// Whether it is taken to tell a value of a text although nothing in its files says so.
    pub is_guessed: bool,
}

impl Purpose {
    /// Of the model in `directory`, a model directory or a run.
    ///
    /// # Errors
    /// If there is no model, it cannot be read, or it tells several values of a text, which no task here asks for.
    pub fn of(directory: &Path) -> Result<Self, SessionError> {
        let origin = Origin::of(&model_in(directory)?)?;
        let kind = |head: &Head| match *head {
            Head::Classification { outputs: 1, .. } => Some(Kind::Value),
            Head::Classification { outputs, .. } => Some(Kind::Classes(outputs)),
            Head::TokenClassification { outputs, .. } => Some(Kind::TokenClasses(outputs)),
            Head::Span => Some(Kind::Span),
            Head::AnswerableSpan { .. } => Some(Kind::AnswerableSpan),
            _ => None,
        };
        let heads = model::heads_in(origin.path())?;
        let kind = heads.iter().find_map(kind);
        let outputs = match kind {
            Some(Kind::Classes(outputs) | Kind::TokenClasses(outputs)) => outputs,
            _ => 2, // as there too, where nothing else is known
        };
        let config = model::config_in(origin.path())?;
        let problem = config.problem_type().filter(|_| matches!(kind, Some(Kind::Classes(_))));
        if problem == Some("regression") {
            return Err(TaskError::SeveralValues { model: directory.to_path_buf(), outputs }.into());
        }
        let is_multi_label = problem == Some(MULTI_LABEL);
        let labels = config.labels();
        let labels = if labels.len() == outputs { labels } else { (0..outputs).map(nameless).collect() };
        let is_guessed = heads.iter().any(|head| head.is_guessed(&config));
        Ok(Self { labels, kind, is_multi_label, is_guessed })
    }

    /// Whether the model has classes, to which its files give no names.
    pub fn is_nameless(&self) -> bool {
        let has_classes = matches!(self.kind, Some(Kind::Classes(_) | Kind::TokenClasses(_)));
        has_classes && self.labels.iter().enumerate().all(|(class, name)| *name == nameless(class))
    }
}

/// What transformers calls a class without a name.
fn nameless(class: usize) -> String {
    format!("LABEL_{class}")
}

impl Predictor {
    /// The model in `directory`, a model directory or a run, which must have the head that `kind` needs.
    ///
    /// # Errors
    /// If it cannot be loaded, or has the head of another task.
    pub fn load(directory: &Path, kind: Kind, device: Device) -> Result<Self, SessionError> {
        let origin = Origin::of(&model_in(directory)?)?;
        let tokenizer = Tokenizer::load(origin.folder(), &LoadOptions::default())?;
        let head = head(kind, 0.0);
        let loaded = load(origin.path(), &tokenizer, &head, Fresh::Nothing, [None, None], &[])?;
        let warnings = loaded.warnings();
        let mut runtime = Runtime::new(device, loaded.albert.parameters().clone())?;
        runtime.write(State::Values, &loaded.values);
        Ok(Self { albert: loaded.albert, head, runtime, tokenizer, warnings, loaded: None })
    }

    /// Text to ids.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// What a person should know of the model although it can be used, in words.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The longest sequence that the model takes.
    pub fn positions(&self) -> usize {
        self.albert.config().max_position_embeddings
    }

    /// The answers to the examples of a split.
    ///
    /// # Errors
    /// If there is not enough memory, or the model tells no two segments apart and is shown them.
    pub fn answers(&mut self, kind: Kind, split: &Examined) -> Result<Vec<Answer>, SessionError> {
        expect_segments(self.albert.config(), &split.features)?;
        let capacity = capacity(&[split], TOKENS);
        if self.loaded.as_ref().is_none_or(|(loaded, ..)| !holds(loaded, &capacity)) {
            self.loaded = Some(self.load_plan(capacity)?);
        }
        let Some((_, plan, answering)) = &self.loaded else { unreachable!("loaded above") };
        let never = || false;
        let mut model = Evaluator::new(&mut self.runtime, *plan, &never);
        let answered = answering.answers(kind, &split.features, split.examples.len(), &mut model);
        Ok(answered.map_err(crate::training::TrainError::from)?.expect("nobody stops it").answers)
    }

    fn load_plan(&mut self, capacity: Capacity) -> Result<(Capacity, PlanId, Answering), SessionError> {
        let options = PlanOptions { precision: self.runtime.precision(), recompute: Recompute::None };
        let plan =
            self.albert.plan(&self.head, capacity, Mode::Prediction, options).expect("nothing is trained");
        let plan = self.runtime.load(plan)?;
        let special = self.tokenizer.special();
        let head = self.head.clone();
        let answering =
            Answering::new(&self.albert, head, special, capacity, Mode::Prediction, &mut self.runtime)?;
        Ok((capacity, plan, answering))
    }
}

/// Whether a plan for `larger` takes what one for `smaller` takes.
fn holds(larger: &Capacity, smaller: &Capacity) -> bool {
    larger.tokens >= smaller.tokens && larger.sequences >= smaller.sequences
}
