//! The order in which a launch does what hardware does in any order: its blocks, and the lanes of an atomic.

use std::env;
use std::sync::LazyLock;

use super::super::registers::LANES;

/// A number that orders blocks and the lanes of atomics; 0 (default) is their natural order.
pub const SEED: &str = "EMULATED_GPU_SEED";

/// Random numbers that say what comes when. Of seed 0, everything comes in its natural order.
#[derive(Debug, Clone)]
pub struct Seed {
    seed: u64,
    state: u64,
}

impl Seed {
    /// Numbers that the seed alone determines.
    pub fn new(seed: u64) -> Seed {
        Seed { seed, state: seed }
    }

    /// What the environment asks for; a mistaken setting stops the process, for nobody wants the default instead.
    pub fn from_environment() -> u64 {
        static SETTING: LazyLock<u64> = LazyLock::new(|| match env::var(SEED).as_deref() {
            Err(_) | Ok("") => 0,
            Ok(text) => text.parse().unwrap_or_else(|_| {
                eprintln!("emulated GPU: {SEED}={text}: expected a number");
                std::process::abort()
            }),
        });
        *SETTING
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// The numbers below `count`, in some order.
    pub fn order(&mut self, count: u64) -> impl Iterator<Item = u64> + use<> {
        // A step that has no divisor in common with `count` meets every number once.
        let (first, mut step) = match self.seed {
            0 => (0, 1),
            _ => (self.next() % count.max(1), (self.next() % count.max(1)) | 1),
        };
        while greatest_common_divisor(step, count) > 1 {
            step += 2;
        }
        (0..count).map(move |index| {
            ((u128::from(index) * u128::from(step) + u128::from(first)) % u128::from(count)) as u64
        })
    }

    /// The lanes of a mask, in some order.
    pub fn lanes(&mut self, mask: u32) -> impl Iterator<Item = usize> + use<> {
        let order: Vec<usize> = match self.seed {
            0 => (0..LANES).collect(),
            _ => self.order(LANES as u64).map(|lane| lane as usize).collect(),
        };
        order.into_iter().filter(move |lane| mask >> lane & 1 == 1)
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_once_and_zero_keeps_them_in_place() {
        for count in [1, 2, 3, 6, 30, 97, 1000] {
            assert!(Seed::new(0).order(count).eq(0..count));
            let mut orders = Vec::new();
            for seed in 1..6 {
                let order: Vec<u64> = Seed::new(seed).order(count).collect();
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert!(sorted.into_iter().eq(0..count), "seed {seed}, {count}");
                orders.push(order);
            }
            assert!(count < 30 || orders.windows(2).all(|pair| pair[0] != pair[1]));
        }
        assert_eq!(Seed::new(0).order(0).count(), 0);
        assert_eq!(Seed::new(3).order(0).count(), 0);
        let lanes: Vec<usize> = Seed::new(5).lanes(0xf0).collect();
        assert_eq!(lanes.len(), 4);
        assert!(lanes.iter().all(|lane| (4..8).contains(lane)));
    }
}
