//! One line of a JSONL file, as lenient as the programs that write them.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

/// The text of a record, and whether a half of a surrogate pair in it was replaced by U+FFFD.
///
/// What else the record has is ignored. Of several texts the last one counts, `NaN` and `Infinity` may stand where a
/// number may, and half a surrogate pair is no error, as in Python, which writes such records.
///
/// # Errors
/// Why there is none, in a reader's words.
pub(super) fn text_of(line: &str) -> Result<(String, bool), String> {
    read(line).map(|(text, _, mended)| (text, mended))
}

/// The text of a record, and its `text_pair` if it has one.
///
/// # Errors
/// Why there is none, in a reader's words.
pub(crate) fn texts_of(line: &str) -> Result<(String, Option<String>), String> {
    let (text, pair, _) = read(line)?;
    Ok((text, pair?))
}

/// What a record may have beside its text; why it is no text.
type Pair = Result<Option<String>, String>;

fn read(line: &str) -> Result<(String, Pair, bool), String> {
    let mended = mend(line);
    match parse(&mended.line) {
        Ok(Content::Text(text, pair)) => Ok((text, pair, mended.surrogates)),
        Ok(Content::Other(what)) => Err(format!("its \"text\" is {what}, not a string")),
        Ok(Content::Missing(keys)) if keys.is_empty() => Err("it is an object without a \"text\"".into()),
        Ok(Content::Missing(keys)) => Err(format!("it has no \"text\", only {}", keys.join(", "))),
        Err(error) if error.classify() == Category::Eof => {
            Err("it ends in the middle: cut off, or one object over several lines".into())
        }
        Err(error) => Err(match kind(line).filter(|_| !line.starts_with('{')) {
            Some(what) => format!("it is {what}, not an object with a \"text\""),
            None => format!("it is not JSON from column {} on", error.column().max(1)),
        }),
    }
}

/// Whether a line is an object with at least one key.
pub(super) fn is_object(line: &str) -> bool {
    match parse(&mend(line).line) {
        Ok(Content::Text(..) | Content::Other(_)) => true,
        Ok(Content::Missing(keys)) => !keys.is_empty(),
        Err(_) => false,
    }
}

/// A line that the parser takes.
struct Mended<'a> {
    line: Cow<'a, str>,
    surrogates: bool,
}

/// Replaces what JSON forbids and Python writes: numbers that are none by `null`, half surrogate pairs by U+FFFD.
fn mend(line: &str) -> Mended<'_> {
    let suspicious = ["NaN", "Infinity", "\\ud", "\\uD"].iter().any(|sign| line.contains(sign));
    if !suspicious {
        return Mended { line: Cow::Borrowed(line), surrogates: false };
    }
    let (mut mended, mut surrogates, mut in_string) = (String::with_capacity(line.len()), false, false);
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let (taken, put) = match c {
            '"' => {
                in_string = !in_string;
                (1, "\"")
            }
            '\\' if in_string => match surrogate(rest) {
                None => {
                    let escaped = rest[1..].chars().next().map_or(0, char::len_utf8);
                    (1 + escaped, &rest[..1 + escaped])
                }
                Some(0xD800..=0xDBFF) if matches!(surrogate(&rest[6..]), Some(0xDC00..=0xDFFF)) => {
                    (12, &rest[..12])
                }
                Some(_) => {
                    surrogates = true;
                    (6, "\u{FFFD}")
                }
            },
            _ if in_string => (c.len_utf8(), &rest[..c.len_utf8()]),
            _ => match ["NaN", "Infinity", "-Infinity"].into_iter().find(|name| rest.starts_with(name)) {
                Some(name) => (name.len(), "null"),
                None => (c.len_utf8(), &rest[..c.len_utf8()]),
            },
        };
        mended.push_str(put);
        rest = &rest[taken..];
    }
    Mended { line: Cow::Owned(mended), surrogates }
}

/// The half of a surrogate pair that `text` begins with, as an escape.
fn surrogate(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let code = u32::from_str_radix(digits, 16).ok()?;
    (0xD800..=0xDFFF).contains(&code).then_some(code)
}

