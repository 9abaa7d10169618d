//! The commands that say what a command line of the reference's says.

use std::path::Path;

use anyhow::Result;
use train::config::{Layers, Pretrain, keys};

use super::flags::{Fate, Kind, Row};
use super::given::Given;
use super::line::CommandLine;
use super::models::sizes;
use super::{CompatError, Program};

/// What a model's sequences are made by, when it is trained and whenever it is asked.
const LIMITS: [&str; 3] = ["--max-seq-length", "--max-question-length", "--doc-stride"];
/// How samples are cut and masked, beside the text that `create_pretraining_data` prepared: settings for `pretrain --config`.
pub const SAMPLING: &str = "sampling.toml";

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
                Kind::Value => words.extend([flag.to_owned(), said(flag, value).to_owned()]),
            }
        }
        words
    }

    /// The vocabulary that is given; a TF-Hub module has its own, as in the reference.
    fn tokenizer(&self) -> Vec<String> {
        if self.value("init_checkpoint").is_none() && self.value("albert_hub_module_handle").is_some() {
            return Vec::new();
        }
        let file = self.value("spm_model_file").or(self.value("vocab_file"));
        file.map_or(Vec::new(), |file| vec!["--tokenizer".into(), file.into()])
    }

    /// The commands, in order.
    pub fn commands(&self) -> Result<Vec<CommandLine>> {
        let commands = match self.program {
            Program::CreatePretrainingData => vec![self.preparation()?],
            Program::RunPretraining => self.pretraining()?,
            Program::RunClassifier => self.finetuning(&["glue", &self.glue_task()?], self.data_folder()?)?,
            Program::RunSquadV1 => self.finetuning(&["squad", "--version", "1.1"], self.squad_files()?)?,
            Program::RunSquadV2 => self.finetuning(&["squad", "--version", "2.0"], self.squad_files()?)?,
            Program::RunRace => {
                let level = match (self.is("high_only"), self.is("middle_only")) {
                    (true, _) => "high",
                    (_, true) => "middle",
                    _ => "both",
                };
                self.finetuning(&["race", "--level", level], self.data_folder()?)?
            }
        };
        if commands.is_empty() {
            let flags = self.rows.iter().map(|row| row.0).filter(|name| name.starts_with("do_"));
            let flags: Vec<_> = flags.filter(|name| *name != "do_lower_case").collect();
            return Err(CompatError::Nothing(flags.join(", --")).into());
        }
        Ok(commands)
    }

    /// The task of GLUE, which the reference calls by several names.
    fn glue_task(&self) -> Result<String, CompatError> {
        let task = self.needed("task_name")?.to_lowercase();
        Ok(match task.as_str() {
            "sts" => "sts-b".into(),
            "sst" => "sst-2".into(),
            "mismnli" => "mnli".into(),
            _ => task,
        })
    }

    /// Samples are cut and masked while they are learnt from: what says how is kept beside the text.
    fn preparation(&self) -> Result<CommandLine> {
        let out = self.needed("output_file")?;
        if out.contains(',') {
            return Err(CompatError::Several(out.into()).into());
        }
        let mut layers = Layers::<Pretrain>::new();
        for (name, path, value) in self.sampled() {
            layers.flag(path, &format!("--{name}"), &[value]);
        }
        // The model comes later, with as many positions.
        layers.flag("model.max_position_embeddings", "--max_seq_length", &[self.needed("max_seq_length")?]);
        layers.resolve()?; // what is wrong is said before any text is read
        let prepare = CommandLine::new(&["prepare", "--input"]).with_patterns(self.needed("input_file")?);
        Ok(prepare.with(["--out", out]).with(self.tokenizer()))
    }

    /// How samples are cut and masked, as settings.
    pub fn sampling(&self) -> String {
        let mut text =
            String::from("# How samples are cut and masked, as create_pretraining_data was told.\n");
        for (_, path, value) in self.sampled() {
            // `.15` is a number to absl, and none to TOML.
            let number = value.parse::<f64>().ok().filter(|_| value.parse::<u64>().is_err());
            let value = number.map_or(value.to_owned(), |number| format!("{number:?}"));
            text += &format!("{path} = {value}\n");
        }
        text
    }

    /// The flags that say so: flag, key of the settings, value.
    fn sampled(&self) -> Vec<(&'static str, &'static str, &str)> {
        let keys = keys::<Pretrain>();
        let sampled = |&(name, _, _, fate): &Row| {
            let (Fate::Mapped(flag), Some(value)) = (fate, self.value(name)) else { return None };
            let key = keys.iter().find(|key| flag[2..].replace('-', "_") == key.name)?;
            Some((name, key.path, value))
        };
        self.rows.iter().filter_map(sampled).collect()
    }

    fn pretraining(&self) -> Result<Vec<CommandLine>> {
        let (input, out) = (self.needed("input_file")?, self.needed("output_dir")?);
        let number = |name| self.value(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
        let sequences = (number("max_eval_steps") * number("eval_batch_size")).max(1).to_string();
        // What is given here is more than what was said when the text was prepared.
        let sampling = Path::new(input).join(SAMPLING);
        let sampling = sampling.is_file().then(|| sampling.to_string_lossy().into_owned());
        let config = |path: Option<String>| path.map_or(Vec::new(), |path| vec!["--config".into(), path]);
        let mut commands = Vec::new();
        if self.is("do_train") {
            // The reference asks for it too: without it, the model would be one of other sizes.
            let sizes_file = self.needed("albert_config_file")?;
            let train = CommandLine::new(&["pretrain", "--train"]).with_patterns(input);
            let train = train.with(self.of_records(input, sizes_file)?).with(config(sampling));
            let train = match self.value("init_checkpoint") {
                Some(_) => train.with(["--init", &self.first_model()?]),
                None => train,
            };
            let train = train.with(self.mapped()).with(["--eval-sequences", &sequences]);
            commands.push(train.with(sizes(sizes_file)?));
        } else if self.is("do_eval") {
            let of_run = Path::new(out).join("config.toml");
            let of_run = of_run.is_file().then(|| of_run.to_string_lossy().into_owned());
            let evaluate = CommandLine::new(&["evaluate", "text", "--model", out, "--data"]);
            let evaluate = evaluate.with_patterns(input).with(config(of_run.or(sampling)));
            let evaluate = evaluate.with(self.mapped_of(|flag| LIMITS.contains(&flag)));
            commands.push(evaluate.with(["--sequences", &sequences]));
        }
        Ok(commands)
    }

    /// `finetune`, `evaluate`, `predict` of a task; `files` are the words that name those to learn from, and those to work on.
    fn finetuning(&self, task: &[&str], files: [Vec<String>; 2]) -> Result<Vec<CommandLine>, CompatError> {
        let out = self.needed("output_dir")?;
        let [learnt, worked_on] = files;
        // The recipes have the reference's lengths, but for SQuAD 2.0; one that nobody gave is cut to the model's positions.
        let says_length = self.is_given("max_seq_length") || matches!(self.program, Program::RunSquadV2);
        let limits =
            self.mapped_of(|flag| LIMITS.contains(&flag) && (says_length || flag != "--max-seq-length"));
        let asked = self.model_asked(out)?;
        let ask = |name: &str| {
            let command = CommandLine::new(&[name]).with(task.iter().copied()).with(worked_on.clone());
            command.with(["--model", &asked]).with(limits.clone())
        };
        let is_squad = matches!(self.program, Program::RunSquadV1 | Program::RunSquadV2);
        let mut commands = Vec::new();
        if self.is("do_train") {
            let train = CommandLine::new(&["finetune"]).with(task.iter().copied()).with(learnt);
            let train = train.with(["--model", &self.first_model()?]);
            commands.push(train.with(self.tokenizer()).with(self.mapped()));
        } else if self.is("do_eval") {
            commands.push(ask("evaluate"));
        }
        if self.is("do_predict") {
            let folder = format!("{out}/predictions");
            match self.program {
                // The reference measures on the test set.
                Program::RunRace => {
                    commands.push(ask("evaluate").with(["--split", "test", "--out", &folder]));
                }
                _ if is_squad => commands.push(ask("predict").with(["--out", out])),
                _ => commands.push(ask("predict").with(["--out", &folder])),
            }
        }
        if is_squad && self.is("do_predict") {
            commands.push(self.official_score(task, &worked_on, out));
        }
        Ok(commands)
    }

    /// The official figures of the predictions in `out`.
    fn official_score(&self, task: &[&str], data: &[String], out: &str) -> CommandLine {
        let score = CommandLine::new(&["evaluate"]).with(task.iter().copied()).with(data.to_vec());
        let score = score.with(["--predictions", &format!("{out}/predictions.json")]);
        match self.program {
            // The predictions are those of the best threshold already: nothing is above this one.
            Program::RunSquadV2 => {
                score.with(["--null-odds", &format!("{out}/null_odds.json"), "--na-prob-thresh", "1e30"])
            }
            _ => score,
        }
    }

    /// The folder of a task's files.
    fn data_folder(&self) -> Result<[Vec<String>; 2], CompatError> {
        let data = vec!["--data".to_owned(), self.needed("data_dir")?.to_owned()];
        Ok([data.clone(), data])
    }

    /// SQuAD's files, which may be called anything.
    fn squad_files(&self) -> Result<[Vec<String>; 2], CompatError> {
        let named = |flag: &str, name| {
            self.value(name).map_or(Vec::new(), |file| vec![flag.to_owned(), file.to_owned()])
        };
        if self.is("do_train") {
            self.needed("train_file")?;
        }
        if self.is("do_predict") {
            self.needed("predict_file")?;
        }
        let learnt = [named("--train", "train_file"), named("--dev", "predict_file")].concat();
        Ok([learnt, named("--data", "predict_file")])
    }
}

/// A value as it is said here. The reference keeps all checkpoints where it is told 0, and the newest alone where it is told 1: here
/// those are the most and the fewest that can be kept.
fn said<'a>(flag: &str, value: &'a str) -> &'a str {
    match (flag, value) {
        ("--keep", "0") => "100000",
        ("--keep", "1") => "2",
        _ => value,
    }
}
