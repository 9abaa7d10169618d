//! `metrics.jsonl`: everything that happened in a run, one JSON object per line, only ever appended to.
//!
//! Every object has `schema`, `time` (seconds since 1970), `event`, and `step` where there is one; the rest depends on
//! the event. Numbers that are not finite are the strings `"NaN"`, `"inf"` and `"-inf"`: JSON has no such numbers, and
//! leaving them out would hide a divergence. An event `resume` with step *k* supersedes all earlier events of steps after *k*.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::clock;
use crate::files;

mod history;

pub use history::{Events, History, Recorded};

/// Version of the events' form.
const SCHEMA: u32 = 1;

/// The event that supersedes those of later steps.
pub const RESUME: &str = "resume";

/// Something that happened.
///
/// ```
/// use train::run::journal::Event;
/// let event = Event::new("train").at(120).with("loss", 2.413f32).with("gradient_norm", f32::NAN);
/// assert!(serde_json::to_string(&event)?.ends_with(r#""event":"train","step":120,"loss":2.413,"gradient_norm":"NaN"}"#));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Event {
    time: f64,
    kind: String,
    step: Option<u64>,
    fields: Vec<(String, Value)>,
}

impl Event {
    /// An event that happens now.
    pub fn new(kind: &str) -> Self {
        Event { time: clock::unix_seconds(), kind: kind.into(), step: None, fields: Vec::new() }
    }

    /// Sets how many optimizer steps were done when it happened.
    pub fn at(mut self, step: u64) -> Self {
        self.step = Some(step);
        self
    }

    /// What happened.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// After how many optimizer steps.
    pub fn step(&self) -> Option<u64> {
        self.step
    }

    /// When it happened, in seconds since 1970.
    pub fn time(&self) -> f64 {
        self.time
    }

    /// The fields that are numbers, finite or not.
    pub fn numbers(&self) -> impl Iterator<Item = (&str, f64)> {
        self.fields.iter().filter_map(|(name, value)| Some((name.as_str(), number(value)?)))
    }

