//! A document of a shard: runs of its sentences.

use std::ops::Range;

/// The sentences of one document.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// The ids of the whole shard.
    ids: &'a [u16],
    /// Where the document's sentences begin in `ids`, and where the last one ends.
    offsets: &'a [u32],
}

impl<'a> Document<'a> {
    /// The document of `ids`, those of a whole shard, whose sentences begin at `offsets`; at the last one the last ends.
    pub(super) fn new(ids: &'a [u16], offsets: &'a [u32]) -> Self {
        Self { ids, offsets }
    }

    /// The number of sentences.
    pub fn sentences(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Some of its sentences as a document.
    ///
    /// # Panics
    /// If it has no such sentences.
    pub(in crate::data) fn part(&self, sentences: Range<usize>) -> Self {
        Self { ids: self.ids, offsets: &self.offsets[sentences.start..=sentences.end] }
    }

    /// The tokens of a run of sentences.
    ///
    /// # Panics
    /// If the document has no such sentences.
    pub fn tokens(&self, sentences: Range<usize>) -> &'a [u16] {
        &self.ids[self.offsets[sentences.start] as usize..self.offsets[sentences.end] as usize]
    }

    /// The number of tokens of a run of sentences.
    ///
    /// # Panics
    /// If the document has no such sentences.
    pub fn length(&self, sentences: Range<usize>) -> usize {
        (self.offsets[sentences.end] - self.offsets[sentences.start]) as usize
    }

    /// The end of the shortest run of sentences from `start` that has at least `target` tokens; the document's end
    /// where no run is that long.
    pub fn end_of_run(&self, start: usize, target: usize) -> usize {
        let goal = u64::from(self.offsets[start]) + target as u64;
        let run = self.offsets[start + 1..].partition_point(|&end| u64::from(end) < goal);
        (start + 1 + run).min(self.sentences())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_sentences_reach_the_target() {
        let document = Document::new(&[0; 15], &[0, 5, 10, 15]);
        assert_eq!(document.end_of_run(0, 1), 1);
        assert_eq!(document.end_of_run(0, 5), 1);
        assert_eq!(document.end_of_run(0, 6), 2);
        assert_eq!(document.end_of_run(1, 100), 3);
    }
}
