//! The least time that an H100 takes for a step of pre-training, kernel by kernel: `benches/results/h100-predicted.md`,
//! which `UPDATE_RESULTS=1 cargo test -p kernels --test h100` writes anew.
//!
//! Each kernel runs at two small numbers of rows; what it asks of each resource grows linearly with them, and is carried on
//! to those of a step. Products of matrices are not run: their rate is that which cuBLASLt is taken to reach.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

use emulated_gpu::performance::{H100, Launched, Summary};
use kernels::attention::Attention;
use kernels::{Cuda, Store};

use crate::{calls, counting};

/// Tokens of a micro-batch: whole waves of tiles for every product.
const TOKENS: usize = 33_792;
const VOCABULARY: usize = 30_000;
/// Seconds between one kernel and the next.
const BOUNDARY: f64 = 1.2e-6;

/// A model and the sequences that it learns from.
struct Setting {
    name: &'static str,
    hidden: usize,
    layers: usize,
    heads: usize,
    length: usize,
    /// Predictions of a sequence.
    masked: usize,
    parameters: usize,
    /// Sequences a second at least, and microseconds of a sequence outside of products at most.
    least_rate: f64,
    most_outside: f64,
}

const SETTINGS: [Setting; 3] = [
    Setting {
        name: "base-128",
        hidden: 768,
        layers: 12,
        heads: 12,
        length: 128,
        masked: 20,
        parameters: 11_810_000,
        least_rate: 6_600.0,
        most_outside: 35.0,
    },
    Setting {
        name: "base-512",
        hidden: 768,
        layers: 12,
        heads: 12,
        length: 512,
        masked: 77,
        parameters: 11_810_000,
        least_rate: 1_300.0,
        most_outside: 170.0,
    },
    Setting {
        name: "large-512",
        hidden: 1024,
        layers: 24,
        heads: 16,
        length: 512,
        masked: 77,
        parameters: 17_850_000,
        least_rate: 442.0,
        most_outside: 440.0,
    },
];

impl Setting {
    fn sequences(&self) -> usize {
        TOKENS / self.length
    }

    fn predictions(&self) -> usize {
        self.sequences() * self.masked
    }

    /// Rows that the heads read, for which alone the last layer is computed beyond its attention.
    fn read(&self) -> usize {
        self.predictions() + self.sequences()
    }
}

/// One kernel in one place of a step.
struct Row {
    operation: &'static str,
    kernel: String,
    /// Launches in a step.
    times: usize,
    /// Of one launch.
    seconds: f64,
    resource: &'static str,
    sectors: f64,
    banks: f64,
    registers: u64,
    resident: u64,
}

/// Kernels of a step, with what was measured of those that several settings share.
struct Step<'a> {
    cuda: &'a Cuda,
    rows: Vec<Row>,
}

impl Step<'_> {
    /// `times` calls of size `size`, measured at two small sizes.
    fn add(
        &mut self,
        operation: &'static str,
        times: usize,
        size: usize,
        small: [usize; 2],
        call: impl Fn(&Cuda, usize) -> Vec<Launched>,
    ) {
        let [first, second] = small.map(|size| call(self.cuda, size));
        self.carry_on(operation, times, size as f64, small, &first, &second);
    }

    fn carry_on(
        &mut self,
        operation: &'static str,
        times: usize,
        size: f64,
        small: [usize; 2],
        first: &[Launched],
        second: &[Launched],
    ) {
        let kernels: Vec<_> = first.iter().map(|it| &it.kernel).collect();
        assert_eq!(kernels, second.iter().map(|it| &it.kernel).collect::<Vec<_>>(), "sizes of one kind");
        let further = (size - small[0] as f64) / (small[1] - small[0]) as f64;
        for (first, second) in first.iter().zip(second) {
            let before: BTreeMap<_, _> =
                H100.bounds(&first.summary).iter().map(|it| (it.resource, it.seconds)).collect();
            let bounds = H100.bounds(&second.summary).into_iter().map(|bound| {
                let before = before.get(bound.resource).copied().unwrap_or(0.0);
                (before + (bound.seconds - before) * further, bound.resource)
            });
            let (seconds, resource) = bounds.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((0.0, "nothing"));
            // Of loads, stores and atomics together.
            let carried = |count: &dyn Fn(&Summary, usize) -> u64| {
                let [before, after] =
                    [first, second].map(|it| (0..3).map(|kind| count(&it.summary, kind)).sum::<u64>() as f64);
                before + (after - before) * further
            };
            let ratio = |most: f64, least: f64| if least == 0.0 { 1.0 } else { most / least };
            self.rows.push(Row {
                operation,
                kernel: second.kernel.trim_end_matches("_bf16").trim_end_matches("_f32").to_owned(),
                times,
                seconds,
                resource,
                sectors: ratio(
                    32.0 * carried(&|summary, kind| summary.global[kind].sectors),
                    carried(&|summary, kind| summary.global[kind].bytes),
                ),
                banks: ratio(
                    carried(&|summary, kind| summary.shared[kind].wavefronts),
                    carried(&|summary, kind| summary.shared[kind].least),
                ),
                registers: second.registers.unwrap_or(0),
                resident: second.resident_blocks,
            });
        }
    }
}

