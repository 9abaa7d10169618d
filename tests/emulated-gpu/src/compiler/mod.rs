//! NVRTC with a memory. Programs open `libnvrtc.so` and get these calls, which pass everything on to the real NVRTC, but
//! for what it has compiled before, in this process or another: that comes from disk. So one test after the other, each
//! in a process of its own, compiles nothing twice.
//!
//! The same memory tells the driver what the compiler says of a PTX text: registers and spills of its kernels
//! ([`resources`]), and which PTX a compiled image was made of ([`ptx_of_image`]).

mod cache;
mod real;
mod release;
mod resources;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::ffi::c_char;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::driver::border::{In, Items, Out, Text};
use cache::Cache;
use real::Nvrtc;

pub use cache::{CACHE, hash};
pub use release::{RELEASE, RELEASES, Release, UnknownRelease};
pub use resources::{Outcome, Resources, elf_size, ptx_of_image, resources};

/// What is to be compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Inputs {
    source: String,
    name: String,
    /// Text and the name it is included by.
    headers: Vec<(String, String)>,
    /// Names whose mangled form the caller wants to know.
    expressions: Vec<String>,
    options: Vec<String>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outputs {
    log: Vec<u8>,
    /// With the zero that ends it.
    ptx: Vec<u8>,
    /// Empty where the architecture is a virtual one.
    image: Vec<u8>,
    /// The mangled forms of the expressions.
    lowered: Vec<CString>,
}

/// An `nvrtcProgram`.
#[derive(Default)]
struct Program {
    inputs: Inputs,
    outputs: Option<Arc<Outputs>>,
    /// Of a compilation that failed.
    log: Vec<u8>,
}

/// An `nvrtcResult` other than success.
type Status = u32;
const INVALID_INPUT: Status = 3;
const INVALID_PROGRAM: Status = 4;
const COMPILATION: Status = 6;
const NO_LOWERED_NAMES: Status = 9;
const UNKNOWN_NAME: Status = 10;
const INTERNAL: Status = 11;

/// The programs of this process, by handle.
fn programs() -> MutexGuard<'static, BTreeMap<u64, Program>> {
    static PROGRAMS: Mutex<BTreeMap<u64, Program>> = Mutex::new(BTreeMap::new());
    PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something with a program.
fn with<T>(handle: u64, body: impl FnOnce(&mut Program) -> Result<T, Status>) -> Result<T, Status> {
    body(programs().get_mut(&handle).ok_or(INVALID_PROGRAM)?)
}

/// The real NVRTC; where there is none, says so.
fn nvrtc() -> Result<&'static Nvrtc, Status> {
    Nvrtc::get().map_err(|reason| {
        eprintln!("emulated GPU: no NVRTC: {reason}");
        INTERNAL
    })
}

/// Compiles, or remembers. The error comes with the log.
fn compile(inputs: &Inputs) -> Result<Arc<Outputs>, (Status, Vec<u8>)> {
    let bare = |status| (status, Vec::new());
    let nvrtc = nvrtc().map_err(bare)?;
    let key = Cache::key(inputs, nvrtc.version().map_err(bare)?);
    let outputs = match Cache::load(&key) {
        Some(outputs) => outputs,
        None => {
            let outputs = nvrtc.compile(inputs)?;
            Cache::store(&key, &outputs);
            outputs
        }
    };
    resources::remember(inputs, &outputs);
    Ok(Arc::new(outputs))
}

/// The C caller's status.
fn status(result: Result<(), Status>) -> Status {
    result.err().unwrap_or(0)
}

/// The outputs of a program that has been compiled.
fn outputs(handle: u64) -> Result<Arc<Outputs>, Status> {
    with(handle, |program| program.outputs.clone().ok_or(INVALID_PROGRAM))
}

fn invalid<E>(_: E) -> Status {
    INVALID_INPUT
}

/// Declares NVRTC's entry points: each becomes an exported C function.
macro_rules! compiler_calls {
    ($($(#[$meta:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {$(
        $(#[$meta])*
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, reason = "the names are NVRTC's")]
        pub extern "C" fn $name($($argument: $type),*) -> Status {
            let body = || -> Result<(), Status> { $body };
            // A panic must not cross into C.
            status(std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(Err(INTERNAL)))
        }
    )*};
}

