//! Matrix products `C (+)= A · B` (GEMM).
//!
//! C is cut into blocks of at most MC × NC, a task each. A block goes through the depth in steps of KC; of a step, some of B's
//! columns at a time are *packed* into panels of NR columns in the order in which the [`super::microkernel`] reads them, few
//! enough to stay in the second-level cache (Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication"). A is
//! read where it is, unless it is a transpose: then a step of it is packed as well, into panels of MR rows.
//!
//! An element of C is the sum of its steps, each summed in the order of the depth, whatever block it is in: blocks may
//! follow the number of threads, the bits do not. Where C is not stored in f32, one step covers the whole depth, and a
//! strip of rows is computed in f32 and rounded once.
//!
//! What is done with numbers that a product touches anyway is done while they are in a cache: bias and activation function, sums
//! of A's rows.

use std::ops::Range;

use super::Cpu;
use super::microkernel::{self, Product, Target};
use super::panels::Packed;
use super::scratch;
use super::simd::{Floats, Stored, Token, kernel};
use super::sums::add_rows;
use super::threads::{Grid, Pieces};
use crate::Store;

/// How a product is cut.
struct Blocking {
    /// MC: fewest and most rows of a block of C.
    mc: [usize; 2],
    /// NC: fewest and most columns of a block of C.
    nc: [usize; 2],
    /// KC: units of a step along the depth at most.
    kc: usize,
    /// Rows that are computed, then finished, at once.
    strip: usize,
    /// What packing a column's number of A costs, in multiply-adds, and a row's of B.
    packing: [usize; 2],
}

/// Where A is read in place: high blocks, since only B is packed for each.
const IN_PLACE: Blocking = Blocking { mc: [64, 1024], nc: [64, 256], kc: 1024, strip: 112, packing: [0, 24] };
/// Where A, whose columns are far apart in memory, is packed: large blocks, so that few need the same part of it or of B.
const PACKED: Blocking = Blocking { mc: [64, 1536], nc: [64, 1536], kc: 384, strip: 224, packing: [40, 24] };
/// Units of packed B that stay in a second-level cache of a megabyte beside A and C: all of it is read for each row of tiles.
const RESIDENT: usize = 160 * 1024;

impl Blocking {
    /// For a depth of `units`, in one step if C cannot hold the sums of several.
    fn new(a_is_packed: bool, units: usize, whole_depth: bool) -> Self {
        let blocking = if a_is_packed { PACKED } else { IN_PLACE };
        if whole_depth { Self { kc: units, ..blocking } } else { blocking }
    }

    /// The steps of a depth of `units`.
    fn steps(&self, units: usize) -> Grid {
        Grid::equal(units, units.div_ceil(self.kc.max(1)), 1)
    }

    /// Rows and columns of C in equal blocks of whole tiles: those with which the busiest thread has the least to do.
    fn blocks(&self, cpu: &Cpu, (m, n): (usize, usize), (mr, nr): (usize, usize)) -> (Grid, Grid) {
        let counts = |length: usize, [least, most]: [usize; 2]| {
            let fewest = length.div_ceil(most).max(1);
            fewest..=(2 * fewest.max(cpu.threads())).min(length.div_ceil(least)).max(fewest)
        };
        let grids = counts(m, self.mc).flat_map(|rows| {
            let rows = Grid::equal(m, rows, mr);
            counts(n, self.nc).map(move |columns| (rows, Grid::equal(n, columns, nr)))
        });
        let busiest = |(rows, columns): &(Grid, Grid)| {
            let blocks = (rows.tasks() * columns.tasks()).div_ceil(cpu.threads());
            let [a, b] = self.packing;
            blocks * (rows.range(0).len() + b) * (columns.range(0).len() + a)
        };
        grids.min_by_key(busiest).expect("there is always a fewest number")
    }
}

/// An operand: a row-major matrix, or the transpose of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a, A> {
    data: &'a [A],
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a, A> Matrix<'a, A> {
    /// The row-major matrix `data`, `columns` wide.
    pub fn new(data: &'a [A], columns: usize) -> Self {
        let rows = data.len() / columns.max(1);
        assert_eq!(rows * columns, data.len(), "a matrix has whole rows");
        Self { data, rows, columns, transposed: false }
    }

    /// The same numbers with rows and columns exchanged.
    pub fn transpose(self) -> Self {
        Self { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }
}

