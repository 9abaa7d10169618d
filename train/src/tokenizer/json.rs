//! `tokenizer.json`, the format of the `tokenizers` library: written so that Python reads it, read by ourselves
//! so that a damaged file gets no further than here.

use super::error::Invalid;
use super::normalizer::{Charsmap, Normalizer, SPACE};
use super::preprocess::{Preprocess, is_space};
use super::unigram::{SPECIAL, Unigram, is_digit_comma};
use super::vocabulary::{Kind, Piece, Vocabulary};
use super::wordpiece::{self, WordPiece};
use super::{LoadOptions, Model, Style, Tokenizer};
use serde_json::{Map, Value, json};
use unicode_normalization::char::canonical_combining_class;

/// A piece like `▁2014,` is made so unlikely in a `tokenizer.json` that its parts win: as near to the digit-comma rule
/// as a list of scores comes, and what transformers does. No log-probability of its own comes near.
const DIGIT_COMMA_PENALTY: f64 = 100.0;

/// The content of a `tokenizer.json`.
pub(super) fn write(tokenizer: &Tokenizer) -> String {
    let mut file = match &tokenizer.model {
        Model::Unigram(unigram) => write_unigram(unigram),
        Model::WordPiece(wordpiece) => write_wordpiece(wordpiece),
    };
    file["version"] = "1.0".into();
    file["post_processor"] = post_processor(tokenizer.vocabulary());
    format!("{file:#}\n")
}

fn write_unigram(unigram: &Unigram) -> Value {
    let Preprocess { lower_case, keep_accents, plain_quotes } = unigram.preprocess;
    let replace =
        |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
    let replace_string = |text: &str, content| replace(json!({"String": text}), content);
    let replace_regex = |regex: &str, content| replace(json!({"Regex": regex}), content);
    let strip = json!({"type": "Strip", "strip_left": true, "strip_right": true});
    let mut steps = Vec::new();
    if plain_quotes {
        steps.extend([replace_string("``", "\""), replace_string("''", "\"")]);
    }
    steps.extend([replace_regex(&(class(is_space) + "+"), " "), strip.clone(), json!({"type": "NFKD"})]);
    if !keep_accents {
        steps.push(replace_regex(&class(|c| canonical_combining_class(c) != 0), ""));
    }
    if lower_case {
        // The library lower-cases character by character: a sigma at the end of a word is seen to first.
        let cased = r"[\p{Lu}\p{Ll}\p{Lt}]";
        steps
            .extend([replace_regex(&format!("(?<={cased})Σ(?!{cased})"), "ς"), json!({"type": "Lowercase"})]);
    }
    match &unigram.normalizer {
        Normalizer::Identity => {}
        Normalizer::NmtNfkc => steps.extend([json!({"type": "Nmt"}), json!({"type": "NFKC"})]),
        Normalizer::Charsmap(charsmap) => steps.push(json!({
            "type": "Precompiled",
            "precompiled_charsmap": base64::encode(charsmap.bytes()),
        })),
    }
    steps.extend([replace_regex(" {2,}", " "), strip]);

    let scores = unigram.pieces.iter().map(|piece| {
        let penalty = if is_digit_comma(&piece.text) { DIGIT_COMMA_PENALTY } else { 0.0 };
        json!([piece.text, f64::from(piece.score) - penalty])
    });
    let metaspace = json!({
        "type": "Metaspace",
        "replacement": SPACE,
        "prepend_scheme": "always",
        "split": unigram.words_are_separate,
    });
    let added =
        (0..).zip(&unigram.pieces).filter(|(_, piece)| matches!(piece.kind, Kind::Control | Kind::Unknown));
    json!({
        "added_tokens": added.map(|(id, piece)| added_token(id, &piece.text)).collect::<Vec<_>>(),
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": metaspace,
        "decoder": metaspace,
        "model": {
            "type": "Unigram",
            "unk_id": unigram.vocabulary.special.unknown,
            "vocab": scores.collect::<Vec<_>>(),
            "byte_fallback": false,
        },
    })
}

fn write_wordpiece(wordpiece: &WordPiece) -> Value {
    let vocabulary = &wordpiece.vocabulary;
    let ids: Map<_, _> =
        (0..).zip(vocabulary.texts()).map(|(id, text): (u32, _)| (text.to_owned(), id.into())).collect();
    let mut special = vocabulary.special.ids();
    special.sort_unstable();
    json!({
        "added_tokens": special.map(|id| added_token(id, vocabulary.text(id).unwrap_or_default())),
        "normalizer": wordpiece.normalizer,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": wordpiece::CONTINUATION, "cleanup": true},
        "model": {
            "type": "WordPiece",
            "unk_token": wordpiece::SPECIAL[1],
            "continuing_subword_prefix": wordpiece::CONTINUATION,
            "max_input_chars_per_word": wordpiece::MAX_WORD_CHARS,
            "vocab": ids,
        },
    })
}

