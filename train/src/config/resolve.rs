//! From assignments to settings: types checked one by one, implied values filled in, everything wrong reported together.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::mem::discriminant;

use serde_json::Value;

use super::layers::Assignment;
use super::{ConfigError, Layers, Objections, Problem, Settings, Source};
use crate::visible::{is_hidden, visible};

/// How often what is implied may imply something else before it is taken for a fault of the settings' code.
const MAX_ROUNDS: usize = 8;

/// Settings with the source of every value.
#[derive(Clone, Debug)]
pub struct Resolved<S> {
    /// The settings.
    pub settings: S,
    sources: BTreeMap<&'static str, Source>,
}

/// One value per key: `section.key`.
pub(super) type Flat = BTreeMap<String, Value>;

impl<S: Settings> Layers<S> {
    /// The settings that all layers together give.
    ///
    /// # Errors
    /// Everything that is wrong, in any layer.
    pub fn resolve(self) -> Result<Resolved<S>, ConfigError> {
        let Layers { assignments, mut problems, .. } = self;
        let defaults = flatten(&S::default());
        // The user's last word on each key, of the right type.
        let mut chosen: BTreeMap<&'static str, (Value, Source)> = BTreeMap::new();
        for assignment in assignments {
            let (key, source) = (assignment.key, assignment.source.clone());
            match read::<S>(&defaults, assignment) {
                Ok(Value::Null) => drop(chosen.remove(key)),
                Ok(value) => {
                    problems.extend(take_back_lengths::<S>(&mut chosen, key, &value, &source));
                    chosen.insert(key, (value, source));
                }
                Err(problem) => problems.push(problem),
            }
        }
        let resolved: Resolved<S> = settle(&defaults, &chosen);
        let mut objections = Objections::default();
        resolved.settings.check(&mut objections);
        problems.extend(objections.0.into_iter().map(|objection| Problem {
            code: "value",
            message: format!("`{}`: {}", objection.key, objection.message),
            source: Some(resolved.source(objection.key).clone()),
            help: Some(objection.help),
        }));
        if problems.is_empty() {
            return Ok(resolved);
        }
        problems.sort_by_key(|problem| match &problem.source {
            Some(Source::File { line, .. }) => *line,
            _ => usize::MAX,
        });
        Err(ConfigError { problems })
    }
}

impl<S: Settings> Resolved<S> {
    /// Where the value of `key` comes from.
    pub fn source(&self, key: &str) -> &Source {
        self.sources.get(key).unwrap_or(&Source::Default)
    }

    /// All settings as TOML that reads back as these settings, each with its source as a comment.
    pub fn to_toml(&self) -> String {
        let values = flatten(&self.settings);
        let mut text = String::new();
        for section in Layers::<S>::sections() {
            let separator = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{separator}[{section}]"); // writing to a String cannot fail
            for (key, _) in S::keys() {
                let Some(leaf) = key.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')) else {
                    continue;
                };
                let _ = match &values[*key] {
                    Value::Null => writeln!(text, "# {leaf} is not set"),
                    value => {
                        let line = format!("{leaf} = {}", to_toml_value(value));
                        let source = match self.source(key) {
                            Source::File { noted: Some(noted), .. } => noted.clone(),
                            source => source.to_string(),
                        };
                        writeln!(text, "{line:<40} # {}", visible(&source))
                    }
                };
            }
        }
        text
    }

    /// The keys whose values differ from those of `other`, with both, as TOML.
    pub fn differences(&self, other: &S) -> Vec<(&'static str, String, String)> {
        let (ours, theirs) = (flatten(&self.settings), flatten(other));
        S::keys()
            .filter(|(key, _)| ours[*key] != theirs[*key])
            .map(|(key, _)| (*key, to_toml_value(&ours[*key]), to_toml_value(&theirs[*key])))
            .collect()
    }
}

/// Takes back what lower layers said of the length of the run by other keys than `key`; a problem if its own layer did.
fn take_back_lengths<S: Settings>(
    chosen: &mut BTreeMap<&'static str, (Value, Source)>,
    key: &str,
    value: &Value,
    source: &Source,
) -> Option<Problem> {
    let usual = S::LENGTHS.iter().find(|(length, _)| *length == key)?.1;
    let is_among = |value: &Value, usual: &[u64]| value.as_u64().is_some_and(|value| usual.contains(&value));
    let mut problem = None;
    for (other, usual_of_other) in S::LENGTHS.iter().filter(|(length, _)| *length != key) {
        let Some((before, from)) = chosen.get(other) else { continue };
        if discriminant(from) == discriminant(source) {
            // A file that was saved has a value for every key.
            let is_of_all = match source {
                Source::File { noted, .. } => {
                    noted.is_some() || is_among(value, usual) || is_among(before, usual_of_other)
                }
                _ => false,
            };
            if is_of_all {
                continue;
            }
            let flags =
                S::LENGTHS.iter().map(|(key, _)| format!("--{}", key.trim_start_matches("training.")));
            problem = Some(Problem {
                code: "value",
                message: format!("`{key}`: the length of the run is said more than once, by `{other}` too"),
                source: Some(source.clone()),
                help: Some(format!("give one of {}", flags.collect::<Vec<_>>().join(", "))),
            });
        }
        chosen.remove(other);
    }
    problem
}

/// Fills in what the values imply until nothing more follows.
fn settle<S: Settings>(defaults: &Flat, chosen: &BTreeMap<&'static str, (Value, Source)>) -> Resolved<S> {
    let mut resolved = apply(defaults, chosen, &S::default());
    for _ in 0..MAX_ROUNDS {
        let next = apply(defaults, chosen, &resolved.settings);
        if next.settings == resolved.settings {
            return next;
        }
        resolved = next;
    }
    resolved
}

