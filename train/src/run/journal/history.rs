//! A journal read back, event by event: that of a run of months takes no more memory than that of a short one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Take};
use std::path::Path;

use serde_json::Value;

use super::{RESUME, number};
use crate::files;

/// No line of ours comes near this many bytes; what a crash may leave, such as a file's end of zeros, does.
const LONGEST_LINE: u64 = 1 << 20;

/// An event read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The whole object.
    pub fields: serde_json::Map<String, Value>,
    /// Whether the run went back to an earlier step later on.
    pub superseded: bool,
}

impl Recorded {
    /// What happened.
    pub fn kind(&self) -> &str {
        self.fields.get("event").and_then(Value::as_str).unwrap_or_default()
    }

    /// After how many optimizer steps.
    pub fn step(&self) -> Option<u64> {
        self.fields.get("step")?.as_u64()
    }

    /// A field that is a number, finite or not.
    pub fn number(&self, name: &str) -> Option<f64> {
        number(self.fields.get(name)?)
    }

    /// The fields that are numbers, finite or not, but for those that every event has.
    pub fn numbers(&self) -> impl Iterator<Item = (&str, f64)> {
        let own = self.fields.iter().filter(|(name, _)| !matches!(name.as_str(), "schema" | "time" | "step"));
        own.filter_map(|(name, value)| Some((name.as_str(), number(value)?)))
    }
}

/// A journal as it was when it was opened: what is appended later is not read.
#[derive(Debug)]
pub struct History {
    file: File,
    length: u64,
    resumes: Vec<Resume>,
}

/// Where a run went on from an earlier step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Resume {
    /// The line that says so, counted from 1.
    line: u64,
    step: u64,
}

impl History {
    /// Opens a journal, and looks for where its run went back.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = files::open_plain(path)?;
        let length = file.metadata()?.len();
        let mut history = History { file, length, resumes: Vec::new() };
        history.resumes = history.lines()?.resumes()?;
        Ok(history)
    }

    /// All events, in the order in which they were recorded.
    ///
    /// # Errors
    /// If the file cannot be read from its beginning again.
    pub fn events(&mut self) -> io::Result<Events<'_>> {
        let resumes = self.resumes.clone().into_iter().peekable();
        Ok(Events { lines: self.lines()?, resumes })
    }

    fn lines(&mut self) -> io::Result<Lines<'_>> {
        self.file.rewind()?;
        let source = BufReader::new((&self.file).take(self.length));
        Ok(Lines { source, line: Vec::new(), number: 0 })
    }
}

/// The events of a journal; where it cannot be read on, an error.
#[derive(Debug)]
pub struct Events<'a> {
    lines: Lines<'a>,
    /// Those that are still to come: the first of them goes back furthest.
    resumes: std::iter::Peekable<std::vec::IntoIter<Resume>>,
}

impl Iterator for Events<'_> {
    type Item = io::Result<Recorded>;

    fn next(&mut self) -> Option<io::Result<Recorded>> {
        loop {
            match self.lines.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
            let here = self.lines.number;
            while self.resumes.next_if(|resume| resume.line <= here).is_some() {}
            if self.lines.line.is_empty() {
                continue;
            }
            // Cut off by a crash, or not ours.
            let Some(mut event) = self.lines.event() else { continue };
            let kept = self.resumes.peek().map(|resume| resume.step);
            event.superseded = event.step().zip(kept).is_some_and(|(step, kept)| step > kept);
            return Some(Ok(event));
        }
    }
}

/// The lines of a journal, one at a time.
#[derive(Debug)]
struct Lines<'a> {
    source: BufReader<Take<&'a File>>,
    /// The line, without its end; of one that is too long the beginning.
    line: Vec<u8>,
    /// Which one it is, counted from 1.
    number: u64,
}

impl Lines<'_> {
    /// Reads the next line; whether there is one.
    fn advance(&mut self) -> io::Result<bool> {
        self.line.clear();
        let read = self.source.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut self.line)?;
        if self.line.pop_if(|last| *last == b'\n').is_none() && read as u64 == LONGEST_LINE {
            self.source.skip_until(b'\n')?;
        }
        self.number += 1;
        Ok(read > 0)
    }

    /// Of all lines those that say that a run went back, but for those after which it went back further.
    fn resumes(mut self) -> io::Result<Vec<Resume>> {
        let mut resumes: Vec<Resume> = Vec::new();
        while self.advance()? {
            // Few lines have the word; the others need not be taken apart.
            let is_candidate = std::str::from_utf8(&self.line).is_ok_and(|line| line.contains(RESUME));
            let event = if is_candidate { self.event() } else { None };
            if let Some(step) = event.filter(|event| event.kind() == RESUME).and_then(|event| event.step()) {
                while resumes.pop_if(|earlier| earlier.step >= step).is_some() {}
                resumes.push(Resume { line: self.number, step });
            }
        }
        Ok(resumes)
    }

    /// The line as an event, if it is one.
    fn event(&self) -> Option<Recorded> {
        let fields = serde_json::from_slice(&self.line).ok()?;
        Some(Recorded { fields, superseded: false })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Event;
    use super::*;

    fn history(content: &[u8]) -> Vec<(String, Option<u64>, bool)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        std::fs::write(&path, content).unwrap();
        let mut history = History::open(&path).unwrap();
        // What a run appends meanwhile belongs to the next reading.
        std::fs::write(&path, [content, b"\n{\"event\":\"resume\",\"step\":0}\n"].concat()).unwrap();
        let seen = (history.events().unwrap().map(Result::unwrap))
            .map(|event| (event.kind().to_owned(), event.step(), event.superseded))
            .collect::<Vec<_>>();
        let again = history.events().unwrap().map(|event| event.unwrap().superseded);
        assert!(again.eq(seen.iter().map(|(.., superseded)| *superseded)), "it is read as often as is asked");
        seen
    }

    #[test]
    fn what_is_superseded_is_known_before_the_resume_is_read() {
        let journal: String = [
            ("train", 1),
            ("train", 5),
            ("train", 9),
            (RESUME, 8),
            ("train", 9),
            (RESUME, 4),
            ("train", 5),
            ("train", 7),
            (RESUME, 6),
            ("train", 7),
        ]
        .map(|(kind, step)| serde_json::to_string(&Event::new(kind).at(step)).unwrap() + "\n")
        .concat();
        let seen = history(journal.as_bytes());
        let superseded: Vec<bool> = seen.iter().map(|(.., superseded)| *superseded).collect();
        assert_eq!(superseded, [false, true, true, true, true, false, false, true, false, false]);
    }

    #[test]
    fn a_line_that_never_ends_is_passed_over_in_pieces() {
        let zeros = vec![0; 3 * LONGEST_LINE as usize + 5];
        let event: &[u8] = b"{\"event\":\"train\",\"step\":1}\n";
        let seen = history(&[event, &*zeros, b"\n\n", b"\xff\n", event].concat());
        assert_eq!(seen.iter().map(|(_, step, _)| *step).collect::<Vec<_>>(), [Some(1), Some(1)]);
        // As a crash leaves it, without a line end after it.
        assert_eq!(history(&[event, &*zeros].concat()).len(), 1);
    }
}
