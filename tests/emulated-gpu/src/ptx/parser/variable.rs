//! Declarations: variables with their layout and values, parameters, registers.

use super::super::PtxError;
use super::super::lexer::Token;
use super::super::syntax::{Initial, Operand, Space, Statement, Variable};
use super::super::types::Type;
use super::Parser;

/// No variable may be larger: a hostile size must not become an allocation.
const LARGEST_VARIABLE: usize = 1 << 31;

impl Space {
    /// The space that a declaration such as `.shared` names.
    pub fn declared(word: &str) -> Option<Space> {
        Some(match word.strip_prefix('.')?.split('.').next()? {
            "global" => Space::Global,
            "const" => Space::Constant,
            "shared" => Space::Shared,
            "local" => Space::Local,
            "param" => Space::Parameter,
            _ => return None,
        })
    }
}

impl<'a> Parser<'a> {
    /// `(.param .u32 a, .param .align 8 .b8 b[16])`, or nothing.
    pub(super) fn parameters(&mut self) -> Result<Vec<Variable<'a>>, PtxError> {
        let mut parameters = Vec::new();
        if !self.accept('(') || self.accept(')') {
            return Ok(parameters);
        }
        loop {
            parameters.push(self.variable()?);
            if !self.accept(',') {
                self.expect(')')?;
                return Ok(parameters);
            }
        }
    }

    /// `.space [.align n] [.v2] .type [.ptr ...] name[n]... [= values]`
    pub(super) fn variable(&mut self) -> Result<Variable<'a>, PtxError> {
        let line = self.line();
        let mut space = None;
        let mut kind = None;
        let mut align = None;
        let mut elements = 1_usize;
        while let Token::Word(word) = self.peek() {
            if !word.starts_with('.') {
                break;
            }
            for part in word.split('.').skip(1) {
                match part {
                    "align" => {}
                    // `.ptr .global .align 16` tells what a pointer parameter points to.
                    "ptr" => {
                        self.next();
                        self.pointer_attributes()?;
                        break;
                    }
                    "v2" => elements = 2,
                    "v4" => elements = 4,
                    _ => match Type::parse(part) {
                        Some(parsed) => kind = Some(parsed),
                        None if space.is_none() => space = Space::declared(word),
                        None => return Err(self.unsupported(format!("attribute `.{part}`"))),
                    },
                }
            }
            match word {
                _ if word.ends_with(".ptr") => {}
                _ if word.ends_with(".align") => {
                    self.next();
                    align = Some(self.count()?);
                }
                _ => {
                    self.next();
                }
            }
        }
        let space = space.ok_or_else(|| self.unexpected("a state space such as `.global`"))?;
        let kind = kind.ok_or_else(|| self.unexpected("a type such as `.u32`"))?;
        let name = self.name()?;
        while self.accept('[') {
            let length = if self.peek() == Token::Symbol(']') { 0 } else { self.count()? };
            self.expect(']')?;
            elements = elements.checked_mul(length).ok_or_else(|| self.unexpected("a smaller array"))?;
        }
        let size = elements.checked_mul(kind.bytes()).filter(|&size| size <= LARGEST_VARIABLE);
        let size = size.ok_or_else(|| self.unexpected("a variable of at most 2 GiB"))?;
        let align = align.unwrap_or(kind.bytes());
        if !align.is_power_of_two() || align > 1 << 16 {
            return Err(self.unexpected("an alignment that is a power of two up to 65536"));
        }
        let mut initial = Vec::new();
        if self.accept('=') {
            self.initial(kind, &mut initial)?;
        }
        Ok(Variable { space, name, align, size, initial, line })
    }

    fn pointer_attributes(&mut self) -> Result<(), PtxError> {
        while let Token::Word(word @ (".global" | ".const" | ".shared" | ".local" | ".align")) = self.peek() {
            self.next();
            if word == ".align" {
                self.count()?;
            }
        }
        Ok(())
    }

    /// A value or `{values}`, flattened.
    fn initial(&mut self, kind: Type, values: &mut Vec<Initial<'a>>) -> Result<(), PtxError> {
        let mut depth = 0_usize;
        loop {
            while self.accept('{') {
                depth += 1;
            }
            if self.peek() != Token::Symbol('}') {
                values.push(self.initial_value(kind)?);
            }
            while depth > 0 && self.accept('}') {
                depth -= 1;
            }
            if depth == 0 {
                return Ok(());
            }
            self.expect(',')?;
        }
    }

    fn initial_value(&mut self, kind: Type) -> Result<Initial<'a>, PtxError> {
        let bits = match self.operand()? {
            // `generic(name)+4` is the generic address of `name`; global memory has no other.
            Operand::Name("generic") => {
                self.expect('(')?;
                let name = self.name()?;
                self.expect(')')?;
                let offset = if self.accept('+') { self.count()? } else { 0 };
                return Ok(Initial::Address(name, offset as i64));
            }
            Operand::Name(name) => return Ok(Initial::Address(name, 0)),
            Operand::Sum(name, offset) => return Ok(Initial::Address(name, offset)),
            Operand::Integer(value) => value,
            Operand::Single(value) => u64::from(value.to_bits()),
            Operand::Double(value) if kind == Type::F32 => u64::from((value as f32).to_bits()),
            Operand::Double(value) => value.to_bits(),
            _ => return Err(self.unexpected("a constant")),
        };
        Ok(Initial::Bytes(bits.to_le_bytes()[..kind.bytes()].to_vec()))
    }

    /// `.reg .type a, b<8>;` after its first word, which may carry the type: `.reg.b16`.
    pub(super) fn registers(&mut self) -> Result<Statement<'a>, PtxError> {
        let mut kind = None;
        while let Token::Word(word) = self.peek() {
            if !word.starts_with('.') {
                break;
            }
            for part in word.split('.').skip(1).filter(|&part| part != "reg") {
                match Type::parse(part) {
                    Some(parsed) => kind = Some(parsed),
                    None => return Err(self.unsupported(format!("register type `.{part}`"))),
                }
            }
            self.next();
        }
        let kind = kind.ok_or_else(|| self.unexpected("a register type"))?;
        let mut names = Vec::new();
        loop {
            let name = self.name()?;
            let mut count = None;
            if self.accept('<') {
                count = Some(self.count()? as u32);
                self.expect('>')?;
            }
            names.push((name, count));
            if !self.accept(',') {
                self.expect(';')?;
                return Ok(Statement::Registers { kind, names });
            }
        }
    }
}
