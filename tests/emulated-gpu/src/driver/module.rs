//! Modules: PTX made ready to run, its global variables placed in device memory.

use std::fs;
use std::sync::Arc;

use super::border::{HostPointer, Out, Text, driver_calls};
use super::device::{Limits, SHARED_MEMORY, check_room, driver_version};
use super::error::{CudaError, Failure, Result};
use super::handles::Handle;
use super::occupancy;
use super::{Driver, Locked};
use crate::compiler::{self, Outcome, Resources};
use crate::ptx::{Kernel, Module, PtxError};

/// A module whose variables are in device memory.
pub struct LoadedModule {
    /// The device it was loaded on.
    pub device: usize,
    /// What the PTX holds.
    module: Module,
    /// Where its variables are, in their order.
    pub globals: Vec<u64>,
    /// What the compiler says of its kernels.
    resources: Outcome,
}

impl LoadedModule {
    /// A kernel that is known to be there.
    pub fn kernel(&self, name: &str) -> &Kernel {
        self.module.kernel(name).expect("the name was looked up when the function was made")
    }
}

/// A kernel of a module, with the attributes callers set.
pub struct Function {
    /// The module it belongs to.
    pub module: Arc<LoadedModule>,
    /// Its name.
    pub name: String,
    /// Most bytes of dynamic shared memory a launch may ask for.
    pub dynamic_shared_limit: u32,
}

impl Function {
    /// The kernel itself.
    pub fn kernel(&self) -> &Kernel {
        self.module.kernel(&self.name)
    }

    /// What the compiler says of it, where it is known.
    pub fn resources(&self) -> Option<Resources> {
        match &self.module.resources {
            Outcome::Known(kernels) => kernels.get(&self.name).copied(),
            Outcome::Refused(_) | Outcome::Unknown => None,
        }
    }

    /// Most threads of a block: what it was compiled for, and what its registers allow.
    pub fn most_threads(&self) -> u32 {
        let by_registers = self.resources().map(|resources| occupancy::most_threads(resources.registers));
        self.kernel().max_threads.min(by_registers.unwrap_or(u32::MAX))
    }
}

impl Driver {
    fn load_module(&mut self, image: &str) -> Result<Handle<Arc<LoadedModule>>> {
        let device = self.usable()?;
        self.refuse_unsafe_while_capturing("loading a module")?;
        check_header(image, &self.limits)?;
        let resources = compiler::resources(image);
        if let Outcome::Refused(log) = &resources {
            return Err(Failure::new(
                CudaError::InvalidPtx,
                format!("the driver's compiler refuses it:\n{log}"),
            ));
        }
        check_room()?;
        let invalid = |error: PtxError| Failure::new(CudaError::InvalidPtx, error.to_string());
        let module = Module::parse(image).map_err(invalid)?;
        let memory = &mut self.devices[device].memory;
        let places: Result<Vec<u64>, _> =
            module.globals().iter().map(|global| memory.alloc(global.size)).collect();
        let globals = places?;
        for (global, &address) in module.globals().iter().zip(&globals) {
            memory.write(address, &global.contents(&globals))?;
        }
        Ok(self.modules.insert(Arc::new(LoadedModule { device, module, globals, resources })))
    }
}

impl Locked {
    fn unload_module(&mut self, handle: Handle<Arc<LoadedModule>>) -> Result {
        // After a failure the work is dropped, which is as good as done: the module can go.
        let device = self.modules.get(handle)?.device;
        let _ = self.finish_device(device);
        let module = self.modules.remove(handle)?;
        self.functions.retain(|_, function| !Arc::ptr_eq(&function.module, &module));
        for &address in &module.globals {
            self.devices[device].memory.free(address)?;
        }
        Ok(())
    }
}

