//! Which accesses of one warp are ordered before which of another: a vector clock per warp.
//!
//! All warps stamp their accesses with one generation, which grows at every barrier. A warp knows, for each other
//! warp, up to which generation that warp's accesses come before its own next one.

/// Most warps in a block.
pub const MAX_WARPS: usize = 32;

/// The order that the barriers of a block have made so far.
#[derive(Debug)]
pub struct Order {
    generation: u32,
    /// `known[a][b]`: accesses of `b` stamped below this come before whatever `a` does next.
    known: Box<[[u32; MAX_WARPS]; MAX_WARPS]>,
}

impl Order {
    /// No barrier has been passed.
    pub fn new() -> Order {
        Order { generation: 1, known: Box::new([[1; MAX_WARPS]; MAX_WARPS]) }
    }

    /// The stamp of accesses made now.
    pub fn now(&self) -> u32 {
        self.generation
    }

    /// Whether an access of `other` stamped `stamp` comes before what `warp` does now.
    pub fn precedes(&self, other: usize, stamp: u32, warp: usize) -> bool {
        other == warp || stamp < self.known[warp][other]
    }

    /// A barrier completes: what the warps of `arrived` did comes before what those of `released` will do.
    pub fn barrier(&mut self, arrived: u32, released: u32) {
        self.generation += 1;
        let mut joined = [1; MAX_WARPS];
        for warp in members(arrived) {
            for (latest, &known) in joined.iter_mut().zip(&self.known[warp]) {
                *latest = known.max(*latest);
            }
        }
        for warp in members(arrived) {
            joined[warp] = self.generation;
        }
        for warp in members(released) {
            for (known, &latest) in self.known[warp].iter_mut().zip(&joined) {
                *known = latest.max(*known);
            }
        }
    }
}

/// The warps of a mask.
fn members(mask: u32) -> impl Iterator<Item = usize> {
    (0..MAX_WARPS).filter(move |warp| mask >> warp & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::Order;

    #[test]
    fn barriers_order_those_that_meet_and_whoever_they_met_before() {
        let mut order = Order::new();
        let early = order.now();
        assert!(order.precedes(0, early, 0) && !order.precedes(0, early, 1));
        order.barrier(0b011, 0b011);
        let middle = order.now();
        assert!(order.precedes(0, early, 1) && !order.precedes(0, middle, 1) && !order.precedes(0, early, 2));
        order.barrier(0b110, 0b110);
        assert!(order.precedes(0, early, 2), "through warp 1");
        assert!(!order.precedes(0, middle, 2) && order.precedes(1, middle, 2));
        // Warp 0 arrives without waiting: warp 1 learns of it, not the other way round.
        let late = order.now();
        order.barrier(0b011, 0b010);
        assert!(order.precedes(0, late, 1) && !order.precedes(1, late, 0));
    }
}