/// Everything that a step runs besides products: forward, backward, one update.
fn kernels(cuda: &Cuda, setting: &Setting) -> Vec<Row> {
    let &Setting { hidden, layers, heads, length, parameters, .. } = setting;
    let (sequences, predictions) = (setting.sequences(), setting.predictions());
    let mut step = Step { cuda, rows: Vec::new() };
    let rows = [1152, 1408]; // from where on backward has all its blocks
    step.add("embedding", 1, TOKENS, [512, 1024], |cuda, rows| {
        calls::embedding_forward(cuda, rows, length, VOCABULARY)
    });
    step.add("embedding's layer norm", 1, TOKENS, [512, 1024], |cuda, rows| {
        calls::layer_norm_forward(cuda, rows, 128, false)
    });
    // One head of two numbers of sequences: heads are alike.
    let one = Attention { heads: 1, head_width: 64, dropout: None };
    let pairs = layers;
    step.add("attention", pairs, sequences * heads, [1, 2], |cuda, sequences| {
        calls::attention_forward(cuda, sequences, length, &one)
    });
    for (operation, times, size) in [
        ("residual, layer norm", 2 * (layers - 1), TOKENS),
        ("the same in the last layer", 2, setting.read()),
    ] {
        step.add(operation, times, size, rows, |cuda, rows| {
            calls::layer_norm_forward(cuda, rows, hidden, true)
        });
    }
    // Of attention and residual, then of the result.
    step.add("rows that heads read", 3, setting.read(), [64, 128], |cuda, rows| {
        calls::gather_forward(cuda, rows, 6, hidden)
    });
    step.add("head's layer norm", 1, predictions, [512, 1024], |cuda, rows| {
        calls::layer_norm_forward(cuda, rows, 128, false)
    });
    step.add("cross-entropy", 1, predictions, [8, 16], |cuda, rows| {
        calls::cross_entropy_forward(cuda, rows, VOCABULARY)
    });
    step.add("cross-entropy's gradient", 1, predictions, [2, 4], |cuda, rows| {
        calls::cross_entropy_backward(cuda, rows, VOCABULARY)
    });
    step.add("head's layer norm's gradient", 1, predictions, [2112, 2144], |cuda, rows| {
        calls::layer_norm_backward(cuda, rows, 128)
    });
    // Every row of the gradient is written, a sixth of them from a prediction.
    step.add("gradient of rows read", 3, TOKENS, [192, 384], |cuda, rows| {
        calls::gather_backward(cuda, rows / 6, 6, hidden, Store::Assign)
    });
    for (operation, times, size) in [
        ("layer norm's gradient", 2 * (layers - 1), TOKENS),
        ("the same in the last layer", 2, setting.read()),
    ] {
        step.add(operation, times, size, rows, |cuda, rows| calls::layer_norm_backward(cuda, rows, hidden));
    }
    step.add("attention's gradient", pairs, sequences * heads, [1, 2], |cuda, sequences| {
        calls::attention_backward(cuda, sequences, length, &one)
    });
    for (operation, times, size, width) in [
        ("bias of queries, keys, values", layers, TOKENS, 3 * hidden),
        ("biases of attention's output and of the outer layer", 2 * (layers - 1), TOKENS, hidden),
        ("the same in the last layer", 2, setting.read(), hidden),
        ("bias of the inner layer", layers - 1, TOKENS, 4 * hidden),
        ("the same in the last layer", 1, setting.read(), 4 * hidden),
        ("bias of the embeddings' projection", 1, TOKENS, hidden),
    ] {
        step.add(operation, times, size, [256, 512], |cuda, rows| calls::bias_gradient(cuda, rows, width));
    }
    step.add("bias of the pieces", 1, predictions, [64, 128], |cuda, rows| {
        calls::bias_gradient(cuda, rows, VOCABULARY)
    });
    step.add("embedding's layer norm's gradient", 1, TOKENS, [2112, 2144], |cuda, rows| {
        calls::layer_norm_backward(cuda, rows, 128)
    });
    step.add("embedding's gradient", 1, TOKENS, [1024, 2048], |cuda, rows| {
        calls::embedding_backward(cuda, rows, length, VOCABULARY)
    });
    step.add("update", 1, parameters, [1 << 16, 1 << 17], calls::update);
    step.rows
}

