//! Calling a kernel: which, over how many threads, with what.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::{CString, c_void};

use cudarc::driver::{result, sys};

use super::compile::Source;
use super::memory::{Randomness, Slice, SliceMut};
use super::{Cuda, CudaPrecision, Scratch};
use crate::memory::DeviceError;

/// Source of some kernels, with what is fixed when they are compiled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program<'a> {
    name: &'static str,
    source: &'static str,
    defines: &'a [(&'static str, usize)],
}

impl Program<'static> {
    /// `name` without its ending `.cu`.
    pub const fn new(name: &'static str, source: &'static str) -> Self {
        Self { name, source, defines: &[] }
    }
}

impl Program<'_> {
    /// The same with constants: a program of its own for each set of them.
    pub fn with<'a>(self, defines: &'a [(&'static str, usize)]) -> Program<'a> {
        Program { defines, ..self }
    }
}

/// How many threads run a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    /// Blocks along each dimension; none is zero.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of shared memory beyond what the kernel declares.
    pub shared_bytes: usize,
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Argument {
    bytes: [u64; 2],
    size: usize,
}

/// What can be an argument.
pub(crate) trait AsArgument {
    /// Its bytes.
    fn as_argument(&self) -> Argument;
}

/// `arguments![x, n, …]`: what a kernel is given, in the order of its parameters.
#[allow(unused_macros, reason = "until all operations are there")]
macro_rules! arguments {
    ($($argument:expr),* $(,)?) => {
        [$($crate::cuda::AsArgument::as_argument(&$argument)),*]
    };
}
pub(crate) use arguments;

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl AsArgument for $number {
            fn as_argument(&self) -> Argument {
                let mut bytes = [0_u64; 2];
                bytemuck::cast_slice_mut(&mut bytes)[..size_of::<Self>()].copy_from_slice(&self.to_ne_bytes());
                Argument { bytes, size: size_of::<Self>() }
            }
        }
    )*};
}
numbers!(i32, u32, f32, i64, u64, f64, usize);

impl<T> AsArgument for Slice<'_, T> {
    fn as_argument(&self) -> Argument {
        self.address.as_argument()
    }
}

impl<T> AsArgument for SliceMut<'_, T> {
    fn as_argument(&self) -> Argument {
        self.address.as_argument()
    }
}

impl<T> AsArgument for Option<Slice<'_, T>> {
    fn as_argument(&self) -> Argument {
        self.as_ref().map_or(0, |slice| slice.address).as_argument()
    }
}

impl<T> AsArgument for Option<SliceMut<'_, T>> {
    fn as_argument(&self) -> Argument {
        self.as_ref().map_or(0, |slice| slice.address).as_argument()
    }
}

impl AsArgument for Scratch {
    fn as_argument(&self) -> Argument {
        self.address.as_argument()
    }
}

impl AsArgument for Randomness {
    fn as_argument(&self) -> Argument {
        Argument { bytes: [self.words, self.first_row as u64], size: size_of::<Self>() }
    }
}

impl<T: AsArgument + ?Sized> AsArgument for &T {
    fn as_argument(&self) -> Argument {
        (**self).as_argument()
    }
}

impl<T: AsArgument + ?Sized> AsArgument for &mut T {
    fn as_argument(&self) -> Argument {
        (**self).as_argument()
    }
}

/// A kernel that is loaded.
struct Kernel {
    function: sys::CUfunction,
    /// Bytes of each parameter, where the driver says.
    parameters: Option<Vec<usize>>,
    /// Bytes of shared memory that it may have.
    allowed: Cell<usize>,
}

