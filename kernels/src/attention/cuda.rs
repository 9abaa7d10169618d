//! See the parent module. Heads of 64 and 128 in bf16 are computed on tensor cores (`forward.cu`, `backward.cu`), all others by
//! `general.cu`. Sequences are found on the device: a grid depends on the rows and the number of sequences that there may be.

use super::{Attention, Backward, Forward};
use crate::cuda::{
    Address, Argument, Blocks, Cuda, CudaPrecision, Global, Program, Randomness, Slice, arguments,
};
use crate::dropout::Dropout;
use crate::memory::Length;

const FORWARD: Program<'static> = Program::new(
    "attention_forward",
    concat!(include_str!("packed.cuh"), include_str!("tensor_core.cuh"), include_str!("forward.cu")),
);
const BACKWARD: Program<'static> = Program::new(
    "attention_backward",
    concat!(include_str!("packed.cuh"), include_str!("tensor_core.cuh"), include_str!("backward.cu")),
);
const GENERAL: Program<'static> =
    Program::new("attention_general", concat!(include_str!("packed.cuh"), include_str!("general.cu")));

/// See [`super`].
pub fn forward<P: CudaPrecision>(cuda: &Cuda, attention: &Attention, operands: Forward<'_, Global, P>) {
    let Forward { qkv, offsets, randomness, context, log_sum_exp } = operands;
    let shape = Shape::new(attention, log_sum_exp.length(), offsets);
    let common = shape.arguments(&qkv, &offsets, &randomness);
    let arguments = [&common[..], &arguments![context, log_sum_exp]].concat();
    if on_tensor_cores::<P>(attention, &[qkv.address(), context.address()]) {
        let ([width, dropout], head_width) = (shape.defines, attention.head_width);
        let tiles = match (head_width, attention.dropout.is_some()) {
            (64, false) => 2,
            (128, true) => 1,
            _ => 1 + usize::from(registers_suffice(cuda)),
        };
        let bytes = |stages| forward_bytes(head_width, stages);
        let stages = stages(tiles, cuda.shared_memory_limit(), bytes);
        let blocks = Blocks {
            grid: shape.grid(shape.slots(128)),
            threads: threads(tiles),
            shared_bytes: bytes(stages),
        };
        let defines = [width, dropout, ("TILES", tiles), ("STAGES", stages)];
        cuda.launch::<P>(FORWARD.with(&defines), "attention_forward", blocks, &arguments);
    } else {
        let program = GENERAL.with(&shape.defines);
        cuda.launch::<P>(program, "attention_general_forward", shape.general_blocks(), &arguments);
    }
}

/// See [`super`].
pub fn backward<P: CudaPrecision>(cuda: &Cuda, attention: &Attention, operands: Backward<'_, Global, P>) {
    let Backward { qkv, offsets, randomness, context, log_sum_exp, d_context, d_qkv } = operands;
    let shape = Shape::new(attention, log_sum_exp.length(), offsets);
    let scratch = cuda.scratch(scratch_bytes(attention, shape.rows as usize));
    let common = shape.arguments(&qkv, &offsets, &randomness);
    let with_context = [&common[..], &arguments![context, log_sum_exp, d_context, scratch, d_qkv]].concat();
    if on_tensor_cores::<P>(
        attention,
        &[qkv.address(), context.address(), d_context.address(), d_qkv.address()],
    ) {
        let layout = BackwardLayout::new(
            attention.head_width,
            if attention.head_width == 64 && registers_suffice(cuda) { 2 } else { 1 },
            cuda.shared_memory_limit(),
        );
        let blocks = Blocks {
            grid: shape.grid(shape.sequences as usize + BackwardLayout::CLEARERS),
            threads: threads(layout.tiles),
            shared_bytes: layout.bytes(),
        };
        let [width, dropout] = shape.defines;
        let defines = [width, dropout, ("TILES", layout.tiles), ("STAGES", layout.stages)];
        cuda.launch::<P>(BACKWARD.with(&defines), "attention_backward", blocks, &with_context);
    } else {
        let (program, blocks) = (GENERAL.with(&shape.defines), shape.general_blocks());
        let without = [&common[..], &arguments![log_sum_exp, d_context, scratch, d_qkv]].concat();
        cuda.launch::<P>(program, "attention_general_backward_queries", blocks, &with_context);
        cuda.launch::<P>(program, "attention_general_backward_keys", blocks, &without);
    }
}

/// Bytes of work space that backward wants on a GPU: two numbers for each row of each head, and the gradients of q in f32.
pub fn scratch_bytes(attention: &Attention, rows: usize) -> usize {
    8 * rows * attention.heads + 4 * rows * attention.width()
}

/// Whether the fast kernels can be used.
fn on_tensor_cores<P: CudaPrecision>(attention: &Attention, addresses: &[Address]) -> bool {
    // They copy 16 bytes at a time.
    let aligned = addresses.iter().all(|address| address % 16 == 0);
    size_of::<P::Activation>() == 2 && matches!(attention.head_width, 64 | 128) && aligned
}

