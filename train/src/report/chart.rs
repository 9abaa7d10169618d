//! Curves as inline SVG. Colours and text sizes are the page's, by classes.

use std::fmt::Write;

use super::curve::Span;

/// Size of a chart in its own units; the page scales it to the width it has. So narrow that its letters can be read on a phone.
const SIZE: (f64, f64) = (460.0, 250.0);
/// Room beside the curves: left, right, top, bottom.
const MARGINS: (f64, f64, f64, f64) = (54.0, 12.0, 10.0, 26.0);
/// Points that a curve is drawn with. Of more, each is the mean of its neighbours, within their lowest and highest.
pub(super) const MOST_POINTS: usize = 230;
/// About so many lines of the grid each way.
const TICKS: f64 = 7.0;
/// Room above and below the curves at least, as a part of the highest value: the labels of values that hardly differ would not
/// fit into the left margin with less.
const LEAST_ROOM: f64 = 1e-3;
/// Values from the one to the other are written without an exponent.
const PLAIN: std::ops::Range<f64> = 1e-3..1e6;
/// Colours that the page has.
pub(super) const COLOURS: usize = 8;

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Many values, thin.
    Training,
    /// Few values, each a dot that says what it is.
    HeldOut,
    /// A level across the whole chart, dashed.
    Baseline,
}

/// A line of a chart.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// What the legend calls it.
    pub label: String,
    /// Its colour, by number.
    pub colour: usize,
    /// How it is drawn.
    pub kind: Kind,
    /// What is drawn as a point, in order; of a baseline the last value counts.
    pub points: Vec<Span>,
}

/// Lines over the steps of a run.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// What it shows.
    pub title: String,
    /// Its lines; later ones lie on top.
    pub lines: Vec<Line>,
    /// Whether its values are written as counts: 10.5k.
    pub is_count: bool,
}

/// Where values lie on a chart.
struct Scale {
    /// Lowest, highest.
    x: (f64, f64),
    y: (f64, f64),
}

impl Scale {
    /// Around all finite values of `lines`; `None` where there are none.
    fn of(lines: &[Line]) -> Option<Self> {
        let points = || lines.iter().flat_map(|line| &line.points).filter(|point| point.mean().is_finite());
        let last = points().map(|point| point.until as f64).fold(1.0, f64::max);
        let (low, high) = points()
            .fold((f64::MAX, f64::MIN), |(low, high), point| (low.min(point.low), high.max(point.high)));
        let room = match high {
            high if high > low => ((high - low) * 0.05).max(high.abs() * LEAST_ROOM),
            0.0 => 1.0,
            high => high.abs() * 0.1,
        };
        // What is never negative has no room below zero.
        let bottom = if low >= 0.0 { (low - room).max(0.0) } else { low - room };
        (low <= high).then_some(Scale { x: (0.0, last), y: (bottom, high + room) })
    }

    fn x(&self, step: f64) -> f64 {
        let (left, right, ..) = MARGINS;
        left + (step - self.x.0) / (self.x.1 - self.x.0) * (SIZE.0 - left - right)
    }

    fn y(&self, value: f64) -> f64 {
        let (.., top, bottom) = MARGINS;
        SIZE.1 - bottom - (value - self.y.0) / (self.y.1 - self.y.0) * (SIZE.1 - top - bottom)
    }
}

impl Chart {
    /// The chart as an `svg` element; `None` of no finite value.
    pub fn svg(&self) -> Option<String> {
        let scale = Scale::of(&self.lines)?;
        let (width, height) = SIZE;
        let mut svg = format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">",
            super::page::escape(&self.title)
        );
        self.grid(&scale, &mut svg);
        for line in &self.lines {
            line.draw(&scale, &mut svg);
        }
        svg += "</svg>";
        Some(svg)
    }

    fn grid(&self, scale: &Scale, svg: &mut String) {
        let (left, right, top, bottom) = MARGINS;
        let (width, height) = SIZE;
        let largest = scale.y.0.abs().max(scale.y.1.abs());
        let between = tick_step(scale.y.0, scale.y.1);
        for value in ticks(scale.y.0, scale.y.1) {
            let y = scale.y(value);
            let text =
                if self.is_count { count_label(value, between) } else { label(value, between, largest) };
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{left} {y:.1}H{}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                width - right,
                left - 6.0,
                y + 4.0,
            );
        }
        let between = tick_step(scale.x.0, scale.x.1);
        for step in ticks(scale.x.0, scale.x.1).into_iter().filter(|step| step.fract() == 0.0) {
            let x = scale.x(step);
            let text = count_label(step, between);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{x:.1} {top}V{}\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
                height - bottom,
                height - 8.0,
            );
        }
    }
}

