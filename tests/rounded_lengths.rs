//! Runs at lengths that are rounded up, as a device computes them that records: nothing changes by it, few recordings serve packed
//! sequences of any lengths, and nothing waits for the device within a step.

#[path = "support/gpu.rs"]
mod gpu;

use engine::{Device, PlanOptions, Precision, Recompute, Runs, Runtime, State};
use gpu::gpu;
use kernels::Cpu;
use kernels::random::{Philox, below};
use model::{Albert, AlbertConfig, Capacity, Head, Mode};
use train::pretraining::{Batch, Division, Example, Masking, Normalizers, Origin, plans};
use train::training::{Inputs, Learner, Outputs, Sums};

/// Tokens of the longest sequence.
const LONGEST: usize = 8;
/// A part of it, which lengths are rounded up to, is 8 tokens.
const CAPACITY: Capacity = Capacity { tokens: 32 * LONGEST, sequences: 4 * 32, masked: 100 };
const VOCABULARY: u64 = 97;

fn albert(layers: usize) -> Albert {
    let config = AlbertConfig {
        vocab_size: VOCABULARY as usize,
        embedding_size: 8,
        hidden_size: 16,
        num_hidden_layers: layers,
        num_attention_heads: 2,
        intermediate_size: 24,
        max_position_embeddings: LONGEST,
        initializer_range: 0.1,
        hidden_dropout_prob: 0.1,
        attention_probs_dropout_prob: 0.1,
        ..AlbertConfig::default()
    };
    Albert::new(config, &[Head::Pretraining]).expect("valid")
}

/// Sequences of `lengths` with random tokens, every sixth of which is to be predicted.
fn examples(lengths: impl IntoIterator<Item = usize>, seed: u64) -> Vec<Example> {
    let philox = Philox::new(seed, 78);
    let example = |(number, length): (usize, usize)| {
        let token = |at: usize| below(philox.word(number as u64, at as u64), VOCABULARY) as u32;
        let positions: Vec<u32> = (1..length as u32).step_by(6).collect();
        Example {
            token_ids: (0..length).map(token).collect(),
            second_segment: length / 2,
            masking: Masking {
                labels: positions.iter().map(|&at| token(at as usize + LONGEST)).collect(),
                positions,
                spans: Vec::new(),
            },
            sentence_order_label: number as u32 % 2,
            origin: Origin {
                document: 0,
                sentences: 0..1,
                first_sentence: 0,
                short: false,
                random_next: false,
                single_segment: false,
                truncated: 0,
            },
        }
    };
    lengths.into_iter().enumerate().map(example).collect()
}

/// Mostly full sequences and some short ones, as samples of text are.
fn lengths(count: usize, seed: u64) -> impl Iterator<Item = usize> {
    let philox = Philox::new(seed, 79);
    let draw =
        move |stream, at: usize, bound: usize| below(philox.word(stream, at as u64), bound as u64) as usize;
    (0..count).map(move |at| if draw(0, at, 8) > 0 { LONGEST } else { 2 + draw(1, at, LONGEST - 1) })
}

/// An optimisation batch in filled micro-batches.
fn step(sequences: usize, seed: u64) -> Vec<Inputs> {
    let examples = examples(lengths(sequences, seed), seed);
    let normalizers = Normalizers::of(&examples);
    let parts = Division::Filled(CAPACITY).of(&examples);
    parts.into_iter().map(|part| Batch::pack(part, normalizers).into_inputs()).collect()
}

