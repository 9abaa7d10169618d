//! A `tokenizer.json` whose recipe is another program's: encoded by the `tokenizers` library itself, so that its ids are
//! that library's by construction.
//!
//! Only steps of a known list are handed on, each with known settings: what the library would skip, guess or stumble
//! over is refused by name, and so is what means one thing here and another in Python, whose library has another
//! engine of regular expressions.

use super::error::Invalid;
use super::limits::{MAX_PIECE_BYTES, check_pieces, check_replacement};
use super::normalizer::Charsmap;
use super::unigram;
use super::vocabulary::{self, Vocabulary};
use super::wordpiece;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// A recipe that the library follows.
pub(super) struct Library {
    pub vocabulary: Vocabulary,
    tokenizer: tokenizers::Tokenizer,
    /// The file, to be saved as it is.
    pub file: Value,
    /// What marks a piece that continues a word, where the model is a WordPiece.
    continuation: Option<String>,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Library").field("vocabulary", &self.vocabulary).finish_non_exhaustive()
    }
}

/// Steps that are handed on, with the settings that each may have.
type Steps = [(&'static str, &'static [&'static str])];

const NORMALIZERS: &Steps = &[
    ("Sequence", &["normalizers"]),
    ("BertNormalizer", &["clean_text", "handle_chinese_chars", "strip_accents", "lowercase"]),
    ("Strip", &["strip_left", "strip_right"]),
    ("StripAccents", &[]),
    ("NFC", &[]),
    ("NFD", &[]),
    ("NFKC", &[]),
    ("NFKD", &[]),
    ("Lowercase", &[]),
    ("Nmt", &[]),
    ("Precompiled", &["precompiled_charsmap"]),
    ("Replace", &["pattern", "content"]),
    ("Prepend", &["prepend"]),
];

const PRE_TOKENIZERS: &Steps = &[
    ("Sequence", &["pretokenizers"]),
    ("BertPreTokenizer", &[]),
    ("Whitespace", &[]),
    ("WhitespaceSplit", &[]),
    ("Metaspace", &["replacement", "str_rep", "add_prefix_space", "prepend_scheme", "split"]),
    ("Punctuation", &["behavior"]),
    ("Digits", &["individual_digits"]),
    ("Split", &["pattern", "behavior", "invert"]),
    ("CharDelimiterSplit", &["delimiter"]),
    ("UnicodeScripts", &[]),
];

const UNIGRAM: &[&str] = &["type", "unk_id", "vocab", "byte_fallback"];
const WORDPIECE: &[&str] =
    &["type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"];

/// Text may grow by all replacements together to this many times its size.
const MAX_GROWTH: usize = 1 << 16;

impl Library {
    /// Takes over the recipe of a `tokenizer.json`. `names` are the special pieces' where another file says so.
    pub fn new(file: Value, names: [Option<String>; 5]) -> Result<Self, Invalid> {
        let model = &file["model"];
        let (known, unknown, continuation) = match model["type"].as_str() {
            Some("Unigram") => (UNIGRAM, read_unigram(model)?, None),
            Some("WordPiece") => {
                let (unknown, continuation) = read_wordpiece(model)?;
                (WORDPIECE, unknown, Some(continuation))
            }
            Some(other) => {
                return Err(Invalid(format!(
                    "it holds a {other} model; ALBERT's are Unigram, or WordPiece for Chinese"
                )));
            }
            None => return Err(Invalid::new("it names no model.type: is it a tokenizer.json?")),
        };
        check_settings("model", model, known)?;
        let mut growth = 1;
        check_step("normalizer", &file["normalizer"], NORMALIZERS, &mut growth)?;
        check_step("pre-tokenizer", &file["pre_tokenizer"], PRE_TOKENIZERS, &mut growth)?;
        if growth > MAX_GROWTH {
            return Err(Invalid(format!("its replacements let text grow more than {MAX_GROWTH} times")));
        }
        check_added_tokens(&file["added_tokens"])?;

        // What comes after the ids (truncation, padding, template, decoder) is not the library's business here.
        let mut recipe = Map::new();
        for key in ["added_tokens", "normalizer", "pre_tokenizer", "model"] {
            recipe.insert(key.to_owned(), file[key].clone());
        }
        if recipe["added_tokens"].is_null() {
            recipe["added_tokens"] = json!([]);
        }
        let tokenizer = tokenizers::Tokenizer::deserialize(&Value::Object(recipe))
            .map_err(|error| Invalid(format!("the tokenizers library cannot read it: {error}")))?;
        for key in ["truncation", "padding"] {
            if !file[key].is_null() {
                tracing::warn!(
                    "the {key} that tokenizer.json asks for is left to the program that uses the ids"
                );
            }
        }

        let texts = texts(&tokenizer)?;
        for token in file["added_tokens"].as_array().into_iter().flatten() {
            let text = token["content"].as_str().unwrap_or_default();
            let id = tokenizer.token_to_id(text);
            if id.is_none() || id.map(u64::from) != token["id"].as_u64() {
                let place = id.map_or("none".to_owned(), |id| id.to_string());
                let said = &token["id"];
                return Err(Invalid(format!(
                    "added token {text:?} has the id {said}, but its place in the vocabulary is {place}"
                )));
            }
        }
        let mut family = if continuation.is_none() { unigram::SPECIAL } else { wordpiece::SPECIAL };
        for (name, said) in family.iter_mut().zip(&names) {
            *name = said.as_deref().unwrap_or(name);
        }
        family[1] = &unknown;
        Ok(Self { vocabulary: Vocabulary::new(texts, family)?, tokenizer, file, continuation })
    }

    /// Appends the ids of a text.
    pub fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        let encoding = self
            .tokenizer
            .encode_fast(text, false)
            .expect("a model whose unknown piece is in its vocabulary has ids for every text");
        ids.extend(encoding.get_ids());
    }

    /// What marks a piece that continues a word, where the model is a WordPiece.
    pub fn continuation(&self) -> Option<&str> {
        self.continuation.as_deref()
    }

    /// Whether a piece begins a word.
    pub fn starts_word(&self, piece: &str) -> bool {
        match &self.continuation {
            Some(continuation) => continuation.is_empty() || !piece.starts_with(continuation.as_str()),
            None => unigram::starts_word(piece),
        }
    }

    /// Feeds everything that determines ids to a hash, part by part.
    pub fn fingerprint(&self, add: &mut impl FnMut(&[u8])) {
        add(b"library");
        for key in ["added_tokens", "normalizer", "pre_tokenizer", "model"] {
            add(self.file[key].to_string().as_bytes());
        }
    }

    /// Joins pieces to text.
    pub fn decode<'a>(&self, pieces: impl Iterator<Item = &'a str>) -> String {
        match &self.continuation {
            Some(continuation) => wordpiece::join(pieces, continuation),
            None => pieces.collect::<String>().replace('▁', " ").trim_start().to_owned(),
        }
    }
}

/// The texts of all ids, added tokens included.
fn texts(tokenizer: &tokenizers::Tokenizer) -> Result<Vec<String>, Invalid> {
    let ids: HashMap<String, u32> = tokenizer.get_vocab(true);
    let mut texts = vec![String::new(); ids.len()];
    for (text, id) in ids {
        match texts.get_mut(id as usize).filter(|place| place.is_empty()) {
            Some(place) => *place = text,
            None => {
                return Err(Invalid(format!("the id of {text:?} is {id}: taken, or outside the vocabulary")));
            }
        }
    }
    Ok(texts)
}

/// Checks a Unigram model and gives the text of its unknown piece.
fn read_unigram(model: &Value) -> Result<String, Invalid> {
    if !matches!(model["byte_fallback"], Value::Null | Value::Bool(false)) {
        return Err(Invalid::new("it falls back to bytes (byte_fallback), which ALBERT's do not"));
    }
    let vocabulary = model["vocab"].as_array().ok_or_else(|| Invalid::new("model.vocab is not a list"))?;
    let mut texts = Vec::with_capacity(vocabulary.len());
    for (id, entry) in vocabulary.iter().enumerate() {
        match entry.as_array().map(Vec::as_slice) {
            Some([Value::String(text), Value::Number(_)]) => texts.push(text.as_str()),
            _ => return Err(Invalid(format!("piece {id} is not a text with a score"))),
        }
    }
    check_pieces(texts.iter().copied())?;
    vocabulary::check_distinct(&texts)?;
    let unknown = model["unk_id"].as_u64().and_then(|id| texts.get(usize::try_from(id).ok()?));
    let unknown = unknown.ok_or_else(|| {
        Invalid(format!("model.unk_id is {}, which is no place in the vocabulary", model["unk_id"]))
    })?;
    Ok((*unknown).to_owned())
}

/// Checks a WordPiece model and gives the text of its unknown piece and of its mark for continuations.
fn read_wordpiece(model: &Value) -> Result<(String, String), Invalid> {
    let vocabulary =
        model["vocab"].as_object().ok_or_else(|| Invalid::new("model.vocab is not an object"))?;
    check_pieces(vocabulary.keys().map(String::as_str))?;
    let text = |key: &str| {
        let text = model[key].as_str().map(str::to_owned);
        text.ok_or_else(|| Invalid(format!("model.{key} is {}, not a text", model[key])))
    };
    let unknown = text("unk_token")?;
    if !vocabulary.contains_key(&unknown) {
        return Err(Invalid(format!("model.unk_token {unknown:?} is not in its vocabulary")));
    }
    Ok((unknown, text("continuing_subword_prefix")?))
}

fn check_added_tokens(tokens: &Value) -> Result<(), Invalid> {
    let Some(tokens) = tokens.as_array() else {
        return match tokens {
            Value::Null => Ok(()),
            _ => Err(Invalid::new("added_tokens is not a list")),
        };
    };
    const SETTINGS: &[&str] = &["id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"];
    for token in tokens {
        let (Some(text), Some(_)) = (token["content"].as_str(), token["id"].as_u64()) else {
            return Err(Invalid::new("an entry of added_tokens lacks its id or content"));
        };
        if text.is_empty() || text.len() > MAX_PIECE_BYTES {
            return Err(Invalid(format!("an added token has {} bytes", text.len())));
        }
        check_settings(&format!("added token {text:?}"), token, SETTINGS)?;
    }
    Ok(())
}

/// Refuses settings that are none of `known`.
fn check_settings(what: &str, step: &Value, known: &[&str]) -> Result<(), Invalid> {
    let settings = step.as_object().ok_or_else(|| Invalid(format!("{what} is {step}, not an object")))?;
    match settings.keys().find(|key| !known.contains(&key.as_str()) && *key != "type") {
        Some(key) => Err(Invalid(format!("{what} has a setting {key:?}, which is not known here"))),
        None => Ok(()),
    }
}

/// Refuses a step that is none of `known` or is not set up in a way that can be followed. `growth` becomes how many
/// times as large the steps can make a text.
fn check_step(what: &str, step: &Value, known: &Steps, growth: &mut usize) -> Result<(), Invalid> {
    if step.is_null() {
        return Ok(());
    }
    let name = step["type"].as_str().unwrap_or("without a type");
    let Some((_, settings)) = known.iter().find(|(known, _)| *known == name) else {
        let all: Vec<_> = known.iter().map(|(known, _)| *known).collect();
        return Err(Invalid(format!("{what} {name} is not supported (only {})", all.join(", "))));
    };
    let what = &format!("{what} {name}");
    check_settings(what, step, settings)?;
    match name {
        "Sequence" => {
            let steps = step[settings[0]].as_array();
            let steps = steps.ok_or_else(|| Invalid(format!("{what} has no list of steps")))?;
            for step in steps {
                check_step(what.split(' ').next().unwrap_or_default(), step, known, growth)?;
            }
        }
        "Precompiled" => {
            let bytes = step["precompiled_charsmap"].as_str().and_then(|text| base64::decode(text).ok());
            Charsmap::new(bytes.ok_or_else(|| Invalid::new("its precompiled_charsmap is not base64"))?)?;
        }
        "Replace" | "Split" => {
            let content = step["content"].as_str().unwrap_or_default();
            check_replacement(content)?;
            if !content.is_empty() {
                *growth = growth.saturating_mul(content.len());
            }
            check_pattern(what, &step["pattern"])?;
        }
        "Prepend" => check_replacement(step["prepend"].as_str().unwrap_or_default())?,
        _ => {}
    }
    Ok(())
}

/// Refuses an expression that Python's library, which has another engine, may read otherwise.
fn check_pattern(what: &str, pattern: &Value) -> Result<(), Invalid> {
    if let Some(text) = pattern["String"].as_str() {
        return match text {
            "" => Err(Invalid(format!("{what} looks for nothing"))),
            _ => Ok(()),
        };
    }
    let Some(expression) = pattern["Regex"].as_str() else {
        return Err(Invalid(format!("{what} has the pattern {pattern}, which is neither String nor Regex")));
    };
    if let Some(part) = not_portable(expression) {
        return Err(Invalid(format!(
            "{what} has the pattern {expression:?}, whose {part} means one thing to this library and may mean \
             another to Python's"
        )));
    }
    Ok(())
}

/// The first part of a regular expression that is not the same to every engine.
fn not_portable(expression: &str) -> Option<&str> {
    let mut rest = expression;
    let mut class = false;
    while let Some(c) = rest.chars().next() {
        let next = rest[c.len_utf8()..].chars().next().unwrap_or('\0');
        let two = &rest[..rest.len().min(c.len_utf8() + next.len_utf8())];
        let (length, portable) = match c {
            // With what is named between braces.
            '\\' if "pPx".contains(next) && rest[2..].starts_with('{') => {
                (rest.find('}').map_or(rest.len(), |end| end + 1), true)
            }
            // `\<` and `\>` are the ends of a word to one engine, and characters to the other.
            '\\' => {
                let mark = next.is_ascii_punctuation() && !matches!(next, '<' | '>');
                (two.len(), "sSdDntr".contains(next) || mark)
            }
            '[' if class => (1, false),
            '[' => {
                class = true;
                // A bracket that closes at once is a member of the class to one engine and its end to the other.
                let negated = usize::from(next == '^');
                (1 + negated, !rest[1 + negated..].starts_with(']'))
            }
            ']' if class => {
                class = false;
                (1, true)
            }
            '&' if class => (1, next != '&'),
            _ if class => (c.len_utf8(), true),
            '(' if next == '?' => {
                (2, [":", "=", "!", "<=", "<!"].iter().any(|kind| rest[2..].starts_with(kind)))
            }
            '{' => (1, next.is_ascii_digit()),
            '^' | '$' => (1, false),
            _ => (c.len_utf8(), true),
        };
        if !portable {
            return Some(two);
        }
        rest = &rest[length..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_that_every_engine_reads_alike() {
        for expression in [
            " {2,}",
            r"\s+",
            r"[^\p{L}\p{N}]",
            "(?<=a)b(?!c)",
            r"\x{300}-",
            "[a-z]+|é",
            r"\.",
            "a{2}",
            "[$^]",
        ] {
            assert_eq!(not_portable(expression), None, "{expression}");
        }
        for (expression, part) in [
            (r"\w+", r"\w"),
            ("^a", "^a"),
            ("a$", "$"),
            ("(?i)a", "(?"),
            ("[[:alpha:]]", "[:"),
            (r"a\b", r"\b"),
            ("[a&&b]", "&&"),
            ("a{,3}", "{,"),
            ("[]a]", "[]"),
            (r"\pL", r"\p"),
            (r"a\>", r"\>"),
        ] {
            assert_eq!(not_portable(expression), Some(part), "{expression}");
        }
    }
}
