//! Asynchronous copies that have begun and not been waited for.

use std::collections::VecDeque;

use super::super::registers::LANES;

/// One `cp.async` of one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Offset in shared memory.
    pub to: u64,
    /// Global address.
    pub from: u64,
    /// Bytes written.
    pub size: usize,
    /// Bytes read; the rest is zero.
    pub bytes: usize,
}

/// The copies of a warp.
#[derive(Debug)]
pub struct Copies {
    lanes: Vec<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Begun since the last commit.
    open: Vec<Copy>,
    /// Committed groups, oldest first.
    groups: VecDeque<Vec<Copy>>,
}

impl Copies {
    /// No copies.
    pub fn new() -> Copies {
        Copies { lanes: (0..LANES).map(|_| Queue::default()).collect() }
    }

    /// Forgets everything, for the next block.
    pub fn reset(&mut self) {
        self.lanes.fill_with(Queue::default);
    }

    pub fn begin(&mut self, lane: usize, copy: Copy) {
        self.lanes[lane].open.push(copy);
    }

    /// Makes a group of what was begun since the last commit.
    pub fn commit(&mut self, lane: usize) {
        let Queue { open, groups } = &mut self.lanes[lane];
        groups.push_back(std::mem::take(open));
    }

    /// The oldest group of a lane, if it has more than `keep`.
    pub fn next_to_finish(&mut self, lane: usize, keep: usize) -> Option<Vec<Copy>> {
        let groups = &mut self.lanes[lane].groups;
        if groups.len() > keep { groups.pop_front() } else { None }
    }
}
