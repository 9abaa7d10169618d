//! Statements of a function body: labels, instructions, operands.

use std::sync::Arc;

use super::super::PtxError;
use super::super::lexer::Token;
use super::super::syntax::{Instruction, Operand, Origin, Space, Statement};
use super::Parser;

impl<'a> Parser<'a> {
    pub(super) fn statement(&mut self, statements: &mut Vec<Statement<'a>>) -> Result<(), PtxError> {
        match self.peek() {
            Token::Symbol(';') => {
                self.next();
            }
            Token::Symbol('@') => statements.push(self.instruction()?),
            Token::Word(".loc") => self.location()?,
            Token::Word(".pragma") => self.pragma()?,
            Token::Word(word) if word == ".reg" || word.starts_with(".reg.") => {
                statements.push(self.registers()?);
            }
            Token::Word(word) if Space::declared(word).is_some() => {
                let variable = self.variable()?;
                self.expect(';')?;
                statements.push(Statement::Variable(variable));
            }
            Token::Word(word) if word.starts_with('.') => {
                return Err(self.unsupported(format!("directive `{word}`")));
            }
            Token::Word(name) => {
                if self.tokens[self.position + 1].token == Token::Symbol(':') {
                    self.position += 2;
                    statements.push(self.labelled(name)?);
                } else {
                    statements.push(self.instruction()?);
                }
            }
            _ => return Err(self.unexpected("an instruction")),
        }
        Ok(())
    }

    /// What stands behind `name:`; a table of targets belongs to its label.
    fn labelled(&mut self, name: &'a str) -> Result<Statement<'a>, PtxError> {
        if self.peek() != Token::Word(".branchtargets") {
            return Ok(Statement::Label(name));
        }
        self.next();
        let mut targets = vec![self.name()?];
        while self.accept(',') {
            targets.push(self.name()?);
        }
        self.expect(';')?;
        Ok(Statement::BranchTargets(name, targets))
    }

    fn instruction(&mut self) -> Result<Statement<'a>, PtxError> {
        let (start, line) = (self.spanned().start, self.line());
        let mut guard = None;
        if self.accept('@') {
            let negated = self.accept('!');
            guard = Some((self.name()?, negated));
        }
        let mut words = self.name()?.split('.');
        let opcode = words.next().unwrap_or_default();
        let modifiers = words.collect();
        let mut operands = Vec::new();
        while !self.accept(';') {
            if !operands.is_empty() {
                self.expect(',')?;
            }
            operands.push(self.operand()?);
        }
        let end = self.tokens[self.position - 1].start;
        let text: Vec<&str> = self.source[start..end].split_whitespace().collect();
        let origin = Origin { text: Arc::from(text.join(" ")), line, location: self.location.clone() };
        Ok(Statement::Instruction(Box::new(Instruction { guard, opcode, modifiers, operands, origin })))
    }

    pub(super) fn operand(&mut self) -> Result<Operand<'a>, PtxError> {
        if self.accept('{') {
            let mut elements = vec![self.scalar()?];
            while self.accept(',') {
                elements.push(self.scalar()?);
            }
            self.expect('}')?;
            return Ok(Operand::Vector(elements));
        }
        if self.accept('[') {
            let (base, offset) = match self.scalar()? {
                Operand::Sum(name, offset) => (Operand::Name(name), offset),
                Operand::Integer(address) => (Operand::Integer(address), 0),
                Operand::Name(name) => (Operand::Name(name), 0),
                _ => return Err(self.unexpected("an address")),
            };
            self.expect(']')?;
            return Ok(Operand::Address(Box::new(base), offset));
        }
        if self.accept('(') {
            let mut names = Vec::new();
            while !self.accept(')') {
                if !names.is_empty() {
                    self.expect(',')?;
                }
                names.push(self.name()?);
            }
            return Ok(Operand::List(names));
        }
        self.scalar()
    }

    /// An operand that is no vector, address or list.
    fn scalar(&mut self) -> Result<Operand<'a>, PtxError> {
        if self.accept('!') {
            return Ok(Operand::Not(self.name()?));
        }
        let Token::Word(name) = self.peek() else { return self.number() };
        self.next();
        if self.accept('|') {
            return Ok(Operand::Pair(name, self.name()?));
        }
        let minus = self.peek() == Token::Symbol('-');
        if minus || self.accept('+') {
            return match self.number()? {
                Operand::Integer(offset) => Ok(Operand::Sum(name, offset as i64)),
                _ => Err(self.unexpected("an offset")),
            };
        }
        Ok(Operand::Name(name))
    }

    fn number(&mut self) -> Result<Operand<'a>, PtxError> {
        let negative = self.accept('-');
        let value = match self.peek() {
            Token::Number(text) => literal(text),
            _ => None,
        };
        let value = value.ok_or_else(|| self.unexpected("an operand"))?;
        self.next();
        Ok(match value {
            Operand::Integer(value) if negative => Operand::Integer(value.wrapping_neg()),
            Operand::Single(value) if negative => Operand::Single(-value),
            Operand::Double(value) if negative => Operand::Double(-value),
            value => value,
        })
    }
}

/// The value of a literal: `12`, `0x1F`, `0b11`, `017`, `12U`, `0f3F800000`, `0d3FF0000000000000`, `1.5`.
fn literal(text: &str) -> Option<Operand<'static>> {
    let digits = text.trim_end_matches('U');
    let prefixed = |prefixes: [&str; 2]| prefixes.iter().find_map(|prefix| digits.strip_prefix(prefix));
    if let Some(hex) = prefixed(["0f", "0F"]) {
        return u32::from_str_radix(hex, 16).ok().map(|bits| Operand::Single(f32::from_bits(bits)));
    }
    if let Some(hex) = prefixed(["0d", "0D"]) {
        return u64::from_str_radix(hex, 16).ok().map(|bits| Operand::Double(f64::from_bits(bits)));
    }
    let integer = if let Some(hex) = prefixed(["0x", "0X"]) {
        u64::from_str_radix(hex, 16)
    } else if let Some(binary) = prefixed(["0b", "0B"]) {
        u64::from_str_radix(binary, 2)
    } else if digits.len() > 1 && digits.starts_with('0') && !digits.contains('.') {
        u64::from_str_radix(&digits[1..], 8)
    } else {
        digits.parse()
    };
    match integer {
        Ok(value) => Some(Operand::Integer(value)),
        Err(_) => digits.parse().ok().map(Operand::Double),
    }
}
