//! Kernels from source, for the device at hand: compiled by NVRTC once, then read from the disk.

use std::ffi::{CStr, CString};

use cudarc::driver::{result, sys as driver};
use cudarc::nvrtc::{result as nvrtc, sys};

use super::cache;
use crate::memory::DeviceError;

/// Put before every program.
const PRELUDE: &str = include_str!("prelude.cuh");

/// What a compiler made of a program: code of one kind of GPU where it knows the kind, and text that a driver compiles.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// Empty for a GPU that NVRTC does not know.
    pub cubin: Vec<u8>,
    /// With a zero at its end.
    pub ptx: Vec<u8>,
}

/// Source, and how it is compiled.
pub(super) struct Source<'a> {
    pub name: &'a str,
    pub text: &'a str,
    pub defines: Vec<String>,
    pub capability: (i32, i32),
}

impl Source<'_> {
    /// The compiled program, from the disk if it is there.
    pub fn image(&self) -> Result<Image, DeviceError> {
        let (options, version) = self.options().map_err(|error| self.failed(error.to_string()))?;
        let key = cache::key(&[&self.whole(), &options.join(" "), &version, env!("CARGO_PKG_VERSION")]);
        if let Some(image) = cache::read(&key) {
            return Ok(image);
        }
        let image = self.compiled()?;
        cache::write(&key, &image);
        Ok(image)
    }

    /// The compiled program, whatever lies on the disk.
    pub fn compiled(&self) -> Result<Image, DeviceError> {
        let (options, _) = self.options().map_err(|error| self.failed(error.to_string()))?;
        compile(&self.whole(), self.name, &options).map_err(|log| self.failed(log))
    }

    fn whole(&self) -> String {
        format!("{PRELUDE}\n#line 1 \"{}.cu\"\n{}", self.name, self.text)
    }

    fn failed(&self, log: String) -> DeviceError {
        DeviceError::Compile { program: self.name.to_owned(), log }
    }

    /// The compiler's options, and its version.
    fn options(&self) -> Result<(Vec<String>, String), nvrtc::NvrtcError> {
        let (major, minor) = self.capability;
        let wanted = 10 * major + minor;
        let target = target(wanted, &architectures()?);
        let mut options = vec![format!("--gpu-architecture={target}")];
        options.extend(["--std=c++17", "--generate-line-info", "-default-device"].map(str::to_owned));
        options.extend(self.defines.iter().map(|define| format!("--define-macro={define}")));
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the call writes two integers.
        unsafe { sys::nvrtcVersion(&mut major, &mut minor) }.result()?;
        Ok((options, format!("{major}.{minor}")))
    }
}

/// What is compiled for a GPU of architecture `wanted` by a compiler that knows some: code, or text for the newest before it, which the
/// GPU's driver compiles.
fn target(wanted: i32, known: &[i32]) -> String {
    /// What CUDA 12 calls architecture 110, so that drivers for CUDA 13 may have it for newer than any of 100.
    const RENAMED: i32 = 101;
    if known.contains(&wanted) {
        return format!("sm_{wanted}");
    }
    let before = known.iter().copied().filter(|&known| known < wanted && known != RENAMED).max();
    format!("compute_{}", before.unwrap_or(wanted))
}

/// The architectures that the compiler knows: 90 for `sm_90`.
fn architectures() -> Result<Vec<i32>, nvrtc::NvrtcError> {
    let mut count = 0;
    // SAFETY: the calls write one integer, and as many as the first has said.
    unsafe {
        sys::nvrtcGetNumSupportedArchs(&mut count).result()?;
        let mut known = vec![0; count as usize];
        sys::nvrtcGetSupportedArchs(known.as_mut_ptr()).result()?;
        Ok(known)
    }
}

