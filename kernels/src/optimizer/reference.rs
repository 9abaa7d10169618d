//! The mathematics of LAMB, AdamW and the gradient norm.

use super::{Norm, Operands, Rule, Update, Weights};
use crate::memory::Host;
use crate::precision::F64;

/// One update of every segment.
pub fn update(update: &Update, operands: Operands<'_, Host, F64>) {
    let Operands { segments, parameters, gradients, norm, loss, first_moments, second_moments } = operands;
    let Some(gradient_scale) = update.gradient_scale(norm[0], loss[0]) else { return };
    let &Update { beta1, beta2, epsilon, .. } = update;
    let correction = |beta: f64| update.bias_correction.map_or(1.0, |t| 1.0 - beta.powf(t as f64));
    for segment in segments {
        let elements = segment.offset..segment.offset + segment.length;
        let decay = if segment.decays { update.weight_decay } else { 0.0 };
        let mut step = Vec::with_capacity(segment.length);
        for i in elements.clone() {
            let g = gradient_scale * gradients[i];
            let m = &mut first_moments[i];
            let v = &mut second_moments[i];
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            let direction = (*m / correction(beta1)) / ((*v / correction(beta2)).sqrt() + epsilon);
            step.push(direction + decay * parameters[i]);
        }
        let ratio = match update.rule {
            Rule::Lamb if segment.adapts => trust_ratio(&parameters[elements.clone()], &step),
            Rule::Lamb | Rule::AdamW => 1.0,
        };
        for (parameter, u) in parameters[elements].iter_mut().zip(step) {
            *parameter -= update.lr * ratio * u;
        }
    }
}

/// `‖w‖ / ‖u‖`, 1 if either norm is 0.
fn trust_ratio(parameters: &[f64], step: &[f64]) -> f64 {
    let (w, u) = (euclidean_norm(parameters), euclidean_norm(step));
    if w > 0.0 && u > 0.0 { w / u } else { 1.0 }
}

/// `√(Σ g²)`
pub fn norm(_: &(), operands: Norm<'_, Host, F64>) {
    operands.norm[0] = euclidean_norm(operands.gradients);
}

/// A copy: nothing is rounded here.
pub fn prepare(_: &(), operands: Weights<'_, Host, F64>) {
    operands.weights.copy_from_slice(operands.masters);
}

fn euclidean_norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).fold(0.0_f64, |sum, square| sum + square).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer::Segment;

    const LAMB: Update = Update {
        rule: Rule::Lamb,
        lr: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-6,
        weight_decay: 0.01,
        clip_norm: 0.0,
        bias_correction: None,
    };

    /// What the first update adds to `parameters`.
    fn first_change(
        update: &Update,
        parameters: &[f64],
        gradients: &[f64],
        decays: bool,
        adapts: bool,
    ) -> Vec<f64> {
        let mut after = parameters.to_vec();
        let mut moments = [vec![0.0; after.len()], vec![0.0; after.len()]];
        let [first_moments, second_moments] = &mut moments;
        let segments = &[Segment { offset: 0, length: after.len(), decays, adapts }];
        let (norm, loss) = (&[euclidean_norm(gradients)], &[1.0]);
        let parameters_after = &mut after[..];
        super::update(
            update,
            Operands {
                segments,
                parameters: parameters_after,
                gradients,
                norm,
                loss,
                first_moments,
                second_moments,
            },
        );
        after.iter().zip(parameters).map(|(after, before)| after - before).collect()
    }

    /// Without bias correction |u| = 0.1 / √0.001 ≈ 3.16 in the first update, whatever the gradient's size.
    #[test]
    fn first_update_without_bias_correction() {
        for rule in [Rule::AdamW, Rule::Lamb] {
            let change = first_change(&Update { rule, ..LAMB }, &[3.0, 4.0], &[20.0, -5.0], false, false);
            for (change, sign) in change.iter().zip([-1.0, 1.0]) {
                approx::assert_relative_eq!(
                    *change,
                    sign * 0.01 * 0.1 / 0.001f64.sqrt(),
                    max_relative = 1e-5
                );
            }
        }
    }

    #[test]
    fn first_update_with_bias_correction_is_the_sign() {
        let update = Update { rule: Rule::AdamW, bias_correction: Some(1), ..LAMB };
        let change = first_change(&update, &[3.0, 4.0], &[20.0, -5.0], true, false);
        // u = sign + 0.01 w
        approx::assert_relative_eq!(change[0], -0.01 * (1.0 + 0.03), max_relative = 1e-6);
        approx::assert_relative_eq!(change[1], -0.01 * (-1.0 + 0.04), max_relative = 1e-6);
    }

    /// LAMB's step is as long as the learning rate times the parameters, and as long as u where either norm is 0.
    #[test]
    fn the_trust_ratio_sets_the_length() {
        let change = first_change(&LAMB, &[3.0, 4.0], &[20.0, -5.0], true, true);
        approx::assert_relative_eq!(euclidean_norm(&change), 0.01 * 5.0, max_relative = 1e-12);
        let change = first_change(&LAMB, &[0.0, 0.0], &[20.0, -5.0], true, true);
        approx::assert_relative_eq!(change[0], -0.01 * 0.1 / 0.001f64.sqrt(), max_relative = 1e-5);
        assert_eq!(first_change(&LAMB, &[3.0, 4.0], &[0.0, 0.0], false, true), [0.0, 0.0]);
    }

    #[test]
    fn gradients_are_clipped_first() {
        let halved =
            first_change(&Update { epsilon: 1.0, clip_norm: 2.0, ..LAMB }, &[1.0], &[4.0], true, true);
        let half = first_change(&Update { epsilon: 1.0, ..LAMB }, &[1.0], &[2.0], true, true);
        assert_eq!(halved, half);
        assert_eq!(LAMB.gradient_scale(f64::INFINITY, 1.0), None);
        assert_eq!(LAMB.gradient_scale(1.0, f64::NAN), None);
    }
}
