//! Several views of one buffer at once.

use std::ops::Range;

/// Borrows ranges of `buffer`: `reads` shared, `writes` exclusive. Reads may overlap each other.
///
/// # Panics
/// If a range lies outside the buffer, or a non-empty write overlaps another view: a plan that is wrong.
pub fn views<R, const READS: usize, const WRITES: usize>(
    buffer: &mut [R],
    reads: [Range<usize>; READS],
    writes: [Range<usize>; WRITES],
) -> ([&[R]; READS], [&mut [R]; WRITES]) {
    let inside = |range: &Range<usize>| range.start <= range.end && range.end <= buffer.len();
    let apart = |a: &Range<usize>, b: &Range<usize>| {
        a.is_empty() || b.is_empty() || a.end <= b.start || b.end <= a.start
    };
    assert!(reads.iter().chain(&writes).all(inside), "a view outside its buffer");
    for (index, write) in writes.iter().enumerate() {
        assert!(reads.iter().chain(&writes[..index]).all(|other| apart(write, other)), "overlapping views");
    }
    let base = buffer.as_mut_ptr();
    // SAFETY: every range lies inside `buffer`, which is borrowed exclusively as long as the views live, and no exclusive view overlaps
    // any other, so that each element is reachable either through shared views only or through one exclusive view.
    unsafe {
        (
            reads.map(|range| std::slice::from_raw_parts(base.add(range.start).cast_const(), range.len())),
            writes.map(|range| std::slice::from_raw_parts_mut(base.add(range.start), range.len())),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_see_their_ranges() {
        let mut buffer = [0, 1, 2, 3, 4, 5];
        let ([a, b], [c, _]) = views(&mut buffer, [0..3, 1..2], [4..6, 0..0]);
        c[0] = a[2] + b[0];
        assert_eq!(buffer, [0, 1, 2, 3, 3, 5]);
    }

    #[test]
    #[should_panic(expected = "overlapping views")]
    fn a_write_overlaps_nothing() {
        views(&mut [0; 4], [0..2, 0..0], [1..3, 0..0]);
    }

    #[test]
    #[should_panic(expected = "outside its buffer")]
    fn a_view_lies_inside() {
        views(&mut [0; 4], [0..5, 0..0], [0..0, 0..0]);
    }
}
