//! A passage, encoded once for all questions about it.

use std::ops::Range;
use std::sync::Arc;

use super::align::align;
use crate::finetuning::features::{Ids, Window};
use crate::tokenizer::Encoder;

/// A passage as token ids, and the characters that each of them stands for.
#[derive(Debug)]
pub struct Passage {
    text: Arc<str>,
    ids: Arc<[u32]>,
    /// The first byte of each piece, and the byte after its last.
    spans: Vec<(u32, u32)>,
}

impl Passage {
    /// Encodes a passage and aligns its pieces to its characters.
    pub fn new(text: Arc<str>, encoder: &mut Encoder<'_>) -> Self {
        let mut ids = Vec::new();
        encoder.encode(&text, &mut ids);
        let tokenizer = encoder.tokenizer();
        let unknown = tokenizer.special().unknown;
        let pieces = ids.iter().map(|&id| if id == unknown { None } else { tokenizer.surface(id) });
        let spans =
            align(&text, pieces).into_iter().map(|span| (span.start as u32, span.end as u32)).collect();
        Self { text, ids: ids.into(), spans }
    }

    /// The passage as it was given.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The number of its pieces.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether it has no piece.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The text that a range of pieces stands for, without white space around it.
    pub fn text_of(&self, pieces: Range<usize>) -> &str {
        let (Some(first), Some(last)) = (self.spans.get(pieces.start), self.spans.get(pieces.end - 1)) else {
            return "";
        };
        let (start, end) = (first.0 as usize, last.1 as usize);
        self.text.get(start..end.max(start)).unwrap_or_default().trim()
    }

    /// The smallest range of pieces that holds a range of bytes of the text; `None` if there is no piece.
    pub fn pieces_of(&self, bytes: Range<usize>) -> Option<Range<usize>> {
        let start = self.spans.partition_point(|&(_, end)| end as usize <= bytes.start);
        let end = self.spans.partition_point(|&(start, _)| (start as usize) < bytes.end);
        let start = start.min(self.len().checked_sub(1)?);
        Some(start..end.clamp(start + 1, self.len()))
    }

    /// The windows of a passage in which each holds at most `room` pieces and begins `stride` after the one before (at once
    /// behind it where the stride is larger). A passage without pieces has one empty window.
    pub fn windows(self: &Arc<Self>, room: usize, stride: usize) -> Vec<Window> {
        let (room, stride) = (room.max(1), stride.max(1));
        let mut ranges = Vec::new();
        let mut start = 0;
        loop {
            let end = (start + room).min(self.len());
            ranges.push(start..end);
            if end == self.len() {
                break;
            }
            start += stride.min(end - start);
        }
        let fullest = fullest(&ranges, self.len());
        (ranges.into_iter().zip(fullest))
            .map(|(pieces, fullest)| Window { passage: Arc::clone(self), pieces, fullest })
            .collect()
    }

    /// The ids of a window's pieces.
    pub fn ids(&self, pieces: Range<usize>) -> Ids {
        Ids::new(Arc::clone(&self.ids), pieces)
    }
}

/// For each window the pieces that it shows with more context than any other does: the smaller one of what is to the left
/// and to the right counts, and a hundredth of the window's length; of equal windows the first. From one window to the next
/// this advantage only ever grows along the passage, so the pieces of each are a range.
fn fullest(windows: &[Range<usize>], pieces: usize) -> Vec<Range<usize>> {
    let context = |window: &Range<usize>, piece: usize| {
        let least = (piece - window.start).min(window.end - 1 - piece);
        least as f64 + 0.01 * window.len() as f64
    };
    let mut fullest = vec![0..0; windows.len()];
    for piece in 0..pieces {
        let mut best: Option<(usize, f64)> = None;
        let first = windows.partition_point(|window| window.end <= piece);
        for (place, window) in windows.iter().enumerate().skip(first) {
            if window.start > piece {
                break;
            }
            let context = context(window, piece);
            if best.is_none_or(|(_, most)| context > most) {
                best = Some((place, context));
            }
        }
        if let Some((place, _)) = best {
            let range = &mut fullest[place];
            *range = if range.start == range.end { piece..piece + 1 } else { range.start..piece + 1 };
        }
    }
    fullest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passage(pieces: usize) -> Arc<Passage> {
        let spans = (0..pieces as u32).map(|at| (2 * at, 2 * at + 1)).collect();
        Arc::new(Passage { text: "x ".repeat(pieces).into(), ids: vec![7; pieces].into(), spans })
    }

    #[test]
    fn windows_cover_the_passage() {
        let windows = passage(10).windows(4, 3);
        let ranges: Vec<_> = windows.iter().map(|window| window.pieces.clone()).collect();
        assert_eq!(ranges, [0..4, 3..7, 6..10]);
        let fullest: Vec<_> = windows.iter().map(|window| window.fullest.clone()).collect();
        assert_eq!(fullest, [0..4, 4..7, 7..10]);
        assert_eq!(passage(0).windows(4, 3).len(), 1);
        assert_eq!(passage(9).windows(4, 100).len(), 3, "a stride beyond the window leaves nothing out");
    }

    #[test]
    fn bytes_lead_to_pieces_and_back() {
        let passage = passage(5);
        assert_eq!(passage.pieces_of(2..5), Some(1..3));
        assert_eq!(passage.pieces_of(3..4), Some(2..3), "white space belongs to what follows");
        assert_eq!(passage.pieces_of(9..10), Some(4..5));
        assert_eq!(passage.text_of(1..3), "x x");
    }

    proptest! {
        /// Every piece is in exactly one window's range, and the one that the reference's rule names.
        #[test]
        fn the_window_with_most_context(pieces in 1usize..200, room in 1usize..60, stride in 1usize..70) {
            let windows = passage(pieces).windows(room, stride);
            for piece in 0..pieces {
                let owners = windows.iter().filter(|window| window.fullest.contains(&piece)).count();
                prop_assert_eq!(owners, 1);
                let scores = windows.iter().map(|window| match window.pieces.contains(&piece) {
                    true => {
                        let (left, right) = (piece - window.pieces.start, window.pieces.end - 1 - piece);
                        left.min(right) as f64 + 0.01 * window.pieces.len() as f64
                    }
                    false => f64::NEG_INFINITY,
                });
                let scores: Vec<f64> = scores.collect();
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let first = scores.iter().position(|&score| score == most).unwrap();
                prop_assert!(windows[first].fullest.contains(&piece));
            }
        }
    }
}
