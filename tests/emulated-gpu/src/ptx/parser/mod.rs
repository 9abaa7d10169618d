//! Tokens to [`Source`]: directives and functions here, variables and instructions in the files beside.

mod statement;
mod variable;

use std::collections::HashMap;
use std::sync::Arc;

use super::PtxError;
use super::lexer::{Spanned, Token, tokens};
use super::syntax::{Function, Location, Position, Source, Space, Statement};

/// Parses a whole module.
pub fn parse(source: &str) -> Result<Source<'_>, PtxError> {
    let tokens = tokens(source)?;
    let files = files(&tokens);
    let mut parser = Parser { source, tokens, position: 0, files, location: None };
    let mut module = Source::default();
    while parser.peek() != Token::End {
        parser.directive(&mut module)?;
    }
    Ok(module)
}

/// The `.file` lines; they stand at the end of the text but are needed from its start.
fn files(tokens: &[Spanned]) -> HashMap<u32, Arc<str>> {
    let mut files = HashMap::new();
    for window in tokens.windows(3) {
        if let [Token::Word(".file"), Token::Number(number), Token::Text(path)] =
            [window[0].token, window[1].token, window[2].token]
            && let Ok(number) = number.parse()
        {
            let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
            files.insert(number, Arc::from(name));
        }
    }
    files
}

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<Spanned<'a>>,
    position: usize,
    files: HashMap<u32, Arc<str>>,
    /// The `.loc` in force.
    location: Option<Location>,
}

