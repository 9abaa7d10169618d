//! Text from outside, made fit to be shown: no control character commands the terminal, and none that changes the order of
//! writing makes a line look like another one.

use std::path::Path;

/// The text with every hidden character written as an escape such as `\u{1b}`.
///
/// ```
/// use model::visible::visible;
/// assert_eq!(visible("red \u{1b}[31m, left \u{202e}, café"), r"red \u{1b}[31m, left \u{202e}, café");
/// ```
pub fn visible(text: &str) -> String {
    visible_but(text, &[])
}

/// A path in a message of several lines, to which no name of a file adds any.
pub fn shown(path: &Path) -> String {
    visible(&path.to_string_lossy())
}

/// As [`visible`], but for line ends: for messages of several lines.
pub fn visible_lines(text: &str) -> String {
    visible_but(text, &['\n'])
}

/// A JSON document with hidden characters in its strings written as its own escapes, so that it means the same. (Outside of
/// strings there are none but line ends.)
///
/// ```
/// use model::visible::visible_json;
/// assert_eq!(visible_json("\"left \u{202e}, tag \u{e0001}\""), r#""left \u202e, tag \udb40\udc01""#);
/// ```
pub fn visible_json(document: &str) -> String {
    let mut visible = String::with_capacity(document.len());
    for c in document.chars() {
        if is_hidden(c) && c != '\n' {
            visible.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            visible.push(c);
        }
    }
    visible
}

fn visible_but(text: &str, shown: &[char]) -> String {
    let mut visible = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) && !shown.contains(&c) {
            visible.extend(c.escape_unicode());
        } else {
            visible.push(c);
        }
    }
    visible
}

/// Whether a character is a control code, ends a line or paragraph, or changes the order of writing (the explicit
/// formatting characters of Unicode's bidirectional algorithm, UAX #9, and the tags that imitate ASCII unseen).
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_a_terminal_or_turns_text_round_is_seen() {
        for (text, expected) in [
            ("\u{1b}]0;title\u{7}", r"\u{1b}]0;title\u{7}"),
            ("\u{9b}31m\u{90}", r"\u{9b}31m\u{90}"), // their one-byte forms
            ("a\r\u{8}\u{7f}\0\tb", r"a\u{d}\u{8}\u{7f}\u{0}\u{9}b"),
            (
                "\u{202a}\u{202d}\u{2067}\u{2069}\u{200f}\u{61c}",
                r"\u{202a}\u{202d}\u{2067}\u{2069}\u{200f}\u{61c}",
            ),
            ("a\u{2028}b\u{2029}c", r"a\u{2028}b\u{2029}c"),
            ("Straße, שלום, 東京, 👩\u{200d}👩\u{fe0f}", "Straße, שלום, 東京, 👩\u{200d}👩\u{fe0f}"),
        ] {
            assert_eq!(visible(text), expected);
            assert_eq!(visible_lines(&format!("{text}\n  help")), format!("{expected}\n  help"));
        }
        assert_eq!(visible("two\nlines"), r"two\u{a}lines");
    }
}
