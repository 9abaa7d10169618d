//! What a run keeps for people to look at: TensorBoard's event files, and the report. The journal has all of it; where one of
//! them cannot be written that is warned of, and training goes on: event files are given up, the report is tried again.

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

/// When the report was written last, or tried to be, and how long that took; whether a failure was told of.
#[derive(Default)]
struct ReportClock {
    last: Option<(Instant, Duration)>,
    has_warned: bool,
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
            self.warn("TensorBoard's event file cannot be written and is given up", &error);
        }
    }

    fn report(&self, is_last: bool) {
        let mut clock = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let is_early = clock.last.is_some_and(|(when, took)| when.elapsed() < took * RARITY);
        if is_early && !is_last {
            return;
        }
        let start = Instant::now();
        let written = report::write(&self.folder);
        clock.last = Some((Instant::now(), start.elapsed()));
        if let Err(error) = written
            && !std::mem::replace(&mut clock.has_warned, true)
        {
            self.warn(&format!("{} cannot be written, and will be tried again", report::FILE), &error);
        }
    }

    fn warn(&self, what: &str, error: &std::io::Error) {
        let words = format!("warning: {what}: {error}\n  training goes on, and metrics.jsonl has the same");
        (self.tell)(TrainEvent::Said(&words));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::directory::RunDirectory;

    #[test]
    fn a_report_that_cannot_be_written_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let _run = RunDirectory::open(folder.path(), &["albert-train".into()]).unwrap();
        let path = folder.path().join(report::FILE);
        std::fs::write(&path, "a letter").unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = {
            let told = told.clone();
            move |event: TrainEvent<'_>| {
                if let TrainEvent::Said(words) = event {
                    told.lock().unwrap().push(words.to_owned());
                }
            }
        };
        let companions = Companions::new(folder.path(), false, Arc::new(tell));
        companions.report(false);
        companions.end();
        assert_eq!(told.lock().unwrap().len(), 1, "warned of once: {told:?}");
        std::fs::remove_file(&path).unwrap();
        companions.end();
        assert!(path.is_file(), "nothing was in the way any more");
    }
}
