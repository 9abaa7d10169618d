//! Values that people write as text: durations, intervals, devices.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::run::clock::parse_duration;

/// A duration written as `7h50m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_duration(text).map(Span)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut seconds = self.0.as_secs();
        for (unit, letter) in [(86400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')] {
            if seconds >= unit {
                write!(f, "{}{letter}", seconds / unit)?;
                seconds %= unit;
            }
        }
        Ok(())
    }
}

/// How often something is done: `1000` or `1000steps`, or by the clock, `30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// Every so many steps.
    Steps(u64),
    /// After so much time.
    Time(Duration),
}

impl Interval {
    /// Whether it is time again after `step` steps, `elapsed` after the last time.
    pub fn is_due(self, step: u64, elapsed: Duration) -> bool {
        match self {
            Interval::Steps(every) => step.is_multiple_of(every),
            Interval::Time(every) => elapsed >= every,
        }
    }
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let steps = text.strip_suffix("steps").unwrap_or(text).trim_end();
        if let Ok(steps) = steps.parse() {
            return if steps > 0 {
                Ok(Interval::Steps(steps))
            } else {
                Err("it must be at least 1 step".into())
            };
        }
        parse_duration(text)
            .map(Interval::Time)
            .map_err(|_| format!("`{text}` is neither a number of steps (1000) nor a time (30m)"))
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Interval::Steps(steps) => write!(f, "{steps}steps"),
            Interval::Time(time) => write!(f, "{}", Span(*time)),
        }
    }
}

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The best there is; the run says which and why.
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA GPU by its number; it is an error if it is not there.
    Cuda(usize),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Device::Cuda)
                .ok_or_else(|| format!("`{text}` is not a device: expected auto, cpu, cuda or cuda:1")),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// Text or a number in a file, whichever the user wrote.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected text")]
enum Written {
    Number(u64),
    Text(String),
}

macro_rules! written_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = match Written::deserialize(deserializer)? {
                    Written::Number(number) => number.to_string(),
                    Written::Text(text) => text,
                };
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
written_as_text!(Span, Interval, Device);

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: FromStr<Err = String> + fmt::Display>(text: &str) -> Result<String, String> {
        text.parse::<T>().map(|value| value.to_string())
    }

    #[test]
    fn what_is_written_reads_back() {
        for text in ["90s", "7h50m", "1d1s"] {
            let written = round_trip::<Span>(text).unwrap();
            assert_eq!(written.parse::<Span>(), text.parse::<Span>());
        }
        assert_eq!(round_trip::<Span>("90s").unwrap(), "1m30s");
        for (text, written) in [("1000", "1000steps"), ("20 steps", "20steps"), ("30m", "30m")] {
            assert_eq!(round_trip::<Interval>(text).unwrap(), written);
            assert_eq!(round_trip::<Interval>(written).unwrap(), written);
        }
        for (text, written) in [("auto", "auto"), ("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:3", "cuda:3")] {
            assert_eq!(round_trip::<Device>(text).unwrap(), written);
        }
        assert!(round_trip::<Device>("gpu").is_err() && round_trip::<Device>("cuda:x").is_err());
        assert!(round_trip::<Interval>("0").is_err() && round_trip::<Interval>("often").is_err());
    }

    #[test]
    fn intervals_come_due() {
        assert!(Interval::Steps(10).is_due(20, Duration::ZERO));
        assert!(!Interval::Steps(10).is_due(25, Duration::MAX));
        let minute = Interval::Time(Duration::from_secs(60));
        assert!(minute.is_due(1, Duration::from_secs(60)) && !minute.is_due(60, Duration::from_secs(59)));
    }
}
