//! See the parent module.

use super::{Backward, Embedding, Forward};
use crate::cuda::sums::add_column_sums;
use crate::cuda::{Blocks, Cuda, CudaPrecision, Global, Program, Slice, SliceMut, arguments, vector};
use crate::memory::Length;

const PROGRAM: Program<'static> = Program::new("embedding", include_str!("embedding.cu"));

/// Rows of a warp of the words' gradient, as in embedding.cu.
const CHUNK: usize = 64;
/// Blocks that a small table's gradient is spread over at least, if there are rows enough.
const BLOCKS: usize = 512;

/// See [`super`].
pub fn forward<P: CudaPrecision>(
    cuda: &Cuda,
    &Embedding { width }: &Embedding,
    operands: Forward<'_, Global, P>,
) {
    let Forward { indices, words, positions, segments, y } = operands;
    let rows = indices.tokens.length();
    cuda.launch::<P>(
        PROGRAM.with(&[("VECTOR", vector(4, &[width]))]),
        "embedding_forward",
        Blocks::of_warps(rows),
        &arguments![
            indices.tokens,
            indices.positions,
            indices.segments,
            words,
            positions,
            segments,
            y,
            rows,
            width
        ],
    );
}

/// See [`super`]. The rows of a word are found by their order, those of a position or segment by looking through all.
pub fn backward<P: CudaPrecision>(
    cuda: &Cuda,
    &Embedding { width }: &Embedding,
    operands: Backward<'_, Global, P>,
) {
    let Backward { indices, token_order, dy, d_words, d_positions, d_segments } = operands;
    let rows = indices.tokens.length();
    if rows == 0 {
        return;
    }
    let columns = vector(4, &[width]);
    let (chunks, tiles) = (rows.div_ceil(CHUNK), width.div_ceil(32 * columns));
    let partials = cuda.scratch(words_bytes(width, rows));
    let Blocks { grid: [warps, ..], .. } = Blocks::of_warps(chunks);
    let blocks = Blocks::grid([warps as usize, tiles, 1]);
    let defines = [("VECTOR", columns)];
    let program = PROGRAM.with(&defines);
    cuda.launch::<P>(
        program,
        "embedding_words_backward",
        blocks,
        &arguments![indices.tokens, token_order, dy, d_words, partials, rows, width],
    );
    cuda.launch::<P>(
        program,
        "embedding_split_words",
        blocks,
        &arguments![indices.tokens, token_order, d_words, partials, rows, width],
    );
    table::<P>(cuda, program, width, indices.positions, dy, &d_positions);
    table::<P>(cuda, program, width, indices.segments, dy, &d_segments);
}

/// Bytes of work space that backward wants on a GPU for so many rows, and tables of positions and segments of so many.
pub fn scratch_bytes(&Embedding { width }: &Embedding, rows: usize, tables: [usize; 2]) -> usize {
    let table = |table_rows: usize| {
        let stretches = rows.div_ceil(CHUNK).min(most_stretches(table_rows));
        stretches * table_rows * width * size_of::<f32>()
    };
    words_bytes(width, rows).max(tables.map(table).into_iter().max().unwrap_or(0))
}

/// The sums that begin and end in each chunk.
fn words_bytes(width: usize, rows: usize) -> usize {
    rows.div_ceil(CHUNK) * 2 * width * size_of::<f32>()
}

/// The most parts that the rows are cut into for a table.
fn most_stretches(table_rows: usize) -> usize {
    BLOCKS.div_ceil(table_rows.max(1))
}

/// The gradient of a small table.
fn table<P: CudaPrecision>(
    cuda: &Cuda,
    program: Program<'_>,
    width: usize,
    ids: Slice<'_, i32>,
    dy: Slice<'_, P::Activation>,
    d_table: &SliceMut<'_, f32>,
) {
    let (rows, table_rows) = (ids.length(), d_table.length() / width);
    let stretch = rows.div_ceil(most_stretches(table_rows)).max(CHUNK);
    let stretches = rows.div_ceil(stretch);
    let partials = cuda.scratch(stretches * d_table.length() * size_of::<f32>());
    let tiles = width.div_ceil(32 * vector(4, &[width]));
    cuda.launch::<P>(
        program,
        "embedding_table_backward",
        Blocks::grid([table_rows, stretches, tiles]),
        &arguments![ids, dy, partials, rows, width, stretch],
    );
    add_column_sums(cuda, partials, stretches, d_table, None);
}
