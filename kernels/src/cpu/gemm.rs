//! Matrix products `C (+)= A · B`.
//!
//! C is cut into blocks, a task each. A block goes through the depth in pieces; of a piece, the columns of B are copied
//! to the task's own work space in the order in which the inner loop ([`super::tile`]) reads them, small enough to stay
//! in the second-level cache (Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication"). A is
//! read where it is, unless it is a transpose: then its columns are copied as well.
//!
//! An element of C is the sum of its pieces, each summed in the order of the depth, whatever block it is in: blocks may
//! follow the number of threads, the bits do not.

use std::ops::Range;

use super::Cpu;
use super::panels::{copy_columns, copy_rows};
use super::scratch;
use super::simd::Token;
use super::threads::{Grid, Pieces};
use super::tile::{self, Product, Target};
use crate::Store;

/// How a product is cut.
struct Cut {
    /// Fewest and most rows of a block of C.
    rows: [usize; 2],
    /// Fewest and most columns of a block of C.
    columns: [usize; 2],
    /// Depth of a piece at most.
    depth: usize,
    /// Rows that are computed, then finished, at once.
    strip: usize,
    /// What copying a column's number of A costs, in multiply-adds, and a row's of B.
    copies: [usize; 2],
}

/// Where A is read in place: high blocks, since only B is copied for each. A piece of a block's B has a megabyte.
const IN_PLACE: Cut = Cut { rows: [64, 1024], columns: [64, 256], depth: 1024, strip: 112, copies: [0, 24] };
/// Where A's columns, far apart in memory, are copied: wide blocks, so that few need the same ones.
const COPIED: Cut = Cut { rows: [64, 1024], columns: [64, 768], depth: 384, strip: 224, copies: [40, 24] };

impl Cut {
    /// Rows and columns of C in equal blocks of whole tiles: those with which the busiest thread has the least to do.
    fn blocks(&self, cpu: &Cpu, (m, n): (usize, usize), tile: (usize, usize)) -> (Grid, Grid) {
        let counts = |length: usize, [least, most]: [usize; 2]| {
            let fewest = length.div_ceil(most).max(1);
            fewest..=(2 * fewest.max(cpu.threads())).min(length.div_ceil(least)).max(fewest)
        };
        let grids = counts(m, self.rows).flat_map(|rows| {
            let rows = Grid::equal(m, rows, tile.0);
            counts(n, self.columns).map(move |columns| (rows, Grid::equal(n, columns, tile.1)))
        });
        let busiest = |(rows, columns): &(Grid, Grid)| {
            let blocks = (rows.tasks() * columns.tasks()).div_ceil(cpu.threads());
            let [a, b] = self.copies;
            blocks * (rows.range(0).len() + b) * (columns.range(0).len() + a)
        };
        grids.min_by_key(busiest).expect("there is always a fewest number")
    }
}

