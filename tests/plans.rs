//! Plans of known shapes: their steps, memory and cost as snapshots, and what must hold of any plan.

use std::fmt::Write;

use engine::{Bindings, Device, Plan, PlanOptions, Precision, Recompute, Runtime, State};
use kernels::Cpu;
use kernels::cpu::Isa;
use model::{Albert, AlbertConfig, Capacity, Head, Mode, preset};

fn training_plan(config: AlbertConfig, capacity: Capacity, recompute: Recompute) -> (Albert, Plan) {
    let albert = Albert::new(config, &[Head::Pretraining]).expect("valid");
    let options = PlanOptions { precision: Precision::F32, recompute };
    let plan = albert.plan(&Head::Pretraining, capacity, Mode::Training, options).expect("all are trained");
    (albert, plan)
}

fn two_layers() -> AlbertConfig {
    AlbertConfig {
        vocab_size: 100,
        embedding_size: 8,
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 32,
        max_position_embeddings: 16,
        hidden_dropout_prob: 0.1,
        ..AlbertConfig::default()
    }
}

const SMALL: Capacity = Capacity { tokens: 32, sequences: 4, masked: 8 };

#[test]
fn the_steps_of_two_layers() {
    insta::assert_snapshot!(training_plan(two_layers(), SMALL, Recompute::None).1.to_string());
}

#[test]
fn memory_and_cost_of_known_shapes() {
    let mut table = String::new();
    for (name, sequences, length) in
        [("tiny", 32, 128), ("base", 8, 128), ("base", 8, 512), ("xxlarge", 1, 512)]
    {
        let masked = sequences * (length * 15 / 100);
        let capacity = Capacity { tokens: sequences * length, sequences, masked };
        for recompute in [Recompute::None, Recompute::Gelu, Recompute::Layer] {
            let (_, plan) = training_plan(preset(name).expect("known"), capacity, recompute);
            let cost = plan.cost();
            let shape = format!("{name} {sequences} x {length} {recompute:?}");
            let (steps, arena) = (plan.step_count(), plan.arena_size());
            writeln!(
                table,
                "{shape}: {steps} steps, {} model flops, {} executed, {} bytes, arena {arena}",
                cost.model_flops, cost.executed_flops, cost.bytes
            )
            .expect("a string takes everything");
        }
    }
    insta::assert_snapshot!(table);
}

/// What lies in the arena when a run begins reaches nobody: every read follows a write of the same run, and recomputed
/// values are the same bits.
#[test]
fn a_run_does_not_see_what_was_there_before() {
    let albert = Albert::new(two_layers(), &[Head::Pretraining]).expect("valid");
    let mut runtime = Runtime::new(Device::Reference, albert.parameters().clone()).expect("memory");
    runtime.write(State::Values, &albert.parameters().initial_values(4).expect("memory"));
    let plans = [Recompute::None, Recompute::Gelu, Recompute::Layer].map(|recompute| {
        let options = PlanOptions { precision: Precision::F64, recompute };
        runtime
            .load(albert.plan(&Head::Pretraining, SMALL, Mode::Training, options).expect("all are trained"))
            .expect("memory")
    });
    let ids: Vec<i32> = (0..14).map(|i| (i * 31) % 100).collect();
    let mut order: Vec<i32> = (0..14).collect();
    order.sort_by_key(|&row| ids[row as usize]);
    let positions = [0, 1, 2, 3, 4, 0, 0, 1, 2, 3, 4, 5, 6, 7];
    let integers: [(&str, &[i32]); 9] = [
        ("token_ids", &ids),
        ("position_ids", &positions),
        ("segment_ids", &[0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1]),
        ("token_order", &order),
        ("offsets", &[0, 5, 6, 14]),
        ("first_rows", &[0, 5, 6]),
        ("masked_rows", &[1, 3, 5, 9]),
        ("masked_labels", &[7, 99, 0, 42]),
        ("sentence_order_labels", &[0, 1, 1]),
    ];
    let reals: [(&str, &[f32]); 2] =
        [("masked_weights", &[0.25; 4]), ("sentence_order_weights", &[0.5, 0.25, 0.25])];
    let bindings = Bindings {
        lengths: &[14, 3, 4],
        integers: &integers,
        reals: &reals,
        seed: 2,
        step: 5,
        ..Bindings::default()
    };
    let mut results = Vec::new();
    for poison in [0.0, f64::NAN] {
        for plan in plans {
            runtime.poison(poison);
            runtime.zero_gradients();
            runtime.run(plan, &bindings).expect("inputs that fit");
            results.push((runtime.output(plan, "loss"), runtime.read::<f64>(State::Gradients)));
        }
    }
    assert!(results[0].0[0].is_finite() && results[0].1.iter().all(|g| g.is_finite()));
    assert!(results.iter().all(|result| *result == results[0]));
}

