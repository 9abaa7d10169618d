//! A figure over the steps of a run, in memory that does not grow with the run.

/// Spans that a curve has at most: several for each point that a chart is drawn with.
const MOST_SPANS: usize = 1024;

/// A value at a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Steps done.
    pub step: u64,
    /// The value, finite or not.
    pub value: f64,
}

/// The values of a figure, in order: each one as long as there are few, then the mean, lowest and highest of spans of
/// neighbours, twice as many in each whenever there are too many spans.
///
/// ```
/// use train::report::{Curve, Point};
/// let curve: Curve = (0..1_000_000).map(|step| Point { step, value: step as f64 }).collect();
/// let halves: Vec<_> = curve.parts(2).iter().map(|part| (part.low, part.high, part.mean())).collect();
/// assert_eq!(halves[1].1, 999_999.0);
/// assert!((halves[0].2 - 250_000.0).abs() < 1000.0);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Of the finite values.
    spans: Vec<Span>,
    /// How often two spans became one: each has 2 to the power of this many points, the last one as many or fewer.
    doublings: u32,
    /// How many points were added, finite or not.
    points: u64,
    /// The first and the last of them.
    ends: Option<(Point, Point)>,
}

/// Neighbouring points taken together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// How many they are.
    pub points: u64,
    /// The lowest value.
    pub low: f64,
    /// The highest value.
    pub high: f64,
    /// The last step.
    pub until: u64,
    /// Sums.
    steps: f64,
    values: f64,
}

impl Span {
    /// Of one point.
    pub fn of(Point { step, value }: Point) -> Self {
        Self { points: 1, low: value, high: value, until: step, steps: step as f64, values: value }
    }

    /// The mean of the steps.
    pub fn step(&self) -> f64 {
        self.steps / self.points as f64
    }

    /// The mean of the values.
    pub fn mean(&self) -> f64 {
        self.values / self.points as f64
    }

    /// Together with the points that follow.
    fn and(self, next: Self) -> Self {
        Self {
            points: self.points + next.points,
            low: self.low.min(next.low),
            high: self.high.max(next.high),
            until: next.until,
            steps: self.steps + next.steps,
            values: self.values + next.values,
        }
    }

    /// Of all that follow one another; `None` of none.
    fn of_all(spans: &[Self]) -> Option<Self> {
        spans.iter().copied().reduce(Self::and)
    }
}

impl Curve {
    /// Without a point.
    pub const EMPTY: &Self = &Self { spans: Vec::new(), doublings: 0, points: 0, ends: None };

    /// Adds the next point.
    pub fn add(&mut self, point: Point) {
        self.points += 1;
        self.ends = Some((self.ends.map_or(point, |(first, _)| first), point));
        if !point.value.is_finite() {
            return;
        }
        let span = Span::of(point);
        match self.spans.last_mut() {
            Some(last) if last.points < 1 << self.doublings => *last = last.and(span),
            _ => {
                if self.spans.len() == MOST_SPANS {
                    self.spans = self.spans.chunks(2).filter_map(Span::of_all).collect();
                    self.doublings += 1;
                }
                self.spans.push(span);
            }
        }
    }

    /// The first and the last point, of at least two.
    pub fn ends(&self) -> Option<(Point, Point)> {
        self.ends.filter(|_| self.points > 1)
    }

    /// The last point.
    pub fn last(&self) -> Option<Point> {
        self.ends.map(|(_, last)| last)
    }

    /// The finite values in at most `most` parts, each of about as many; every one by itself where they are few.
    pub fn parts(&self, most: usize) -> Vec<Span> {
        let (spans, count) = (&self.spans, self.spans.len().min(most));
        let part = |part: usize| &spans[part * spans.len() / count..(part + 1) * spans.len() / count];
        (0..count).filter_map(|number| Span::of_all(part(number))).collect()
    }
}

impl FromIterator<Point> for Curve {
    fn from_iter<I: IntoIterator<Item = Point>>(points: I) -> Self {
        points.into_iter().fold(Self::default(), |mut curve, point| {
            curve.add(point);
            curve
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_points_are_what_they_were() {
        let points = [(1, 8.0), (10, f64::NAN), (20, 0.4)].map(|(step, value)| Point { step, value });
        let curve = Curve::from_iter(points);
        let parts: Vec<_> = curve.parts(9).iter().map(|part| (part.step(), part.mean())).collect();
        assert_eq!(parts, [(1.0, 8.0), (20.0, 0.4)]);
        assert_eq!(curve.ends(), Some((points[0], points[2])));
        let one = Curve::from_iter([points[1]]);
        assert!(one.ends().is_none() && one.last().is_some_and(|last| last.step == 10));
        assert!(one.parts(9).is_empty() && Curve::EMPTY.last().is_none());
    }

    #[test]
    fn many_points_take_no_more_memory_and_none_is_lost() {
        let count = 100 * MOST_SPANS as u64 + 37;
        let value = |step: u64| match step {
            777 => -5.0,
            _ if step == count - 1 => 9.0,
            _ => (step % 3) as f64,
        };
        let curve: Curve = (0..count).map(|step| Point { step, value: value(step) }).collect();
        assert!((MOST_SPANS / 2..=MOST_SPANS).contains(&curve.spans.len()), "{}", curve.spans.len());
        assert!(curve.spans.capacity() <= 2 * MOST_SPANS);
        let sum: f64 = (0..count).map(value).sum();
        for most in [1, 7, 230, usize::MAX] {
            let parts = curve.parts(most);
            assert!(parts.len() <= most);
            // Whole numbers are summed up exactly, in whatever order.
            assert_eq!(parts.iter().map(|part| part.points).sum::<u64>(), count);
            assert_eq!(parts.iter().map(|part| part.mean() * part.points as f64).sum::<f64>().round(), sum);
            assert_eq!(parts.iter().map(|part| part.low).fold(f64::MAX, f64::min), -5.0);
            assert_eq!(parts.last().map(|part| (part.high, part.until)), Some((9.0, count - 1)));
            assert!(parts.is_sorted_by(|a, b| a.until < b.until && a.step() < b.step()));
        }
    }
}
