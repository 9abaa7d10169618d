//! Attention forward and backward against `f64`, element by element within bounds that follow from bf16.

use half::bf16;

use emulated_gpu::ptx::Fault;

use super::support::{Gpu, Random, arguments, assert_close};

const WIDTH: usize = 64;
/// Bytes of shared memory: tiles of 64 rows of 72 elements.
const FORWARD_SHARED: u32 = 5 * 64 * 72 * 2;
const BACKWARD_SHARED: u32 = 6 * 64 * 72 * 2;
/// A number rounded to bf16 is off by this much at most, relative.
const BF16: f64 = 1.0 / 256.0;

/// Inputs of a problem, and their addresses.
struct Problem {
    heads: usize,
    length: usize,
    causal: bool,
    scale: f32,
    /// q, k, v and the gradient of the output.
    inputs: [Vec<bf16>; 4],
}

/// What the kernels made.
struct Results {
    output: Vec<bf16>,
    log_sums: Vec<f32>,
    /// dq, dk, dv.
    gradients: [Vec<f64>; 3],
}

impl Problem {
    fn new(heads: usize, length: usize, causal: bool) -> Problem {
        let mut random = Random((heads * 1000 + length) as u64);
        let mut matrix =
            || (0..heads * length * WIDTH).map(|_| bf16::from_f32(1.5 * random.unit())).collect::<Vec<_>>();
        Problem { heads, length, causal, scale: 0.125, inputs: [matrix(), matrix(), matrix(), matrix()] }
    }

    fn grid(&self) -> [u32; 3] {
        [self.length.div_ceil(64) as u32, self.heads as u32, 1]
    }

    fn run(&self, gpu: &mut Gpu) -> Result<Results, Fault> {
        let elements = self.inputs[0].len();
        let rows = self.heads * self.length;
        let [q, k, v, dout] = [0, 1, 2, 3].map(|i| gpu.upload(&self.inputs[i]));
        let (output, log_sums) = (gpu.alloc::<bf16>(elements), gpu.alloc::<f32>(rows));
        let (length, causal) = (self.length as i32, i32::from(self.causal));
        let arguments = arguments![q, k, v, output, log_sums, length, self.scale, causal];
        gpu.launch("attention_forward", self.grid(), 128, FORWARD_SHARED, &arguments)?;

        let deltas = gpu.alloc::<f32>(rows);
        let arguments = arguments![output, dout, deltas, rows as i32];
        gpu.launch("attention_deltas", [rows.div_ceil(4) as u32, 1, 1], 128, 0, &arguments)?;
        let dq = gpu.upload(&vec![0_f32; elements]);
        let (dk, dv) = (gpu.alloc::<bf16>(elements), gpu.alloc::<bf16>(elements));
        let arguments = arguments![q, k, v, dout, log_sums, deltas, dq, dk, dv, length, self.scale, causal];
        gpu.launch("attention_backward", self.grid(), 128, BACKWARD_SHARED, &arguments)?;

        let narrow = |at| gpu.download::<bf16>(at, elements).iter().map(|x| x.to_f64()).collect();
        Ok(Results {
            output: gpu.download(output, elements),
            log_sums: gpu.download(log_sums, rows),
            gradients: [
                gpu.download::<f32>(dq, elements).into_iter().map(f64::from).collect(),
                narrow(dk),
                narrow(dv),
            ],
        })
    }

    /// Runs all three kernels and compares everything they write.
    fn check(&self, gpu: &mut Gpu) -> Result<(), Fault> {
        let results = self.run(gpu)?;
        for head in 0..self.heads {
            self.check_head(head, &results);
        }
        Ok(())
    }

