//! `tokenizer.json`, the format of the `tokenizers` library: written so that Python reads it and gives our ids. A file that
//! says what ours say is read as one of ours; any other is left to the library ([`Library`]).
//!
//! Names of special pieces that stand in a text are text, as in the reference. The library takes names that
//! `added_tokens` lists out of a text wherever they stand, so that none is listed; and it would find them among the
//! pieces, so that there they are unlikely, or come to it in disguise.

use super::error::Invalid;
use super::library::Library;
use super::normalizer::{Normalizer, SPACE};
use super::preprocess::{Preprocess, is_space};
use super::unigram::{Arithmetic, Unigram, is_digit_comma};
use super::vocabulary::{Kind, Piece, Vocabulary};
use super::wordpiece::{self, WordPiece};
use super::{LoadOptions, Model, Style, Tokenizer};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use unicode_normalization::char::canonical_combining_class;

/// A piece like `▁2014,` is made so unlikely in a `tokenizer.json` that its parts win: as near to the digit-comma rule
/// as a list of scores comes, and what transformers does. No log-probability of its own comes near.
const DIGIT_COMMA_PENALTY: f64 = 100.0;

/// How special pieces are treated in a text, and the text around those that other programs put there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// As text. What stands behind a piece that transformers took out of a text, such as `[MASK]`, begins a word only after
    /// a space, as it does here.
    Current,
    /// The file lists them as `added_tokens`, as versions before 0.2 did, so that the library takes them for special, and
    /// each stretch of text between them begins a word. Our encoder never did.
    Earlier,
}

/// The content of a `tokenizer.json`.
pub(super) fn write(tokenizer: &Tokenizer) -> String {
    let mut file = match &tokenizer.model {
        Model::Unigram(unigram) => write_unigram(unigram, Layout::Current),
        Model::WordPiece(wordpiece) => write_wordpiece(wordpiece),
        Model::Library(library) => return format!("{:#}\n", library.file),
    };
    file["version"] = "1.0".into();
    file["post_processor"] = post_processor(tokenizer.vocabulary());
    format!("{file:#}\n")
}

fn replace(pattern: Value, content: &str) -> Value {
    json!({"type": "Replace", "pattern": pattern, "content": content})
}

fn replace_string(text: &str, content: &str) -> Value {
    replace(json!({"String": text}), content)
}

fn replace_regex(expression: &str, content: &str) -> Value {
    replace(json!({"Regex": expression}), content)
}

/// Lower case in full. The library lower-cases character by character: a sigma at the end of a word is seen to first.
fn lower_case() -> [Value; 2] {
    let cased = r"[\p{Lu}\p{Ll}\p{Lt}]";
    [replace_regex(&format!("(?<={cased})Σ(?!{cased})"), "ς"), json!({"type": "Lowercase"})]
}

fn write_unigram(unigram: &Unigram, layout: Layout) -> Value {
    let Preprocess { lower_case: lower, keep_accents, plain_quotes } = unigram.preprocess;
    // The space at the beginning of a stretch of text tells that a word begins there.
    let (strip_left, prepend_scheme) = match layout {
        Layout::Current => (false, "first"),
        Layout::Earlier => (true, "always"),
    };
    let strip = json!({"type": "Strip", "strip_left": strip_left, "strip_right": true});
    let mut steps = Vec::new();
    if plain_quotes {
        steps.extend([replace_string("``", "\""), replace_string("''", "\"")]);
    }
    steps.extend([replace_regex(&(class(is_space) + "+"), " "), strip.clone(), json!({"type": "NFKD"})]);
    if !keep_accents {
        steps.push(replace_regex(&class(|c| canonical_combining_class(c) != 0), ""));
    }
    if lower {
        steps.extend(lower_case());
    }
    match &unigram.normalizer {
        Normalizer::Identity => {}
        Normalizer::NmtNfkc => steps.extend([json!({"type": "Nmt"}), json!({"type": "NFKC"})]),
        // The library applies a table to single characters and short clusters; sentencepiece composes with it too.
        Normalizer::Charsmap(charsmap) => steps.extend([
            json!({"type": "NFC"}),
            json!({"type": "Precompiled", "precompiled_charsmap": base64::encode(charsmap.bytes())}),
        ]),
    }
    steps.extend([replace_regex(" {2,}", " "), strip]);

    let mut scores: Vec<f64> = unigram.pieces.iter().map(Piece::decimal_score).collect();
    for (score, piece) in scores.iter_mut().zip(&unigram.pieces) {
        if is_digit_comma(&piece.text) {
            *score -= DIGIT_COMMA_PENALTY;
        }
    }
    let mut added = Vec::new();
    match layout {
        Layout::Current => hide_special_pieces(unigram, &mut scores, &mut steps),
        Layout::Earlier => added.extend(
            (0..)
                .zip(&unigram.pieces)
                .filter(|(_, piece)| matches!(piece.kind, Kind::Control | Kind::Unknown))
                .map(|(id, piece)| added_token(id, &piece.text)),
        ),
    }
    let vocabulary: Vec<_> =
        unigram.pieces.iter().zip(scores).map(|(piece, score)| json!([piece.text, score])).collect();
    let metaspace = json!({
        "type": "Metaspace",
        "replacement": SPACE,
        "prepend_scheme": prepend_scheme,
        "split": unigram.words_are_separate,
    });
    json!({
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": metaspace,
        "decoder": metaspace,
        "model": {
            "type": "Unigram",
            "unk_id": unigram.vocabulary.special.unknown,
            "vocab": vocabulary,
            "byte_fallback": false,
        },
    })
}

