//! See the parent module.

use super::{Norm, Operands, Rule, Segment, Update, Weights};
use crate::cuda::{Blocks, Cuda, CudaPrecision, Global, Program, arguments};
use crate::memory::Length;
use crate::precision::F32;

/// Elements of a block.
const CHUNK: usize = 8192;
/// Segments of one launch: they travel among its arguments, of which old drivers take 4 kB.
const SEGMENTS: usize = 64;

const PROGRAM: Program<'static> = Program::new("optimizer", include_str!("optimizer.cu"));
const DEFINES: [(&str, usize); 2] = [("CHUNK", CHUNK), ("SEGMENTS", SEGMENTS)];

/// See [`super`]. LAMB's adapting segments take two passes over the memory, since the ratio is known after the first only.
pub fn update<P: CudaPrecision>(cuda: &Cuda, update: &Update, operands: Operands<'_, Global, P>) {
    let Operands { segments, parameters, gradients, norm, loss, first_moments, second_moments } = operands;
    let constants = constants(update);
    let (lr, clip) = (update.lr, update.clip_norm);
    for segments in segments.chunks(SEGMENTS) {
        let Table { words, chunks, adapts } = Table::new(update, segments);
        let (table, count, constants) = (&words[..], segments.len() as i32, &constants[..]);
        let partials = cuda.scratch(update_bytes(chunks));
        let steps = partials.after(chunks * SUMS);
        let blocks = Blocks::grid([chunks, 1, 1]);
        cuda.launch::<F32>(
            PROGRAM.with(&DEFINES),
            "optimizer_moments",
            blocks,
            &arguments![
                table,
                count,
                constants,
                lr,
                clip,
                norm,
                loss,
                gradients,
                first_moments,
                second_moments,
                parameters,
                partials
            ],
        );
        if !adapts {
            continue;
        }
        cuda.launch::<F32>(
            PROGRAM.with(&DEFINES),
            "optimizer_steps",
            Blocks::grid([segments.len(), 1, 1]),
            &arguments![table, lr, clip, norm, loss, partials, steps],
        );
        cuda.launch::<F32>(
            PROGRAM.with(&DEFINES),
            "optimizer_apply",
            blocks,
            &arguments![
                table,
                count,
                constants,
                clip,
                norm,
                loss,
                steps,
                first_moments,
                second_moments,
                parameters
            ],
        );
    }
}

/// Bytes of a chunk's two sums.
const SUMS: usize = 16;

/// Two sums of each chunk, and a step for each segment of a launch.
fn update_bytes(chunks: usize) -> usize {
    chunks * SUMS + SEGMENTS * size_of::<f32>()
}

/// Bytes of work space that an optimizer step over these segments, and the norm of so many gradients, want on a GPU at most.
pub fn scratch_bytes(segments: &[Segment], gradients: usize) -> usize {
    let chunks = segments.iter().map(|segment| segment.length.div_ceil(CHUNK)).sum();
    update_bytes(chunks).max(gradients.div_ceil(CHUNK) * size_of::<f64>())
}

/// Segments as optimizer.cu has them.
struct Table {
    words: Vec<u64>,
    /// Of all segments.
    chunks: usize,
    /// Whether any of them does.
    adapts: bool,
}

impl Table {
    fn new(update: &Update, segments: &[Segment]) -> Self {
        /// Words of a segment.
        const WORDS: usize = 3;
        let mut table = Self { words: Vec::with_capacity(WORDS * SEGMENTS), chunks: 0, adapts: false };
        for segment in segments {
            let adapts = update.rule == Rule::Lamb && segment.adapts;
            let flags = u64::from(segment.decays) | u64::from(adapts) << 1;
            let place = table.chunks as u64 | flags << 32;
            table.words.extend([segment.offset as u64, segment.length as u64, place]);
            table.chunks += segment.length.div_ceil(CHUNK);
            table.adapts |= adapts;
        }
        table.words.resize(WORDS * SEGMENTS, 0);
        table
    }
}

/// The constants as optimizer.cu has them, two to a word.
fn constants(update: &Update) -> [u64; 4] {
    let correction = |beta: f64| update.bias_correction.map_or(1.0, |t| 1.0 / (1.0 - beta.powf(t as f64)));
    let pair =
        |low: f64, high: f64| u64::from((low as f32).to_bits()) | u64::from((high as f32).to_bits()) << 32;
    [
        pair(update.beta1, update.beta2),
        pair(1.0 - update.beta1, 1.0 - update.beta2),
        pair(correction(update.beta1), correction(update.beta2)),
        pair(update.epsilon, update.weight_decay),
    ]
}

/// See [`super`].
pub fn norm<P: CudaPrecision>(cuda: &Cuda, (): &(), operands: Norm<'_, Global, P>) {
    let Norm { gradients, norm } = operands;
    let chunks = gradients.length().div_ceil(CHUNK);
    let partials = cuda.scratch(chunks * size_of::<f64>());
    cuda.launch::<F32>(
        PROGRAM.with(&DEFINES),
        "gradient_norm_chunks",
        Blocks::grid([chunks, 1, 1]),
        &arguments![gradients, partials, gradients.length()],
    );
    cuda.launch::<F32>(
        PROGRAM.with(&DEFINES),
        "gradient_norm_total",
        Blocks::grid([1; 3]).with_threads(1024),
        &arguments![partials, norm, chunks],
    );
}

/// See [`super`].
pub fn prepare<P: CudaPrecision>(cuda: &Cuda, (): &(), operands: Weights<'_, Global, P>) {
    let Weights { masters, weights } = operands;
    cuda.launch::<P>(
        PROGRAM.with(&DEFINES),
        "prepare_weights",
        Blocks::of_elements::<f32>(masters.length()),
        &arguments![masters, weights, masters.length()],
    );
}
