//! The mathematics of LAMB, AdamW and the gradient norm.

use super::{Norm, Operands, Rule, Update};

/// One update of every segment.
pub fn update(update: &Update, operands: Operands<'_, f64>) {
    let Operands { segments, parameters, gradients, first_moments, second_moments } = operands;
    let &Update { beta1, beta2, epsilon, .. } = update;
    let correction = |beta: f64| update.bias_correction.map_or(1.0, |t| 1.0 - beta.powf(t as f64));
    for segment in segments {
        let elements = segment.offset..segment.offset + segment.length;
        let decay = if segment.decays { update.weight_decay } else { 0.0 };
        let mut step = Vec::with_capacity(segment.length);
        for i in elements.clone() {
            let g = update.gradient_scale * gradients[i];
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
pub fn norm(_: &(), operands: Norm<'_, f64>) {
    operands.norm[0] = euclidean_norm(operands.gradients);
}

fn euclidean_norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}
