//! A loaded module: kernels ready to run, and the tables they read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::PtxError;
use super::decode;
use super::instructions::approximate::Approximations;
use super::operation::Instruction;
use super::parser;
use super::syntax::{Initial, Source, Space, Variable};

/// What one PTX text holds.
#[derive(Debug)]
pub struct Module {
    kernels: BTreeMap<Arc<str>, Kernel>,
    globals: Vec<Global>,
}

impl Module {
    /// Parses and decodes PTX. Whatever the emulator has no model for is refused here, by name.
    /// Approximations err as the environment says.
    pub fn parse(ptx: &str) -> Result<Module, PtxError> {
        Module::parse_with(ptx, Approximations::from_environment())
    }

    /// As [`Module::parse`], with the errors of approximations given.
    pub fn parse_with(ptx: &str, approximations: Approximations) -> Result<Module, PtxError> {
        let source = parser::parse(ptx)?;
        let globals = globals(&source)?;
        let mut kernels = BTreeMap::new();
        for function in source.functions.iter().filter(|function| function.entry) {
            let kernel = decode::kernel(&source, &globals, function, approximations)?;
            kernels.insert(kernel.name.clone(), kernel);
        }
        Ok(Module { kernels, globals })
    }

    /// The kernel of that name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.get(name)
    }

    /// All kernels, by name.
    pub fn kernels(&self) -> impl Iterator<Item = &Kernel> {
        self.kernels.values()
    }

    /// The `.global` and `.const` variables, which whoever loads the module places in device memory. A launch is
    /// given their addresses in this order.
    pub fn globals(&self) -> &[Global] {
        &self.globals
    }
}

/// A `.global` or `.const` variable.
#[derive(Debug)]
pub struct Global {
    /// Its name in the PTX.
    pub name: Arc<str>,
    /// Bytes.
    pub size: usize,
    /// Alignment in bytes.
    pub align: usize,
    /// Whether kernels may only read it.
    pub constant: bool,
    initial: Vec<u8>,
    /// Eight bytes at `.0` are the address of global `.1` plus `.2`.
    addresses: Vec<(usize, usize, i64)>,
}

impl Global {
    /// The bytes to place in device memory, given where each global of the module will be.
    pub fn contents(&self, addresses: &[u64]) -> Vec<u8> {
        let mut contents = self.initial.clone();
        contents.resize(self.size, 0);
        for &(offset, global, addend) in &self.addresses {
            let address = addresses[global].wrapping_add_signed(addend);
            contents[offset..offset + 8].copy_from_slice(&address.to_le_bytes());
        }
        contents
    }
}

/// Where a parameter lies in the bytes that a launch is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterLayout {
    /// First byte.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
    /// Alignment in bytes.
    pub align: usize,
}

/// A kernel, decoded.
#[derive(Debug)]
pub struct Kernel {
    /// Its name in the PTX.
    pub name: Arc<str>,
    /// Its parameters, in order.
    pub parameters: Vec<ParameterLayout>,
    /// Most threads of a block: `.maxntid`, else 1024.
    pub max_threads: u32,
    /// Bytes of shared memory declared with a size.
    pub static_shared: usize,
    /// Alignment of `extern __shared__` memory.
    pub(crate) dynamic_align: usize,
    /// Bytes of local memory per thread: stack, spilled arrays, parameters of calls.
    pub local_bytes: usize,
    pub(crate) code: Vec<Instruction>,
    pub(crate) predicates: Vec<Fill>,
    pub(crate) words: Vec<Fill>,
    pub(crate) longs: Vec<Fill>,
}

impl Kernel {
    /// Bytes of all parameters.
    pub fn parameter_bytes(&self) -> usize {
        self.parameters.last().map_or(0, |last| last.offset + last.size)
    }

    /// 32-bit registers per thread of the PTX as written: virtual ones, many more than a GPU would use.
    pub fn virtual_registers(&self) -> usize {
        let count = |file: &[Fill]| file.iter().filter(|&&fill| fill == Fill::Poison).count();
        count(&self.words) + 2 * count(&self.longs)
    }
}

/// What a register slot holds when a block starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fill {
    /// Nothing yet.
    Poison,
    /// A constant.
    Bits(u64),
    /// The address of a global, plus an offset.
    Global(usize, i64),
    /// The offset of `extern __shared__` memory in shared memory, plus an offset.
    DynamicShared(i64),
    /// A special register.
    Special(Special),
}

/// Special registers; the number is the axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Special {
    Thread(u8),
    BlockSize(u8),
    Block(u8),
    GridSize(u8),
    Lane,
    Warp,
    Warps,
    LanesEqual,
    LanesBelow,
    LanesUpTo,
    LanesAbove,
    LanesFrom,
    DynamicSharedSize,
}

impl Special {
    /// The register called `name`, such as `%tid.x`.
    pub fn parse(name: &str) -> Option<Special> {
        let (stem, axis) = match name.rsplit_once('.') {
            Some((stem, "x")) => (stem, 0),
            Some((stem, "y")) => (stem, 1),
            Some((stem, "z")) => (stem, 2),
            _ => {
                return Some(match name {
                    "%laneid" => Special::Lane,
                    "%warpid" => Special::Warp,
                    "%nwarpid" => Special::Warps,
                    "%lanemask_eq" => Special::LanesEqual,
                    "%lanemask_lt" => Special::LanesBelow,
                    "%lanemask_le" => Special::LanesUpTo,
                    "%lanemask_gt" => Special::LanesAbove,
                    "%lanemask_ge" => Special::LanesFrom,
                    "%dynamic_smem_size" => Special::DynamicSharedSize,
                    _ => return None,
                });
            }
        };
        Some(match stem {
            "%tid" => Special::Thread(axis),
            "%ntid" => Special::BlockSize(axis),
            "%ctaid" => Special::Block(axis),
            "%nctaid" => Special::GridSize(axis),
            _ => return None,
        })
    }
}

fn globals(source: &Source) -> Result<Vec<Global>, PtxError> {
    let variables: Vec<&Variable> = source
        .variables
        .iter()
        .filter(|variable| matches!(variable.space, Space::Global | Space::Constant))
        .collect();
    let index_of = |name: &str| variables.iter().position(|variable| variable.name == name);
    let mut globals = Vec::new();
    for variable in &variables {
        let invalid = |reason: String| PtxError::Invalid {
            line: variable.line,
            reason,
            text: format!("{} {}", variable.space, variable.name),
        };
        let (mut initial, mut addresses) = (Vec::new(), Vec::new());
        for value in &variable.initial {
            match value {
                Initial::Bytes(bytes) => initial.extend_from_slice(bytes),
                Initial::Address(name, offset) => {
                    let index = index_of(name).ok_or_else(|| invalid(format!("unknown symbol `{name}`")))?;
                    addresses.push((initial.len(), index, *offset));
                    initial.extend_from_slice(&[0; 8]);
                }
            }
        }
        if initial.len() > variable.size {
            return Err(invalid(format!("{} bytes of values for {}", initial.len(), variable.size)));
        }
        globals.push(Global {
            name: Arc::from(variable.name),
            size: variable.size,
            align: variable.align,
            constant: variable.space == Space::Constant,
            initial,
            addresses,
        });
    }
    Ok(globals)
}
