//! Finding, reading and writing the files of a tokenizer, in the layout that transformers uses.

use super::error::{Invalid, TokenizerError};
use super::json::Beside;
use super::limits::MAX_FILE_BYTES;
use super::preprocess::Preprocess;
use super::unigram::{Arithmetic, Unigram};
use super::wordpiece::WordPiece;
use super::{LoadOptions, Model, Style, Tokenizer, json, sentencepiece};
use crate::files::{Disk, names, replace};
use crate::visible::visible;
use serde_json::{Value, json};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

const SENTENCEPIECE: &str = "spiece.model";
const JSON: &str = "tokenizer.json";
const WORDPIECE: &str = "vocab.txt";
/// The vocabulary of the released Chinese models, as their archives name it.
const RELEASED_WORDPIECE: &str = "vocab_chinese.txt";
/// Beside every tokenizer and every model, in this layout.
pub(crate) const CONFIG: &str = "tokenizer_config.json";
const ADDED_TOKENS: &str = "added_tokens.json";
const SPECIAL_MAP: &str = "special_tokens_map.json";

/// Every name that [`Tokenizer::save`] gives to a file.
pub(crate) const FILES: [&str; 5] = [SENTENCEPIECE, JSON, WORDPIECE, CONFIG, SPECIAL_MAP];

/// transformers' class that takes `tokenizer.json` as it is; those named after models take steps of their own, since its
/// version 5.
const FROM_JSON: &str = "PreTrainedTokenizerFast";

impl Tokenizer {
    /// Loads a tokenizer from a sentencepiece `.model`, a `tokenizer.json`, a WordPiece `vocab.txt`, or a
    /// directory with one of them (in this order; the last also as `vocab_chinese.txt`, as releases name it). The content decides which it is, not the name.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Self, TokenizerError> {
        let file = if path.is_dir() { find(path)? } else { path.to_owned() };
        let invalid = |source| TokenizerError::Invalid { path: file.clone(), source };
        let bytes = read(&file)?;
        let mut config = Config::default();
        for name in [SPECIAL_MAP, CONFIG] {
            let beside = file.with_file_name(name);
            if beside.is_file() {
                config.read(&beside)?;
            }
        }
        let tokenizer = parse(bytes, options, config).map_err(invalid)?;
        if path.is_dir() {
            tokenizer.expect_agreement(path, &file)?;
        }
        Ok(tokenizer)
    }

    /// Refuses a directory whose other files know pieces that this tokenizer, read from `file`, does not: added tokens
    /// are written beside a vocabulary, not into it.
    fn expect_agreement(&self, directory: &Path, file: &Path) -> Result<(), TokenizerError> {
        for name in [ADDED_TOKENS, JSON, CONFIG, SPECIAL_MAP] {
            let beside = directory.join(name);
            if beside == file || !beside.is_file() {
                continue;
            }
            let invalid = |source| TokenizerError::Invalid { path: beside.clone(), source };
            let value = json_of(&read(&beside)?).map_err(invalid)?;
            for (id, text) in pieces_of(name, &value) {
                if id.is_none() && self.id(text).is_some() {
                    continue;
                }
                let ours = id.and_then(|id| self.piece(u32::try_from(id).ok()?));
                if ours != Some(text) {
                    let place = id.map_or("no id".to_owned(), |id| format!("the id {id}"));
                    let ours = ours.map_or("nothing".to_owned(), |ours| format!("{ours:?}"));
                    let file = visible(&file.file_name().unwrap_or_default().to_string_lossy());
                    return Err(invalid(Invalid(format!(
                        "it gives {text:?} {place}, where {file} beside it has {ours}. Name the file to go by \
                         (tokenizer.json, if the model was trained with the added pieces) in place of the folder"
                    ))));
                }
            }
        }
        Ok(())
    }

    /// Writes `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and, where this tokenizer
    /// came from one or is one, `spiece.model` or `vocab.txt`. [`load`](Self::load) of the directory gives this
    /// tokenizer again.
    ///
    /// Python's `tokenizers` reads `tokenizer.json` and gives the same ids, text that spells a special piece included. It
    /// differs for pieces like `▁2014,`, which it takes apart in transformers' way, and where two segmentations of a
    /// sentencepiece vocabulary are equally likely, which sentencepiece decides by the rounding of its sums.
    /// Transformers makes the special pieces that `tokenizer_config.json` names match in text again, since its fill-mask
    /// finds `[MASK]` so; `split_special_tokens=True` there makes all of them text.
    pub fn save(&self, directory: &Path) -> Result<(), TokenizerError> {
        self.save_for(directory, None)
    }

    /// The same for a model of `positions`, the most tokens of a text, which other programs learn here.
    pub fn save_for(&self, directory: &Path, positions: Option<usize>) -> Result<(), TokenizerError> {
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
        config.extend(positions.map(|positions| ("model_max_length".to_owned(), positions.into())));
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
                "tokenizer_class": FROM_JSON,
                "do_lower_case": unigram.preprocess.lower_case,
                "keep_accents": unigram.preprocess.keep_accents,
                "remove_space": true,
                "style": match unigram.style {
                    Style::Reference => "reference",
                    Style::Transformers => "transformers",
                },
            }),
            Model::WordPiece(wordpiece) => json!({
                "tokenizer_class": FROM_JSON,
                "do_lower_case": wordpiece.lower_case,
                "strip_accents": wordpiece.normalizer.strip_accents,
                "tokenize_chinese_chars": true,
            }),
            Model::Library(_) => json!({ "tokenizer_class": FROM_JSON }),
        };
        match config {
            // Without the list transformers leaves the types out, and a pair is one long text to the model.
            Value::Object(mut map) => {
                map.insert(
                    "model_input_names".into(),
                    json!(["input_ids", "token_type_ids", "attention_mask"]),
                );
                map
            }
            _ => unreachable!("json! of braces is an object"),
        }
    }
}

