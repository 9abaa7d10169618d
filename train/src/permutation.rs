//! A shuffle that is a formula: no array, no memory, any element at once.

use kernels::random::Philox;

use crate::draws::Purpose;

/// A keyed bijection of `0..length`: a balanced Feistel network over the next even number of bits, walked until it
/// lands inside the range (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permutation {
    philox: Philox,
    epoch: u32,
    length: u64,
    half_bits: u32,
}

/// Four rounds of a random function make a Feistel network indistinguishable from random on large domains (Luby and
/// Rackoff); on domains of a few dozen elements a few more are needed.
const ROUNDS: u32 = 8;

impl Permutation {
    /// The order of epoch `epoch`, which has `length` samples.
    pub(crate) fn new(seed: u64, epoch: u32, length: u64) -> Self {
        let bits = u64::BITS - length.saturating_sub(1).leading_zeros();
        Self {
            philox: Philox::new(seed, Purpose::Order as u32),
            epoch,
            length,
            half_bits: bits.div_ceil(2).max(1),
        }
    }

    /// Where `index` goes; expected cost: at most four encipherments.
    ///
    /// # Panics
    /// If `index` is not below the length.
    pub(crate) fn apply(&self, index: u64) -> u64 {
        assert!(index < self.length, "sample {index} of an epoch of {}", self.length);
        let mut image = self.encipher(index);
        while image >= self.length {
            image = self.encipher(image);
        }
        image
    }

    fn encipher(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for round in 0..ROUNDS {
            let block = self.philox.block([round, right as u32, (right >> 32) as u32, self.epoch]);
            (left, right) = (right, (left ^ u64::from(block[0])) & mask);
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_bijection_at_every_size() {
        for length in (1..300).chain([1023, 1024, 1025, 70_001]) {
            let permutation = Permutation::new(5, 1, length);
            let mut seen = vec![false; length as usize];
            for index in 0..length {
                let image = permutation.apply(index) as usize;
                assert!(!std::mem::replace(&mut seen[image], true), "{image} twice of {length}");
            }
        }
    }

    /// Over many epochs every index visits every place equally often, and neighbours do not stay together.
    #[test]
    fn looks_like_a_shuffle() {
        let (length, epochs) = (10u64, 100_000u32);
        let mut places = [[0u32; 10]; 10];
        let mut neighbours = 0u32;
        for epoch in 0..epochs {
            let permutation = Permutation::new(11, epoch, length);
            let images: Vec<u64> = (0..length).map(|i| permutation.apply(i)).collect();
            images.iter().enumerate().for_each(|(i, &image)| places[i][image as usize] += 1);
            neighbours += images.windows(2).filter(|w| w[1] == w[0] + 1).count() as u32;
        }
        // Each count is binomial(100000, 1/10): standard deviation 95.
        assert!(places.iter().flatten().all(|&c| c.abs_diff(10_000) < 6 * 95), "{places:?}");
        // Of 9 adjacent pairs each is (k, k+1) with probability 9/90: mean 0.9 a shuffle, variance below 1.
        assert!(neighbours.abs_diff(90_000) < 6 * 317, "{neighbours}");
    }
}
