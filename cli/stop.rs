//! Requests to stop, and what a person is told of them.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use train::exit::ExitCode;
use train::run::signals::{StopReason, StopRequests};

use crate::output::tell;

/// Whose requests are answered: those of what was begun last. Handlers stay for the life of the process.
static CURRENT: AtomicUsize = AtomicUsize::new(0);

/// What is said on requests, as long as nothing else has been begun.
fn while_current(
    say: impl Fn(StopReason) + Send + Sync + 'static,
) -> impl Fn(StopReason) + Send + Sync + 'static {
    let own = CURRENT.fetch_add(1, Ordering::Relaxed) + 1;
    move |reason| {
        if CURRENT.load(Ordering::Relaxed) == own {
            say(reason);
        }
    }
}

/// Installs the handlers; each request is answered at once with what happens next.
pub fn requests(next: &'static str) -> Result<StopRequests> {
    let acknowledge = move |reason| {
        let again = match reason {
            StopReason::Interrupt => "; a second Ctrl-C ends it at once, unsaved",
            StopReason::Terminate => "; a second SIGTERM ends it at once, unsaved",
            StopReason::HangUp | StopReason::MaxTime | StopReason::StopFile => "",
        };
        tell(format_args!("{reason}: {next}{again}"));
    };
    StopRequests::install(while_current(acknowledge)).context("cannot install signal handlers")
}

/// Runs a command that leaves nothing half done wherever it is left: a request to stop is answered at once, and obeyed.
pub fn or_leave(work: impl FnOnce() -> Result<ExitCode> + Send + 'static) -> Result<ExitCode> {
    or_leave_to("begin anew", work)
}

/// The same, where running the command again does what is said.
pub fn or_leave_to(
    then: &'static str,
    work: impl FnOnce() -> Result<ExitCode> + Send + 'static,
) -> Result<ExitCode> {
    let acknowledge = move |reason: StopReason| {
        tell(format_args!("{reason}: ending, unfinished; run the same command again to {then}"));
    };
    let stop = StopRequests::install(while_current(acknowledge)).context("cannot install signal handlers")?;
    stop.unless_stopped(work)?.unwrap_or(Ok(ExitCode::Interrupted))
}
