//! Which piece of which document is sample *i* of epoch *e*.
//!
//! The answer is a pure function of (corpus, options, seed, epoch, index): no order is stored, any sample can be had at
//! once, at any thread count and after any resume. It follows the reference (spec §3.3) in what a sample is:
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
//! Decisions on the reference's quirks (spec appendix A):
//!
//! - D4: in the reference, a chunk of a single sentence becomes a pair with a random sentence from elsewhere, labelled
//!   as swapped: a different and much easier question. [`SingleSegment::Split`] (the default) divides the sentence
//!   itself, `Skip` leaves it out, `Random` does as the reference does. Statistics report the share of such samples.
//! - D3, D7: every draw is keyed (see `draws`), and only one batch is ever in memory. Where the reference writes 40
//!   differently masked copies of its corpus, here every epoch is masked anew.
//! - With `random_next_sentence` (BERT's next sentence prediction) sentences that a random segment displaced are put
//!   back and walked over next, as in the reference.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::corpus::{Corpus, Selection};
use super::draws::{Draws, Purpose};
use super::error::DataError;
use super::permutation::Permutation;
use super::shard::Document;
use super::words::WordStarts;

/// Documents counted together; finding a sample walks over at most this many.
const GROUP: usize = 16;
/// `[CLS]`, and `[SEP]` after each segment.
pub(crate) const SPECIAL_TOKENS: usize = 3;
/// Documents tried when one other than the current is wanted (the reference's number).
const RANDOM_DOCUMENT_TRIES: usize = 10;

/// What becomes of a chunk that is a single sentence, which has no second segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SingleSegment {
    /// The sentence itself is divided in two, at the beginning of a word. A sentence of one token is left out.
    #[default]
    Split,
    /// It is left out.
    Skip,
    /// A random piece of another document follows, labelled as swapped (the reference).
    Random,
}

/// How samples are cut from documents.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SampleOptions {
    /// The most tokens of a sample, `[CLS]` and two `[SEP]` included.
    pub max_seq_length: usize,
    /// The probability that a pass over a document aims at a random length.
    pub short_seq_prob: f64,
    /// What becomes of chunks of one sentence.
    pub single_segment: SingleSegment,
    /// BERT's task in place of ALBERT's: half the pairs have a second segment from another document.
    pub random_next_sentence: bool,
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self {
            max_seq_length: 512,
            short_seq_prob: 0.1,
            single_segment: SingleSegment::Split,
            random_next_sentence: false,
        }
    }
}

impl SampleOptions {
    pub(crate) fn check(&self) -> Result<(), DataError> {
        let option = |option, value: String, reason| Err(DataError::Option { option, value, reason });
        if !(SPECIAL_TOKENS + 2..=1 << 20).contains(&self.max_seq_length) {
            return option(
                "max_seq_length",
                self.max_seq_length.to_string(),
                "it must hold three special tokens and one of each segment: at least 5, at most 1048576",
            );
        }
        if !(0.0..=1.0).contains(&self.short_seq_prob) {
            return option(
                "short_seq_prob",
                self.short_seq_prob.to_string(),
                "a probability lies between 0 and 1",
            );
        }
        Ok(())
    }
}

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
    /// Tokens cut off.
    pub truncated: usize,
}

