//! The flags of a command line of the reference's, as absl takes them.

use std::collections::BTreeMap;

use clap::ValueEnum;

use super::flags::{Fate, Kind, Row, flags};
use super::{CompatError, Program};

/// The flags of a command line, by name.
pub struct Given {
    pub program: Program,
    pub rows: Vec<Row>,
    values: BTreeMap<&'static str, String>,
}

impl Given {
    /// Reads flags in the forms that absl takes.
    pub fn parse(program: Program, arguments: &[String]) -> Result<Self, CompatError> {
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
    pub fn explained(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.rows.iter().filter_map(|&(name, _, _, fate)| match fate {
            Fate::Explained(reason) if self.values.contains_key(name) => Some((name, reason)),
            _ => None,
        })
    }

    /// What a command needs beside what the flags say.
    pub fn notes(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
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
    pub fn value(&self, name: &str) -> Option<&str> {
        let default = self.rows.iter().find(|row| row.0 == name).map(|row| row.2);
        self.values.get(name).map(String::as_str).or(default).filter(|value| !value.is_empty())
    }

    pub fn is(&self, name: &str) -> bool {
        self.value(name) == Some("true")
    }

    pub fn needed(&self, name: &'static str) -> Result<&str, CompatError> {
        self.value(name).ok_or(CompatError::Missing(name))
    }
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
