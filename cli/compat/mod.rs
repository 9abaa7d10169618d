//! `albert-train compat`: command lines of the reference's programs, as they are said here.

mod flags;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde_json::Value as Json;
use train::exit::{Classify, ExitCode};

use self::flags::{Fate, Kind, Row, flags};
use crate::output::{say, tell};

/// Say what a command line of the reference's programs is here: a command for each thing that it does. Nothing is run.
///
/// Flags are taken as the reference takes them: --do_eval, --nodo_eval, --do_eval=True, --train_step=1000, --train_step 1000.
/// Every flag that is given and has no counterpart is explained; one that asks for what there is not is refused. Without flags,
/// all flags of the program are listed with what became of each.
#[derive(Args)]
pub struct Arguments {
    /// The program
    #[arg(value_enum, value_name = "PROGRAM")]
    program: Program,
    /// Its flags
    #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<String>,
}

/// The reference's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Program {
    /// Text to masked samples
    CreatePretrainingData,
    /// Masked words and sentence order
    RunPretraining,
    /// GLUE
    RunClassifier,
    /// SQuAD 1.1
    RunSquadV1,
    /// SQuAD 2.0
    RunSquadV2,
    /// RACE
    RunRace,
}

/// A command line that cannot be translated.
#[derive(Debug, thiserror::Error)]
pub enum CompatError {
    #[error("{program} has no flag --{flag}; `albert-train compat {program}` lists those that it has")]
    Unknown { program: String, flag: String },
    #[error("--{0} needs a value")]
    NoValue(String),
    #[error("--{flag} is true or false, not `{value}`")]
    NoTruth { flag: &'static str, value: String },
    #[error("`{0}` is no flag")]
    NoFlag(String),
    #[error("--{flag}={value} asks for what there is not: {reason}")]
    Refused { flag: &'static str, value: String, reason: &'static str },
    #[error("--{0} is needed to say what is meant")]
    Missing(&'static str),
}

impl Classify for CompatError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.flags.is_empty() {
        list(arguments.program)?;
        return Ok(ExitCode::Done);
    }
    let given = Given::parse(arguments.program, &arguments.flags)?;
    for (flag, reason) in given.explained().chain(given.notes()) {
        tell(format_args!("--{flag}: {reason}"));
    }
    for command in given.commands()? {
        say!("{}", command.join(" "));
    }
    Ok(ExitCode::Done)
}

/// All flags of a program, with what became of each.
fn list(program: Program) -> Result<()> {
    for (name, _, default, fate) in flags(program) {
        let (fate, words) = match fate {
            Fate::Mapped(flag) => ("mapped", flag),
            Fate::Read(words) => ("mapped", words),
            Fate::Explained(words) => ("explained", words),
            Fate::Refused(words) => ("refused", words),
        };
        let default = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        say!("{:38} {fate:9}  {words}", format!("--{name}{default}"));
    }
    Ok(())
}

/// The flags of a command line, by name.
struct Given {
    program: Program,
    rows: Vec<Row>,
    values: BTreeMap<&'static str, String>,
}

impl Given {
    /// Reads flags in the forms that absl takes.
    fn parse(program: Program, arguments: &[String]) -> Result<Self, CompatError> {
        let rows = flags(program);
        let mut values = BTreeMap::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let text = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
            let text = text.ok_or_else(|| CompatError::NoFlag(argument.clone()))?;
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text, None),
            };
            let find = |name: &str| rows.iter().find(|row| row.0 == name);
            let negated =
                name.strip_prefix("no").and_then(find).filter(|row| row.1 == Kind::Flag && value.is_none());
            let (name, value) = match (find(name), negated) {
                (Some(&(name, Kind::Flag, ..)), _) => {
                    (name, truth(name, value.as_deref().unwrap_or("true"))?)
                }
                (Some(&(name, Kind::Value, ..)), _) => {
                    let value = value.or_else(|| rest.next().cloned());
                    (name, value.ok_or_else(|| CompatError::NoValue(name.into()))?)
                }
                (None, Some(&(name, ..))) => (name, "false".into()),
                (None, None) => {
                    return Err(CompatError::Unknown {
                        program: program
                            .to_possible_value()
                            .map_or(String::new(), |value| value.get_name().to_owned()),
                        flag: name.into(),
                    });
                }
            };
            values.insert(name, value);
        }
        let given = Self { program, rows, values };
        for &(name, _, default, fate) in &given.rows {
            if let (Some(value), Fate::Refused(reason)) = (given.values.get(name), fate)
                && !is_same(value, default)
            {
                return Err(CompatError::Refused { flag: name, value: value.clone(), reason });
            }
        }
        Ok(given)
    }

    /// The flags that were given and have no counterpart, each with the reason.
    fn explained(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.rows.iter().filter_map(|&(name, _, _, fate)| match fate {
            Fate::Explained(reason) if self.values.contains_key(name) => Some((name, reason)),
            _ => None,
        })
    }

    /// What a command needs beside what the flags say.
    fn notes(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let records = "record files want --tokenizer too, the vocabulary that they were made with; or give the text itself";
        let text = "a model is evaluated on text, or on what prepare made of it: name some that was held out";
        let is_pretraining = self.program == Program::RunPretraining;
        let notes = [
            ("input_file", records, is_pretraining),
            ("do_eval", text, is_pretraining && self.is("do_eval")),
        ];
        notes.into_iter().filter(|note| note.2).map(|(flag, words, _)| (flag, words))
    }

    /// What was given; the default where nothing was; `None` where there is none.
    fn value(&self, name: &str) -> Option<&str> {
        let default = self.rows.iter().find(|row| row.0 == name).map(|row| row.2);
        self.values.get(name).map(String::as_str).or(default).filter(|value| !value.is_empty())
    }

    fn is(&self, name: &str) -> bool {
        self.value(name) == Some("true")
    }

    fn needed(&self, name: &'static str) -> Result<&str, CompatError> {
        self.value(name).ok_or(CompatError::Missing(name))
    }

    /// The flags that have a counterpart, with the reference's default where they were not given, so that the command means the
    /// same.
    fn mapped(&self, but: &[&str]) -> Vec<String> {
        let mut words = Vec::new();
        for &(name, kind, _, fate) in &self.rows {
            let Fate::Mapped(flag) = fate else { continue };
            match (kind, self.value(name)) {
                _ if but.contains(&name) => {}
                (_, None) => {}
                (Kind::Flag, Some(value)) => words.push(format!("{flag}={value}")),
                (Kind::Value, Some(value)) => words.extend([flag.into(), quoted(value)]),
            }
        }
        words
    }

    fn tokenizer(&self) -> Vec<String> {
        let file = self.value("spm_model_file").or(self.value("vocab_file"));
        file.map_or(Vec::new(), |file| vec!["--tokenizer".into(), quoted(file)])
    }

    /// The commands, each in words for a shell.
    fn commands(&self) -> Result<Vec<Vec<String>>> {
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
        pretrain.extend(self.mapped(&[]));
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
            train.extend(self.mapped(&[]));
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
        let mut commands = Vec::new();
        if self.is("do_train") {
            let model = quoted(model.ok_or(CompatError::Missing("init_checkpoint"))?);
            let mut train = command("finetune", &learnt, &["--model", &model]);
            train.extend(self.tokenizer());
            train.extend(self.mapped(&[]));
            commands.push(train);
        }
        if self.is("do_eval") {
            commands.push(command("evaluate", &worked_on, &["--model", &out]));
        }
        if self.is("do_predict") {
            let predictions = format!("{out}/predictions");
            commands.push(command("predict", &worked_on, &["--model", &out, "--out", &predictions]));
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

/// What absl takes for true and false.
fn truth(flag: &'static str, value: &str) -> Result<String, CompatError> {
    match value.to_lowercase().as_str() {
        "true" | "t" | "1" | "yes" | "y" => Ok("true".into()),
        "false" | "f" | "0" | "no" | "n" => Ok("false".into()),
        _ => Err(CompatError::NoTruth { flag, value: value.into() }),
    }
}

/// Whether two values are one, be they written differently.
fn is_same(value: &str, default: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    value == default || number(value).is_some_and(|value| Some(value) == number(default))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A pattern of names as a shell takes it: what stands for other characters is left to the shell.
fn quoted_pattern(pattern: &str) -> String {
    const WILD: [char; 4] = ['*', '?', '[', ']'];
    let parts = pattern.split_inclusive(WILD).map(|part| {
        let literal = part.trim_end_matches(WILD);
        let quoted = if literal.is_empty() { String::new() } else { quoted(literal) };
        quoted + &part[literal.len()..]
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use train::config::{Finetune, Pretrain, keys};

    use super::*;

    const PROGRAMS: [(Program, usize); 6] = [
        (Program::CreatePretrainingData, 17),
        (Program::RunPretraining, 28),
        (Program::RunClassifier, 32),
        (Program::RunSquadV1, 34),
        (Program::RunSquadV2, 35),
        (Program::RunRace, 35),
    ];

    fn commands(program: Program, line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(Into::into).collect();
        let commands = Given::parse(program, &words).unwrap().commands().unwrap();
        commands.iter().map(|command| command.join(" ") + "\n").collect()
    }

    fn refused(program: Program, line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(Into::into).collect();
        match Given::parse(program, &words) {
            Err(error) => error.to_string(),
            Ok(given) => given.commands().unwrap_err().to_string(),
        }
    }

    /// All 181, each once in its program, each accepted in every form, and each with a word.
    #[test]
    fn every_flag_of_the_reference_is_known() {
        assert_eq!(PROGRAMS.iter().map(|(_, count)| count).sum::<usize>(), 181);
        let keys = keys::<Pretrain>().into_iter().chain(keys::<Finetune>());
        let known = keys.map(|key| format!("--{}", key.name.replace('_', "-")));
        let known: BTreeSet<String> = known.chain(["--out".into()]).collect();
        for (program, count) in PROGRAMS {
            let rows = flags(program);
            let names: BTreeSet<_> = rows.iter().map(|row| row.0).collect();
            assert_eq!((rows.len(), names.len()), (count, count), "{program:?}");
            for (name, kind, default, fate) in rows {
                let value = match (default, kind) {
                    ("", _) => "x",
                    (default, _) => default,
                };
                let mut forms = vec![vec![format!("--{name}={value}")]];
                if kind == Kind::Value {
                    forms.push(vec![format!("-{name}"), value.into()]);
                }
                for form in forms {
                    let given =
                        Given::parse(program, &form).unwrap_or_else(|error| panic!("{form:?}: {error}"));
                    assert_eq!(given.value(name), Some(value), "{form:?}");
                }
                if kind == Kind::Flag {
                    let given = Given::parse(program, &[format!("--no{name}")]).unwrap();
                    assert_eq!(given.value(name), Some("false"));
                }
                match fate {
                    Fate::Mapped(flag) => assert!(known.contains(flag), "{name}: there is no {flag}"),
                    Fate::Read(words) | Fate::Explained(words) | Fate::Refused(words) => {
                        assert!(!words.is_empty(), "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_command_line_is_said_as_it_is_here() {
        let line = "--data_dir=glue --task_name=MNLI --output_dir=out --init_checkpoint=base/model.ckpt-best --do_train --do_eval \
                    --nodo_predict --spm_model_file 30k-clean.model --train_step=10000 --warmup_step 1000 --learning_rate=3e-5 \
                    --train_batch_size=128 --use_tpu=False";
        assert_eq!(
            commands(Program::RunClassifier, line),
            "albert-train finetune glue mnli --data glue --model base/model.ckpt-best --tokenizer 30k-clean.model --out out \
             --max-seq-length 512 --batch 128 --learning-rate 3e-5 --steps 10000 --warmup-steps 1000 --eval-every 1000 --keep 5 \
             --optimizer adamw\nalbert-train evaluate glue mnli --data glue --model out\n"
        );
        let squad = "--train_file=squad/train-v2.0.json --predict_file=squad/dev-v2.0.json --output_dir=o --do_predict=true";
        assert_eq!(
            commands(Program::RunSquadV2, squad),
            "albert-train predict squad --version 2.0 --data squad/dev-v2.0.json --model o --out o/predictions\n"
        );
        let own = "--train_file=my/train.json --predict_file=my/dev.json --output_dir=o --init_checkpoint=m --do_train";
        let expected =
            "albert-train finetune squad --version 1.1 --train my/train.json --dev my/dev.json --model m ";
        assert!(commands(Program::RunSquadV1, own).starts_with(expected));
        let race =
            "--data_dir=RACE --output_dir=r --init_checkpoint=m --high_only --nodo_train --dropout_prob=0";
        assert_eq!(
            commands(Program::RunRace, race),
            "albert-train evaluate race --data RACE --level high --model r\n"
        );
        let words: Vec<String> = ["--input_file=x.tf_record", "--output_dir=o", "--do_eval", "--nodo_train"]
            .map(String::from)
            .to_vec();
        let given = Given::parse(Program::RunPretraining, &words).unwrap();
        assert_eq!(given.notes().map(|(flag, _)| flag).collect::<Vec<_>>(), ["input_file", "do_eval"]);
        assert_eq!(given.commands().unwrap().len(), 1);
        assert_eq!(quoted_pattern("my text/part-?.*"), "'my text/part-'?.*");
        let data = "--input_file=a/*.txt,b.txt --output_file=o --vocab_file=v.txt --nodo_whole_word_mask --random_seed=1";
        let expected = commands(Program::CreatePretrainingData, data);
        assert!(
            expected.starts_with("albert-train prepare --input a/*.txt b.txt --out o --tokenizer v.txt\n"),
            "{expected}"
        );
        assert!(expected.contains("--whole-word=false") && expected.contains("--seed 1 "), "{expected}");
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        for (program, line, words) in [
            (Program::RunSquadV1, "--n_best_size=30", "--n_best_size=30 asks for what there is not"),
            (Program::RunSquadV1, "--no_such=1", "run_squad_v1 has no flag --no_such"),
            (Program::RunSquadV1, "--do_train=maybe", "is true or false"),
            (Program::RunSquadV1, "--learning_rate", "needs a value"),
            (Program::RunSquadV1, "stray", "is no flag"),
            (Program::RunPretraining, "--input_file=x --output_dir=o", "--albert_config_file is needed"),
            (Program::RunSquadV1, "--do_predict --train_file=t --output_dir=o", "--predict_file is needed"),
            (Program::RunRace, "--do_train --output_dir=o --data_dir=d", "--init_checkpoint is needed"),
        ] {
            let refused = refused(program, line);
            assert!(refused.contains(words), "{line}: {refused}");
        }
        let given =
            Given::parse(Program::RunSquadV1, &["--n_best_size=20.0".into(), "--use_tpu".into()]).unwrap();
        assert_eq!(given.explained().map(|(flag, _)| flag).collect::<Vec<_>>(), ["use_tpu"]);
    }
}