fn added_token(id: u32, content: &str) -> Value {
    json!({
        "id": id,
        "content": content,
        "single_word": false,
        "lstrip": content == "[MASK]",
        "rstrip": false,
        "normalized": false,
        "special": true,
    })
}

/// `[CLS] A [SEP]` and `[CLS] A [SEP] B [SEP]`.
fn post_processor(vocabulary: &Vocabulary) -> Value {
    let special = |name: &str, segment: u32| json!({"SpecialToken": {"id": name, "type_id": segment}});
    let text = |name: &str, segment: u32| json!({"Sequence": {"id": name, "type_id": segment}});
    let token = |name: &str, id: u32| (name.to_owned(), json!({"id": name, "ids": [id], "tokens": [name]}));
    let single = [special("[CLS]", 0), text("A", 0), special("[SEP]", 0)];
    let second = [text("B", 1), special("[SEP]", 1)];
    let tokens =
        [token("[CLS]", vocabulary.special.classification), token("[SEP]", vocabulary.special.separator)];
    json!({
        "type": "TemplateProcessing",
        "single": single,
        "pair": single.iter().chain(&second).collect::<Vec<_>>(),
        "special_tokens": tokens.into_iter().collect::<Map<_, _>>(),
    })
}

/// A regular expression for one character of those that `member` accepts.
fn class(member: impl Fn(char) -> bool) -> String {
    let mut ranges: Vec<(char, char)> = Vec::new();
    for c in ('\0'..=char::MAX).filter(|&c| member(c)) {
        match ranges.last_mut() {
            Some((_, last)) if u32::from(*last) + 1 == u32::from(c) => *last = c,
            _ => ranges.push((c, c)),
        }
    }
    let hex = |c: char| format!("\\x{{{:X}}}", u32::from(c));
    let parts: String = ranges
        .into_iter()
        .map(|(first, last)| if first == last { hex(first) } else { hex(first) + "-" + &hex(last) })
        .collect();
    format!("[{parts}]")
}

/// Reads a `tokenizer.json` of a Unigram or WordPiece model with ALBERT's or BERT's steps around it.
pub(super) fn read(text: &str, options: &LoadOptions, style: Style) -> Result<Tokenizer, Invalid> {
    let file: Value =
        serde_json::from_str(text).map_err(|e| Invalid(format!("it is not whole JSON: {e}")))?;
    let model = &file["model"];
    let model = match model["type"].as_str() {
        Some("Unigram") => Model::Unigram(read_unigram(&file, options, style)?),
        Some("WordPiece") => Model::WordPiece(read_wordpiece(&file, options)?),
        Some(other) => {
            return Err(Invalid(format!(
                "it holds a {other} model; ALBERT's are Unigram, or WordPiece for Chinese"
            )));
        }
        None => return Err(Invalid::new("it names no model.type: is it a tokenizer.json?")),
    };
    Ok(Tokenizer::new(model, None))
}