    fn check_head(&self, head: usize, results: &Results) {
        let length = self.length;
        let rows = |matrix: &[bf16]| -> Vec<[f64; WIDTH]> {
            let start = head * length * WIDTH;
            let rows = matrix[start..start + length * WIDTH].chunks_exact(WIDTH);
            rows.map(|row| std::array::from_fn(|i| row[i].to_f64())).collect()
        };
        let [q, k, v, dout] = [0, 1, 2, 3].map(|i| rows(&self.inputs[i]));
        let dot = |a: &[f64; WIDTH], b: &[f64; WIDTH]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let scale = f64::from(self.scale);
        // What is wanted, and a bound for the error, element by element.
        let zeros = || vec![[0.0; WIDTH]; length];
        let (mut output, mut output_bound) = (zeros(), zeros());
        let (mut gradients, mut bounds) = ([zeros(), zeros(), zeros()], [zeros(), zeros(), zeros()]);
        let mut log_sums = vec![0.0; length];
        for i in 0..length {
            let keys = if self.causal { i + 1 } else { length };
            let scores: Vec<f64> = (0..keys).map(|j| dot(&q[i], &k[j]) * scale).collect();
            let greatest = scores.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = scores.iter().map(|score| (score - greatest).exp()).sum();
            log_sums[i] = greatest + sum.ln();
            let p: Vec<f64> = scores.iter().map(|score| (score - log_sums[i]).exp()).collect();
            for (j, p) in p.iter().enumerate() {
                for c in 0..WIDTH {
                    output[i][c] += p * v[j][c];
                    output_bound[i][c] += p * v[j][c].abs() * BF16;
                }
            }
            let delta = dot(&output[i], &dout[i]);
            let delta_bound: f64 = (0..WIDTH).map(|c| output_bound[i][c] * 2.0 * dout[i][c].abs()).sum();
            for (j, p) in p.iter().enumerate() {
                let ds = p * (dot(&dout[i], &v[j]) - delta) * scale;
                let ds_bound = p * delta_bound * scale + ds.abs() * BF16;
                for c in 0..WIDTH {
                    for (into, value, bound) in [
                        ((0, i), ds * k[j][c], ds_bound * k[j][c].abs()),
                        ((1, j), ds * q[i][c], ds_bound * q[i][c].abs()),
                        ((2, j), p * dout[i][c], p * BF16 * dout[i][c].abs()),
                    ] {
                        gradients[into.0][into.1][c] += value;
                        bounds[into.0][into.1][c] += bound;
                    }
                }
            }
        }
        let start = head * length;
        // Scores of the order of 10 in f32 are off by about 1e-6, and so is everything in proportion.
        let f32_error = 2e-5;
        let log_sums = log_sums.into_iter().enumerate();
        assert_close(
            "log sum",
            log_sums.map(|(i, want)| (results.log_sums[start + i].into(), want, f32_error)),
        );
        for i in 0..length {
            let at = (start + i) * WIDTH;
            let element = |want: f64, bound: f64| bound + want.abs() * BF16 + f32_error;
            assert_close(
                &format!("output row {i}"),
                (0..WIDTH).map(|c| {
                    let want = output[i][c];
                    (results.output[at + c].to_f64(), want, element(want, output_bound[i][c]))
                }),
            );
            for (which, name) in ["dq", "dk", "dv"].into_iter().enumerate() {
                assert_close(
                    &format!("{name} row {i}"),
                    (0..WIDTH).map(|c| {
                        let want = gradients[which][i][c];
                        (results.gradients[which][at + c], want, element(want, bounds[which][i][c]))
                    }),
                );
            }
        }
    }
}

/// Three tiles of 64, the last one ragged.
pub fn check_small(gpu: &mut Gpu) -> Result<(), Fault> {
    Problem::new(1, 150, false).check(gpu)
}

#[test]
fn forward_and_backward() {
    Gpu::check("attention.cu", |gpu| {
        check_small(gpu)?;
        for (heads, length, causal) in [(2, 213, true), (1, 64, false), (2, 7, true), (1, 129, false)] {
            Problem::new(heads, length, causal).check(gpu)?;
        }
        Ok(())
    });
}
