//! Collecting what the user said, wherever it was said.

use std::ffi::OsString;
use std::fs;
use std::marker::PhantomData;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::nearest::{abridged, nearest};
use super::{Problem, Settings, Source, most_threads};
use crate::visible::shown;

/// Prefix of the environment variables that set keys.
const VARIABLE_PREFIX: &str = "ALBERT_TRAIN_";

/// The user's assignments, in the order in which they were given; of two for one key the later counts. Add them in the
/// order file, environment, `--set`, flags.
#[derive(Debug)]
pub struct Layers<S> {
    pub(super) assignments: Vec<Assignment>,
    pub(super) problems: Vec<Problem>,
    settings: PhantomData<S>,
}

/// One value for a known key, not yet known to be of the right type.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    pub key: &'static str,
    /// What the user may have meant, the likeliest first. `Null` puts the key back to where nobody said anything.
    pub readings: Vec<Value>,
    pub source: Source,
}

impl<S: Settings> Layers<S> {
    /// Nothing but defaults.
    pub fn new() -> Self {
        Layers { assignments: Vec::new(), problems: Vec::new(), settings: PhantomData }
    }

    /// Adds a TOML file; `-` is standard input.
    pub fn file(&mut self, path: &Path) {
        self.read(path, false);
    }

    /// Adds the configuration that was saved for a run that goes on: where its values came from when the run was begun
    /// is what it noted behind them.
    pub fn saved(&mut self, path: &Path) {
        self.read(path, true);
    }

    fn read(&mut self, path: &Path, is_saved: bool) {
        let text = match path.to_str() {
            Some("-") => std::io::read_to_string(std::io::stdin()),
            _ => fs::read_to_string(path),
        };
        match text {
            Ok(text) => {
                let before = self.assignments.len();
                self.parse(&text, path, is_saved);
                if is_saved {
                    self.forget_other_machines_threads(before);
                    self.say_what_was_before(path);
                }
            }
            Err(error) => self.problems.push(Problem {
                code: "file",
                message: format!("cannot read {}: {error}", shown(path)),
                source: None,
                help: None,
            }),
        }
    }

    /// Takes a number of threads back, among the assignments from `first` on, that this machine does not allow: another one did, and
    /// what a run comes to does not depend on it.
    fn forget_other_machines_threads(&mut self, first: usize) {
        let most = most_threads() as u64;
        let mut saved = self.assignments.split_off(first);
        saved.retain(|Assignment { key, readings, .. }| {
            *key != "device.threads"
                || !readings.iter().filter_map(Value::as_u64).any(|threads| threads > most)
        });
        self.assignments.append(&mut saved);
    }

    /// Adds what the saved settings of an earlier version do not say.
    fn say_what_was_before(&mut self, path: &Path) {
        for &(key, value) in S::BEFORE {
            if self.assignments.iter().all(|assignment| assignment.key != key) {
                let noted = Some("as the version did that the run was begun with".to_owned());
                let source = Source::File { path: path.into(), line: 1, noted };
                self.assignments.push(Assignment { key, readings: vec![value.into()], source });
            }
        }
    }

    /// Adds the content of a TOML file; `path` is only named in messages.
    pub fn toml(&mut self, text: &str, path: &Path) {
        self.parse(text, path, false);
    }

    fn parse(&mut self, text: &str, path: &Path, is_saved: bool) {
        let source_at = |offset: usize| {
            let line = 1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|&&b| b == b'\n').count();
            Source::File { path: path.into(), line, noted: None }
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut broken = Vec::new();
        for error in errors {
            let source = source_at(error.span().map_or(0, |span| span.start));
            broken.push(source.clone());
            self.problems.push(Problem {
                code: "syntax",
                message: error.message().into(),
                source: Some(source),
                help: None,
            });
        }
        for (section, content) in table.into_inner() {
            let source = source_at(section.span().start);
            let section = section.into_inner();
            if !Self::sections().any(|known| known == section) {
                self.unknown_section(&section, source);
                continue;
            }
            let DeValue::Table(keys) = content.into_inner() else {
                self.problems.push(Problem {
                    code: "section",
                    message: format!("`{section}` is a section, not a value"),
                    source: Some(source),
                    help: Some(format!("write [{section}] on a line of its own, its keys below")),
                });
                continue;
            };
            for (key, value) in keys {
                let mut source = source_at(key.span().start);
                if broken.contains(&source) {
                    continue; // one message about a line is enough
                }
                if let (true, Source::File { noted, .. }) = (is_saved, &mut source) {
                    *noted = note_behind(&text[value.span().end..]);
                }
                let value = Value::deserialize(ValueDeserializer::from(value));
                self.assign(&format!("{section}.{}", key.get_ref()), value.into_iter().collect(), source);
            }
        }
    }

