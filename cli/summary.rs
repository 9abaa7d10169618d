//! The end of a run: what the model can do, where it is, and what to try next.

use std::path::PathBuf;

use anyhow::Result;
use train::config::Pretrain;
use train::inference::{Inference, MASK, SEPARATOR, fill_mask};
use train::pretraining::{Dataset, Epoch, RunData};
use train::report::{self, RunRecord, sparkline};
use train::tokenizer::Tokenizer;
use train::training::{self, Metrics};
use train::visible::{shown, visible};

use crate::output::{indented, say};
use crate::shell::quoted_path;

/// Held-out passages that are shown with a word masked.
const EXAMPLES: u64 = 3;
/// Sentences of a passage, from which the word is to be told.
const SENTENCES: usize = 3;
/// A word of fewer letters is not masked: most are articles and the like.
const LETTERS: usize = 4;
/// Candidates shown for each.
const CANDIDATES: usize = 3;
/// Columns of the curve of the loss.
const CURVE: usize = 40;
/// Samples looked at in search of each passage.
const TRIES: u64 = 100;

/// The end of a finished run.
pub struct Summary {
    /// Where the model is.
    pub model: PathBuf,
    /// What it learnt from.
    pub data: RunData,
    /// How.
    pub settings: Pretrain,
    /// Its run directory.
    pub run: PathBuf,
    /// Its held-out figures.
    pub metrics: Metrics,
}

impl Summary {
    /// Shows the model at work on held-out text, and what to do with it.
    ///
    /// # Errors
    /// If the model cannot be read back.
    pub fn show(&self) -> Result<()> {
        let RunData { held_out, tokenizer, .. } = &self.data;
        let mut model = Inference::load(&self.model, training::device(&self.settings.device)?)?;
        say!("\nheld-out text with a word masked, and what the model puts there:");
        for passage in &passages(held_out, tokenizer) {
            // Text of a kind that does not read back into its own tokens is no example, and no failure of the run.
            let Ok(filled) = fill_mask(&mut model, tokenizer, &passage.text(), CANDIDATES) else { continue };
            let guesses: Vec<_> = (filled.iter().flat_map(|mask| &mask.candidates))
                .map(|guess| {
                    format!("{} {}", guess.piece.trim_start_matches('▁'), three_digits(guess.probability))
                })
                .collect();
            for sentence in &passage.sentences {
                say!("{}", indented(&visible(sentence), 2));
            }
            say!("      {} (it was: {})\n", visible(&guesses.join(", ")), visible(&passage.word));
        }
        self.compare()?;
        let model = self.model.to_string_lossy();
        say!("the model is in {}\ntry next:", visible(&model));
        let model = visible(&quoted_path(&model));
        if self.settings.data.train.is_empty() {
            say!(
                "  albert-train fill-mask --model {model} \"She opened the door. {SEPARATOR} Then she {MASK} home.\""
            );
            say!("  albert-train pretrain --train your-text.txt --preset tiny --out runs/mine");
        } else {
            say!("  albert-train fill-mask --model {model} \"a sentence of your own with a {MASK} in it\"");
            say!("  albert-train evaluate --model {model} --data other-text.txt");
            say!("  albert-train encode --model {model} --input sentences.txt --output vectors.safetensors");
        }
        Ok(())
    }
}

impl Summary {
    /// What the model has come to beside what is reached without one, and the way there.
    fn compare(&self) -> Result<()> {
        let value = |name| self.metrics.value(name);
        let words = self.metrics.get("masked_lm_accuracy").map_or("no word masked".into(), |right| {
            format!(
                "{:.1}% of masked words right (always guessing the most common: {:.1}%)",
                100.0 * right,
                100.0 * value("majority_masked_lm_accuracy")
            )
        });
        say!(
            "on all held-out text: {words}, {:.1}% of sentence orders right (chance: 50%)",
            100.0 * value("sentence_order_accuracy")
        );
        // A journal that cannot be read costs the curve.
        let Ok(record) = RunRecord::read(&self.run) else { return Ok(()) };
        if let Some((first, last)) = record.curve("loss").ends() {
            say!("loss {:.3} {} {:.3}", first.value, sparkline(record.curve("loss"), CURVE), last.value);
        }
        say!("its curves are in {}", shown(&self.run.join(report::FILE)));
        Ok(())
    }
}