/// An operand: a row-major matrix, or the transpose of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    /// The row-major matrix `data`, `columns` wide.
    pub fn new(data: &'a [f32], columns: usize) -> Self {
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
/// computed in.
///
/// # Panics
/// If the shapes do not match.
pub(crate) fn gemm(
    cpu: &Cpu,
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: &mut [f32],
    store: Store,
    finish: impl Fn(usize, Range<usize>, &mut [f32]) + Sync + Send,
) {
    let (m, n, depth) = (a.rows, b.columns, a.columns);
    assert!(
        b.rows == depth && c.len() == m * n,
        "a product of [{m}, {depth}] and [{}, {n}] in {}",
        b.rows,
        c.len()
    );
    let tile = tile::size(cpu.token());
    let cut = if a.transposed { &COPIED } else { &IN_PLACE };
    let (rows, columns) = cut.blocks(cpu, (m, n), tile);
    let pieces = Grid::equal(depth, depth.div_ceil(cut.depth), 1);
    let c = Pieces::new(c);
    let strip = cut.strip.next_multiple_of(tile.0);
    let token = cpu.token();
    let block = |rows, columns| Block { token, tile, strip, a, b, rows, columns };
    let space = block(rows.range(0), columns.range(0)).space(pieces.range(0).len());
    cpu.for_each_with_space(rows.tasks() * columns.tasks(), space, |task, space| {
        let block = block(rows.range(task % rows.tasks()), columns.range(task / rows.tasks()));
        // An empty sum is one piece too: it makes C zero.
        for index in 0..pieces.tasks().max(1) {
            let add = index > 0 || store == Store::Add;
            block.add_piece(pieces.range(index), add, space, &c, |row| {
                if index + 1 >= pieces.tasks() {
                    let values = row * n + block.columns.start..row * n + block.columns.end;
                    // SAFETY: every block of C belongs to one task.
                    finish(row, block.columns.clone(), unsafe { c.piece(values) });
                }
            });
        }
    });
}

/// A block of C.
struct Block<'a> {
    token: Token,
    /// Rows and columns of a tile.
    tile: (usize, usize),
    /// Rows of a strip: whole tiles.
    strip: usize,
    a: Matrix<'a>,
    b: Matrix<'a>,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Block<'_> {
    /// Work space for pieces of a strip of A and of B's columns.
    fn space(&self, depth: usize) -> usize {
        scratch::padded(self.strip * depth) + self.columns.len().next_multiple_of(self.tile.1) * depth
    }

    /// Adds a piece of the depth to the block, then calls `finish` for each of its rows.
    fn add_piece(
        &self,
        piece: Range<usize>,
        add: bool,
        space: &mut [f32],
        c: &Pieces<'_, f32>,
        finish: impl Fn(usize),
    ) {
        let (tile_rows, tile_columns) = self.tile;
        let depth = piece.len();
        let (strip, panels) = space.split_at_mut(scratch::padded(self.strip * depth));
        self.copy_b(&piece, panels);
        for first in self.rows.clone().step_by(self.strip) {
            let rows = first..(first + self.strip).min(self.rows.end);
            let (a, a_row, a_step, a_panel) = if self.a.transposed {
                let source = from(self.a.data, piece.start * self.a.rows + first);
                copy_rows(self.token, source, self.a.rows, depth, rows.len(), tile_rows, strip);
                (&*strip, 1, tile_rows, tile_rows * depth)
            } else {
                let source = from(self.a.data, first * self.a.columns + piece.start);
                (source, self.a.columns, 1, tile_rows * self.a.columns)
            };
            let product = Product {
                rows: rows.len(),
                columns: self.columns.len(),
                depth,
                a,
                a_row,
                a_step,
                a_panel,
                b: panels,
                b_step: tile_columns,
                b_panel: tile_columns * depth,
                // SAFETY: every block of C belongs to one task.
                c: unsafe { Target::part(*c, first * self.b.columns + self.columns.start, self.b.columns) },
                add,
            };
            tile::multiply(self.token, product);
            rows.for_each(&finish);
        }
    }

    /// Copies a piece of B's columns into panels.
    fn copy_b(&self, piece: &Range<usize>, panels: &mut [f32]) {
        let (width, depth, columns) = (self.tile.1, piece.len(), self.columns.len());
        if !self.b.transposed {
            let source = from(self.b.data, piece.start * self.b.columns + self.columns.start);
            return copy_rows(self.token, source, self.b.columns, depth, columns, width, panels);
        }
        for (column, panel) in (0..columns).step_by(width).zip(panels.chunks_mut((width * depth).max(1))) {
            let source = from(self.b.data, (self.columns.start + column) * self.b.rows + piece.start);
            copy_columns(self.token, source, self.b.rows, width.min(columns - column), width, panel);
        }
    }
}

/// The rest of `data`; nothing where an empty matrix ends before it.
fn from(data: &[f32], start: usize) -> &[f32] {
    data.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let philox = crate::random::Philox::new(seed, 0);
        (0..count as u64).map(|i| (crate::random::unit(philox.word(0, i)) - 0.5) as f32).collect()
    }

    /// `C + A · B` and the same with absolute values, in f64.
    fn exact(a: Matrix<'_>, b: Matrix<'_>, c: &[f32]) -> Vec<(f64, f64)> {
        let at = |matrix: Matrix<'_>, row: usize, column: usize| {
            f64::from(match matrix.transposed {
                false => matrix.data[row * matrix.columns + column],
                true => matrix.data[column * matrix.rows + row],
            })
        };
        let mut result = Vec::new();
        for (index, &c) in c.iter().enumerate() {
            let (i, j) = (index / b.columns, index % b.columns);
            let mut sums = (f64::from(c), f64::from(c).abs());
            for p in 0..a.columns {
                let product = at(a, i, p) * at(b, p, j);
                sums = (sums.0 + product, sums.1 + product.abs());
            }
            result.push(sums);
        }
        result
    }

    #[test]
    fn products_of_odd_shapes_for_any_number_of_threads() {
        for isa in Isa::available() {
            let cpus = [1, 2, 3].map(|threads| Cpu::new(Some(threads), Some(isa)).expect("available"));
            for (m, n, depth) in
                [(1, 1, 1), (7, 33, 5), (64, 2, 300), (3, 700, 257), (230, 129, 40), (5, 4, 0)]
            {
                let (a, b) = (numbers(m * depth, 1), numbers(depth * n, 2));
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
                        let (before, start) = match store {
                            Store::Assign => (vec![0.0; m * n], vec![f32::NAN; m * n]),
                            Store::Add => (numbers(m * n, 3), numbers(m * n, 3)),
                        };
                        let results = cpus.each_ref().map(|cpu| {
                            let mut c = start.clone();
                            gemm(cpu, a, b, &mut c, store, |_, _, values| {
                                values.iter_mut().for_each(|value| *value *= 2.0);
                            });
                            c
                        });
                        let context =
                            format!("{isa}, [{m}, {depth}] · [{depth}, {n}], form {form}, {store:?}");
                        for (value, (sum, size)) in results[0].iter().zip(exact(a, b, &before)) {
                            // Each of the depth + 1 additions errs by half a unit of a partial sum at most.
                            let bound = 2.0 * size * (depth + 2) as f64 * f64::from(f32::EPSILON);
                            assert!(
                                (f64::from(*value) - 2.0 * sum).abs() <= bound,
                                "{context}: {value} for {sum}"
                            );
                        }
                        assert!(results.iter().all(|result| *result == results[0]), "{context}");
                    }
                }
            }
        }
    }
}
