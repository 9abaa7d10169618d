//! The likeliest segmentation of a text into pieces, as sentencepiece finds it: its sums are 32-bit numbers that begin
//! with the text, and their rounding decides between segmentations that are equally likely (`99 55 555` or `99 555 55`).
//!
//! Adding up from the beginning of the text would leave no word that can be remembered. So a word is segmented by exact
//! sums that begin with the word, and with the result goes its lead over the second best: where that is more than
//! rounding can make up for, sentencepiece decides as exact sums do. Elsewhere the word is segmented again, with the sum
//! of all that stands before it.

use super::trie::Trie;
use super::vocabulary::{Kind, Piece};

/// Below the worst piece by so much is unknown text (sentencepiece's `kUnkPenalty`).
const UNKNOWN_PENALTY: f32 = 10.0;

/// Beyond this, sums begin anew (sentencepiece's `kScoreResetThreshold`).
const LARGEST_SUM: f32 = 100_000.0;

/// Finds pieces in text.
#[derive(Debug)]
pub(super) struct Viterbi {
    trie: Trie,
    scores: Vec<f32>,
    unknown: u32,
    /// Of one unknown character.
    unknown_score: f32,
    /// No normal piece is likelier than certain: sums never rise by more than user-defined pieces let them.
    falling: bool,
}

/// The best segmentation of a word by itself.
#[derive(Debug, Default)]
pub(super) struct Segmentation {
    /// Pieces in order; every unknown character by itself.
    pub path: Vec<u32>,
    /// How much more likely it is than any other, as a logarithm.
    pub lead: f64,
}

/// What is known about the end of a prefix.
#[derive(Clone, Copy)]
struct Node<B, S> {
    best: B,
    second: S,
    piece: u32,
    start: u32,
}

impl Viterbi {
    pub fn new(pieces: &[Piece], unknown: u32) -> Self {
        let normal = || pieces.iter().filter(|piece| piece.kind == Kind::Normal).map(|piece| piece.score);
        let least = normal().reduce(f32::min).unwrap_or(0.0);
        let scores = pieces.iter().map(|piece| match piece.kind {
            Kind::UserDefined => (0.1 * (piece.text.len() as f64 - 1.0)) as f32,
            _ => piece.score,
        });
        let scores = scores.collect();
        let found =
            (0..).zip(pieces).filter(|(_, piece)| matches!(piece.kind, Kind::Normal | Kind::UserDefined));
        Self {
            trie: Trie::new(found.map(|(id, piece)| (piece.text.as_str(), id)).collect()),
            falling: normal().all(|score| score <= 0.0),
            scores,
            unknown,
            unknown_score: least - UNKNOWN_PENALTY,
        }
    }

    /// The best segmentation of a word, and by how much it is the best.
    pub fn segment(&self, word: &str) -> Segmentation {
        let nodes = self.search(
            word,
            Node { best: 0.0, second: f64::NEG_INFINITY, piece: 0, start: 0 },
            Node { best: f64::NEG_INFINITY, second: f64::NEG_INFINITY, piece: 0, start: 0 },
            |from, score, node| {
                let (best, second) = (from.best + f64::from(score), from.second + f64::from(score));
                if best > node.best {
                    let second = second.max(node.best);
                    *node = Node { best, second, ..*node };
                    return true;
                }
                node.second = node.second.max(best);
                false
            },
            |_| {},
        );
        let end = nodes[word.len()];
        let lead = if self.falling { end.best - end.second } else { 0.0 };
        Segmentation { path: path(&nodes), lead }
    }

    /// The segmentation of a word that comes after text with the sum `before`, in sentencepiece's arithmetic, and the
    /// sum after it.
    pub fn segment_after(&self, before: f32, word: &str) -> (Vec<u32>, f32) {
        let start = Node { best: before, second: (), piece: 0, start: 0 };
        let unreached = Node { best: f32::NEG_INFINITY, second: (), piece: 0, start: 0 };
        let offer = |from: Node<f32, ()>, score: f32, node: &mut Node<f32, ()>| {
            let better = from.best + score > node.best;
            if better {
                node.best = from.best + score;
            }
            better
        };
        // Sums that have become too large to be told apart begin anew.
        let rebase = |nodes: &mut [Node<f32, ()>]| {
            let offset = nodes[0].best;
            if offset.abs() > LARGEST_SUM {
                nodes.iter_mut().for_each(|node| node.best -= offset);
            }
        };
        let nodes = self.search(word, start, unreached, offer, rebase);
        (path(&nodes), nodes[word.len()].best)
    }

