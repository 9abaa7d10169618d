//! See the parent module.

use std::ops::Range;

use super::{Norm, Operands, Rule, Segment, Update, Weights};
use crate::Cpu;
use crate::cpu::CpuPrecision;
use crate::cpu::gemm::round;
use crate::cpu::simd::{Floats, Simd, kernel};
use crate::cpu::threads::{Grid, Pieces};
use crate::memory::Host;

/// Elements of a task: its four buffers together fit the second-level cache.
const CHUNK: usize = 1 << 15;
/// Elements whose u is kept at once.
const BLOCK: usize = 256;

/// See [`super`]. LAMB's adapting segments take two passes over the memory, since the ratio is known after the first
/// only; u is computed again rather than stored. The others take one.
pub fn update<P: CpuPrecision>(cpu: &Cpu, update: &Update, operands: Operands<'_, Host, P>) {
    let Operands { segments, parameters, gradients, norm, loss, first_moments, second_moments } = operands;
    let Some(gradient_scale) = update.gradient_scale(norm[0], f64::from(loss[0])) else { return };
    let buffers = Buffers {
        parameters: Pieces::new(parameters),
        gradients,
        first_moments: Pieces::new(first_moments),
        second_moments: Pieces::new(second_moments),
    };
    for segment in segments {
        let constants = Constants::new(update, gradient_scale, segment);
        let grid = Grid::new(segment.length, CHUNK);
        let elements = |range: Range<usize>| segment.offset + range.start..segment.offset + range.end;
        if update.rule == Rule::AdamW || !segment.adapts {
            cpu.for_each_range(grid, |_, range| {
                // SAFETY: segments do not overlap, and every range of one belongs to one task.
                let mut chunk = unsafe { buffers.chunk(elements(range)) };
                accumulate(cpu.token(), &constants, &mut chunk);
                apply(cpu.token(), &constants, update.lr as f32, &mut chunk);
            });
            continue;
        }
        let ratio = cpu.shared().with(4 * grid.tasks(), |space| {
            let sums: &mut [[f64; 2]] = bytemuck::cast_slice_mut(space);
            let pieces = Pieces::new(sums);
            cpu.for_each_range(grid, |task, range| {
                // SAFETY: as above, and every pair of sums belongs to one task.
                let (mut chunk, sums) =
                    unsafe { (buffers.chunk(elements(range)), pieces.piece(task..task + 1)) };
                accumulate(cpu.token(), &constants, &mut chunk);
                sums[0] = squares(cpu.token(), &constants, &chunk);
            });
            let [w, u] = sums.iter().fold([0.0; 2], |[w, u], [dw, du]| [w + dw, u + du]).map(f64::sqrt);
            if w > 0.0 && u > 0.0 { w / u } else { 1.0 }
        });
        cpu.for_each(grid.tasks(), |task| {
            // From the end, which is still in the cache.
            let range = grid.range(grid.tasks() - 1 - task);
            // SAFETY: as above.
            let mut chunk = unsafe { buffers.chunk(elements(range)) };
            apply(cpu.token(), &constants, (update.lr * ratio) as f32, &mut chunk);
        });
    }
}

/// The flat buffers.
struct Buffers<'a> {
    parameters: Pieces<'a, f32>,
    gradients: &'a [f32],
    first_moments: Pieces<'a, f32>,
    second_moments: Pieces<'a, f32>,
}

impl Buffers<'_> {
    /// # Safety
    /// No two chunks that are alive at the same time overlap.
    unsafe fn chunk(&self, range: Range<usize>) -> Chunk<'_> {
        // SAFETY: passed on.
        unsafe {
            Chunk {
                w: self.parameters.piece(range.clone()),
                g: &self.gradients[range.clone()],
                m: self.first_moments.piece(range.clone()),
                v: self.second_moments.piece(range),
            }
        }
    }
}

/// The same elements of all buffers.
struct Chunk<'a> {
    w: &'a mut [f32],
    g: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

/// An update's constants as the kernels use them.
struct Constants {
    gradient_scale: f32,
    beta1: f32,
    beta2: f32,
    one_minus_beta1: f32,
    one_minus_beta2: f32,
    /// What m and v are multiplied with when u is formed.
    correction1: f32,
    correction2: f32,
    epsilon: f32,
    decay: f32,
}

impl Constants {
    fn new(update: &Update, gradient_scale: f64, segment: &Segment) -> Self {
        let correction =
            |beta: f64| update.bias_correction.map_or(1.0, |t| 1.0 / (1.0 - beta.powf(t as f64)));
        Self {
            gradient_scale: gradient_scale as f32,
            beta1: update.beta1 as f32,
            beta2: update.beta2 as f32,
            one_minus_beta1: (1.0 - update.beta1) as f32,
            one_minus_beta2: (1.0 - update.beta2) as f32,
            correction1: correction(update.beta1) as f32,
            correction2: correction(update.beta2) as f32,
            epsilon: update.epsilon as f32,
            decay: if segment.decays { update.weight_decay as f32 } else { 0.0 },
        }
    }
}

