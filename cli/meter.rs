//! Progress through bytes: a bar on a terminal, one plain line per interval elsewhere.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use train::data::BytesDone;
use train::run::clock::format_duration;
use train::run::progress::LineClock;

use crate::bar::{Bar, FRAME};
use crate::output::tell;

/// Time between plain lines.
const INTERVAL: Duration = Duration::from_secs(30);

/// Shows how far a task is; any thread may tell it.
pub struct Meter {
    task: &'static str,
    start: Instant,
    clock: Mutex<LineClock>,
    bar: Mutex<Option<Bar>>,
}

impl Meter {
    pub fn new(task: &'static str) -> Self {
        let bar = Bar::new(1000);
        let interval = if bar.is_some() { FRAME } else { INTERVAL };
        Self {
            task,
            start: Instant::now(),
            clock: Mutex::new(LineClock::new(interval)),
            bar: Mutex::new(bar),
        }
    }

    /// Shows how far it is, if it is time to.
    pub fn show(&self, BytesDone { done, kept, total }: BytesDone) {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if !clock.is_due(Instant::now()) {
            return;
        }
        // What was there already took no time.
        let rate = (done - kept) as f64 / self.start.elapsed().as_secs_f64();
        let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        let (task, speed) = (self.task, rate / 1e6);
        let line = if total == 0 {
            format!("{task} {} MB {speed:.2} MB/s", megabytes(done))
        } else {
            let left = Duration::try_from_secs_f64(total.saturating_sub(done) as f64 / rate)
                .map_or_else(|_| "?".into(), format_duration);
            format!(
                "{task} {}/{} MB {:.1}% {speed:.2} MB/s ETA {}",
                megabytes(done),
                megabytes(total),
                100.0 * done as f64 / total as f64,
                left
            )
        };
        match &*self.bar.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(bar) => bar.show(1000 * done / total.max(done).max(1), |_| line),
            None => tell(line),
        }
    }

    /// Takes the bar away; how long the task took.
    pub fn finish(&self) -> Duration {
        drop(self.bar.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.start.elapsed()
    }
}
