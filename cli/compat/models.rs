//! The models, vocabularies and sizes that a command line of the reference's names.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value as Json;
use train::pretraining::is_recorded;
use train::run::directory::read_info;
use train::tokenizer::{LoadOptions, Tokenizer};

use super::CompatError;
use super::given::{Given, is_web};
use super::line::matching;

/// The variable that names a tokenizer where no flag of the reference's does.
const TOKENIZER: &str = "ALBERT_TRAIN_DATA_TOKENIZER";
/// What the reference calls the sizes of a model.
const SIZES: &str = "albert_config.json";

impl Given {
    /// The model that training begins with.
    pub(super) fn first_model(&self) -> Result<String, CompatError> {
        let given = self.value("init_checkpoint").or(self.value("albert_hub_module_handle"));
        let given = given.ok_or(CompatError::Missing("init_checkpoint"))?;
        if is_web(given) {
            return Err(CompatError::OverNetwork(given.into()));
        }
        // A checkpoint by the reference's name in a run of this program is the run's model.
        let path = Path::new(given);
        let run = path.parent().filter(|run| matches!(read_info(run), Ok(Some(_))));
        let is_checkpoint = path.exists() || Path::new(&format!("{given}.index")).exists();
        self.expect_same_sizes(given)?;
        Ok(match run.filter(|_| !is_checkpoint) {
            Some(run) => run.to_string_lossy().into_owned(),
            None => given.into(),
        })
    }

    /// The model that is asked: that in the output folder, where there is one or will be.
    pub(super) fn model_asked(&self, out: &str) -> Result<String, CompatError> {
        let is_there = |name: &str| Path::new(out).join(name).exists();
        let is_given = self.value("init_checkpoint").is_some();
        let has_model = ["run.json", "config.json", "model.ckpt-best.index"].into_iter().any(is_there);
        if self.is("do_train") || has_model || !is_given { Ok(out.into()) } else { self.first_model() }
    }

    /// A checkpoint's sizes are read from beside it, where a release has them: others that are given must be the same.
    fn expect_same_sizes(&self, checkpoint: &str) -> Result<(), CompatError> {
        let is_checkpoint = Path::new(&format!("{checkpoint}.index")).exists();
        let (Some(given), true) = (self.value("albert_config_file"), is_checkpoint) else { return Ok(()) };
        let beside = Path::new(checkpoint).with_file_name(SIZES);
        let read = |path: &Path| serde_json::from_slice::<Json>(&std::fs::read(path).ok()?).ok();
        match (read(Path::new(given)), read(&beside)) {
            (Some(given), Some(found)) if given == found => Ok(()),
            (None, Some(_)) => Ok(()), // it is not needed
            (_, found) => {
                let found = if found.is_some() { "holds others" } else { "is not there" };
                Err(CompatError::OtherSizes { given: given.into(), beside, found })
            }
        }
    }

    /// What record files leave to be said. Of their vocabulary they say nothing; a release has it beside its configuration. And
    /// `--max_predictions_per_seq` alone limits what is masked in them.
    pub(super) fn of_records(&self, input: &str, config: &str) -> Result<Vec<String>, CompatError> {
        let files = input.split(',').flat_map(|pattern| matching(pattern).unwrap_or_default());
        let Some(records) = files.into_iter().find(|path| is_recorded(path)) else { return Ok(Vec::new()) };
        let number = |name| self.value(name).and_then(|value| value.parse::<f64>().ok()).unwrap_or(1.0);
        let share = number("max_predictions_per_seq") / number("max_seq_length");
        let mut words = vec!["--masked-lm-prob".to_owned(), share.clamp(0.15, 1.0).to_string()];
        if std::env::var_os(TOKENIZER).is_some() {
            return Ok(words);
        }
        let folder = Path::new(config).parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        match Tokenizer::load(folder, &LoadOptions::default()) {
            Ok(_) => {
                words.extend(["--tokenizer".into(), folder.to_string_lossy().into_owned()]);
                Ok(words)
            }
            Err(_) => Err(CompatError::NoTokenizer { records, config: config.into() }),
        }
    }
}

/// The sizes in an `albert_config.json`, each as a flag.
pub fn sizes(path: &str) -> Result<Vec<String>> {
    /// What both call the same.
    const NAMES: [&str; 14] = [
        "vocab_size",
        "embedding_size",
        "hidden_size",
        "num_hidden_layers",
        "num_hidden_groups",
        "num_attention_heads",
        "intermediate_size",
        "inner_group_num",
        "hidden_act",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "max_position_embeddings",
        "type_vocab_size",
        "initializer_range",
    ];
    let text = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
    let config: Json = serde_json::from_slice(&text).with_context(|| format!("{path} is no JSON"))?;
    let mut words = Vec::new();
    for name in NAMES {
        let value = match &config[name] {
            // The reference's gelu is the approximation by tanh.
            Json::String(text) if name == "hidden_act" && text == "gelu" => "gelu_new".into(),
            Json::String(text) => text.clone(),
            Json::Number(number) => number.to_string(),
            _ => continue,
        };
        words.extend([format!("--{}", name.replace('_', "-")), value]);
    }
    Ok(words)
}
