//! What is particular to scripts that are written without spaces.

use unicode_script::{Script, UnicodeScript};

/// Whether a line break between these two is nothing, and not a space: between characters of scripts without spaces, and
/// between them and punctuation that belongs to no script.
pub(super) fn joins_without_space(last: char, first: char) -> bool {
    match (spacing(last), spacing(first)) {
        (Spacing::None, Spacing::None | Spacing::Either) | (Spacing::Either, Spacing::None) => true,
        (Spacing::Words, _) | (_, Spacing::Words) | (Spacing::Either, Spacing::Either) => false,
    }
}

enum Spacing {
    /// Spaces stand between words.
    Words,
    /// No spaces stand between words.
    None,
    /// Used with both.
    Either,
}

fn spacing(c: char) -> Spacing {
    match c {
        '\0'..='\u{7F}' => Spacing::Words,
        // Quotation marks, dashes, ellipses; not those that have a width of their own in Latin text.
        '–' | '—' | '‘' | '’' | '“' | '”' | '…' | '·' => Spacing::Either,
        // Punctuation and marks of East Asia, and the wide forms of ASCII.
        '\u{3000}'..='\u{303F}'
        | '\u{30FB}'..='\u{30FC}'
        | '\u{FE30}'..='\u{FE4F}'
        | '\u{FF01}'..='\u{FF65}' => Spacing::None,
        _ if is_unspaced(c.script()) => Spacing::None,
        _ => Spacing::Words,
    }
}

/// Whether this is a letter or mark of a script that has spaces between words.
pub(crate) fn is_spaced_letter(c: char) -> bool {
    let script = c.script();
    c.is_alphabetic() && !is_unspaced(script) && !matches!(script, Script::Common)
}

/// Whether this is a letter or mark of a script that has no spaces between words.
pub(super) fn is_unspaced_letter(c: char) -> bool {
    is_unspaced(c.script())
}

/// Scripts without spaces between words.
fn is_unspaced(script: Script) -> bool {
    use Script::*;
    matches!(
        script,
        Han | Hiragana | Katakana | Bopomofo | Yi | Tangut | Nushu // East Asia
            | Thai | Lao | Khmer | Myanmar | Tibetan | Tai_Le | New_Tai_Lue | Tai_Tham | Tai_Viet | Ahom | Javanese | Balinese
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scripts_without_spaces_join() {
        for pair in ["天气", "。我", "ーカ", "คำ", "ភា", "မြ", "བོ", "“好", "：“", "我…", "ＡＢ"]
        {
            let [last, first] = pair.chars().collect::<Vec<_>>()[..2].try_into().unwrap();
            assert!(joins_without_space(last, first), "{pair}");
        }
        for pair in ["ab", "한국", "天a", "a天", "1天", "да", "“a", "।य", "—“", "ہے", "1)"]
        {
            let [last, first] = pair.chars().collect::<Vec<_>>()[..2].try_into().unwrap();
            assert!(!joins_without_space(last, first), "{pair}");
        }
    }
}
