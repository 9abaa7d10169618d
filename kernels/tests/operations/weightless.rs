//! Rows of weight 0 fill up a batch: whatever they hold, losses and gradients do not see it.

use kernels::precision::{F32, F64};
use kernels::{Precision, Real, Reference, cross_entropy, sequence_cross_entropy, squared_error};

use crate::case::Device;
use crate::devices;

fn numbers<R: Real>(values: &[f64]) -> Vec<R> {
    values.iter().map(|&value| R::from_f64(value)).collect()
}

fn cross_entropy_of<B: Device<P>, P: Precision<Activation = R, Master = R>, R: Real>(
    host: &B,
    logits: &[f64],
    weights: &[f64],
) -> (f64, Vec<f64>) {
    let constants = cross_entropy::CrossEntropy { classes: 3 };
    let mut prediction = vec![-1; weights.len()];
    let (logits, weights): (Vec<R>, Vec<R>) = (numbers(logits), numbers(weights));
    let nothing = || numbers(&vec![f64::NAN; weights.len()]);
    let (mut loss, mut row_loss, mut log_sum_exp) = (numbers(&[f64::NAN]), nothing(), nothing());
    let labels = [2, 0];
    host.cross_entropy_forward(
        &constants,
        cross_entropy::Forward {
            logits: &logits,
            labels: &labels[..weights.len()],
            weights: &weights,
            loss: &mut loss,
            row_loss: &mut row_loss,
            log_sum_exp: &mut log_sum_exp,
            prediction: &mut prediction,
        },
    );
    let mut d_logits = numbers(&vec![f64::NAN; logits.len()]);
    host.cross_entropy_backward(
        &constants,
        cross_entropy::Backward {
            logits: Some(&logits),
            labels: &labels[..weights.len()],
            weights: &weights,
            log_sum_exp: &log_sum_exp,
            d_loss: &numbers::<R>(&[1.0]),
            d_logits: &mut d_logits,
        },
    );
    (loss[0].to_f64(), d_logits.iter().map(|value| value.to_f64()).collect())
}

/// Over sequences of two rows, of which the first or the second is meant, in turn.
fn sequence_cross_entropy_of<B: Device<P>, P: Precision<Activation = R, Master = R>, R: Real>(
    host: &B,
    logits: &[f64],
    weights: &[f64],
) -> (f64, Vec<f64>) {
    let constants = sequence_cross_entropy::SequenceCrossEntropy;
    let (logits, weights): (Vec<R>, Vec<R>) = (numbers(logits), numbers(weights));
    let offsets: Vec<i32> = (0..=weights.len() as i32).map(|s| 2 * s).collect();
    let labels: Vec<i32> = (0..weights.len() as i32).map(|s| 2 * s + s % 2).collect();
    let nothing = || numbers(&vec![f64::NAN; weights.len()]);
    let (mut loss, mut sequence_loss, mut log_sum_exp) = (numbers(&[f64::NAN]), nothing(), nothing());
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
            prediction: &mut vec![-1; weights.len()],
        },
    );
    let mut d_logits = numbers(&vec![f64::NAN; logits.len()]);
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
    (loss[0].to_f64(), d_logits.iter().map(|value| value.to_f64()).collect())
}

fn squared_error_of<B: Device<P>, P: Precision<Activation = R, Master = R>, R: Real>(
    host: &B,
    x: &[f64],
    weights: &[f64],
) -> (f64, Vec<f64>) {
    let constants = squared_error::SquaredError;
    let (x, weights): (Vec<R>, Vec<R>) = (numbers(x), numbers(weights));
    let targets = vec![R::from_f64(0.5); x.len()];
    let (mut loss, mut dx) = (numbers(&[f64::NAN]), numbers(&vec![f64::NAN; x.len()]));
    let (x, targets, weights) = (&x[..], &targets[..], &weights[..]);
    host.squared_error_forward(&constants, squared_error::Forward { x, targets, weights, loss: &mut loss });
    host.squared_error_backward(
        &constants,
        squared_error::Backward {
            x,
            targets,
            weights,
            d_loss: &numbers::<R>(&[1.0]),
            dx: &mut dx,
            store: kernels::Store::Assign,
        },
    );
    (loss[0].to_f64(), dx.iter().map(|value| value.to_f64()).collect())
}

fn check<B: Device<P>, P: Precision<Activation = R, Master = R>, R: Real>(host: &B) {
    for nonsense in [f64::NAN, f64::INFINITY, 7.0] {
        let (loss, gradient) = cross_entropy_of(host, &[1.0, -2.0, 0.5], &[0.25]);
        let (filled_loss, filled_gradient) =
            cross_entropy_of(host, &[1.0, -2.0, 0.5, nonsense, nonsense, 1.0], &[0.25, 0.0]);
        assert_eq!(loss, filled_loss);
        assert_eq!([&gradient[..], &[0.0; 3]].concat(), filled_gradient);

        let (loss, gradient) = sequence_cross_entropy_of(host, &[1.0, -2.0], &[0.25]);
        let (filled_loss, filled_gradient) =
            sequence_cross_entropy_of(host, &[1.0, -2.0, nonsense, nonsense], &[0.25, 0.0]);
        assert_eq!(loss, filled_loss);
        assert_eq!([&gradient[..], &[0.0; 2]].concat(), filled_gradient);

        let (loss, gradient) = squared_error_of(host, &[2.0], &[0.25]);
        assert_eq!((loss, gradient), (0.25 * 1.5 * 1.5, vec![0.25 * 3.0]));
        assert_eq!(squared_error_of(host, &[2.0, nonsense], &[0.25, 0.0]), (0.5625, vec![0.75, 0.0]));
    }
}

/// An empty sum of floating-point numbers is −0, which no reader of a journal wants to see.
#[test]
fn a_batch_of_nothing_loses_nothing() {
    fn check<B: Device<P>, P: Precision<Activation = R, Master = R>, R: Real>(host: &B) {
        let nothing: [&[f64]; 2] = [&[], &[]];
        let losses = [cross_entropy_of, sequence_cross_entropy_of, squared_error_of];
        for (loss, _) in losses.map(|loss| loss(host, nothing[0], nothing[1])) {
            assert_eq!(loss.to_bits(), 0.0_f64.to_bits(), "{loss}");
        }
        let mut norm = [f64::NAN];
        host.gradient_norm(&(), kernels::optimizer::Norm { gradients: &[], norm: &mut norm });
        assert_eq!(norm[0].to_bits(), 0.0_f64.to_bits());
    }
    check::<_, F64, _>(&Reference);
    devices::cpus(1).for_each(|cpu| check::<_, F32, _>(&cpu));
}

#[test]
fn rows_without_weight_are_not_seen() {
    check::<_, F64, _>(&Reference);
    devices::cpus(1).for_each(|cpu| check::<_, F32, _>(&cpu));
}
