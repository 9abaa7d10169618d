//! Settings from a file, the environment and flags: every key is a flag of the same name.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use train::config::{ConfigError, Key, Layers, Resolved, Settings, keys};

/// `--config`, `--set`, and one flag per key.
pub struct SettingsArguments<S> {
    config: Option<PathBuf>,
    sets: Vec<String>,
    /// Key, flag as written, values.
    flags: Vec<(&'static str, String, Vec<String>)>,
    settings: PhantomData<S>,
}

/// The keys that `-h` shows: what most runs are told. `--help` shows all.
const COMMON: [&str; 13] = [
    "model.preset",
    "model.init",
    "data.train",
    "data.tokenizer",
    "task.data",
    "start.model",
    "optimizer.learning_rate",
    "training.steps",
    "training.epochs",
    "training.batch",
    "training.eval_every",
    "training.seed",
    "training.max_time",
];

/// What stands for the value of a key in help.
fn value_name(key: &Key) -> &'static str {
    match key.name {
        "train" | "dev" | "held_out" | "tokenizer" | "init" | "data" | "model" => "PATH",
        "preset" | "size" => "SIZE",
        "text" | "pair" | "label" => "COLUMN",
        "save_every" => "STEPS|TIME",
        "max_time" => "TIME",
        "learning_rate" => "RATE",
        "device" => "DEVICE",
        "warmup_steps"
        | "steps"
        | "epochs"
        | "tokens"
        | "micro_batch"
        | "batch"
        | "threads"
        | "vocab_size"
        | "eval_every"
        | "eval_examples"
        | "train_examples"
        | "positions"
        | "patience"
        | "max_seq_length"
        | "max_question_length"
        | "doc_stride" => "N",
        "null_threshold" | "warmup_share" | "head_dropout" | "hidden_dropout" | "attention_dropout" => "X",
        _ if key.is_switch => "true|false",
        _ if key.default.as_ref().is_some_and(|default| default.parse::<f64>().is_ok()) => "N",
        _ => "NAME",
    }
}

/// A line of help without what is only said where there is room.
fn short(help: &str) -> String {
    help.split(';').next().unwrap_or(help).to_owned()
}

fn flag(key: &Key) -> String {
    key.name.replace('_', "-")
}

impl<S: Settings> Args for SettingsArguments<S> {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .short('c')
            .long("config")
            .value_name("FILE")
            .help("Settings in TOML; - for standard input");
        let set = Arg::new("set").long("set").value_name("KEY=VALUE").action(ArgAction::Append);
        let set = set
            .help("Set one key, as in training.steps=500; may be given several times")
            .hide_short_help(true);
        let command = command.arg(config.value_parser(clap::value_parser!(PathBuf))).arg(set);
        keys::<S>().into_iter().fold(command, |command, key| {
            let default =
                key.default.as_ref().map_or(String::new(), |default| format!(" [default: {default}]"));
            let arg = Arg::new(key.path)
                .long(flag(&key))
                .value_name(value_name(&key))
                .help(short(key.help))
                .long_help(format!("{}{default}", key.help))
                .hide_short_help(!COMMON.contains(&key.path))
                .help_heading(format!("[{}]", key.section))
                .allow_negative_numbers(true)
                .action(if key.is_list { ArgAction::Append } else { ArgAction::Set });
            command.arg(match (key.is_list, key.is_switch) {
                (true, _) => arg.num_args(1..),
                (false, true) => arg.num_args(0..=1).default_missing_value("true"),
                (false, false) => arg,
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Settings> FromArgMatches for SettingsArguments<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let texts = |id: &str| -> Vec<String> {
            matches.get_many::<String>(id).map(|values| values.cloned().collect()).unwrap_or_default()
        };
        let flags = (keys::<S>().iter())
            .map(|key| (key.path, format!("--{}", flag(key)), texts(key.path)))
            .filter(|(_, _, values)| !values.is_empty())
            .collect();
        Ok(Self {
            config: matches.get_one::<PathBuf>("config").cloned(),
            sets: texts("set"),
            flags,
            settings: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<S: Settings> SettingsArguments<S> {
    /// Whether the command line says nothing about settings.
    pub fn is_empty(&self) -> bool {
        self.config.is_none() && self.sets.is_empty() && self.flags.is_empty()
    }

    /// All layers together; `saved` is the configuration of a run that goes on.
    ///
    /// # Errors
    /// Everything that is wrong, in any layer.
    pub fn resolve(&self, saved: Option<&Path>) -> Result<Resolved<S>, ConfigError> {
        self.resolve_with(saved, &[])
    }

    /// The same with what the command itself says, each with where it comes from: more than a file, less than a flag.
    ///
    /// # Errors
    /// Everything that is wrong, in any layer.
    pub fn resolve_with(
        &self,
        saved: Option<&Path>,
        given: &[(&'static str, &'static str, String)],
    ) -> Result<Resolved<S>, ConfigError> {
        let mut layers = Layers::new();
        match (&self.config, saved) {
            (Some(path), _) => layers.file(path),
            (None, Some(path)) => layers.saved(path),
            (None, None) => {}
        }
        layers.environment(std::env::vars_os());
        given.iter().for_each(|(key, source, value)| layers.flag(key, source, &[value]));
        self.sets.iter().for_each(|argument| layers.set(argument));
        for (key, flag, values) in &self.flags {
            layers.flag(key, flag, &values.iter().map(String::as_str).collect::<Vec<_>>());
        }
        layers.resolve()
    }
}
