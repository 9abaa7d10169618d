//! ALBERT's own treatment of text before sentencepiece sees it.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

/// How text is prepared: the reference's `preprocess_text`, with its two choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Preprocess {
    /// Lower-case in full (final sigma included).
    pub lower_case: bool,
    /// Keep characters whose canonical combining class is not 0. The reference always drops them.
    pub keep_accents: bool,
    /// Replace ``` `` ``` and `''` by `"`, as transformers does and the reference does not.
    pub plain_quotes: bool,
}

impl Preprocess {
    /// Replaces the content of `out` by `text`, prepared: runs of white space become one space, NFKD,
    /// characters of a non-zero combining class dropped, lower case.
    pub fn apply(&self, text: &str, out: &mut String) {
        out.clear();
        let replaced;
        let text = if self.plain_quotes && (text.contains("``") || text.contains("''")) {
            replaced = text.replace("``", "\"").replace("''", "\"");
            replaced.as_str()
        } else {
            text
        };
        for word in text.split(is_space).filter(|word| !word.is_empty()) {
            if !out.is_empty() {
                out.push(' ');
            }
            // Word by word is as good as the whole: a space is a starter, marks never move across it.
            if word.is_ascii() {
                out.push_str(word);
            } else if self.keep_accents {
                out.extend(word.nfkd());
            } else {
                out.extend(word.nfkd().filter(|&c| canonical_combining_class(c) == 0));
            }
        }
        if self.lower_case {
            if out.is_ascii() {
                out.make_ascii_lowercase();
            } else {
                *out = out.to_lowercase();
            }
        }
    }
}

/// What Python's `str.split` splits at: Unicode white space and the four ASCII separators U+001C to U+001F.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1C}'..='\u{1F}')
}

/// Python's `str.isdigit`: characters of the numeric type Decimal or Digit (superscripts and circled
/// digits too, fractions and Roman numerals not). Ranges of Unicode 14.
pub(super) fn is_digit(c: char) -> bool {
    let c = u32::from(c);
    let after = DIGITS.partition_point(|&(first, _)| first <= c);
    after > 0 && c <= DIGITS[after - 1].1
}

#[rustfmt::skip]
const DIGITS: [(u32, u32); 81] = [
    (0x0030, 0x0039), (0x00B2, 0x00B3), (0x00B9, 0x00B9), (0x0660, 0x0669), (0x06F0, 0x06F9),
    (0x07C0, 0x07C9), (0x0966, 0x096F), (0x09E6, 0x09EF), (0x0A66, 0x0A6F), (0x0AE6, 0x0AEF),
    (0x0B66, 0x0B6F), (0x0BE6, 0x0BEF), (0x0C66, 0x0C6F), (0x0CE6, 0x0CEF), (0x0D66, 0x0D6F),
    (0x0DE6, 0x0DEF), (0x0E50, 0x0E59), (0x0ED0, 0x0ED9), (0x0F20, 0x0F29), (0x1040, 0x1049),
    (0x1090, 0x1099), (0x1369, 0x1371), (0x17E0, 0x17E9), (0x1810, 0x1819), (0x1946, 0x194F),
    (0x19D0, 0x19DA), (0x1A80, 0x1A89), (0x1A90, 0x1A99), (0x1B50, 0x1B59), (0x1BB0, 0x1BB9),
    (0x1C40, 0x1C49), (0x1C50, 0x1C59), (0x2070, 0x2070), (0x2074, 0x2079), (0x2080, 0x2089),
    (0x2460, 0x2468), (0x2474, 0x247C), (0x2488, 0x2490), (0x24EA, 0x24EA), (0x24F5, 0x24FD),
    (0x24FF, 0x24FF), (0x2776, 0x277E), (0x2780, 0x2788), (0x278A, 0x2792), (0xA620, 0xA629),
    (0xA8D0, 0xA8D9), (0xA900, 0xA909), (0xA9D0, 0xA9D9), (0xA9F0, 0xA9F9), (0xAA50, 0xAA59),
    (0xABF0, 0xABF9), (0xFF10, 0xFF19), (0x104A0, 0x104A9), (0x10A40, 0x10A43), (0x10D30, 0x10D39),
    (0x10E60, 0x10E68), (0x11052, 0x1105A), (0x11066, 0x1106F), (0x110F0, 0x110F9), (0x11136, 0x1113F),
    (0x111D0, 0x111D9), (0x112F0, 0x112F9), (0x11450, 0x11459), (0x114D0, 0x114D9), (0x11650, 0x11659),
    (0x116C0, 0x116C9), (0x11730, 0x11739), (0x118E0, 0x118E9), (0x11950, 0x11959), (0x11C50, 0x11C59),
    (0x11D50, 0x11D59), (0x11DA0, 0x11DA9), (0x16A60, 0x16A69), (0x16AC0, 0x16AC9), (0x16B50, 0x16B59),
    (0x1D7CE, 0x1D7FF), (0x1E140, 0x1E149), (0x1E2F0, 0x1E2F9), (0x1E950, 0x1E959), (0x1F100, 0x1F10A),
    (0x1FBF0, 0x1FBF9),
];

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCE: Preprocess = Preprocess { lower_case: true, keep_accents: false, plain_quotes: false };

    fn apply(preprocess: Preprocess, text: &str) -> String {
        let mut out = String::from("left over");
        preprocess.apply(text, &mut out);
        out
    }

    #[test]
    fn the_examples_of_the_reference() {
        for (text, expected) in [
            ("  Héllo\u{a0} Wörld\t\n", "hello world"),
            ("ﬁne ½ ①", "fine 1\u{2044}2 1"),
            ("Straße", "straße"),
            ("İstanbul", "istanbul"),
            ("ＡＢＣ", "abc"),
            ("a\u{200b}b\u{ad}c", "a\u{200b}b\u{ad}c"),
            ("a\u{1c}b\u{85}c\u{3000}d", "a b c d"),
            ("ΟΔΟΣ ΣΑΣ.", "οδος σας."),
            ("``quoted''", "``quoted''"),
            (" \u{1f} ", ""),
            ("", ""),
        ] {
            assert_eq!(apply(REFERENCE, text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_recorded_lines() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/tokenizer/reference.jsonl");
        let lines = std::fs::read_to_string(path).unwrap();
        for line in lines.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(apply(REFERENCE, line["text"].as_str().unwrap()), line["preprocessed"], "{line}");
        }
        assert!(lines.lines().count() > 100, "recorded lines");
    }

    #[test]
    fn the_choices() {
        let text = "``Élan'' ガ";
        let keep = Preprocess { keep_accents: true, ..REFERENCE };
        assert_eq!(apply(keep, text), "``e\u{301}lan'' カ\u{3099}");
        let cased = Preprocess { lower_case: false, ..REFERENCE };
        assert_eq!(apply(cased, text), "``Elan'' カ");
        let quotes = Preprocess { plain_quotes: true, ..REFERENCE };
        assert_eq!(apply(quotes, text), "\"elan\" カ");
    }

    #[test]
    fn digits_are_pythons() {
        for c in ['0', '9', '²', '①', '٣', '９', '𝟗', '🄊', '፩'] {
            assert!(is_digit(c), "{c}");
        }
        for c in ['/', ':', 'a', '½', 'Ⅷ', '፲', '〇', '一', '⑩', '\u{10FFFF}'] {
            assert!(!is_digit(c), "{c}");
        }
    }
}
