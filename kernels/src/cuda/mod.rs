//! The GPU as a device: one stream, on which everything runs in the order in which it is asked for, and one that brings inputs.
//!
//! * `detect`: which GPUs there are, or why none (`unavailable`); `libraries`: what is needed beside the driver; `check`: whether a GPU
//!   computes. `memory`: buffers and the addresses of operands.
//! * `compile`, `cache`: kernels from their source (`<operation>/<operation>.cu`, after `prelude.cuh`), for the GPU at hand.
//! * `launch`: calling them. `record`: a list of calls made once, then repeated.
//! * `products`: matrix products by cuBLASLt (`lt`), and by which of its algorithms (`choices`, timed by `stopwatch`).
//! * `peak`: what the GPU can do at most.
//! * `transfer`: copies that the host does not wait for, on a stream beside it. `work_space`: what kernels need for themselves.
//!
//! Calls return before the GPU has done what they ask for, and return nothing: the first failure is kept, everything asked
//! for after it is left undone, and [`Backend::status`] reports it. How a kernel is cut into blocks depends on shapes
//! alone and no two blocks write the same element, so that results are the same bits every time.

mod cache;
mod check;
mod choices;
mod compile;
mod detect;
mod launch;
mod libraries;
mod lt;
mod memory;
mod peak;
mod products;
mod record;
#[cfg(unix)]
mod signals;
mod stopwatch;
pub(crate) mod sums;
#[cfg(all(test, target_os = "linux"))]
mod tests;
mod transfer;
mod unavailable;
mod work_space;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use cache::folder as cache_folder;
pub use check::CheckError;
pub use choices::{Choices, ProductChoice};
use cudarc::driver::{CudaContext, CudaStream, result, sys};
pub use detect::{Found, devices, driver_version, usable};
pub(crate) use launch::{Argument, AsArgument, Blocks, Program, arguments, vector};
pub use memory::{Address, Buffer, Global, Randomness, Slice, SliceMut};

pub use libraries::{Library, Versions, overriding_variables, versions};
pub use lt::WORKSPACE as PRODUCTS_WORKSPACE;
pub use products::Number;
use products::Products;
pub(crate) use products::{Epilogue, Factor, Product};
pub use record::{RECORDED_CALL, Recording};
#[cfg(unix)]
pub use signals::end_of_a_compiling_process;
pub use transfer::{Incoming, Outgoing};
pub use unavailable::Unavailable;
pub(crate) use work_space::Scratch;
use work_space::WorkSpace;

use crate::backend::Backend;
use crate::memory::{DeviceError, Memory};
use crate::precision::{Element, Precision};

/// A number that activations are stored in on a GPU.
pub trait CudaNumber: Element {
    /// What the names of kernels for it end in.
    const SUFFIX: &'static str;
    /// How products know it.
    #[doc(hidden)]
    const NUMBER: Number;
}

impl CudaNumber for f32 {
    const SUFFIX: &'static str = "f32";
    const NUMBER: Number = Number::F32;
}

impl CudaNumber for half::bf16 {
    const SUFFIX: &'static str = "bf16";
    const NUMBER: Number = Number::Bf16;
}

/// A precision that GPUs compute in.
pub trait CudaPrecision: Precision<Master = f32, Activation: CudaNumber> {
    /// What the names of its kernels end in.
    const SUFFIX: &'static str = <Self::Activation as CudaNumber>::SUFFIX;
    /// How products know its activations.
    #[doc(hidden)]
    const NUMBER: Number = <Self::Activation as CudaNumber>::NUMBER;
}

impl<P: Precision<Master = f32, Activation: CudaNumber>> CudaPrecision for P {}

/// A GPU.
pub struct Cuda {
    found: Found,
    versions: Versions,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// Where copies to the GPU are made while kernels run.
    copies: Arc<CudaStream>,
    /// Bytes of shared memory that a block may have.
    shared_memory: usize,
    kernels: Mutex<launch::Kernels>,
    work_space: Mutex<WorkSpace>,
    products: Products,
    failure: Mutex<Option<DeviceError>>,
    /// What was to be recorded and could not be.
    unrecorded: Mutex<record::Unrecorded>,
}

impl std::fmt::Debug for Cuda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Found { ordinal, name, capability: (major, minor), .. } = &self.found;
        write!(f, "GPU {ordinal}, {name}, compute capability {major}.{minor}")
    }
}

