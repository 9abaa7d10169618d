//! Progress through bytes: a bar on a terminal, one plain line per interval elsewhere.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use train::data::BytesDone;
use train::run::clock::format_duration;
use train::run::progress::LineClock;

use crate::output::tell;

/// Time between plain lines.
const INTERVAL: Duration = Duration::from_secs(30);
/// Time between redrawings of the bar.
const FRAME: Duration = Duration::from_millis(200);

/// Shows how far a task is; any thread may tell it.
pub struct Meter {
    task: &'static str,
    start: Instant,
    clock: Mutex<LineClock>,
    bar: Option<ProgressBar>,
}

impl Meter {
    pub fn new(task: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:24} {msg}").expect("the template is well-formed");
            ProgressBar::new(1000).with_style(style)
        });
        let interval = if bar.is_some() { FRAME } else { INTERVAL };
        Self { task, start: Instant::now(), clock: Mutex::new(LineClock::new(interval)), bar }
    }

    /// Shows how much is done, if it is time to.
    pub fn show(&self, BytesDone { done, kept, total }: BytesDone) {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if !clock.is_due(Instant::now()) {
            return;
        }
        let (share, seconds) = (done as f64 / total.max(1) as f64, self.start.elapsed().as_secs_f64());
        // What was there already took no time.
        let rate = (done - kept) as f64 / seconds;
        let left = Duration::try_from_secs_f64((total - done) as f64 / rate)
            .map_or_else(|_| "?".into(), format_duration);
        let line = format!(
            "{} {:.1}/{:.1} MB {:.1}% {:.2} MB/s ETA {}",
            self.task,
            done as f64 / 1e6,
            total as f64 / 1e6,
            100.0 * share,
            rate / 1e6,
            left
        );
        match &self.bar {
            Some(bar) => {
                bar.set_position((1000.0 * share) as u64);
                bar.set_message(line);
            }
            None => tell(line),
        }
    }

    /// Takes the bar away; how long the task took.
    pub fn finish(&self) -> Duration {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.start.elapsed()
    }
}