/// Keeps the library from finding pieces in a text that text must never become. To it every piece is as good as any
/// other: so such a piece gets a score below that of its characters one by one. Where one of these is unknown the piece
/// would still win, unknown text being less likely than anything: there another unknown character takes its place in
/// the text, which makes no difference to any id.
fn hide_special_pieces(unigram: &Unigram, scores: &mut [f64], steps: &mut Vec<Value>) {
    let characters: HashMap<char, f64> = (unigram.pieces.iter().zip(scores.iter()))
        .filter(|(piece, _)| matches!(piece.kind, Kind::Normal | Kind::UserDefined))
        .filter_map(|(piece, &score)| Some((single(&piece.text)?, score)))
        .collect();
    let used = |c: char| unigram.pieces.iter().any(|piece| piece.text.contains(c));
    let disguise = ('\u{E000}'..='\u{F8FF}').find(|&c| !used(c)).map_or(String::new(), String::from);
    for (piece, score) in unigram.pieces.iter().zip(scores) {
        if matches!(piece.kind, Kind::Normal | Kind::UserDefined) {
            continue;
        }
        let apart: Option<f64> = piece.text.chars().map(|c| characters.get(&c).copied()).sum();
        match apart {
            Some(apart) => *score = apart.floor() - 1.0,
            None => {
                // The last of its unknown characters, by itself: text that begins with what a step put there loses the
                // `▁` in front of it in the library.
                let unknown = piece.text.char_indices().rev().find(|(_, c)| !characters.contains_key(c));
                let (place, c) = unknown.unwrap_or((0, '<'));
                let (before, after) = (&piece.text[..place], &piece.text[place + c.len_utf8()..]);
                let [before, c, after] = [before, &c.to_string(), after].map(escape);
                steps.push(replace_regex(&format!("(?<={before}){c}(?={after})"), &disguise));
            }
        }
    }
}