/// Refuses PTX that a driver of this version or a device of this capability would refuse.
fn check_header(ptx: &str, limits: &Limits) -> Result {
    let directive = |name: &str| ptx.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    let (major, minor) = (driver_version() / 1000, driver_version() / 10 % 100);
    // PTX 9.0 came with CUDA 13.0, and the two have been counted up together since.
    let newest = (major - 4, minor);
    let version = directive(".version").and_then(|version| {
        let (major, minor) = version.split_once('.')?;
        Some((major.parse::<i32>().ok()?, minor.parse::<i32>().ok()?))
    });
    let Some(version) = version else {
        return Err(Failure::new(CudaError::InvalidPtx, "the image has no `.version` line: it is not PTX"));
    };
    if version > newest {
        let reason =
            format!("PTX {}.{}; this driver knows up to {}.{}", version.0, version.1, newest.0, newest.1);
        return Err(Failure::new(CudaError::UnsupportedPtxVersion, reason));
    }
    let target = directive(".target").and_then(|target| target.strip_prefix("sm_")).unwrap_or_default();
    let digits: String = target.chars().take_while(char::is_ascii_digit).collect();
    // `sm_90a` is for that very capability, `sm_100f` for its family; others run on all that came later.
    let exact = target[digits.len()..].starts_with(['a', 'f']);
    let capability = limits.capability;
    match digits.parse::<u32>() {
        Ok(wanted) if wanted == capability || wanted < capability && !exact => Ok(()),
        _ => Err(Failure::new(
            CudaError::NoBinaryForGpu,
            format!("PTX for `sm_{target}`; this device is sm_{capability}"),
        )),
    }
}

/// The text of an image: that which a compiled image was made with, if NVRTC made it here.
fn ptx_text(image: HostPointer) -> Result<String> {
    const ELF: &[u8] = b"\x7fELF";
    const FAT_BINARY: &[u8] = &0xBA55_ED50_u32.to_le_bytes();
    let compiled = image.starts_with(ELF)?;
    if compiled
        && let Some(bytes) = elf_size(image)?
        && let Some(ptx) = compiler::ptx_of_image(&image.read(bytes)?)
    {
        return Ok(ptx);
    }
    if compiled || image.starts_with(FAT_BINARY)? {
        return Err(Failure::new(
            CudaError::NoBinaryForGpu,
            "a compiled image (cubin or fat binary) that NVRTC did not make here cannot be interpreted: load the PTX",
        ));
    }
    image.text()
}

/// Bytes of an image in ELF's form, if it is one for a GPU. Reads no further than it agrees with that.
fn elf_size(image: HostPointer) -> Result<Option<usize>> {
    const HEADER: usize = 64;
    const CUDA: [u8; 2] = 190_u16.to_le_bytes();
    for (at, wanted) in [(4, 2), (5, 1), (6, 1), (18, CUDA[0]), (19, CUDA[1])] {
        if image.byte(at)? != wanted {
            return Ok(None);
        }
    }
    Ok(compiler::elf_size(&image.read(HEADER)?))
}

/// Attributes of kernels, numbered as in `cuda.h`.
const MAX_THREADS: u32 = 0;
const SHARED_SIZE: u32 = 1;
const LOCAL_SIZE: u32 = 3;
const REGISTERS: u32 = 4;
const PTX_VERSION: u32 = 5;
const BINARY_VERSION: u32 = 6;
const MAX_DYNAMIC_SHARED_SIZE: u32 = 8;
const PREFERRED_CARVEOUT: u32 = 9;