    /// Adds the variables that begin with `ALBERT_TRAIN_`, such as `ALBERT_TRAIN_OPTIMIZER_LEARNING_RATE`.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) {
        // Variables of others may hold anything; one of ours that is no text is refused for what it looks like.
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        let ours = variables.into_iter().filter_map(text);
        let mut ours: Vec<_> = ours.filter(|(name, _)| name.starts_with(VARIABLE_PREFIX)).collect();
        ours.sort(); // the order of messages should not depend on the system
        for (name, text) in ours {
            match S::keys().find(|(key, _)| variable(key) == name) {
                Some((key, _)) => self.assign(key, readings(&text), Source::Environment(name)),
                None if super::all_keys().any(|key| variable(key) == name) => {} // of another command
                None => self.problems.push(Problem {
                    code: "unknown-key",
                    help: Self::meant_by(&name).map(|key| format!("did you mean {}?", variable(key))),
                    message: format!("the environment variable {} names no setting", abridged(&name)),
                    source: None,
                }),
            }
        }
    }

    /// The key that a variable of an unknown name was probably meant for: its section may be missing or misspelt.
    fn meant_by(variable_name: &str) -> Option<&'static str> {
        let name = variable_name.strip_prefix(VARIABLE_PREFIX)?.to_lowercase();
        let unsectioned = Self::names().map(|(_, name)| name);
        let sectioned: Vec<String> = S::keys().map(|(key, _)| key.replace('.', "_")).collect();
        Self::home_of(&name)
            .or_else(|| {
                let near = nearest(&name, sectioned.iter().map(String::as_str))?;
                let index = sectioned.iter().position(|known| known == near)?;
                Some(S::keys().nth(index)?.0)
            })
            .or_else(|| nearest(&name, unsectioned).and_then(Self::home_of))
    }

    /// Adds the argument of a `--set`: `section.key=value`.
    pub fn set(&mut self, argument: &str) {
        match argument.split_once('=') {
            Some((key, text)) => self.assign(key.trim(), readings(text.trim()), Source::Set),
            None => self.problems.push(Problem {
                code: "syntax",
                message: format!("`--set {}` has no `=`", abridged(argument)),
                source: None,
                help: Some("write --set section.key=value".into()),
            }),
        }
    }

    /// Adds a flag for `key`, given once or several times, in which case the values are a list.
    pub fn flag(&mut self, key: &str, flag: &str, texts: &[&str]) {
        let readings = match texts {
            [text] => readings(text),
            texts => vec![texts.iter().copied().collect()],
        };
        self.assign(key, readings, Source::Flag(flag.into()));
    }

    fn assign(&mut self, key: &str, readings: Vec<Value>, source: Source) {
        match S::keys().find(|(known, _)| *known == key) {
            Some((key, _)) => self.assignments.push(Assignment { key, readings, source }),
            None => self.unknown_key(key, source),
        }
    }

    fn unknown_key(&mut self, key: &str, source: Source) {
        let Some((section, name)) = key.split_once('.') else { return self.unknown_section(key, source) };
        if !Self::sections().any(|known| known == section) {
            return self.unknown_section(section, source);
        }
        let in_section = Self::names().filter(|(known, _)| *known == section);
        let suggestion = Self::home_of(name)
            .or_else(|| nearest(name, in_section.map(|(_, name)| name)).and_then(Self::home_of))
            .or_else(|| nearest(name, Self::names().map(|(_, name)| name)).and_then(Self::home_of));
        self.problems.push(Problem {
            code: "unknown-key",
            message: format!("`{}` is not a key of [{section}]", abridged(name)),
            source: Some(source),
            help: suggestion.map(|near| format!("did you mean `{near}`?")),
        });
    }

    /// A name that stands where a section should: perhaps a key that lacks its section.
    fn unknown_section(&mut self, name: &str, source: Source) {
        let (message, help) = if let Some(key) = Self::home_of(name) {
            let section = key.split_once('.').map_or("", |(section, _)| section);
            (
                format!("`{name}` is not a key of the top level"),
                format!("it belongs in [{section}]: did you mean `{key}`?"),
            )
        } else {
            let help = nearest(name, Self::sections())
                .map(|near| format!("[{near}]"))
                .or_else(|| {
                    let near = nearest(name, Self::names().map(|(_, name)| name)).and_then(Self::home_of)?;
                    Some(format!("`{near}`"))
                })
                .map_or_else(
                    || format!("the sections are {}", Self::sections().collect::<Vec<_>>().join(", ")),
                    |near| format!("did you mean {near}?"),
                );
            (format!("`{}` is not a section", abridged(name)), help)
        };
        self.problems.push(Problem { code: "unknown-key", message, source: Some(source), help: Some(help) });
    }

    /// The sections, in the order of the keys.
    pub(super) fn sections() -> impl Iterator<Item = &'static str> {
        let mut last = "";
        S::keys().filter_map(move |(key, _)| {
            let section = key.split_once('.')?.0;
            (std::mem::replace(&mut last, section) != section).then_some(section)
        })
    }

    /// Section and name of every key.
    fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
        S::keys().filter_map(|(key, _)| key.split_once('.'))
    }

    /// The key of this name, whatever its section.
    fn home_of(name: &str) -> Option<&'static str> {
        S::keys().map(|(key, _)| *key).find(|key| key.split_once('.').is_some_and(|(_, known)| known == name))
    }
}

impl<S: Settings> Default for Layers<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// What text on a command line or in a variable may mean: a TOML value; a number as other programs write it (`.5`, `5.`,
/// `007`); a switch as they write it (`True`, `yes`, `1`); or just text.
fn readings(text: &str) -> Vec<Value> {
    let toml = ValueDeserializer::parse(text).and_then(Value::deserialize).ok();
    let looks_like_number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    let whole = text.parse::<u64>().ok().map(Value::from);
    let real =
        text.parse::<f64>().ok().filter(|number| looks_like_number && number.is_finite()).map(Value::from);
    let switch = match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true.into()),
        "false" | "no" | "off" | "0" => Some(false.into()),
        _ => None,
    };
    toml.into_iter().chain(whole).chain(real).chain(switch).chain([text.into()]).collect()
}

/// The comment at the end of the line that `rest` begins in.
fn note_behind(rest: &str) -> Option<String> {
    let note = rest.lines().next()?.trim().strip_prefix('#')?.trim();
    (!note.is_empty()).then(|| note.to_owned())
}

/// The environment variable for a key.
fn variable(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.replace('.', "_").to_uppercase())
}
