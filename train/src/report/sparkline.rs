//! A curve in one line of text.

use super::curve::{Curve, Span};

/// Heights, from the lowest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A curve as a line of at most `width` characters, each the mean of its part of the steps; empty of no finite values.
///
/// ```
/// use train::report::{Curve, Point, sparkline};
/// let curve: Curve = (0..8).map(|step| Point { step, value: 7.0 - step as f64 }).collect();
/// assert_eq!(sparkline(&curve, 20), "█▇▆▅▄▃▂▁");
/// assert_eq!(sparkline(&curve, 4), "█▆▃▁");
/// ```
pub fn sparkline(curve: &Curve, width: usize) -> String {
    let means: Vec<f64> = curve.parts(width).iter().map(Span::mean).collect();
    let (low, high) =
        means.iter().fold((f64::MAX, f64::MIN), |(low, high), &mean| (low.min(mean), high.max(mean)));
    let bar = |mean: &f64| {
        let height = if high > low { (mean - low) / (high - low) } else { 0.0 };
        BARS[(height * (BARS.len() - 1) as f64).round() as usize]
    };
    means.iter().map(bar).collect()
}
