//! Finding, reading and writing the files of a tokenizer, in the layout that transformers uses.

use super::error::{Invalid, TokenizerError};
use super::preprocess::Preprocess;
use super::unigram::Unigram;
use super::wordpiece::WordPiece;
use super::{LoadOptions, Model, Style, Tokenizer, json, sentencepiece};
use crate::files::{Disk, replace};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

const SENTENCEPIECE: &str = "spiece.model";
const JSON: &str = "tokenizer.json";
const WORDPIECE: &str = "vocab.txt";
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL_MAP: &str = "special_tokens_map.json";

/// A vocabulary of a million long pieces stays below this; nothing larger is read.
const MAX_BYTES: u64 = 64 << 20;

impl Tokenizer {
    /// Loads a tokenizer from a sentencepiece `.model`, a `tokenizer.json`, a WordPiece `vocab.txt`, or a
    /// directory with one of them (in this order). The content decides which it is, not the name.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Self, TokenizerError> {
        let file = if path.is_dir() { find(path)? } else { path.to_owned() };
        let bytes = read(&file)?;
        let config = match file.with_file_name(CONFIG) {
            config if config.is_file() => Config::read(&config)?,
            _ => Config::default(),
        };
        parse(bytes, options, &config).map_err(|source| TokenizerError::Invalid { path: file, source })
    }

    /// Writes `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and, where this tokenizer
    /// came from one or is one, `spiece.model` or `vocab.txt`. [`load`](Self::load) of the directory gives this
    /// tokenizer again.
    ///
    /// Python's `tokenizers` reads `tokenizer.json`; it gives the same ids but for pieces like `▁2014,`, which
    /// it takes apart in transformers' way, and for text that spells a special piece.
    pub fn save(&self, directory: &Path) -> Result<(), TokenizerError> {
        std::fs::create_dir_all(directory)
            .map_err(|source| TokenizerError::Io { path: directory.to_owned(), source })?;
        if let Err(occupied) = Self::expect_none(directory) {
            let same = |other: Self| other.fingerprint == self.fingerprint;
            if !Self::load(directory, &LoadOptions::default()).is_ok_and(same) {
                return Err(occupied);
            }
        }
        // In this order each file that `find` may come upon is this tokenizer, with what was written before it: a
        // save that was cut short is finished by the next.
        let special = self.special_map();
        let mut config = self.config();
        config.extend(special.clone());
        for (name, map) in [(CONFIG, config), (SPECIAL_MAP, special)] {
            write(directory, name, format!("{:#}\n", Value::Object(map)).as_bytes())?;
        }
        if let Some(source) = &self.source {
            write(directory, SENTENCEPIECE, source)?;
        }
        write(directory, JSON, json::write(self).as_bytes())?;
        if let Model::WordPiece(wordpiece) = &self.model {
            let lines: String = wordpiece.vocabulary.texts().flat_map(|text| [text, "\n"]).collect();
            write(directory, WORDPIECE, lines.as_bytes())?;
        }
        Ok(())
    }

    /// Refuses a directory that holds a tokenizer, whole or not; one that is not there holds none.
    pub fn expect_none(directory: &Path) -> Result<(), TokenizerError> {
        match find(directory) {
            Ok(path) => Err(TokenizerError::Occupied { path }),
            Err(TokenizerError::Ambiguous { path }) => Err(TokenizerError::Occupied { path }),
            Err(TokenizerError::Missing { .. }) => Ok(()),
            Err(TokenizerError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn special_map(&self) -> serde_json::Map<String, Value> {
        let name = |id| self.piece(id).expect("special ids come from the vocabulary");
        let special = self.special();
        let names = [
            ("pad_token", special.pad),
            ("unk_token", special.unknown),
            ("cls_token", special.classification),
            ("sep_token", special.separator),
            ("mask_token", special.mask),
            ("bos_token", special.classification),
            ("eos_token", special.separator),
        ];
        names.into_iter().map(|(role, id)| (role.to_owned(), name(id).into())).collect()
    }

    fn config(&self) -> serde_json::Map<String, Value> {
        let config = match &self.model {
            Model::Unigram(unigram) => json!({
                "tokenizer_class": "AlbertTokenizer",
                "do_lower_case": unigram.preprocess.lower_case,
                "keep_accents": unigram.preprocess.keep_accents,
                "remove_space": true,
                "style": match unigram.style {
                    Style::Reference => "reference",
                    Style::Transformers => "transformers",
                },
            }),
            Model::WordPiece(wordpiece) => json!({
                "tokenizer_class": "BertTokenizer",
                "do_lower_case": wordpiece.normalizer.lowercase,
                "strip_accents": wordpiece.normalizer.strip_accents,
                "tokenize_chinese_chars": true,
            }),
        };
        match config {
            Value::Object(map) => map,
            _ => unreachable!("json! of braces is an object"),
        }
    }
}

/// The tokenizer file of a directory.
fn find(directory: &Path) -> Result<PathBuf, TokenizerError> {
    let io = |source| TokenizerError::Io { path: directory.to_owned(), source };
    let mut models = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|extension| extension == "model") {
            models.push(path);
        }
    }
    let usual = directory.join(SENTENCEPIECE);
    if models.len() > 1 && !models.contains(&usual) {
        return Err(TokenizerError::Ambiguous { path: directory.to_owned() });
    }
    let named = [usual].into_iter().chain(models).chain([JSON, WORDPIECE].map(|name| directory.join(name)));
    let mut present = named.filter(|path| path.is_file());
    present.next().ok_or_else(|| TokenizerError::Missing { path: directory.to_owned() })
}

fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    let io = |source| TokenizerError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        let source = Invalid(format!("it is larger than {} MiB", MAX_BYTES >> 20));
        return Err(TokenizerError::Invalid { path: path.to_owned(), source });
    }
    Ok(bytes)
}

fn write(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), TokenizerError> {
    let path = directory.join(name);
    replace(&Disk, &path, bytes).map_err(|source| TokenizerError::Io { path, source })
}

fn parse(bytes: Vec<u8>, options: &LoadOptions, config: &Config) -> Result<Tokenizer, Invalid> {
    if bytes.is_empty() {
        return Err(Invalid::new("it is empty"));
    }
    let lower_case = options.lower_case.or(config.lower_case).unwrap_or(true);
    let keep_accents = options.keep_accents.or(config.keep_accents);
    let style = options.style.or(config.style).unwrap_or_default();
    match std::str::from_utf8(&bytes) {
        // Text has no NUL; a sentencepiece model has them in its scores.
        Ok(text) if !text.contains('\0') => {
            if text.trim_start().starts_with('{') {
                return json::read(text, options, style);
            }
            let pieces = WordPiece::read(text)?;
            let wordpiece = WordPiece::new(pieces, lower_case, keep_accents)?;
            Ok(Tokenizer::new(Model::WordPiece(wordpiece), None))
        }
        _ => {
            let file = sentencepiece::read(&bytes)?;
            let preprocess = Preprocess {
                lower_case,
                keep_accents: keep_accents.unwrap_or(false),
                plain_quotes: style == Style::Transformers,
            };
            let unigram = Unigram::new(file.pieces, preprocess, file.normalizer, style)?;
            Ok(Tokenizer::new(Model::Unigram(unigram), Some(bytes)))
        }
    }
}

/// What a `tokenizer_config.json` says about the treatment of text.
#[derive(Default)]
struct Config {
    lower_case: Option<bool>,
    keep_accents: Option<bool>,
    style: Option<Style>,
}

impl Config {
    fn read(path: &Path) -> Result<Self, TokenizerError> {
        Self::parse(&read(path)?).map_err(|source| TokenizerError::Invalid { path: path.to_owned(), source })
    }

    fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let config: Value = serde_json::from_slice(bytes).map_err(|e| Invalid(format!("not JSON: {e}")))?;
        let flag = |name: &str| match config.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(Invalid(format!("{name} is {other}, expected true or false"))),
        };
        let strip_accents = flag("strip_accents")?;
        let style = match config.get("style").map(|style| style.as_str().unwrap_or_default()) {
            None => None,
            Some("reference") => Some(Style::Reference),
            Some("transformers") => Some(Style::Transformers),
            Some(_) => return Err(Invalid::new("style is neither \"reference\" nor \"transformers\"")),
        };
        Ok(Self {
            lower_case: flag("do_lower_case")?,
            keep_accents: flag("keep_accents")?.or(strip_accents.map(|strip| !strip)),
            style,
        })
    }
}
