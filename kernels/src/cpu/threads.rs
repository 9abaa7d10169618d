//! Tasks on threads, and disjoint pieces of one slice for them.

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::Cpu;

/// Elements that make a task worth handing to another thread: some ten microseconds of work.
const TASK_ELEMENTS: usize = 1 << 15;

/// A number of rows cut into equal ranges (the last may be shorter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    rows: usize,
    rows_per_task: usize,
}

impl Grid {
    /// `rows` rows in ranges of `rows_per_task`.
    pub fn new(rows: usize, rows_per_task: usize) -> Self {
        Self { rows, rows_per_task: rows_per_task.max(1) }
    }

    /// `rows` rows of `width` elements in ranges that are worth a task.
    pub fn of_elements(rows: usize, width: usize) -> Self {
        Self::new(rows, TASK_ELEMENTS.div_ceil(width.max(1)))
    }

    /// `rows` rows in about `count` equal ranges whose length is a multiple of `unit`.
    pub fn equal(rows: usize, count: usize, unit: usize) -> Self {
        Self::new(rows, rows.div_ceil(count.max(1)).next_multiple_of(unit))
    }

    /// How many ranges there are.
    pub fn tasks(&self) -> usize {
        self.rows.div_ceil(self.rows_per_task)
    }

    /// The rows of range `task`.
    pub fn range(&self, task: usize) -> Range<usize> {
        let start = task * self.rows_per_task;
        start..(start + self.rows_per_task).min(self.rows)
    }

    /// The ranges in order.
    pub fn iter(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.tasks()).map(move |task| self.range(task))
    }
}

impl Cpu {
    /// Calls `work(task)` for every task in `0..tasks`, on any thread, in any order.
    pub(crate) fn for_each(&self, tasks: usize, work: impl Fn(usize) + Sync + Send) {
        if tasks <= 1 || self.threads() == 1 {
            (0..tasks).for_each(work);
        } else {
            self.pool.install(|| (0..tasks).into_par_iter().with_max_len(1).for_each(work));
        }
    }

    /// As [`Self::for_each`], with `length` numbers of work space for each task, left over from earlier ones. All threads
    /// get theirs before the first task: which of them runs what is chance, what is allocated when must not be.
    pub(crate) fn for_each_with_space(
        &self,
        tasks: usize,
        length: usize,
        work: impl Fn(usize, &mut [f32]) + Sync + Send,
    ) {
        self.of_threads.iter().for_each(|space| space.reserve(length));
        self.for_each(tasks, |task| {
            let thread = self.pool.current_thread_index().unwrap_or(self.threads());
            self.of_threads[thread].with(length, |space| work(task, space));
        });
    }

    /// Calls `work(task, range)` for every range of `grid`, on any thread, in any order.
    pub(crate) fn for_each_range(&self, grid: Grid, work: impl Fn(usize, Range<usize>) + Sync + Send) {
        self.for_each(grid.tasks(), |task| work(task, grid.range(task)));
    }
}

/// A mutable slice of which tasks take disjoint pieces.
#[derive(Clone, Copy)]
pub(crate) struct Pieces<'a, T> {
    start: *mut T,
    length: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: a piece is a `&mut [T]`, which may go to another thread if `T` may; that pieces are disjoint is what the
// callers of the unsafe methods promise.
unsafe impl<T: Send> Send for Pieces<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Pieces<'_, T> {}

impl<'a, T> Pieces<'a, T> {
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len(), lifetime: PhantomData }
    }

    /// The elements in `range`.
    ///
    /// # Safety
    /// No two pieces that are alive at the same time overlap.
    ///
    /// # Panics
    /// If the range ends beyond the slice.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the caller promises that pieces are disjoint")]
    pub unsafe fn piece(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.length, "a piece must lie inside its slice");
        // SAFETY: inside the slice by the assertion, disjoint from other pieces by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// Where element `index` is, for code that strides through more than its own piece.
    ///
    /// # Panics
    /// If there is no such element.
    #[inline(always)]
    pub fn pointer(&self, index: usize) -> *mut T {
        assert!(index < self.length, "a pointer must point into its slice");
        self.start.wrapping_add(index)
    }

    /// The rows in `rows` of a matrix that is `width` wide.
    ///
    /// # Safety
    /// As [`Self::piece`].
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the caller promises that pieces are disjoint")]
    pub unsafe fn rows(&self, rows: Range<usize>, width: usize) -> &mut [T] {
        // SAFETY: passed on.
        unsafe { self.piece(rows.start * width..rows.end * width) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_covers_every_row_once() {
        for (rows, per_task) in [(0, 4), (1, 4), (8, 4), (9, 4), (5, 0)] {
            let grid = Grid::new(rows, per_task);
            let covered: Vec<usize> = (0..grid.tasks()).flat_map(|task| grid.range(task)).collect();
            assert_eq!(covered, (0..rows).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_task_runs_once() {
        let cpu = Cpu::new(Some(3), None).expect("threads");
        let mut seen = vec![0; 1000];
        let pieces = Pieces::new(&mut seen);
        // SAFETY: one element per task.
        cpu.for_each(1000, |task| unsafe { pieces.piece(task..task + 1)[0] += task });
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    }
}
