//! Calling a kernel: which, over how many threads, with what.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::{CString, c_void};

use cudarc::driver::{result, sys};

use super::compile::Source;
use super::memory::{Address, Randomness, Slice, SliceMut};
use super::{Cuda, CudaPrecision, Scratch, no_memory_for};
use crate::Store;
use crate::dropout::Dropout;
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
    /// Blocks along each dimension.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of shared memory beyond what the kernel declares.
    pub shared_bytes: usize,
}

impl Blocks {
    /// Threads of a block, where nothing speaks for another number.
    pub const THREADS: usize = 256;

    /// Blocks of 256 threads along the three dimensions; nothing runs if one of them is zero.
    pub fn grid(grid: [usize; 3]) -> Self {
        // More than a device takes is refused by the driver.
        let grid = grid.map(|blocks| u32::try_from(blocks).unwrap_or(u32::MAX));
        Self { grid, threads: Self::THREADS as u32, shared_bytes: 0 }
    }

    /// A thread for each of `count`.
    pub fn of_threads(count: usize) -> Self {
        Self::grid([count.div_ceil(Self::THREADS), 1, 1])
    }

    /// A warp for each of `count`.
    pub fn of_warps(count: usize) -> Self {
        Self::grid([count.div_ceil(Self::THREADS / 32), 1, 1])
    }

    /// A thread for every 16 bytes of `count` numbers.
    pub fn of_elements<T>(count: usize) -> Self {
        Self::of_threads(count.div_ceil(16 / size_of::<T>()))
    }

    /// The same with another number of threads.
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads: threads as u32, ..self }
    }
}

/// How many columns a thread takes at once: `most`, the numbers of 8 or 16 bytes, if that divides all `widths`, else 1.
pub(crate) fn vector(most: usize, widths: &[usize]) -> usize {
    if widths.iter().all(|width| width.is_multiple_of(most)) { most } else { 1 }
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Argument<'a> {
    bytes: [u64; 2],
    /// What it is instead, if it is longer.
    table: &'a [u64],
    size: usize,
}

impl Argument<'_> {
    fn of_address(address: Address) -> Self {
        Self { bytes: [address, 0], table: &[], size: size_of::<Address>() }
    }
}

/// What can be an argument.
pub(crate) trait AsArgument {
    /// Its bytes.
    fn as_argument(&self) -> Argument<'_>;
}

/// A structure of the kernel's that is a whole number of words long.
impl AsArgument for [u64] {
    fn as_argument(&self) -> Argument<'_> {
        Argument { bytes: [0; 2], table: self, size: size_of_val(self) }
    }
}

/// Whether to add, as an `int`.
impl AsArgument for Store {
    fn as_argument(&self) -> Argument<'_> {
        let adds = match self {
            Self::Assign => 0,
            Self::Add => 1,
        };
        Argument { bytes: [adds, 0], table: &[], size: 4 }
    }
}

/// As `Dropout` in the prelude.
impl AsArgument for Dropout {
    fn as_argument(&self) -> Argument<'_> {
        let first = u64::from(self.threshold()) | u64::from(self.scale().to_bits()) << 32;
        Argument { bytes: [first, u64::from(self.stream)], table: &[], size: 12 }
    }
}

/// `arguments![x, n, …]`: what a kernel is given, in the order of its parameters.
macro_rules! arguments {
    ($($argument:expr),* $(,)?) => {
        [$($crate::cuda::AsArgument::as_argument(&$argument)),*]
    };
}
pub(crate) use arguments;

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl AsArgument for $number {
            fn as_argument(&self) -> Argument<'_> {
                let mut bytes = [0_u64; 2];
                bytemuck::cast_slice_mut(&mut bytes)[..size_of::<Self>()].copy_from_slice(&self.to_ne_bytes());
                Argument { bytes, table: &[], size: size_of::<Self>() }
            }
        }
    )*};
}
numbers!(i32, u32, f32, i64, u64, f64, usize);

