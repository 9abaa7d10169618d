//! One library under five names.
//!
//! Programs open `libcuda.so`, `libcublas.so`, `libcublasLt.so`, `libnccl.so` and `libnvrtc.so`; all must be this one library, for they
//! share streams and memory. [`crate::setup`] makes a folder with a link to it for each, and the loader takes links to one file
//! for one library. A program may also open the library by its path and later by its bare name. The loader then
//! compares the bare name with the names it knows the library by, so the library, once loaded, opens itself by each
//! bare name: found in its own folder through its RPATH, the name is added to those it is known by.

use std::ffi::CStr;
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};

/// The names that programs open.
pub const NAMES: [&str; 5] = ["libcuda.so", "libcublas.so", "libcublasLt.so", "libnccl.so", "libnvrtc.so"];

#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = answer_to_all_names;

/// Runs when the loader has loaded what this code is part of: the shared library, or a test that only uses the crate.
extern "C" fn answer_to_all_names() {
    let Some(path) = own_path() else { return };
    if path.file_name().is_none_or(|name| !NAMES.iter().any(|known| name == *known)) {
        return;
    }
    for name in NAMES {
        // SAFETY: this opens the very library that is running this code, so no code of others runs.
        match unsafe { Library::open(Some(name), RTLD_LAZY | RTLD_LOCAL) } {
            Ok(library) => std::mem::forget(library),
            Err(error) => {
                eprintln!("emulated GPU: {}: no link named {name} beside it: {error}", path.display())
            }
        }
    }
}

/// The file that this code was loaded from.
pub fn own_path() -> Option<PathBuf> {
    let mut information = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: the address is one of this library's own functions, and `information` is large enough.
    let found = unsafe { libc::dladdr(answer_to_all_names as *const libc::c_void, information.as_mut_ptr()) };
    // SAFETY: all zeros is a valid `Dl_info`, and `dladdr` only writes valid ones.
    let name = unsafe { information.assume_init() }.dli_fname;
    if found == 0 || name.is_null() {
        return None;
    }
    // SAFETY: `dladdr` gives a C string that lives as long as the library.
    let name = unsafe { CStr::from_ptr(name) };
    Some(Path::new(name.to_str().ok()?).to_owned())
}
