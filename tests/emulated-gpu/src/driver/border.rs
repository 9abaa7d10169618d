//! The border between C callers and this crate: raw pointers are checked here, panics stop here, and every refusal
//! is written to stderr with the name of the call.
//!
//! The entry points themselves are safe functions over [`Out`], [`In`], [`Items`] and [`Text`]. A C caller alone makes
//! such values, and promises what `cuda.h` asks of it: that the pointer is null or good for the stated access.

use std::any::Any;
use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use super::Locked;
use super::error::{CudaError, Failure, Result};

/// A place the caller wants a result written to.
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Writes the result; refuses a null pointer.
    pub fn set(&self, value: T) -> Result {
        if self.0.is_null() {
            return Err(Failure::invalid("a null pointer where a result is to be written"));
        }
        // SAFETY: not null, and the C caller promises room for one `T`, aligned or not.
        unsafe { self.0.write_unaligned(value) };
        Ok(())
    }

    /// The place of the `index`th of several results.
    pub fn nth(&self, index: usize) -> Self {
        Self(self.0.wrapping_add(index))
    }

    /// Writes the result if the caller wants it: for results that the API allows to be null.
    pub fn set_if_wanted(&self, value: T) {
        let _ = self.set(value);
    }

    /// Writes the results one after another, as many as the caller asked for; refuses a null pointer.
    pub fn set_all(&self, values: &[T]) -> Result
    where
        T: Copy,
    {
        self.set(values[0])?;
        for (index, &value) in values.iter().enumerate() {
            // SAFETY: not null, and the C caller promises room for as many as it asked for.
            unsafe { self.0.add(index).write_unaligned(value) };
        }
        Ok(())
    }
}

/// One value the caller passes by pointer.
#[repr(transparent)]
pub struct In<T>(*const T);

impl<T: Copy> In<T> {
    /// The value; refuses a null pointer.
    pub fn get(&self) -> Result<T> {
        Items(self.0).get(0)
    }

    /// The value, unless the pointer is null.
    pub fn get_if_given(&self) -> Option<T> {
        self.get().ok()
    }
}

/// An array the caller passes by pointer, its length known from elsewhere.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Items<T>(*const T);

impl<T: Copy> Items<T> {
    /// Whether the caller passed no array.
    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// The item at `index`, which the caller promises to be there; refuses a null array.
    pub fn get(&self, index: usize) -> Result<T> {
        if self.0.is_null() {
            return Err(Failure::invalid("a null pointer where a value is to be read"));
        }
        // SAFETY: not null, and the C caller promises an array longer than `index`.
        Ok(unsafe { self.0.add(index).read_unaligned() })
    }
}

/// Untyped host memory the caller points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct HostPointer(*mut u8);

// SAFETY: only an address; whoever dereferences it (`read`, `write`) relies on the caller's promise, on any thread.
unsafe impl Send for HostPointer {}
// SAFETY: as above; the driver's lock orders every access.
unsafe impl Sync for HostPointer {}

impl HostPointer {
    /// The address, for reports and for finding pinned buffers.
    pub fn address(self) -> u64 {
        self.0 as u64
    }

    /// `bytes` bytes from here, copied.
    pub fn read(self, bytes: usize) -> Result<Vec<u8>> {
        let mut copy = vec![0; bytes];
        if bytes > 0 {
            self.refuse_null()?;
            // SAFETY: not null; the C caller promises `bytes` readable bytes here until the copy is done.
            unsafe { self.0.copy_to_nonoverlapping(copy.as_mut_ptr(), bytes) };
        }
        Ok(copy)
    }

    /// The `usize` here.
    pub fn read_usize(self) -> Result<usize> {
        In(self.0.cast_const().cast()).get()
    }

    /// The `f32` here.
    pub fn read_f32(self) -> Result<f32> {
        In(self.0.cast_const().cast()).get()
    }

