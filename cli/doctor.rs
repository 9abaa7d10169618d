//! `albert-train doctor`: what this machine has to train with, what it lacks, and what to do about it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use console::Style;
use kernels::cpu::Isa;
use kernels::cuda::{self, CheckError, Cuda};
use kernels::{Backend, DeviceError};
use train::exit::ExitCode;
use train::run::{directory::free_space, info::Machine, lock::Lock};
use train::training::bytes;
use train::visible::{shown, visible};

use crate::output::say;

/// Look at the machine: processor, GPU, libraries, memory, disk. What is missing is shown with what to do about it.
#[derive(Args)]
pub struct Arguments {
    /// Folder that runs will be written to
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// End with exit code 4 if anything is missing
    #[arg(long)]
    strict: bool,
}

/// What was found about one thing: good, or a defect with its remedy.
struct Finding {
    what: &'static str,
    found: Result<String, String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut findings = vec![processor(), memory()];
    findings.extend(gpu());
    findings.push(kernel_cache());
    findings.extend(working_folder(&arguments.folder));
    let width = findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
    for Finding { what, found } in &findings {
        let (style, mark, text) = match found {
            Ok(text) => (Style::new().green(), "ok", text),
            Err(text) => (Style::new().red(), "missing", text),
        };
        say!("{} {what:width$}  {}", style.apply_to(format_args!("{mark:7}")), visible(text));
    }
    let missing = findings.iter().filter(|finding| finding.found.is_err()).count();
    Ok(if arguments.strict && missing > 0 { ExitCode::Device } else { ExitCode::Done })
}

fn processor() -> Finding {
    let best = Isa::available().last().unwrap_or(Isa::Scalar);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let Machine { processor, .. } = Machine::new(best.to_string(), cores);
    let lacking: Vec<_> =
        Isa::ALL.into_iter().filter(|isa| !isa.is_available()).map(|isa| isa.to_string()).collect();
    let without =
        if lacking.is_empty() { String::new() } else { format!(", without {}", lacking.join(", ")) };
    let found = match best {
        Isa::Scalar => Err(format!(
            "{processor}: no AVX2, so that training takes many times as long; use another machine"
        )),
        _ => Ok(format!("{processor}, {cores} cores; {best}{without}")),
    };
    Finding { what: "processor", found }
}

fn memory() -> Finding {
    let settings = train::config::DeviceSettings { device: train::config::Device::Cpu, ..Default::default() };
    let available = train::training::available_memory(&settings);
    let found = Ok(available
        .map_or("the system does not say how much is free".into(), |free| format!("{} free", bytes(free))));
    Finding { what: "memory", found }
}

/// The driver, the libraries that are needed beside it, and its devices.
fn gpu() -> Vec<Finding> {
    let version = match cuda::driver_version() {
        Ok(version) => version,
        Err(reason) => return vec![Finding { what: "GPU", found: Err(reason.to_string()) }],
    };
    let driver = format!("for CUDA {}.{}", version / 1000, version % 1000 / 10);
    let mut findings = vec![Finding { what: "GPU driver", found: Ok(driver) }];
    findings.extend(cuda::Library::ALL.map(|library| {
        let found = library.version().map(|version| format!("{library} {version}"));
        Finding { what: "GPU library", found: found.map_err(|reason| reason.to_string()) }
    }));
    let has_libraries = findings.iter().all(|finding| finding.found.is_ok());
    match cuda::devices() {
        Err(reason) => findings.push(Finding { what: "GPU", found: Err(reason.to_string()) }),
        Ok(devices) => {
            findings.extend(devices.into_iter().flat_map(|device| of_device(device, has_libraries)))
        }
    }
    findings
}

/// A GPU: what it is, and whether it computes, which only shows when it is used.
fn of_device(device: cuda::Found, has_libraries: bool) -> Vec<Finding> {
    let ordinal = device.ordinal;
    let (major, minor) = device.capability;
    let (name, memory) = (device.name, bytes(device.memory));
    let description = format!(
        "cuda:{ordinal}, {name}, compute capability {major}.{minor}, {} multiprocessors, {memory}",
        device.multiprocessors
    );
    let usable = cuda::usable(ordinal).map_err(|reason| reason.to_string());
    let is_usable = usable.is_ok();
    let mut findings = vec![Finding { what: "GPU", found: usable.map(|_| description) }];
    if !is_usable || !has_libraries {
        return findings;
    }
    let computes = Cuda::new(ordinal).map_err(|reason| reason.to_string()).and_then(|gpu| {
        let (free, total) = gpu.free_memory().map_err(|error| error.to_string())?;
        gpu.check().map_err(|error| format!("cuda:{ordinal} does not compute: {error}{}", remedy(&error)))?;
        let product = match gpu.remarks().as_slice() {
            [] => "a product of cuBLASLt's in bf16".to_owned(),
            remarks => format!("a product in bf16 ({})", remarks.join("; ")),
        };
        let free = format!("{} of {} free on cuda:{ordinal}", bytes(free), bytes(total));
        Ok(format!("a kernel and {product} give the right numbers; {free}"))
    });
    findings.push(Finding { what: "GPU computes", found: computes });
    findings
}

/// What to do about a GPU that does not compute.
fn remedy(error: &CheckError) -> &'static str {
    match error {
        CheckError::Device(DeviceError::Compile { .. }) => {
            "; install the newest driver, and libraries of the CUDA version that it is for"
        }
        CheckError::Device(DeviceError::OutOfDeviceMemory { .. }) => {
            "; end what else runs on it (`nvidia-smi` lists it)"
        }
        CheckError::Device(_) => "; `nvidia-smi` and the system's log (`dmesg`) say more; a restart may help",
        CheckError::Wrong { .. } => "",
    }
}

fn kernel_cache() -> Finding {
    let found = match cuda::cache_folder() {
        None => {
            Err("neither HOME nor XDG_CACHE_HOME is set: kernels of a GPU are compiled anew at each start"
                .into())
        }
        Some(folder) => {
            match std::fs::create_dir_all(&folder).and_then(|()| tempfile::tempfile_in(&folder)) {
                Ok(_) => Ok(shown(&folder).to_string()),
                Err(error) => Err(format!(
                    "{}: {error}; kernels of a GPU are compiled anew at each start: make it writable, or set XDG_CACHE_HOME",
                    shown(&folder)
                )),
            }
        }
    };
    Finding { what: "kernel cache", found }
}

/// Whether runs can be written and locked there.
fn working_folder(folder: &Path) -> Vec<Finding> {
    let shown = shown(folder);
    let space = match free_space(folder) {
        Some(free) => Ok(format!("{} free in {shown}", bytes(free as usize))),
        None => Err(format!(
            "{shown} is not there, or cannot be looked at: name the folder that runs are to be written to"
        )),
    };
    let locks = tempfile::tempdir_in(folder)
        .map_err(|error| format!("nothing can be written to {shown}: {error}"))
        .and_then(|run| {
            Lock::acquire(run.path()).map(|_| "runs can be written and locked".to_owned()).map_err(|error| {
                format!("{error}; use a file system with locks, or two processes may write to one run")
            })
        });
    vec![Finding { what: "disk", found: space }, Finding { what: "locks", found: locks }]
}
