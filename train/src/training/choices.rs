//! How a GPU does a run's matrix products: found out once, by timing, and kept.

use std::path::Path;

use kernels::cuda::{Choices, ProductChoice};

use super::error::SessionError;
use crate::config::DeviceSettings;
use crate::run::directory::{self, read_choices};
use crate::run::info::{Machine, RunInfo};

/// How the algorithms of products are chosen in a session of the run in `run`, of which `info` is known if it has begun. A run times them
/// once, before its first step on a GPU, and keeps what it chose. One that is to be deterministic, or that an earlier version began
/// on a GPU, takes what the library proposes.
///
/// # Errors
/// If what was chosen cannot be had on this machine, or cannot be read.
pub(super) fn of_session(
    run: &Path,
    has_begun: bool,
    info: Option<&RunInfo>,
    machine: &Machine,
    settings: &DeviceSettings,
) -> Result<ProductChoice, SessionError> {
    let Some(versions) = &machine.gpu else { return Ok(ProductChoice::First) };
    let recorded = if has_begun { read_choices(run)? } else { None };
    if let Some(choices) = recorded {
        let Choices { gpu, architecture, cublaslt, .. } = &choices;
        if (gpu, architecture, cublaslt) != (&machine.processor, &machine.isa, &versions.cublaslt) {
            return Err(SessionError::OtherProducts {
                file: run.join(directory::PRODUCTS),
                chosen: format!("{gpu} ({architecture}) with cuBLASLt {cublaslt}"),
                here: format!("{} ({}) with cuBLASLt {}", machine.processor, machine.isa, versions.cublaslt),
            });
        }
        return Ok(ProductChoice::Recorded(choices));
    }
    let was_on_processors = info.is_some_and(|info| {
        info.sessions.iter().filter_map(|session| session.machine.as_ref()).all(|machine| !machine.is_gpu())
    });
    let is_timed = !settings.deterministic && (!has_begun || was_on_processors);
    Ok(if is_timed { ProductChoice::Timed } else { ProductChoice::First })
}

#[cfg(test)]
mod tests {
    use kernels::cuda::Versions;

    use super::*;
    use crate::run::directory::RunDirectory;

    fn h100(cublaslt: &str) -> Machine {
        let versions = Versions { driver: "13.0".into(), nvrtc: "13.0".into(), cublaslt: cublaslt.into() };
        let (processor, isa, device) = ("H100".into(), "sm_90".into(), "cuda:0".into());
        Machine {
            processor,
            isa,
            threads: 1,
            device,
            precision: "bf16".into(),
            gpu: Some(versions),
            timed_products: false,
        }
    }

    fn settings(deterministic: bool) -> DeviceSettings {
        DeviceSettings { deterministic, ..DeviceSettings::default() }
    }

    #[test]
    fn what_was_chosen_is_used_again_and_only_there() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        let mut directory = RunDirectory::open(run, &[]).unwrap();
        let choose = |has_begun, info: Option<&RunInfo>, machine: &Machine, deterministic| {
            of_session(run, has_begun, info, machine, &settings(deterministic))
        };
        let (timed, first) = (ProductChoice::Timed, ProductChoice::First);
        let gpu = h100("13.0.2");
        let cpu = Machine::new("avx2".into(), 1);
        assert_eq!(choose(false, None, &gpu, false).unwrap(), timed);
        assert_eq!(choose(false, None, &gpu, true).unwrap(), first);
        assert_eq!(choose(false, None, &cpu, false).unwrap(), first);

        // Begun by an earlier version, on a GPU or not; and nothing known of it.
        directory.note_machine(Machine { gpu: None, ..gpu.clone() }).unwrap();
        assert_eq!(choose(true, Some(directory.info()), &gpu, false).unwrap(), first);
        assert_eq!(choose(true, None, &gpu, false).unwrap(), first);
        directory.note_machine(cpu.clone()).unwrap();
        assert_eq!(choose(true, Some(directory.info()), &gpu, false).unwrap(), timed);
        assert_eq!(choose(true, Some(directory.info()), &gpu, true).unwrap(), first);

        let choices = r#"{"gpu": "H100", "architecture": "sm_90", "cublaslt": "13.0.2", "products": []}"#;
        let choices: Choices = serde_json::from_str(choices).unwrap();
        directory.note_choices(Some(&choices)).unwrap();
        let recorded = ProductChoice::Recorded(choices);
        assert_eq!(choose(true, Some(directory.info()), &gpu, false).unwrap(), recorded);
        assert_eq!(choose(true, None, &gpu, true).unwrap(), recorded);
        assert_eq!(choose(true, None, &cpu, false).unwrap(), first);
        assert_eq!(choose(false, None, &gpu, false).unwrap(), timed, "of a start that came to nothing");
        let h200 = Machine { processor: "H200".into(), ..gpu.clone() };
        let other_code = Machine { isa: "sm_100".into(), ..gpu.clone() };
        for elsewhere in [h100("13.1.0"), h200, other_code] {
            let refused = choose(true, None, &elsewhere, false).unwrap_err();
            assert!(matches!(refused, SessionError::OtherProducts { .. }), "{refused}");
        }
        std::fs::write(run.join(directory::PRODUCTS), "{").unwrap();
        let damaged = choose(true, None, &gpu, false).unwrap_err();
        assert!(damaged.to_string().contains("products.json is damaged"), "{damaged}");
        directory.note_choices(None).unwrap();
        directory.note_choices(None).unwrap();
        assert_eq!(choose(true, None, &gpu, false).unwrap(), first);
    }
}
