//! Random decisions as a pure function of what is decided.

use std::ops::Range;

use kernels::random::Philox;

/// What a sequence of draws is for: each purpose has a key of its own, so that a new decision in one place moves
/// nothing in another. The numbers are part of the format: changing one changes every run.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Purpose {
    /// The order of the samples within an epoch.
    Order = 0xDA7A_0001,
    /// The target length of a pass over a document.
    Length = 0xDA7A_0002,
    /// Where a chunk is divided, swapped and truncated.
    Pair = 0xDA7A_0003,
    /// Which words of a sample are masked, and by what.
    Mask = 0xDA7A_0004,
    /// A story to learn from.
    TrainingStory = 0x0053_5401,
    /// A story to measure with.
    HeldOutStory = 0x0053_5402,
    /// A question about stories to learn from.
    TrainingQuestion = 0x0053_5403,
    /// A question about stories to measure with.
    HeldOutQuestion = 0x0053_5404,
}

/// Draws in sequence, keyed by what they are for: nothing of it has to be stored or restored.
#[derive(Clone, Debug)]
pub(crate) struct Draws {
    philox: Philox,
    counter: [u32; 4],
    block: [u32; 4],
    /// The words of each block that are given out.
    given: Range<usize>,
    /// The next of them.
    next: usize,
    /// Coins not yet given out, and how many.
    coins: (u32, u32),
}

impl Draws {
    /// The draws about one sample, document or chunk: `index` of `epoch`.
    pub(crate) fn new(seed: u64, purpose: Purpose, epoch: u32, index: u64) -> Self {
        Self::sequence(seed, purpose, [0, index as u32, (index >> 32) as u32, epoch], 0..4)
    }

    /// The draws of one story: the high words of [`Philox::word`].
    pub(crate) fn of_story(seed: u64, purpose: Purpose, story: u64) -> Self {
        Self::sequence(seed, purpose, [0, 0, story as u32, (story >> 32) as u32], 1..2)
    }

    /// The words `given` of each block from `counter` on; its first number is counted up.
    fn sequence(seed: u64, purpose: Purpose, counter: [u32; 4], given: Range<usize>) -> Self {
        let philox = Philox::new(seed, purpose as u32);
        Self { philox, counter, block: [0; 4], next: given.end, given, coins: (0, 0) }
    }

    /// 32 random bits.
    pub(crate) fn word(&mut self) -> u32 {
        if self.next == self.given.end {
            self.block = self.philox.block(self.counter);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.next = self.given.start;
        }
        self.next += 1;
        self.block[self.next - 1]
    }

    /// Uniform in [0, 1), with 32 bits.
    pub(crate) fn unit(&mut self) -> f64 {
        f64::from(self.word()) / (1u64 << 32) as f64
    }

    /// Exactly uniform in `0..bound` (Lemire, "Fast random integer generation in an interval", 2019).
    ///
    /// # Panics
    /// If `bound` is zero or does not fit 32 bits.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound =
            u32::try_from(bound).ok().filter(|&b| b > 0).expect("a range that is not empty and fits 32 bits");
        loop {
            let product = u64::from(self.word()) * u64::from(bound);
            let low = product as u32;
            if low >= bound || low >= bound.wrapping_neg() % bound {
                return (product >> 32) as usize;
            }
        }
    }

    /// One step of a shuffle (Fisher and Yates): afterwards the first `step + 1` items are a random choice in random
    /// order. Whoever needs only the first few stops early.
    pub(crate) fn shuffle_step<T>(&mut self, items: &mut [T], step: usize) {
        items.swap(step, step + self.below(items.len() - step));
    }

    /// Heads or tails; 32 of them cost one word.
    pub(crate) fn coin(&mut self) -> bool {
        if self.coins.1 == 0 {
            self.coins = (self.word(), 32);
        }
        let heads = self.coins.0 & 1 == 1;
        self.coins = (self.coins.0 >> 1, self.coins.1 - 1);
        heads
    }

    /// In `0..count`, uniform to within `count` / 2³²; takes one word, always.
    fn nearly_below(&mut self, count: usize) -> usize {
        scale(self.word(), count)
    }

    /// True `percent` times in a hundred.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.nearly_below(100) < percent
    }

    /// One of `items`, all alike.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.nearly_below(items.len())]
    }

    /// One of `items`, early ones more often: density ∝ x^(-1/2) at place x, so that, as in real text, a few words
    /// are frequent and many are rare. Integers only: the same on every machine.
    pub(crate) fn pick_early<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let uniform = u64::from(self.word());
        let early = ((uniform * uniform) >> 32) as u32;
        &items[scale(early, items.len())]
    }
}

/// Maps 32 random bits to `0..count`.
fn scale(word: u32, count: usize) -> usize {
    ((u64::from(word) * count as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_is_uniform() {
        let mut draws = Draws::new(7, Purpose::Pair, 0, 0);
        let mut counts = [0u32; 7];
        for _ in 0..700_000 {
            counts[draws.below(7)] += 1;
        }
        // Six standard deviations of a binomial count: sqrt(700000 · 1/7 · 6/7) = 293.
        assert!(counts.iter().all(|&c| c.abs_diff(100_000) < 6 * 293), "{counts:?}");
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let first = |seed, purpose, epoch, index| Draws::new(seed, purpose, epoch, index).word();
        let base = first(1, Purpose::Pair, 2, 3);
        assert_eq!(base, first(1, Purpose::Pair, 2, 3));
        assert_ne!(base, first(2, Purpose::Pair, 2, 3));
        assert_ne!(base, first(1, Purpose::Mask, 2, 3));
        assert_ne!(base, first(1, Purpose::Pair, 3, 3));
        assert_ne!(base, first(1, Purpose::Pair, 2, 4));
        assert_ne!(base, first(1, Purpose::Pair, 2, 3 + (1 << 32)));
    }

    /// Stories draw the numbers that they always drew.
    #[test]
    fn a_story_has_the_high_words_of_its_stream() {
        let story = 5 + (7 << 32);
        let mut draws = Draws::of_story(9, Purpose::HeldOutStory, story);
        let philox = Philox::new(9, 0x53_54_02);
        for index in 0..10 {
            assert_eq!(u64::from(draws.word()), philox.word(story, index) >> 32);
        }
    }

    #[test]
    fn early_items_are_picked_more_often() {
        let mut draws = Draws::of_story(3, Purpose::TrainingStory, 0);
        let mut counts = [0u32; 4];
        (0..100_000).for_each(|_| counts[*draws.pick_early(&[0, 1, 2, 3])] += 1);
        // √((n + 1) / 4) − √(n / 4) of them; six standard deviations of at most 158.
        for (count, expected) in counts.into_iter().zip([50_000, 20_711, 15_892, 13_397]) {
            assert!(count.abs_diff(expected) < 6 * 158, "{counts:?}");
        }
    }

    #[test]
    fn coins_are_fair() {
        let mut draws = Draws::new(3, Purpose::Mask, 0, 0);
        let heads = (0..100_000).filter(|_| draws.coin()).count();
        assert!(heads.abs_diff(50_000) < 6 * 158, "{heads}");
    }
}