/// A regular expression for a text itself.
fn escape(text: &str) -> String {
    let escape = |c: char| if r"\.+*?()|[]{}^$".contains(c) { format!("\\{c}") } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// The only character of a text that has but one.
fn single(text: &str) -> Option<char> {
    let mut chars = text.chars();
    chars.next().filter(|_| chars.next().is_none())
}

fn write_wordpiece(wordpiece: &WordPiece) -> Value {
    let vocabulary = &wordpiece.vocabulary;
    let ids: Map<_, _> =
        (0..).zip(vocabulary.texts()).map(|(id, text): (u32, _)| (text.to_owned(), id.into())).collect();
    let mut steps = vec![json!(wordpiece.normalizer)];
    if wordpiece.lower_case {
        steps.extend(lower_case());
    }
    json!({
        "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": wordpiece::CONTINUATION, "cleanup": true},
        "model": {
            "type": "WordPiece",
            "unk_token": vocabulary.text(vocabulary.special.unknown),
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
    let token = |id: u32| {
        let name = vocabulary.text(id).unwrap_or_default();
        (name.to_owned(), json!({"id": name, "ids": [id], "tokens": [name]}))
    };
    let tokens = [token(vocabulary.special.classification), token(vocabulary.special.separator)];
    let [begin, end] = tokens.each_ref().map(|(name, _)| name.as_str());
    let single = [special(begin, 0), text("A", 0), special(end, 0)];
    let second = [text("B", 1), special(end, 1)];
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

/// What the files beside a `tokenizer.json` say about it.
#[derive(Default)]
pub(super) struct Beside {
    /// Set in ours only.
    pub style: Option<Style>,
    /// Names of the special pieces.
    pub names: [Option<String>; 5],
}

/// Reads a `tokenizer.json` of a Unigram or WordPiece model.
pub(super) fn read(text: &str, options: &LoadOptions, beside: Beside) -> Result<Tokenizer, Invalid> {
    let file: Value =
        serde_json::from_str(text).map_err(|e| Invalid(format!("it is not whole JSON: {e}")))?;
    let layouts: &[Layout] = match beside.style {
        Some(_) => &[Layout::Current, Layout::Earlier],
        None => &[Layout::Current],
    };
    if let Some(unigram) = our_unigram(&file, layouts) {
        let unigram = unigram.with(options)?;
        return Ok(Tokenizer::new(Model::Unigram(unigram), None));
    }
    if let Some(wordpiece) = our_wordpiece(&file) {
        let lower_case = options.lower_case.unwrap_or(wordpiece.lower_case);
        let keep = options.keep_accents.unwrap_or(wordpiece.normalizer.strip_accents == Some(false));
        let texts = wordpiece.vocabulary.texts().map(str::to_owned).collect();
        return Ok(Tokenizer::new(Model::WordPiece(WordPiece::new(texts, lower_case, Some(keep))?), None));
    }
    if options.lower_case.is_some() || options.keep_accents.is_some() || options.style.is_some() {
        return Err(Invalid::new(
            "its steps are another program's, so that case, accents and style are as it says",
        ));
    }
    Ok(Tokenizer::new(Model::Library(Library::new(file, beside.names)?), None))
}

/// The vocabulary of a file that says, word by word, what one of ours with these pieces would say.
fn our_unigram(file: &Value, layouts: &[Layout]) -> Option<Unigram> {
    let model =
        file["model"].as_object().filter(|model| model.get("type").is_some_and(|t| t == "Unigram"))?;
    let mut pieces = Vec::new();
    for entry in model.get("vocab")?.as_array()? {
        let [text, score] = entry.as_array()?.as_slice() else { return None };
        let (text, score) = (text.as_str()?, score.as_f64()?);
        let penalised = is_digit_comma(text) && score <= -DIGIT_COMMA_PENALTY;
        let score = if penalised { score + DIGIT_COMMA_PENALTY } else { score } as f32;
        // Certain, therefore never in competition: a user-defined piece.
        let kind = if score == 0.0 { Kind::UserDefined } else { Kind::Normal };
        pieces.push(Piece { text: text.to_owned(), score, kind });
    }
    let unknown = usize::try_from(model.get("unk_id")?.as_u64()?).ok()?;
    pieces.get_mut(unknown)?.kind = Kind::Unknown;

    let steps = file["normalizer"]["normalizers"].as_array()?;
    let step = |name: &str| steps.iter().find(|step| step["type"] == name);
    let accents = replace_regex(&class(|c| canonical_combining_class(c) != 0), "");
    let preprocess = Preprocess {
        lower_case: step("Lowercase").is_some(),
        keep_accents: !steps.contains(&accents),
        plain_quotes: steps.first() == Some(&replace_string("``", "\"")),
    };
    // With a table it is better left to the library, which applies it in a way of its own.
    let normalizer = if step("Nmt").is_some() { Normalizer::NmtNfkc } else { Normalizer::Identity };
    let style = if preprocess.plain_quotes { Style::Transformers } else { Style::Reference };
    let unigram = Unigram::new(pieces, preprocess, normalizer, style, Arithmetic::Library).ok()?;
    layouts.iter().any(|&layout| same_recipe(file, &write_unigram(&unigram, layout))).then_some(unigram)
}

fn our_wordpiece(file: &Value) -> Option<WordPiece> {
    let mut texts: Vec<(u64, &String)> = Vec::new();
    for (text, id) in file["model"]["vocab"].as_object()? {
        texts.push((id.as_u64()?, text));
    }
    texts.sort_unstable();
    let texts = texts.into_iter().map(|(_, text)| text.clone()).collect();
    let steps = file["normalizer"]["normalizers"].as_array()?;
    let lower_case = steps.len() > 1;
    let keep_accents = !steps.first()?["strip_accents"].as_bool()?;
    let wordpiece = WordPiece::new(texts, lower_case, Some(keep_accents)).ok()?;
    same_recipe(file, &write_wordpiece(&wordpiece)).then_some(wordpiece)
}

/// Whether two files say the same about the way from text to ids. Scores are compared as the 32-bit numbers that ours are.
fn same_recipe(file: &Value, ours: &Value) -> bool {
    fn same(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
            }
            (Value::Number(a), Value::Number(b)) => {
                a.as_f64().map(|a| a as f32) == b.as_f64().map(|b| b as f32)
            }
            _ => a == b,
        }
    }
    ["added_tokens", "normalizer", "pre_tokenizer", "model"].iter().all(|key| same(&file[*key], &ours[*key]))
}
