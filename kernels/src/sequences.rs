//! Packed sequences: which rows of a batch belong together.

use std::ops::Range;

/// `offsets` made sense of: the row where each sequence starts, then where the last one ends. No two sequences share a
/// row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sequences<'a> {
    offsets: &'a [i32],
    rows: usize,
}

impl<'a> Sequences<'a> {
    /// The sequences of a batch of `rows` rows, dead ones included.
    ///
    /// # Panics
    /// If the offsets do not start at 0, descend or end beyond the rows.
    pub fn new(offsets: &'a [i32], rows: usize) -> Self {
        let within = offsets.first() == Some(&0)
            && offsets.last().is_some_and(|&end| end as usize <= rows)
            && offsets.is_sorted();
        assert!(within, "offsets ascend from 0 to at most the {rows} rows, unlike {offsets:?}");
        Self { offsets, rows }
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The rows of sequence `s`.
    pub fn rows(&self, s: usize) -> Range<usize> {
        self.offsets[s] as usize..self.offsets[s + 1] as usize
    }

    /// The row that is named of sequence `s`; `None` if that has no rows.
    ///
    /// # Panics
    /// If the row is of another sequence.
    pub fn row_of(&self, s: usize, row: i32) -> Option<usize> {
        let rows = self.rows(s);
        if rows.is_empty() {
            return None;
        }
        assert!(rows.contains(&(row as usize)), "row {row} is none of sequence {s}, whose rows are {rows:?}");
        Some(row as usize)
    }

    /// The rows of each sequence, in order.
    pub fn iter(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.len()).map(move |s| self.rows(s))
    }

    /// The rows of the longest sequence, none if there is no sequence.
    pub fn longest(&self) -> Range<usize> {
        self.iter().max_by_key(ExactSizeIterator::len).unwrap_or(0..0)
    }

    /// The rows that belong to no sequence: a plan's capacity that this batch leaves unused.
    pub fn dead(&self) -> Range<usize> {
        self.offsets[self.len()] as usize..self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::Sequences;

    #[test]
    fn rows_follow_the_offsets() {
        let sequences = Sequences::new(&[0, 3, 3, 5], 8);
        assert_eq!(sequences.iter().collect::<Vec<_>>(), [0..3, 3..3, 3..5]);
        assert_eq!(sequences.dead(), 5..8);
        assert_eq!(
            [sequences.row_of(0, 2), sequences.row_of(1, 3), sequences.row_of(2, 3)],
            [Some(2), None, Some(3)]
        );
    }

    #[test]
    #[should_panic(expected = "row 3 is none of sequence 0")]
    fn the_row_of_another_sequence_is_refused() {
        Sequences::new(&[0, 3, 5], 8).row_of(0, 3);
    }

    #[test]
    fn nonsense_is_refused() {
        for offsets in [&[][..], &[-1, 2], &[1, 2], &[0, 5, 3], &[0, 9]] {
            assert!(std::panic::catch_unwind(|| Sequences::new(offsets, 8)).is_err(), "{offsets:?}");
        }
    }
}
