//! Standard output, where results go, and standard error, where everything else goes.

use std::fmt::{Arguments, Display};
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use console::{Term, measure_text_width};
use indicatif::ProgressBar;
use train::visible::{visible_json, visible_lines};

/// The bar on the terminal, above which everything else is told.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// From now on everything is told above `bar`; `None` when it is gone.
pub fn tell_above(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

/// How much is told on standard error.
static QUIET: AtomicBool = AtomicBool::new(false);
static VERBOSE: AtomicBool = AtomicBool::new(false);

/// What the command line says about how much is told.
pub fn set_loudness(quiet: bool, verbose: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
    VERBOSE.store(verbose, Ordering::Relaxed);
}

/// Whether only warnings and errors are told.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Whether what is only noted is told too.
pub fn is_verbose() -> bool {
    VERBOSE.load(Ordering::Relaxed)
}

/// Prints a line of a result and goes on, or returns the error of a function that may fail: `println!` would panic when
/// the reader has closed our output, as `head` does.
macro_rules! say {
    ($($line:tt)*) => {
        crate::output::line(format_args!($($line)*))?
    };
}
pub(crate) use say;

/// A text in lines that fit a terminal, each `indent` spaces from its edge; in one line where output goes elsewhere.
pub fn indented(text: &str, indent: usize) -> String {
    let terminal = Term::stdout();
    let columns = terminal.is_term().then(|| usize::from(terminal.size().1));
    wrapped(text, indent, columns.unwrap_or(usize::MAX))
}

fn wrapped(text: &str, indent: usize, columns: usize) -> String {
    // A terminal too narrow for anything breaks lines as it likes.
    let room = columns.saturating_sub(indent + 1).max(20);
    let (mut lines, mut width) = (vec![String::new()], 0);
    for word in text.split_inclusive(' ') {
        let needed = measure_text_width(word.trim_end());
        if width > 0 && width + needed > room && needed <= room {
            lines.push(String::new());
            width = 0;
        }
        // What has no spaces is broken where it must.
        for c in word.chars() {
            let of_char = measure_text_width(c.encode_utf8(&mut [0; 4]));
            if width + of_char > room {
                lines.push(String::new());
                width = 0;
            }
            if width > 0 || c != ' ' {
                lines.last_mut().expect("there is one from the beginning").push(c);
                width += of_char;
            }
        }
    }
    let lines: Vec<_> = lines.iter().map(|line| format!("{:indent$}{}", "", line.trim_end())).collect();
    lines.join("\n")
}

/// Prints a JSON value in a line. What would command the terminal is escaped, as JSON can: the value stays the same.
pub fn json_line(value: &serde_json::Value) -> Result<()> {
    line(format_args!("{}", visible_json(&value.to_string())))
}

/// Prints a line.
pub fn line(line: Arguments<'_>) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("cannot write to standard output")
}

/// Tells a person something on standard error. That nobody listens any more, as when a pager was left, is no reason to end
/// work that takes days: `eprintln!` would panic.
///
/// Most of what is told names something from outside: it is shown in a form that commands no terminal.
pub fn tell(text: impl Display) {
    let text = visible_lines(&text.to_string());
    if is_quiet()
        && !["warning", "error", "WARN", "ERROR"].iter().any(|word| text.trim_start().starts_with(word))
    {
        return;
    }
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bar {
        Some(bar) => bar.println(text),
        None => drop(writeln!(std::io::stderr(), "{text}")),
    }
}

/// Standard error for libraries that write warnings of their own, a line at a time: as with [`tell`], nothing fails.
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        tell(String::from_utf8_lossy(bytes).trim_end());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whether an error only says that nobody reads on.
pub fn is_unread(error: &anyhow::Error) -> bool {
    let kind =
        |cause: &(dyn std::error::Error + 'static)| Some(cause.downcast_ref::<std::io::Error>()?.kind());
    error.chain().any(|cause| kind(cause) == Some(ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn lines_fit_whatever_the_script() {
        assert_eq!(wrapped("one two  three", 2, usize::MAX), "  one two  three");
        assert_eq!(
            wrapped("The cat sat on the mat and slept there.", 4, 26),
            "    The cat sat on the\n    mat and slept there."
        );
        let chinese = "今天天气很好我们去公园吧明天也去";
        let lines: Vec<_> = wrapped(chinese, 0, 21).lines().map(str::to_owned).collect();
        assert_eq!((lines.len(), lines.concat().as_str()), (2, chinese));
        assert!(lines.iter().all(|line| console::measure_text_width(line) <= 20), "{lines:?}");
        assert_eq!(wrapped("", 2, 80), "  ");
    }
}
