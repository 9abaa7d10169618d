//! Which piece of which document is sample *i* of epoch *e*.
//!
//! The answer is a pure function of (corpus, options, seed, epoch, index): no order is stored, any sample can be had at
//! once, at any thread count and after any resume. It follows the reference (`model/ALBERT.md`, Text to samples) in what a sample is:
//!
//! - An epoch is one *pass* over every document. With probability `short_seq_prob` the pass aims at a random length
//!   instead of the full one; this is drawn once per pass, from (seed, epoch, document).
//! - A pass walks the sentences in order and cuts a *chunk* whenever it has reached the length it aims at; what is left
//!   at the document's end is a chunk too. So every sentence is used exactly once per epoch.
//! - A chunk is divided into two segments between two of its sentences; a coin decides whether they change places
//!   (sentence order prediction). Too long a pair loses tokens at random ends of the longer segment.
//!
//! The number of chunks differs from epoch to epoch, because passes differ. An [`Epoch`] therefore counts the chunks of
//! every [`GROUP`] documents when it begins, on all cores (for gigabytes of text a fraction of a second), and finds a
//! sample by a binary search over these counts and a walk over one group. The order of the samples is a keyed bijection
//! of their numbers.
//!
//! Decisions on the reference's quirks (`model/ALBERT.md`, Departures):
//!
//! - D4: in the reference, a chunk of a single sentence becomes a pair with a random sentence from elsewhere, labelled
//!   as swapped: a different and much easier question. [`SingleSegment::Split`] (the default) divides the sentence
//!   itself, `Skip` leaves it out, `Random` does as the reference does. Statistics report the share of such samples.
//! - D3, D7: every draw is keyed (see `draws`), and only one batch is ever in memory. Where the reference writes 40
//!   differently masked copies of its corpus, here every epoch is masked anew.
//! - With `random_next_sentence` (BERT's next sentence prediction) sentences that a random segment displaced are put
//!   back and walked over next, as in the reference.

mod options;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

use super::words::WordStarts;
use crate::data::error::DataError;
use crate::data::shards::Document;
use crate::data::shards::{Corpus, Selection};
use crate::draws::{Draws, Purpose};
use crate::permutation::Permutation;
pub use options::{SampleOptions, SingleSegment};

/// Documents counted together; finding a sample walks over at most this many.
const GROUP: usize = 16;
/// `[CLS]`, and `[SEP]` after each segment.
pub(crate) const SPECIAL_TOKENS: usize = 3;
/// Documents tried when one other than the current is wanted (the reference's number).
const RANDOM_DOCUMENT_TRIES: usize = 10;

/// Cuts samples from a corpus.
#[derive(Debug)]
pub struct Sampler {
    corpus: Arc<Corpus>,
    word_starts: WordStarts,
    selection: Selection,
    options: SampleOptions,
    seed: u64,
}

/// One pass over the corpus: how many samples it has, and in which order.
#[derive(Debug)]
pub struct Epoch {
    number: u32,
    /// Chunks before each group of documents; then their number in all.
    first_chunks: Vec<u64>,
    permutation: Permutation,
}

impl Epoch {
    /// The number of samples.
    pub fn samples(&self) -> u64 {
        *self.first_chunks.last().expect("the list ends with the total")
    }

    /// An epoch of samples that are numbered and nothing else.
    pub(crate) fn plain(seed: u64, number: u32, samples: u64) -> Self {
        Self { number, first_chunks: vec![samples], permutation: Permutation::new(seed, number, samples) }
    }

    /// Which sample comes at `index`.
    pub(crate) fn place(&self, index: u64) -> u64 {
        self.permutation.apply(index)
    }

    /// Which epoch this is.
    pub fn number(&self) -> u32 {
        self.number
    }
}

/// Two segments of text, and whether they change their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The tokens of segment 0.
    pub first: &'a [u16],
    /// The tokens of segment 1.
    pub second: &'a [u16],
    /// 1 where the second segment does not follow the first in the text.
    pub label: u32,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a sample comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The document, numbered through the corpus.
    pub document: usize,
    /// Its sentences.
    pub sentences: Range<usize>,
    /// Their number in the whole corpus begins here; it names the sample within its epoch.
    pub first_sentence: u64,
    /// The pass aimed at a random length.
    pub short: bool,
    /// The second segment is from elsewhere.
    pub random_next: bool,
    /// It was to be cut from a single sentence. (Where the second segment is from elsewhere, `sentences` may be one of
    /// several.)
    pub single_segment: bool,
    /// Tokens cut off.
    pub truncated: usize,
}

