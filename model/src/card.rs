//! The model card: the `README.md` of a model directory, which people and model hubs read.

use std::path::Path;

use crate::error::ModelError;
use crate::heads::{Head, architecture};

/// Name of the card in a model directory.
pub const CARD_FILE: &str = "README.md";

/// What a card says. What is empty is left out.
#[derive(Clone, Debug, Default)]
pub struct Card<'a> {
    /// What the model is, in a few words.
    pub title: &'a str,
    /// What it was made of: another model, files.
    pub origin: &'a str,
    /// What it was trained on.
    pub data: &'a str,
    /// Settings by name.
    pub recipe: &'a [(String, String)],
    /// Figures by name, as they are printed.
    pub scores: &'a [(String, String)],
    /// The command that made it.
    pub command: &'a str,
}

/// Writes the card of a model with these heads.
///
/// # Errors
/// If it cannot be written.
pub fn save_card(directory: &Path, heads: &[Head], card: &Card<'_>) -> Result<(), ModelError> {
    let path = directory.join(CARD_FILE);
    std::fs::write(&path, text(heads, card)).map_err(ModelError::io("write", &path))
}

/// The card as Markdown, with what hubs look for before it.
fn text(heads: &[Head], card: &Card<'_>) -> String {
    let pipeline = heads.iter().find_map(pipeline);
    let mut text = String::from("---\nlibrary_name: transformers\n");
    if let Some(pipeline) = pipeline {
        text += &format!("pipeline_tag: {pipeline}\n");
    }
    text += &format!("tags:\n- albert\n---\n\n# {}\n", line(card.title));
    for (title, paragraph) in [("Origin", card.origin), ("Data", card.data)] {
        if !paragraph.is_empty() {
            text += &format!("\n## {title}\n\n{paragraph}\n");
        }
    }
    for (title, head, rows) in [("Recipe", "setting", card.recipe), ("Scores", "figure", card.scores)] {
        if !rows.is_empty() {
            text += &format!("\n## {title}\n\n| {head} | value |\n|---|---|\n");
            for (name, value) in rows {
                text += &format!("| {} | {} |\n", cell(name), cell(value));
            }
        }
    }
    if !card.command.is_empty() {
        text += &format!("\n## Command\n\n```sh\n{}\n```\n", card.command);
    }
    text += "\n## Use\n\n";
    let class = architecture(heads);
    match pipeline {
        // transformers 5 has no pipelines for the other two.
        Some(pipeline) if !matches!(pipeline, "multiple-choice" | "question-answering") => {
            text += &format!(
                "```python\nfrom transformers import pipeline\nmodel = pipeline(\"{pipeline}\", model=\"FOLDER\")\n```\n"
            );
        }
        _ => {
            text += &format!(
                "```python\nfrom transformers import {class}\nmodel = {class}.from_pretrained(\"FOLDER\")\n```\n"
            );
        }
    }
    if heads.iter().any(|head| matches!(head, Head::AnswerableSpan { .. })) {
        text += "\nThe head for questions without an answer has no counterpart in transformers, which loads the encoder alone; \
                 `albert-train predict` uses all of it.\n";
    }
    text
}

/// What hubs call the task of a head.
fn pipeline(head: &Head) -> Option<&'static str> {
    match head {
        Head::Pretraining | Head::MaskedWords => Some("fill-mask"),
        Head::Classification { .. } => Some("text-classification"),
        Head::Choice { .. } => Some("multiple-choice"),
        Head::Span => Some("question-answering"),
        Head::TokenClassification { .. } => Some("token-classification"),
        Head::AnswerableSpan { .. } | Head::Pooler | Head::SentenceOrder => None,
    }
}

/// Text on one line.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    line(text).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_says_what_is_known_and_nothing_else() {
        let scores = [("accuracy | best".to_owned(), "0.91".to_owned())];
        let card = Card {
            title: "ALBERT for\nmrpc",
            scores: &scores,
            command: "albert-train finetune",
            ..Card::default()
        };
        let text = text(&[Head::Classification { outputs: 2, dropout: 0.1 }], &card);
        assert!(text.starts_with("---\nlibrary_name: transformers\npipeline_tag: text-classification\ntags:\n- albert\n---\n\n# ALBERT for mrpc\n\n## Scores\n"), "{text}");
        assert!(
            text.contains("| accuracy \\| best | 0.91 |") && text.contains("albert-train finetune"),
            "{text}"
        );
        assert!(!text.contains("## Data") && !text.contains("## Recipe"), "{text}");
    }
}
