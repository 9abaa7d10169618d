//! Standard output, where results go, and standard error, where everything else goes.

use std::fmt::{Arguments, Display};
use std::io::{ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use indicatif::ProgressBar;

/// The bar on the terminal, above which everything else is told.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// From now on everything is told above `bar`; `None` when it is gone.
pub fn tell_above(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

/// Prints a line of a result and goes on, or returns the error of a function that may fail: `println!` would panic when
/// the reader has closed our output, as `head` does.
macro_rules! say {
    ($($line:tt)*) => {
        crate::output::line(format_args!($($line)*))?
    };
}
pub(crate) use say;

/// Prints a line.
pub fn line(line: Arguments<'_>) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("cannot write to standard output")
}

/// Tells a person something on standard error. That nobody listens any more, as when a pager was left, is no reason to end
/// work that takes days: `eprintln!` would panic.
pub fn tell(text: impl Display) {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bar {
        Some(bar) => bar.println(text.to_string()),
        None => drop(writeln!(std::io::stderr(), "{text}")),
    }
}

/// Whether an error only says that nobody reads on.
pub fn is_unread(error: &anyhow::Error) -> bool {
    let kind =
        |cause: &(dyn std::error::Error + 'static)| Some(cause.downcast_ref::<std::io::Error>()?.kind());
    error.chain().any(|cause| kind(cause) == Some(ErrorKind::BrokenPipe))
}

/// Text from outside without what would command a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
