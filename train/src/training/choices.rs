//! How a GPU does a run's matrix products: found out once, by timing, and kept.

use std::path::Path;

use kernels::cuda::{Choices, ProductChoice};

use super::error::SessionError;
use crate::config::DeviceSettings;
use crate::run::directory::{self, read_choices};
use crate::run::info::{Machine, RunInfo};

/// How the algorithms of products are chosen in a session of the run in `run`, of which `info` is known if it has begun. A run times them
/// once, before its first step on a GPU, and keeps what it chose. One that is to be deterministic takes what the library proposes first of
/// what adds up sums in one piece, and goes on so; one that an earlier version began on a GPU, what it proposes first.
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
        let Choices { gpu, architecture, multiprocessors, cublaslt, .. } = &choices;
        let others = multiprocessors.zip(machine.multiprocessors).filter(|(chosen, here)| chosen != here);
        if (gpu, architecture, cublaslt) != (&machine.processor, &machine.isa, &versions.cublaslt)
            || others.is_some()
        {
            let count = |count: Option<usize>| {
                count.map_or(String::new(), |count| format!(" of {count} multiprocessors"))
            };
            let Machine { processor, isa, .. } = machine;
            let (chosen, here) = (others.map(|(chosen, _)| chosen), others.map(|(_, here)| here));
            return Err(SessionError::OtherProducts {
                file: run.join(directory::PRODUCTS),
                chosen: format!("{gpu} ({architecture}){} with cuBLASLt {cublaslt}", count(chosen)),
                here: format!("{processor} ({isa}){} with cuBLASLt {}", count(here), versions.cublaslt),
            });
        }
        return Ok(ProductChoice::Recorded(choices));
    }
    let is_unknown = has_begun && info.is_none();
    let sessions = info.filter(|_| has_begun).into_iter().flat_map(|info| info.sessions.iter().rev());
    let on_gpu = sessions.filter_map(|session| session.machine.as_ref()).find(|machine| machine.is_gpu());
    Ok(match on_gpu {
        Some(before) if before.unsplit_products => ProductChoice::Unsplit,
        // What was chosen is gone.
        Some(before) if before.timed_products && settings.deterministic => ProductChoice::Unsplit,
        Some(_) => ProductChoice::First,
        None if is_unknown => ProductChoice::First,
        None if settings.deterministic => ProductChoice::Unsplit,
        None => ProductChoice::Timed,
    })
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
            multiprocessors: Some(132),
            timed_products: false,
            unsplit_products: false,
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
        let (timed, first, unsplit) = (ProductChoice::Timed, ProductChoice::First, ProductChoice::Unsplit);
        let gpu = h100("13.0.2");
        let cpu = Machine::new("avx2".into(), 1);
        assert_eq!(choose(false, None, &gpu, false).unwrap(), timed);
        assert_eq!(choose(false, None, &gpu, true).unwrap(), unsplit);
        assert_eq!(choose(false, None, &cpu, false).unwrap(), first);

        // Begun by an earlier version, on a GPU or not; and nothing known of it.
        directory.note_machine(Machine { gpu: None, ..gpu.clone() }).unwrap();
        assert_eq!(choose(true, Some(directory.info()), &gpu, false).unwrap(), first);
        assert_eq!(choose(true, Some(directory.info()), &gpu, true).unwrap(), first, "as it was begun");
        assert_eq!(choose(true, None, &gpu, false).unwrap(), first);
        directory.note_machine(cpu.clone()).unwrap();
        assert_eq!(choose(true, Some(directory.info()), &gpu, false).unwrap(), timed);
        assert_eq!(choose(true, Some(directory.info()), &gpu, true).unwrap(), unsplit);
        // Begun to be deterministic; and with choices that are gone.
        directory.note_machine(Machine { unsplit_products: true, ..gpu.clone() }).unwrap();
        assert_eq!(choose(true, Some(directory.info()), &gpu, false).unwrap(), unsplit);
        directory.note_machine(Machine { timed_products: true, ..gpu.clone() }).unwrap();
        assert_eq!(choose(true, Some(directory.info()), &gpu, false).unwrap(), first);
        assert_eq!(choose(true, Some(directory.info()), &gpu, true).unwrap(), unsplit);

        // As an earlier version wrote it.
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
        let choices = r#"{"gpu": "H100", "architecture": "sm_90", "multiprocessors": 132, "cublaslt": "13.0.2", "products": []}"#;
        directory.note_choices(Some(&serde_json::from_str(choices).unwrap())).unwrap();
        assert!(choose(true, None, &gpu, false).is_ok());
        let half = Machine { multiprocessors: Some(66), ..gpu.clone() };
        let refused = choose(true, None, &half, false).unwrap_err().to_string();
        for part in ["(sm_90) of 132 multiprocessors", "(sm_90) of 66 multiprocessors"] {
            assert!(refused.contains(part), "`{part}` is not in: {refused}");
        }
        std::fs::write(run.join(directory::PRODUCTS), "{").unwrap();
        let damaged = choose(true, None, &gpu, false).unwrap_err();
        assert!(damaged.to_string().contains("products.json is damaged"), "{damaged}");
        directory.note_choices(None).unwrap();
        directory.note_choices(None).unwrap();
        assert_eq!(choose(true, None, &gpu, false).unwrap(), first);
    }
}
