//! Exit codes: what a script learns from how the program ended.

use std::io;

use kernels::DeviceError;
use kernels::cpu::CpuError;
use model::ModelError;

/// How the program ended. The numbers are part of the program's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// 0: the work was done.
    Done,
    /// 1: a fault of the program.
    Internal,
    /// 2: the command line or the configuration is wrong (clap uses this number as well).
    Usage,
    /// 3: the input data are wrong.
    Data,
    /// 4: the device asked for is not there.
    Device,
    /// 5: the disk is full, or reading or writing was refused.
    Io,
    /// 6: there is not enough memory, even for the smallest micro-batch.
    Memory,
    /// 7: training diverged and the guard gave up.
    Diverged,
    /// 8: no usable checkpoint, or a damaged model file.
    Checkpoint,
    /// 75: stopped on request, with what was finished kept; run again to continue (`EX_TEMPFAIL`).
    Interrupted,
    /// 130: ended by SIGINT, with nothing saved.
    Killed,
    /// 143: ended by SIGTERM, with nothing saved.
    Terminated,
}

impl ExitCode {
    /// All of them, in the order of their numbers.
    pub const ALL: [ExitCode; 12] = [
        ExitCode::Done,
        ExitCode::Internal,
        ExitCode::Usage,
        ExitCode::Data,
        ExitCode::Device,
        ExitCode::Io,
        ExitCode::Memory,
        ExitCode::Diverged,
        ExitCode::Checkpoint,
        ExitCode::Interrupted,
        ExitCode::Killed,
        ExitCode::Terminated,
    ];

    /// The number that the process returns.
    pub fn code(self) -> u8 {
        match self {
            ExitCode::Done => 0,
            ExitCode::Internal => 1,
            ExitCode::Usage => 2,
            ExitCode::Data => 3,
            ExitCode::Device => 4,
            ExitCode::Io => 5,
            ExitCode::Memory => 6,
            ExitCode::Diverged => 7,
            ExitCode::Checkpoint => 8,
            ExitCode::Interrupted => 75,
            ExitCode::Killed => 130,
            ExitCode::Terminated => 143,
        }
    }

    /// What the number means, in a few words for `--help`.
    pub fn meaning(self) -> &'static str {
        match self {
            ExitCode::Done => "the work was done",
            ExitCode::Internal => "a fault of the program",
            ExitCode::Usage => "wrong command line or configuration",
            ExitCode::Data => "wrong input data",
            ExitCode::Device => "the device asked for is not there",
            ExitCode::Io => "disk full, or reading or writing refused",
            ExitCode::Memory => "not enough memory",
            ExitCode::Diverged => "training diverged",
            ExitCode::Checkpoint => "no usable checkpoint, or a damaged model",
            ExitCode::Interrupted => "stopped on request, what was finished kept: run again to continue",
            ExitCode::Killed => "ended by SIGINT, with nothing saved",
            ExitCode::Terminated => "ended by SIGTERM, with nothing saved",
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        code.code().into()
    }
}

/// An error that knows how the program should end because of it.
pub trait Classify {
    /// The exit code that says what went wrong.
    fn exit_code(&self) -> ExitCode;
}

impl Classify for io::Error {
    fn exit_code(&self) -> ExitCode {
        match self.kind() {
            io::ErrorKind::OutOfMemory => ExitCode::Memory,
            _ => ExitCode::Io,
        }
    }
}

impl Classify for ModelError {
    fn exit_code(&self) -> ExitCode {
        match self {
            ModelError::Config(model::ConfigError::Value { .. }) => ExitCode::Usage,
            ModelError::Config(model::ConfigError::Read { source, .. }) | ModelError::Io { source, .. } => {
                match source.kind() {
                    io::ErrorKind::InvalidData => ExitCode::Checkpoint, // read, but no text
                    _ => source.exit_code(),
                }
            }
            ModelError::Unpack { source, .. } => source.exit_code(),
            ModelError::Memory { .. } => ExitCode::Memory,
            _ => ExitCode::Checkpoint,
        }
    }
}

impl Classify for DeviceError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::OutOfMemory { .. } | Self::OutOfDeviceMemory { .. } => ExitCode::Memory,
            Self::Compile { .. } | Self::Failed { .. } => ExitCode::Device,
        }
    }
}

impl Classify for CpuError {
    fn exit_code(&self) -> ExitCode {
        match self {
            CpuError::Threads { .. } => ExitCode::Memory, // as with memory, the machine has no more
            _ => ExitCode::Device,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_used_once_and_means_something() {
        let codes = ExitCode::ALL.map(ExitCode::code);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 75, 130, 143]);
        assert!(ExitCode::ALL.iter().all(|code| !code.meaning().is_empty()));
    }
}