/// All that were loaded. A program is known by its name, its constants and its precision, a kernel by its name besides.
#[derive(Default)]
pub(super) struct Kernels {
    modules: HashMap<ProgramKey, sys::CUmodule>,
    kernels: HashMap<(ProgramKey, &'static str), Kernel>,
}

type ProgramKey = (&'static str, &'static str, Vec<(&'static str, usize)>);

// SAFETY: handles of the driver may be used by any thread, and these are behind a lock.
unsafe impl Send for Kernels {}

impl Kernels {
    /// # Safety
    /// The context is current, and none of the kernels is running.
    pub unsafe fn unload(&mut self) {
        self.kernels.clear();
        for (_, module) in self.modules.drain() {
            // SAFETY: loaded, and unloaded once.
            let _ = unsafe { result::module::unload(module) };
        }
    }

    fn kernel(
        &mut self,
        program: Program<'_>,
        name: &'static str,
        precision: &'static str,
        capability: (i32, i32),
    ) -> Result<&Kernel, DeviceError> {
        let key = (program.name, precision, program.defines.to_vec());
        if !self.kernels.contains_key(&(key.clone(), name)) {
            let module = match self.modules.get(&key) {
                Some(&module) => module,
                None => {
                    let module = load(program, precision, capability)?;
                    self.modules.insert(key.clone(), module);
                    module
                }
            };
            let symbol = CString::new(format!("{name}_{precision}")).unwrap_or_default();
            // SAFETY: the module is loaded.
            let function = unsafe { result::module::get_function(module, symbol) }.map_err(|error| {
                DeviceError::Compile {
                    program: program.name.to_owned(),
                    log: format!("{name}_{precision}: {error}"),
                }
            })?;
            let kernel = Kernel { function, parameters: parameters(function), allowed: Cell::new(48 << 10) };
            self.kernels.insert((key.clone(), name), kernel);
        }
        Ok(&self.kernels[&(key, name)])
    }
}

fn load(program: Program<'_>, precision: &str, capability: (i32, i32)) -> Result<sys::CUmodule, DeviceError> {
    let mut defines = vec![format!("ACTIVATION_BF16={}", i32::from(precision == "bf16"))];
    defines.extend(program.defines.iter().map(|(name, value)| format!("{name}={value}")));
    let source = Source { name: program.name, text: program.source, defines, capability };
    source.image()?.load().map_err(|error| DeviceError::Compile {
        program: program.name.to_owned(),
        log: format!("the driver does not load it: {error}"),
    })
}

/// How long the parameters of a kernel are, from a driver of CUDA 12.4 on.
fn parameters(function: sys::CUfunction) -> Option<Vec<usize>> {
    // SAFETY: a symbol is looked for, not called.
    unsafe { sys::culib().get::<*const ()>(b"cuFuncGetParamInfo") }.ok()?;
    let mut sizes = Vec::new();
    let (mut offset, mut size) = (0, 0);
    // SAFETY: the function is loaded; the call writes two numbers, or refuses a parameter that is not there.
    while unsafe { sys::cuFuncGetParamInfo(function, sizes.len(), &mut offset, &mut size) }.result().is_ok() {
        sizes.push(size);
    }
    Some(sizes)
}

impl Cuda {
    /// Has a kernel run after all work before. What goes wrong is kept, and reported by
    /// [`Backend::status`](crate::Backend::status).
    ///
    /// # Panics
    /// In debug builds, if the arguments are not as long as the kernel's parameters.
    pub(crate) fn launch<P: CudaPrecision>(
        &self,
        program: Program<'_>,
        kernel: &'static str,
        blocks: Blocks,
        arguments: &[Argument],
    ) {
        self.attempt(|| {
            let mut kernels = self.lock_kernels();
            let found = kernels.kernel(program, kernel, <P as CudaPrecision>::SUFFIX, self.capability())?;
            if cfg!(debug_assertions)
                && let Some(parameters) = &found.parameters
            {
                let given: Vec<_> = arguments.iter().map(|argument| argument.size).collect();
                assert_eq!(&given, parameters, "{kernel}: bytes of arguments given, and those wanted");
            }
            let mut arguments = arguments.to_vec();
            let mut pointers: Vec<*mut c_void> =
                arguments.iter_mut().map(|argument| argument.bytes.as_mut_ptr().cast()).collect();
            let [x, y, z] = blocks.grid;
            // SAFETY: the arguments are as the kernel declares them, and what they point to is borrowed by the caller's
            // operands; work that frees or copies it comes later in the same stream.
            unsafe {
                if blocks.shared_bytes > found.allowed.get() {
                    let attribute =
                        sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                    let bytes = blocks.shared_bytes as i32;
                    result::function::set_function_attribute(found.function, attribute, bytes)
                        .map_err(|error| self.driver_failed(kernel, error))?;
                    found.allowed.set(blocks.shared_bytes);
                }
                result::launch_kernel(
                    found.function,
                    (x, y, z),
                    (blocks.threads, 1, 1),
                    blocks.shared_bytes as u32,
                    self.stream.cu_stream(),
                    &mut pointers,
                )
            }
            .map_err(|error| self.driver_failed(kernel, error))
        });
    }
}
