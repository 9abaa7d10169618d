//! Scores of predicted values.

/// Pearson's correlation; NaN where either list is constant or has fewer than two values.
///
/// # Panics
/// If the two lists have different lengths.
pub fn pearson(labels: &[f64], predictions: &[f64]) -> f64 {
    assert_eq!(labels.len(), predictions.len(), "every example has one label and one prediction");
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (label_mean, prediction_mean) = (mean(labels), mean(predictions));
    let (mut covariance, mut label_square, mut prediction_square) = (0.0, 0.0, 0.0);
    for (label, prediction) in labels.iter().zip(predictions) {
        let (x, y) = (label - label_mean, prediction - prediction_mean);
        covariance += x * y;
        label_square += x * x;
        prediction_square += y * y;
    }
    covariance / (label_square.sqrt() * prediction_square.sqrt())
}

/// Spearman's correlation: Pearson's of the ranks, where equal values share the mean of their ranks.
///
/// # Panics
/// If the two lists have different lengths.
pub fn spearman(labels: &[f64], predictions: &[f64]) -> f64 {
    pearson(&ranks(labels), &ranks(predictions))
}

/// The rank of each value, counted from 1.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        for &index in equal {
            ranks[index] = before as f64 + (equal.len() + 1) as f64 / 2.0;
        }
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_a_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, -0.0, 0.0]), [4.5, 3.0, 4.5, 1.5, 1.5]);
    }

    #[test]
    fn a_line_and_a_curve() {
        let (x, y) = ([1.0, 2.0, 3.0, 4.0], [1.0, 8.0, 27.0, 64.0]);
        assert!((pearson(&x, &[5.0, 3.0, 1.0, -1.0]) + 1.0).abs() < 1e-15);
        assert!((spearman(&x, &y) - 1.0).abs() < 1e-15);
        assert!(pearson(&x, &y) < 0.96);
    }

    #[test]
    fn constants_have_no_correlation() {
        assert!(pearson(&[1.0, 2.0], &[3.0, 3.0]).is_nan());
        assert!(spearman(&[], &[]).is_nan());
    }
}