/// A run of sentences that becomes one sample.
#[derive(Clone, Debug)]
struct Chunk {
    sentences: Range<usize>,
    /// The corpus-wide number of the first sentence: the key of all that is drawn for this sample.
    number: u64,
}

/// The walk over one document.
struct Pass<'a> {
    sampler: &'a Sampler,
    epoch: u32,
    /// The document's corpus-wide number.
    number: usize,
    document: Document<'a>,
    first_sentence: u64,
    /// Tokens that a chunk aims at.
    target: usize,
    short: bool,
    next: usize,
}

impl Iterator for Pass<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        while self.next < self.document.sentences() {
            let start = self.next;
            let sentences = start..self.document.end_of_run(start, self.target);
            let chunk = Chunk { sentences: sentences.clone(), number: self.first_sentence + start as u64 };
            self.next = sentences.end;
            if sentences.len() == 1 {
                match self.sampler.options.single_segment {
                    SingleSegment::Skip => continue,
                    SingleSegment::Split if self.document.length(sentences) < 2 => continue,
                    SingleSegment::Split | SingleSegment::Random => (),
                }
            }
            if self.sampler.options.random_next_sentence {
                let division = self.sampler.divide(self.epoch, &chunk);
                if division.random_next {
                    self.next = start + division.first_sentences;
                }
            }
            return Some(chunk);
        }
        None
    }
}

/// The first decisions about a chunk, and the draws that follow them.
struct Division {
    /// How many of its sentences make the first segment.
    first_sentences: usize,
    random_next: bool,
    draws: Draws,
}

/// Why there are no samples of a text that cannot be divided.
pub(super) const TOO_SHORT: &str = "it has fewer than two sentences, one to learn from and one held out; --held-out takes \
                                    other text for that";

impl Sampler {
    /// A sampler over the selected documents.
    ///
    /// # Errors
    /// If an option is impossible, or the documents yield no sample.
    ///
    /// # Panics
    /// If `word_starts` is for another vocabulary size than the corpus.
    pub fn new(
        corpus: Arc<Corpus>,
        word_starts: WordStarts,
        selection: Selection,
        options: SampleOptions,
        seed: u64,
    ) -> Result<Self, DataError> {
        options.check()?;
        assert_eq!(
            word_starts.len(),
            corpus.tokenizer().vocabulary_size,
            "word starts of another vocabulary"
        );
        if let Selection::Training { every } | Selection::HeldOut { every } = selection
            && every < 2
        {
            let reason = "at least every second document must remain for training";
            return Err(DataError::Option { option: "held_out_every", value: every.to_string(), reason });
        }
        let sampler = Self { corpus, word_starts, selection, options, seed };
        if sampler.epoch(0).samples() == 0 {
            let reason = match (sampler.documents(), selection, options.single_segment) {
                (0, Selection::HeldOut { .. }, _) => {
                    "none of its documents is held out: it has fewer than held_out_every; give more text, lower \
                     held_out_every, or give held-out text of its own"
                }
                (0, Selection::Before { .. }, _) => TOO_SHORT,
                (0, ..) => "it has no documents",
                (.., SingleSegment::Skip) => {
                    "every chunk is a single sentence; single_segment = \"split\" uses them"
                }
                (_, Selection::HeldOut { .. } | Selection::From { .. }, _) => {
                    "no sentence of what is held out of it has two tokens; give another held_out_every, or held-out text of \
                     its own"
                }
                _ => "no sentence has two tokens",
            };
            return Err(DataError::NothingToSample { reason });
        }
        Ok(sampler)
    }

    /// The corpus it draws from.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// Tokens of the selected documents, and those between segments, of which each sample has three.
    pub(crate) fn tokens(&self) -> u64 {
        let lengths = (0..self.documents()).map(|index| {
            let (_, document, _) = self.selection.document(&self.corpus, index);
            document.length(0..document.sentences()) as u64
        });
        lengths.sum::<u64>() + SPECIAL_TOKENS as u64 * self.epoch(0).samples()
    }