/// What a line holds.
enum Content {
    Text(String, Pair),
    /// Something else under the key `text`.
    Other(&'static str),
    /// An object with these keys.
    Missing(Vec<String>),
}

fn parse(line: &str) -> serde_json::Result<Content> {
    let mut parser = serde_json::Deserializer::from_str(line);
    let content = parser.deserialize_map(Record)?;
    parser.end()?;
    Ok(content)
}

/// What a JSON value is, by how it begins.
fn kind(value: &str) -> Option<&'static str> {
    Some(match value.bytes().next()? {
        b'"' => "a string",
        b'[' => "an array",
        b'{' => "an object",
        b'n' => "null",
        b't' | b'f' => "true or false",
        b'-' | b'0'..=b'9' => "a number",
        _ => return None,
    })
}

/// Of an object without a text, so many keys are named.
const KEYS_NAMED: usize = 5;
/// Longer keys are not shown.
const LONGEST_KEY: usize = 40;

struct Record;

impl<'de> Visitor<'de> for Record {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let (mut found, mut pair, mut keys) = (None, None, Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            if key == "text" {
                found = Some(map.next_value::<&RawValue>()?.get());
            } else if key == "text_pair" {
                pair = Some(map.next_value::<&RawValue>()?.get());
            } else {
                map.next_value::<IgnoredAny>()?;
                if keys.len() < KEYS_NAMED && key.chars().count() <= LONGEST_KEY {
                    keys.push(format!("\"{}\"", key.escape_debug()));
                }
            }
        }
        Ok(match found {
            Some(text) if text.starts_with('"') => {
                let string = |text| serde_json::from_str(text).map_err(de::Error::custom);
                let pair = match pair {
                    None | Some("null") => Ok(None),
                    Some(pair) if pair.starts_with('"') => Ok(Some(string(pair)?)),
                    Some(other) => Err(format!(
                        "its \"text_pair\" is {}, not a string",
                        kind(other).unwrap_or("something else")
                    )),
                };
                Content::Text(string(text)?, pair)
            }
            Some(other) => Content::Other(kind(other).unwrap_or("something else")),
            None => Content::Missing(keys),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_writes_is_read() {
        for (line, text) in [
            (r#"{"text": "a NaN", "score": NaN, "more": [-Infinity, Infinity, "NaN\\", NaN]}"#, "a NaN"),
            (
                r#"{"text": "lone \ud83d and \uDE00 there, pair \ud83d\ude00"}"#,
                "lone \u{FFFD} and \u{FFFD} there, pair 😀",
            ),
            (r#"{"text": "\\ud83d is written"}"#, r"\ud83d is written"),
            (r#"{"text": 1, "text": "the last one counts"}"#, "the last one counts"),
            (r#" {"a": {"text": 5}, "text": ""}"#, ""),
        ] {
            assert_eq!(text_of(line).unwrap().0, text, "{line}");
        }
        assert!(text_of(r#"{"text": "\ud83d"}"#).unwrap().1);
        assert!(!text_of(r#"{"text": "\ud83d\ude00"}"#).unwrap().1);
        let deep = format!(r#"{{"x": {}{}, "text": "t"}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(text_of(&deep).unwrap().0, "t");
    }

    #[test]
    fn pairs_are_read_where_they_are_wanted() {
        let pair = r#"{"text": "a", "score": NaN, "text_pair": "b"}"#;
        assert_eq!(texts_of(pair).unwrap(), ("a".into(), Some("b".into())));
        for none in [r#"{"text": "a"}"#, r#"{"text": "a", "text_pair": null}"#] {
            assert_eq!(texts_of(none).unwrap(), ("a".into(), None));
        }
        let other = r#"{"text": "a", "text_pair": 7}"#;
        assert_eq!(texts_of(other).unwrap_err(), "its \"text_pair\" is a number, not a string");
        assert_eq!(text_of(other).unwrap().0, "a");
    }

    #[test]
    fn errors_are_in_a_readers_words() {
        for (line, reason) in [
            (r#"{"text": null}"#, "its \"text\" is null, not a string"),
            (r#"{"text": ["a"]}"#, "its \"text\" is an array, not a string"),
            (r#"{"body": 1, "title": 2}"#, "it has no \"text\", only \"body\", \"title\""),
            ("{}", "it is an object without a \"text\""),
            (r#"["a"]"#, "it is an array, not an object with a \"text\""),
            ("17", "it is a number, not an object with a \"text\""),
            (r#"{"text": "a"#, "it ends in the middle: cut off, or one object over several lines"),
            ("Once upon a time.", "it is not JSON from column 1 on"),
            (r#"{"text": "a"} {"text": "b"}"#, "it is not JSON from column 15 on"),
        ] {
            assert_eq!(text_of(line).unwrap_err(), reason, "{line}");
        }
    }
}