impl Cuda {
    /// GPU number `ordinal`.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn new(ordinal: usize) -> Result<Self, Unavailable> {
        let found = usable(ordinal)?;
        let versions = versions()?;
        let failed = |error: result::DriverError| Unavailable::Start { error: error.to_string() };
        let context = CudaContext::new(ordinal).map_err(failed)?;
        // SAFETY: cudarc's own kinds of memory are not used, and streams wait for each other's events.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(failed)?;
        let copies = context.new_stream().map_err(failed)?;
        let optional = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let shared_memory = context.attribute(optional).map_err(failed)? as usize;
        // SAFETY: so many bytes are allocated, by the context that was just made current.
        let workspace = unsafe {
            let address = result::malloc_sync(lt::WORKSPACE).map_err(|error| match error.0 {
                sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                    let (free, total) = result::mem_get_info().unwrap_or_default();
                    let name = found.name.clone();
                    Unavailable::Memory { name, needed: lt::WORKSPACE, free, total }
                }
                _ => failed(error),
            })?;
            Buffer::new(address, lt::WORKSPACE, stream.clone())
        };
        let products = Products::new(workspace).map_err(|error| Unavailable::Library {
            library: Library::Cublaslt,
            error: error.to_string(),
            version: versions.cublaslt.clone(),
            path: Library::Cublaslt.path(),
            gpu: format!("{} ({})", found.name, found.architecture()),
        })?;
        Ok(Self {
            found,
            versions,
            context,
            stream,
            copies,
            shared_memory,
            products,
            kernels: Mutex::default(),
            work_space: Mutex::default(),
            failure: Mutex::default(),
            unrecorded: Mutex::default(),
        })
    }

    /// The same with kernels that are compiled whatever lies on the disk, and not kept there: for those who look at what the
    /// compiler says.
    pub fn without_kernel_cache(self) -> Self {
        self.lock_kernels().compiled_anew = true;
        self
    }

    /// What is known of the GPU.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Bytes of its memory that are free now, and all.
    ///
    /// # Errors
    /// What the driver says.
    pub fn free_memory(&self) -> Result<(usize, usize), DeviceError> {
        self.context.mem_get_info().map_err(|error| self.driver_failed("cuMemGetInfo", error))
    }

    /// Compute capability.
    pub(crate) fn capability(&self) -> (i32, i32) {
        self.found.capability
    }

    /// Bytes of shared memory that a block may have, what a kernel declares included.
    pub(crate) fn shared_memory_limit(&self) -> usize {
        self.shared_memory
    }

    /// Does something, unless something has failed before; keeps what fails.
    fn attempt<T>(&self, work: impl FnOnce() -> Result<T, DeviceError>) -> Option<T> {
        if self.status().is_err() {
            return None;
        }
        match self.bind().and_then(|()| work()) {
            Ok(result) => Some(result),
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }

    /// Makes the context that of this thread.
    fn bind(&self) -> Result<(), DeviceError> {
        self.context.bind_to_thread().map_err(|error| self.driver_failed("cuCtxSetCurrent", error))
    }

    fn fail(&self, error: DeviceError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn lock_kernels(&self) -> MutexGuard<'_, launch::Kernels> {
        self.kernels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error of the driver's as one of ours. Any call may need memory: for its code, or for what a kernel keeps outside registers.
    fn driver_failed(&self, what: &str, error: result::DriverError) -> DeviceError {
        if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return no_memory_for(what);
        }
        let hint = if is_of_a_kernel(error.0) {
            "; a kernel that was asked for before may have caused it: with CUDA_LAUNCH_BLOCKING=1 in the environment it is named"
        } else {
            ""
        };
        DeviceError::Failed {
            device: format!("{self:?}"),
            what: what.to_owned(),
            error: format!("{error}{hint}"),
        }
    }

    fn wait(&self) -> Result<(), DeviceError> {
        // SAFETY: the stream is alive.
        unsafe { result::stream::synchronize(self.stream.cu_stream()) }
            .map_err(|error| self.driver_failed("what was asked for before", error))
    }
}

/// Bytes of memory of GPU number `ordinal` that are free, and all, before it is used.
///
/// # Errors
/// Why it cannot be used.
pub fn free_memory(ordinal: usize) -> Result<(usize, usize), Unavailable> {
    // They stay for whoever uses the GPU next: beside many GPUs, making one takes a second.
    static CONTEXTS: Mutex<BTreeMap<usize, Arc<CudaContext>>> = Mutex::new(BTreeMap::new());
    let failed = |error: result::DriverError| Unavailable::Start { error: error.to_string() };
    usable(ordinal)?;
    let mut contexts = CONTEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    let context = match contexts.entry(ordinal) {
        Entry::Occupied(there) => there.into_mut(),
        Entry::Vacant(new) => new.insert(CudaContext::new(ordinal).map_err(failed)?),
    };
    context.mem_get_info().map_err(failed)
}

/// Bytes of a GPU's memory, of `total`, that are to be left free of what is in any account, since they are wanted while it computes: for the
/// code of kernels and of cuBLASLt's, which is loaded when it is first used; for what kernels keep outside registers; and since allocations
/// are rounded up.
pub fn headroom(total: usize) -> usize {
    (total / 50).max(512 << 20).min(total / 8)
}

/// Whether an error is one that a kernel made, which some later call is answered with.
fn is_of_a_kernel(error: sys::CUresult) -> bool {
    use sys::CUresult as Said;
    matches!(
        error,
        Said::CUDA_ERROR_ILLEGAL_ADDRESS
            | Said::CUDA_ERROR_LAUNCH_FAILED
            | Said::CUDA_ERROR_LAUNCH_TIMEOUT
            | Said::CUDA_ERROR_MISALIGNED_ADDRESS
            | Said::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | Said::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | Said::CUDA_ERROR_INVALID_PC
            | Said::CUDA_ERROR_HARDWARE_STACK_ERROR
            | Said::CUDA_ERROR_ASSERT
    )
}

