//! Parsed functions to kernels: names to slots and offsets, instructions to closures.

mod function;
mod instruction;
mod scope;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::PtxError;
use super::instructions::approximate::Approximations;
use super::module::{Fill, Global, Kernel, ParameterLayout};
use super::operation::{Instruction, Operation};
use super::registers::{Class, Slot};
use super::syntax::{Function, Source, Space, Variable};
use function::FunctionDecoder;
pub use function::list;
pub use instruction::{Address, Decoding, checked, lanes};
pub use scope::Symbol;

/// Most static shared memory: what CUDA allows without asking.
const MOST_STATIC_SHARED: usize = 48 << 10;
/// Most local memory per thread.
const MOST_LOCAL: usize = 512 << 10;
/// Most parameter bytes of a kernel since sm_70.
const MOST_PARAMETERS: usize = 32764;

/// Decodes a kernel and every device function it calls.
pub fn kernel(
    source: &Source,
    globals: &[Global],
    function: &Function,
    approximations: Approximations,
) -> Result<Kernel, PtxError> {
    let mut decoder = Decoder {
        source,
        approximations,
        globals,
        slots: Slots::default(),
        shared: HashMap::new(),
        static_shared: 0,
        dynamic_align: 16,
        local_bytes: 0,
        frames: Vec::new(),
        code: Vec::new(),
    };
    let mut parameters = Vec::new();
    let mut size = 0;
    for parameter in &function.parameters {
        let offset = place(&mut size, parameter, MOST_PARAMETERS)?;
        parameters.push(ParameterLayout { offset, size: parameter.size, align: parameter.align });
    }
    let places: Vec<usize> = parameters.iter().map(|parameter| parameter.offset).collect();
    FunctionDecoder::new(&mut decoder, function, Space::Parameter, &places).decode()?;
    decoder.called_functions()?;
    Ok(Kernel {
        name: Arc::from(function.name),
        parameters,
        max_threads: function.max_threads.unwrap_or(1024).min(1024),
        static_shared: decoder.static_shared,
        dynamic_align: decoder.dynamic_align,
        local_bytes: decoder.local_bytes,
        code: decoder.code,
        predicates: decoder.slots.predicates,
        words: decoder.slots.words,
        longs: decoder.slots.longs,
    })
}

/// What all functions of a kernel share.
pub struct Decoder<'s, 'a> {
    source: &'s Source<'a>,
    /// How the `.approx` functions of this module err.
    pub approximations: Approximations,
    globals: &'s [Global],
    slots: Slots,
    /// Shared variables outside functions that this kernel has met.
    shared: HashMap<&'a str, Symbol>,
    static_shared: usize,
    dynamic_align: usize,
    local_bytes: usize,
    /// Device functions that are called.
    frames: Vec<Frame<'s, 'a>>,
    code: Vec<Instruction>,
}

/// A device function that is called. It has one frame in local memory, since recursion is refused.
pub struct Frame<'s, 'a> {
    function: &'s Function<'a>,
    /// Local addresses of its parameters, then of its return values.
    places: Vec<usize>,
    /// First instruction.
    entry: usize,
    /// Frames that it calls.
    calls: Vec<usize>,
}

/// Register slots handed out so far.
#[derive(Default)]
pub struct Slots {
    predicates: Vec<Fill>,
    words: Vec<Fill>,
    longs: Vec<Fill>,
    constants: BTreeMap<(Class, Fill), Slot>,
}

impl Slots {
    /// A new register.
    pub fn register(&mut self, class: Class) -> Slot {
        self.push(class, Fill::Poison)
    }

    /// The slot that holds `fill`.
    pub fn constant(&mut self, class: Class, fill: Fill) -> Slot {
        if let Some(&slot) = self.constants.get(&(class, fill)) {
            return slot;
        }
        let slot = self.push(class, fill);
        self.constants.insert((class, fill), slot);
        slot
    }

    fn push(&mut self, class: Class, fill: Fill) -> Slot {
        let file = match class {
            Class::Predicate => &mut self.predicates,
            Class::Word => &mut self.words,
            Class::Long => &mut self.longs,
        };
        file.push(fill);
        file.len() as Slot - 1
    }
}