kernel! {
    /// The new m and v.
    fn accumulate<S>(simd, constants: &Constants, chunk: &mut Chunk<'_>) {
        for at in (0..chunk.g.len()).step_by(S::LANES) {
            let g = simd.load(&chunk.g[at..]) * simd.splat(constants.gradient_scale);
            let m = simd.load(&chunk.m[at..]) * simd.splat(constants.beta1);
            let v = simd.load(&chunk.v[at..]) * simd.splat(constants.beta2);
            g.mul_add(simd.splat(constants.one_minus_beta1), m).store(&mut chunk.m[at..]);
            (g * g).mul_add(simd.splat(constants.one_minus_beta2), v).store(&mut chunk.v[at..]);
        }
    }
}

/// u of the vector at `at`.
#[inline(always)]
fn direction<S: Simd>(simd: S, constants: &Constants, chunk: &Chunk<'_>, at: usize) -> S::F32 {
    let m = simd.load(&chunk.m[at..]) * simd.splat(constants.correction1);
    let v = simd.load(&chunk.v[at..]) * simd.splat(constants.correction2);
    let u = m / (v.sqrt() + simd.splat(constants.epsilon));
    simd.load(&chunk.w[at..]).mul_add(simd.splat(constants.decay), u)
}

kernel! {
    /// `w ← w − step · u`
    fn apply<S>(simd, constants: &Constants, step: f32, chunk: &mut Chunk<'_>) {
        for at in (0..chunk.w.len()).step_by(S::LANES) {
            let u = direction(simd, constants, chunk, at);
            u.mul_add(simd.splat(-step), simd.load(&chunk.w[at..])).store(&mut chunk.w[at..]);
        }
    }
}

kernel! {
    /// `[Σ w², Σ u²]`
    fn squares<S>(simd, constants: &Constants, chunk: &Chunk<'_>) -> [f64; 2] {
        let (mut w, mut u) = (Squares::default(), Squares::default());
        let mut block = [0.0; BLOCK];
        for start in (0..chunk.w.len()).step_by(BLOCK) {
            let block = &mut block[..BLOCK.min(chunk.w.len() - start)];
            for at in (0..block.len()).step_by(S::LANES) {
                direction(simd, constants, chunk, start + at).store(&mut block[at..]);
            }
            w.add(&chunk.w[start..start + block.len()]);
            u.add(block);
        }
        [w.total(), u.total()]
    }
}

/// See [`super`].
pub fn prepare<P: CpuPrecision>(cpu: &Cpu, (): &(), operands: Weights<'_, Host, P>) {
    let Weights { masters, weights } = operands;
    let weights = Pieces::new(weights);
    cpu.for_each_range(Grid::new(masters.len(), CHUNK), |_, range| {
        // SAFETY: every range belongs to one task.
        round(cpu.token(), &masters[range.clone()], unsafe { weights.piece(range) });
    });
}

/// See [`super`].
pub fn norm<P: CpuPrecision>(cpu: &Cpu, (): &(), operands: Norm<'_, Host, P>) {
    let Norm { gradients, norm } = operands;
    let grid = Grid::new(gradients.len(), CHUNK);
    norm[0] = cpu.shared().with(2 * grid.tasks(), |space| {
        let sums: &mut [f64] = bytemuck::cast_slice_mut(space);
        let pieces = Pieces::new(sums);
        cpu.for_each_range(grid, |task, range| {
            // SAFETY: every sum belongs to one task.
            let sum = unsafe { pieces.piece(task..task + 1) };
            sum[0] = sum_of_squares(cpu.token(), &gradients[range]);
        });
        sums.iter().fold(0.0_f64, |sum, part| sum + part).sqrt()
    });
}

kernel! {
    fn sum_of_squares<S>(_simd, x: &[f32]) -> f64 {
        let mut squares = Squares::default();
        squares.add(x);
        squares.total()
    }
}

/// A sum of squares in f64: plain Rust, from which the compiler makes the vectors of the kernel around it.
#[derive(Default)]
struct Squares([f64; 16]);

impl Squares {
    #[inline(always)]
    fn add(&mut self, x: &[f32]) {
        let (whole, rest) = x.as_chunks::<16>();
        for x in whole.iter().map(|x| x.as_slice()).chain([rest]) {
            for (sum, &x) in self.0.iter_mut().zip(x) {
                *sum += f64::from(x) * f64::from(x);
            }
        }
    }

    fn total(&self) -> f64 {
        self.0.iter().fold(0.0, |sum, part| sum + part)
    }
}
