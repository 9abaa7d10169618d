//! What the parser makes of PTX text; names are not yet resolved.

use std::fmt;
use std::sync::Arc;

use super::types::Type;

/// A parsed module.
#[derive(Debug, Default)]
pub struct Source<'a> {
    pub functions: Vec<Function<'a>>,
    /// `.global`, `.const` and `.shared` variables outside functions.
    pub variables: Vec<Variable<'a>>,
}

/// A kernel or a device function.
#[derive(Debug)]
pub struct Function<'a> {
    pub name: &'a str,
    /// Kernels are entries.
    pub entry: bool,
    pub returns: Vec<Variable<'a>>,
    pub parameters: Vec<Variable<'a>>,
    /// Empty for a declaration.
    pub body: Option<Vec<Statement<'a>>>,
    /// `.maxntid` or `.reqntid`.
    pub max_threads: Option<u32>,
    pub line: u32,
}

/// Where a variable lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// An address that says itself which memory it means.
    Generic,
    /// Device memory.
    Global,
    /// Tables that kernels only read.
    Constant,
    /// The memory of a block.
    Shared,
    /// The memory of a thread.
    Local,
    /// What a kernel or function is given.
    Parameter,
}

/// A variable with its layout.
#[derive(Debug, Clone)]
pub struct Variable<'a> {
    pub space: Space,
    pub name: &'a str,
    pub align: usize,
    /// Bytes; 0 for `name[]`, whose size the launch gives.
    pub size: usize,
    /// Values at the start of the variable; the rest is zero.
    pub initial: Vec<Initial<'a>>,
    pub line: u32,
}

/// One value of an initialiser.
#[derive(Debug, Clone, PartialEq)]
pub enum Initial<'a> {
    /// Little-endian bytes.
    Bytes(Vec<u8>),
    /// The address of another variable, plus an offset.
    Address(&'a str, i64),
}

/// One line of a function body.
#[derive(Debug)]
pub enum Statement<'a> {
    /// `{`: names declared from here on are seen until the matching close.
    Open,
    /// `}`
    Close,
    /// `.reg .type name, prefix<count>;`
    Registers {
        kind: Type,
        names: Vec<(&'a str, Option<u32>)>,
    },
    /// A `.shared`, `.local` or `.param` variable.
    Variable(Variable<'a>),
    Label(&'a str),
    /// `name: .branchtargets a, b;`
    BranchTargets(&'a str, Vec<&'a str>),
    Instruction(Box<Instruction<'a>>),
}

/// An instruction as written.
#[derive(Debug)]
pub struct Instruction<'a> {
    /// `@p` or `@!p`: the predicate, and whether it is negated.
    pub guard: Option<(&'a str, bool)>,
    pub opcode: &'a str,
    pub modifiers: Vec<&'a str>,
    pub operands: Vec<Operand<'a>>,
    pub origin: Origin,
}

/// What reports say of an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The PTX text, with single blanks.
    pub text: Arc<str>,
    /// Line of the PTX text, from 1.
    pub line: u32,
    /// Where in the `.cu` source, if the module was compiled with `--generate-line-info`.
    pub location: Option<Location>,
}

/// A line of a `.cu` source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Name of the file, without folders.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
}

/// Where an instruction comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The line itself.
    pub position: Position,
    /// The call that was inlined, where there was one.
    pub inlined_at: Option<Position>,
}

/// An operand, unresolved.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand<'a> {
    /// A register, symbol, label, special register, or `_`.
    Name(&'a str),
    /// `symbol+4`
    Sum(&'a str, i64),
    /// An integer, sign-extended to 64 bits.
    Integer(u64),
    /// `0f3F800000`
    Single(f32),
    /// `0d3FF0000000000000` or `1.5`
    Double(f64),
    /// `!p`
    Not(&'a str),
    /// `a|b`
    Pair(&'a str, &'a str),
    /// `{a, b}`
    Vector(Vec<Operand<'a>>),
    /// `[base+offset]`; the base is a name or an integer.
    Address(Box<Operand<'a>>, i64),
    /// `(a, b)`: what a call passes or returns.
    List(Vec<&'a str>),
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Space::Generic => "generic",
            Space::Global => "global",
            Space::Constant => "constant",
            Space::Shared => "shared",
            Space::Local => "local",
            Space::Parameter => "parameter",
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.position.file, self.position.line)?;
        match &self.inlined_at {
            Some(caller) => write!(f, ", inlined at {}:{}", caller.file, caller.line),
            None => Ok(()),
        }
    }
}
