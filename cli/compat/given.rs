//! The flags of a command line of the reference's, as absl takes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use train::config::nearest;
use train::files::is_address;

use super::flags::{ABSL, Fate, Kind, Row, flags};
use super::{CompatError, Program};

/// Files of flags that name each other are followed no deeper.
const DEEPEST: usize = 8;

/// The flags of a command line, by name.
pub struct Given {
    pub program: Program,
    pub rows: Vec<Row>,
    values: BTreeMap<&'static str, String>,
}

/// What a command line asks for.
pub enum Asked {
    /// A list of the program's flags.
    Help,
    /// Work.
    Work(Given),
}

impl Given {
    /// Reads flags in the forms that absl takes.
    pub fn parse(program: Program, arguments: &[String]) -> Result<Asked, CompatError> {
        let arguments = with_files(arguments, 0)?;
        let mut given = Self { program, rows: flags(program), values: BTreeMap::new() };
        let known: Vec<Row> = given.rows.iter().chain(ABSL).copied().collect();
        let find = |name: &str| known.iter().find(|row| row.0 == name);
        let mut unknown: Vec<String> = Vec::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let text = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
            let text = text.filter(|text| !text.is_empty());
            let text = text.ok_or_else(|| CompatError::NoFlag(argument.clone()))?;
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text, None),
            };
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
                    unknown.push(name.into());
                    continue;
                }
            };
            given.values.insert(name, value);
        }
        if ["help", "helpshort", "helpfull", "helpxml"].iter().any(|name| given.is(name)) {
            return Ok(Asked::Help);
        }
        // As absl has it: these may be unknown.
        let tolerated: Vec<&str> = given.value("undefok").unwrap_or_default().split(',').collect();
        unknown.retain(|name| {
            let positive = name.strip_prefix("no").unwrap_or(name);
            !tolerated.contains(&name.as_str()) && !tolerated.contains(&positive)
        });
        if let Some(flag) = unknown.into_iter().next() {
            let meant = nearest(&flag, given.rows.iter().map(|row| row.0));
            return Err(CompatError::Unknown { program: program.name(), flag, meant });
        }
        for &(name, _, default, fate) in &known {
            if let (Some(value), Fate::Refused(reason)) = (given.values.get(name), fate)
                && !is_same(value, default)
            {
                return Err(CompatError::Refused { flag: name, value: value.clone(), reason });
            }
        }
        given.refuse_addresses()?;
        Ok(Asked::Work(given))
    }

    /// Files on other machines, which TensorFlow reads and writes. Who names a module of TF-Hub by its address is told more where it
    /// is needed.
    fn refuse_addresses(&self) -> Result<(), CompatError> {
        let used = self.rows.iter().filter(|row| matches!(row.3, Fate::Mapped(_) | Fate::Read(_)));
        for &(flag, ..) in used {
            let is_of_hub =
                |part: &str| ["init_checkpoint", "albert_hub_module_handle"].contains(&flag) && is_web(part);
            let parts = self.values.get(flag).into_iter().flat_map(|value| value.split(','));
            let mut addresses = parts.filter(|part| is_address(Path::new(part)) && !is_of_hub(part));
            if let Some(address) = addresses.next() {
                return Err(CompatError::Address { flag, address: address.into() });
            }
        }
        Ok(())
    }

    /// The flags that were given and have no counterpart, each with the reason.
    pub fn explained(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.rows.iter().chain(ABSL).filter_map(|&(name, _, _, fate)| match fate {
            Fate::Explained(reason) if self.is_given(name) => Some((name, reason)),
            _ => None,
        })
    }

    /// What was given; the default where nothing was; `None` where there is none.
    pub fn value(&self, name: &str) -> Option<&str> {
        let default = self.rows.iter().chain(ABSL).find(|row| row.0 == name).map(|row| row.2);
        self.values.get(name).map(String::as_str).or(default).filter(|value| !value.is_empty())
    }

    pub fn is_given(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub fn is(&self, name: &str) -> bool {
        self.value(name) == Some("true")
    }

    pub fn needed(&self, name: &'static str) -> Result<&str, CompatError> {
        self.value(name).ok_or(CompatError::Missing(name))
    }
}

/// The arguments with those that `--flagfile` names in its place: one a line, `#` and `//` before what is none.
fn with_files(arguments: &[String], depth: usize) -> Result<Vec<String>, CompatError> {
    let mut all = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let text = argument.trim_start_matches('-');
        let path = match text.split_once('=') {
            Some(("flagfile", path)) => path,
            None if text == "flagfile" && text.len() < argument.len() => {
                rest.next().ok_or_else(|| CompatError::NoValue("flagfile".into()))?
            }
            _ => {
                all.push(argument.clone());
                continue;
            }
        };
        if path.is_empty() {
            continue; // as absl does
        }
        if depth == DEEPEST {
            return Err(CompatError::TooDeep(path.into()));
        }
        let content =
            fs::read_to_string(path).map_err(|source| CompatError::FlagFile { path: path.into(), source })?;
        let lines = content.lines().map(str::trim);
        let lines: Vec<String> = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("//"))
            .map(str::to_owned)
            .collect();
        all.extend(with_files(&lines, depth + 1)?);
    }
    Ok(all)
}

/// Whether a model is named by an address of the web.
pub fn is_web(model: &str) -> bool {
    model.starts_with("http:") || model.starts_with("https:")
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
