//! `albert-train fill-mask`: what a model puts in place of a mask.

use anyhow::Result;
use clap::Args;
use serde_json::json;
use train::exit::ExitCode;
use train::inference::{Candidate, Filled, fill_mask};
use train::visible::visible;

use crate::arguments::{ModelArguments, TextArguments};
use crate::output::{json_line, say};

/// Fill masks: the likeliest pieces for every `[MASK]` in a text.
///
/// `A [SEP] B` gives the model two segments, as it sees text in pre-training: a sentence and those before or after it.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    texts: TextArguments,
    /// Pieces shown for each mask
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
    /// Print one JSON object for each text
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (tokenizer, mut model) = (arguments.model.tokenizer()?, arguments.model.load()?);
    if arguments.json {
        // As many lines as there are texts, blank ones too, so that they can be put side by side.
        arguments.texts.for_each_line(|text| {
            let is_blank = text.trim().is_empty();
            let filled = if is_blank {
                Vec::new()
            } else {
                fill_mask(&mut model, &tokenizer, text.trim(), arguments.top)?
            };
            print_json(text.trim(), &filled)
        })?;
        return Ok(ExitCode::Done);
    }
    arguments.texts.for_each(|text| {
        let filled = fill_mask(&mut model, &tokenizer, text, arguments.top)?;
        print(text, &filled)
    })?;
    Ok(ExitCode::Done)
}

fn print_json(text: &str, masks: &[Filled]) -> Result<()> {
    let candidate = |c: &Candidate| json!({ "piece": c.piece, "id": c.id, "probability": c.probability });
    let mask = |mask: &Filled| {
        let candidates: Vec<_> = mask.candidates.iter().map(candidate).collect();
        json!({ "position": mask.position, "candidates": candidates })
    };
    let masks: Vec<_> = masks.iter().map(mask).collect();
    json_line(&json!({ "text": text, "masks": masks }))
}

fn print(text: &str, masks: &[Filled]) -> Result<()> {
    say!("{}", visible(text));
    for (number, mask) in masks.iter().enumerate() {
        if masks.len() > 1 {
            say!("  mask {}", number + 1);
        }
        for candidate in &mask.candidates {
            say!("  {:6.2}%  {}", 100.0 * candidate.probability, visible(&candidate.piece));
        }
    }
    Ok(())
}
