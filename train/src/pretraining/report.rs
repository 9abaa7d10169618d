//! What a text is like as a whole, and what looks wrong with it: what a person wants to know before days of training.

mod repeated;
mod verdict;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use unicode_script::UnicodeScript;

use super::{SampleOptions, Sampler, WordStarts};
use crate::data::error::DataError;
use crate::data::shards::{Corpus, Manifest, REPORT, Selection};
use crate::data::text::{Format, Oddities};
use crate::files::{Disk, replace};
use crate::tokenizer::Tokenizer;
use repeated::Repeated;
pub use repeated::share_repeated_in;

/// Figures of a prepared text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Files of text.
    pub files: u64,
    /// Documents.
    pub documents: u64,
    /// Sentences: lines, where the text has one a line.
    pub sentences: u64,
    /// Tokens.
    pub tokens: u64,
    /// The share of tokens that the vocabulary does not know.
    pub unknown: f64,
    /// Tokens of a sentence.
    pub sentence_tokens: Spread,
    /// Sentences of a document.
    pub document_sentences: Spread,
    /// The share of tokens that stand in sentences which seem to be several.
    pub in_several_sentences: f64,
    /// The share of tokens that no sequence shows, by the largest number of tokens in a sequence.
    pub cut_off: Vec<CutOff>,
    /// The share of documents that repeat an earlier one word for word.
    pub repeated_documents: f64,
    /// The share of tokens of long sentences that repeat an earlier one.
    pub repeated_sentences: f64,
    /// The shares of the letters' scripts, largest first.
    pub scripts: Vec<(String, f64)>,
    /// What was odd about the files.
    pub oddities: Oddities,
    /// The first of the files that hold no text.
    #[serde(default)]
    pub empty_files: Vec<String>,
    /// What looks wrong, and what mends it.
    pub warnings: Vec<String>,
}

/// Where the values of a list lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half of them are at most this.
    pub median: u32,
    /// Nine tenths are at most this.
    pub most: u32,
    /// The largest.
    pub largest: u32,
}

/// What sequences of one length do not show.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CutOff {
    /// The largest number of tokens in a sequence.
    pub max_seq_length: usize,
    /// The share of tokens cut off.
    pub share: f64,
}

/// Lengths that the share cut off is told for.
const LENGTHS: [usize; 2] = [128, 512];
/// Sequences that it is measured on.
const SEQUENCES: u64 = 5_000;
/// Scripts with a smaller share are not named.
const LEAST_SCRIPT: f64 = 0.005;

impl Report {
    /// That of a corpus that was just prepared.
    pub fn of(corpus: &Arc<Corpus>, manifest: &Manifest, tokenizer: &Tokenizer) -> Self {
        let (sentence_tokens, document_sentences) = spreads(corpus);
        let counts = manifest.counts;
        let mut report = Self {
            files: manifest.source.files,
            documents: counts.documents,
            sentences: counts.sentences,
            tokens: counts.tokens,
            unknown: share(counts.unknown, counts.tokens),
            sentence_tokens,
            document_sentences,
            in_several_sentences: in_several_sentences(corpus, tokenizer),
            cut_off: LENGTHS.into_iter().filter_map(|length| cut_off(corpus, tokenizer, length)).collect(),
            repeated_documents: 0.0,
            repeated_sentences: 0.0,
            scripts: scripts(corpus, tokenizer),
            oddities: manifest.oddities,
            empty_files: manifest.empty_files.clone(),
            warnings: Vec::new(),
        };
        let repeated = Repeated::of(corpus);
        (report.repeated_documents, report.repeated_sentences) = (repeated.documents, repeated.sentences);
        report.warnings = verdict::warnings(&report, manifest.reading.format == Some(Format::Prose));
        report
    }

    /// Reads it from a prepared folder; `None` where there is none, as in one of an earlier version.
    pub fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join(REPORT)).ok()?).ok()
    }

    /// Writes it into a prepared folder.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), DataError> {
        let path = folder.join(REPORT);
        let text = serde_json::to_string_pretty(self).expect("a report is plain data") + "\n";
        replace(&Disk, &path, text.as_bytes()).map_err(DataError::io("write", &path))
    }

    /// The share of tokens that sequences of at most so many tokens do not show.
    pub fn cut_off_at(corpus: &Arc<Corpus>, tokenizer: &Tokenizer, max_seq_length: usize) -> f64 {
        cut_off(corpus, tokenizer, max_seq_length).map_or(0.0, |cut| cut.share)
    }
}

/// A share to six digits, which a file gives back as they are.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 1e6).round() / 1e6 }
}

/// Counts of values up to a limit, which stands for all beyond.
struct Histogram(Vec<u64>);

impl Histogram {
    const LIMIT: usize = 1 << 16;