    /// Visits every piece of the selected documents.
    pub(crate) fn for_each_piece(&self, mut visit: impl FnMut(u16)) {
        for index in 0..self.documents() {
            let (_, document, _) = self.selection.document(&self.corpus, index);
            document.tokens(0..document.sentences()).iter().for_each(|&id| visit(id));
        }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// The number of selected documents.
    pub fn documents(&self) -> usize {
        self.selection.count(&self.corpus)
    }

    /// Prepares epoch `number`; this counts its samples.
    pub fn epoch(&self, number: u32) -> Epoch {
        let groups = self.documents().div_ceil(GROUP);
        let count = |group| self.group(group).map(|d| self.pass(number, d).count() as u64).sum::<u64>();
        let counts: Vec<u64> = (0..groups).into_par_iter().map(count).collect();
        let mut first_chunks = vec![0];
        let mut total = 0;
        first_chunks.extend(counts.into_iter().map(|count| {
            total += count;
            total
        }));
        Epoch { number, first_chunks, permutation: Permutation::new(self.seed, number, total) }
    }

    /// Sample `index` of `epoch`.
    ///
    /// # Panics
    /// If the epoch has no such sample.
    pub fn pair(&self, epoch: &Epoch, index: u64) -> Pair<'_> {
        let place = epoch.permutation.apply(index);
        let group = epoch.first_chunks.partition_point(|&first| first <= place) - 1;
        let mut before = epoch.first_chunks[group];
        for selected in self.group(group) {
            let mut pass = self.pass(epoch.number, selected);
            for chunk in &mut pass {
                if before == place {
                    return self.cut(&pass, chunk);
                }
                before += 1;
            }
        }
        unreachable!("a group has as many chunks as the epoch counted")
    }

    /// The selected documents of a group.
    fn group(&self, group: usize) -> Range<usize> {
        group * GROUP..((group + 1) * GROUP).min(self.documents())
    }

    fn pass(&self, epoch: u32, selected: usize) -> Pass<'_> {
        let (number, document, first_sentence) = self.selection.document(&self.corpus, selected);
        let longest = self.options.max_seq_length - SPECIAL_TOKENS;
        let mut draws = Draws::new(self.seed, Purpose::Length, epoch, number as u64);
        let short = draws.unit() < self.options.short_seq_prob;
        let target = if short { 2 + draws.below(longest - 1) } else { longest };
        Pass { sampler: self, epoch, number, document, first_sentence, target, short, next: 0 }
    }

    fn divide(&self, epoch: u32, chunk: &Chunk) -> Division {
        let mut draws = Draws::new(self.seed, Purpose::Pair, epoch, chunk.number);
        let single = chunk.sentences.len() == 1;
        let first_sentences = if single { 1 } else { 1 + draws.below(chunk.sentences.len() - 1) };
        let random_next = single && self.options.single_segment == SingleSegment::Random
            || self.options.random_next_sentence && draws.coin();
        Division { first_sentences, random_next, draws }
    }

    fn cut<'a>(&'a self, pass: &Pass<'a>, chunk: Chunk) -> Pair<'a> {
        let document = pass.number;
        let Range { start, end } = chunk.sentences;
        let Division { first_sentences, random_next, mut draws } = self.divide(pass.epoch, &chunk);
        let middle = start + first_sentences;
        let (first, second) = if random_next {
            let first = pass.document.tokens(start..middle);
            (first, self.random_segment(document, pass.target.saturating_sub(first.len()), &mut draws))
        } else if middle < end {
            (pass.document.tokens(start..middle), pass.document.tokens(middle..end))
        } else {
            let sentence = pass.document.tokens(start..end);
            sentence.split_at(self.word_starts.divide(sentence, &mut draws))
        };
        let swap = !random_next && !self.options.random_next_sentence && draws.coin();
        let (first, second) = if swap { (second, first) } else { (first, second) };
        let length = first.len() + second.len();
        let (first, second) =
            truncate(first, second, self.options.max_seq_length - SPECIAL_TOKENS, &mut draws);
        Pair {
            first,
            second,
            label: (swap || random_next).into(),
            origin: Origin {
                document,
                sentences: start..if random_next { middle } else { end },
                first_sentence: chunk.number,
                short: pass.short,
                random_next,
                single_segment: end == start + 1,
                truncated: length - first.len() - second.len(),
            },
        }
    }

    /// Sentences from a random place in another document, until there are `target` tokens.
    fn random_segment(&self, document: usize, target: usize, draws: &mut Draws) -> &[u16] {
        let mut draw = || self.selection.document(&self.corpus, draws.below(self.documents()));
        let mut other = draw();
        for _ in 1..RANDOM_DOCUMENT_TRIES {
            if other.0 != document {
                break;
            }
            other = draw();
        }
        let (_, document, _) = other;
        let start = draws.below(document.sentences());
        document.tokens(start..document.end_of_run(start, target))
    }
}

/// Takes tokens from the longer segment (the second where both are equal), each from a random end, until both together
/// have at most `longest`.
fn truncate<'a>(
    mut first: &'a [u16],
    mut second: &'a [u16],
    longest: usize,
    draws: &mut Draws,
) -> (&'a [u16], &'a [u16]) {
    while first.len() + second.len() > longest {
        let longer = if first.len() > second.len() { &mut first } else { &mut second };
        *longer = if draws.coin() { &longer[1..] } else { &longer[..longer.len() - 1] };
    }
    (first, second)
}
