//! How text files are laid out, given or recognised.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::record;
use crate::data::error::DataError;

/// How a text file is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One sentence a line, a blank line between documents (the reference).
    #[default]
    Sentences,
    /// Paragraphs with a blank line between them, two or more blank lines between documents.
    Prose,
    /// One JSON object a line, its `text` a document in prose.
    Jsonl,
}

/// How text files are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// The layout of all files; not given: that of each file by its content and name, JSON lines or else sentences.
    pub format: Option<Format>,
    /// Leave out, and count, lines that cannot be read: bytes that are not UTF-8, NULs, records without a text or too
    /// long. If not, the first one is an error.
    pub skip_bad_lines: bool,
}

impl From<Format> for Reading {
    fn from(format: Format) -> Self {
        Self { format: Some(format), ..Self::default() }
    }
}

impl Format {
    /// The layout of a file, from how it begins and, where that leaves it open, from its name. `whole` says that
    /// `head` is all there is.
    ///
    /// # Errors
    /// If it is JSON but not one object a line, or JSON lines with texts where `given` is plain text: braces and keys would
    /// be learnt.
    pub(super) fn recognise(
        path: &Path,
        head: &[u8],
        whole: bool,
        given: Option<Self>,
    ) -> Result<Self, DataError> {
        let named = is_named_json(path);
        let looks = Json::of(head, whole, named);
        let other = |problem| Err(DataError::JsonDocument { path: path.to_path_buf(), problem });
        match (given, looks) {
            (Some(Self::Jsonl) | None, Json::Array) => {
                other("one JSON array, not one object a line; make it so, for example with `jq -c '.[]'`")
            }
            (Some(Self::Jsonl) | None, Json::Strings) => other(
                "one JSON array of strings, not one object a line; make it so, for example with `jq -c '.[] | {text: .}'`",
            ),
            (Some(Self::Jsonl) | None, Json::Spread) => other(
                "a JSON object over several lines, not one object a line; make it so, for example with `jq -c .`",
            ),
            (Some(Self::Jsonl), _) | (None, Json::Lines) => Ok(Self::Jsonl),
            (Some(plain), looks) if named || matches!(looks, Json::Lines) && are_records(head, whole) => {
                Err(DataError::OtherFormat { path: path.to_path_buf(), format: plain })
            }
            (Some(plain), _) => Ok(plain),
            (None, Json::No) if named => Ok(Self::Jsonl),
            (None, Json::No) => Ok(Self::Sentences),
        }
    }
}

/// Whether the first lines are objects all, and some have a text: plain text may begin with an object, of front matter say.
fn are_records(head: &[u8], whole: bool) -> bool {
    const LINES: usize = 16;
    let head = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    // A line that is cut off says nothing.
    let end = if whole { head.len() } else { head.iter().rposition(|&byte| byte == b'\n').unwrap_or(0) };
    let lines = head[..end].split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let lines = lines.filter(|line| !line.is_empty()).take(LINES);
    let lines: Vec<Option<&str>> = lines.map(|line| std::str::from_utf8(line).ok()).collect();
    let is_object = |line: &Option<&str>| line.is_some_and(record::is_object);
    let has_text = |line: &Option<&str>| line.is_some_and(|line| record::text_of(line).is_ok());
    lines.is_empty() || lines.iter().all(is_object) && lines.iter().any(has_text)
}

/// Whether a name says JSON, packed or not.
fn is_named_json(path: &Path) -> bool {
    let unpacked = match path.extension() {
        Some(ending) if ending == "gz" => PathBuf::from(path.file_stem().unwrap_or_default()),
        _ => path.to_path_buf(),
    };
    matches!(unpacked.extension().and_then(|ending| ending.to_str()), Some("jsonl" | "ndjson" | "json"))
}

/// What the beginning of a file looks like.
enum Json {
    No,
    Lines,
    /// One array: of objects, as far as it was looked at.
    Array,
    /// One array that begins with a string.
    Strings,
    Spread,
}

impl Json {
    fn of(head: &[u8], whole: bool, named: bool) -> Self {
        let head = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start();
        let key_follows = |rest: &[u8]| rest.trim_ascii_start().starts_with(b"\"");
        match head.first() {
            Some(b'[') => {
                let inside = head[1..].trim_ascii_start();
                match inside.first() {
                    Some(b'{') if named || key_follows(&inside[1..]) => Self::Array,
                    Some(b'"') if named || is_list_of_strings(inside, whole) => Self::Strings,
                    _ if named => Self::Array,
                    _ => Self::No,
                }
            }
            Some(b'{') => match head.iter().position(|&byte| byte == b'\n') {
                Some(end) if head[..end].trim_ascii() == b"{" => {
                    if key_follows(&head[end..]) {
                        Self::Spread
                    } else {
                        Self::No
                    }
                }
                Some(end) => Self::of_line(&head[..end], named),
                None if whole => Self::of_line(head, named),
                // A record longer than what was looked at.
                None if key_follows(&head[1..]) => Self::Lines,
                None => Self::No,
            },
            _ => Self::No,
        }
    }

    fn of_line(line: &[u8], named: bool) -> Self {
        let is_object = std::str::from_utf8(line).is_ok_and(record::is_object);
        if is_object || named { Self::Lines } else { Self::No }
    }
}

/// Whether `inside`, what follows a bracket, is a string as JSON has it with another one or the end of the list after it:
/// text in brackets and quotation marks is text.
fn is_list_of_strings(inside: &[u8], whole: bool) -> bool {
    let mut strings = serde_json::Deserializer::from_slice(inside).into_iter::<String>();
    match strings.next() {
        Some(Ok(_)) => {
            let after = inside[strings.byte_offset()..].trim_ascii_start();
            match after.split_first() {
                Some((b',', next)) => next.trim_ascii_start().starts_with(b"\""),
                Some((b']', rest)) => rest.trim_ascii().is_empty(),
                _ => false,
            }
        }
        // A string longer than what was looked at: no quotation has that length.
        Some(Err(error)) => error.is_eof() && !whole,
        None => false,
    }
}
