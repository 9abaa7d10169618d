//! Event files that TensorBoard reads: the journal's numbers once more, in TensorFlow's form.
//!
//! A file is a sequence of [records](model::wire::tfrecord), each a protocol buffer `Event { wall_time = 1, step = 2,
//! file_version = 3, summary = 5 { value = 1 { tag = 1, simple_value = 2 } }, session_log = 7 { status = 1 } }`. A session
//! writes a file of its own. What an earlier one wrote of steps that are done again is passed over by TensorBoard because of
//! the session log, which says from which step on a run was started.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use model::wire::protobuf::{MessageWriter, Value};
use model::wire::tfrecord;

use super::journal::{Event, RESUME};
use super::lock::host_name;
use crate::files;

/// What a file begins with, so that it is known as one.
const VERSION: &[u8] = b"brain.Event:2";
/// What the names of such files begin with.
const PREFIX: &str = "events.out.tfevents.";
/// `SessionLog.START`
const START: u64 = 1;

/// The events whose numbers are shown, by the names under which TensorBoard groups them.
pub const SHOWN: [&str; 2] = ["train", "evaluation"];

/// An event file, open for appending.
#[derive(Debug)]
pub struct EventFile<W = File> {
    sink: W,
}

impl EventFile {
    /// Creates the file of this session in the folder of a run.
    ///
    /// # Errors
    /// If the system refuses it.
    pub fn create(folder: &Path, now: f64) -> io::Result<Self> {
        let number = number(folder, now as u64)?;
        let name = format!("{PREFIX}{number:010}.{}.{}", host_name(), std::process::id());
        // A name with a slash in it would lie elsewhere.
        let path = folder.join(name.replace('/', "-"));
        Self::begin(files::open_own(File::options().create_new(true).append(true), &path)?, now)
    }
}

/// What the name of a session's file begins with: the time, but a later one than those of all files that are there, whatever the
/// clock says. Readers go from file to file in the order of their names, and never back.
fn number(folder: &Path, now: u64) -> io::Result<u64> {
    let names = files::names(folder)?;
    let number = |name: &str| name.strip_prefix(PREFIX)?.split('.').next()?.parse::<u64>().ok();
    let last = names.iter().filter_map(|name| number(name.to_str()?)).max();
    Ok(last.map_or(now, |last| now.max(last.saturating_add(1))))
}

impl<W: Write> EventFile<W> {
    fn begin(sink: W, now: f64) -> io::Result<Self> {
        let mut file = EventFile { sink };
        file.append(message(now, 0).with(3, Value::Bytes(VERSION)))?;
        Ok(file)
    }

    /// Appends what TensorBoard shows of an event of the journal, if it does.
    ///
    /// # Errors
    /// If it cannot be written. The file then ends within a record, which readers take for its end: nothing must follow.
    pub fn record(&mut self, event: &Event) -> io::Result<()> {
        let Some(step) = event.step() else { return Ok(()) };
        if event.kind() == RESUME {
            // Everything from the next step on is done again.
            let log = MessageWriter::default().with(1, Value::Varint(START)).finish();
            return self.append(message(event.time(), step + 1).with(7, Value::Bytes(&log)));
        }
        if !SHOWN.contains(&event.kind()) {
            return Ok(());
        }
        let summary = event.numbers().fold(MessageWriter::default(), |summary, (name, value)| {
            let tag = format!("{}/{name}", event.kind());
            let scalar = MessageWriter::default()
                .with(1, Value::Bytes(tag.as_bytes()))
                .with(2, Value::Fixed32((value as f32).to_bits()));
            summary.with(1, Value::Bytes(&scalar.finish()))
        });
        self.append(message(event.time(), step).with(5, Value::Bytes(&summary.finish())))
    }

    /// A record is one write: what a crash cuts off is the last one alone.
    fn append(&mut self, message: MessageWriter) -> io::Result<()> {
        let mut record = Vec::new();
        tfrecord::append(&mut record, &message.finish());
        self.sink.write_all(&record)
    }
}

/// The beginning of an event.
fn message(time: f64, step: u64) -> MessageWriter {
    MessageWriter::default().with(1, Value::Fixed64(time.to_bits())).with(2, Value::Varint(step))
}

#[cfg(test)]
mod tests {
    use model::wire::protobuf::Message;
    use model::wire::tfrecord::{RecordError, Records};

    use super::*;

    #[test]
    fn an_event_is_a_record_of_scalars() {
        let mut file = EventFile::begin(Vec::new(), 1.5).unwrap();
        file.record(&Event::new("train").at(3).with("loss", 2.5).with("words", "none").with("x", f64::NAN))
            .unwrap();
        file.record(&Event::new("save").at(3).with("seconds", 2.5)).unwrap();
        file.record(&Event::new(RESUME).at(3)).unwrap();
        let records: Vec<_> = Records::new(&*file.sink).collect::<Result<_, _>>().unwrap();
        let fields = |bytes| Message::new(bytes).collect::<Result<Vec<_>, _>>().unwrap();
        let [version, train, resume] = records.as_slice() else { panic!("{}", records.len()) };
        assert_eq!(fields(version)[2], (3, Value::Bytes(VERSION)));
        let [_, step, (5, Value::Bytes(summary))] = fields(train)[..] else { panic!("a summary") };
        assert_eq!(step, (2, Value::Varint(3)));
        let values: Vec<_> = fields(summary)
            .into_iter()
            .map(|(number, value)| match (number, value) {
                (1, Value::Bytes(value)) => fields(value),
                _ => panic!("a value"),
            })
            .collect();
        let expected = |tag: &'static [u8], value: f32| {
            vec![(1, Value::Bytes(tag)), (2, Value::Fixed32(value.to_bits()))]
        };
        assert_eq!(values, [expected(b"train/loss", 2.5), expected(b"train/x", f32::NAN)]);
        assert_eq!(fields(resume)[1..], [(2, Value::Varint(4)), (7, Value::Bytes(&[8, 1]))]);

        // Cut off anywhere, what was written whole before is there.
        let cut: Vec<_> = Records::new(&file.sink[..file.sink.len() - 3]).collect();
        assert!(matches!(cut[..], [Ok(_), Ok(_), Err(RecordError::Truncated { record: 3 })]));
    }

    /// Whatever the clock does: two sessions in a second, and one after it went back.
    #[test]
    fn files_are_read_in_the_order_of_the_sessions() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("events.out.tfevents.v2"), "of another program").unwrap();
        let mut before = files::names(folder.path()).unwrap();
        let mut order = Vec::new();
        for now in [5000.5, 5000.9, 100.0, 7000.0] {
            EventFile::create(folder.path(), now).unwrap();
            let mut names = files::names(folder.path()).unwrap();
            names.retain(|name| !before.contains(name));
            order.extend(names.iter().cloned());
            before.extend(names);
        }
        assert!(order.len() == 4 && order.is_sorted(), "{order:?}");
        assert!(order[3].to_string_lossy().starts_with("events.out.tfevents.0000007000."), "{order:?}");
    }
}
