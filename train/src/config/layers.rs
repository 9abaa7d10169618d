//! Collecting what the user said, wherever it was said.

use std::ffi::OsString;
use std::fs;
use std::marker::PhantomData;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::nearest::nearest;
use super::{Problem, Settings, Source};

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

    /// Adds a TOML file.
    pub fn file(&mut self, path: &Path) {
        match fs::read_to_string(path) {
            Ok(text) => self.toml(&text, path),
            Err(error) => self.problems.push(Problem {
                code: "file",
                message: format!("cannot read {}: {error}", path.display()),
                source: None,
                help: None,
            }),
        }
    }

    /// Adds the content of a TOML file; `path` is only named in messages.
    pub fn toml(&mut self, text: &str, path: &Path) {
        let source_at = |offset: usize| {
            let line = 1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|&&b| b == b'\n').count();
            Source::File { path: path.into(), line }
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
                let source = source_at(key.span().start);
                if broken.contains(&source) {
                    continue; // one message about a line is enough
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
            let known: Vec<String> = S::KEYS.iter().map(|(key, _)| variable(key)).collect();
            match known.iter().position(|known| *known == name) {
                Some(index) => {
                    self.assign(S::KEYS[index].0, readings(&text), Source::Environment(name));
                }
                None => self.problems.push(Problem {
                    code: "unknown-key",
                    help: nearest(&name, known.iter().map(String::as_str))
                        .map(|near| format!("did you mean {near}?")),
                    message: format!("the environment variable {name} names no setting"),
                    source: None,
                }),
            }
        }
    }

    /// Adds the argument of a `--set`: `section.key=value`.
    pub fn set(&mut self, argument: &str) {
        match argument.split_once('=') {
            Some((key, text)) => self.assign(key.trim(), readings(text.trim()), Source::Set),
            None => self.problems.push(Problem {
                code: "syntax",
                message: format!("`--set {argument}` has no `=`"),
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
        match S::KEYS.iter().find(|(known, _)| *known == key) {
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
            message: format!("`{name}` is not a key of [{section}]"),
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
            (format!("`{name}` is not a section"), help)
        };
        self.problems.push(Problem { code: "unknown-key", message, source: Some(source), help: Some(help) });
    }

    /// The sections, in the order of the keys.
    pub(super) fn sections() -> impl Iterator<Item = &'static str> {
        let mut last = "";
        S::KEYS.iter().filter_map(move |(key, _)| {
            let section = key.split_once('.')?.0;
            (std::mem::replace(&mut last, section) != section).then_some(section)
        })
    }

    /// Section and name of every key.
    fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
        S::KEYS.iter().filter_map(|(key, _)| key.split_once('.'))
    }

    /// The key of this name, whatever its section.
    fn home_of(name: &str) -> Option<&'static str> {
        S::KEYS
            .iter()
            .map(|(key, _)| *key)
            .find(|key| key.split_once('.').is_some_and(|(_, known)| known == name))
    }
}

impl<S: Settings> Default for Layers<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// What text on a command line or in a variable may mean: a TOML value, or just text.
fn readings(text: &str) -> Vec<Value> {
    let toml = ValueDeserializer::parse(text).and_then(Value::deserialize).ok();
    toml.into_iter().chain([text.into()]).collect()
}

/// The environment variable for a key.
fn variable(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.replace('.', "_").to_uppercase())
}