/// Defaults, over them what `current` implies, over that what the user chose.
fn apply<S: Settings>(
    defaults: &Flat,
    chosen: &BTreeMap<&'static str, (Value, Source)>,
    current: &S,
) -> Resolved<S> {
    let mut values = defaults.clone();
    let mut sources = BTreeMap::new();
    for implied in current.implied() {
        values.insert(implied.key.into(), implied.value);
        sources.insert(implied.key, Source::Implied(implied.reason));
    }
    for (key, (value, source)) in chosen {
        values.insert((*key).into(), value.clone());
        sources.insert(key, source.clone());
    }
    let mut settings: S =
        build(values).expect("defaults, implied and chosen values each have the right type");
    settings.normalize();
    Resolved { settings, sources }
}

/// The first reading of an assignment that has the key's type; for text such as `auto`, `Null`.
fn read<S: Settings>(defaults: &Flat, assignment: Assignment) -> Result<Value, Problem> {
    let Assignment { key, readings, source } = assignment;
    let mut complaint = None;
    for reading in readings.iter().flat_map(variants) {
        let mut values = defaults.clone();
        values.insert(key.into(), reading.clone());
        let result = match reading {
            // TOML has no null: this was a number that is not finite.
            Value::Null => Err("it is not a finite number".to_owned()),
            _ => build::<S>(values).map_err(|error| in_plain_words(&error.to_string())),
        };
        match result {
            Ok(_) => return Ok(reading),
            Err(_) if is_unset(&reading) && defaults[key].is_null() => return Ok(Value::Null),
            Err(error) => drop(complaint.get_or_insert(error)),
        }
    }
    Err(Problem {
        code: "type",
        message: format!("`{key}`: {}", complaint.unwrap_or_else(|| "it has no value".into())),
        source: Some(source),
        help: S::keys().find(|(known, _)| *known == key).map(|(_, help)| (*help).to_owned()),
    })
}

fn in_plain_words(error: &str) -> String {
    [("usize", "a whole number from 0"), ("u64", "a whole number from 0"), ("f64", "a number")]
        .iter()
        .fold(error.to_owned(), |text, (rust, plain)| {
            text.replace(&format!("expected {rust}"), &format!("expected {plain}"))
        })
}

/// A value, and what else it may stand for: `1e5` for 100000, one thing for a list of one.
fn variants(value: &Value) -> Vec<Value> {
    let mut variants = vec![value.clone()];
    if let Some(float) = value.as_f64().filter(|float| value.is_f64() && float.fract() == 0.0) {
        // Beyond 2⁵³ a float is not exactly the integer that was meant.
        if (0.0..=9e15).contains(&float) {
            variants.push(Value::from(float as u64));
        }
    }
    if !value.is_array() {
        variants.push(Value::Array(vec![value.clone()]));
    }
    variants
}

fn is_unset(value: &Value) -> bool {
    matches!(value.as_str(), Some("auto" | "none"))
}

pub(super) fn flatten<S: Settings>(settings: &S) -> Flat {
    let sections = serde_json::to_value(settings).expect("settings are plain data");
    let mut flat = Flat::new();
    for (section, content) in sections.as_object().into_iter().flatten() {
        for (key, value) in content.as_object().into_iter().flatten() {
            flat.insert(format!("{section}.{key}"), value.clone());
        }
    }
    flat
}

fn build<S: Settings>(flat: Flat) -> serde_json::Result<S> {
    let mut sections = serde_json::Map::new();
    for (path, value) in flat {
        if let Some((section, key)) = path.split_once('.') {
            let section = sections.entry(section).or_insert_with(|| Value::Object(serde_json::Map::new()));
            section.as_object_mut().expect("only sections are inserted").insert(key.into(), value);
        }
    }
    serde_json::from_value(Value::Object(sections))
}

fn to_toml_value(value: &Value) -> String {
    match value {
        Value::Null => "not set".into(),
        Value::Number(number) => number.to_string(), // 1e-6, where the toml crate would write 0.000001
        Value::String(text) if text.contains(is_hidden) => toml_string(text),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(to_toml_value).collect();
            format!("[{}]", values.join(", "))
        }
        value => toml::Value::try_from(value).map_or_else(|_| value.to_string(), |value| value.to_string()),
    }
}

/// A text whose hidden characters are written as escapes, as TOML's basic strings can have them.
fn toml_string(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if is_hidden(c) => format!("\\U{:08X}", u32::from(c)),
        c => c.into(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

/// A key as a command line offers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// `section.name`, as [`Layers::flag`] takes it.
    pub path: &'static str,
    /// The section.
    pub section: &'static str,
    /// The name within the section, of which there is only one in all sections.
    pub name: &'static str,
    /// A line of help.
    pub help: &'static str,
    /// The default as TOML; `None` if it is not set.
    pub default: Option<String>,
    /// Whether it can be given several times.
    pub is_list: bool,
    /// Whether it is true or false, so that its flag alone means true.
    pub is_switch: bool,
}

/// All keys of a kind of settings, section by section.
pub fn keys<S: Settings>() -> Vec<Key> {
    let defaults = flatten(&S::default());
    let key = |&(path, help): &(&'static str, &'static str)| {
        let (section, name) = path.split_once('.').expect("keys are section.name");
        let default = &defaults[path];
        let (is_list, is_switch) = (default.is_array(), default.is_boolean());
        let default = (!default.is_null() && !is_list).then(|| to_toml_value(default));
        Key { path, section, name, help, default, is_list, is_switch }
    };
    S::keys().map(key).collect()
}