/// `C (+)= A · B`, then `finish(row, columns, values)` once for every piece of a row of C, in the cache that it was
/// computed in and before it is rounded to what C is stored in. `row_sums`, if there are such, grow by each row of a
/// transposed A, number after number in the order of the depth: A is there when it is packed.
///
/// # Panics
/// If the shapes do not match, or sums are wanted of what is not packed row after row.
pub(crate) fn gemm<A: Packed, C: Stored>(
    cpu: &Cpu,
    a: Matrix<'_, A>,
    b: Matrix<'_, A>,
    c: &mut [C],
    store: Store,
    row_sums: Option<&mut [f32]>,
    finish: impl Fn(usize, Range<usize>, &mut [f32]) + Sync + Send,
) {
    let (m, n, depth) = (a.rows, b.columns, a.columns);
    assert!(
        b.rows == depth && c.len() == m * n,
        "a product of [{m}, {depth}] and [{}, {n}] in {}",
        b.rows,
        c.len()
    );
    let summed = row_sums.as_ref().is_none_or(|sums| a.transposed && sums.len() == m);
    assert!(summed, "sums of all rows of a transpose");
    let row_sums = row_sums.map(Pieces::new);
    let token = cpu.token();
    let in_place = if a.transposed { None } else { A::units(a.data, depth) };
    let (mr, nr) = microkernel::size(token, in_place.is_none());
    let units = depth.div_ceil(A::PER_UNIT);
    let c = match C::in_place(c) {
        Some(c) => Destination::Grows(Pieces::new(c)),
        None => Destination::Rounded(Pieces::new(c)),
    };
    let whole_depth = matches!(c, Destination::Rounded(_));
    let blocking = Blocking::new(in_place.is_none(), units, whole_depth);
    let (rows, columns) = blocking.blocks(cpu, (m, n), (mr, nr));
    let steps = blocking.steps(units);
    let strip = blocking.strip.next_multiple_of(mr);
    let part = RESIDENT / steps.range(0).len().max(1) / nr * nr;
    let block =
        |rows, columns| Block { token, mr, nr, strip, part: part.max(nr), in_place, a, b, rows, columns };
    let spaces = block(rows.range(0), columns.range(0)).spaces(steps.range(0).len(), whole_depth);
    cpu.for_each_with_space(rows.tasks() * columns.tasks(), spaces.iter().sum(), |task, space| {
        let block = block(rows.range(task % rows.tasks()), columns.range(task / rows.tasks()));
        let (a_panels, space) = space.split_at_mut(spaces[0]);
        let (b_panels, sums) = space.split_at_mut(spaces[1]);
        let mut row_sums = match &row_sums {
            // SAFETY: rows belong to the task of their first columns.
            Some(sums) if task < rows.tasks() => Some(unsafe { sums.piece(block.rows.clone()) }),
            _ => None,
        };
        // An empty sum is one step too: it makes C zero.
        for index in 0..steps.tasks().max(1) {
            let step = steps.range(index);
            let (first, last) = (index == 0, index + 1 >= steps.tasks());
            block.pack_a(&step, a_panels, row_sums.as_deref_mut());
            for columns in block.parts() {
                block.pack_b(&columns, &step, b_panels);
                let panels = [&*a_panels, b_panels];
                for strip in block.strips() {
                    let part_of_row = |row| row * n + columns.start..row * n + columns.end;
                    match &c {
                        Destination::Grows(c) => {
                            // SAFETY: every block of C belongs to one task.
                            let target = unsafe { Target::part(*c, strip.start * n + columns.start, n) };
                            let add = !first || store == Store::Add;
                            block.multiply(&strip, &columns, &step, panels, target, add);
                            for row in strip.filter(|_| last) {
                                // SAFETY: as above.
                                let values = unsafe { c.piece(part_of_row(row)) };
                                finish(row, columns.clone(), values);
                            }
                        }
                        Destination::Rounded(c) => {
                            let width = columns.len();
                            let target = Target::new(sums, width);
                            block.multiply(&strip, &columns, &step, panels, target, false);
                            for (row, sums) in strip.zip(sums.chunks_exact_mut(width)) {
                                // SAFETY: as above.
                                let values = unsafe { c.piece(part_of_row(row)) };
                                if store == Store::Add {
                                    add(token, values, sums);
                                }
                                finish(row, columns.clone(), sums);
                                round(token, sums, values);
                            }
                        }
                    }
                }
            }
        }
    });
}

