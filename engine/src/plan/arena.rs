//! Placing values with known lifetimes into one arena.

/// Offsets are multiples of this many bytes: whole cache lines, and what cuBLASLt wants.
pub(super) const ALIGNMENT: usize = 256;

/// A buffer to be placed: its size and the steps between which it is alive, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub size: usize,
    pub first: usize,
    pub last: usize,
}

impl Lifetime {
    fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Gives every buffer an offset so that no two that are alive together overlap; returns the offsets and the arena's size.
///
/// Largest first, each into the smallest gap that holds it (best fit) among the buffers it meets: on the plans of
/// transformers this reaches the lower bound (the largest sum of sizes alive at one step) or comes within a few percent.
pub(crate) fn place(lifetimes: &[Lifetime]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lifetimes[i].size), lifetimes[i].first, i));
    let mut offsets = vec![0; lifetimes.len()];
    let mut placed: Vec<usize> = Vec::new(); // ascending by offset
    let mut arena_size = 0;
    for buffer in order {
        let size = lifetimes[buffer].size.next_multiple_of(ALIGNMENT);
        let (mut end_of_last, mut best) = (0_usize, None::<(usize, usize)>);
        for &other in placed.iter().filter(|&&other| lifetimes[other].meets(&lifetimes[buffer])) {
            let gap = usize::saturating_sub(offsets[other], end_of_last);
            if offsets[other] > end_of_last && gap >= size && best.is_none_or(|(smallest, _)| gap < smallest)
            {
                best = Some((gap, end_of_last));
            }
            end_of_last = end_of_last.max(offsets[other] + lifetimes[other].size.next_multiple_of(ALIGNMENT));
        }
        let offset = best.map_or(end_of_last, |(_, offset)| offset);
        offsets[buffer] = offset;
        arena_size = arena_size.max(offset + size);
        let position = placed.partition_point(|&other| offsets[other] <= offset);
        placed.insert(position, buffer);
    }
    (offsets, arena_size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::random::{Philox, below};

    #[test]
    fn buffers_that_meet_do_not_overlap_and_little_is_wasted() {
        for seed in 0..200 {
            let philox = Philox::new(seed, 0);
            let draw = |i: u64, bound: u64| below(philox.word(0, i), bound) as usize;
            let lifetimes: Vec<_> = (0..60)
                .map(|i| {
                    let first = draw(3 * i, 100);
                    Lifetime { size: draw(3 * i + 1, 5000), first, last: first + draw(3 * i + 2, 30) }
                })
                .collect();
            let (offsets, size) = place(&lifetimes);
            for a in 0..lifetimes.len() {
                assert!(offsets[a] % ALIGNMENT == 0 && offsets[a] + lifetimes[a].size <= size);
                for b in 0..a {
                    let apart = offsets[a] + lifetimes[a].size <= offsets[b]
                        || offsets[b] + lifetimes[b].size <= offsets[a];
                    assert!(apart || !lifetimes[a].meets(&lifetimes[b]), "seed {seed}: {a} and {b}");
                }
            }
            let bound = (0..130)
                .map(|step| {
                    let alive = lifetimes.iter().filter(|l| l.first <= step && step <= l.last);
                    alive.map(|l| l.size.next_multiple_of(ALIGNMENT)).sum::<usize>()
                })
                .max();
            assert!(size <= bound.expect("steps exist") * 3 / 2, "seed {seed}: {size} of {bound:?}");
        }
    }
}
