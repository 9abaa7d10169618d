//! Nothing is allocated once an operation has seen a shape.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use kernels::cpu::Isa;
use kernels::dropout::{Dropout, Randomness};
use kernels::memory::Host;
use kernels::precision::{Bf16, F32};
use kernels::random::Philox;
use kernels::{
    Activation, Backend, Cpu, Kernels, Precision, Real, Store, attention, cross_entropy, dropout, layer_norm,
    linear, optimizer, sequence_cross_entropy,
};

struct Counter;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTER: Counter = Counter;

const ROWS: usize = 96;
const HEADS: usize = 4;
const WIDTH: usize = 128;
const DROPOUT: Dropout = Dropout { probability: 0.1, stream: 1 };

/// A device whose operands are slices, in one precision.
trait Device<P: Precision>: Backend<Memory = Host> + Kernels<P> {}
impl<P: Precision, B: Backend<Memory = Host> + Kernels<P>> Device<P> for B {}

/// The buffers of a few operations.
struct Step<A> {
    x: Vec<A>,
    y: Vec<A>,
    wide: Vec<A>,
    d_wide: Vec<A>,
    weight: Vec<A>,
    masters: Vec<f32>,
    d_weight: Vec<f32>,
    narrow: [Vec<f32>; 4],
    labels: Vec<i32>,
    moments: [Vec<f32>; 2],
}

impl<A: Real> Step<A> {
    fn new() -> Self {
        let numbers = |value, count| vec![A::from_f64(value); count];
        let (matrix, wide) = (numbers(0.5, ROWS * WIDTH), numbers(0.25, 3 * ROWS * WIDTH));
        let masters = vec![0.1; 3 * WIDTH * WIDTH];
        Self {
            x: matrix.clone(),
            y: matrix,
            d_wide: wide.clone(),
            wide,
            d_weight: masters.clone(),
            moments: [masters.clone(), masters.clone()],
            weight: numbers(0.1, masters.len()),
            masters,
            narrow: std::array::from_fn(|_| vec![0.5; ROWS * HEADS]),
            labels: vec![1; ROWS],
        }
    }

    /// One call of everything that needs work space.
    fn run<P: Precision<Activation = A, Master = f32>>(&mut self, cpu: &impl Device<P>) {
        let Self { x, y, wide, d_wide, weight, masters, d_weight, narrow, labels, moments } = self;
        let [a, b, c, d] = narrow;
        let randomness = Randomness { philox: Philox::new(1, 1), step: 1, first_row: 0 };
        let linear = linear::Linear { inputs: WIDTH, outputs: 3 * WIDTH, activation: Activation::Gelu };
        let offsets = [0, 33, 40, ROWS as i32];
        let attention =
            attention::Attention { heads: HEADS, head_width: WIDTH / HEADS, dropout: Some(DROPOUT) };
        let norm = layer_norm::LayerNorm { width: WIDTH, epsilon: 1e-12, dropout: Some(DROPOUT) };
        let losses = cross_entropy::CrossEntropy { classes: WIDTH };
        cpu.linear_forward(&linear, linear::Forward { x, weight, bias: None, preactivation: None, y: wide });
        cpu.linear_input_gradient(
            &linear,
            linear::InputGradient { du: wide, weight, dx: y, store: Store::Assign },
        );
        cpu.linear_weight_gradient(
            &linear,
            linear::WeightGradient { x, du: wide, d_weight, d_bias: Some(&mut a[..3 * WIDTH]) },
        );
        cpu.attention_forward(
            &attention,
            attention::Forward { qkv: wide, offsets: &offsets, randomness, context: y, log_sum_exp: a },
        );
        cpu.attention_backward(
            &attention,
            attention::Backward {
                qkv: wide,
                offsets: &offsets,
                randomness,
                context: y,
                log_sum_exp: a,
                d_context: x,
                d_qkv: d_wide,
            },
        );
        cpu.layer_norm_backward(
            &norm,
            layer_norm::Backward {
                sum: x,
                mean: &a[..ROWS],
                rstd: &b[..ROWS],
                gamma: &c[..WIDTH],
                dy: y,
                randomness,
                logical_rows: None,
                d_sum: &mut wide[..ROWS * WIDTH],
                store: Store::Add,
                d_x: Some(&mut d_wide[..ROWS * WIDTH]),
                d_gamma: &mut d[..WIDTH],
                d_beta: &mut d_weight[..WIDTH],
            },
        );
        cpu.dropout_forward(
            &DROPOUT,
            dropout::Forward { width: WIDTH, randomness, logical_rows: Some(labels), x, y },
        );
        cpu.cross_entropy_forward(
            &losses,
            cross_entropy::Forward {
                logits: x,
                labels,
                weights: &d[..ROWS],
                loss: &mut [0.0],
                row_loss: &mut a[..ROWS],
                log_sum_exp: &mut b[..ROWS],
                prediction: &mut [0; ROWS],
            },
        );
        cpu.sequence_cross_entropy_forward(
            &sequence_cross_entropy::SequenceCrossEntropy,
            sequence_cross_entropy::Forward {
                logits: &x[..ROWS],
                offsets: &offsets,
                labels: &[0, 39, 40],
                weights: &d[..3],
                loss: &mut [0.0],
                sequence_loss: &mut a[..3],
                log_sum_exp: &mut b[..3],
                prediction: &mut [0; 3],
            },
        );
        let segments = [optimizer::Segment { offset: 0, length: masters.len(), decays: true, adapts: true }];
        let update = optimizer::Update {
            rule: optimizer::Rule::Lamb,
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-6,
            weight_decay: 0.01,
            clip_norm: 1.0,
            bias_correction: None,
        };
        let [first_moments, second_moments] = moments;
        cpu.optimizer_update(
            &update,
            optimizer::Operands {
                segments: &segments,
                parameters: masters,
                gradients: d_weight,
                norm: &[1.0],
                loss: &[1.0],
                first_moments,
                second_moments,
            },
        );
        cpu.gradient_norm(&(), optimizer::Norm { gradients: d_weight, norm: &mut [0.0] });
        cpu.prepare_weights(&(), optimizer::Weights { masters, weights: weight });
    }
}

#[test]
fn a_shape_seen_before_allocates_nothing() {
    let cpus =
        |threads| Isa::available().map(move |isa| Cpu::new(Some(threads), Some(isa)).expect("available"));
    // All at once: a device that ends while another is watched would be noticed.
    let cpus: Vec<Cpu> = cpus(1).chain(cpus(2)).collect();
    for cpu in &cpus {
        allocate_nothing::<_, F32>(cpu);
        allocate_nothing::<_, Bf16>(cpu);
    }
}

fn allocate_nothing<A: Real, P: Precision<Activation = A, Master = f32>>(cpu: &Cpu)
where
    Cpu: Kernels<P>,
{
    let mut step = Step::new();
    let allocations = cpu.enter(|| {
        step.run::<P>(cpu);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        (0..20).for_each(|_| step.run::<P>(cpu));
        ALLOCATIONS.load(Ordering::Relaxed) - before
    });
    assert_eq!(allocations, 0, "{} threads on {}", cpu.threads(), cpu.isa());
}