/// # Errors
/// The compiler's log, or what went wrong instead.
fn compile(text: &str, name: &str, options: &[String]) -> Result<Image, String> {
    let said = |error: nvrtc::NvrtcError| error.to_string();
    let text = CString::new(text).map_err(|error| error.to_string())?;
    let name = CString::new(format!("{name}.cu")).map_err(|error| error.to_string())?;
    let program = Program(nvrtc::create_program(&text, Some(&name)).map_err(said)?);
    let cubin = options[0].contains("=sm_");
    #[cfg(unix)]
    let compiling = super::signals::Compiling::begin();
    // SAFETY: the program is alive until the end of this function.
    let compiled = unsafe { nvrtc::compile_program(program.0, options) };
    #[cfg(unix)]
    drop(compiling);
    // SAFETY: the program is alive until the end of this function; lengths are those that the compiler says.
    unsafe {
        if let Err(error) = compiled {
            let log = nvrtc::get_program_log(program.0).map_err(said)?;
            let log = CStr::from_ptr(log.as_ptr()).to_string_lossy().into_owned();
            return Err(if log.is_empty() { said(error) } else { log });
        }
        let mut image = Image { cubin: Vec::new(), ptx: Vec::new() };
        image.ptx = nvrtc::get_ptx(program.0).map_err(said)?.into_iter().map(|byte| byte as u8).collect();
        if cubin {
            let mut size = 0;
            sys::nvrtcGetCUBINSize(program.0, &mut size).result().map_err(said)?;
            image.cubin = vec![0; size];
            sys::nvrtcGetCUBIN(program.0, image.cubin.as_mut_ptr().cast()).result().map_err(said)?;
        }
        Ok(image)
    }
}

/// A program of the compiler's.
struct Program(sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: it was created, and is destroyed once.
        let _ = unsafe { nvrtc::destroy_program(self.0) };
    }
}

/// Why an image is not loaded.
pub(super) struct Refusal {
    /// What the driver said of the code, if then of the text.
    of_code: Option<result::DriverError>,
    /// What it said last.
    pub error: result::DriverError,
}

impl Refusal {
    /// Whether the image is none for this driver, rather than that it cannot load any.
    pub fn is_of_the_image(&self) -> bool {
        use driver::CUresult as Said;
        matches!(
            self.error.0,
            Said::CUDA_ERROR_NO_BINARY_FOR_GPU
                | Said::CUDA_ERROR_INVALID_IMAGE
                | Said::CUDA_ERROR_INVALID_PTX
                | Said::CUDA_ERROR_UNSUPPORTED_PTX_VERSION
        )
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the driver does not load it: {}", self.error)?;
        if let Some(of_code) = &self.of_code {
            write!(f, " (as text; as code: {of_code})")?;
        }
        if self.error.0 != driver::CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION {
            return Ok(());
        }
        let (mut major, mut minor, mut version) = (0, 0, 0);
        // SAFETY: the calls write integers.
        unsafe {
            let _ = sys::nvrtcVersion(&mut major, &mut minor);
            let _ = driver::cuDriverGetVersion(&mut version);
        }
        let (of_driver, part) = (version / 1000, version % 1000 / 10);
        write!(
            f,
            "; NVRTC {major}.{minor} is newer than the driver's CUDA {of_driver}.{part}: install a newer driver, or \
             NVRTC {of_driver}"
        )
    }
}

impl Image {
    /// Loads it into the current context: the code, or the text where the driver says that the code is none for it.
    ///
    /// # Errors
    /// What the driver said of the code, where it takes neither, and of the text.
    pub fn load(&self) -> Result<driver::CUmodule, Refusal> {
        use driver::CUresult::{
            CUDA_ERROR_INVALID_IMAGE, CUDA_ERROR_NO_BINARY_FOR_GPU, CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
        };
        let none_for_it =
            [CUDA_ERROR_NO_BINARY_FOR_GPU, CUDA_ERROR_INVALID_IMAGE, CUDA_ERROR_UNSUPPORTED_PTX_VERSION];
        // SAFETY: both are complete images, as the compiler wrote them.
        let load = |image: &[u8]| unsafe { result::module::load_data(image.as_ptr().cast()) };
        let of_code = match self.cubin.as_slice() {
            [] => None,
            code => match load(code) {
                Ok(module) => return Ok(module),
                Err(error) if none_for_it.contains(&error.0) => Some(error),
                Err(error) => return Err(Refusal { of_code: None, error }),
            },
        };
        load(&self.ptx).map_err(|error| Refusal { of_code, error })
    }
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn a_gpu_that_the_compiler_does_not_know_gets_text_for_the_newest_before_it() {
        let of_12_0 = [50, 52, 60, 70, 80, 86, 87, 89, 90];
        let of_12_8 = [75, 80, 86, 87, 89, 90, 100, 101, 120];
        let of_13_0 = [75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121];
        for (wanted, known, compiled_for) in [
            (90, &of_12_0[..], "sm_90"),
            (100, &of_12_0, "compute_90"),
            // Not 101, which became 110.
            (103, &of_12_8, "compute_100"),
            (107, &of_13_0, "compute_103"),
            (121, &of_12_8, "compute_120"),
            (130, &of_13_0, "compute_121"),
        ] {
            assert_eq!(target(wanted, known), compiled_for, "{wanted} of {known:?}");
        }
    }
}