/// Where C lies.
enum Destination<'a, C> {
    /// In f32: its sums grow where they are stored.
    Grows(Pieces<'a, f32>),
    /// In something else: sums are rounded when they are whole.
    Rounded(Pieces<'a, C>),
}

kernel! {
    /// `sums += values`
    fn add<S, C>(simd, values: &[C], sums: &mut [f32]) {
        for at in (0..sums.len()).step_by(S::LANES) {
            (simd.load(&sums[at..]) + simd.load(&values[at..])).store(&mut sums[at..]);
        }
    }
}

kernel! {
    /// `values = round(sums)`
    pub(crate) fn round<S, C>(simd, sums: &[f32], values: &mut [C]) {
        for at in (0..values.len()).step_by(S::LANES) {
            simd.load(&sums[at..]).store(&mut values[at..]);
        }
    }
}

/// A block of C.
struct Block<'a, A> {
    token: Token,
    /// Rows and columns of a tile.
    mr: usize,
    nr: usize,
    /// Rows of a strip: whole tiles.
    strip: usize,
    /// Columns of B that are packed at once: whole tiles.
    part: usize,
    /// A in units, where it is read in place.
    in_place: Option<&'a [f32]>,
    a: Matrix<'a, A>,
    b: Matrix<'a, A>,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl<A: Packed> Block<'_, A> {
    /// Work space of a step of `units`: for packed A, a part of packed B, and sums of a strip that are not C's own.
    fn spaces(&self, units: usize, sums: bool) -> [usize; 3] {
        let columns = self.part.min(self.columns.len());
        let a = if self.in_place.is_some() { 0 } else { self.rows.len().next_multiple_of(self.mr) * units };
        let c = if sums { self.strip * columns } else { 0 };
        [a, columns.next_multiple_of(self.nr) * units, c].map(scratch::padded)
    }

    fn strips(&self) -> impl Iterator<Item = Range<usize>> + use<A> {
        parts(&self.rows, self.strip)
    }

    fn parts(&self) -> impl Iterator<Item = Range<usize>> + use<A> {
        parts(&self.columns, self.part)
    }

    /// The numbers along the depth that the units of a step hold.
    fn numbers(&self, step: &Range<usize>) -> Range<usize> {
        step.start * A::PER_UNIT..(step.end * A::PER_UNIT).min(self.b.rows)
    }

    /// Computes a part of `strip`, or adds a step to it.
    fn multiply(
        &self,
        strip: &Range<usize>,
        columns: &Range<usize>,
        step: &Range<usize>,
        [a_panels, b_panels]: [&[f32]; 2],
        c: Target<'_>,
        add: bool,
    ) {
        let (mr, units, rows) = (self.mr, step.len(), strip.len());
        let (a, a_row, a_step, a_panel) = match self.in_place {
            Some(a) => {
                let stride = self.a.columns.div_ceil(A::PER_UNIT);
                (from(a, strip.start * stride + step.start), stride, 1, mr * stride)
            }
            None => (from(a_panels, (strip.start - self.rows.start) * units), 1, mr, mr * units),
        };
        let product = Product {
            rows,
            columns: columns.len(),
            depth: units,
            a,
            a_row,
            a_step,
            a_panel,
            b: b_panels,
            b_step: self.nr,
            b_panel: self.nr * units,
            c,
            add,
            tall: self.in_place.is_none(),
        };
        microkernel::multiply(self.token, A::UNIT, product);
    }

    /// Packs a step of A, unless it is read in place, into panels of MR rows; adds it to the sums of its rows, if those are wanted.
    fn pack_a(&self, step: &Range<usize>, panels: &mut [f32], mut row_sums: Option<&mut [f32]>) {
        if self.in_place.is_some() {
            return;
        }
        let Matrix { data, rows: m, columns: depth, transposed } = self.a;
        let (numbers, mr) = (self.numbers(step), self.mr);
        for strip in self.strips() {
            let first = strip.start - self.rows.start;
            let panels = &mut panels[first * step.len()..];
            if transposed {
                let source = from(data, numbers.start * m + strip.start);
                A::pack_rows(self.token, source, m, numbers.len(), strip.len(), mr, panels);
                if let Some(sums) = &mut row_sums {
                    let source = &source[..source.len().min(numbers.len() * m)];
                    add_rows(self.token, source, m, &mut sums[first..first + strip.len()]);
                }
                continue;
            }
            let panel_size = (mr * step.len()).max(1);
            for (row, panel) in strip.clone().step_by(mr).zip(panels.chunks_exact_mut(panel_size)) {
                let source = from(data, row * depth + numbers.start);
                A::pack_columns(self.token, source, depth, numbers.len(), mr.min(strip.end - row), mr, panel);
            }
        }
    }

    /// Packs some columns of a step of B into panels of NR columns.
    fn pack_b(&self, columns: &Range<usize>, step: &Range<usize>, panels: &mut [f32]) {
        let Matrix { data, rows: depth, columns: n, transposed } = self.b;
        let (nr, numbers) = (self.nr, self.numbers(step));
        if !transposed {
            let source = from(data, numbers.start * n + columns.start);
            return A::pack_rows(self.token, source, n, numbers.len(), columns.len(), nr, panels);
        }
        let panel_size = (nr * step.len()).max(1);
        for (column, panel) in columns.clone().step_by(nr).zip(panels.chunks_exact_mut(panel_size)) {
            let source = from(data, column * depth + numbers.start);
            A::pack_columns(
                self.token,
                source,
                depth,
                numbers.len(),
                nr.min(columns.end - column),
                nr,
                panel,
            );
        }
    }
}

/// `range` in parts of at most `length`.
fn parts(range: &Range<usize>, length: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let range = range.clone();
    range.clone().step_by(length).map(move |first| first..(first + length).min(range.end))
}

/// The rest of `data`; nothing where an empty matrix ends before it.
fn from<T>(data: &[T], start: usize) -> &[T] {
    data.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;

    fn numbers<T: Stored>(count: usize, seed: u64) -> Vec<T> {
        let philox = crate::random::Philox::new(seed, 0);
        (0..count as u64).map(|i| T::narrow((crate::random::unit(philox.word(0, i)) - 0.5) as f32)).collect()
    }

    /// `C + A · B` and the same with absolute values, in f64.
    fn exact<A: Stored>(a: Matrix<'_, A>, b: Matrix<'_, A>, c: &[f64]) -> Vec<(f64, f64)> {
        let at = |matrix: Matrix<'_, A>, row: usize, column: usize| {
            let index =
                if matrix.transposed { column * matrix.rows + row } else { row * matrix.columns + column };
            matrix.data[index].to_f64()
        };
        let mut result = Vec::new();
        for (index, &c) in c.iter().enumerate() {
            let (i, j) = (index / b.columns, index % b.columns);
            let mut sums = (c, c.abs());
            for p in 0..a.columns {
                let product = at(a, i, p) * at(b, p, j);
                sums = (sums.0 + product, sums.1 + product.abs());
            }
            result.push(sums);
        }
        result
    }

    /// `u_store` is half a unit of what C is stored in, where that is less than f32.
    fn check<A: Packed, C: Stored>(u_store: f64) {
        for isa in Isa::available() {
            let cpus = [1, 2, 3].map(|threads| Cpu::new(Some(threads), Some(isa)).expect("available"));
            for (m, n, depth) in [
                (1, 1, 1),
                (7, 33, 5),
                (64, 2, 300),
                (3, 700, 257),
                (8, 700, 380),
                (230, 129, 40),
                (5, 4, 0),
                (9, 70, 2050),
            ] {
                let (a, b) = (numbers::<A>(m * depth, 1), numbers::<A>(depth * n, 2));
                for form in 0..4 {
                    let a = match form & 1 {
                        0 => Matrix::new(&a, m).transpose(),
                        _ => Matrix { data: &a, rows: m, columns: depth, transposed: false },
                    };
                    let b = match form & 2 {
                        0 => Matrix::new(&b, n),
                        _ => Matrix { data: &b, rows: depth, columns: n, transposed: true },
                    };
                    for store in [Store::Assign, Store::Add] {
                        let start: Vec<C> = match store {
                            Store::Assign => vec![C::narrow(f32::NAN); m * n],
                            Store::Add => numbers(m * n, 3),
                        };
                        let before: Vec<f64> = match store {
                            Store::Assign => vec![0.0; m * n],
                            Store::Add => start.iter().map(|c| c.to_f64()).collect(),
                        };
                        let results = cpus.each_ref().map(|cpu| {
                            let mut c = start.clone();
                            gemm(cpu, a, b, &mut c, store, None, |_, _, values| {
                                values.iter_mut().for_each(|value| *value *= 2.0);
                            });
                            c
                        });
                        let context =
                            format!("{isa}, [{m}, {depth}] · [{depth}, {n}], form {form}, {store:?}");
                        for (value, (sum, size)) in results[0].iter().zip(exact(a, b, &before)) {
                            // Each of the depth + 1 additions errs by half a unit of a partial sum at most.
                            let bound = 2.0 * size * (depth + 2) as f64 * f64::from(f32::EPSILON)
                                + 2.0 * sum.abs() * u_store;
                            assert!(
                                (value.to_f64() - 2.0 * sum).abs() <= bound,
                                "{context}: {value} for {sum}"
                            );
                        }
                        assert!(results.iter().all(|result| *result == results[0]), "{context}");
                    }
                }
            }
        }
    }

    #[test]
    fn products_of_odd_shapes_for_any_number_of_threads() {
        check::<f32, f32>(0.0);
    }

    #[test]
    fn products_of_bf16_in_bf16_and_in_f32() {
        check::<half::bf16, half::bf16>(1.01 / 256.0);
        check::<half::bf16, f32>(0.0);
    }
}
