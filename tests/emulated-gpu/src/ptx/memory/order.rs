//! Which accesses of a block come before which: a vector clock per warp, one per lane of a warp, and what fences cover.
//!
//! All warps stamp their accesses with one generation, which grows at every barrier and fence. A warp knows, for each
//! other warp, up to which generation that warp's accesses come before its own next one. Lanes of one warp have a clock of
//! their own, which grows when they synchronise: since Volta nothing else orders them.

/// Most warps in a block.
pub const MAX_WARPS: usize = 32;
const LANES: usize = 32;
/// Stands for all lanes of a warp at once: who takes part in a matrix instruction.
pub const ALL_LANES: u8 = 32;

/// What of a block comes before something: for each warp, its accesses stamped below this.
pub type Covered = [u32; MAX_WARPS];

/// The order that the barriers of a block have made so far.
#[derive(Debug)]
pub struct Order {
    generation: u32,
    /// `known[a][b]`: accesses of `b` stamped below this come before whatever `a` does next.
    known: Box<[Covered; MAX_WARPS]>,
    lanes: Vec<LaneOrder>,
    /// What the latest fence of each warp covers: within the block, and on the whole device.
    fenced: Vec<[Option<Box<Covered>>; 2]>,
}

/// The order among the lanes of a warp.
#[derive(Debug, Clone, Default)]
struct LaneOrder {
    now: u32,
    /// Accesses of any lane stamped below this come before those of all.
    all: u32,
    /// As [`Order::known`], of lanes that have synchronised in parts of the warp.
    known: Option<Box<[[u32; LANES]; LANES]>>,
}

impl Order {
    /// No barrier has been passed.
    pub fn new() -> Order {
        Order {
            generation: 1,
            known: Box::new([[1; MAX_WARPS]; MAX_WARPS]),
            lanes: vec![LaneOrder::default(); MAX_WARPS],
            fenced: vec![[None, None]; MAX_WARPS],
        }
    }

    /// The stamp of accesses made now.
    pub fn now(&self) -> u32 {
        self.generation
    }

    /// What comes before the next access of a warp, its own accesses aside.
    pub fn known(&self, warp: usize) -> &Covered {
        &self.known[warp]
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
            self.lanes[warp].synchronise_all();
        }
    }

    /// The stamp that lanes of a warp give their accesses now.
    pub fn lane_now(&self, warp: usize) -> u32 {
        self.lanes[warp].now
    }

    /// Whether an access of lane `other` of the warp stamped `stamp` comes before what `lane` does now.
    pub fn lane_precedes(&self, warp: usize, other: u8, stamp: u32, lane: u8) -> bool {
        let order = &self.lanes[warp];
        if other == lane || stamp < order.all {
            return true;
        }
        let of =
            |lane: usize| order.known.as_ref().is_some_and(|known| stamp < known[lane][usize::from(other)]);
        match (other, lane) {
            (ALL_LANES.., _) => false,
            (_, ALL_LANES..) => (0..LANES).all(|lane| lane == usize::from(other) || of(lane)),
            _ => of(usize::from(lane)),
        }
    }

    /// Whether parts of a warp have met without the rest.
    pub fn in_parts(&self, warp: usize) -> bool {
        self.lanes[warp].known.is_some()
    }

    /// Lanes of a warp have met, of those that are `alive`.
    pub fn synchronise(&mut self, warp: usize, lanes: u32, alive: u32) {
        self.lanes[warp].synchronise(lanes, alive);
    }

    /// A warp passes a fence: what it did, and what it knows of others, is visible before what it does from now on.
    pub fn fence(&mut self, warp: usize, whole_device: bool) {
        self.generation += 1;
        let mut covered = self.known[warp];
        covered[warp] = self.generation;
        self.fenced[warp][0] = Some(Box::new(covered));
        if whole_device {
            self.fenced[warp][1] = Some(Box::new(covered));
        }
    }

    /// What the latest fence of a warp covers: for its own block, and for the whole device.
    pub fn fenced(&self, warp: usize) -> [Option<&Covered>; 2] {
        self.fenced[warp].each_ref().map(Option::as_deref)
    }
}

impl LaneOrder {
    fn synchronise_all(&mut self) {
        self.now += 1;
        (self.all, self.known) = (self.now, None);
    }

    fn synchronise(&mut self, lanes: u32, alive: u32) {
        if lanes & alive == alive {
            return self.synchronise_all();
        }
        self.now += 1;
        let (now, all) = (self.now, self.all);
        let known = self.known.get_or_insert_with(|| Box::new([[all; LANES]; LANES]));
        let mut joined = [all; LANES];
        for lane in members(lanes) {
            for (latest, &known) in joined.iter_mut().zip(&known[lane]) {
                *latest = known.max(*latest);
            }
        }
        for lane in members(lanes) {
            joined[lane] = now;
        }
        for lane in members(lanes) {
            known[lane] = joined;
        }
    }
}

/// The warps, or lanes, of a mask.
fn members(mask: u32) -> impl Iterator<Item = usize> {
    (0..MAX_WARPS).filter(move |warp| mask >> warp & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::{ALL_LANES, Order};

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

    #[test]
    fn lanes_are_ordered_by_meeting_alone() {
        let mut order = Order::new();
        let early = order.lane_now(3);
        assert!(order.lane_precedes(3, 5, early, 5) && !order.lane_precedes(3, 5, early, 6));
        order.synchronise(3, 0b110_0000, u32::MAX);
        assert!(order.lane_precedes(3, 5, early, 6) && !order.lane_precedes(3, 5, early, 7));
        order.synchronise(3, 0b1100_0000, u32::MAX);
        assert!(order.lane_precedes(3, 5, early, 7), "through lane 6");
        assert!(!order.lane_precedes(3, 5, early, ALL_LANES));
        order.synchronise(3, 0xff, 0xff);
        assert!(order.lane_precedes(3, 5, early, ALL_LANES), "the others have exited");
        assert!(order.lane_precedes(3, ALL_LANES, early, 9));
        let late = order.lane_now(3);
        assert!(!order.lane_precedes(3, ALL_LANES, late, 9) && !order.lane_precedes(3, 1, late, 2));
        order.barrier(0b1000, 0b1000);
        assert!(order.lane_precedes(3, ALL_LANES, late, 9));
    }

    #[test]
    fn fences_cover_what_came_before_them() {
        let mut order = Order::new();
        order.barrier(0b11, 0b11);
        let before = order.now();
        order.fence(0, true);
        let [block, device] = order.fenced(0);
        assert!(before < device.unwrap()[0] && block == device);
        assert!(order.now() >= device.unwrap()[0], "what comes after it is not covered");
        assert!(before >= device.unwrap()[1], "nor what another warp did since the barrier");
        order.fence(1, false);
        assert!(order.fenced(1)[1].is_none());
    }
}
