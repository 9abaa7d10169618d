//! Sentences and lines of text files, for code that wants no documents.

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;

use super::documents::{Event, Oddities};
use super::format::{Format, Reading};
use super::parts::Parts;
use super::source::{files_of, look_at};
use crate::data::error::DataError;
use crate::threads::ThreadsError;

/// Gives all sentences of `sources`, file after file, to `work`; they are read on a thread of their own.
///
/// # Errors
/// If a file cannot be read, none holds anything, or the system gives no thread; what `work` made of the text before it is dropped.
pub fn with_sentences<T>(
    sources: &[PathBuf],
    reading: impl Into<Reading>,
    work: impl FnOnce(&mut dyn Iterator<Item = String>) -> T,
) -> Result<T, DataError> {
    let reading = reading.into();
    let files = files_of(sources)?;
    // What `work` does may take an hour: what can be seen at once is said at once.
    look_at(&files, reading)?;
    let (sender, receiver) = sync_channel::<String>(1024);
    thread::scope(|scope| {
        let read = move || {
            let mut parts = Parts::new(&files, reading);
            let mut oddities = Oddities::default();
            for part in &mut parts {
                oddities += part?.read(reading.skip_bad_lines, &mut |event| {
                    if let Event::Sentence(sentence) = event {
                        // Sending fails once nobody listens any more.
                        let _ = sender.send(sentence.to_owned());
                    }
                    Ok(())
                })?;
            }
            match oddities.skipped_lines {
                0 => (),
                lines => tracing::warn!(lines, "left out: lines that cannot be read"),
            }
            Ok(())
        };
        let what = "the thread that reads text";
        ThreadsError::expect_room(what)?;
        let reading = thread::Builder::new().name("reading".into()).spawn_scoped(scope, read);
        let reading = reading.map_err(ThreadsError::of(what))?;
        let result = work(&mut receiver.into_iter());
        reading.join().expect("reading reports its errors").map(|()| result)
    })
}

/// What a text of few documents holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Few {
    /// Its documents.
    pub documents: usize,
    /// Its sentences.
    pub sentences: usize,
}

/// What `sources` hold if that is fewer documents than `enough`; no more is read than it takes to know.
///
/// # Errors
/// If a file cannot be read.
pub fn few_documents(sources: &[PathBuf], reading: Reading, enough: usize) -> Result<Option<Few>, DataError> {
    let files = files_of(sources)?;
    let mut few = Few::default();
    for part in Parts::new(&files, reading) {
        part?.read(reading.skip_bad_lines, &mut |event| {
            match event {
                Event::Sentence(_) => few.sentences += 1,
                Event::DocumentEnd => few.documents += 1,
            }
            Ok(())
        })?;
        if few.documents >= enough {
            return Ok(None);
        }
    }
    Ok(Some(few))
}

/// Shows `visit` every line of a file, blank ones too, without the white space around it, and its number from 1.
///
/// # Errors
/// If the file cannot be read, holds something that is not text, or `visit` fails.
pub fn read_lines(
    path: &Path,
    visit: &mut dyn FnMut(u64, &str) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let (files, mut number) = ([path.to_path_buf()], 0);
    // As records, of which none is cut, however long.
    for part in Parts::new(&files, Reading::from(Format::Jsonl)) {
        part?.lines(&mut |line| {
            number += 1;
            visit(number, line)
        })?;
    }
    Ok(())
}