impl Line {
    fn draw(&self, scale: &Scale, svg: &mut String) {
        let colour = self.colour % COLOURS;
        match self.kind {
            Kind::Baseline => {
                let Some(value) = self.points.last().map(Span::mean).filter(|value| value.is_finite()) else {
                    return;
                };
                let (from, to, y) = (scale.x(scale.x.0), scale.x(scale.x.1), scale.y(value));
                let _ = write!(svg, "<path class=\"base c{colour}\" d=\"M{from:.1} {y:.1}H{to:.1}\"/>");
            }
            Kind::Training => {
                let parts = &self.points;
                if parts.iter().any(|part| part.high > part.low) {
                    let edge =
                        |part: &Span, value| format!("{:.1} {:.1}", scale.x(part.step()), scale.y(value));
                    let above = parts.iter().map(|part| edge(part, part.high));
                    let below = parts.iter().rev().map(|part| edge(part, part.low));
                    let edges: Vec<String> = above.chain(below).collect();
                    let _ = write!(svg, "<path class=\"band c{colour}\" d=\"M{}Z\"/>", edges.join("L"));
                }
                if let [only] = parts.as_slice() {
                    let (x, y) = (scale.x(only.step()), scale.y(only.mean()));
                    let _ =
                        write!(svg, "<circle class=\"c{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>");
                }
                let _ = write!(svg, "<path class=\"train c{colour}\" d=\"{}\"/>", path(parts, scale));
            }
            Kind::HeldOut => {
                let _ = write!(svg, "<path class=\"held c{colour}\" d=\"{}\"/>", path(&self.points, scale));
                let values = self.points.iter().map(|point| (point.step(), point.mean()));
                for (step, value) in values.filter(|(_, value)| value.is_finite()) {
                    let (x, y) = (scale.x(step), scale.y(value));
                    let label = super::page::escape(&self.label);
                    let _ = write!(
                        svg,
                        "<circle class=\"c{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"><title>{label}, step {step}: {value}</title></circle>"
                    );
                }
            }
        }
    }
}

/// The way along points; where one is not finite the line is broken.
fn path(points: &[Span], scale: &Scale) -> String {
    let (mut path, mut is_broken) = (String::new(), true);
    for (step, value) in points.iter().map(|point| (point.step(), point.mean())) {
        if value.is_finite() {
            let (command, x, y) = (if is_broken { 'M' } else { 'L' }, scale.x(step), scale.y(value));
            let _ = write!(path, "{command}{x:.1} {y:.1}");
        }
        is_broken = !value.is_finite();
    }
    path
}

/// Round numbers from `low` to `high`: multiples of 1, 2 or 5 of a power of ten.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let Some(step) = tick_step(low, high) else { return Vec::new() };
    let first = (low / step).ceil();
    (0..=2 * TICKS as usize).map(|n| (first + n as f64) * step).take_while(|tick| *tick <= high).collect()
}

/// From one of them to the next.
fn tick_step(low: f64, high: f64) -> Option<f64> {
    let rough = (high - low) / TICKS;
    if !(rough.is_finite() && rough > 0.0) {
        return None;
    }
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= rough);
    Some(step.unwrap_or(10.0 * power))
}

/// The power of ten of a number's first digit, in spite of rounding errors.
fn power_of_ten(number: f64) -> i32 {
    (number.abs().log10() + 1e-9).floor() as i32
}

/// A value of an axis, with as many digits as tell it from the next one; `largest` is the largest one of the axis.
fn label(value: f64, between: Option<f64>, largest: f64) -> String {
    let last_digit = power_of_ten(between.unwrap_or(largest));
    let digits = |from: i32| usize::try_from(from - last_digit).unwrap_or(0);
    // The tick at zero may be as far from it as a sum is rounded.
    if between.is_some_and(|between| value.abs() < between / 2.0) {
        "0".into()
    } else if PLAIN.contains(&largest) {
        format!("{value:.*}", digits(0))
    } else {
        format!("{value:.*e}", digits(power_of_ten(value)))
    }
}

