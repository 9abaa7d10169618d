//! The random choices of one story.

use kernels::random::Philox;

use super::Split;

/// One story's sequence of random numbers: a pure function of seed, split and story.
pub(super) struct Draws {
    philox: Philox,
    story: u64,
    position: u64,
}

impl Draws {
    /// The draws of story number `story`. Splits use different keys, so they share no stream.
    pub(super) fn new(seed: u64, split: Split, story: u64) -> Self {
        let purpose = match split {
            Split::Training => 0x53_54_01,
            Split::HeldOut => 0x53_54_02,
        };
        Self { philox: Philox::new(seed, purpose), story, position: 0 }
    }

    /// A number in `[0, 2^32)`, all alike.
    fn next(&mut self) -> u64 {
        let word = self.philox.word(self.story, self.position);
        self.position += 1;
        word >> 32
    }

    /// A number in `[0, count)`, all alike (to within `count / 2^32`).
    pub(super) fn below(&mut self, count: usize) -> usize {
        ((self.next() * count as u64) >> 32) as usize
    }

    /// True `percent` times in a hundred.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `items`, all alike.
    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// One of `items`, early ones more often: density ∝ x^(-1/2) at place x, so that, as in real text, a few words
    /// are frequent and many are rare. Integers only: the same on every machine.
    pub(super) fn pick_early<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let uniform = self.next();
        let early = (uniform * uniform) >> 32;
        &items[((early * items.len() as u64) >> 32) as usize]
    }
}