impl Origin {
    /// Whether it was cut from a single sentence.
    pub fn single_segment(&self) -> bool {
        self.sentences.len() == 1
    }
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
            } else if self.sampler.options.random_next_sentence {
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
            let reason = match (sampler.documents(), options.single_segment) {
                (0, _) => "no document is left; give more text or hold out less",
                (_, SingleSegment::Skip) => {
                    "every chunk is a single sentence; single_segment = \"split\" uses them"
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

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// The number of selected documents.
    pub fn documents(&self) -> usize {
        self.selection.count(self.corpus.documents())
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
                    return self.cut(&pass, self.selection.nth(selected), chunk);
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
        let number = self.selection.nth(selected);
        let (document, first_sentence) = self.corpus.document(number);
        let longest = self.options.max_seq_length - SPECIAL_TOKENS;
        let mut draws = Draws::new(self.seed, Purpose::Length, epoch, number as u64);
        let short = draws.unit() < self.options.short_seq_prob;
        let target = if short { 2 + draws.below(longest - 1) } else { longest };
        Pass { sampler: self, epoch, document, first_sentence, target, short, next: 0 }
    }

    fn divide(&self, epoch: u32, chunk: &Chunk) -> Division {
        let mut draws = Draws::new(self.seed, Purpose::Pair, epoch, chunk.number);
        match chunk.sentences.len() {
            1 => Division {
                first_sentences: 1,
                random_next: self.options.single_segment == SingleSegment::Random,
                draws,
            },
            sentences => Division {
                first_sentences: 1 + draws.below(sentences - 1),
                random_next: self.options.random_next_sentence && draws.coin(),
                draws,
            },
        }
    }

    fn cut<'a>(&'a self, pass: &Pass<'a>, document: usize, chunk: Chunk) -> Pair<'a> {
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
                truncated: length - first.len() - second.len(),
            },
        }
    }

    /// Sentences from a random place in another document, until there are `target` tokens.
    fn random_segment(&self, document: usize, target: usize, draws: &mut Draws) -> &[u16] {
        let mut other = document;
        for _ in 0..RANDOM_DOCUMENT_TRIES {
            other = self.selection.nth(draws.below(self.documents()));
            if other != document {
                break;
            }
        }
        let (document, _) = self.corpus.document(other);
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

#[cfg(test)]
mod tests {
    use super::super::synthetic::{Shape, samples, words};
    use super::*;

    fn sampler(shape: &Shape, options: SampleOptions, seed: u64) -> Sampler {
        Sampler::new(shape.corpus(), words(), Selection::All, options, seed).unwrap()
    }

    fn pairs(sampler: &Sampler, epoch: u32) -> Vec<Pair<'_>> {
        let epoch = sampler.epoch(epoch);
        (0..epoch.samples()).map(|index| sampler.pair(&epoch, index)).collect()
    }

    /// The sentences used, as (document, sentence), in order.
    fn used(pairs: &[Pair<'_>]) -> Vec<(usize, usize)> {
        let sentences = |pair: &Pair<'_>| {
            let document = pair.origin.document;
            pair.origin.sentences.clone().map(move |sentence| (document, sentence))
        };
        let mut all: Vec<_> = pairs.iter().flat_map(sentences).collect();
        all.sort_unstable();
        all
    }

    fn all_sentences(corpus: &Corpus) -> Vec<(usize, usize)> {
        (0..corpus.documents())
            .flat_map(|d| (0..corpus.document(d).0.sentences()).map(move |s| (d, s)))
            .collect()
    }

    #[test]
    fn every_sentence_is_used_once_an_epoch() {
        for random_next_sentence in [false, true] {
            let options = SampleOptions {
                short_seq_prob: 0.5,
                single_segment: SingleSegment::Random,
                random_next_sentence,
                ..samples(40)
            };
            let sampler = sampler(&Shape::default(), options, 3);
            for epoch in 0..4 {
                assert_eq!(used(&pairs(&sampler, epoch)), all_sentences(sampler.corpus()), "epoch {epoch}");
            }
        }
    }

    /// Chunks reach the target and no further than the sentence that crosses it, but for the last of a document.
    #[test]
    fn chunks_are_as_long_as_they_should_be() {
        let options = SampleOptions { short_seq_prob: 0.0, ..samples(40) };
        let sampler = sampler(&Shape::default(), options, 3);
        for Pair { origin, .. } in pairs(&sampler, 0) {
            let (document, _) = sampler.corpus().document(origin.document);
            let Range { start, end } = origin.sentences;
            assert!(document.length(start..end) >= 37 || end == document.sentences());
            assert!(end == start + 1 || document.length(start..end - 1) < 37);
            assert!(!origin.short);
        }
    }

    #[test]
    fn pairs_are_the_text_in_its_order_or_swapped() {
        let sampler = sampler(&Shape::default(), samples(40), 5);
        let pairs = pairs(&sampler, 0);
        let mut whole = 0;
        for Pair { first, second, label, origin } in &pairs {
            assert!(!first.is_empty() && !second.is_empty());
            let (document, _) = sampler.corpus().document(origin.document);
            let text = document.tokens(origin.sentences.clone());
            assert_eq!(first.len() + second.len() + origin.truncated, text.len());
            assert!(first.len() + second.len() <= 37);
            if origin.truncated == 0 {
                let (earlier, later) = if *label == 1 { (second, first) } else { (first, second) };
                assert_eq!([*earlier, *later].concat(), text);
                whole += 1;
            } else {
                assert_eq!(first.len() + second.len(), 37);
            }
        }
        assert!(whole > 20 && whole < pairs.len(), "both kinds occur: {whole} of {}", pairs.len());
    }

    #[test]
    fn single_sentences_are_treated_as_asked() {
        let shape = Shape { sentences: 1..=2, ..Shape::default() };
        let with = |single_segment| sampler(&shape, SampleOptions { single_segment, ..samples(64) }, 5);
        let (split, skip, random) =
            (with(SingleSegment::Split), with(SingleSegment::Skip), with(SingleSegment::Random));
        let single = |pairs: &[Pair<'_>]| pairs.iter().filter(|pair| pair.origin.single_segment()).count();
        assert_eq!(single(&pairs(&skip, 0)), 0);
        assert!(pairs(&skip, 0).len() < pairs(&split, 0).len());
        for pair in pairs(&random, 0).iter().filter(|pair| pair.origin.single_segment()) {
            assert!(pair.origin.random_next && pair.label == 1);
        }
        let split = pairs(&split, 0);
        assert!(single(&split) > 10 && split.iter().all(|pair| !pair.origin.random_next));
        for Pair { first, second, label, .. } in split.iter().filter(|pair| pair.origin.single_segment()) {
            let later = if *label == 1 { first } else { second };
            let earlier = if *label == 1 { second } else { first };
            let inside = earlier[1..].iter().chain(&later[1..]).any(|&id| words().contains(id.into()));
            assert!(
                words().contains(later[0].into()) || !inside,
                "divided inside a word though it has several"
            );
        }
        // A corpus of nothing but single tokens has no pair at all.
        let shape = Shape { sentences: 1..=1, tokens: 1..=1, ..Shape::default() };
        let error = Sampler::new(shape.corpus(), words(), Selection::All, samples(64), 0).unwrap_err();
        assert!(matches!(error, DataError::NothingToSample { .. }));
    }

    /// Passes are short, labels swapped and lengths drawn with the right probabilities.
    #[test]
    fn coins_fall_as_often_as_they_should() {
        let shape = Shape { documents: 400, sentences: 30..=30, tokens: 5..=5, shard: 64 };
        let sampler = sampler(&shape, samples(153), 1);
        let (mut passes, mut short, mut samples, mut swapped, mut first_of_thirty) = (0, 0, 0, 0, 0);
        for epoch in 0..50 {
            for pair in pairs(&sampler, epoch) {
                samples += 1;
                swapped += pair.label;
                if pair.origin.sentences.start == 0 {
                    passes += 1;
                    short += u32::from(pair.origin.short);
                }
                if pair.origin.sentences.len() == 30 {
                    let earlier = if pair.label == 1 { pair.second } else { pair.first };
                    first_of_thirty += earlier.len() as u32 / 5;
                }
            }
        }
        assert_eq!(passes, 20_000);
        // Six standard deviations: sqrt(20000 · 0.1 · 0.9) = 42, sqrt(n) / 2 of the labels.
        assert!(short.abs_diff(2_000) < 6 * 42, "{short}");
        assert!(
            f64::from(swapped.abs_diff(samples / 2)) < 3.0 * f64::from(samples).sqrt(),
            "{swapped} of {samples}"
        );
        // At least the 18000 full passes divide 30 sentences after one of 1 to 29: mean 15, standard deviation 8.4.
        let mean = f64::from(first_of_thirty) / 18_000.0;
        assert!((14.5..16.0).contains(&mean), "{mean}");
    }

    #[test]
    fn any_sample_is_the_same_at_any_time_and_thread_count() {
        let sampler = sampler(&Shape::default(), samples(40), 5);
        let all = pairs(&sampler, 2);
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let epoch = one.install(|| sampler.epoch(2));
        assert_eq!(epoch.samples(), all.len() as u64);
        for index in (0..epoch.samples()).rev() {
            assert_eq!(sampler.pair(&epoch, index), all[index as usize]);
        }
        assert_ne!(pairs(&sampler, 3)[..20], all[..20], "epochs differ");
    }

    #[test]
    fn truncation_takes_from_the_longer_at_both_ends() {
        let ids: Vec<u16> = (0..100).collect();
        let (mut front, mut back) = (0, 0);
        for index in 0..1000 {
            let mut draws = Draws::new(1, Purpose::Pair, 0, index);
            let (first, second) = truncate(&ids[..30], &ids[30..100], 50, &mut draws);
            assert_eq!((first.len(), second.len()), (25, 25), "the longer one loses until both are equal");
            front += u32::from(first[0]) + u32::from(second[0]) - 30;
            back += 29 - u32::from(first[24]) + 99 - u32::from(second[24]);
        }
        assert_eq!(front + back, 50_000);
        assert!(front.abs_diff(25_000) < 6 * 112, "{front}");
    }

    #[test]
    fn impossible_options_are_refused() {
        let refused = |options: SampleOptions| {
            Sampler::new(Shape::default().corpus(), words(), Selection::All, options, 0)
                .unwrap_err()
                .to_string()
        };
        assert!(refused(samples(4)).starts_with("max_seq_length = 4"));
        assert!(
            refused(SampleOptions { short_seq_prob: f64::NAN, ..samples(9) })
                .starts_with("short_seq_prob = NaN")
        );
    }
}