    /// Adds a field.
    pub fn with(mut self, name: &str, value: impl Into<Field>) -> Self {
        self.fields.push((name.into(), value.into().0));
        self
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema", &SCHEMA)?;
        map.serialize_entry("time", &((self.time * 1e3).round() / 1e3))?;
        map.serialize_entry("event", &self.kind)?;
        if let Some(step) = self.step {
            map.serialize_entry("step", &step)?;
        }
        for (name, value) in &self.fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The value of a field, never silently `null`.
#[derive(Clone, Debug)]
pub struct Field(Value);

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl From<f64> for Field {
    fn from(value: f64) -> Self {
        Field(if value.is_finite() { value.into() } else { value.to_string().into() })
    }
}

impl From<f32> for Field {
    fn from(value: f32) -> Self {
        // Through the shortest decimal form: 2.413 and not 2.4130001068115234.
        value.to_string().parse::<f64>().unwrap_or(f64::from(value)).into()
    }
}

macro_rules! plain_field {
    ($($type:ty),*) => {$(
        impl From<$type> for Field {
            fn from(value: $type) -> Self {
                Field(value.into())
            }
        }
    )*};
}
plain_field!(u64, usize, u32, i64, bool, &str, String);

/// The journal of a run, open for appending.
///
/// Lines that cannot be written now (a full disk) wait in memory and follow with the next that can; the trainer may
/// warn about the error and go on.
#[derive(Debug)]
pub struct Journal<W = File> {
    sink: W,
    pending: Vec<u8>,
}

impl Journal {
    /// Opens the journal, creating it if needed. A last line that a crash cut off is closed, so that it stays alone.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut sink = files::open_own(File::options().read(true).append(true).create(true), path)?;
        let mut journal = Journal { pending: Vec::new(), sink: sink.try_clone()? };
        if sink.seek(SeekFrom::End(0))? > 0 {
            sink.seek(SeekFrom::End(-1))?;
            let mut last = [0];
            sink.read_exact(&mut last)?;
            if last != *b"\n" {
                journal.pending.push(b'\n');
            }
        }
        Ok(journal)
    }

    /// Makes the events so far durable; worth it at each checkpoint.
    pub fn sync(&self) -> io::Result<()> {
        self.sink.sync_data()
    }
}

impl<W: Write> Journal<W> {
    /// Appends an event as one line.
    pub fn record(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.pending, event)?;
        self.pending.push(b'\n');
        while !self.pending.is_empty() {
            match self.sink.write(&self.pending) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                // Only what is left over is kept, so a line that was written in part goes on where it stopped.
                Ok(written) => drop(self.pending.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A value that is a number, finite or not.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) if matches!(text.as_str(), "NaN" | "inf" | "-inf") => text.parse().ok(),
        value => value.as_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Vec<Recorded> {
        History::open(path).unwrap().events().unwrap().collect::<io::Result<_>>().unwrap()
    }

    #[test]
    fn a_resume_supersedes_later_steps_and_deletes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        for step in 1..=4 {
            journal.record(&Event::new("train").at(step).with("loss", 0.1f32 * step as f32)).unwrap();
        }
        drop(journal);
        let mut journal = Journal::open(&path).unwrap();
        journal.record(&Event::new(RESUME).at(2)).unwrap();
        journal.record(&Event::new("train").at(3).with("loss", f64::INFINITY)).unwrap();
        journal.sync().unwrap();

        let events = read(&path);
        let seen: Vec<_> = events.iter().map(|e| (e.kind(), e.step().unwrap(), e.superseded)).collect();
        assert_eq!(
            seen,
            [
                ("train", 1, false),
                ("train", 2, false),
                ("train", 3, true),
                ("train", 4, true),
                ("resume", 2, false),
                ("train", 3, false)
            ]
        );
        assert_eq!(events[0].number("loss"), Some(0.1));
        assert_eq!(events[5].number("loss"), Some(f64::INFINITY));
    }

    #[test]
    fn a_line_that_was_cut_off_stays_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        std::fs::write(&path, "{\"event\":\"train\",\"step\":1}\n{\"event\":\"tra").unwrap();
        Journal::open(&path).unwrap().record(&Event::new("train").at(2)).unwrap();
        assert_eq!(read(&path).iter().map(|event| event.step().unwrap()).collect::<Vec<_>>(), [1, 2]);
    }

    /// Takes a few bytes at a time, and none while it is full.
    struct SmallDisk {
        content: Vec<u8>,
        room: usize,
    }

    impl Write for SmallDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let written = bytes.len().min(self.room).min(5);
            if written == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= written;
            self.content.extend(&bytes[..written]);
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_refused_follows_later() {
        let mut journal = Journal { sink: SmallDisk { content: Vec::new(), room: 33 }, pending: Vec::new() };
        let events: Vec<_> = (0..3).map(|step| Event::new("train").at(step)).collect();
        assert!(journal.record(&events[0]).is_err());
        assert!(journal.record(&events[1]).is_err());
        journal.sink.room = 1000;
        journal.record(&events[2]).unwrap();
        let expected: String =
            events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect();
        assert_eq!(String::from_utf8(journal.sink.content).unwrap(), expected);
    }

    #[test]
    fn no_number_becomes_null() {
        let event = Event::new("x")
            .with("a", f64::NAN)
            .with("b", f32::NEG_INFINITY)
            .with("c", f32::INFINITY)
            .with("d", 1.5f32)
            .with("e", f32::MAX)
            .with("f", u64::MAX);
        let text = serde_json::to_string(&event).unwrap();
        let fields = text.split_once("\"x\",").unwrap().1;
        assert_eq!(
            fields,
            r#""a":"NaN","b":"-inf","c":"inf","d":1.5,"e":3.4028235e+38,"f":18446744073709551615}"#
        );
    }
}