/// Row losses, loss and gradients of one micro-batch, dropout on.
fn results(device: Device, rounds_up: bool) -> (Vec<f64>, f64, Vec<f64>) {
    let albert = albert(2);
    let mut runtime = Runtime::new(device, albert.parameters().clone()).expect("memory");
    runtime.write(State::Values, &albert.parameters().initial_values(3).expect("memory"));
    runtime.round_lengths_up(rounds_up);
    let options = PlanOptions { precision: runtime.precision(), recompute: Recompute::None };
    let plan = albert.plan(&Head::Pretraining, CAPACITY, Mode::Training, options).expect("all are trained");
    let plan = runtime.load(plan).expect("memory");
    // 53 tokens, 10 sequences and 13 predictions: 56, 16 and 16.
    let examples = examples([8, 3, 8, 1, 7, 8, 5, 8, 3, 2], 5);
    let inputs = Batch::pack(&examples, Normalizers::of(&examples)).into_inputs();
    // What no run has written is not read.
    runtime.poison(f64::NAN);
    inputs.bound(|bindings| runtime.run(plan, bindings)).expect("a batch that fits");
    let rows = ["masked_lm_row_losses", "sentence_order_row_losses"].map(|name| runtime.output(plan, name));
    assert_eq!(rows.each_ref().map(Vec::len), [inputs.lengths[2], inputs.lengths[1]]);
    (rows.concat(), runtime.output(plan, "loss")[0], runtime.read(State::Gradients))
}

/// Rows are computed by themselves, so their losses are the same bits; sums over rows may be made in another order.
#[test]
fn rounding_up_changes_no_result() {
    let cpu = || Some(Device::Cpu(Cpu::new(Some(2), None).expect("a CPU")));
    let devices = [
        ("reference", [Some(Device::Reference), Some(Device::Reference)], 1e-13),
        ("cpu", [cpu(), cpu()], 1e-5),
        ("gpu", [gpu(), gpu()], 1e-5),
    ];
    for (name, devices, tolerance) in devices {
        let [Some(exact), Some(rounded)] = devices else { continue };
        let (rows, loss, gradients) = results(exact, false);
        let (rounded_rows, rounded_loss, rounded_gradients) = results(rounded, true);
        // On hardware products of another number of rows may be added up in another order.
        let close = |(exact, rounded): (&f64, &f64)| (exact - rounded).abs() <= tolerance * exact.abs();
        let same =
            if name == "gpu" { rows.iter().zip(&rounded_rows).all(close) } else { rows == rounded_rows };
        assert!(loss.is_finite() && same, "{name}: {rows:?} and {rounded_rows:?}");
        assert!((loss - rounded_loss).abs() <= tolerance * loss, "{name}: {loss} and {rounded_loss}");
        let distance = (gradients.iter().zip(&rounded_gradients))
            .map(|(exact, rounded)| (exact - rounded).powi(2))
            .sum::<f64>()
            .sqrt()
            / gradients.iter().map(|exact| exact.powi(2)).sum::<f64>().sqrt();
        assert!(distance <= tolerance, "{name}: gradients differ by {distance:e}");
    }
}

fn learner(device: Device, precision: Precision) -> Learner {
    let albert = albert(1);
    let plans = plans(&albert, CAPACITY, PlanOptions { precision, recompute: Recompute::None });
    Learner::new(albert, device, precision, plans, 11).expect("memory")
}

/// Every run of lengths that came before is one call, and there are few different ones.
#[test]
fn packed_text_is_repeated_from_few_recordings() {
    let Some(gpu) = gpu() else { return };
    let mut learner = learner(gpu, Precision::Bf16);
    let (mut runs, mut lengths) = (0, std::collections::BTreeSet::new());
    for seed in 0..9 {
        let micro_batches = step(90, seed);
        assert_eq!(micro_batches.len(), 3);
        learner.gradient(&micro_batches, seed).expect("batches that fit");
        runs += micro_batches.len() as u64;
        lengths.extend(micro_batches.iter().map(|inputs| inputs.lengths.clone()));
    }
    let plan = learner.training_plan();
    let Runs { called, recorded, repeated, kept, bytes } = learner.runtime().runs(plan);
    assert!(lengths.len() as u64 > 2 * called, "{called} of {runs} called, of {} lengths", lengths.len());
    // A run is called where its lengths come for the first time, recorded when they come for the second.
    assert_eq!((called + repeated, kept as u64), (runs, recorded));
    assert!(recorded <= called, "{recorded} recordings");
    // Each is within what the plan counts for one of 16.
    let most = learner.runtime().plan(plan).work_space().recordings / 16;
    assert!(bytes > kept * most / 2 && bytes <= kept * most, "{bytes} bytes for {kept}, {most} for each");
}

