//! Random decisions as a pure function of what is decided.

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
}

/// Draws in sequence, keyed by (seed, purpose, epoch, index): nothing of it has to be stored or restored.
#[derive(Clone, Debug)]
pub(crate) struct Draws {
    philox: Philox,
    counter: [u32; 4],
    block: [u32; 4],
    /// Words of `block` already given out.
    used: usize,
    /// Coins not yet given out, and how many.
    coins: (u32, u32),
}

impl Draws {
    pub(crate) fn new(seed: u64, purpose: Purpose, epoch: u32, index: u64) -> Self {
        Self {
            philox: Philox::new(seed, purpose as u32),
            counter: [0, index as u32, (index >> 32) as u32, epoch],
            block: [0; 4],
            used: 4,
            coins: (0, 0),
        }
    }

    /// 32 random bits.
    pub(crate) fn word(&mut self) -> u32 {
        if self.used == 4 {
            self.block = self.philox.block(self.counter);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
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

    #[test]
    fn coins_are_fair() {
        let mut draws = Draws::new(3, Purpose::Mask, 0, 0);
        let heads = (0..100_000).filter(|_| draws.coin()).count();
        assert!(heads.abs_diff(50_000) < 6 * 158, "{heads}");
    }
}