/// Whether a warp can have two tiles of 16 rows where that takes all registers: for GPUs from compute capability 10 on, the
/// compiler keeps some of them in memory.
fn registers_suffice(cuda: &Cuda) -> bool {
    cuda.capability().0 < 10
}

/// Threads of a block of 128 rows of which a warp has so many tiles of 16.
fn threads(tiles: usize) -> u32 {
    (32 * 128 / 16 / tiles) as u32
}

/// What all kernels are told.
struct Shape {
    sequences: i32,
    rows: i32,
    heads: i32,
    scale: f32,
    dropout: Dropout,
    defines: [(&'static str, usize); 2],
}

impl Shape {
    fn new(attention: &Attention, statistics: usize, offsets: Slice<'_, i32>) -> Self {
        let dropout = usize::from(attention.dropout.is_some());
        Self {
            sequences: offsets.length() as i32 - 1,
            rows: (statistics / attention.heads) as i32,
            heads: attention.heads as i32,
            scale: 1.0 / (attention.head_width as f32).sqrt(),
            dropout: attention.dropout.unwrap_or(Dropout { probability: 0.0, stream: 0 }),
            defines: [("HEAD_WIDTH", attention.head_width), ("DROPOUT", dropout)],
        }
    }

    /// The first arguments of every kernel.
    fn arguments<'a, T>(
        &'a self,
        qkv: &'a Slice<'_, T>,
        offsets: &'a Slice<'_, i32>,
        randomness: &'a Randomness,
    ) -> [Argument<'a>; 8] {
        let Self { sequences, rows, heads, scale, dropout, .. } = self;
        arguments![*qkv, *offsets, *sequences, *rows, *heads, *scale, *randomness, *dropout]
    }

    /// Slots for all tiles of so many rows, those of dead rows included: see `find_tile`.
    fn slots(&self, tile: usize) -> usize {
        self.rows as usize / tile + self.sequences as usize + 1
    }

    /// A grid with `count` blocks, and perhaps some that find nothing to do, for each head.
    fn grid(&self, count: usize) -> [u32; 3] {
        /// Most blocks along y.
        const MOST: usize = 65_535;
        [self.heads as u32, count.min(MOST) as u32, count.div_ceil(MOST) as u32]
    }

    fn general_blocks(&self) -> Blocks {
        Blocks { grid: self.grid(self.slots(16)), threads: 128, shared_bytes: 0 }
    }
}

/// Stages that copies have: 2 if what comes next can be copied while something is worked on. `limit`: bytes that a block may have, which is about what a
/// multiprocessor has, for `blocks` of so many `bytes` as stages ask for.
fn stages(blocks: usize, limit: usize, bytes: impl Fn(usize) -> usize) -> usize {
    // A second block on a multiprocessor gives more than a second stage would.
    if blocks * bytes(2) <= limit { 2 } else { 1 }
}

/// Bytes of shared memory of `forward.cu`: 128 queries, and 64 keys with what belongs to them in each stage.
fn forward_bytes(head_width: usize, stages: usize) -> usize {
    (128 + 2 * stages * 64) * head_width * 2
}

/// How `backward.cu` uses shared memory.
struct BackwardLayout {
    head_width: usize,
    /// Tiles of 16 keys that a warp has, and blocks that share a multiprocessor.
    tiles: usize,
    /// 2 if queries can be copied while others are worked on.
    stages: usize,
}

impl BackwardLayout {
    /// Blocks of each head that zero the gradients of dead rows.
    const CLEARERS: usize = 16;

    /// `limit`: see [`stages`].
    fn new(head_width: usize, tiles: usize, limit: usize) -> Self {
        let layout = |stages| Self { head_width, tiles, stages };
        layout(stages(tiles, limit, |stages| layout(stages).bytes()))
    }

    fn bytes(&self) -> usize {
        let (row, keys, queries) = (2 * self.head_width, 128, 32);
        let stage = queries * (2 * row + 8);
        2 * keys * row + 2 * keys * queries + self.stages * stage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_gpus_have_room_for_one_stage_and_others_for_two() {
        for (kibibytes, stages) in [(99, 1), (163, 2), (227, 2)] {
            for (head_width, tiles) in [(64, 2), (128, 1)] {
                let layout = BackwardLayout::new(head_width, tiles, kibibytes << 10);
                assert_eq!(layout.stages, stages, "{head_width}, {kibibytes} KiB");
                assert!(tiles * layout.bytes() <= kibibytes << 10);
            }
        }
    }

    #[test]
    fn forward_has_two_stages_where_as_many_blocks_fit_as_have_registers() {
        let limits = [99, 163, 227].map(|kibibytes| kibibytes << 10);
        for (head_width, blocks, expected) in [(64, 2, [2, 2, 2]), (128, 1, [2, 2, 2]), (128, 2, [1, 1, 2])] {
            let found = limits.map(|limit| stages(blocks, limit, |stages| forward_bytes(head_width, stages)));
            assert_eq!(found, expected, "{blocks} blocks, heads of {head_width}");
        }
    }
}
