//! What a run computes on and with how much memory, as its settings ask for it.

use engine::{Precision, Recompute};
use kernels::Cpu;
use kernels::cpu::{CpuError, Isa};

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

/// What the settings ask to compute with, looked at before anything is begun.
///
/// # Errors
/// If they ask for a device or an instruction set that this machine or this version lacks.
pub fn machine(settings: &config::DeviceSettings) -> Result<Machine, SessionError> {
    match settings.device {
        config::Device::Auto | config::Device::Cpu => {}
        config::Device::Cuda(_) => return Err(SessionError::Device { device: settings.device.to_string() }),
    }
    let isa = settings.isa.as_deref().map_or_else(Isa::chosen, str::parse)?;
    if !isa.is_available() {
        return Err(CpuError::MissingIsa { isa, best: Isa::available().last().unwrap_or(Isa::Scalar) }.into());
    }
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(Machine::new(isa.to_string(), settings.threads.unwrap_or_else(cores)))
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
        config::Precision::F32 | config::Precision::Auto => Precision::F32,
        config::Precision::Bf16 => Precision::Bf16,
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
