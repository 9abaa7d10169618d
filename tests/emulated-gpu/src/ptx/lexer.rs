//! PTX text to tokens.

use super::PtxError;

/// A piece of PTX text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// A name, directive, register or opcode with its modifiers: `ld.global.u32`, `%r1`, `.reg`, `L2::128B`.
    Word(&'a str),
    /// A literal, as written.
    Number(&'a str),
    /// A string, without its quotes.
    Text(&'a str),
    /// Any other character.
    Symbol(char),
    /// The end of the text.
    End,
}

/// A token and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Spanned<'a> {
    pub token: Token<'a>,
    /// Line, from 1.
    pub line: u32,
    /// Bytes of the source.
    pub start: usize,
    pub end: usize,
}

/// All tokens of `source`, closed by [`Token::End`].
pub fn tokens(source: &str) -> Result<Vec<Spanned<'_>>, PtxError> {
    let mut lexer = Lexer { source, position: 0, line: 1 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next()?;
        tokens.push(token);
        if token.token == Token::End {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    source: &'a str,
    position: usize,
    line: u32,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Result<Spanned<'a>, PtxError> {
        self.skip_blanks()?;
        let (start, line) = (self.position, self.line);
        let rest = self.rest();
        let token = match rest.chars().next() {
            None => Token::End,
            Some('"') => return self.text(),
            Some(c) if c.is_ascii_digit() => Token::Number(&rest[..number_length(rest)]),
            Some('.' | '_' | '$' | '%') => Token::Word(&rest[..word_length(rest)]),
            Some(c) if c.is_ascii_alphabetic() => Token::Word(&rest[..word_length(rest)]),
            Some(c) => Token::Symbol(c),
        };
        self.position += match token {
            Token::Word(text) | Token::Number(text) | Token::Text(text) => text.len(),
            Token::Symbol(c) => c.len_utf8(),
            Token::End => 0,
        };
        Ok(Spanned { token, line, start, end: self.position })
    }

    fn rest(&self) -> &'a str {
        &self.source[self.position..]
    }

    fn skip(&mut self, bytes: usize) {
        let skipped = &self.source.as_bytes()[self.position..self.position + bytes];
        self.line += skipped.iter().filter(|&&byte| byte == b'\n').count() as u32;
        self.position += bytes;
    }

    fn skip_blanks(&mut self) -> Result<(), PtxError> {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\0').len();
            if blanks > 0 {
                self.skip(blanks);
            } else if rest.starts_with("//") {
                self.skip(rest.find('\n').unwrap_or(rest.len()));
            } else if rest.starts_with("/*") {
                let end = rest.find("*/").ok_or_else(|| self.unclosed("`*/`"))?;
                self.skip(end + 2);
            } else {
                return Ok(());
            }
        }
    }

    fn text(&mut self) -> Result<Spanned<'a>, PtxError> {
        let (start, line, rest) = (self.position, self.line, self.rest());
        let mut escaped = true; // the opening quote
        for (index, c) in rest.char_indices() {
            match c {
                '"' if !escaped => {
                    self.skip(index + 1);
                    return Ok(Spanned {
                        token: Token::Text(&rest[1..index]),
                        line,
                        start,
                        end: self.position,
                    });
                }
                '\\' => escaped = !escaped,
                _ => escaped = false,
            }
        }
        Err(self.unclosed("a closing `\"`"))
    }

    fn unclosed(&self, expected: &str) -> PtxError {
        PtxError::Syntax { line: self.line, expected: expected.into(), found: "the end".into() }
    }
}

/// Letters, digits, `_`, `$`, `%`, `.`, and `::` as in `L2::128B`; a single colon ends a label.
fn word_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut length = 1;
    loop {
        match bytes.get(length) {
            Some(b'_' | b'$' | b'%' | b'.') => length += 1,
            Some(byte) if byte.is_ascii_alphanumeric() => length += 1,
            Some(b':') if bytes.get(length + 1) == Some(&b':') => length += 2,
            _ => return length,
        }
    }
}

/// Digits and letters with at most one `.`; a sign only after the `e` of a decimal exponent.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let decimal = !matches!(bytes.get(1), Some(b'x' | b'X' | b'f' | b'F' | b'd' | b'D' | b'b' | b'B'));
    let mut length = 1;
    loop {
        match bytes.get(length) {
            Some(b'.') => length += 1,
            Some(byte) if byte.is_ascii_alphanumeric() => length += 1,
            Some(b'+' | b'-') if decimal && matches!(bytes[length - 1], b'e' | b'E') => length += 1,
            _ => return length,
        }
    }
}
