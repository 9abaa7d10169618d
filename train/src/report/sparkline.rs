//! A curve in one line of text.

use super::record::Point;

/// Heights, from the lowest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The values as a line of at most `width` characters, each the mean of its part of the steps; empty of no finite values.
///
/// ```
/// use train::report::{Point, sparkline};
/// let points: Vec<Point> = (0..8).map(|step| Point { step, value: 7.0 - step as f64 }).collect();
/// assert_eq!(sparkline(&points, 20), "█▇▆▅▄▃▂▁");
/// assert_eq!(sparkline(&points, 4), "█▆▃▁");
/// ```
pub fn sparkline(points: &[Point], width: usize) -> String {
    let finite: Vec<f64> = points.iter().map(|point| point.value).filter(|value| value.is_finite()).collect();
    let parts = width.min(finite.len());
    let means: Vec<f64> = (0..parts)
        .map(|part| &finite[part * finite.len() / parts..(part + 1) * finite.len() / parts])
        .map(|part| part.iter().sum::<f64>() / part.len() as f64)
        .collect();
    let (low, high) =
        means.iter().fold((f64::MAX, f64::MIN), |(low, high), &mean| (low.min(mean), high.max(mean)));
    let bar = |mean: &f64| {
        let height = if high > low { (mean - low) / (high - low) } else { 0.0 };
        BARS[(height * (BARS.len() - 1) as f64).round() as usize]
    };
    means.iter().map(bar).collect()
}