/// The tokenizer file of a directory.
fn find(directory: &Path) -> Result<PathBuf, TokenizerError> {
    let io = |source| TokenizerError::Io { path: directory.to_owned(), source };
    let mut models = Vec::new();
    for name in names(directory).map_err(io)? {
        let path = directory.join(name);
        // Archives made on a Mac have a hidden file beside each, which is no file of the model's.
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "model") {
            models.push(path);
        }
    }
    let usual = directory.join(SENTENCEPIECE);
    if models.len() > 1 && !models.contains(&usual) {
        return Err(TokenizerError::Ambiguous { path: directory.to_owned() });
    }
    let named = [usual]
        .into_iter()
        .chain(models)
        .chain([JSON, WORDPIECE, RELEASED_WORDPIECE].map(|name| directory.join(name)));
    let mut present = named.filter(|path| path.is_file());
    present.next().ok_or_else(|| TokenizerError::Missing { path: directory.to_owned() })
}

fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    let io = |source| TokenizerError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let source = Invalid(format!("it is larger than {} MiB", MAX_FILE_BYTES >> 20));
        return Err(TokenizerError::Invalid { path: path.to_owned(), source });
    }
    Ok(bytes)
}

fn write(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), TokenizerError> {
    let path = directory.join(name);
    replace(&Disk, &path, bytes).map_err(|source| TokenizerError::Io { path, source })
}

/// The text of a file: UTF-8, a byte order mark in front or not.
fn text_of(bytes: &[u8]) -> Result<&str, Invalid> {
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(Invalid::new("it is UTF-16 text; save it as UTF-8"));
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Invalid(format!("it is not UTF-8 text: byte {} is not", error.valid_up_to() + 1)))?;
    match text.bytes().position(|byte| byte == 0) {
        Some(place) => Err(Invalid(format!(
            "byte {} of it is NUL, which text never holds: is it UTF-16, or no text at all?",
            place + 1
        ))),
        None => Ok(text),
    }
}

fn json_of(bytes: &[u8]) -> Result<Value, Invalid> {
    serde_json::from_str(text_of(bytes)?).map_err(|e| Invalid(format!("not JSON: {e}")))
}