/// Nothing masked, sequences of one token, no sequence at all: every device agrees, and nothing stale is read.
#[test]
fn lists_may_be_empty() {
    let albert = Albert::new(two_layers(), &[Head::Pretraining]).expect("valid");
    let values = albert.parameters().initial_values(4).expect("memory");
    let run = |device: Device, rows: &[i32]| {
        let mut runtime = Runtime::new(device, albert.parameters().clone()).expect("memory");
        runtime.write(State::Values, &values);
        let options = PlanOptions { precision: runtime.precision(), recompute: Recompute::None };
        let plan = runtime
            .load(albert.plan(&Head::Pretraining, SMALL, Mode::Training, options).expect("all are trained"))
            .expect("memory");
        runtime.poison(f64::NAN);
        let count = rows.len();
        let (zeros, borders) = (vec![0; count], (0..=count as i32).collect::<Vec<_>>());
        let integers: [(&str, &[i32]); 9] = [
            ("token_ids", rows),
            ("position_ids", &zeros),
            ("segment_ids", &zeros),
            ("token_order", rows),
            ("offsets", &borders),
            ("first_rows", rows),
            ("masked_rows", &[]),
            ("masked_labels", &[]),
            ("sentence_order_labels", &zeros),
        ];
        let reals: [(&str, &[f32]); 2] =
            [("masked_weights", &[]), ("sentence_order_weights", &vec![0.25; count])];
        let lengths = [count, count, 0];
        let bindings =
            Bindings { lengths: &lengths, integers: &integers, reals: &reals, ..Bindings::default() };
        runtime.run(plan, &bindings).expect("inputs that fit");
        (runtime.output(plan, "loss")[0], runtime.gradient_norm())
    };
    for rows in [&[][..], &[0, 1, 2]] {
        let (loss, norm) = run(Device::Reference, rows);
        assert_eq!((loss > 0.0, norm > 0.0), (!rows.is_empty(), !rows.is_empty()));
        for isa in Isa::available() {
            let cpu = Cpu::new(Some(2), Some(isa)).expect("available");
            let found = run(Device::Cpu(cpu), rows);
            let close = |found: f64, expected: f64| (found - expected).abs() <= 1e-4 * expected;
            assert!(close(found.0, loss) && close(found.1, norm), "{isa}: {found:?}, not {:?}", (loss, norm));
        }
    }
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let albert = Albert::new(two_layers(), &[Head::Pretraining]).expect("valid");
    let mut runtime = Runtime::new(Device::Reference, albert.parameters().clone()).expect("memory");
    let plan = runtime.load(albert.encoding_plan(SMALL, false, Precision::F64)).expect("memory");
    let mut run = |lengths: &[usize], ids: &[i32], order: &[i32], offsets: &[i32]| {
        let zeros = vec![0; ids.len()];
        let integers: [(&str, &[i32]); 7] = [
            ("token_ids", ids),
            ("position_ids", &zeros),
            ("segment_ids", &zeros),
            ("token_order", order),
            ("offsets", offsets),
            ("first_rows", &[0]),
            ("masked_rows", &[]),
        ];
        let bindings = Bindings { lengths, integers: &integers, ..Bindings::default() };
        runtime.run(plan, &bindings).map_err(|error| error.to_string())
    };
    assert_eq!(run(&[2, 1, 0], &[1, 2], &[0, 1], &[0, 2]), Ok(()));
    assert_eq!(run(&[4, 1, 0], &[9, 2, 9, 2], &[1, 3, 0, 2], &[0, 4]), Ok(()));
    let error = |result: Result<(), String>| result.expect_err("refused");
    let order = [0, 1];
    assert!(
        error(run(&[33, 1, 0], &[1; 33], &[0; 33], &[0, 33]))
            .contains("33 tokens, but the plan holds at most 32")
    );
    assert!(
        error(run(&[2, 1, 0], &[1], &order, &[0, 2]))
            .contains("`token_ids` has 1 numbers where 2 are needed")
    );
    assert!(error(run(&[2, 1, 0], &[1, 100], &order, &[0, 2])).contains("`token_ids` holds 100 at index 1"));
    assert!(error(run(&[2, 1, 0], &[1, -1], &order, &[0, 2])).contains("must lie in 0..100"));
    assert!(error(run(&[2, 1, 0], &[1, 2], &order, &[0, 1])).contains("the last offset is 2"));
    // Not sorted, not stably, a row twice, a row that is not there.
    for (ids, order, index) in [
        ([3, 1], [0, 1], 1),
        ([3, 3], [1, 0], 1),
        ([1, 1], [0, 0], 1),
        ([1, 2], [0, 2], 1),
        ([1, 2], [-1, 1], 0),
    ] {
        let error = error(run(&[2, 1, 0], &ids, &order, &[0, 2]));
        assert!(error.contains(&format!("`token_order` holds {} at index {index}", order[index])), "{error}");
    }
}

/// Of base at 33 792 tokens attention's backward wants most: the gradients of q in f32 and two numbers for each row of each head.
/// What grows with the tokens is there for the most that there may be.
#[test]
fn a_gpu_has_work_space_for_all_that_may_come() {
    let albert = Albert::new(preset("base").expect("known"), &[Head::Pretraining]).expect("valid");
    let plan = |tokens: usize, mode| {
        let capacity = Capacity { tokens, sequences: tokens / 128, masked: tokens / 8 };
        let options = PlanOptions { precision: Precision::Bf16, recompute: Recompute::None };
        albert.plan(&Head::Pretraining, capacity, mode, options).expect("all are trained")
    };
    let work_space = |tokens: usize, mode| plan(tokens, mode).work_space();
    let training = work_space(33_792, Mode::Training);
    assert_eq!(training.kernels, 33_792 * (4 * 768 + 8 * 12));
    assert_eq!((training.products, training.total() > training.kernels + (32 << 20)), (32 << 20, true));
    // Two sets of inputs: four numbers for each token, a little for each sequence and prediction.
    assert!((2 * 16 * 33_792..2 * 20 * 33_792).contains(&training.inputs), "{training:?}");
    // Sums in f32 that wait for their function where cuBLASLt refuses it, 64 MiB at most.
    assert!((60 << 20..=64 << 20).contains(&work_space(33_792, Mode::Evaluation).kernels));
    // 16 recordings of two calls for each step, 10 KB each, whatever the tokens.
    let steps = plan(128, Mode::Training).step_count();
    assert_eq!(training.recordings, 16 * 2 * 10_240 * steps);
}
