//! `albert-train fill-mask`: what a model puts in place of a mask.

use std::io::{BufRead, Write};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use train::exit::ExitCode;
use train::inference::{Filled, fill_mask};

use crate::arguments::ModelArguments;

/// Fill masks: the likeliest pieces for every [MASK] in a text.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Texts with [MASK] in them; not given: read from standard input, one a line
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
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
    let mut out = std::io::stdout().lock();
    let mut fill = |text: &str| -> Result<()> {
        let filled = fill_mask(&mut model, &tokenizer, text, arguments.top)?;
        show(&mut out, text, &filled, arguments.json).context("cannot write to standard output")
    };
    if arguments.texts.is_empty() {
        for line in std::io::stdin().lock().lines() {
            let line = line.context("cannot read standard input")?;
            if !line.trim().is_empty() {
                fill(line.trim())?;
            }
        }
    }
    arguments.texts.iter().try_for_each(|text| fill(text))?;
    Ok(ExitCode::Done)
}

fn show(out: &mut impl Write, text: &str, masks: &[Filled], as_json: bool) -> std::io::Result<()> {
    if as_json {
        let masks: Vec<_> = (masks.iter())
            .map(|mask| {
                let candidate = |c: &train::inference::Candidate| {
                    json!({ "piece": c.piece, "id": c.id, "probability": c.probability })
                };
                let candidates: Vec<_> = mask.candidates.iter().map(candidate).collect();
                json!({ "position": mask.position, "candidates": candidates })
            })
            .collect();
        return writeln!(out, "{}", json!({ "text": text, "masks": masks }));
    }
    writeln!(out, "{text}")?;
    for (number, mask) in masks.iter().enumerate() {
        if masks.len() > 1 {
            writeln!(out, "  mask {}", number + 1)?;
        }
        for candidate in &mask.candidates {
            writeln!(out, "  {:6.2}%  {}", 100.0 * candidate.probability, candidate.piece)?;
        }
    }
    Ok(())
}