/// A count of an axis: `0`, `500`, `10.5k`, `2M`.
fn count_label(value: f64, between: Option<f64>) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (unit, suffix) = units.into_iter().find(|(unit, _)| value.abs() >= *unit).unwrap_or((1.0, ""));
    let text = label(value / unit, between.map(|between| between / unit), 1.0);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::super::curve::{Curve, Point};
    use super::*;

    fn chart(kind: Kind, points: &[(u64, f64)]) -> Chart {
        let points = points.iter().map(|&(step, value)| Point { step, value });
        let points = match kind {
            Kind::Training => Curve::from_iter(points).parts(MOST_POINTS),
            _ => points.map(Span::of).collect(),
        };
        let line = Line { label: "<b>".into(), colour: 9, kind, points };
        Chart { title: "\"loss\" <script>".into(), lines: vec![line], is_count: false }
    }

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks(0.0, 4000.0), [0.0, 1000.0, 2000.0, 3000.0, 4000.0]);
        assert_eq!(ticks(2.3, 9.1), [3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        assert_eq!(ticks(0.9, 1.0).len(), 6);
        assert!(ticks(1.0, 1.0).is_empty() && ticks(0.0, f64::NAN).is_empty());
    }

    #[test]
    fn labels_tell_neighbours_apart() {
        let axis = |low: f64, high: f64| {
            let (between, largest) = (tick_step(low, high), low.abs().max(high.abs()));
            ticks(low, high).into_iter().map(|value| label(value, between, largest)).collect::<Vec<_>>()
        };
        assert_eq!(axis(0.0, 2e-4), ["0", "5e-5", "1.0e-4", "1.5e-4", "2.0e-4"]);
        assert_eq!(axis(0.7931, 0.7932)[..2], ["0.79310", "0.79312"]);
        assert_eq!(axis(2.0, 9.0)[0], "2");
        assert_eq!(axis(0.0, 6e12)[1], "1e12");
        let counts = |low: f64, high: f64| {
            let between = tick_step(low, high);
            ticks(low, high).into_iter().map(|value| count_label(value, between)).collect::<Vec<_>>()
        };
        assert_eq!(counts(10e3, 12e3), ["10k", "10.5k", "11k", "11.5k", "12k"]);
        assert_eq!(counts(0.0, 2000.0), ["0", "500", "1k", "1.5k", "2k"]);
        assert_eq!(counts(0.0, 100.0)[1], "20");
    }

    #[test]
    fn values_that_hardly_differ_have_short_labels() {
        let points = [(1, 221.76e6), (2, 221.8e6)];
        let (low, high) = Scale::of(&chart(Kind::Training, &points).lines).unwrap().y;
        let between = tick_step(low, high);
        let labels: Vec<_> = ticks(low, high).into_iter().map(|value| count_label(value, between)).collect();
        assert!(labels.len() > 2 && labels.iter().all(|label| label.len() <= 6), "{labels:?}");
    }

    #[test]
    fn small_values_fill_the_chart() {
        let flat = Scale::of(&chart(Kind::Training, &[(1, 1e-5), (2, 1e-5)]).lines).unwrap();
        assert!(flat.y.0 > 0.8e-5 && flat.y.1 < 1.2e-5, "{:?}", flat.y);
        let one = chart(Kind::Training, &[(1, 1e-5)]).svg().unwrap();
        assert_eq!(one.matches("<circle").count(), 1, "a path of one point is not seen: {one}");
    }

    #[test]
    fn a_line_is_broken_where_a_value_is_not_finite() {
        let svg = chart(Kind::HeldOut, &[(0, 1.0), (1, 2.0), (2, f64::NAN), (3, 1.5)]).svg().unwrap();
        let path =
            svg.split("class=\"held c1\" d=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 1), "{path}");
        assert!(svg.contains("step 1: 2</title>") && svg.contains("&lt;b&gt;"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("<script"), "{svg}");
        assert_eq!(chart(Kind::HeldOut, &[(0, f64::NAN)]).svg(), None);
    }

    #[test]
    fn many_points_are_drawn_by_their_means() {
        let points: Vec<(u64, f64)> = (0..1000).map(|n| (n, (n % 2) as f64)).collect();
        let drawn = chart(Kind::Training, &points);
        let parts = &drawn.lines[0].points;
        assert_eq!(parts.len(), MOST_POINTS);
        assert!(
            parts.iter().all(|part| (part.low, part.high) == (0.0, 1.0) && (part.mean() - 0.5).abs() < 0.2)
        );
        assert_eq!(Scale::of(&drawn.lines).unwrap().x, (0.0, 999.0), "the last step is the last");
        let svg = drawn.svg().unwrap();
        assert!(svg.contains("class=\"band c1\""), "{svg}");
        let few = chart(Kind::Training, &points[..50]).svg().unwrap();
        assert!(!few.contains("band"), "each point is itself: {few}");
    }
}
