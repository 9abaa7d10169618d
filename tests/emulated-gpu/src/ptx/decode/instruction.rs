//! The view of one instruction that the instruction families decode from.

use super::super::PtxError;
use super::super::fault::Trouble;
use super::super::module::{Fill, Special};
use super::super::operation::{Action, Operation};
use super::super::registers::{Class, Slot, Value};
use super::super::run::Machine;
use super::super::syntax::{Instruction, Operand, Space};
use super::super::types::Type;
use super::function::FunctionDecoder;
use super::scope::Symbol;

/// An instruction being decoded: its modifiers are taken one by one, and none may be left over.
pub struct Decoding<'f, 'd, 's, 'a> {
    pub function: &'f mut FunctionDecoder<'d, 's, 'a>,
    pub instruction: &'s Instruction<'a>,
    modifiers: Vec<&'a str>,
}

/// Where an operand's address comes from.
#[derive(Debug, Clone, Copy)]
pub struct Address {
    /// Register or constant that holds the base.
    pub slot: Slot,
    /// Whether the base has 64 bits.
    pub long: bool,
    /// Added to the base.
    pub offset: i64,
}

impl<'s, 'a> Decoding<'_, '_, 's, 'a> {
    pub(super) fn new<'f, 'd>(
        function: &'f mut FunctionDecoder<'d, 's, 'a>,
        instruction: &'s Instruction<'a>,
    ) -> Decoding<'f, 'd, 's, 'a> {
        Decoding { function, instruction, modifiers: instruction.modifiers.clone() }
    }

    /// The guard's register, and the value that lets a lane take part.
    pub(super) fn guard(&mut self) -> Result<Option<(Slot, bool)>, PtxError> {
        let Some((name, negated)) = self.instruction.guard else { return Ok(None) };
        Ok(Some((self.register(name, Class::Predicate)?, !negated)))
    }

    /// Every modifier must have meant something.
    pub(super) fn finish(self) -> Result<(), PtxError> {
        match self.modifiers.first() {
            None => Ok(()),
            Some(name) => {
                Err(self.unsupported(format!("modifier `.{name}` of `{}`", self.instruction.opcode)))
            }
        }
    }

    /// Whether the modifier `name` is there.
    pub fn has(&self, name: &str) -> bool {
        self.modifiers.contains(&name)
    }

    /// Takes the modifier `name` if it is there.
    pub fn take(&mut self, name: &str) -> bool {
        let position = self.modifiers.iter().position(|&modifier| modifier == name);
        position.map(|position| self.modifiers.remove(position)).is_some()
    }

    /// Takes whichever modifier of `choices` is there.
    pub fn choose<T: Copy>(&mut self, choices: &[(&str, T)]) -> Option<T> {
        choices.iter().find(|(name, _)| self.take(name)).map(|&(_, choice)| choice)
    }

    /// As [`Self::choose`], where one must be there.
    pub fn one_of<T: Copy>(&mut self, choices: &[(&str, T)]) -> Result<T, PtxError> {
        let names = || choices.iter().map(|(name, _)| format!(".{name}")).collect::<Vec<_>>().join(", ");
        match self.choose(choices) {
            Some(choice) => Ok(choice),
            None => {
                Err(self.unsupported(format!("`{}` without one of {}", self.instruction.opcode, names())))
            }
        }
    }

    /// Drops modifiers that change speed or reach, not results.
    pub fn ignore(&mut self, names: &[&str]) {
        self.modifiers.retain(|modifier| !names.contains(modifier));
    }

    /// Drops hints such as `L1::evict_last` and `L2::128B`.
    pub fn ignore_cache_hints(&mut self) {
        self.modifiers.retain(|modifier| !modifier.starts_with("L1::") && !modifier.starts_with("L2::"));
    }

    /// Takes the first modifier that is a type.
    pub fn kind(&mut self) -> Result<Type, PtxError> {
        let found = self.modifiers.iter().enumerate().find_map(|(i, name)| Some((i, Type::parse(name)?)));
        match found {
            Some((index, kind)) => {
                self.modifiers.remove(index);
                Ok(kind)
            }
            None => Err(self.invalid("the type is missing")),
        }
    }

    /// Whether there are `count` operands.
    pub fn operands(&self, count: usize) -> Result<(), PtxError> {
        match self.instruction.operands.len() {
            n if n == count => Ok(()),
            n => Err(self.invalid(format!("{n} operands instead of {count}"))),
        }
    }

    /// The operand at `index`.
    pub fn operand(&self, index: usize) -> Result<&'s Operand<'a>, PtxError> {
        self.instruction
            .operands
            .get(index)
            .ok_or_else(|| self.invalid(format!("operand {index} is missing")))
    }