/// Where there is room for few recordings, they make room for one another, and no result changes by it.
#[cfg(target_os = "linux")]
#[test]
fn recordings_without_room_replace_one_another() {
    const ROOM: &str = "EMULATED_GPU_GRAPHS";
    let test = "recordings_without_room_replace_one_another";
    emulated_gpu::process::same_under(test, &[&[], &[(ROOM, "2")]], || {
        let mut learner = learner(gpu().expect("a GPU"), Precision::Bf16);
        for step_seed in [0, 1, 2, 0, 1, 2, 0, 1, 2] {
            learner.gradient(&step(90, step_seed), step_seed).expect("batches that fit");
        }
        let plan = learner.training_plan();
        let Runs { recorded, kept, .. } = learner.runtime().runs(plan);
        match std::env::var_os(ROOM).is_some() && !emulated_gpu::setup::real() {
            true => assert!(kept == 2 && recorded > 2, "{kept} of {recorded} are kept"),
            false => assert!(kept as u64 == recorded && kept > 2, "{kept} of {recorded} are kept"),
        }
        format!("{:?}", learner.runtime().read::<f64>(State::Gradients))
    });
}

/// What a GPU is told to compute and what it computes for that.
#[test]
fn fill_is_of_what_is_computed() {
    let Some(gpu) = gpu() else { return };
    let mut learner = learner(gpu, Precision::Bf16);
    let micro_batches = step(90, 1);
    let (mut given, mut computed) = (Vec::new(), Vec::new());
    let mut tally = |inputs: &Inputs, outputs: Outputs<'_>, _: &mut Sums| {
        given.push(inputs.tokens());
        computed.push(outputs.computed_tokens().expect("lengths are rounded up"));
    };
    learner.gradient_unless(&|| false, &micro_batches, 0, &mut tally).expect("batches that fit");
    assert_eq!(given.iter().map(|tokens| tokens.next_multiple_of(8)).collect::<Vec<_>>(), computed);
    assert_ne!(given, computed, "micro-batches of other lengths show nothing");
}

/// The input of each micro-batch is written while earlier ones are computed, and what they computed is read at the end.
#[cfg(target_os = "linux")]
#[test]
fn nothing_waits_within_a_step() {
    const MICRO_BATCH: &str = "a micro-batch is asked for";
    const TALLY: &str = "a micro-batch is added up";
    let look = |text: &str| {
        let last = text.rsplit("a step begins").next().unwrap_or_default();
        let (asked, read) = last.split_once(TALLY).expect("a step");
        let within = asked.rsplit_once(MICRO_BATCH).expect("micro-batches").0.split_once(MICRO_BATCH);
        let within = within.expect("several micro-batches").1;
        let called = |text: &str, call: &str| text.matches(call).count();
        assert_eq!(called(within, MICRO_BATCH), 1, "{within}");
        assert_eq!(called(within, "cuGraphLaunch"), 2, "{within}");
        for call in [
            "cuStreamSynchronize",
            "cuEventSynchronize",
            "cuCtxSynchronize",
            "cuMemcpyDtoH_v2",
            "cuMemcpyHtoD_v2",
            "cuMemAlloc",
            "cuMemFree",
            "cuMemHostAlloc",
        ] {
            assert_eq!(called(within, call), 0, "{call} in {within}");
        }
        // One copy in and one out for each.
        assert_eq!(
            (called(within, "cuMemcpyHtoDAsync_v2"), called(within, "cuMemcpyDtoHAsync_v2")),
            (2, 2),
            "{within}"
        );
        assert!(called(asked, "cuStreamSynchronize") > 0 && called(read, "cuMemcpy") == 0, "{last}");
    };
    emulated_gpu::process::writes(
        "nothing_waits_within_a_step",
        &[(emulated_gpu::driver::TRACE, "1")],
        look,
        || {
            let mut learner = learner(gpu().expect("a GPU"), Precision::Bf16);
            for _ in 0..3 {
                eprintln!("a step begins");
                let stop = || {
                    eprintln!("{MICRO_BATCH}");
                    false
                };
                let mut tally = |_: &Inputs, _: Outputs<'_>, _: &mut Sums| eprintln!("{TALLY}");
                learner.gradient_unless(&stop, &step(90, 1), 0, &mut tally).expect("batches that fit");
            }
        },
    );
}
