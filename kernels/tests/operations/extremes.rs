//! Numbers at the edge of what training meets: the reference says what is right, and no device makes NaN of it.

use kernels::optimizer::{self, Rule, Segment, Update};
use kernels::precision::{F32, F64};
use kernels::{
    Activation, Cpu, Precision, Real, Reference, activation, cross_entropy, dropout, layer_norm,
    sequence_cross_entropy, sequence_softmax,
};

use crate::case::Device;
use crate::devices;
use crate::pool::randomness;
use crate::tolerance::{assert_close, bound};

fn numbers<R: Real>(values: &[f64]) -> Vec<R> {
    values.iter().map(|&value| R::from_f64(value)).collect()
}

fn exactly<R: Real>(values: &[R]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

/// Writes what the reference and every CPU make of one computation, written once for any device.
macro_rules! everywhere {
    (|$host:ident| $body:expr) => {{
        fn run<B: Device<P>, P: Precision<Activation = R, Master = R>, R: Real>($host: &B) -> Vec<f64> {
            $body
        }
        let cpus: Vec<(Cpu, Vec<f64>)> = devices::cpus(2)
            .map(|cpu| {
                let result = run::<_, F32, _>(&cpu);
                (cpu, result)
            })
            .collect();
        (run::<_, F64, _>(&Reference), cpus)
    }};
}

#[test]
fn logits_of_any_size_have_a_loss() {
    const CLASSES: usize = 37;
    let (expected, cpus) = everywhere!(|host| {
        // A sure guess, a hopeless one, all alike, and classes that are ruled out.
        let mut logits = vec![0.0; 5 * CLASSES];
        (logits[3], logits[CLASSES + 4]) = (1e4, 1e4);
        logits[2 * CLASSES..3 * CLASSES].fill(-1e30);
        logits[3 * CLASSES..4 * CLASSES].fill(f64::NEG_INFINITY);
        (logits[3 * CLASSES + 5], logits[3 * CLASSES + 6]) = (2.0, 1.0);
        logits[4 * CLASSES + 36] = 80.0;
        let (logits, weights) = (numbers::<R>(&logits), numbers::<R>(&[0.25; 5]));
        let [mut loss, mut row_loss, mut log_sum_exp] =
            [1, 5, 5].map(|length| numbers::<R>(&vec![f64::NAN; length]));
        let mut prediction = [-1; 5];
        let (constants, labels) = (cross_entropy::CrossEntropy { classes: CLASSES }, [3, 3, 3, 5, 0]);
        host.cross_entropy_forward(
            &constants,
            cross_entropy::Forward {
                logits: &logits,
                labels: &labels,
                weights: &weights,
                loss: &mut loss,
                row_loss: &mut row_loss,
                log_sum_exp: &mut log_sum_exp,
                prediction: &mut prediction,
            },
        );
        let mut d_logits = numbers::<R>(&[f64::NAN; 5 * CLASSES]);
        host.cross_entropy_backward(
            &constants,
            cross_entropy::Backward {
                logits: Some(&logits),
                labels: &labels,
                weights: &weights,
                log_sum_exp: &log_sum_exp,
                d_loss: &numbers::<R>(&[1.0]),
                d_logits: &mut d_logits,
            },
        );
        let prediction = prediction.map(f64::from).to_vec();
        [exactly(&loss), exactly(&row_loss), prediction, exactly(&d_logits[3 * CLASSES..])].concat()
    });
    assert_eq!(expected[6..11], [3.0, 4.0, 0.0, 5.0, 36.0]);
    assert_eq!(expected[1..4], [0.0, 1e4, (CLASSES as f64).ln()]);
    for (cpu, found) in cpus {
        for part in (0..11).map(|i| i..i + 1).chain(std::iter::once(11..expected.len())) {
            let what = format!("cross entropy on {}, {part:?}", cpu.isa());
            assert_close(&what, &expected[part.clone()], &found[part], bound(CLASSES, false));
        }
    }
}

/// Tokens that are ruled out have −1e30 added, and an empty sequence has nothing to be wrong about.
#[test]
fn sequences_of_any_logits_have_a_loss() {
    let (expected, cpus) = everywhere!(|host| {
        // A sure guess, a hopeless one, all ruled out, nothing, one that is not ruled out.
        let logits = [1e4, 0.0, 1e4, 0.0, -1e30, -1e30, -1e30, -1e30, 3.0];
        let (offsets, labels) = ([0, 2, 4, 7, 7, 9], [0, 3, 5, 7, 8]);
        let (logits, weights) = (numbers::<R>(&logits), numbers::<R>(&[0.25; 5]));
        let [mut loss, mut sequence_loss, mut log_sum_exp] =
            [1, 5, 5].map(|length| numbers::<R>(&vec![f64::NAN; length]));
        let mut prediction = [-1; 5];
        let constants = sequence_cross_entropy::SequenceCrossEntropy;
        host.sequence_cross_entropy_forward(
            &constants,
            sequence_cross_entropy::Forward {
                logits: &logits,
                offsets: &offsets,
                labels: &labels,
                weights: &weights,
                loss: &mut loss,
                sequence_loss: &mut sequence_loss,
                log_sum_exp: &mut log_sum_exp,
                prediction: &mut prediction,
            },
        );
        let mut d_logits = numbers::<R>(&[f64::NAN; 9]);
        host.sequence_cross_entropy_backward(
            &constants,
            sequence_cross_entropy::Backward {
                logits: &logits,
                offsets: &offsets,
                labels: &labels,
                weights: &weights,
                log_sum_exp: &log_sum_exp,
                d_loss: &numbers::<R>(&[1.0]),
                d_logits: &mut d_logits,
            },
        );
        let prediction = prediction.map(f64::from).to_vec();
        [exactly(&loss), exactly(&sequence_loss), prediction, exactly(&log_sum_exp[3..]), exactly(&d_logits)]
            .concat()
    });
    assert_eq!(expected[1..6], [0.0, 1e4, 3.0_f64.ln(), 0.0, 0.0]);
    assert_eq!(expected[6..13], [0.0, 2.0, 4.0, 7.0, 8.0, 0.0, 3.0]);
    for (cpu, found) in cpus {
        for (index, (expected, found)) in expected.iter().zip(&found).enumerate() {
            let what = format!("sequence cross entropy on {}, {index}", cpu.isa());
            assert_close(&what, &[*expected], &[*found], bound(9, false));
        }
    }
}

#[test]
fn activations_far_from_zero_are_linear() {
    let (expected, cpus) = everywhere!(|host| {
        let x =
            numbers::<R>(&[-1e30, -1e6, -200.0, -20.0, -9.0, -0.0, 0.0, 1e-30, 9.0, 20.0, 200.0, 1e6, 1e30]);
        let mut all = Vec::new();
        for function in [Activation::Gelu, Activation::GeluNew, Activation::Relu, Activation::Tanh] {
            let mut y = numbers::<R>(&vec![f64::NAN; x.len()]);
            host.activation_forward(&function, activation::Forward { x: &x, y: &mut y });
            let (saved, ones) = (if function.keeps_preactivation() { &x } else { &y }, vec![1.0; x.len()]);
            let mut du = numbers::<R>(&vec![f64::NAN; x.len()]);
            let dy = &numbers::<R>(&ones);
            host.activation_backward(&function, activation::Backward { saved, dy: Some(dy), du: &mut du });
            all.extend(exactly(&y).into_iter().chain(exactly(&du)));
        }
        all
    });
    for (cpu, found) in cpus {
        let what = format!("activations on {}", cpu.isa());
        for (part, (expected, found)) in expected.chunks(13).zip(found.chunks(13)).enumerate() {
            assert_close(&format!("{what}, part {part}"), expected, found, bound(1, false));
        }
    }
}

#[test]
fn rows_that_do_not_vary_become_the_offset() {
    let (expected, cpus) = everywhere!(|host| {
        let width = 48;
        let x: Vec<f64> = [0.0, 1.0, -3.0].iter().flat_map(|&value| vec![value; width]).collect();
        let [gamma, beta] = [2.0, 0.5].map(|value| numbers::<R>(&vec![value; width]));
        let [mut mean, mut rstd] = [(); 2].map(|()| numbers::<R>(&[f64::NAN; 3]));
        let mut y = numbers::<R>(&vec![f64::NAN; x.len()]);
        host.layer_norm_forward(
            &layer_norm::LayerNorm { width, epsilon: 1e-12, dropout: None },
            layer_norm::Forward {
                x: &numbers::<R>(&x),
                residual: None,
                gamma: &gamma,
                beta: &beta,
                randomness: randomness(),
                logical_rows: None,
                sum: None,
                mean: &mut mean,
                rstd: &mut rstd,
                y: &mut y,
            },
        );
        exactly(&y)
    });
    assert_eq!(expected, [0.5; 3 * 48]);
    cpus.iter().for_each(|(cpu, found)| assert_eq!(*found, expected, "{}", cpu.isa()));
}

#[test]
fn what_is_ruled_out_has_no_probability() {
    let (expected, cpus) = everywhere!(|host| {
        let x = numbers::<R>(&[f64::NEG_INFINITY, 1e4, 1e4, -1e30]);
        let mut y = numbers::<R>(&[f64::NAN; 4]);
        let softmax = sequence_softmax::SequenceSoftmax { width: 1 };
        host.sequence_softmax_forward(
            &softmax,
            sequence_softmax::Forward { x: &x, offsets: &[0, 4], y: &mut y },
        );
        exactly(&y)
    });
    assert_eq!(expected, [0.0, 0.5, 0.5, 0.0]);
    cpus.iter().for_each(|(cpu, found)| assert_eq!(*found, expected, "{}", cpu.isa()));
}

#[test]
fn few_or_all_elements_are_dropped() {
    let (expected, cpus) = everywhere!(|host| {
        let x = numbers::<R>(&[1.0; 4096]);
        let dropped = [f32::MIN_POSITIVE, 1.0_f32.next_down()].map(|probability| {
            let mut y = numbers::<R>(&[f64::NAN; 4096]);
            host.dropout_forward(
                &dropout::Dropout { probability, stream: 3 },
                dropout::Forward {
                    width: 64,
                    randomness: randomness(),
                    logical_rows: None,
                    x: &x,
                    y: &mut y,
                },
            );
            exactly(&y)
        });
        dropped.concat()
    });
    assert_eq!(expected, [[1.0; 4096], [0.0; 4096]].concat());
    cpus.iter().for_each(|(cpu, found)| assert_eq!(*found, expected, "{}", cpu.isa()));
}

/// The trust ratio is 1 where weights or updates vanish; norms of a million numbers lose no digits; a number that is none
/// is seen.
#[test]
fn segments_that_vanish_keep_the_learning_rate() {
    let (expected, cpus) = everywhere!(|host| {
        let segment = |offset, length| Segment { offset, length, decays: false, adapts: true };
        let mut parameters = numbers::<R>(&[0.0, 0.0, 3.0, 4.0]);
        let gradients = numbers::<R>(&[20.0, -5.0, 0.0, 0.0]);
        let [mut first_moments, mut second_moments] = [(); 2].map(|()| numbers::<R>(&[0.0; 4]));
        host.optimizer_update(
            &Update {
                rule: Rule::Lamb,
                lr: 0.01,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-6,
                weight_decay: 0.01,
                clip_norm: 0.0,
                bias_correction: None,
            },
            optimizer::Operands {
                segments: &[segment(0, 2), segment(2, 2)],
                parameters: &mut parameters,
                gradients: &gradients,
                norm: &[20.6],
                loss: &numbers::<R>(&[1.0]),
                first_moments: &mut first_moments,
                second_moments: &mut second_moments,
            },
        );
        let norm = |gradients: &[f64]| {
            let mut norm = [f64::NAN];
            let gradients = numbers::<R>(gradients);
            host.gradient_norm(&(), optimizer::Norm { gradients: &gradients, norm: &mut norm });
            norm[0]
        };
        assert_eq!(norm(&[]), 0.0);
        assert!(norm(&[1.0, f64::NAN, 1.0]).is_nan());
        assert_eq!(norm(&[1.0, f64::NEG_INFINITY]), f64::INFINITY);
        let mut result = exactly(&parameters);
        result.push(norm(&vec![f64::from(0.1_f32); 1 << 20]) / 1024.0);
        result
    });
    assert_eq!(expected[2..4], [3.0, 4.0]);
    assert!((expected[4] / f64::from(0.1_f32) - 1.0).abs() < 1e-9);
    for (cpu, found) in cpus {
        assert_close(&format!("LAMB on {}", cpu.isa()), &expected[..2], &found[..2], bound(1, false));
        assert_eq!(found[2..4], expected[2..4]);
        assert!((found[4] / expected[4] - 1.0).abs() < 1e-9, "{}", found[4]);
    }
}
