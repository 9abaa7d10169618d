//! One bit per byte of memory.

/// A set of byte offsets.
#[derive(Debug, Default, Clone)]
pub struct Bitmap {
    words: Vec<u64>,
}

impl Bitmap {
    /// An empty set over `length` offsets.
    pub fn new(length: usize) -> Bitmap {
        Bitmap { words: vec![0; length.div_ceil(64)] }
    }

    /// Adds `start..start + length`.
    pub fn insert(&mut self, start: usize, length: usize) {
        for (word, bits) in spans(start, length) {
            self.words[word] |= bits;
        }
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// The first offset of `start..start + length` that is missing.
    pub fn first_missing(&self, start: usize, length: usize) -> Option<usize> {
        spans(start, length).find_map(|(word, bits)| {
            let missing = bits & !self.words[word];
            (missing != 0).then(|| word * 64 + missing.trailing_zeros() as usize)
        })
    }

    /// The offsets of `start..start + length`, counted from `start`.
    pub fn range(&self, start: usize, length: usize) -> Bitmap {
        let (word, shift) = (start / 64, start % 64);
        let at = |index: usize| self.words.get(index).copied().unwrap_or(0);
        let words = (word..word + length.div_ceil(64)).map(|index| match shift {
            0 => at(index),
            _ => at(index) >> shift | at(index + 1) << (64 - shift),
        });
        Bitmap { words: words.collect() }
    }

    /// Makes `start..start + length` equal to the first `length` offsets of `other`.
    pub fn replace(&mut self, start: usize, other: &Bitmap, length: usize) {
        for (word, bits) in spans(start, length) {
            let first = (word * 64).saturating_sub(start);
            let shift = start.saturating_sub(word * 64);
            let new = other.range(first, 64).words[0] << shift;
            self.words[word] = self.words[word] & !bits | new & bits;
        }
    }
}

/// The words that `start..start + length` touches, each with the bits it touches there.
fn spans(start: usize, length: usize) -> impl Iterator<Item = (usize, u64)> {
    let end = start + length;
    (start / 64..end.div_ceil(64)).map(move |word| {
        let (low, high) = (start.max(word * 64), end.min(word * 64 + 64));
        let ones = if high <= low { 0 } else { u64::MAX >> (64 - (high - low)) };
        (word, ones << (low % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::Bitmap;

    #[test]
    fn ranges_across_words() {
        let mut bitmap = Bitmap::new(200);
        bitmap.insert(60, 10);
        bitmap.insert(128, 64);
        assert_eq!(bitmap.first_missing(60, 10), None);
        assert_eq!(bitmap.first_missing(59, 2), Some(59));
        assert_eq!(bitmap.first_missing(60, 11), Some(70));
        assert_eq!(bitmap.first_missing(128, 65), Some(192));
        assert_eq!(bitmap.first_missing(5, 0), None);
    }

    #[test]
    fn ranges_are_copied_bit_by_bit() {
        let mut from = Bitmap::new(300);
        for offset in (0..300).filter(|offset| offset % 3 == 0 || offset % 7 == 0) {
            from.insert(offset, 1);
        }
        for (source, target, length) in [(0, 0, 300), (1, 64, 150), (63, 5, 130), (7, 130, 64), (9, 70, 3)] {
            let mut to = Bitmap::new(300);
            to.insert(0, 300);
            to.replace(target, &from.range(source, length), length);
            for offset in 0..300 {
                let inside = (target..target + length).contains(&offset);
                let from = |offset: usize| from.first_missing(offset, 1).is_none();
                let expected = if inside { from(offset - target + source) } else { true };
                assert_eq!(to.first_missing(offset, 1).is_none(), expected, "{source} {target} {offset}");
            }
        }
    }
}