    /// Stores `bytes` from here on.
    pub fn write(self, bytes: &[u8]) -> Result {
        if !bytes.is_empty() {
            self.refuse_null()?;
            // SAFETY: not null; the C caller promises that many writable bytes here until the copy is done.
            unsafe { self.0.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        }
        Ok(())
    }

    /// Whether the bytes here begin with `prefix`. Reads no further than they agree.
    pub fn starts_with(self, prefix: &[u8]) -> Result<bool> {
        let bytes = Items(self.0.cast_const());
        for (index, &wanted) in prefix.iter().enumerate() {
            if bytes.get(index)? != wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The byte `offset` bytes from here.
    pub fn byte(self, offset: usize) -> Result<u8> {
        Items(self.0.cast_const()).get(offset)
    }

    /// The zero-terminated text here.
    pub fn text(self) -> Result<String> {
        Text(self.0.cast()).get()
    }

    fn refuse_null(self) -> Result {
        if self.0.is_null() {
            return Err(Failure::invalid("a null pointer to host memory"));
        }
        Ok(())
    }
}

/// A C string the caller passes.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Text(*const c_char);

impl Text {
    /// The text; refuses null. Bytes that are not UTF-8 come back as replacement characters.
    pub fn get(&self) -> Result<String> {
        if self.0.is_null() {
            return Err(Failure::invalid("a null pointer where a text is to be read"));
        }
        // SAFETY: not null, and the C caller promises a terminating zero.
        Ok(unsafe { CStr::from_ptr(self.0) }.to_string_lossy().into_owned())
    }
}

/// A function of the caller's that a stream is to call.
#[repr(transparent)]
pub struct Callback(Option<extern "C" fn(HostPointer)>);

impl Callback {
    /// The function; refuses null.
    pub fn get(&self) -> Result<extern "C" fn(HostPointer)> {
        self.0.ok_or_else(|| Failure::invalid("a null pointer where a function is to be called"))
    }
}

/// Declares driver entry points: each becomes an exported C function that takes the driver's lock, runs the body, and
/// turns its outcome into a `CUresult`.
macro_rules! driver_calls {
    ($($(#[$meta:meta])* fn $name:ident($driver:ident $(, $argument:ident: $type:ty)* $(,)?) $body:block)*) => {$(
        $(#[$meta])*
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, reason = "the names are the driver's")]
        #[allow(clippy::too_many_arguments, reason = "the signatures are the driver's")]
        pub extern "C" fn $name($($argument: $type),*) -> u32 {
            $crate::driver::border::call(stringify!($name), |$driver: &mut $crate::driver::Locked| $body)
        }
    )*};
}
pub(crate) use driver_calls;

thread_local! {
    /// Set while this thread runs a host function of a stream, which must make no CUDA call.
    static IN_HOST_FUNCTION: Cell<bool> = const { Cell::new(false) };
}

/// Runs a host function of a stream; CUDA calls it makes are refused, as the driver refuses them.
pub fn in_host_function(function: impl FnOnce()) {
    IN_HOST_FUNCTION.set(true);
    function();
    IN_HOST_FUNCTION.set(false);
}

/// Runs the body of the entry point `name` and gives the `CUresult` for the caller.
pub fn call(name: &'static str, body: impl FnOnce(&mut Locked) -> Result) -> u32 {
    match guarded(name, body) {
        Ok(()) => 0,
        Err(failure) => failure.code as u32,
    }
}

/// Runs the body of the entry point `name` under the driver's lock, and reports a refusal.
pub fn guarded<T>(name: &'static str, body: impl FnOnce(&mut Locked) -> Result<T>) -> Result<T> {
    locked(name, body).inspect_err(|failure| report(name, failure))
}

/// Tells a person why a call was refused.
pub fn report(name: &str, failure: &Failure) {
    if failure.code != CudaError::NotReady {
        eprintln!("emulated GPU: {name}: {failure}");
    }
}

/// Runs the body of the entry point `name` under the driver's lock. A panic is a bug in this crate, is reported as such,
/// and every later call fails too.
pub fn locked<T>(name: &'static str, body: impl FnOnce(&mut Locked) -> Result<T>) -> Result<T> {
    static BROKEN: AtomicBool = AtomicBool::new(false);
    if IN_HOST_FUNCTION.get() {
        Err(Failure::new(CudaError::NotPermitted, "a host function of a stream must make no CUDA call"))
    } else if BROKEN.load(Ordering::Relaxed) {
        Err(Failure::new(CudaError::Unknown, "the emulated GPU broke in an earlier call"))
    } else {
        catch_unwind(AssertUnwindSafe(|| {
            let mut driver = Locked::enter();
            if driver.trace {
                eprintln!("emulated GPU: {name}");
            }
            body(&mut driver)
        }))
        .unwrap_or_else(|panic| {
            BROKEN.store(true, Ordering::Relaxed);
            Err(Failure::new(CudaError::Unknown, format!("a bug in the emulated GPU: {}", message(&*panic))))
        })
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic with no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only test here that enters the driver: nobody gets in after a panic.
    #[test]
    fn a_panic_stops_at_the_border_and_nothing_works_afterwards() {
        let failure = guarded("cuTest", |_| -> Result { panic!("of a test") }).unwrap_err();
        assert_eq!(failure.code, CudaError::Unknown);
        assert!(failure.reason.contains("a bug in the emulated GPU: of a test"), "{failure}");
        assert_eq!(call("cuTest", |_| Ok(())), CudaError::Unknown as u32);
    }

    #[test]
    fn null_pointers_are_refused() {
        assert!(Out::<u32>(std::ptr::null_mut()).set(1).is_err());
        assert!(Out::<u32>(std::ptr::null_mut()).set_all(&[1, 2]).is_err());
        assert!(In::<u32>(std::ptr::null()).get().is_err());
        assert!(Text(std::ptr::null()).get().is_err());
        let null = HostPointer(std::ptr::null_mut());
        assert!(null.read(1).is_err() && null.write(&[1]).is_err() && null.text().is_err());
        assert!(null.starts_with(b"x").is_err());
        assert!(null.read(0).is_ok() && null.write(&[]).is_ok(), "no bytes are nowhere");
    }

    #[test]
    fn results_need_not_be_aligned() {
        let mut bytes = [0u8; 13];
        Out(bytes[1..].as_mut_ptr().cast::<u32>()).set_all(&[1, 2, 3]).unwrap();
        assert_eq!(bytes, [0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(Items(bytes[5..].as_ptr().cast::<u32>()).get(1).unwrap(), 3);
    }
}