impl<'a> Parser<'a> {
    fn spanned(&self) -> Spanned<'a> {
        self.tokens[self.position]
    }

    fn peek(&self) -> Token<'a> {
        self.spanned().token
    }

    fn line(&self) -> u32 {
        self.spanned().line
    }

    /// Takes the next token; the end stays.
    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        if token != Token::End {
            self.position += 1;
        }
        token
    }

    /// Takes `symbol` if it is next.
    fn accept(&mut self, symbol: char) -> bool {
        let found = self.peek() == Token::Symbol(symbol);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, symbol: char) -> Result<(), PtxError> {
        if self.accept(symbol) { Ok(()) } else { Err(self.unexpected(format!("`{symbol}`"))) }
    }

    fn name(&mut self) -> Result<&'a str, PtxError> {
        match self.peek() {
            Token::Word(name) => {
                self.next();
                Ok(name)
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    /// A plain count, such as an alignment or the length of an array.
    fn count(&mut self) -> Result<usize, PtxError> {
        let count = match self.peek() {
            Token::Number(text) => {
                text.trim_end_matches('U').parse::<u32>().ok().and_then(|n| usize::try_from(n).ok())
            }
            _ => None,
        };
        match count {
            Some(count) => {
                self.next();
                Ok(count)
            }
            None => Err(self.unexpected("a count below 2^32")),
        }
    }

    fn unexpected(&self, expected: impl Into<String>) -> PtxError {
        let Spanned { line, start, end, .. } = self.spanned();
        let found = if start == end { "the end of the text" } else { &self.source[start..end] };
        PtxError::Syntax { line, expected: expected.into(), found: found.into() }
    }

    fn unsupported(&self, what: impl Into<String>) -> PtxError {
        let text = self.source.lines().nth(self.line() as usize - 1).unwrap_or_default().trim();
        PtxError::Unsupported { line: self.line(), what: what.into(), text: text.into() }
    }

    /// Passes over the rest of the line that `line` is.
    fn skip_line(&mut self, line: u32) {
        while self.peek() != Token::End && self.line() == line {
            self.next();
        }
    }

    /// One directive outside functions.
    fn directive(&mut self, module: &mut Source<'a>) -> Result<(), PtxError> {
        let Token::Word(word) = self.peek() else { return Err(self.unexpected("a directive")) };
        let line = self.line();
        match word {
            ".version" | ".target" | ".file" => self.skip_line(line),
            ".loc" => self.location()?,
            ".address_size" => {
                self.next();
                match self.count()? {
                    64 => {}
                    bits => return Err(self.unsupported(format!(".address_size {bits}"))),
                }
            }
            ".pragma" => self.pragma()?,
            ".section" => self.section()?,
            ".visible" | ".weak" | ".extern" | ".common" => {
                self.next();
            }
            ".entry" | ".func" => {
                let function = self.function()?;
                module.functions.push(function);
            }
            _ if word.starts_with('.') => match Space::declared(word) {
                Some(Space::Global | Space::Constant | Space::Shared) => {
                    let variable = self.variable()?;
                    self.expect(';')?;
                    module.variables.push(variable);
                }
                _ => return Err(self.unsupported(format!("directive `{word}`"))),
            },
            _ => return Err(self.unexpected("a directive")),
        }
        Ok(())
    }

    /// `.loc file line column [, function_name name] [, inlined_at file line column]`
    fn location(&mut self) -> Result<(), PtxError> {
        let line = self.line();
        self.next();
        let position = self.source_position()?;
        let mut inlined_at = None;
        while self.peek() != Token::End && self.line() == line {
            if self.next() == Token::Word("inlined_at") {
                inlined_at = self.source_position()?;
            }
        }
        // Line 0 says "no line": the last one still tells a person more.
        if let Some(position) = position.filter(|position| position.line > 0) {
            self.location = Some(Location { position, inlined_at });
        }
        Ok(())
    }

    /// `file line column`, if the file is known.
    fn source_position(&mut self) -> Result<Option<Position>, PtxError> {
        let (file, line, _column) = (self.count()?, self.count()?, self.count()?);
        let file = u32::try_from(file).ok().and_then(|file| self.files.get(&file));
        Ok(file.map(|file| Position { file: file.clone(), line: line as u32 }))
    }

    /// `.pragma "text";`: advice to a compiler.
    fn pragma(&mut self) -> Result<(), PtxError> {
        self.next();
        while matches!(self.peek(), Token::Text(_) | Token::Symbol(',')) {
            self.next();
        }
        self.expect(';')
    }

    /// `.section name { ... }`: debugging information.
    fn section(&mut self) -> Result<(), PtxError> {
        self.next();
        self.name()?;
        self.expect('{')?;
        while !matches!(self.peek(), Token::End | Token::Symbol('}')) {
            self.next();
        }
        self.expect('}')
    }

    fn function(&mut self) -> Result<Function<'a>, PtxError> {
        let line = self.line();
        let entry = self.next() == Token::Word(".entry");
        let returns = if entry { Vec::new() } else { self.parameters()? };
        let name = self.name()?;
        let parameters = self.parameters()?;
        let mut max_threads = None;
        let body = loop {
            match self.peek() {
                Token::Word(".maxntid" | ".reqntid") => {
                    self.next();
                    max_threads = Some(self.thread_count()?);
                }
                Token::Word(".minnctapersm" | ".maxnctapersm" | ".maxnreg") => {
                    self.next();
                    self.count()?;
                }
                Token::Word(".noreturn") => {
                    self.next();
                }
                Token::Word(".pragma") => self.pragma()?,
                Token::Word(word) if word.starts_with('.') => {
                    return Err(self.unsupported(format!("directive `{word}`")));
                }
                Token::Symbol(';') => {
                    self.next();
                    break None;
                }
                Token::Symbol('{') => break Some(self.body()?),
                _ => return Err(self.unexpected("a function body")),
            }
        };
        Ok(Function { name, entry, returns, parameters, body, max_threads, line })
    }

    /// `x, y, z` with y and z optional: the product.
    fn thread_count(&mut self) -> Result<u32, PtxError> {
        let mut product = 1_u32;
        loop {
            let count = self.count()? as u32;
            product = product.checked_mul(count).ok_or_else(|| self.unexpected("fewer threads"))?;
            if !self.accept(',') {
                return Ok(product);
            }
        }
    }

    fn body(&mut self) -> Result<Vec<Statement<'a>>, PtxError> {
        self.expect('{')?;
        let mut statements = Vec::new();
        let mut depth = 1;
        loop {
            if self.accept('{') {
                depth += 1;
                statements.push(Statement::Open);
            } else if self.accept('}') {
                depth -= 1;
                if depth == 0 {
                    return Ok(statements);
                }
                statements.push(Statement::Close);
            } else {
                self.statement(&mut statements)?;
            }
        }
    }
}
