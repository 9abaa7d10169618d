//! How the program ends because of an error.

use std::error::Error;
use std::io;

use kernels::cpu::CpuError;
use model::ModelError;
use train::config::ConfigError;
use train::data::DataError;
use train::exit::{Classify, ExitCode};
use train::finetuning::UnknownTask;
use train::hub::{DownloadError, HubError};
use train::inference::InferenceError;
use train::run::checkpoint::{CheckpointError, TensorError};
use train::run::directory::DirectoryError;
use train::run::lock::LockError;
use train::tables::InputError;
use train::threads::ThreadsError;
use train::tokenizer::TokenizerError;
use train::training::{SessionError, TrainError};

use crate::compat::CompatError;

/// The exit code for an error with its causes: the outermost one that is known decides.
pub fn code_of(error: &anyhow::Error) -> ExitCode {
    let known = |cause| KNOWN.iter().find_map(|classify| classify(cause));
    error.chain().find_map(known).unwrap_or(ExitCode::Internal)
}

/// What was asked for in a way that cannot be followed, where no other part of the program is asked.
#[derive(Debug)]
pub struct Misuse(String);

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Misuse {}

impl Classify for Misuse {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

/// An error that ends the program with the code of misuse.
pub fn misuse(what: impl Into<String>) -> anyhow::Error {
    Misuse(what.into()).into()
}

/// Ends a function with such an error: `bail!`, but with the code of misuse.
macro_rules! refuse {
    ($($message:tt)*) => {
        return Err($crate::exit::misuse(format!($($message)*)))
    };
}
pub(crate) use refuse;

/// One line for every error type that says how the program ends. An error that wraps another comes here as well only if
/// it knows better than what it wraps.
const KNOWN: &[fn(&(dyn Error + 'static)) -> Option<ExitCode>] = &[
    classify::<Misuse>,
    classify::<ConfigError>,
    classify::<SessionError>,
    classify::<TrainError>,
    classify::<CheckpointError>,
    classify::<TensorError>,
    classify::<DirectoryError>,
    classify::<HubError>,
    classify::<DownloadError>,
    classify::<LockError>,
    classify::<ThreadsError>,
    classify::<DataError>,
    classify::<InputError>,
    classify::<UnknownTask>,
    classify::<InferenceError>,
    classify::<ModelError>,
    classify::<TokenizerError>,
    classify::<CpuError>,
    classify::<CompatError>,
    classify::<io::Error>,
];

fn classify<E: Error + Classify + 'static>(error: &(dyn Error + 'static)) -> Option<ExitCode> {
    error.downcast_ref::<E>().map(E::exit_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_known_error_decides() {
        let disk_full = || io::Error::from(io::ErrorKind::StorageFull);
        let missing = CheckpointError::Missing { step: 1, directory: "c".into(), available: vec![] };
        let no_memory = || io::Error::from(io::ErrorKind::OutOfMemory);
        let unread = DataError::Io { action: "read", path: "t".into(), source: no_memory() };
        let unlocked = LockError::Io { path: "l".into(), source: no_memory() };
        let held = LockError::Held { run: "r".into(), holder: "h".into() };
        let cases = [
            (disk_full().into(), ExitCode::Io),
            (anyhow::Error::from(disk_full()).context("saving").context("working"), ExitCode::Io),
            (anyhow::Error::from(missing).context("resuming"), ExitCode::Checkpoint),
            (held.into(), ExitCode::Usage),
            (misuse("which?"), ExitCode::Usage),
            (unread.into(), ExitCode::Memory),
            (unlocked.into(), ExitCode::Memory),
            (anyhow::anyhow!("something odd").context("working"), ExitCode::Internal),
        ];
        for (error, expected) in cases {
            assert_eq!(code_of(&error), expected, "{error:#}");
        }
    }
}
