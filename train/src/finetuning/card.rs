//! What a published model says of itself: the names of its classes in `config.json`, and a model card.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::task::{Kind, Task};
use crate::files::{Disk, replace};
use crate::tables::InputError;
use crate::training::Metrics;

/// Adds to the model in `folder` what it was trained for: class names where transformers looks for them, and `README.md`.
///
/// # Errors
/// If a file cannot be read or written.
pub fn complete(
    folder: &Path,
    task: &dyn Task,
    data: &[String],
    metrics: Option<&Metrics>,
) -> Result<(), InputError> {
    let path = folder.join(model::CONFIG_FILE);
    let text = std::fs::read(&path).map_err(InputError::io("read", &path))?;
    let mut config: Map<String, Value> = serde_json::from_slice(&text)
        .map_err(std::io::Error::other)
        .map_err(InputError::io("read", &path))?;
    let names: Vec<String> = match task.kind() {
        Kind::Value => vec!["LABEL_0".into()],
        Kind::Classes(_) | Kind::TokenClasses(_) => task.labels().to_vec(),
        Kind::Choice(_) | Kind::Span | Kind::AnswerableSpan => Vec::new(),
    };
    if !names.is_empty() {
        let by_id = names.iter().enumerate().map(|(id, name)| (id.to_string(), json!(name)));
        let by_name = names.iter().enumerate().map(|(id, name)| (name.clone(), json!(id)));
        config.insert("id2label".into(), Value::Object(by_id.collect()));
        config.insert("label2id".into(), Value::Object(by_name.collect()));
    }
    let problem = match task.kind() {
        Kind::Value => Some("regression"),
        Kind::Classes(_) => Some("single_label_classification"),
        _ => None,
    };
    if let Some(problem) = problem {
        config.insert("problem_type".into(), json!(problem));
    }
    config.insert("finetuning_task".into(), json!(task.name()));
    let mut text = serde_json::to_vec_pretty(&config)
        .map_err(std::io::Error::other)
        .map_err(InputError::io("write", &path))?;
    text.push(b'\n');
    write(&path, &text)?;
    write(&folder.join("README.md"), card(task, data, metrics).as_bytes())
}

fn write(path: &Path, content: &[u8]) -> Result<(), InputError> {
    replace(&Disk, path, content).map_err(InputError::io("write", path))
}

/// The model card.
fn card(task: &dyn Task, data: &[String], metrics: Option<&Metrics>) -> String {
    let mut text = format!(
        "---\nlibrary_name: transformers\ntags: [albert, {name}]\n---\n\n# ALBERT, fine-tuned for {name}\n\nTrained with \
         albert-train; every setting, with where it comes from, is in the run's `config.toml`.\n\n## Data\n\n",
        name = task.name()
    );
    for file in data {
        // Only names: where somebody's files lie is nobody else's business.
        let name = file.rsplit('/').next().unwrap_or(file);
        let _ = writeln!(text, "- {name}");
    }
    if let Some(metrics) = metrics {
        text += "\n## Held-out figures\n\n| figure | value |\n|---|---|\n";
        for (name, _) in metrics.iter() {
            let _ = writeln!(text, "| {name} | {} |", metrics.value(name)); // writing to a String cannot fail
        }
    }
    text
}
