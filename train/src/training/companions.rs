//! What a run keeps for people to look at: TensorBoard's event files, and the report. The journal has all of it; where one of
//! them cannot be written it is given up with a warning, and training goes on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::event::TrainEvent;
use super::session::Watch;
use crate::report;
use crate::run::journal::Event;
use crate::run::tensorboard::{EventFile, SHOWN};

/// The report of a long run takes its time: between two of them at least so often that.
const RARITY: u32 = 100;

/// The companions of one session.
pub(super) struct Companions {
    folder: PathBuf,
    events: Mutex<Events>,
    report: Mutex<ReportClock>,
    tell: Watch,
}

/// TensorBoard's.
enum Events {
    /// Nothing was to be written yet; of what comes first a resume is kept.
    Before(Option<Event>),
    Open(EventFile),
    /// Not wanted, or given up.
    Closed,
}

/// When the report was written last, and how long that took; whether it is given up.
#[derive(Default)]
struct ReportClock {
    last: Option<(Instant, Duration)>,
    is_given_up: bool,
}

impl Companions {
    /// Of the run in `folder`; warnings are given to `tell`.
    pub fn new(folder: &Path, tensorboard: bool, tell: Watch) -> Self {
        let events = if tensorboard { Events::Before(None) } else { Events::Closed };
        Self { folder: folder.into(), events: Mutex::new(events), report: Mutex::default(), tell }
    }

    /// Who watches, and these.
    pub fn watch(companions: &Arc<Self>) -> Watch {
        let companions = companions.clone();
        Arc::new(move |event| {
            (companions.tell)(event.clone());
            match event {
                TrainEvent::Recorded(event) => companions.note(event),
                TrainEvent::Evaluated { .. } => companions.report(false),
                _ => {}
            }
        })
    }

    /// After the session has ended, however.
    pub fn end(&self) {
        self.report(true);
    }

    fn note(&self, event: &Event) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let mut opened = None;
        let written = match &mut *events {
            Events::Closed => return,
            Events::Open(file) => file.record(event),
            Events::Before(resume) if !SHOWN.contains(&event.kind()) => {
                if event.kind() == crate::run::journal::RESUME {
                    *resume = Some(event.clone());
                }
                return;
            }
            Events::Before(resume) => EventFile::create(&self.folder, event.time()).and_then(|mut file| {
                if let Some(resume) = resume {
                    file.record(resume)?;
                }
                file.record(event)?;
                opened = Some(file);
                Ok(())
            }),
        };
        if let Some(file) = opened {
            *events = Events::Open(file);
        }
        if let Err(error) = written {
            *events = Events::Closed;
            self.warn("TensorBoard's event file", &error);
        }
    }

    fn report(&self, is_last: bool) {
        let mut clock = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let is_early = clock.last.is_some_and(|(when, took)| when.elapsed() < took * RARITY);
        if clock.is_given_up || is_early && !is_last {
            return;
        }
        let start = Instant::now();
        match report::write(&self.folder) {
            Ok(()) => clock.last = Some((Instant::now(), start.elapsed())),
            Err(error) => {
                clock.is_given_up = true;
                self.warn(report::FILE, &error);
            }
        }
    }

    fn warn(&self, what: &str, error: &std::io::Error) {
        let words = format!(
            "warning: {what} cannot be written and is given up: {error}\n  training goes on, and metrics.jsonl has the same"
        );
        (self.tell)(TrainEvent::Said(&words));
    }
}
