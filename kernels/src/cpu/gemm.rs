//! Matrix products `C (+)= A · B`.
//!
//! Both operands are copied into panels first: A in panels as high as a tile, B in panels as wide as one, each with
//! its rows of the depth one after the other, so that the inner loop ([`super::tile`]) reads two streams (Goto and
//! van de Geijn 2008, "Anatomy of high-performance matrix multiplication"). Then C is cut into blocks, a task each: a
//! block goes through the depth in pieces whose B panel stays in the first-level cache. A piece adds to C what it
//! sums: how the depth is cut depends on nothing but its length, hence the same bits for any number of threads.

use std::ops::Range;

use super::Cpu;
use super::panels::{copy_columns, copy_rows};
use super::scratch;
use super::threads::{Grid, Pieces};
use super::tile::{self, Product, Target};
use crate::Store;

/// Depth of a piece: a panel of B is then 32 KiB at 16 lanes.
const DEPTH: usize = 256;
/// Rows and columns of a block of C, roughly: its pieces of A and of C stay in the second-level cache.
const BLOCK_ROWS: usize = 224;
const BLOCK_COLUMNS: usize = 256;
/// Numbers that a task of the copying moves, roughly.
const COPIED: usize = 1 << 15;

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
        Self { data: self.data, rows: self.columns, columns: self.rows, transposed: !self.transposed }
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
    let (tile_rows, tile_columns) = tile::size(cpu.token());
    let a_length = scratch::padded(m.next_multiple_of(tile_rows) * depth);
    let b_length = n.next_multiple_of(tile_columns) * depth;
    cpu.shared().with(a_length + b_length, |space| {
        let (a_panels, b_panels) = space.split_at_mut(a_length);
        pack(cpu, a.transpose(), tile_rows, a_panels);
        pack(cpu, b, tile_columns, b_panels);
        let rows = Grid::new(m, BLOCK_ROWS.next_multiple_of(tile_rows));
        let columns = Grid::new(n, BLOCK_COLUMNS.next_multiple_of(tile_columns));
        let c = Pieces::new(c);
        cpu.for_each(rows.tasks() * columns.tasks(), |task| {
            let (rows, columns) = (rows.range(task % rows.tasks()), columns.range(task / rows.tasks()));
            // An empty sum is one piece too: it makes C zero.
            for start in (0..depth.max(1)).step_by(DEPTH) {
                tile::multiply(
                    cpu.token(),
                    &Product {
                        rows: rows.len(),
                        columns: columns.len(),
                        depth: DEPTH.min(depth - start),
                        a: &a_panels[rows.start * depth + start * tile_rows..],
                        a_row: 1,
                        a_step: tile_rows,
                        a_panel: tile_rows * depth,
                        b: &b_panels[columns.start * depth + start * tile_columns..],
                        b_step: tile_columns,
                        b_panel: tile_columns * depth,
                        // SAFETY: every block of C belongs to one task.
                        c: unsafe { Target::part(c, rows.start * n + columns.start, n) },
                        add: start > 0 || store == Store::Add,
                    },
                );
            }
            for row in rows {
                // SAFETY: every element of C belongs to one block, every block to one task.
                let values = unsafe { c.piece(row * n + columns.start..row * n + columns.end) };
                finish(row, columns.clone(), values);
            }
        });
    });
}

/// Copies `matrix` (depth × length) into panels of `width` columns, filled up with zeros.
fn pack(cpu: &Cpu, matrix: Matrix<'_>, width: usize, panels: &mut [f32]) {
    let (depth, length) = (matrix.rows, matrix.columns);
    let panels = Pieces::new(panels);
    let grid = Grid::new(length.div_ceil(width), COPIED.div_ceil((width * depth).max(1)));
    cpu.for_each_range(grid, |_, range| {
        for panel in range {
            // SAFETY: every panel belongs to one task.
            let target = unsafe { panels.rows(panel..panel + 1, width * depth) };
            let columns = panel * width..((panel + 1) * width).min(length);
            if matrix.transposed {
                let source = matrix.data.get(columns.start * depth..).unwrap_or_default();
                copy_columns(cpu.token(), source, depth, columns.len(), width, target);
            } else {
                let source = matrix.data.get(columns.start..).unwrap_or_default();
                copy_rows(cpu.token(), source, length, columns.len(), width, target);
            }
        }
    });
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
