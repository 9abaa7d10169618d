//! What a run computes on and with how much memory, as its settings ask for it.

use engine::{Device, Precision, Recompute};
use kernels::cpu::{CpuError, Isa};
use kernels::cuda::Unavailable;
use kernels::{Cpu, Cuda, cuda};

use super::error::SessionError;
use crate::config;
use crate::run::info::Machine;

/// A number of bytes as a person reads it.
pub fn bytes(count: usize) -> String {
    match count {
        0..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}

/// Settles what `auto` means: what the session before this one, if there is one, computed on and in; else the first GPU in bf16 if
/// it can be used, or the processor in f32. Gives what a person is to be told of it.
pub fn settle(settings: &mut config::DeviceSettings, before: Option<&Machine>) -> Option<String> {
    let mut said = None;
    if settings.device == config::Device::Auto {
        (settings.device, said) = match before.and_then(|before| before.device.parse().ok()) {
            Some(device) => (device, None),
            None => automatic(),
        };
    }
    if settings.precision == config::Precision::Auto {
        let before = before.and_then(|before| before.precision.parse().ok());
        settings.precision = before.unwrap_or(match settings.device {
            config::Device::Cuda(_) => config::Precision::Bf16,
            config::Device::Auto | config::Device::Cpu => config::Precision::F32,
        });
    }
    said
}

/// The first GPU if it can be used, else the processor; and what a person is told of it.
fn automatic() -> (config::Device, Option<String>) {
    match cuda::usable(0).and_then(|gpu| cuda::versions().map(|_| gpu)) {
        Ok(gpu) => {
            let said = format!("computing on {} (on the processor: --device cpu)", gpu.name);
            (config::Device::Cuda(0), Some(said))
        }
        Err(Unavailable::NoDriver | Unavailable::NoDevice { .. }) => (config::Device::Cpu, None),
        Err(reason) => {
            (config::Device::Cpu, Some(format!("computing on the processor, not on the GPU: {reason}")))
        }
    }
}

/// What the settings ask to compute with, looked at before anything is begun.
///
/// # Errors
/// If they ask for a device or an instruction set that this machine lacks.
pub fn machine(settings: &config::DeviceSettings) -> Result<Machine, SessionError> {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if let config::Device::Cuda(ordinal) = settings.device {
        let found = cuda::usable(ordinal).map_err(gpu(ordinal))?;
        let versions = cuda::versions().map_err(gpu(ordinal))?;
        return Ok(Machine {
            isa: found.architecture(),
            processor: found.name,
            gpu: Some(versions),
            multiprocessors: Some(found.multiprocessors),
            timed_products: false,
            unsplit_products: false,
            threads: settings.threads.unwrap_or_else(cores),
            device: settings.device.to_string(),
            precision: precision(settings).to_string(),
        });
    }
    let isa = settings.isa.as_deref().map_or_else(Isa::chosen, str::parse)?;
    if !isa.is_available() {
        return Err(CpuError::MissingIsa { isa, best: Isa::available().last().unwrap_or(Isa::Scalar) }.into());
    }
    let machine = Machine::new(isa.to_string(), settings.threads.unwrap_or_else(cores));
    Ok(Machine { precision: precision(settings).to_string(), ..machine })
}

/// The device that the settings ask for.
///
/// # Errors
/// As [`machine`]; and if it cannot be started.
pub fn device(settings: &config::DeviceSettings) -> Result<Device, SessionError> {
    match settings.device {
        config::Device::Cuda(ordinal) => {
            Ok(Device::Cuda(Box::new(Cuda::new(ordinal).map_err(gpu(ordinal))?)))
        }
        config::Device::Auto | config::Device::Cpu => Ok(Device::Cpu(cpu(settings)?)),
    }
}

/// What a person is to be told of a GPU that has computed already, if little of its memory is left.
pub(super) fn little_memory(gpu: &Cuda) -> Option<String> {
    const LITTLE: usize = 256 << 20;
    let (free, total) = gpu.free_memory().ok().filter(|(free, _)| *free < LITTLE)?;
    Some(format!(
        "note: only {} of the GPU's {} are left: should another program take more, this one ends with an error; smaller micro-batches \
         leave more",
        bytes(free),
        bytes(total)
    ))
}

/// Bytes of memory that a step may take there, as far as that is known; on a GPU some are kept for what is in no account.
pub fn available_memory(settings: &config::DeviceSettings) -> Option<usize> {
    match settings.device {
        config::Device::Cuda(ordinal) => {
            let (free, total) = cuda::free_memory(ordinal).ok()?;
            Some(free.saturating_sub(cuda::headroom(total)))
        }
        config::Device::Auto | config::Device::Cpu => super::memory::available_memory(),
    }
}

fn gpu(ordinal: usize) -> impl Fn(Unavailable) -> SessionError {
    move |reason: Unavailable| SessionError::Gpu {
        device: config::Device::Cuda(ordinal).to_string(),
        reason: Box::new(reason),
    }
}

/// The CPU that the settings ask for.
///
/// # Errors
/// As [`machine`]; and if its threads cannot be started.
pub fn cpu(settings: &config::DeviceSettings) -> Result<Cpu, SessionError> {
    let machine = machine(settings)?;
    Ok(Cpu::new(Some(machine.threads), Some(machine.isa.parse()?))?)
}

/// What the settings ask to store activations in.
pub fn precision(settings: &config::DeviceSettings) -> Precision {
    match settings.precision {
        config::Precision::F32 => Precision::F32,
        config::Precision::Bf16 => Precision::Bf16,
        config::Precision::Auto => match settings.device {
            config::Device::Cuda(_) => Precision::Bf16,
            config::Device::Auto | config::Device::Cpu => Precision::F32,
        },
    }
}

/// What the settings ask backward to compute again.
pub fn recompute(setting: config::Recompute) -> Recompute {
    match setting {
        config::Recompute::None => Recompute::None,
        config::Recompute::Gelu => Recompute::Gelu,
        config::Recompute::Layer => Recompute::Layer,
    }
}

/// Which of what computes more than `now` fits first, as what to do about memory: the fastest comes first.
pub fn recompute_that_fits(now: Recompute, fits: impl Fn(Recompute) -> bool) -> Option<String> {
    let more = match now {
        Recompute::None => &[(Recompute::Gelu, "gelu"), (Recompute::Layer, "layer")][..],
        Recompute::Gelu => &[(Recompute::Layer, "layer")],
        Recompute::Layer => &[],
    };
    let again = more.iter().find(|&&(again, _)| fits(again));
    again.map(|(_, name)| format!("--recompute {name} fits and gives the same result, only slower"))
}

/// The most sequences or tokens that fit, fewer than `too_many`, where more need more.
pub fn most_fitting(too_many: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut fitting, mut too_many) = (0, too_many);
    while too_many - fitting > 1 {
        let middle = fitting.midpoint(too_many);
        *if fits(middle) { &mut fitting } else { &mut too_many } = middle;
    }
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_fits_is_found() {
        for (most, too_many) in [(0, 1), (0, 2), (1, 2), (5, 6), (5, 100), (0, 100), (98, 100), (99, 100)] {
            assert_eq!(most_fitting(too_many, |sequences| sequences <= most), most, "of {too_many}");
        }
    }
}