fn read_unigram(file: &Value, options: &LoadOptions, style: Style) -> Result<Unigram, Invalid> {
    let model = &file["model"];
    if model["byte_fallback"] == true {
        return Err(Invalid::new("it falls back to bytes (byte_fallback), which ALBERT's do not"));
    }
    let vocabulary = model["vocab"].as_array().ok_or_else(|| Invalid::new("model.vocab is not a list"))?;
    let mut pieces = Vec::with_capacity(vocabulary.len());
    for (id, entry) in vocabulary.iter().enumerate() {
        let entry = entry.as_array().map(Vec::as_slice);
        let Some((text, score)) = (match entry {
            Some([text, score]) => text.as_str().zip(score.as_f64()),
            _ => None,
        }) else {
            return Err(Invalid(format!("piece {id} is not a text with a score")));
        };
        let penalised = is_digit_comma(text) && score <= -DIGIT_COMMA_PENALTY;
        let score = if penalised { score + DIGIT_COMMA_PENALTY } else { score };
        // Certain, therefore never in competition: a user-defined piece.
        let kind = if score == 0.0 { Kind::UserDefined } else { Kind::Normal };
        pieces.push(Piece { text: text.to_owned(), score: score as f32, kind });
    }
    for token in file["added_tokens"].as_array().into_iter().flatten() {
        let (id, text) = token["id"]
            .as_u64()
            .zip(token["content"].as_str())
            .ok_or_else(|| Invalid::new("an entry of added_tokens lacks its id or content"))?;
        let piece =
            usize::try_from(id).ok().and_then(|id| pieces.get_mut(id)).filter(|piece| piece.text == text);
        let piece = piece.ok_or_else(|| {
            Invalid(format!("added token {text:?} has the id {id}, which is not its place in the vocabulary"))
        })?;
        if token["special"] == true {
            piece.kind = Kind::Control;
        }
    }
    let unknown = model["unk_id"].as_u64().and_then(|id| pieces.get(usize::try_from(id).ok()?));
    if unknown.is_none_or(|piece| piece.text != SPECIAL[1]) {
        return Err(Invalid(format!("model.unk_id is {}, which is not the place of <unk>", model["unk_id"])));
    }

    let mut preprocess =
        Preprocess { lower_case: false, keep_accents: true, plain_quotes: style == Style::Transformers };
    let mut normalizer = Normalizer::Identity;
    for step in steps(&file["normalizer"], "normalizers") {
        match step["type"].as_str().unwrap_or("?") {
            "Lowercase" => preprocess.lower_case = true,
            "StripAccents" => preprocess.keep_accents = false,
            "NFKC" => normalizer = Normalizer::NmtNfkc,
            "Precompiled" => {
                let bytes = step["precompiled_charsmap"].as_str().and_then(|text| base64::decode(text).ok());
                let bytes = bytes.ok_or_else(|| Invalid::new("its precompiled_charsmap is not base64"))?;
                normalizer = Normalizer::Charsmap(Charsmap::new(bytes)?);
            }
            "Replace" => match step["content"].as_str() {
                Some("") => preprocess.keep_accents = false,
                Some(" " | "\"" | "ς") => {}
                content => {
                    return Err(Invalid(format!("it replaces text by {content:?}, which ALBERT does not")));
                }
            },
            // Parts of what is always done.
            "NFKD" | "Nmt" | "Strip" => {}
            other => return Err(Invalid(format!("normalizer {other} is none of ALBERT's"))),
        }
    }
    for step in steps(&file["pre_tokenizer"], "pretokenizers") {
        match step["type"].as_str().unwrap_or("?") {
            "WhitespaceSplit" => {}
            "Metaspace" if step["prepend_scheme"] != "never" && step["add_prefix_space"] != false => {}
            other => {
                return Err(Invalid(format!("pre-tokenizer {other}, as set up here, is none of ALBERT's")));
            }
        }
    }
    preprocess.lower_case = options.lower_case.unwrap_or(preprocess.lower_case);
    preprocess.keep_accents = options.keep_accents.unwrap_or(preprocess.keep_accents);
    Unigram::new(pieces, preprocess, normalizer, style)
}

fn read_wordpiece(file: &Value, options: &LoadOptions) -> Result<WordPiece, Invalid> {
    let model = &file["model"];
    if model["continuing_subword_prefix"] != wordpiece::CONTINUATION {
        return Err(Invalid(format!(
            "it marks continuations by {}, not by ##",
            model["continuing_subword_prefix"]
        )));
    }
    let vocabulary =
        model["vocab"].as_object().ok_or_else(|| Invalid::new("model.vocab is not an object"))?;
    let mut texts = vec![String::new(); vocabulary.len()];
    for (text, id) in vocabulary {
        let place = id.as_u64().and_then(|id| texts.get_mut(usize::try_from(id).ok()?));
        match place.filter(|place| place.is_empty()) {
            Some(place) => place.clone_from(text),
            None => {
                return Err(Invalid(format!("the id of {text:?} is {id}: taken, or outside the vocabulary")));
            }
        }
    }
    let normalizer = &file["normalizer"];
    if normalizer["type"] != "BertNormalizer" {
        return Err(Invalid(format!("normalizer {} is not BERT's", normalizer["type"])));
    }
    for step in ["clean_text", "handle_chinese_chars"] {
        if normalizer[step] == false {
            return Err(Invalid(format!("its normalizer has {step} switched off; BERT's has it on")));
        }
    }
    let lower_case = options.lower_case.unwrap_or(normalizer["lowercase"] == true);
    let keep_accents = options.keep_accents.or(normalizer["strip_accents"].as_bool().map(|strip| !strip));
    WordPiece::new(texts, lower_case, keep_accents)
}

/// A step, or the steps of a sequence of them under `list`.
fn steps<'a>(step: &'a Value, list: &str) -> &'a [Value] {
    match step {
        Value::Null => &[],
        step if step["type"] == "Sequence" => step[list].as_array().map_or(&[], Vec::as_slice),
        step => std::slice::from_ref(step),
    }
}