/// Seconds of all products and how many there are: forward, and the gradients of input and weight.
fn products(setting: &Setting) -> (f64, usize) {
    let (h, p) = (setting.hidden, setting.predictions());
    let beyond_attention = [(h, h), (h, 4 * h), (4 * h, h)];
    let rest = [(TOKENS, 128, h), (p, h, 128), (p, 128, VOCABULARY), (setting.sequences(), h, h)];
    // m × k times k × n: `Lt` reaches three quarters of 798 · k / (k + 120) TFLOP/s, and no more than memory allows.
    let product = |m: usize, k: usize, n: usize| {
        let rate = 0.75 * 798e12 * k as f64 / (k as f64 + 120.0);
        let bytes = 2.0 * (m * k + k * n + m * n) as f64;
        (2.0 * (m * k * n) as f64 / rate).max(bytes / H100.memory)
    };
    let three = |rows: usize, inputs: usize, outputs: usize| {
        product(rows, inputs, outputs) + product(rows, outputs, inputs) + product(inputs, rows, outputs)
    };
    let sum = |products: &[(usize, usize, usize)]| -> f64 {
        products.iter().map(|&(rows, inputs, outputs)| three(rows, inputs, outputs)).sum()
    };
    let layer = |rows: usize| sum(&beyond_attention.map(|(inputs, outputs)| (rows, inputs, outputs)));
    let layers = setting.layers as f64;
    let seconds = layers * three(TOKENS, h, 3 * h) + (layers - 1.0) * layer(TOKENS) + layer(setting.read());
    (seconds + sum(&rest), 3 * (4 * setting.layers + rest.len()))
}

