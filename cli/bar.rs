//! The bar at the bottom of a terminal: one row, however wide the terminal is at the moment.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{is_quiet, tell_above};

/// Time between redrawings.
pub const FRAME: Duration = Duration::from_millis(200);
/// Columns of the bar itself, and of what stands beside it at least.
const BAR: usize = 24;
const BESIDE: usize = 75;

/// A bar and the words beside it. When it is dropped, it is gone from the terminal.
pub struct Bar {
    bar: ProgressBar,
    terminal: Term,
    /// Columns of the terminal, and those that were written, when it was drawn last.
    drawn: Mutex<(usize, usize)>,
}

impl Bar {
    /// A bar of `length` steps, if standard error is a terminal.
    pub fn new(length: u64) -> Option<Self> {
        (std::io::stderr().is_terminal() && !is_quiet()).then(|| {
            let bar = ProgressBar::new(length);
            tell_above(Some(bar.clone()));
            Self { bar, terminal: Term::stderr(), drawn: Mutex::new((0, 0)) }
        })
    }

    /// Shows that `position` steps are done, beside it what `words` makes of the columns that are left.
    pub fn show(&self, position: u64, words: impl FnOnce(usize) -> String) {
        let columns = usize::from(self.terminal.size().1);
        let (bar, room) = share(columns);
        let words: String = words(room).chars().take(room).collect();
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, written) = *drawn;
        if before != columns {
            // A terminal made narrower has broken the old row in several: they go, down to the last, which is redrawn.
            let _ = self.terminal.move_cursor_up(rows(written, columns) - 1);
            let _ = self.terminal.write_str("\r");
            let _ = self.terminal.clear_to_end_of_screen();
            let template = if bar > 0 { format!("{{bar:{bar}}} {{msg}}") } else { "{msg}".into() };
            self.bar.set_style(ProgressStyle::with_template(&template).expect("the template is well-formed"));
        }
        *drawn = (columns, words.chars().count() + if bar > 0 { bar + 1 } else { 0 });
        self.bar.set_position(position);
        self.bar.set_message(words);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        tell_above(None);
        self.bar.finish_and_clear();
    }
}

/// Columns of the bar, none on a narrow terminal, and of the words beside it. The last column stays free: to write there
/// begins a new row on some terminals.
fn share(columns: usize) -> (usize, usize) {
    let usable = columns.saturating_sub(1).max(1);
    if usable > BAR + BESIDE { (BAR, usable - BAR - 1) } else { (0, usable) }
}

/// Rows that `written` columns take on a terminal of `columns`.
fn rows(written: usize, columns: usize) -> usize {
    written.div_ceil(columns.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bar_and_words_fit_into_one_row() {
        for columns in 0..300 {
            let (bar, words) = share(columns);
            let written = words + if bar > 0 { bar + 1 } else { 0 };
            assert!(columns < 2 || written < columns, "{columns}");
            assert_eq!(rows(written, columns), 1, "{columns}");
        }
        assert_eq!([share(80), share(120)], [(0, 79), (24, 94)]);
        assert_eq!([rows(119, 120), rows(119, 80), rows(119, 40), rows(0, 80)], [1, 2, 3, 1]);
    }
}
