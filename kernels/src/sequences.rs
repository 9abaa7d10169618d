//! Reading `offsets`: the row where each packed sequence starts, then where the last one ends.

use std::ops::Range;

/// The rows of each sequence, in order.
pub(crate) fn sequences(offsets: &[i32]) -> impl ExactSizeIterator<Item = Range<usize>> + Clone + '_ {
    offsets.windows(2).map(|pair| pair[0] as usize..pair[1] as usize)
}

/// The rows that belong to no sequence: a plan's capacity that this batch leaves unused.
pub(crate) fn dead_rows(offsets: &[i32], rows: usize) -> Range<usize> {
    offsets.last().map_or(0, |&end| end as usize)..rows
}