/// The tables of one setting, its sequences a second and its microseconds a sequence outside of products.
fn report(cuda: &Cuda, setting: &Setting, text: &mut String) -> (f64, f64) {
    let (rows, sequences) = (kernels(cuda, setting), setting.sequences() as f64);
    let (product_seconds, product_count) = products(setting);
    let outside: f64 = rows.iter().map(|row| row.times as f64 * row.seconds).sum();
    let launches = rows.iter().map(|row| row.times).sum::<usize>() + product_count;
    let boundaries = launches as f64 * BOUNDARY;
    let whole = outside + product_seconds + boundaries;
    let each = |seconds: f64| seconds / sequences * 1e6;
    let mut line = |line: String| writeln!(text, "{line}").expect("text grows");
    line(format!("\n## {}\n", setting.name));
    line(format!(
        "{} sequences of {} tokens, {} predictions each; microseconds a sequence: products {:.1}, other kernels {:.1}, {launches} \
         boundaries between kernels {:.1}. **{:.0} sequences a second.**\n",
        setting.sequences(),
        setting.length,
        setting.masked,
        each(product_seconds),
        each(outside),
        each(boundaries),
        sequences / whole,
    ));
    line("| operation | kernel | times | us each | bound by | us a sequence | sectors | banks | registers | blocks |".to_owned());
    line("|---|---|---:|---:|---|---:|---:|---:|---:|---:|".to_owned());
    for row in &rows {
        assert!(
            row.sectors <= 1.05 || SCATTERED.contains(&&*row.kernel),
            "{}: {:.2}",
            row.kernel,
            row.sectors
        );
        line(format!(
            "| {} | {} | {} | {:.2} | {} | {:.3} | {:.2} | {:.2} | {} | {} |",
            row.operation,
            row.kernel,
            row.times,
            row.seconds * 1e6,
            row.resource,
            each(row.times as f64 * row.seconds),
            row.sectors,
            row.banks,
            row.registers,
            row.resident,
        ));
    }
    (sequences / whole, each(outside))
}

/// Kernels that touch more sectors than their bytes fill, because single numbers lie wherever a list says: two scalars for each row
/// that is selected, beside the row itself, which is another kernel's.
const SCATTERED: [&str; 1] = ["gather_uses"];

const HEAD: &str = "# A step on an H100, predicted

No GPU made these figures; what one measured is in `2026-11-26-h200.md`. Every kernel of a step of pre-training ran on the emulated
GPU (`tests/emulated-gpu`) at two small sizes, in bf16 and without dropout; what it asked of memory, caches, banks, tensor cores and
issue slots was carried on to 33 792 tokens, one update included. `us each` is the largest of the times that one resource takes at least, on an H100 SXM
(rates: `tests/emulated-gpu/src/performance/roofline.rs`): no kernel is faster, and a good one takes up to twice as long.
GELU and its gradient are done with the products, as cuBLASLt does them (seen on an H200: `2026-11-26-h200.md`).
Products are taken to run at 0.75 × 798 × K / (K + 120) TFLOP/s, K being the length of their sums, and never faster than memory; 1.2 us
pass between a kernel and the next. Beyond its attention the last layer is computed for the tokens alone that heads read.

`sectors` and `banks` are how many times the least traffic of global and shared memory is asked for, carried on likewise; the test
wants 1.05 at most, but of `gather_uses`, which takes two numbers for each row to where a list says. `blocks` is how many a
multiprocessor holds. `UPDATE_RESULTS=1 cargo test -p kernels --test h100` makes this file anew; the test fails where a step has
become 3% slower or faster.
";

#[test]
fn a_step_is_as_fast_as_recorded() {
    counting("step::a_step_is_as_fast_as_recorded", compare);
}

fn compare(cuda: &Cuda) {
    let mut text = HEAD.to_owned();
    let figures: Vec<_> = SETTINGS.iter().map(|setting| report(cuda, setting, &mut text)).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/results/h100-predicted.md");
    if env::var_os("UPDATE_RESULTS").is_some() {
        fs::write(&path, &text).expect("the folder is there");
    }
    let kept = fs::read_to_string(&path).expect("a report is kept");
    for (setting, (rate, outside)) in SETTINGS.iter().zip(figures) {
        let name = setting.name;
        let (least, most) = (setting.least_rate, setting.most_outside);
        assert!(rate >= least, "{name}: {rate:.0} sequences a second instead of {least}");
        assert!(outside <= most, "{name}: {outside:.1} us a sequence outside of products instead of {most}");
        let part = kept.split("\n## ").find(|part| part.starts_with(name)).expect("each setting has a part");
        let recorded = part.split("**").nth(1).and_then(|bold| bold.split(' ').next());
        let recorded: f64 = recorded.and_then(|rate| rate.parse().ok()).expect("a rate in bold");
        let changed = (rate / recorded - 1.0).abs();
        assert!(
            changed < 0.03,
            "{name}: {rate:.0} sequences a second, {recorded} recorded: UPDATE_RESULTS=1"
        );
    }
}
