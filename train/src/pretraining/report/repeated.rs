//! Text that stands twice: documents word for word, and long sentences.

use std::collections::HashSet;

use rayon::prelude::*;

use crate::data::shards::Corpus;

/// Shorter sentences are alike by chance, or by custom.
const LONG: usize = 16;
/// So many hashes are kept at most, in expectation; of larger corpora a share is looked at, chosen by the hashes
/// themselves, so that what is alike is looked at together.
const MOST: u64 = 1 << 22;

/// Shares of a corpus.
pub(super) struct Repeated {
    /// Of the documents, those that repeat an earlier one.
    pub(super) documents: f64,
    /// Of the tokens of long sentences, those in one that repeats an earlier one.
    pub(super) sentences: f64,
}

impl Repeated {
    pub(super) fn of(corpus: &Corpus) -> Self {
        let documents = hashes(corpus, corpus.documents() as u64, |shard, found| {
            let (sentences, ids) = (shard.sentence_offsets(), shard.ids());
            for pair in shard.document_offsets().windows(2) {
                let tokens = &ids[sentences[pair[0] as usize] as usize..sentences[pair[1] as usize] as usize];
                found.push((hash(tokens), 1));
            }
        });
        let sentences = hashes(corpus, corpus.sentences(), long_sentences);
        Self { documents: share_repeated(documents), sentences: share_repeated(sentences) }
    }
}

/// The share of the tokens of `text`'s long sentences that stand in `other` too.
pub fn share_repeated_in(text: &Corpus, other: &Corpus) -> f64 {
    let own: Vec<(u64, u64)> = hashes(text, text.sentences(), long_sentences).into_iter().flatten().collect();
    let wanted: HashSet<u64> = own.iter().map(|&(hash, _)| hash).collect();
    let found: HashSet<u64> = (other.shards().par_iter())
        .flat_map_iter(|shard| {
            let mut all = Vec::new();
            long_sentences(shard, &mut all);
            all.into_iter().map(|(hash, _)| hash).filter(|hash| wanted.contains(hash)).collect::<HashSet<_>>()
        })
        .collect();
    let total: u64 = own.iter().map(|&(_, tokens)| tokens).sum();
    let repeated: u64 = own.iter().filter(|(hash, _)| found.contains(hash)).map(|&(_, tokens)| tokens).sum();
    super::share(repeated, total)
}

fn long_sentences(shard: &crate::data::shards::Shard, found: &mut Vec<(u64, u64)>) {
    let ids = shard.ids();
    for pair in shard.sentence_offsets().windows(2) {
        let tokens = &ids[pair[0] as usize..pair[1] as usize];
        if tokens.len() >= LONG {
            found.push((hash(tokens), tokens.len() as u64));
        }
    }
}

/// Hashes and weights of some `count` things, shard by shard; of very many the same share everywhere.
fn hashes(
    corpus: &Corpus,
    count: u64,
    list: impl Fn(&crate::data::shards::Shard, &mut Vec<(u64, u64)>) + Sync,
) -> Vec<Vec<(u64, u64)>> {
    let rate = count.div_ceil(MOST).max(1);
    (corpus.shards().par_iter())
        .map(|shard| {
            let mut found = Vec::new();
            list(shard, &mut found);
            found.retain(|(hash, _)| hash % rate == 0);
            found
        })
        .collect()
}

fn share_repeated(shards: Vec<Vec<(u64, u64)>>) -> f64 {
    let (mut seen, mut repeated, mut total) = (HashSet::new(), 0, 0);
    for (hash, weight) in shards.into_iter().flatten() {
        total += weight;
        repeated += if seen.insert(hash) { 0 } else { weight };
    }
    super::share(repeated, total)
}

/// 64 bits of a run of tokens (SplitMix64 over them).
fn hash(tokens: &[u16]) -> u64 {
    tokens.iter().fold(tokens.len() as u64, |hash, &token| {
        let z = hash.wrapping_add(0x9E37_79B9_7F4A_7C15) ^ u64::from(token);
        let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    })
}