impl<T> AsArgument for Slice<'_, T> {
    fn as_argument(&self) -> Argument<'_> {
        Argument::of_address(self.address)
    }
}

impl<T> AsArgument for SliceMut<'_, T> {
    fn as_argument(&self) -> Argument<'_> {
        Argument::of_address(self.address)
    }
}

impl<T> AsArgument for Option<Slice<'_, T>> {
    fn as_argument(&self) -> Argument<'_> {
        Argument::of_address(self.as_ref().map_or(0, |slice| slice.address))
    }
}

impl<T> AsArgument for Option<SliceMut<'_, T>> {
    fn as_argument(&self) -> Argument<'_> {
        Argument::of_address(self.as_ref().map_or(0, |slice| slice.address))
    }
}

impl Scratch {
    /// What lies `bytes` further.
    pub fn after(self, bytes: usize) -> Self {
        Self { address: self.address + bytes as u64 }
    }
}

impl Scratch {
    /// Where it begins.
    pub fn address(self) -> super::Address {
        self.address
    }
}

impl AsArgument for Scratch {
    fn as_argument(&self) -> Argument<'_> {
        Argument::of_address(self.address)
    }
}

impl AsArgument for Randomness {
    fn as_argument(&self) -> Argument<'_> {
        Argument { bytes: [self.words, self.first_row as u64], table: &[], size: size_of::<Self>() }
    }
}

impl<T: AsArgument + ?Sized> AsArgument for &T {
    fn as_argument(&self) -> Argument<'_> {
        (**self).as_argument()
    }
}

impl<T: AsArgument + ?Sized> AsArgument for &mut T {
    fn as_argument(&self) -> Argument<'_> {
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
    /// Whether they are compiled whatever lies on the disk.
    pub compiled_anew: bool,
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
                    let module = load(program, precision, capability, self.compiled_anew)?;
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

fn load(
    program: Program<'_>,
    precision: &str,
    capability: (i32, i32),
    compiled_anew: bool,
) -> Result<sys::CUmodule, DeviceError> {
    let mut defines = vec![format!("ACTIVATION_BF16={}", i32::from(precision == "bf16"))];
    defines.extend(program.defines.iter().map(|(name, value)| format!("{name}={value}")));
    let source = Source { name: program.name, text: program.source, defines, capability };
    let image = if compiled_anew { source.compiled() } else { source.image() }?;
    image.load().map_err(|refusal| match refusal.error.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            no_memory_for(format!("the kernels of `{}`", program.name))
        }
        _ if refusal.is_of_the_image() => {
            DeviceError::Compile { program: program.name.to_owned(), log: refusal.to_string() }
        }
        _ => DeviceError::Failed {
            device: "the GPU".into(),
            what: format!("loading the kernels of `{}`", program.name),
            error: refusal.error.to_string(),
        },
    })
}

/// How long the parameters of a kernel are: in debug builds, from a driver of CUDA 12.4 on.
fn parameters(function: sys::CUfunction) -> Option<Vec<usize>> {
    if !cfg!(debug_assertions) {
        return None;
    }
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
        arguments: &[Argument<'_>],
    ) {
        if blocks.grid.contains(&0) {
            return; // nothing to compute
        }
        self.attempt(|| {
            let mut kernels = self.lock_kernels();
            let found = kernels.kernel(program, kernel, <P as CudaPrecision>::SUFFIX, self.capability())?;
            if let Some(parameters) = &found.parameters {
                let given: Vec<_> = arguments.iter().map(|argument| argument.size).collect();
                assert_eq!(&given, parameters, "{kernel}: bytes of arguments given, and those wanted");
            }
            let mut arguments = arguments.to_vec();
            // The driver reads through these pointers only.
            let pointer = |argument: &mut Argument<'_>| match argument.table {
                [] => argument.bytes.as_mut_ptr().cast(),
                table => table.as_ptr().cast_mut().cast(),
            };
            let mut pointers: Vec<*mut c_void> = arguments.iter_mut().map(pointer).collect();
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
