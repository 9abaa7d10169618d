//! The real NVRTC.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::LazyLock;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::{INTERNAL, INVALID_INPUT, Inputs, Outputs, Release, Status};

/// The library's calls, as they are needed here.
pub struct Nvrtc {
    version: extern "C" fn(*mut c_int, *mut c_int) -> Status,
    architecture_count: extern "C" fn(*mut c_int) -> Status,
    architectures: extern "C" fn(*mut c_int) -> Status,
    create: Create,
    destroy: extern "C" fn(*mut Handle) -> Status,
    add_name: extern "C" fn(Handle, *const c_char) -> Status,
    compile: extern "C" fn(Handle, c_int, *const *const c_char) -> Status,
    lowered_name: extern "C" fn(Handle, *const c_char, *mut *const c_char) -> Status,
    ptx: Text,
    image: Text,
    log: Text,
}

type Handle = *mut c_void;
type Create = extern "C" fn(
    *mut Handle,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> Status;

/// A pair of calls that give the size of an output, and the output.
struct Text {
    size: extern "C" fn(Handle, *mut usize) -> Status,
    get: extern "C" fn(Handle, *mut c_char) -> Status,
}

impl Text {
    fn read(&self, program: Handle) -> Result<Vec<u8>, Status> {
        let mut size = 0;
        check((self.size)(program, &mut size))?;
        let mut bytes = vec![0_u8; size];
        if size > 0 {
            check((self.get)(program, bytes.as_mut_ptr().cast()))?;
        }
        Ok(bytes)
    }
}

fn check(status: Status) -> Result<(), Status> {
    if status == 0 { Ok(()) } else { Err(status) }
}

impl Nvrtc {
    /// The library that the loader finds by its own name, or why there is none.
    pub fn get() -> Result<&'static Nvrtc, String> {
        static NVRTC: LazyLock<Result<Nvrtc, String>> = LazyLock::new(Nvrtc::open);
        NVRTC.as_ref().map_err(Clone::clone)
    }

    fn open() -> Result<Nvrtc, String> {
        let [_, name] = Release::chosen().map_err(|error| error.to_string())?.libraries;
        // SAFETY: NVRTC's start-up code is sound to run at any time.
        let library = unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) };
        // Never closed: its functions are called for as long as the process runs.
        let library = Box::leak(Box::new(library.map_err(|error| error.to_string())?));
        macro_rules! symbol {
            ($name:literal) => {
                // SAFETY: the types are those of `nvrtc.h`.
                unsafe { *library.get($name).map_err(|error| error.to_string())? }
            };
        }
        Ok(Nvrtc {
            version: symbol!(b"nvrtcVersion"),
            architecture_count: symbol!(b"nvrtcGetNumSupportedArchs"),
            architectures: symbol!(b"nvrtcGetSupportedArchs"),
            create: symbol!(b"nvrtcCreateProgram"),
            destroy: symbol!(b"nvrtcDestroyProgram"),
            add_name: symbol!(b"nvrtcAddNameExpression"),
            compile: symbol!(b"nvrtcCompileProgram"),
            lowered_name: symbol!(b"nvrtcGetLoweredName"),
            ptx: Text { size: symbol!(b"nvrtcGetPTXSize"), get: symbol!(b"nvrtcGetPTX") },
            image: Text { size: symbol!(b"nvrtcGetCUBINSize"), get: symbol!(b"nvrtcGetCUBIN") },
            log: Text { size: symbol!(b"nvrtcGetProgramLogSize"), get: symbol!(b"nvrtcGetProgramLog") },
        })
    }

    /// Major and minor version.
    pub fn version(&self) -> Result<(c_int, c_int), Status> {
        let (mut major, mut minor) = (0, 0);
        check((self.version)(&mut major, &mut minor))?;
        Ok((major, minor))
    }

    /// The architectures it compiles for.
    pub fn architectures(&self) -> Result<Vec<c_int>, Status> {
        let mut count = 0;
        check((self.architecture_count)(&mut count))?;
        let mut architectures = vec![0; count as usize];
        check((self.architectures)(architectures.as_mut_ptr()))?;
        Ok(architectures)
    }

    /// Compiles. The error comes with the log.
    pub fn compile(&self, inputs: &Inputs) -> Result<Outputs, (Status, Vec<u8>)> {
        let bare = |status| (status, Vec::new());
        let mut program = ptr::null_mut();
        self.create(inputs, &mut program).map_err(bare)?;
        let result = self.compile_program(inputs, program);
        (self.destroy)(&mut program);
        result
    }

    fn create(&self, inputs: &Inputs, program: &mut Handle) -> Result<(), Status> {
        let (source, name) = (c_text(&inputs.source)?, c_text(&inputs.name)?);
        let headers = c_texts(inputs.headers.iter().map(|(text, _)| text))?;
        let names = c_texts(inputs.headers.iter().map(|(_, name)| name))?;
        let (headers_at, names_at) = (pointers(&headers), pointers(&names));
        let count = headers.len() as c_int;
        let (source, name) = (source.as_ptr(), name.as_ptr());
        check((self.create)(program, source, name, count, headers_at.as_ptr(), names_at.as_ptr()))
    }

    fn compile_program(&self, inputs: &Inputs, program: Handle) -> Result<Outputs, (Status, Vec<u8>)> {
        let bare = |status| (status, Vec::new());
        let expressions = c_texts(&inputs.expressions).map_err(bare)?;
        for expression in &expressions {
            check((self.add_name)(program, expression.as_ptr())).map_err(bare)?;
        }
        let options = c_texts(&inputs.options).map_err(bare)?;
        let compiled = check((self.compile)(program, options.len() as c_int, pointers(&options).as_ptr()));
        let log = self.log.read(program).map_err(bare)?;
        if let Err(status) = compiled {
            return Err((status, log));
        }
        let mut lowered = Vec::new();
        for expression in &expressions {
            let mut name = ptr::null();
            check((self.lowered_name)(program, expression.as_ptr(), &mut name)).map_err(bare)?;
            // SAFETY: NVRTC gives a C string that lives as long as the program.
            lowered.push(unsafe { CStr::from_ptr(name) }.to_owned());
        }
        // A virtual architecture has no image.
        let image = self.image.read(program).unwrap_or_default();
        Ok(Outputs { ptx: self.ptx.read(program).map_err(bare)?, log, image, lowered })
    }
}

fn c_text(text: &str) -> Result<CString, Status> {
    CString::new(text).map_err(|_| INVALID_INPUT)
}

fn c_texts<'a>(texts: impl IntoIterator<Item = &'a String>) -> Result<Vec<CString>, Status> {
    texts.into_iter().map(|text| CString::new(text.as_str()).map_err(|_| INTERNAL)).collect()
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).collect()
}