/// Sentences that follow each other in a document, a word in one of them masked.
#[derive(Debug, PartialEq)]
struct Passage {
    sentences: Vec<String>,
    word: String,
}

impl Passage {
    /// The last sentence as the second segment, for in pre-training the model saw pairs.
    fn text(&self) -> String {
        match self.sentences.as_slice() {
            [before @ .., last] if !before.is_empty() => format!("{} {SEPARATOR} {last}", before.join(" ")),
            sentences => sentences.concat(),
        }
    }
}

/// Passages from all over the held-out text, with words that differ as far as there are any. Neither they nor the words depend on what a model makes of them.
fn passages(held_out: &Dataset, tokenizer: &Tokenizer) -> Vec<Passage> {
    let epoch = held_out.epoch(0);
    let stride = (epoch.samples() / EXAMPLES).max(1);
    let mut passages: Vec<Passage> = Vec::new();
    for first in (0..epoch.samples()).step_by(stride as usize).take(EXAMPLES as usize) {
        let samples = first..epoch.samples().min(first + stride.min(TRIES));
        let words: Vec<&str> = passages.iter().map(|passage| passage.word.as_str()).collect();
        let with = |least, but: &[&str]| {
            samples.clone().find_map(|index| passage(held_out, &epoch, index, least, tokenizer, but))
        };
        let next = with(2, &words).or_else(|| with(1, &words)).or_else(|| with(1, &[]));
        passages.extend(next);
    }
    passages
}

/// The first whole sentences of a sample's text, at least `least`, as many as fit where the sample does, with the commonest
/// of their words masked that is none of `but` (vocabularies begin with the commonest): few steps of training teach those
/// first.
fn passage(
    held_out: &Dataset,
    epoch: &Epoch,
    index: u64,
    least: usize,
    tokenizer: &Tokenizer,
    but: &[&str],
) -> Option<Passage> {
    let sampler = held_out.sampler()?;
    let pair = sampler.pair(epoch, index);
    let (document, _) = sampler.corpus().document(pair.origin.document);
    let (start, end) = (pair.origin.sentences.start, pair.origin.sentences.end);
    let room = pair.first.len() + pair.second.len();
    let count =
        (least..=SENTENCES.min(end - start)).rev().find(|n| document.length(start..start + n) <= room)?;
    let sentences: Vec<Vec<u32>> = (start..start + count)
        .map(|number| document.tokens(number..number + 1).iter().map(|&id| id.into()).collect())
        .collect();
    let words = (0..count).flat_map(|number| (0..sentences[number].len()).map(move |at| (number, at)));
    let (masked, at) = words
        .filter(|&(number, at)| is_word(&sentences[number], at, tokenizer))
        .filter(|&(number, at)| !but.contains(&&*tokenizer.decode(&sentences[number][at..=at])))
        .min_by_key(|&(number, at)| sentences[number][at])?;
    let mut texts: Vec<String> = sentences.iter().map(|sentence| tokenizer.decode(sentence)).collect();
    let sentence = &sentences[masked];
    let (before, after) = (tokenizer.decode(&sentence[..at]), tokenizer.decode(&sentence[at + 1..]));
    let gap = if after.starts_with(|c: char| c.is_ascii_punctuation()) { "" } else { " " };
    texts[masked] = format!("{before} {MASK}{gap}{after}").trim().to_owned();
    Some(Passage { sentences: texts, word: tokenizer.decode(&sentence[at..=at]) })
}

/// A probability with three digits that say something: `0.571`, `0.00123`.
fn three_digits(probability: f64) -> String {
    let zeros = if probability > 0.0 { (-probability.log10().floor()).clamp(1.0, 8.0) - 1.0 } else { 0.0 };
    format!("{probability:.*}", 3 + zeros as usize)
}

/// Whether the piece at `at` is a word by itself, and long enough.
fn is_word(ids: &[u32], at: usize, tokenizer: &Tokenizer) -> bool {
    let piece = tokenizer.piece(ids[at]).unwrap_or_default();
    piece.chars().filter(|c| c.is_alphabetic()).count() >= LETTERS
        && tokenizer.starts_word(ids[at])
        && ids.get(at + 1).is_none_or(|&next| tokenizer.starts_word(next))
}
