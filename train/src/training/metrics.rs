//! What is measured: figures by name, and the sums that they are averages of.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::run::journal::{Event, Field};

/// Sums by name, added up over the micro-batches of a step or an evaluation, in the order in which they were first added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums(Vec<(&'static str, f64)>);

impl Sums {
    /// Adds `value` to the sum `name`.
    pub fn add(&mut self, name: &'static str, value: f64) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += value,
            None => self.0.push((name, value)),
        }
    }

    /// Adds other sums to these.
    pub fn merge(&mut self, other: &Sums) {
        other.0.iter().for_each(|&(name, value)| self.add(name, value));
    }

    /// The sum `name`; 0 where nothing was added.
    pub fn get(&self, name: &str) -> f64 {
        self.0.iter().find(|(known, _)| *known == name).map_or(0.0, |(_, sum)| *sum)
    }

    /// The quotient of two sums; NaN of nothing.
    pub fn mean(&self, name: &str, count: &str) -> f64 {
        self.get(name) / self.get(count)
    }
}

/// A figure or a count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// Of any value, not a number included.
    Real(f64),
    /// A number of things.
    Count(u64),
}

/// Figures by name, in order. What is not finite is written as text, never as `null`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(Vec<(String, Measure)>);

impl Metrics {
    /// Adds a figure.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: f64) -> Self {
        self.0.push((name.into(), Measure::Real(value)));
        self
    }

    /// Adds a count.
    #[must_use]
    pub fn with_count(mut self, name: impl Into<String>, value: u64) -> Self {
        self.0.push((name.into(), Measure::Count(value)));
        self
    }

    /// The figure or count `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, measure)| match *measure {
            Measure::Real(value) => value,
            Measure::Count(value) => value as f64,
        })
    }

    /// The figure `name`, or not a number where there is none.
    pub fn value(&self, name: &str) -> f64 {
        self.get(name).unwrap_or(f64::NAN)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Measure)> {
        self.0.iter().map(|(name, measure)| (name.as_str(), *measure))
    }

    /// Adds the figures, not the counts, to an event of the journal.
    pub(super) fn record(&self, event: Event) -> Event {
        self.iter().fold(event, |event, (name, measure)| match measure {
            Measure::Real(value) => event.with(name, value),
            Measure::Count(_) => event,
        })
    }
}

impl Serialize for Measure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Measure::Real(value) => Field::from(value).serialize(serializer),
            Measure::Count(value) => serializer.serialize_u64(value),
        }
    }
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, measure) in &self.0 {
            map.serialize_entry(name, measure)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_add_up() {
        let mut sums = Sums::default();
        for (loss, count) in [(4.0, 2.0), (2.0, 1.0)] {
            sums.add("loss", loss);
            sums.add("count", count);
        }
        assert_eq!((sums.get("loss"), sums.mean("loss", "count"), sums.get("other")), (6.0, 2.0, 0.0));
        assert!(sums.mean("loss", "other").is_infinite());
    }

    #[test]
    fn figures_are_written_in_order_and_never_null() {
        let metrics =
            Metrics::default().with("loss", 0.5).with("accuracy", f64::NAN).with_count("sequences", 8);
        let text = serde_json::to_string(&metrics).unwrap();
        assert_eq!(text, r#"{"loss":0.5,"accuracy":"NaN","sequences":8}"#);
        assert_eq!((metrics.get("sequences"), metrics.get("other")), (Some(8.0), None));
        let event = metrics.record(Event::new("evaluation"));
        let text = serde_json::to_string(&event).unwrap();
        assert!(text.ends_with(r#""event":"evaluation","loss":0.5,"accuracy":"NaN"}"#), "{text}");
    }
}
