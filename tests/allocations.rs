//! Nothing is allocated in a training step once the first ones have been made.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use engine::{Bindings, Device, PlanOptions, Precision, Recompute, Runtime, State};
use kernels::Cpu;
use kernels::optimizer::{Rule, Update};
use model::{Albert, AlbertConfig, Capacity, Head, Mode};
use train::pretraining::{Batch, Padded};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn steps_allocate_nothing() {
    let config = AlbertConfig {
        vocab_size: 300,
        embedding_size: 32,
        hidden_size: 64,
        num_attention_heads: 4,
        intermediate_size: 128,
        hidden_dropout_prob: 0.1,
        attention_probs_dropout_prob: 0.1,
        ..AlbertConfig::default()
    };
    let albert = Albert::new(config, &[Head::Pretraining]).expect("valid");
    let cells = 8 * 64;
    let ids: Vec<i32> = (0..cells).map(|i| 5 + (i * 37) % 290).collect();
    let (ones, zeros) = (vec![1; cells as usize], vec![0; cells as usize]);
    let positions: Vec<i32> = (0..8 * 10).map(|i| 1 + i % 10 * 6).collect();
    let batch = Batch::from_padded(&Padded {
        sequence_length: 64,
        input_ids: &ids,
        attention_mask: &ones,
        token_type_ids: &zeros,
        masked_positions: &positions,
        masked_labels: &positions,
        masked_weights: &vec![1.0; positions.len()],
        sentence_order_labels: &[0, 1, 0, 1, 0, 1, 0, 1],
    })
    .expect("a batch");
    let capacity = Capacity { tokens: 8 * 64, sequences: 8, masked: 80 };
    for precision in [Precision::F32, Precision::Bf16] {
        allocates_nothing(&albert, capacity, &batch, precision);
    }
}

fn allocates_nothing(albert: &Albert, capacity: Capacity, batch: &Batch, precision: Precision) {
    let device = Device::Cpu(Cpu::new(Some(2), None).expect("a CPU"));
    let mut runtime = Runtime::in_precision(device, precision, albert.parameters().clone()).expect("memory");
    runtime.write(State::Values, &albert.parameters().initial_values(1).expect("memory"));
    let options = PlanOptions { precision, recompute: Recompute::None };
    let plan = runtime
        .load(albert.plan(&Head::Pretraining, capacity, Mode::Training, options).expect("all are trained"))
        .expect("memory");
    let (integers, reals) = (batch.integers(), batch.floats());
    let lengths = [batch.tokens(), batch.sequences(), batch.predictions()];
    let mut loss = Vec::<f64>::with_capacity(1);
    let mut step = |step| {
        let bindings =
            Bindings { lengths: &lengths, integers: &integers, reals: &reals, step, ..Bindings::default() };
        runtime.zero_gradients();
        runtime.run(plan, &bindings).expect("a batch that fits");
        runtime.read_output(plan, "loss", &mut loss);
        let applied = runtime.update(&Update {
            rule: Rule::Lamb,
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-6,
            weight_decay: 0.01,
            clip_norm: 1.0,
            bias_correction: None,
        });
        let applied = applied.expect("a device that works");
        assert!(applied.applied && applied.gradient_norm > 0.0);
    };
    (0..3).for_each(&mut step);
    let before = ALLOCATIONS.load(Relaxed);
    (3..23).for_each(&mut step);
    // Rayon hands work to a pool through a queue that takes a new block after every 63 entries; a step enters the pool
    // at most three times (run, norm, update; gradients so few are cleared outside).
    let queue_blocks = (20 * 3_u64).div_ceil(63) + 1;
    let allocated = ALLOCATIONS.load(Relaxed) - before;
    assert!(allocated <= queue_blocks, "{allocated} allocations in 20 steps");
}
