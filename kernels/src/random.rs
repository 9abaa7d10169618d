//! Counter-based random numbers: Philox4x32-10.
//!
//! Everything random in the project is a pure function of *what* is drawn, never of *when* or *by whom*:
//! no generator state exists, so nothing has to be saved or restored, and any thread on any device draws the
//! same bits. Formula: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), §3.3.

/// Philox4x32-10: a keyed bijection from a 128-bit counter to 128 random bits.
///
/// ```
/// use kernels::random::Philox;
/// let philox = Philox::new(42, 7);
/// assert_eq!(philox.block([0, 0, 0, 0]), philox.block([0, 0, 0, 0]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Philox {
    /// The 64-bit key.
    pub key: [u32; 2],
}

pub(crate) const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
pub(crate) const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
pub(crate) const ROUNDS: usize = 10;

impl Philox {
    /// The generator of one `purpose` under one `seed`.
    ///
    /// Purposes are small numbers agreed on by the callers; the key mixes them with the seed through one block of
    /// Philox itself, so that neighbouring seeds and purposes share nothing.
    pub fn new(seed: u64, purpose: u32) -> Self {
        let mixed = Self { key: [seed as u32, (seed >> 32) as u32] }.block([purpose, 0, 0, 0x5EED]);
        Self { key: [mixed[0], mixed[1]] }
    }

    /// The four random words of `counter`.
    #[inline(always)]
    pub fn block(&self, counter: [u32; 4]) -> [u32; 4] {
        let mut c = counter;
        let mut key = self.key;
        for _ in 0..ROUNDS {
            let low = u64::from(MULTIPLIERS[0]) * u64::from(c[0]);
            let high = u64::from(MULTIPLIERS[1]) * u64::from(c[2]);
            c = [
                (high >> 32) as u32 ^ c[1] ^ key[0],
                high as u32,
                (low >> 32) as u32 ^ c[3] ^ key[1],
                low as u32,
            ];
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        c
    }

    /// The `index`-th 64-bit word of the sequence that `stream` names: a convenience for code that draws one
    /// number after the other.
    pub fn word(&self, stream: u64, index: u64) -> u64 {
        let block = self.block([index as u32, (index >> 32) as u32, stream as u32, (stream >> 32) as u32]);
        u64::from(block[0]) | u64::from(block[1]) << 32
    }
}

/// Maps a random word to [0, 1) with 53 random bits.
pub fn unit(word: u64) -> f64 {
    (word >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// Maps a random word to `0..bound` (multiply-shift; the bias is below `bound / 2^64`).
///
/// # Panics
/// If `bound` is zero.
pub fn below(word: u64, bound: u64) -> u64 {
    assert!(bound > 0, "an empty range has no random member");
    ((u128::from(word) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers published with Random123 (`kat_vectors`, philox4x32 with 10 rounds).
    #[test]
    fn known_answers() {
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(Philox { key }.block(counter), expected);
        }
    }

    #[test]
    fn purposes_and_seeds_do_not_share_sequences() {
        let words: std::collections::HashSet<u64> = (0..8)
            .flat_map(|seed| {
                (0..8).flat_map(move |purpose| (0..8).map(move |i| Philox::new(seed, purpose).word(0, i)))
            })
            .collect();
        assert_eq!(words.len(), 512);
    }

    #[test]
    fn below_stays_below_and_reaches_both_ends() {
        assert_eq!(below(u64::MAX, 10), 9);
        assert_eq!(below(0, 10), 0);
        assert!(unit(u64::MAX) < 1.0);
    }
}
