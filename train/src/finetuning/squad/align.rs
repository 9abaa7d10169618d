//! Which characters of a text each of its pieces stands for.
//!
//! A tokenizer takes a text apart, composes and decomposes characters, drops accents, changes case and white space. Both
//! sides are brought to a form in which none of this is left ([`folded`]); then the two mostly are the same characters, one
//! after the other. Where they are not (unknown characters, which a piece does not tell; odd replacements), the longest
//! common subsequence of the next few hundred characters says how they go together, and a piece that has nothing in common
//! with the text stands for what lies between its neighbours. So every text is aligned: nothing is ever left out.

use std::ops::Range;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

/// How many characters of either side are looked at where they differ.
const STRETCH: usize = 256;

/// The characters of `text` without what tokenizers change: decomposed for compatibility, without marks, in lower case,
/// without white space and what stands for it.
pub(super) fn folded(text: &str) -> impl Iterator<Item = char> {
    let plain = |c: &char| !c.is_whitespace() && !matches!(c, '▁' | '\u{1C}'..='\u{1F}');
    text.nfkd()
        .filter(|&c| canonical_combining_class(c) == 0)
        .flat_map(char::to_lowercase)
        .nfkd()
        .filter(plain)
}

/// The range of bytes of `text` that each piece stands for; in order, white space around a piece not included. `pieces` has
/// the text of each piece, or `None` for the unknown one.
pub(super) fn align<'a>(text: &str, pieces: impl Iterator<Item = Option<&'a str>>) -> Vec<Range<usize>> {
    let mut characters: Vec<(char, Range<usize>)> = Vec::with_capacity(text.len());
    for (start, c) in text.char_indices() {
        let bytes = start..start + c.len_utf8();
        characters.extend(folded(&text[bytes.clone()]).map(|c| (c, bytes.clone())));
    }
    let mut written: Vec<(char, usize)> = Vec::with_capacity(characters.len());
    let mut count = 0;
    for piece in pieces {
        written.extend(folded(piece.unwrap_or_default()).map(|c| (c, count)));
        count += 1;
    }
    let mut spans: Vec<Option<Range<usize>>> = vec![None; count];
    for (at, place) in pairs(&characters, &written) {
        let (piece, bytes) = (written[place].1, &characters[at].1);
        let span = spans[piece].get_or_insert(bytes.clone());
        span.end = span.end.max(bytes.end);
    }
    fill(text, &spans)
}

/// Pairs of equal characters, increasing on both sides.
fn pairs(text: &[(char, Range<usize>)], written: &[(char, usize)]) -> Vec<(usize, usize)> {
    let mut found = Vec::with_capacity(written.len());
    let (mut i, mut j) = (0, 0);
    while i < text.len() && j < written.len() {
        if text[i].0 == written[j].0 {
            found.push((i, j));
            (i, j) = (i + 1, j + 1);
            continue;
        }
        let (rows, columns) = (STRETCH.min(text.len() - i), STRETCH.min(written.len() - j));
        let common = common(&text[i..i + rows], &written[j..j + columns]);
        // What is common to the first half is trusted; near the end of the stretch, what follows could change it.
        let is_whole = rows == text.len() - i && columns == written.len() - j;
        let trusted = if is_whole { common.len() } else { common.len().div_ceil(2) };
        if trusted == 0 {
            if is_whole {
                break;
            }
            (i, j) = (i + rows, j + columns);
            continue;
        }
        found.extend(common[..trusted].iter().map(|&(a, b)| (i + a, j + b)));
        let (a, b) = common[trusted - 1];
        (i, j) = (i + a + 1, j + b + 1);
    }
    found
}

/// The longest common subsequence.
fn common(text: &[(char, Range<usize>)], written: &[(char, usize)]) -> Vec<(usize, usize)> {
    let width = written.len() + 1;
    // `lengths[i * width + j]`: of what is common to the rest of both from i and j on.
    let mut lengths = vec![0u16; (text.len() + 1) * width];
    for i in (0..text.len()).rev() {
        for j in (0..written.len()).rev() {
            lengths[i * width + j] = match text[i].0 == written[j].0 {
                true => lengths[(i + 1) * width + j + 1] + 1,
                false => lengths[(i + 1) * width + j].max(lengths[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    while i < text.len() && j < written.len() {
        if text[i].0 == written[j].0 {
            found.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if lengths[(i + 1) * width + j] >= lengths[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    found
}

/// Gives every piece without characters what lies between its neighbours.
fn fill(text: &str, spans: &[Option<Range<usize>>]) -> Vec<Range<usize>> {
    let mut filled = Vec::with_capacity(spans.len());
    let mut before = 0;
    for (place, span) in spans.iter().enumerate() {
        match span {
            Some(span) => {
                filled.push(span.clone());
                before = span.end;
            }
            None => {
                let next = spans[place..].iter().flatten().next().map_or(text.len(), |span| span.start);
                let gap = before..next.max(before);
                let inside = &text[gap.clone()];
                let start = gap.start + (inside.len() - inside.trim_start().len());
                filled.push(start..(gap.start + inside.trim_end().len()).max(start));
            }
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(text: &'a str, pieces: &[Option<&str>]) -> Vec<&'a str> {
        align(text, pieces.iter().copied()).into_iter().map(|span| &text[span]).collect()
    }

    #[test]
    fn pieces_stand_for_what_they_were_made_of() {
        assert_eq!(
            parts(
                "The  Café’s ½ price",
                &[
                    Some("▁the"),
                    Some("▁cafe"),
                    Some("’"),
                    Some("s"),
                    Some("▁1"),
                    Some("⁄"),
                    Some("2"),
                    Some("▁price")
                ]
            ),
            ["The", "Café", "’", "s", "½", "½", "½", "price"]
        );
        assert_eq!(
            parts("strasse ##x", &[Some("▁stra"), Some("s"), Some("se"), Some("▁##"), Some("x")]),
            ["stra", "s", "se", "##", "x"]
        );
        assert_eq!(parts("한국", &[Some("▁한"), Some("국")]), ["한", "국"]);
    }

    #[test]
    fn an_unknown_piece_stands_for_what_lies_between_its_neighbours() {
        assert_eq!(
            parts("old 文字 text 文", &[Some("▁old"), Some("▁"), None, Some("▁text"), Some("▁"), None]),
            ["old", "文字", "文字", "text", "文", "文"]
        );
        assert_eq!(parts("文", &[None]), ["文"]);
        assert_eq!(parts("", &[None]), [""]);
        assert_eq!(parts("a 文 a a", &[Some("▁a"), None, Some("▁a"), Some("▁a")]), ["a", "文", "a", "a"]);
    }

    #[test]
    fn what_the_tokenizer_added_or_lost_does_not_matter() {
        // The reference takes "2014," apart and puts a space in front of the number.
        assert_eq!(
            parts("in 2014, so", &[Some("▁in"), Some("▁"), Some("2014"), Some(","), Some("▁so")]),
            ["in", "", "2014", ",", "so"]
        );
        assert_eq!(parts("a\u{ad}b c", &[Some("▁ab"), Some("▁c")]), ["a\u{ad}b", "c"]);
        let long = "x文".repeat(1000);
        let pieces = [Some("x"), None].repeat(1000);
        let found = parts(&long, &pieces);
        assert!(found.iter().enumerate().all(|(at, part)| *part == ["x", "文"][at % 2]));
    }
}