impl<'s, 'a> Decoder<'s, 'a> {
    /// Decodes the bodies of called functions, which may call more, and links the calls.
    fn called_functions(&mut self) -> Result<(), PtxError> {
        let mut next = 0;
        while next < self.frames.len() {
            let Frame { function, ref places, .. } = self.frames[next];
            let places = places.clone();
            self.frames[next].entry = self.code.len();
            let calls = FunctionDecoder::new(self, function, Space::Local, &places).decode()?;
            self.frames[next].calls = calls;
            next += 1;
        }
        for frame in 0..self.frames.len() {
            self.refuse_recursion(frame, frame, &mut vec![false; self.frames.len()])?;
        }
        for instruction in &mut self.code {
            if let Operation::Call(call) = &mut instruction.operation {
                call.target = self.frames[call.target].entry;
            }
        }
        Ok(())
    }

    fn refuse_recursion(&self, from: usize, to: usize, seen: &mut [bool]) -> Result<(), PtxError> {
        let mut pending = vec![from];
        while let Some(frame) = pending.pop() {
            for &callee in &self.frames[frame].calls {
                if callee == to {
                    let Function { name, line, .. } = *self.frames[to].function;
                    let (what, text) = ("recursion".into(), format!(".func {name}"));
                    return Err(PtxError::Unsupported { line, what, text });
                }
                if !std::mem::replace(&mut seen[callee], true) {
                    pending.push(callee);
                }
            }
        }
        Ok(())
    }

    /// The frame of the device function `name`, which exists and has a body.
    fn frame(&mut self, name: &str) -> Result<Option<usize>, PtxError> {
        if let Some(index) = self.frames.iter().position(|frame| frame.function.name == name) {
            return Ok(Some(index));
        }
        let mut functions = self.source.functions.iter();
        let function = functions.find(|function| function.name == name && function.body.is_some());
        let Some(function) = function else { return Ok(None) };
        let mut places = Vec::new();
        for variable in function.parameters.iter().chain(&function.returns) {
            places.push(place(&mut self.local_bytes, variable, MOST_LOCAL)?);
        }
        self.frames.push(Frame { function, places, entry: 0, calls: Vec::new() });
        Ok(Some(self.frames.len() - 1))
    }

    /// Lays out a `.shared` variable; one without a size begins where static memory ends.
    fn shared_variable(&mut self, variable: &Variable) -> Result<Symbol, PtxError> {
        let fill = if variable.size == 0 {
            self.dynamic_align = self.dynamic_align.max(variable.align);
            Fill::DynamicShared(0)
        } else {
            Fill::Bits(place(&mut self.static_shared, variable, MOST_STATIC_SHARED)? as u64)
        };
        Ok(Symbol::Variable { space: Space::Shared, fill, size: variable.size, argument: false })
    }

    /// A name declared outside functions.
    fn module_symbol(&mut self, name: &str) -> Result<Option<Symbol>, PtxError> {
        if let Some(&symbol) = self.shared.get(name) {
            return Ok(Some(symbol));
        }
        if let Some(index) = self.globals.iter().position(|global| &*global.name == name) {
            let global = &self.globals[index];
            let space = if global.constant { Space::Constant } else { Space::Global };
            let fill = Fill::Global(index, 0);
            return Ok(Some(Symbol::Variable { space, fill, size: global.size, argument: false }));
        }
        let mut variables = self.source.variables.iter();
        let variable = variables.find(|variable| variable.space == Space::Shared && variable.name == name);
        let Some(variable) = variable else { return Ok(None) };
        let symbol = self.shared_variable(variable)?;
        self.shared.insert(variable.name, symbol);
        Ok(Some(symbol))
    }
}

/// Puts `variable` behind `end`, aligned, and returns its offset.
fn place(end: &mut usize, variable: &Variable, most: usize) -> Result<usize, PtxError> {
    let offset = end.next_multiple_of(variable.align);
    *end = offset + variable.size;
    if *end > most {
        return Err(PtxError::Invalid {
            line: variable.line,
            reason: format!("more than {most} bytes of {} memory", variable.space),
            text: variable.name.into(),
        });
    }
    Ok(offset)
}
