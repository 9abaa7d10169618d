//! One function body.

use super::super::PtxError;
use super::super::instructions;
use super::super::module::Fill;
use super::super::operation::{Call, Instruction, Operation, Transfer};
use super::super::registers;
use super::super::run::Class;
use super::super::syntax::{self, Function, Operand, Origin, Space, Statement, Variable};
use super::scope::{Scopes, Symbol};
use super::{Decoder, Decoding, MOST_LOCAL, place};

/// Decodes a body into the kernel's code.
pub struct FunctionDecoder<'d, 's, 'a> {
    pub decoder: &'d mut Decoder<'s, 'a>,
    function: &'s Function<'a>,
    pub scopes: Scopes<'a>,
    /// Branches whose labels are not yet known: instruction, scope, names.
    branches: Vec<(usize, usize, Branches<'a>)>,
    calls: Vec<usize>,
}

enum Branches<'a> {
    Label(&'a str),
    Table(&'a str),
}

impl<'d, 's, 'a> FunctionDecoder<'d, 's, 'a> {
    /// `space` and `places` say where the parameters, then the return values, lie.
    pub fn new(
        decoder: &'d mut Decoder<'s, 'a>,
        function: &'s Function<'a>,
        space: Space,
        places: &[usize],
    ) -> Self {
        let mut scopes = Scopes::new();
        for (variable, &place) in function.parameters.iter().chain(&function.returns).zip(places) {
            let fill = Fill::Bits(place as u64);
            let argument = space == Space::Local;
            scopes.declare(variable.name, Symbol::Variable { space, fill, size: variable.size, argument });
        }
        FunctionDecoder { decoder, function, scopes, branches: Vec::new(), calls: Vec::new() }
    }

    /// Decodes everything; returns the frames that are called.
    pub fn decode(mut self) -> Result<Vec<usize>, PtxError> {
        for statement in self.function.body.iter().flatten() {
            self.statement(statement)?;
        }
        let (line, text) = (self.function.line, "(end of the function)".into());
        let origin = Origin { text, line, location: None };
        let class = Class::Control;
        self.decoder.code.push(Instruction { guard: None, operation: Operation::Return, origin, class });
        self.link_branches()?;
        Ok(self.calls)
    }

    fn statement(&mut self, statement: &'s Statement<'a>) -> Result<(), PtxError> {
        match statement {
            Statement::Open => self.scopes.open(),
            Statement::Close => self.scopes.close(),
            Statement::Registers { kind, names } => {
                for &(name, count) in names {
                    match count {
                        Some(count) => self.scopes.declare_range(name, count, *kind),
                        None => {
                            let slot = self.decoder.slots.register(registers::Class::of(*kind));
                            self.scopes.declare(name, Symbol::Register { kind: *kind, slot });
                        }
                    }
                }
            }
            Statement::Variable(variable) => self.variable(variable)?,
            Statement::Label(name) => {
                if !self.scopes.declare_label(name, self.decoder.code.len()) {
                    return Err(PtxError::Invalid {
                        line: self.function.line,
                        reason: "the label is there twice".into(),
                        text: name.to_string(),
                    });
                }
            }
            Statement::BranchTargets(name, targets) => self.scopes.declare_targets(name, targets.clone()),
            Statement::Instruction(instruction) => self.instruction(instruction)?,
        }
        Ok(())
    }

    fn variable(&mut self, variable: &'s Variable<'a>) -> Result<(), PtxError> {
        let symbol = match variable.space {
            Space::Shared => self.decoder.shared_variable(variable)?,
            Space::Local | Space::Parameter => {
                let offset = place(&mut self.decoder.local_bytes, variable, MOST_LOCAL)?;
                Symbol::Variable {
                    space: Space::Local,
                    fill: Fill::Bits(offset as u64),
                    size: variable.size,
                    argument: variable.space == Space::Parameter,
                }
            }
            space => {
                return Err(PtxError::Unsupported {
                    line: variable.line,
                    what: format!("a {space} variable in a function"),
                    text: variable.name.into(),
                });
            }
        };
        self.scopes.declare(variable.name, symbol);
        Ok(())
    }

    /// What `name` means here or outside functions.
    pub fn symbol(&mut self, name: &'a str) -> Result<Option<Symbol>, PtxError> {
        match self.scopes.symbol(name, &mut self.decoder.slots) {
            Some(symbol) => Ok(Some(symbol)),
            None => self.decoder.module_symbol(name),
        }
    }

    fn instruction(&mut self, instruction: &'s syntax::Instruction<'a>) -> Result<(), PtxError> {
        let mut decoding = Decoding::new(self, instruction);
        let guard = decoding.guard()?;
        let operation = instructions::decode(&mut decoding)?;
        decoding.finish()?;
        let origin = instruction.origin.clone();
        let class = Class::of(instruction.opcode, &instruction.modifiers);
        self.decoder.code.push(Instruction { guard, operation, origin, class });
        Ok(())
    }

    /// Remembers that the instruction to come branches to `label`.
    pub fn branch(&mut self, label: &'a str) {
        let scope = self.scopes.current();
        self.branches.push((self.decoder.code.len(), scope, Branches::Label(label)));
    }

    /// Remembers that the instruction to come branches to a target of `table`.
    pub fn branch_indexed(&mut self, table: &'a str) {
        let scope = self.scopes.current();
        self.branches.push((self.decoder.code.len(), scope, Branches::Table(table)));
    }

    fn link_branches(&mut self) -> Result<(), PtxError> {
        for (index, scope, names) in &self.branches {
            let instruction = &mut self.decoder.code[*index];
            let unknown = |name: &str| PtxError::Invalid {
                line: instruction.origin.line,
                reason: format!("unknown label `{name}`"),
                text: instruction.origin.text.to_string(),
            };
            let position = |name: &str| self.scopes.label_from(*scope, name).ok_or_else(|| unknown(name));
            match (names, &mut instruction.operation) {
                (Branches::Label(name), Operation::Branch(target)) => *target = position(name)?,
                (Branches::Table(name), Operation::BranchIndexed { targets, .. }) => {
                    let names = self.scopes.targets_from(*scope, name).ok_or_else(|| unknown(name))?;
                    *targets = names.iter().map(|name| position(name)).collect::<Result<_, _>>()?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A call of the device function `name`, or `None` if there is no such function.
    pub fn call(
        &mut self,
        name: &str,
        results: &[&'a str],
        arguments: &[&'a str],
    ) -> Result<Option<Call>, PtxError> {
        let Some(target) = self.decoder.frame(name)? else { return Ok(None) };
        self.calls.push(target);
        let frame = &self.decoder.frames[target];
        let (formal_arguments, formal_results) = frame.places.split_at(frame.function.parameters.len());
        let (formal_arguments, formal_results) = (formal_arguments.to_vec(), formal_results.to_vec());
        let mut call = Call { target, arguments: Vec::new(), results: Vec::new() };
        if formal_arguments.len() != arguments.len() || formal_results.len() != results.len() {
            return Ok(None);
        }
        for (name, to) in arguments.iter().zip(formal_arguments) {
            let Some((from, size)) = self.argument(name)? else { return Ok(None) };
            call.arguments.push(Transfer { from, to, size });
        }
        for (name, from) in results.iter().zip(formal_results) {
            let Some((to, size)) = self.argument(name)? else { return Ok(None) };
            call.results.push(Transfer { from, to, size });
        }
        Ok(Some(call))
    }

    /// Local address and size of the `.param` variable `name`.
    pub fn argument(&mut self, name: &'a str) -> Result<Option<(usize, usize)>, PtxError> {
        Ok(match self.symbol(name)? {
            Some(Symbol::Variable { fill: Fill::Bits(place), size, argument: true, .. }) => {
                Some((place as usize, size))
            }
            _ => None,
        })
    }
}

/// The operand of a call that lists names.
pub fn list<'i, 'a>(operand: Option<&'i Operand<'a>>) -> &'i [&'a str] {
    match operand {
        Some(Operand::List(names)) => names,
        _ => &[],
    }
}