    /// The elements of the operand at `index`: those of a vector, or itself.
    pub fn elements(&self, index: usize) -> Result<&'s [Operand<'a>], PtxError> {
        Ok(match self.operand(index)? {
            Operand::Vector(elements) => elements,
            operand => std::slice::from_ref(operand),
        })
    }

    /// The elements of the vector at `index`, which must be `count`.
    pub fn vector(&self, index: usize, count: usize) -> Result<&'s [Operand<'a>], PtxError> {
        let elements = self.elements(index)?;
        if elements.len() == count {
            return Ok(elements);
        }
        Err(self.invalid(format!("operand {index} has {} elements instead of {count}", elements.len())))
    }

    /// The destination register `index`, written as `V`.
    pub fn target<V: Value>(&mut self, index: usize) -> Result<Slot, PtxError> {
        self.target_of(self.operand(index)?, V::CLASS)
    }

    /// A destination register, or a slot for nothing (`_`).
    pub fn target_of(&mut self, operand: &'s Operand<'a>, class: Class) -> Result<Slot, PtxError> {
        match operand {
            Operand::Name("_") => Ok(self.function.decoder.slots.register(class)),
            Operand::Name(name) => self.register(name, class),
            _ => Err(self.invalid("the destination is no register")),
        }
    }

    /// The destination register called `name`, written as `V`.
    pub fn named_target<V: Value>(&mut self, name: &'a str) -> Result<Slot, PtxError> {
        match name {
            "_" => Ok(self.function.decoder.slots.register(V::CLASS)),
            _ => self.register(name, V::CLASS),
        }
    }

    /// Local addresses of the variables that a call passes.
    pub fn arguments(&mut self, names: &[&'a str]) -> Result<Vec<usize>, PtxError> {
        let mut places = Vec::new();
        for name in names {
            let place = self.function.argument(name)?;
            places.push(place.ok_or_else(|| self.invalid(format!("`{name}` is no parameter of a call")))?.0);
        }
        Ok(places)
    }

    /// The register, whose width must be that of the class.
    fn register(&mut self, name: &'a str, class: Class) -> Result<Slot, PtxError> {
        match self.function.symbol(name)? {
            Some(Symbol::Register { kind, slot }) if Class::of(kind) == class => Ok(slot),
            Some(Symbol::Register { .. }) => Err(self.invalid(format!("`{name}` has the wrong width"))),
            _ => Err(self.invalid(format!("`{name}` is no register"))),
        }
    }

    /// The register's declared type, if `operand` is a register.
    pub fn register_kind(&mut self, operand: &'s Operand<'a>) -> Result<Option<Type>, PtxError> {
        let Operand::Name(name) = operand else { return Ok(None) };
        Ok(match self.function.symbol(name)? {
            Some(Symbol::Register { kind, .. }) => Some(kind),
            _ => None,
        })
    }

    /// The source operand `index`, read as `V`.
    pub fn source<V: Value>(&mut self, index: usize) -> Result<Slot, PtxError> {
        self.source_of(self.operand(index)?, V::CLASS)
    }

    /// The slot that holds a source operand.
    pub fn source_of(&mut self, operand: &'s Operand<'a>, class: Class) -> Result<Slot, PtxError> {
        let fill = match (operand, class) {
            (&Operand::Integer(value), Class::Predicate) => Fill::Bits(u64::from(value != 0)),
            (_, Class::Predicate) => {
                let Operand::Name(name) = operand else { return Err(self.invalid("a predicate is missing")) };
                return self.register(name, class);
            }
            (&Operand::Integer(bits), Class::Word) => Fill::Bits(bits & u64::from(u32::MAX)),
            (&Operand::Integer(bits), _) => Fill::Bits(bits),
            (&Operand::Single(value), Class::Word) => Fill::Bits(value.to_bits().into()),
            (&Operand::Single(value), _) => Fill::Bits(f64::from(value).to_bits()),
            (&Operand::Double(value), Class::Word) => Fill::Bits((value as f32).to_bits().into()),
            (&Operand::Double(value), _) => Fill::Bits(value.to_bits()),
            (&Operand::Sum(name, offset), _) => self.symbol_address(name, offset)?,
            (&Operand::Name("WARP_SZ"), _) => Fill::Bits(32),
            (&Operand::Name(name), _) => match self.function.symbol(name)? {
                Some(Symbol::Register { .. }) => return self.register(name, class),
                Some(Symbol::Variable { .. }) => self.symbol_address(name, 0)?,
                None => match Special::parse(name) {
                    Some(special) => Fill::Special(special),
                    None if name.starts_with('%') => {
                        let what = format!("`{name}`, no register declared here nor a known special one,");
                        return Err(self.unsupported(what));
                    }
                    None => return Err(self.invalid(format!("unknown name `{name}`"))),
                },
            },
            _ => return Err(self.invalid("an operand of another kind is expected")),
        };
        Ok(self.function.decoder.slots.constant(class, fill))
    }

    /// A predicate operand that may be negated: `p` or `!p`.
    pub fn predicate(&mut self, index: usize) -> Result<(Slot, bool), PtxError> {
        match self.operand(index)? {
            Operand::Not(name) => Ok((self.register(name, Class::Predicate)?, true)),
            operand => Ok((self.source_of(operand, Class::Predicate)?, false)),
        }
    }

    fn symbol_address(&mut self, name: &'a str, offset: i64) -> Result<Fill, PtxError> {
        match self.function.symbol(name)? {
            Some(Symbol::Variable { fill, .. }) => match fill {
                Fill::Bits(place) => Ok(Fill::Bits(place.wrapping_add_signed(offset))),
                Fill::Global(index, start) => Ok(Fill::Global(index, start.wrapping_add(offset))),
                Fill::DynamicShared(start) => Ok(Fill::DynamicShared(start.wrapping_add(offset))),
                Fill::Poison | Fill::Special(_) => Err(self.invalid("no address")),
            },
            _ => Err(self.invalid(format!("unknown name `{name}`"))),
        }
    }

    /// The memory operand `index` and, if it names a variable, the space of that and whether it is a call's.
    pub fn address(&mut self, index: usize) -> Result<(Address, Option<(Space, bool)>), PtxError> {
        let Operand::Address(base, offset) = self.operand(index)? else {
            return Err(self.invalid(format!("operand {index} is no address")));
        };
        let (mut class, mut variable) = (Class::Long, None);
        if let Operand::Name(name) = **base {
            match self.function.symbol(name)? {
                Some(Symbol::Register { kind, .. }) => class = Class::of(kind),
                Some(Symbol::Variable { space, argument, .. }) => variable = Some((space, argument)),
                None => {}
            }
        }
        let slot = self.source_of(base, class)?;
        Ok((Address { slot, long: class == Class::Long, offset: *offset }, variable))
    }

    /// `d = f(a)`
    pub fn unary<D: Value, A: Value>(
        &mut self,
        f: impl Fn(A) -> D + Send + Sync + 'static,
    ) -> Result<Operation, PtxError> {
        self.operands(2)?;
        let slots = [self.target::<D>(0)?, self.source::<A>(1)?];
        Ok(lanes(move |machine, mask| machine.registers.map1(mask, slots, &f)))
    }

    /// `d = f(a, b)`
    pub fn binary<D: Value, A: Value, B: Value>(
        &mut self,
        f: impl Fn(A, B) -> D + Send + Sync + 'static,
    ) -> Result<Operation, PtxError> {
        self.operands(3)?;
        let slots = [self.target::<D>(0)?, self.source::<A>(1)?, self.source::<B>(2)?];
        Ok(lanes(move |machine, mask| machine.registers.map2(mask, slots, &f)))
    }

    /// `d = f(a, b, c)`
    pub fn ternary<D: Value, A: Value, B: Value, C: Value>(
        &mut self,
        f: impl Fn(A, B, C) -> D + Send + Sync + 'static,
    ) -> Result<Operation, PtxError> {
        self.operands(4)?;
        let slots = [self.target::<D>(0)?, self.source::<A>(1)?, self.source::<B>(2)?, self.source::<C>(3)?];
        Ok(lanes(move |machine, mask| machine.registers.map3(mask, slots, &f)))
    }

    /// `d = f(a, b, c, e)`
    pub fn quaternary<D: Value, A: Value, B: Value, C: Value, E: Value>(
        &mut self,
        f: impl Fn(A, B, C, E) -> D + Send + Sync + 'static,
    ) -> Result<Operation, PtxError> {
        self.operands(5)?;
        let [d, a, b] = [self.target::<D>(0)?, self.source::<A>(1)?, self.source::<B>(2)?];
        let slots = [d, a, b, self.source::<C>(3)?, self.source::<E>(4)?];
        Ok(lanes(move |machine, mask| machine.registers.map4(mask, slots, &f)))
    }

    /// `what` has no model here.
    pub fn unsupported(&self, what: impl Into<String>) -> PtxError {
        let origin = &self.instruction.origin;
        PtxError::Unsupported { line: origin.line, what: what.into(), text: origin.text.to_string() }
    }

    /// The instruction as a whole has no model here.
    pub fn unknown(&self) -> PtxError {
        let modifiers: String = self.instruction.modifiers.iter().map(|name| format!(".{name}")).collect();
        self.unsupported(format!("instruction `{}{modifiers}`", self.instruction.opcode))
    }

    /// The instruction breaks a rule of PTX.
    pub fn invalid(&self, reason: impl Into<String>) -> PtxError {
        let origin = &self.instruction.origin;
        PtxError::Invalid { line: origin.line, reason: reason.into(), text: origin.text.to_string() }
    }
}

/// An operation on registers, which cannot fail.
pub fn lanes(run: impl Fn(&mut Machine<'_>, u32) + Send + Sync + 'static) -> Operation {
    Operation::Lanes(Box::new(move |machine, mask| {
        run(machine, mask);
        Ok(())
    }))
}

/// An operation that can go wrong.
pub fn checked(
    run: impl Fn(&mut Machine<'_>, u32) -> Result<(), Box<Trouble>> + Send + Sync + 'static,
) -> Operation {
    let action: Action = Box::new(run);
    Operation::Lanes(action)
}