driver_calls! {
    /// Loads a module from PTX text.
    fn cuModuleLoadData(driver, module: Out<Handle<Arc<LoadedModule>>>, image: HostPointer) {
        module.set(driver.load_module(&ptx_text(image)?)?)
    }

    /// As [`cuModuleLoadData`]; options for the compiler are not emulated.
    fn cuModuleLoadDataEx(
        driver,
        module: Out<Handle<Arc<LoadedModule>>>,
        image: HostPointer,
        options: u32,
        _names: HostPointer,
        _values: HostPointer,
    ) {
        if options != 0 {
            return Err(Failure::not_emulated("an option of cuModuleLoadDataEx"));
        }
        module.set(driver.load_module(&ptx_text(image)?)?)
    }

    /// Loads a module from a file of PTX text.
    fn cuModuleLoad(driver, module: Out<Handle<Arc<LoadedModule>>>, path: Text) {
        let path = path.get()?;
        let image = fs::read_to_string(&path)
            .map_err(|error| Failure::new(CudaError::FileNotFound, format!("{path}: {error}")))?;
        module.set(driver.load_module(&image)?)
    }

    /// Ends a module after all work is done.
    fn cuModuleUnload(driver, module: Handle<Arc<LoadedModule>>) {
        driver.unload_module(module)
    }

    /// A kernel by its name.
    fn cuModuleGetFunction(driver, function: Out<Handle<Function>>, module: Handle<Arc<LoadedModule>>, name: Text) {
        let (module, name) = (driver.modules.get(module)?.clone(), name.get()?);
        if module.module.kernel(&name).is_none() {
            return Err(Failure::new(CudaError::NotFound, format!("the module has no kernel `{name}`")));
        }
        let dynamic_shared_limit = SHARED_MEMORY.saturating_sub(module.kernel(&name).static_shared as u32);
        let entry = Function { module, name, dynamic_shared_limit };
        function.set(driver.functions.insert(entry))
    }

    /// Address and size of a global variable.
    fn cuModuleGetGlobal_v2(
        driver,
        address: Out<u64>,
        bytes: Out<usize>,
        module: Handle<Arc<LoadedModule>>,
        name: Text,
    ) {
        let (module, name) = (driver.modules.get(module)?, name.get()?);
        let Some(index) = module.module.globals().iter().position(|global| *global.name == *name) else {
            return Err(Failure::new(CudaError::NotFound, format!("the module has no variable `{name}`")));
        };
        address.set_if_wanted(module.globals[index]);
        bytes.set_if_wanted(module.module.globals()[index].size);
        Ok(())
    }

    /// An attribute of a kernel.
    fn cuFuncGetAttribute(driver, value: Out<u32>, attribute: u32, function: Handle<Function>) {
        let function = driver.functions.get(function)?;
        let kernel = function.kernel();
        value.set(match attribute {
            MAX_THREADS => function.most_threads(),
            REGISTERS => match function.resources() {
                Some(resources) => resources.registers,
                None => {
                    let reason = "registers of PTX that NVRTC did not make here (function attribute 4)";
                    return Err(Failure::not_emulated(reason));
                }
            },
            SHARED_SIZE => kernel.static_shared as u32,
            LOCAL_SIZE => function.resources().map_or(kernel.local_bytes as u32, |resources| resources.stack),
            PTX_VERSION | BINARY_VERSION => driver.limits.capability,
            MAX_DYNAMIC_SHARED_SIZE => function.dynamic_shared_limit,
            other => return Err(Failure::not_emulated(format!("function attribute {other}"))),
        })
    }

    /// Sets an attribute of a kernel: how much dynamic shared memory its launches may ask for.
    fn cuFuncSetAttribute(driver, function: Handle<Function>, attribute: u32, value: i32) {
        let opt_in = driver.limits.shared_opt_in;
        let function = driver.functions.get_mut(function)?;
        match attribute {
            MAX_DYNAMIC_SHARED_SIZE => {
                let most = opt_in.saturating_sub(function.kernel().static_shared as u32);
                let bytes = u32::try_from(value).ok().filter(|&bytes| bytes <= most).ok_or_else(|| {
                    let reason = format!("{}: {value} bytes of dynamic shared memory, at most {most}", function.name);
                    Failure::invalid(reason)
                })?;
                function.dynamic_shared_limit = bytes;
                Ok(())
            }
            PREFERRED_CARVEOUT => Ok(()),
            other => Err(Failure::not_emulated(format!("setting function attribute {other}"))),
        }
    }

    /// Sets how cache and shared memory are divided: it makes no difference here.
    fn cuFuncSetCacheConfig(driver, function: Handle<Function>, _preference: u32) {
        driver.functions.get(function).map(drop)
    }

    /// Offset and size of a kernel's parameter.
    fn cuFuncGetParamInfo(
        driver,
        function: Handle<Function>,
        index: usize,
        offset: Out<usize>,
        bytes: Out<usize>,
    ) {
        let function = driver.functions.get(function)?;
        let Some(parameter) = function.kernel().parameters.get(index) else {
            let count = function.kernel().parameters.len();
            let reason = format!("{} has {count} parameters, none of index {index}", function.name);
            return Err(Failure::invalid(reason));
        };
        offset.set(parameter.offset)?;
        bytes.set_if_wanted(parameter.size);
        Ok(())
    }
}