    fn of(values: impl ParallelIterator<Item = u32>) -> (Self, u32) {
        let empty = || (vec![0; Self::LIMIT + 1], 0);
        let (counts, largest) = values
            .fold(empty, |(mut counts, largest), value| {
                counts[(value as usize).min(Self::LIMIT)] += 1;
                (counts, value.max(largest))
            })
            .reduce(empty, |(mut counts, largest), (more, other)| {
                counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
                (counts, largest.max(other))
            });
        (Self(counts), largest)
    }

    fn spread(values: impl ParallelIterator<Item = u32>) -> Spread {
        let (Self(counts), largest) = Self::of(values);
        let total: u64 = counts.iter().sum();
        let at = |share: f64| {
            let wanted = (share * total as f64).ceil() as u64;
            let mut seen = 0;
            let place = counts.iter().position(|count| {
                seen += count;
                seen >= wanted
            });
            place.map_or(largest, |place| (place as u32).min(largest))
        };
        Spread { median: at(0.5), most: at(0.9), largest }
    }
}

/// Tokens of sentences, and sentences of documents.
fn spreads(corpus: &Corpus) -> (Spread, Spread) {
    let lengths = |offsets: &[u32]| offsets.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>();
    (
        Histogram::spread(
            corpus.shards().par_iter().flat_map_iter(|shard| lengths(shard.sentence_offsets())),
        ),
        Histogram::spread(
            corpus.shards().par_iter().flat_map_iter(|shard| lengths(shard.document_offsets())),
        ),
    )
}

/// The share of tokens in sentences with marks that end sentences inside of them, twice or more.
fn in_several_sentences(corpus: &Corpus, tokenizer: &Tokenizer) -> f64 {
    let ends: Vec<bool> = (0..tokenizer.vocabulary_size() as u32)
        .map(|id| tokenizer.piece(id).is_some_and(crate::data::text::is_sentence_end))
        .collect();
    let several = |sentence: &[u16]| {
        let inner = sentence.split_last().map_or(&[][..], |(_, inner)| inner);
        // Marks side by side are one end.
        inner.windows(2).filter(|pair| ends[usize::from(pair[0])] && !ends[usize::from(pair[1])]).count() >= 2
    };
    let tokens: u64 = (corpus.shards().par_iter())
        .map(|shard| {
            let ids = shard.ids();
            (shard.sentence_offsets().windows(2))
                .map(|pair| &ids[pair[0] as usize..pair[1] as usize])
                .filter(|sentence| several(sentence))
                .map(|sentence| sentence.len() as u64)
                .sum::<u64>()
        })
        .sum();
    share(tokens, corpus.tokens())
}

fn cut_off(corpus: &Arc<Corpus>, tokenizer: &Tokenizer, max_seq_length: usize) -> Option<CutOff> {
    let words = WordStarts::of(tokenizer, false);
    let options = SampleOptions { max_seq_length, short_seq_prob: 0.0, ..SampleOptions::default() };
    let sampler = Sampler::new(corpus.clone(), words, Selection::All, options, 0).ok()?;
    let epoch = sampler.epoch(0);
    let (shown, cut) = (0..epoch.samples().min(SEQUENCES))
        .into_par_iter()
        .map(|index| {
            let pair = sampler.pair(&epoch, index);
            ((pair.first.len() + pair.second.len()) as u64, pair.origin.truncated as u64)
        })
        .reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    Some(CutOff { max_seq_length, share: share(cut, shown + cut) })
}

fn scripts(corpus: &Corpus, tokenizer: &Tokenizer) -> Vec<(String, f64)> {
    let size = tokenizer.vocabulary_size();
    let counts = (corpus.shards().par_iter())
        .map(|shard| {
            let mut counts = vec![0u64; size];
            shard.ids().iter().for_each(|&id| counts[usize::from(id)] += 1);
            counts
        })
        .reduce(
            || vec![0; size],
            |mut sum, more| {
                sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
                sum
            },
        );
    let special = tokenizer.special().ids();
    let mut letters = std::collections::BTreeMap::<&str, u64>::new();
    for (id, &count) in (0u32..).zip(&counts).filter(|&(id, &count)| count > 0 && !special.contains(&id)) {
        for c in tokenizer.piece(id).unwrap_or_default().chars().filter(|c| c.is_alphabetic()) {
            *letters.entry(c.script().full_name()).or_default() += count;
        }
    }
    let total: u64 = letters.values().sum();
    let mut shares: Vec<(String, f64)> =
        letters.into_iter().map(|(script, count)| (script.replace('_', " "), share(count, total))).collect();
    shares.retain(|&(_, share)| share >= LEAST_SCRIPT);
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares
}

#[cfg(test)]
mod tests;