    /// Whether a segmentation of a word of so many bytes is sentencepiece's too, in a text where the sum after it is
    /// `after`. The sums of a path, no more than the word has bytes, are each off by no more than half a unit in the last
    /// of 24 places; so are those of the second best, and the comparison.
    pub fn is_certain(&self, after: f32, lead: f64, bytes: usize) -> bool {
        let largest = f64::from(after).abs() + bytes as f64;
        let is_rebased =
            largest + bytes as f64 * f64::from(self.unknown_score).abs() > f64::from(LARGEST_SUM);
        lead > 3.0 * (bytes + 2) as f64 * 2f64.powi(-24) * largest && !is_rebased
    }

    /// The sum after a path, as sentencepiece has it.
    pub fn sum_after(&self, before: f32, path: &[u32]) -> f32 {
        path.iter().fold(before, |sum, &id| sum + self.score(id))
    }

    fn score(&self, piece: u32) -> f32 {
        if piece == self.unknown { self.unknown_score } else { self.scores[piece as usize] }
    }

    /// Goes through all pieces in a word by their start. `offer` says whether a sum is the best so far of a node;
    /// `rebase` may change all sums from a node on.
    fn search<B: Copy, S: Copy>(
        &self,
        word: &str,
        start: Node<B, S>,
        unreached: Node<B, S>,
        offer: impl Fn(Node<B, S>, f32, &mut Node<B, S>) -> bool,
        rebase: impl Fn(&mut [Node<B, S>]),
    ) -> Vec<Node<B, S>> {
        let mut nodes = vec![unreached; word.len() + 1];
        nodes[0] = start;
        for (from, c) in word.char_indices() {
            rebase(&mut nodes[from..]);
            let (before, mut alone) = (nodes[from], false);
            let mut reach = |length: usize, piece: u32, score: f32| {
                let node = &mut nodes[from + length];
                if offer(before, score, node) {
                    (node.piece, node.start) = (piece, from as u32);
                }
            };
            self.trie.prefixes(&word.as_bytes()[from..], |length, piece| {
                alone |= length == c.len_utf8();
                reach(length, piece, self.scores[piece as usize]);
            });
            if !alone {
                reach(c.len_utf8(), self.unknown, self.unknown_score);
            }
        }
        nodes
    }
}

fn path<B, S>(nodes: &[Node<B, S>]) -> Vec<u32> {
    let mut path = Vec::new();
    let mut end = nodes.len() - 1;
    while end > 0 {
        path.push(nodes[end].piece);
        end = nodes[end].start as usize;
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn viterbi(pieces: &[(&str, f32)]) -> Viterbi {
        let piece = |&(text, score): &(&str, f32)| Piece { text: text.to_owned(), score, kind: Kind::Normal };
        let mut all = vec![Piece { text: "<unk>".to_owned(), score: 0.0, kind: Kind::Unknown }];
        all.extend(pieces.iter().map(piece));
        Viterbi::new(&all, 0)
    }

    #[test]
    fn the_longest_first_piece_wins_a_tie() {
        let viterbi = viterbi(&[("5", -3.0), ("55", -4.0), ("555", -5.0)]);
        let Segmentation { path, lead } = viterbi.segment("55555");
        assert_eq!((path, lead), (vec![2, 3], 0.0));
        assert!(!viterbi.is_certain(-1.0, 0.0, 5));
        assert_eq!(viterbi.segment("5x5").path, [1, 0, 1]);
        assert_eq!(viterbi.segment("").path, [0u32; 0]);
    }

    #[test]
    fn rounding_decides_late_in_a_text() {
        let viterbi = viterbi(&[("a", -1.0), ("b", -1.1), ("ab", -2.1)]);
        assert_eq!(viterbi.segment_after(0.0, "ab").0, [3]);
        let lead = viterbi.segment("ab").lead;
        assert!(lead > 0.0 && lead < 1e-6 && !viterbi.is_certain(-3.1, lead, 2), "{lead}");
        let sum = viterbi.sum_after(-0.5, &[1, 2, 0]);
        assert!((sum + 0.5 + 1.0 + 1.1 + 12.1).abs() < 1e-5, "{sum}");
    }

    proptest! {
        /// What is called certain is what sentencepiece's sums give.
        #[test]
        fn certain_is_certain(
            scores in prop::collection::vec(-12.0..-1.0f32, 6),
            word in "[abc]{1,12}",
            before in -3000.0..0.0f32,
        ) {
            let texts = ["a", "b", "ab", "ba", "bab", "abab"];
            let pieces: Vec<_> = texts.into_iter().zip(scores).collect();
            let viterbi = viterbi(&pieces);
            let Segmentation { path, lead } = viterbi.segment(&word);
            if viterbi.is_certain(viterbi.sum_after(before, &path), lead, word.len()) {
                prop_assert_eq!(viterbi.segment_after(before, &word), (path.clone(), viterbi.sum_after(before, &path)));
            }
        }
    }
}
