//! Loads and stores.

use super::super::PtxError;
use super::super::decode::{Address, Decoding, checked, lanes};
use super::super::operation::Operation;
use super::super::registers::{Class, LANES, Registers, Slot, Value};
use super::super::run::{Machine, Reach};
use super::super::syntax::{Operand, Space};
use super::super::types::Type;

/// Longest access of one lane: four words, or two longs.
pub const LONGEST: usize = 16;

pub fn decode(d: &mut Decoding) -> Result<Operation, PtxError> {
    match d.instruction.opcode {
        "ld" | "ldu" => load(d),
        "st" => store(d),
        _ => {
            // Hints: nothing to do, and nothing to check about their modifiers.
            let modifiers = d.instruction.modifiers.clone();
            d.ignore(&modifiers);
            Ok(lanes(|_, _| {}))
        }
    }
}

/// The state space among the modifiers; generic without one.
pub fn space(d: &mut Decoding) -> Space {
    d.choose(&[
        ("global", Space::Global),
        ("shared", Space::Shared),
        ("shared::cta", Space::Shared),
        ("local", Space::Local),
        ("const", Space::Constant),
        ("param", Space::Parameter),
        ("param::entry", Space::Parameter),
        ("param::func", Space::Parameter),
    ])
    .unwrap_or(Space::Generic)
}

/// Takes the modifiers that say how strong an access is and who sees it; true if it may meet others unordered.
pub fn strength(d: &mut Decoding) -> bool {
    d.ignore(&["weak", "cta", "cluster", "gpu", "sys"]);
    let strengths = ["volatile", "relaxed", "acquire", "release", "acq_rel", "mmio"];
    strengths.into_iter().filter(|name| d.take(name)).count() > 0
}

/// What a load or store is, apart from its direction.
struct Shape {
    reach: Reach,
    kind: Type,
    elements: usize,
}

fn shape(d: &mut Decoding, address: usize) -> Result<Shape, PtxError> {
    let strong = strength(d);
    let constant = d.take("nc");
    d.ignore(&["ca", "cg", "cs", "lu", "cv", "wb", "wt"]);
    d.ignore_cache_hints();
    let mut space = space(d);
    let elements = d.choose(&[("v2", 2), ("v4", 4)]).unwrap_or(1);
    let kind = d.kind()?;
    if elements * kind.bytes() > LONGEST || kind == Type::Predicate {
        return Err(d.unknown());
    }
    let (address, variable) = d.address(address)?;
    let mut initialised = true;
    if let Some((variable, argument)) = variable {
        // Parameters of calls live in local memory; structures carry padding that nobody writes.
        if space == Space::Parameter && argument {
            space = Space::Local;
            initialised = false;
        } else if space == Space::Generic && matches!(variable, Space::Global | Space::Constant) {
            space = variable;
        } else if space != variable {
            return Err(d.invalid(format!("a {variable} variable in a {space} access")));
        }
    }
    Ok(Shape { reach: Reach { space, address, strong, constant, initialised }, kind, elements })
}

/// The class of a register in memory traffic, which may be wider than the value.
fn class(d: &mut Decoding, operand: &Operand, kind: Type, declared: Option<Type>) -> Result<Class, PtxError> {
    match declared {
        Some(declared) if declared.bits() < kind.bits() || declared == Type::Predicate => {
            Err(d.invalid(format!("register {operand:?} is too narrow")))
        }
        Some(declared) => Ok(Class::of(declared)),
        None => Ok(Class::of(kind)),
    }
}

fn load(d: &mut Decoding) -> Result<Operation, PtxError> {
    d.operands(2)?;
    let Shape { reach, kind, elements } = shape(d, 1)?;
    let mut targets = Vec::new();
    for element in d.vector(0, elements)? {
        let declared = d.register_kind(element)?;
        let class = class(d, element, kind, declared)?;
        targets.push((d.target_of(element, class)?, class));
    }
    let size = kind.bytes();
    let signed = matches!(kind, Type::Signed(_));
    Ok(checked(move |machine, mask| {
        let mut bytes = [0; LONGEST * LANES];
        let width = size * elements;
        machine.load_lanes(&reach, mask, width, &mut bytes[..width * LANES])?;
        for (element, &(slot, class)) in targets.iter().enumerate() {
            let numbers = numbers(&bytes[element * size..], width, size, signed);
            match class {
                Class::Long => u64::merge(u64::column_mut(machine.registers, slot), numbers, mask),
                _ => u32::merge(u32::column_mut(machine.registers, slot), numbers.map(|n| n as u32), mask),
            }
        }
        Ok(())
    }))
}

