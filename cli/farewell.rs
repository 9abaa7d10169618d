//! The end of a run: what the model can do, where it is, and what to try next.

use std::path::Path;

use anyhow::Result;
use engine::Device;
use kernels::Cpu;
use train::data::Dataset;
use train::inference::{Inference, MASK, fill_mask};
use train::tokenizer::Tokenizer;
use train::training::{Materials, SessionError};

use crate::output::say;

/// Held-out sentences that are shown with a word masked.
const EXAMPLES: usize = 3;
/// Candidates shown for each.
const CANDIDATES: usize = 3;

/// Shows the model at work on held-out sentences, and what to do with it.
///
/// # Errors
/// If the model cannot be read back.
pub fn show(directory: &Path, materials: &Materials) -> Result<()> {
    let device = Device::Cpu(Cpu::new(None, None).map_err(SessionError::Cpu)?);
    let mut model = Inference::load(directory, device)?;
    say!("\nthree held-out sentences with a word masked:");
    for (text, word) in sentences(&materials.held_out, &materials.tokenizer) {
        let Some(filled) = fill_mask(&mut model, &materials.tokenizer, &text, CANDIDATES)?.into_iter().next()
        else {
            continue;
        };
        let guesses: Vec<_> = (filled.candidates.iter())
            .map(|guess| format!("{} {:.2}", guess.piece.trim_start_matches('▁'), guess.probability))
            .collect();
        say!("  {text}\n      {} (it was: {word})", guesses.join(", "));
    }
    let model = directory.display();
    say!("\nthe model is in {model}\ntry next:");
    say!("  albert-train fill-mask --model {model} \"She opened the {MASK}.\"");
    say!("  albert-train pretrain --train your-text.txt --preset tiny --out runs/mine");
    Ok(())
}

/// Sentences of held-out documents, the middle word of each masked, and that word.
fn sentences(held_out: &Dataset, tokenizer: &Tokenizer) -> Vec<(String, String)> {
    let epoch = held_out.epoch(0);
    let stride = (epoch.samples() / EXAMPLES as u64).max(1);
    let pairs =
        (0..epoch.samples()).step_by(stride as usize).map(|index| held_out.sampler().pair(&epoch, index));
    pairs.filter_map(|pair| masked(pair.first, tokenizer)).take(EXAMPLES).collect()
}

/// The text of `ids` with a word of one piece in its middle masked, and the word; `None` if it has no such word.
fn masked(ids: &[u16], tokenizer: &Tokenizer) -> Option<(String, String)> {
    let ids: Vec<u32> = ids.iter().map(|&id| u32::from(id)).collect();
    let is_word = |at: usize| {
        let letters =
            tokenizer.piece(ids[at]).unwrap_or_default().chars().filter(|c| c.is_alphabetic()).count();
        letters >= 3
            && tokenizer.starts_word(ids[at])
            && ids.get(at + 1).is_none_or(|&next| tokenizer.starts_word(next))
    };
    let middle = ids.len() / 2;
    let at = (0..ids.len()).filter(|&at| is_word(at)).min_by_key(|&at| at.abs_diff(middle))?;
    let (before, after) = (tokenizer.decode(&ids[..at]), tokenizer.decode(&ids[at + 1..]));
    let gap = if after.starts_with(|c: char| c.is_ascii_punctuation()) { "" } else { " " };
    Some((format!("{before} {MASK}{gap}{after}"), tokenizer.decode(&ids[at..=at])))
}