/// The pieces that a file beside the vocabulary says there are, with their ids.
fn pieces_of<'a>(name: &str, file: &'a Value) -> Vec<(Option<u64>, &'a str)> {
    let mut pieces = Vec::new();
    match name {
        ADDED_TOKENS => {
            let tokens = file.as_object().into_iter().flatten();
            pieces.extend(tokens.map(|(text, id)| (id.as_u64(), text.as_str())));
        }
        CONFIG => {
            let tokens = file["added_tokens_decoder"].as_object().into_iter().flatten();
            pieces
                .extend(tokens.filter_map(|(id, token)| Some((id.parse().ok(), token["content"].as_str()?))));
            pieces.extend(additional(file));
        }
        SPECIAL_MAP => pieces.extend(additional(file)),
        _ => {
            let tokens = file["added_tokens"].as_array().into_iter().flatten();
            pieces
                .extend(tokens.filter_map(|token| Some((token["id"].as_u64(), token["content"].as_str()?))));
            match &file["model"]["vocab"] {
                Value::Array(list) => pieces.extend(
                    (0..).map(Some).zip(list).filter_map(|(id, entry)| Some((id, entry[0].as_str()?))),
                ),
                Value::Object(ids) => {
                    pieces.extend(ids.iter().map(|(text, id)| (id.as_u64(), text.as_str())))
                }
                _ => {}
            }
        }
    }
    pieces
}

/// Special pieces besides the usual ones, which are named without ids.
fn additional(file: &Value) -> impl Iterator<Item = (Option<u64>, &str)> {
    let tokens = file["additional_special_tokens"].as_array().into_iter().flatten();
    tokens.filter_map(|token| Some((None, token.as_str().or(token["content"].as_str())?)))
}

fn parse(bytes: Vec<u8>, options: &LoadOptions, config: Config) -> Result<Tokenizer, Invalid> {
    if bytes.is_empty() {
        return Err(Invalid::new("it is empty"));
    }
    let lower_case = options.lower_case.or(config.lower_case).unwrap_or(true);
    let keep_accents = options.keep_accents.or(config.keep_accents);
    let style = options.style.or(config.beside.style).unwrap_or_default();
    // The first piece of a sentencepiece model begins with a line feed and a length; no text but a blank line does.
    let text = text_of(&bytes);
    if bytes[0] == b'\n' && text.is_err() {
        let file = sentencepiece::read(&bytes)?;
        let preprocess = Preprocess {
            lower_case,
            keep_accents: keep_accents.unwrap_or(false),
            plain_quotes: style == Style::Transformers,
        };
        let arithmetic = Arithmetic::SentencePiece;
        let unigram = Unigram::new(file.pieces, preprocess, file.normalizer, style, arithmetic)?;
        return Ok(Tokenizer::new(Model::Unigram(unigram), Some(bytes)));
    }
    let text = text?;
    if text.trim_start().starts_with('{') {
        return json::read(text, options, config.beside);
    }
    let wordpiece = WordPiece::new(WordPiece::read(text)?, lower_case, keep_accents)?;
    Ok(Tokenizer::new(Model::WordPiece(wordpiece), None))
}

/// What `tokenizer_config.json` and `special_tokens_map.json` say about the treatment of text.
#[derive(Default)]
struct Config {
    lower_case: Option<bool>,
    keep_accents: Option<bool>,
    beside: Beside,
}

impl Config {
    fn read(&mut self, path: &Path) -> Result<(), TokenizerError> {
        let invalid = |source| TokenizerError::Invalid { path: path.to_owned(), source };
        self.parse(&json_of(&read(path)?).map_err(invalid)?).map_err(invalid)
    }

    /// Adds what a file says; it goes before what was said.
    fn parse(&mut self, config: &Value) -> Result<(), Invalid> {
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
        self.lower_case = flag("do_lower_case")?.or(self.lower_case);
        self.keep_accents = flag("keep_accents")?.or(strip_accents.map(|strip| !strip)).or(self.keep_accents);
        self.beside.style = style.or(self.beside.style);
        let roles = ["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"];
        for (name, role) in self.beside.names.iter_mut().zip(roles) {
            let said = &config[role];
            if let Some(said) = said.as_str().or(said["content"].as_str()) {
                *name = Some(said.to_owned());
            }
        }
        Ok(())
    }
}
