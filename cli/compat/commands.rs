//! The commands that say what a command line of the reference's says.

use anyhow::{Context, Result};
use serde_json::Value as Json;

use super::flags::{Fate, Kind};
use super::given::Given;
use super::{CompatError, Program};
use crate::shell::quoted;

/// What a model's sequences are made by, when it is trained and whenever it is asked.
const LIMITS: [&str; 3] = ["--max-seq-length", "--max-question-length", "--doc-stride"];

impl Given {
    /// The flags that have a counterpart, with the reference's default where they were not given, so that the command means the
    /// same.
    fn mapped(&self) -> Vec<String> {
        self.mapped_of(|_| true)
    }

    /// Those of some counterparts.
    fn mapped_of(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut words = Vec::new();
        for &(name, kind, _, fate) in &self.rows {
            let (Fate::Mapped(flag), Some(value)) = (fate, self.value(name)) else { continue };
            match kind {
                _ if !is_wanted(flag) => {}
                Kind::Flag => words.push(format!("{flag}={value}")),
                Kind::Value => words.extend([flag.into(), quoted(value)]),
            }
        }
        words
    }

    fn tokenizer(&self) -> Vec<String> {
        let file = self.value("spm_model_file").or(self.value("vocab_file"));
        file.map_or(Vec::new(), |file| vec!["--tokenizer".into(), quoted(file)])
    }

    /// The commands, each in words for a shell.
    pub fn commands(&self) -> Result<Vec<Vec<String>>> {
        Ok(match self.program {
            Program::CreatePretrainingData => self.preparation()?,
            Program::RunPretraining => self.pretraining()?,
            Program::RunClassifier => {
                let task = self.needed("task_name")?.to_lowercase();
                // As the reference calls them.
                let task = match task.as_str() {
                    "sts" => "sts-b",
                    "sst" => "sst-2",
                    task => task,
                }
                .to_owned();
                self.finetuning(&["glue", &task], self.data_folder()?, &[])?
            }
            Program::RunSquadV1 => {
                self.finetuning(&["squad", "--version", "1.1"], self.squad_files()?, &[])?
            }
            Program::RunSquadV2 => {
                self.finetuning(&["squad", "--version", "2.0"], self.squad_files()?, &[])?
            }
            Program::RunRace => {
                let level = match (self.is("high_only"), self.is("middle_only")) {
                    (true, _) => "high",
                    (_, true) => "middle",
                    _ => "both",
                };
                self.finetuning(&["race"], self.data_folder()?, &["--level", level])?
            }
        })
    }

    fn preparation(&self) -> Result<Vec<Vec<String>>, CompatError> {
        let out = quoted(self.needed("output_file")?);
        let mut prepare = words(&["prepare", "--input"]);
        prepare.extend(self.needed("input_file")?.split(',').map(quoted_pattern));
        prepare.extend(["--out".into(), out.clone()]);
        prepare.extend(self.tokenizer());
        // Samples are cut and masked while they are learnt from: what says how goes with that command.
        let mut pretrain = words(&["pretrain", "--train"]);
        pretrain.push(out);
        pretrain.extend(self.mapped());
        Ok(vec![prepare, pretrain])
    }

    fn pretraining(&self) -> Result<Vec<Vec<String>>> {
        let input: Vec<String> = self.needed("input_file")?.split(',').map(quoted_pattern).collect();
        let out = quoted(self.needed("output_dir")?);
        let number = |name| self.value(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
        let sequences = (number("max_eval_steps") * number("eval_batch_size")).max(1).to_string();
        let mut commands = Vec::new();
        if self.is("do_train") {
            let mut train = words(&["pretrain", "--train"]);
            train.extend(input.clone());
            train.extend(self.mapped());
            train.extend(words(&["--eval-sequences", &sequences]));
            // The reference asks for it too: without it, the model would be one of other sizes.
            train.extend(sizes(self.needed("albert_config_file")?)?);
            commands.push(train);
        }
        if self.is("do_eval") {
            let mut evaluate =
                words(&["evaluate", "text", "--model", &out, "--sequences", &sequences, "--data"]);
            evaluate.extend(input);
            commands.push(evaluate);
        }
        Ok(commands)
    }

    /// `finetune`, `evaluate`, `predict` of a task; `files` are the words that name those to learn from, and those to work on.
    fn finetuning(
        &self,
        task: &[&str],
        files: [Vec<String>; 2],
        more: &[&str],
    ) -> Result<Vec<Vec<String>>, CompatError> {
        let out = quoted(self.needed("output_dir")?);
        let model = self.value("init_checkpoint").or(self.value("albert_hub_module_handle"));
        let [learnt, worked_on] =
            files.each_ref().map(|files| files.iter().map(String::as_str).collect::<Vec<_>>());
        let command =
            |name: &str, files: &[&str], rest: &[&str]| words(&[&[name], task, files, more, rest].concat());
        let limits = self.mapped_of(|flag| LIMITS.contains(&flag));
        let limited = |mut words: Vec<String>| {
            words.extend(limits.iter().cloned());
            words
        };
        let mut commands = Vec::new();
        if self.is("do_train") {
            let model = quoted(model.ok_or(CompatError::Missing("init_checkpoint"))?);
            let mut train = command("finetune", &learnt, &["--model", &model]);
            train.extend(self.tokenizer());
            train.extend(self.mapped());
            commands.push(train);
        }
        if self.is("do_eval") {
            commands.push(limited(command("evaluate", &worked_on, &["--model", &out])));
        }
        if self.is("do_predict") {
            let predictions = format!("{out}/predictions");
            let predict = command("predict", &worked_on, &["--model", &out, "--out", &predictions]);
            commands.push(limited(predict));
        }
        Ok(commands)
    }

    /// The folder of a task's files.
    fn data_folder(&self) -> Result<[Vec<String>; 2], CompatError> {
        let data = vec!["--data".to_owned(), quoted(self.needed("data_dir")?)];
        Ok([data.clone(), data])
    }

    /// SQuAD's files, which may be called anything.
    fn squad_files(&self) -> Result<[Vec<String>; 2], CompatError> {
        let named = |flag: &str, name| {
            self.value(name).map_or(Vec::new(), |file| vec![flag.to_owned(), quoted(file)])
        };
        if self.is("do_train") {
            self.needed("train_file")?;
        }
        if self.is("do_eval") || self.is("do_predict") {
            self.needed("predict_file")?;
        }
        let learnt = [named("--train", "train_file"), named("--dev", "predict_file")].concat();
        Ok([learnt, named("--data", "predict_file")])
    }
}

/// The sizes in an `albert_config.json`, each as a flag.
fn sizes(path: &str) -> Result<Vec<String>> {
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
        words.extend([format!("--{}", name.replace('_', "-")), quoted(&value)]);
    }
    Ok(words)
}

/// A command of this program.
fn words(words: &[&str]) -> Vec<String> {
    std::iter::once("albert-train")
        .filter(|_| !words[0].starts_with('-'))
        .chain(words.iter().copied())
        .map(Into::into)
        .collect()
}

/// A pattern of names as a shell takes it: what stands for other characters is left to the shell.
pub fn quoted_pattern(pattern: &str) -> String {
    const WILD: [char; 4] = ['*', '?', '[', ']'];
    let parts = pattern.split_inclusive(WILD).map(|part| {
        let literal = part.trim_end_matches(WILD);
        let quoted = if literal.is_empty() { String::new() } else { quoted(literal) };
        quoted + &part[literal.len()..]
    });
    parts.collect()
}
