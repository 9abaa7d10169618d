//! All segmentations of words into pieces at once, as a graph: from each place of a text an edge for each piece that begins
//! there.

use super::substrings::{MAX_CHARS, SortedPlaces, Substring};
use super::words::Words;
use std::ops::Range;

/// Which pieces begin at which places.
pub(super) struct Segmentations {
    /// The pieces, by the places where they begin; shortest first.
    edges: Vec<u32>,
    /// Where the edges of a place begin.
    first: Vec<u32>,
    /// The length of each piece in characters.
    lengths: Vec<u8>,
}

/// What a thread works with, kept to save allocations.
#[derive(Default)]
pub(super) struct Work {
    before: Vec<f64>,
    after: Vec<f64>,
    before_scales: Vec<f64>,
    after_scales: Vec<f64>,
    best: Vec<(f64, u32)>,
    /// The pieces of the path that was found, last first.
    pub path: Vec<u32>,
}

/// Sums are scaled anew after so many characters. No piece is longer: an edge ends in the block of its start or in the next.
const BLOCK: usize = MAX_CHARS;

impl Segmentations {
    /// The places of `pieces` in the text of `words`.
    pub fn new(words: &Words, sorted: &SortedPlaces, pieces: &[Substring]) -> Self {
        let places =
            |piece: &Substring| &sorted.places[piece.places.start as usize..piece.places.end as usize];
        let mut first = vec![0u32; words.text.len() + 1];
        for piece in pieces {
            for &place in places(piece) {
                first[place as usize + 1] += 1;
            }
        }
        for place in 1..first.len() {
            first[place] += first[place - 1];
        }
        let mut by_length: Vec<u32> = (0..pieces.len() as u32).collect();
        by_length.sort_by_key(|&id| pieces[id as usize].length);
        let mut next = first.clone();
        let mut edges = vec![0; first[words.text.len()] as usize];
        for id in by_length {
            for &place in places(&pieces[id as usize]) {
                let next = &mut next[place as usize];
                edges[*next as usize] = id;
                *next += 1;
            }
        }
        Self { edges, first, lengths: pieces.iter().map(|piece| piece.length).collect() }
    }

    /// Gives pieces new numbers, and takes those without one out.
    pub fn keep(&mut self, numbers: &[Option<u32>], lengths: Vec<u8>) {
        let mut kept = 0;
        for place in 0..self.first.len() - 1 {
            let edges = self.first[place] as usize..self.first[place + 1] as usize;
            self.first[place] = kept as u32;
            for edge in edges {
                if let Some(new) = numbers[self.edges[edge] as usize] {
                    self.edges[kept] = new;
                    kept += 1;
                }
            }
        }
        *self.first.last_mut().expect("a text has an end") = kept as u32;
        self.edges.truncate(kept);
        self.lengths = lengths;
    }

    fn edges(&self, place: usize) -> impl Iterator<Item = (u32, usize)> {
        let edges = &self.edges[self.first[place] as usize..self.first[place + 1] as usize];
        edges.iter().map(|&piece| (piece, usize::from(self.lengths[piece as usize])))
    }

    /// Adds to `expected` how often each piece stands in a word that occurs `count` times, over all its segmentations.
    pub fn expect(
        &self,
        word: Range<usize>,
        count: f64,
        probabilities: &[f64],
        work: &mut Work,
        expected: &mut [f64],
    ) {
        let length = word.len();
        let blocks = length / BLOCK + 1;
        let Work { before, after, before_scales, after_scales, .. } = work;
        for (sums, scales) in [(&mut *before, &mut *before_scales), (&mut *after, &mut *after_scales)] {
            sums.clear();
            sums.resize(length + 1, 0.0);
            scales.clear();
            scales.resize(blocks, 0.0);
        }
        // A true sum is the one stored times e to the scale of its block.
        before[0] = 1.0;
        for start in 0..length {
            if start % BLOCK == 0 && start > 0 {
                // What was added to this block so far has the scale of the block before; nothing was added beyond.
                let end = (start + BLOCK).min(length + 1);
                let most = before[start..end].iter().fold(0.0f64, |most, &sum| most.max(sum));
                before[start..end].iter_mut().for_each(|sum| *sum /= most);
                before_scales[start / BLOCK] = before_scales[start / BLOCK - 1] + most.ln();
            }
            let sum = before[start];
            if sum > 0.0 {
                for (piece, chars) in self.edges(word.start + start) {
                    before[start + chars] += sum * probabilities[piece as usize];
                }
            }
        }
        if length.is_multiple_of(BLOCK) {
            before_scales[blocks - 1] = before_scales[blocks - 2];
        }
        after[length] = 1.0;
        for block in (0..blocks).rev() {
            let starts = block * BLOCK..length.min((block + 1) * BLOCK);
            let mut next = 1.0;
            if block + 1 < blocks {
                let end = (starts.end + BLOCK).min(length + 1);
                let most = after[starts.end..end].iter().fold(0.0f64, |most, &sum| most.max(sum));
                after_scales[block] = after_scales[block + 1] + most.ln();
                next = 1.0 / most;
            }
            for start in starts.clone().rev() {
                let mut sum = 0.0;
                for (piece, chars) in self.edges(word.start + start) {
                    let end = start + chars;
                    let scale = if end < (block + 1) * BLOCK { 1.0 } else { next };
                    sum += probabilities[piece as usize] * after[end] * scale;
                }
                after[start] = sum;
            }
        }
        let total = before[length].ln() + before_scales[blocks - 1];
        for block in 0..blocks {
            let here = count * (before_scales[block] + after_scales[block] - total).exp();
            let next = match after_scales.get(block + 1) {
                Some(after) => count * (before_scales[block] + after - total).exp(),
                None => 0.0,
            };
            let starts = block * BLOCK..length.min((block + 1) * BLOCK);
            for (start, before) in starts.clone().zip(&before[starts]) {
                for (piece, chars) in self.edges(word.start + start) {
                    let end = start + chars;
                    let scale = if end < (block + 1) * BLOCK { here } else { next };
                    expected[piece as usize] += before * probabilities[piece as usize] * after[end] * scale;
                }
            }
        }
    }

    /// Finds the pieces of the likeliest segmentation of a stretch of a word, last first, without the piece `but`.
    pub fn best_path(&self, stretch: Range<usize>, but: Option<u32>, scores: &[f64], work: &mut Work) {
        let length = stretch.len();
        let Work { best, path, .. } = work;
        best.clear();
        best.resize(length + 1, (f64::NEG_INFINITY, 0));
        best[0].0 = 0.0;
        for start in 0..length {
            let sum = best[start].0;
            for (piece, chars) in self.edges(stretch.start + start) {
                let Some(end) = best.get_mut(start + chars) else { break };
                let score = sum + scores[piece as usize];
                if score > end.0 && Some(piece) != but {
                    *end = (score, piece);
                }
            }
        }
        path.clear();
        let mut end = length;
        while end > 0 {
            let piece = best[end].1;
            path.push(piece);
            end -= usize::from(self.lengths[piece as usize]);
        }
    }
}