compiler_calls! {
    /// The version of NVRTC.
    fn nvrtcVersion(major: Out<i32>, minor: Out<i32>) {
        let version = nvrtc()?.version()?;
        major.set(version.0).map_err(invalid)?;
        minor.set(version.1).map_err(invalid)
    }

    /// How many architectures there are.
    fn nvrtcGetNumSupportedArchs(count: Out<i32>) {
        count.set(nvrtc()?.architectures()?.len() as i32).map_err(invalid)
    }

    /// The architectures.
    fn nvrtcGetSupportedArchs(architectures: Out<i32>) {
        architectures.set_all(&nvrtc()?.architectures()?).map_err(invalid)
    }

    /// Makes a program of a source and the headers it includes.
    fn nvrtcCreateProgram(
        program: Out<u64>,
        source: Text,
        name: Text,
        header_count: i32,
        headers: Items<Text>,
        include_names: Items<Text>,
    ) {
        let mut inputs = Inputs {
            source: source.get().map_err(invalid)?,
            name: name.get().unwrap_or_else(|_| "default_program".into()),
            ..Inputs::default()
        };
        for index in 0..header_count as usize {
            let text = headers.get(index).and_then(|text| text.get()).map_err(invalid)?;
            let name = include_names.get(index).and_then(|name| name.get()).map_err(invalid)?;
            inputs.headers.push((text, name));
        }
        let mut programs = programs();
        let handle = programs.last_key_value().map_or(0x10, |(last, _)| last + 0x10);
        program.set(handle).map_err(invalid)?;
        programs.insert(handle, Program { inputs, ..Program::default() });
        Ok(())
    }

    /// Ends a program.
    fn nvrtcDestroyProgram(program: In<u64>) {
        let handle = program.get().map_err(|_| INVALID_PROGRAM)?;
        programs().remove(&handle).map(drop).ok_or(INVALID_PROGRAM)
    }

    /// Compiles a program.
    fn nvrtcCompileProgram(program: u64, option_count: i32, options: Items<Text>) {
        let option = |index| options.get(index).and_then(|option: Text| option.get()).map_err(invalid);
        let options = (0..option_count as usize).map(option).collect::<Result<Vec<_>, _>>()?;
        let inputs = with(program, |program| {
            program.inputs.options = options;
            Ok(program.inputs.clone())
        })?;
        // Not under the lock: other threads compile meanwhile.
        let result = compile(&inputs);
        with(program, |program| match result {
            Ok(outputs) => {
                program.outputs = Some(outputs);
                Ok(())
            }
            Err((status, log)) => {
                (program.outputs, program.log) = (None, log);
                Err(status)
            }
        })
    }

    /// Bytes of the PTX, with the zero at its end.
    fn nvrtcGetPTXSize(program: u64, bytes: Out<usize>) {
        bytes.set(outputs(program)?.ptx.len()).map_err(invalid)
    }

    /// The PTX.
    fn nvrtcGetPTX(program: u64, ptx: Out<u8>) {
        ptx.set_all(&outputs(program)?.ptx).map_err(invalid)
    }

    /// Bytes of the compiled image: 0 for a virtual architecture.
    fn nvrtcGetCUBINSize(program: u64, bytes: Out<usize>) {
        bytes.set(outputs(program)?.image.len()).map_err(invalid)
    }

    /// The compiled image.
    fn nvrtcGetCUBIN(program: u64, image: Out<u8>) {
        let outputs = outputs(program)?;
        if outputs.image.is_empty() { Ok(()) } else { image.set_all(&outputs.image).map_err(invalid) }
    }

    /// Bytes of the log, with the zero at its end.
    fn nvrtcGetProgramLogSize(program: u64, bytes: Out<usize>) {
        bytes.set(with(program, |program| Ok(program.log().len()))?).map_err(invalid)
    }

    /// The log.
    fn nvrtcGetProgramLog(program: u64, log: Out<u8>) {
        log.set_all(&with(program, |program| Ok(program.log()))?).map_err(invalid)
    }

    /// Asks for the mangled form of a name.
    fn nvrtcAddNameExpression(program: u64, name: Text) {
        let name = name.get().map_err(invalid)?;
        with(program, |program| {
            program.inputs.expressions.push(name);
            Ok(())
        })
    }

    /// The mangled form of a name, which lives as long as the program.
    fn nvrtcGetLoweredName(program: u64, name: Text, lowered: Out<*const c_char>) {
        let name = name.get().map_err(invalid)?;
        let pointer = with(program, |program| {
            let outputs = program.outputs.as_ref().ok_or(NO_LOWERED_NAMES)?;
            let index = program.inputs.expressions.iter().position(|expression| *expression == name);
            Ok(outputs.lowered.get(index.ok_or(UNKNOWN_NAME)?).ok_or(UNKNOWN_NAME)?.as_ptr())
        })?;
        lowered.set(pointer).map_err(invalid)
    }
}

/// The name of a status.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name is NVRTC's")]
pub extern "C" fn nvrtcGetErrorString(status: Status) -> *const c_char {
    let text = match status {
        0 => c"NVRTC_SUCCESS",
        INVALID_INPUT => c"NVRTC_ERROR_INVALID_INPUT",
        INVALID_PROGRAM => c"NVRTC_ERROR_INVALID_PROGRAM",
        5 => c"NVRTC_ERROR_INVALID_OPTION",
        COMPILATION => c"NVRTC_ERROR_COMPILATION",
        NO_LOWERED_NAMES => c"NVRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION",
        UNKNOWN_NAME => c"NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID",
        INTERNAL => c"NVRTC_ERROR_INTERNAL_ERROR",
        _ => c"NVRTC_ERROR",
    };
    text.as_ptr()
}

impl Program {
    /// The log, with the zero at its end.
    fn log(&self) -> Vec<u8> {
        let log = self.outputs.as_ref().map_or(&self.log, |outputs| &outputs.log);
        if log.last() == Some(&0) { log.clone() } else { [log.as_slice(), &[0]].concat() }
    }
}
