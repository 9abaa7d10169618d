//! Sentences of text files as an iterator, for code that pulls rather than is pushed.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;

use super::documents::{Event, Format, read_documents};
use crate::data::error::DataError;

/// Gives all sentences of `sources`, file after file, to `work`; they are read on a thread of their own.
///
/// # Errors
/// If a file cannot be read, or is empty; what `work` made of the text before it is dropped.
pub fn with_sentences<T>(
    sources: &[PathBuf],
    format: Format,
    work: impl FnOnce(&mut dyn Iterator<Item = String>) -> T,
) -> Result<T, DataError> {
    // What `work` does may take an hour: what can be seen at once is said at once.
    sources.iter().try_for_each(|source| format.expect_of(source).and(text_file(source).map(drop)))?;
    let (sender, receiver) = sync_channel::<String>(1024);
    thread::scope(|scope| {
        let reading = scope.spawn(move || {
            for source in sources {
                read_documents(source, 0..u64::MAX, format, &mut |event| {
                    if let Event::Sentence(sentence) = event {
                        // Sending fails once nobody listens any more.
                        let _ = sender.send(sentence.to_owned());
                    }
                    Ok(())
                })?;
            }
            Ok(())
        });
        let result = work(&mut receiver.into_iter());
        reading.join().expect("reading reports its errors").map(|()| result)
    })
}

/// Looks at a file that should hold text.
pub(crate) fn text_file(path: &Path) -> Result<Metadata, DataError> {
    let metadata = fs::metadata(path).map_err(DataError::io("read", path))?;
    if !metadata.is_file() {
        return Err(DataError::NotAFile { path: path.to_path_buf() });
    }
    if metadata.len() == 0 {
        return Err(DataError::EmptyText { what: path.display().to_string() });
    }
    Ok(metadata)
}
