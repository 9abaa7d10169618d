//! What the compiler says of kernels: registers, spills, stack.
//!
//! The interpreter runs PTX, which has as many registers as it likes; how many a GPU needs is known once `ptxas`, which
//! NVRTC holds, has compiled the same source. That is done when a module is loaded, and remembered on disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use super::cache::{hash, read, write};
use super::{Inputs, Nvrtc, Outputs};

/// What a kernel needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// 32-bit registers of a thread.
    pub registers: u32,
    /// Bytes of stack of a thread.
    pub stack: u32,
    /// Bytes that each thread stores because registers ran out.
    pub spill_stores: u32,
    /// Bytes that it loads again.
    pub spill_loads: u32,
}

/// What is known of a PTX text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Of each kernel, by name.
    Known(Arc<BTreeMap<String, Resources>>),
    /// `ptxas` does not compile it, and so no driver loads it: its log.
    Refused(String),
    /// NVRTC did not make it, here or in another process that used the same cache.
    Unknown,
}

/// What this process has compiled.
#[derive(Default)]
struct Memory {
    /// By a hash of the PTX.
    made_of: HashMap<u64, Inputs>,
    outcomes: HashMap<u64, Outcome>,
}

fn memory() -> MutexGuard<'static, Memory> {
    static MEMORY: LazyLock<Mutex<Memory>> = LazyLock::new(Mutex::default);
    MEMORY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers what a PTX text, and a compiled image, was made of.
pub(super) fn remember(inputs: &Inputs, outputs: &Outputs) {
    let ptx = without_zero(&outputs.ptx);
    memory().made_of.insert(hash(ptx, 0), inputs.clone());
    if let Some(image) = elf_size(&outputs.image).and_then(|size| outputs.image.get(..size))
        && read("image", image).is_none()
    {
        write("image", image, &[ptx]);
    }
}

/// Bytes of a file in ELF's form that begins so, up to the end of its tables, which come last.
pub fn elf_size(file: &[u8]) -> Option<usize> {
    let word = |at: usize| Some(u64::from_le_bytes(file.get(at..at + 8)?.try_into().ok()?));
    let half = |at: usize| Some(u64::from(u16::from_le_bytes(file.get(at..at + 2)?.try_into().ok()?)));
    if !file.starts_with(b"\x7fELF") {
        return None;
    }
    // Offset, size of an entry, and count, of program headers and of sections.
    let end = |[at, size, count]: [usize; 3]| word(at)?.checked_add(half(size)? * half(count)?);
    let end = end([32, 54, 56])?.max(end([40, 58, 60])?);
    usize::try_from(end).ok().filter(|&end| end < 1 << 30)
}

/// The PTX that a compiled image of NVRTC's came with.
pub fn ptx_of_image(image: &[u8]) -> Option<String> {
    String::from_utf8(read("image", image)?.pop()?).ok()
}

/// Registers and spills of a PTX text's kernels. Compiles it on the first time.
pub fn resources(ptx: &str) -> Outcome {
    let key = hash(ptx.as_bytes(), 0);
    let (known, inputs) = {
        let memory = memory();
        (memory.outcomes.get(&key).cloned(), memory.made_of.get(&key).cloned())
    };
    known.unwrap_or_else(|| {
        let outcome = find(ptx, inputs);
        memory().outcomes.insert(key, outcome.clone());
        outcome
    })
}

fn find(ptx: &str, inputs: Option<Inputs>) -> Outcome {
    let fields = read("resources", ptx.as_bytes()).or_else(|| {
        let fields = report(inputs?)?;
        write("resources", ptx.as_bytes(), &[&fields[0], &fields[1]]);
        Some(fields)
    });
    let Some([verdict, log]) = fields.and_then(|fields| <[Vec<u8>; 2]>::try_from(fields).ok()) else {
        return Outcome::Unknown;
    };
    let log = String::from_utf8_lossy(without_zero(&log)).into_owned();
    if verdict == REFUSED { Outcome::Refused(log) } else { Outcome::Known(Arc::new(parse(&log))) }
}

const COMPILED: &[u8] = b"compiled";
const REFUSED: &[u8] = b"refused";

/// Has `ptxas` compile the source for the real architecture that its virtual one stands for: verdict and log.
fn report(mut inputs: Inputs) -> Option<Vec<Vec<u8>>> {
    let architecture = |option: &String| {
        let name = ["--gpu-architecture=", "-arch="].iter().find_map(|prefix| option.strip_prefix(prefix));
        name.map(|name| name.replace("compute_", "sm_"))
    };
    let real = inputs.options.iter().find_map(architecture)?;
    inputs.options.retain(|option| architecture(option).is_none());
    inputs.options.extend([format!("--gpu-architecture={real}"), "--ptxas-options=-v".into()]);
    match Nvrtc::get().ok()?.compile(&inputs) {
        Ok(outputs) => Some(vec![COMPILED.to_vec(), outputs.log]),
        Err((super::COMPILATION, log)) => Some(vec![REFUSED.to_vec(), log]),
        Err(_) => None,
    }
}

fn without_zero(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(&[0]).unwrap_or(bytes)
}

/// Reads the lines that `ptxas -v` writes for each kernel.
fn parse(log: &str) -> BTreeMap<String, Resources> {
    let mut kernels = BTreeMap::new();
    let mut current = String::new();
    // The number before a text.
    let number = |line: &str, text: &str| -> Option<u32> {
        line[..line.find(text)?].trim_end().rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            current = rest.split('\'').next().unwrap_or_default().to_owned();
            kernels.insert(current.clone(), Resources::default());
        } else if let Some((_, name)) = line.split_once("Function properties for ") {
            current = name.trim().to_owned();
        }
        // Device functions have properties too; only kernels are asked for.
        let Some(kernel) = kernels.get_mut(&current) else { continue };
        kernel.registers = number(line, " registers").unwrap_or(kernel.registers);
        kernel.stack = number(line, " bytes stack frame").unwrap_or(kernel.stack);
        kernel.spill_stores = number(line, " bytes spill stores").unwrap_or(kernel.spill_stores);
        kernel.spill_loads = number(line, " bytes spill loads").unwrap_or(kernel.spill_loads);
    }
    kernels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_of_ptxas_is_read() {
        let log = "ptxas info    : 0 bytes gmem\n\
                   ptxas info    : Compiling entry function 'first' for 'sm_90'\n\
                   ptxas info    : Function properties for first\n\
                   ptxas         .     8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads\n\
                   ptxas info    : Used 136 registers, used 1 barriers, 8 bytes cumulative stack size\n\
                   ptxas info    : Function properties for helper\n\
                   ptxas         .     99 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
                   ptxas info    : Compiling entry function 'second' for 'sm_90'\n\
                   ptxas info    : Used 8 registers\n";
        let kernels = parse(log);
        let first = Resources { registers: 136, stack: 8, spill_stores: 12, spill_loads: 16 };
        assert_eq!(kernels["first"], first);
        assert_eq!(kernels["second"], Resources { registers: 8, ..Resources::default() });
        assert_eq!(kernels.len(), 2);
    }
}
