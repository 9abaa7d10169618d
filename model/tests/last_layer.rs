//! A last layer that is computed for the rows alone that the heads read: the same losses and gradients, dropout included.

use engine::{Bindings, Device, PlanOptions, Precision, Recompute, Runtime, State};
use kernels::Cpu;
use kernels::cpu::Isa;
use model::{Albert, AlbertConfig, Capacity, Head, LOSSES, Mode};

fn albert(change: impl FnOnce(&mut AlbertConfig)) -> Albert {
    let mut config = AlbertConfig {
        vocab_size: 11,
        embedding_size: 4,
        hidden_size: 6,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 8,
        max_position_embeddings: 6,
        initializer_range: 0.4,
        layer_norm_eps: 1e-3,
        hidden_dropout_prob: 0.2,
        attention_probs_dropout_prob: 0.2,
        ..AlbertConfig::default()
    };
    change(&mut config);
    Albert::new(config, &[Head::Pretraining]).expect("valid")
}

/// Losses, then gradients, of the second micro-batch of a step, and what the plan costs.
fn step(
    albert: &Albert,
    device: Device,
    precision: Precision,
    recompute: Recompute,
) -> ([f64; 3], Vec<f64>, u64) {
    let mut runtime = Runtime::in_precision(device, precision, albert.parameters().clone()).expect("memory");
    let options = PlanOptions { precision: runtime.precision(), recompute };
    let capacity = Capacity { tokens: 16, sequences: 4, masked: 8 };
    let plan = albert.plan(&Head::Pretraining, capacity, Mode::Training, options).expect("all are trained");
    let flops = plan.cost().executed_flops;
    let plan = runtime.load(plan).expect("memory");
    runtime.poison(f64::NAN);
    let mut values = albert.parameters().initial_values(6).expect("memory");
    values.iter_mut().enumerate().for_each(|(index, value)| *value += 0.1 * (index as f32).sin());
    runtime.write(State::Values, &values);
    runtime.zero_gradients();
    let bindings = Bindings {
        lengths: &[10, 2, 4],
        starts: &[12, 2, 3],
        // A row is predicted twice, and another is the first of its sequence.
        integers: &[
            ("token_ids", &[2, 5, 4, 3, 7, 3, 2, 9, 3, 4]),
            ("position_ids", &[0, 1, 2, 3, 4, 5, 0, 1, 2, 3]),
            ("segment_ids", &[0, 0, 0, 0, 1, 1, 0, 0, 1, 1]),
            ("token_order", &[0, 6, 3, 5, 8, 2, 9, 1, 4, 7]),
            ("offsets", &[0, 6, 10]),
            ("first_rows", &[0, 6]),
            ("masked_rows", &[2, 9, 2, 6]),
            ("masked_labels", &[8, 10, 0, 4]),
            ("sentence_order_labels", &[1, 0]),
        ],
        reals: &[("masked_weights", &[0.3, 0.25, 0.25, 0.2]), ("sentence_order_weights", &[0.5, 0.5])],
        seed: 1,
        step: 2,
    };
    runtime.run(plan, &bindings).expect("a batch that fits");
    let losses = LOSSES.map(|name| runtime.output(plan, name)[0]);
    (losses, runtime.read(State::Gradients), flops)
}

fn distance(found: &[f64], expected: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(expected).map(|(found, expected)| found - expected))
        / norm(&mut expected.iter().copied())
}

#[test]
fn rows_that_no_head_reads_change_neither_losses_nor_gradients() {
    let alberts = [
        albert(|_| {}),
        albert(|config| config.inner_group_num = 2),
        albert(|config| (config.num_hidden_layers, config.hidden_act) = (1, "tanh".into())),
        albert(|config| (config.hidden_dropout_prob, config.attention_probs_dropout_prob) = (0.0, 0.0)),
    ];
    for (index, read) in alberts.into_iter().enumerate() {
        let whole = read.clone().with_whole_last_layer();
        for recompute in [Recompute::None, Recompute::Gelu, Recompute::Layer] {
            let reference = |albert| step(albert, Device::Reference, Precision::F64, recompute);
            let (expected, found) = (reference(&whole), reference(&read));
            assert!(found.2 < expected.2, "{index}: {} operations, of {}", found.2, expected.2);
            assert!(distance(&found.0, &expected.0) <= 1e-12, "{index}, {recompute:?}: losses");
            assert!(distance(&found.1, &expected.1) <= 1e-10, "{index}, {recompute:?}: gradients");
            for isa in Isa::available() {
                // Sums of the same terms without those that are 0, in f32: a unit or two apart; in bf16 a sum so moved may
                // be rounded to the next number.
                for (precision, tolerance) in [(Precision::F32, 1e-6), (Precision::Bf16, 1.0 / 256.0)] {
                    let cpu = |albert| {
                        let cpu = Device::Cpu(Cpu::new(Some(2), Some(isa)).expect("available"));
                        step(albert, cpu, precision, recompute)
                    };
                    let (whole, read) = (cpu(&whole), cpu(&read));
                    let context = format!("{index}, {recompute:?}, {isa}, {precision}");
                    assert_eq!(read.0, whole.0, "{context}: forward, each row is the same sums");
                    assert!(distance(&read.1, &whole.1) <= tolerance, "{context}: gradients");
                }
            }
        }
    }
}