fn store(d: &mut Decoding) -> Result<Operation, PtxError> {
    d.operands(2)?;
    let Shape { reach, kind, elements } = shape(d, 0)?;
    if matches!(reach.space, Space::Constant | Space::Parameter) {
        return Err(d.invalid(format!("a store to {} memory", reach.space)));
    }
    let mut sources = Vec::new();
    for element in d.vector(1, elements)? {
        let declared = d.register_kind(element)?;
        let class = class(d, element, kind, declared)?;
        sources.push((d.source_of(element, class)?, class));
    }
    let size = kind.bytes();
    Ok(checked(move |machine, mask| {
        let mut bytes = [0; LONGEST * LANES];
        let width = size * elements;
        for (element, &(slot, class)) in sources.iter().enumerate() {
            let numbers = match class {
                Class::Long => machine.registers.longs[slot as usize],
                _ => machine.registers.words[slot as usize].map(u64::from),
            };
            place_numbers(&mut bytes[element * size..], width, size, &numbers);
        }
        machine.store_lanes(&reach, mask, width, &bytes[..width * LANES])
    }))
}

/// The numbers of `size` bytes, little-endian, that lie `width` bytes apart.
fn numbers(bytes: &[u8], width: usize, size: usize, signed: bool) -> [u64; LANES] {
    /// With the size known, the loop is a few vector instructions.
    fn of<const SIZE: usize>(bytes: &[u8], width: usize) -> [u64; LANES] {
        std::array::from_fn(|lane| {
            let mut wide = [0; 8];
            wide[..SIZE].copy_from_slice(&bytes[lane * width..][..SIZE]);
            u64::from_le_bytes(wide)
        })
    }
    let unused = 64 - 8 * size as u32;
    let values = match size {
        1 => of::<1>(bytes, width),
        2 => of::<2>(bytes, width),
        4 => of::<4>(bytes, width),
        _ => of::<8>(bytes, width),
    };
    if signed { values.map(|value| ((value << unused) as i64 >> unused) as u64) } else { values }
}

/// Writes the lowest `size` bytes of each number, `width` bytes apart.
fn place_numbers(bytes: &mut [u8], width: usize, size: usize, numbers: &[u64; LANES]) {
    fn of<const SIZE: usize>(bytes: &mut [u8], width: usize, numbers: &[u64; LANES]) {
        for (lane, number) in numbers.iter().enumerate() {
            bytes[lane * width..][..SIZE].copy_from_slice(&number.to_le_bytes()[..SIZE]);
        }
    }
    match size {
        1 => of::<1>(bytes, width, numbers),
        2 => of::<2>(bytes, width, numbers),
        4 => of::<4>(bytes, width, numbers),
        _ => of::<8>(bytes, width, numbers),
    }
}

/// The little-endian number in `bytes`, extended to 64 bits.
pub fn number(bytes: &[u8], signed: bool) -> u64 {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let unused = 64 - 8 * bytes.len() as u32;
    let value = u64::from_le_bytes(wide);
    if signed { ((value << unused) as i64 >> unused) as u64 } else { value }
}

/// The bits of a register in one lane.
pub fn get(registers: &Registers, class: Class, slot: Slot, lane: usize) -> u64 {
    match class {
        Class::Long => registers.longs[slot as usize][lane],
        _ => registers.words[slot as usize][lane].into(),
    }
}

/// Sets a register in one lane.
pub fn set(registers: &mut Registers, class: Class, slot: Slot, lane: usize, value: u64) {
    match class {
        Class::Long => registers.longs[slot as usize][lane] = value,
        _ => registers.words[slot as usize][lane] = value as u32,
    }
}

impl Machine<'_> {
    /// The addresses of an operand in all lanes.
    pub fn addresses(&self, reach: &Reach) -> [u64; LANES] {
        let Address { slot, long, offset } = reach.address;
        match long {
            true => self.registers.longs[slot as usize].map(|base| base.wrapping_add_signed(offset)),
            false => {
                self.registers.words[slot as usize].map(|base| u64::from(base).wrapping_add_signed(offset))
            }
        }
    }

    /// The address of an operand in one lane.
    pub fn address(&self, reach: &Reach, lane: usize) -> u64 {
        let class = if reach.address.long { Class::Long } else { Class::Word };
        get(self.registers, class, reach.address.slot, lane).wrapping_add_signed(reach.address.offset)
    }
}