/// What a GPU says that has no memory left, in a context that is current.
fn no_memory_for(what: impl Into<String>) -> DeviceError {
    let (free, total) = result::mem_get_info().unwrap_or_default();
    DeviceError::OutOfDeviceMemory { what: what.into(), free, total }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        let _ = self.context.bind_to_thread();
        let _ = self.wait();
        // SAFETY: the context is current, and nothing is running.
        unsafe { self.lock_kernels().unload() };
    }
}

impl Backend for Cuda {
    type Memory = Global;
    type Recording = Recording;
    type Outgoing = Outgoing;
    type Incoming = Incoming;
    const RECORDS: bool = true;

    fn allocate(&self, bytes: usize) -> Result<Buffer, DeviceError> {
        self.status()?;
        if bytes == 0 {
            return Ok(Buffer::default());
        }
        self.bind()?;
        // SAFETY: what is allocated is written before it is read, in the order of the stream.
        let address = unsafe { result::malloc_sync(bytes) }
            .map_err(|error| self.driver_failed(&format!("{bytes} bytes in one piece"), error))?;
        // SAFETY: so many bytes were allocated there just now.
        let mut buffer = unsafe { Buffer::new(address, bytes, self.stream.clone()) };
        self.clear(&mut buffer);
        Ok(buffer)
    }

    fn upload(&self, from: &[u8], to: &mut Buffer, at: usize) {
        if from.is_empty() {
            return;
        }
        let address = to.address(at, from.len());
        self.attempt(|| {
            // SAFETY: the bytes lie inside the buffer, and `from` is borrowed until the copy has been waited for.
            unsafe { result::memcpy_htod_async(address, from, self.stream.cu_stream()) }
                .map_err(|error| self.driver_failed("a copy to the GPU", error))?;
            self.wait()
        });
    }

    fn download(&self, from: &Buffer, at: usize, to: &mut [u8]) {
        if to.is_empty() {
            return;
        }
        let address = from.address(at, to.len());
        self.attempt(|| {
            // SAFETY: the bytes lie inside the buffer, and `to` is borrowed until the copy has been waited for.
            unsafe { result::memcpy_dtoh_async(to, address, self.stream.cu_stream()) }
                .map_err(|error| self.driver_failed("a copy from the GPU", error))?;
            self.wait()
        });
    }

    fn outgoing(&self, bytes: usize) -> Result<Outgoing, DeviceError> {
        self.new_outgoing(bytes)
    }

    fn to_send<'a>(&self, outgoing: &'a mut Outgoing) -> &'a mut [u8] {
        self.bytes_to_send(outgoing)
    }

    fn sent<'a>(&self, outgoing: &'a Outgoing) -> &'a [u8] {
        outgoing.bytes()
    }

    fn send(&self, outgoing: &mut Outgoing, bytes: usize, to: &mut Buffer) {
        self.send_bytes(outgoing, bytes, to);
    }

    fn incoming(&self, bytes: usize) -> Result<Incoming, DeviceError> {
        self.new_incoming(bytes)
    }

    fn fetch(&self, from: &Buffer, at: usize, bytes: usize, incoming: &mut Incoming) {
        self.fetch_bytes(from, at, bytes, incoming);
    }

    fn fetched<'a>(&self, incoming: &'a Incoming) -> &'a [u8] {
        self.fetched_bytes(incoming)
    }

    fn reserve(&self, bytes: usize) -> Result<(), DeviceError> {
        self.reserve_work_space(bytes)
    }

    fn clear(&self, buffer: &mut Buffer) {
        let bytes = Global::bytes(buffer);
        if bytes == 0 {
            return;
        }
        let address = buffer.address(0, bytes);
        self.attempt(|| {
            // SAFETY: all bytes of a buffer that is borrowed exclusively.
            unsafe { result::memset_d8_async(address, 0, bytes, self.stream.cu_stream()) }
                .map_err(|error| self.driver_failed("filling memory", error))
        });
    }

    fn status(&self) -> Result<(), DeviceError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    fn finish(&self) -> Result<(), DeviceError> {
        self.attempt(|| self.wait());
        self.status()
    }

    fn remarks(&self) -> Vec<String> {
        self.unrecorded().into_iter().chain(self.refused_products()).collect()
    }

    fn record(&self, work: impl FnMut(), make_room: impl FnMut() -> bool) -> Option<Recording> {
        self.recording(work, make_room)
    }

    fn is_short_of_memory(&self) -> bool {
        self.free_memory().is_ok_and(|(free, total)| free < headroom(total) / 2)
    }

    fn recording_size(&self, recording: &Recording) -> usize {
        self.size_of_recording(recording)
    }

    fn replay(&self, recording: &Recording) {
        self.repeat(recording);
    }
}
