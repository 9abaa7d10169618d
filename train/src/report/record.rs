//! What the files of a run say of it: of its journal as much as is shown, which is no more of a long run than of a short one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::names::name_of;
use crate::config::bears_on_results;
use crate::files;
use crate::run::directory::{self, CONFIG, EVAL_RESULTS, JOURNAL};
use crate::run::info::{RunInfo, Status};
use crate::run::journal::{History, RESUME, Recorded};
use crate::run::lock;
use crate::visible::shown;

use super::curve::{Curve, Point};
use super::evaluation::{Evaluation, insert_and_thin};

/// Something that happened which a person should know of.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// Steps done.
    pub step: Option<u64>,
    /// What happened: the event of the journal.
    pub event: String,
    /// In words, where the journal has some.
    pub words: String,
    /// How many more of this event, before this one, are left out.
    pub left_out: usize,
}

impl Note {
    /// All of it in a line.
    pub fn line(&self) -> String {
        let step = self.step.map_or(String::new(), |step| format!("step {step}: "));
        let more = match self.left_out {
            0 => String::new(),
            more => format!(" (and {more} times more before that)"),
        };
        format!("{step}{}{more}", self.words)
    }
}

/// Of one event so many notes are kept: the first ones, and the last.
const MOST_ALIKE: usize = 100;

/// A line of the run's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// `section.name`
    pub key: String,
    /// The value, as TOML.
    pub value: String,
    /// Where it comes from.
    pub source: String,
}

/// A run as its files have it.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// What it is called: the last parts of its path.
    pub name: String,
    /// Where it is.
    pub folder: PathBuf,
    /// `run.json`
    pub info: RunInfo,
    /// Whether a process has the run, where that can be told.
    pub at_work: Option<bool>,
    /// `config.toml`
    pub settings: Vec<Setting>,
    /// The `train` events: values by name.
    pub training: BTreeMap<String, Curve>,
    /// The evaluations, by step, of a step the last; of very many some, the one of lowest loss and the last among them (all:
    /// [`evaluations`](super::evaluations)).
    pub evaluations: Vec<Evaluation>,
    /// The figures of the finished model.
    pub results: Option<Evaluation>,
    /// Warnings, in order.
    pub notes: Vec<Note>,
    /// Step of the last checkpoint.
    pub saved: u64,
    /// How often it was continued.
    pub resumes: usize,
    /// Batches that were passed over.
    pub skipped: usize,
    /// Times that it went back to a checkpoint.
    pub rolled_back: usize,
    /// Seconds between the first and the last event of each session, added up.
    pub seconds: f64,
}

/// Settings and results are shorter.
const LONGEST_FILE: u64 = 1 << 24;
/// Events that need no word: they are what a run is made of.
const ORDINARY: [&str; 4] = ["train", "evaluation", "save", RESUME];

impl RunRecord {
    /// Reads the run in `folder`. A journal that is not there yet, or has damaged lines, is no error.
    ///
    /// # Errors
    /// If it is no run, or a file cannot be read.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let info = directory::read_info(folder).map_err(io::Error::other)?;
        let info = info.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("{} is no run: it has no run.json", shown(folder)),
            )
        })?;
        let history = match History::open(&folder.join(JOURNAL)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            history => Some(history?),
        };
        let config = files::read_plain(&folder.join(CONFIG), LONGEST_FILE).unwrap_or_default();
        // That nobody has it proves nothing where the lock is one of another machine's.
        let is_of_here = info.last().is_some_and(|session| session.host == lock::host_name());
        let mut record = Self {
            name: name_of(folder),
            folder: folder.into(),
            info,
            at_work: lock::is_held(folder).filter(|&is_held| is_held || is_of_here),
            settings: settings(&String::from_utf8_lossy(&config)),
            training: BTreeMap::new(),
            evaluations: Vec::new(),
            results: results(folder),
            notes: Vec::new(),
            saved: 0,
            resumes: 0,
            skipped: 0,
            rolled_back: 0,
            seconds: 0.0,
        };
        if let Some(mut history) = history {
            let mut time = WorkingTime::default();
            for event in history.events()? {
                let event = event?;
                record.add(&event);
                time.add(&event);
            }
            record.seconds = time.seconds();
        }
        Ok(record)
    }

    fn add(&mut self, event: &Recorded) {
        let (kind, step) = (event.kind(), event.step());
        match kind {
            RESUME if event.number("rolled_back_from").is_some() => self.rolled_back += 1,
            RESUME => self.resumes += 1,
            _ => {}
        }
        if event.superseded {
            return;
        }
        self.skipped += usize::from(kind == "skip");
        if kind == "save" {
            self.saved = step.unwrap_or(self.saved);
        }
        if let Some(evaluation) = Evaluation::of(event) {
            insert_and_thin(&mut self.evaluations, evaluation);
        }
        match (kind, step) {
            ("train", Some(step)) => {
                for (name, value) in event.numbers() {
                    let point = Point { step, value };
                    match self.training.get_mut(name) {
                        Some(curve) => curve.add(point),
                        None => drop(self.training.insert(name.into(), Curve::from_iter([point]))),
                    }
                }
            }
            _ if ORDINARY.contains(&kind) => {}
            _ => {
                let text = |name: &str| event.fields.get(name).and_then(Value::as_str).map(str::to_owned);
                let numbers = || {
                    event
                        .numbers()
                        .map(|(name, value)| format!("{name} {value}"))
                        .collect::<Vec<_>>()
                        .join(", ")
                };
                let words = ["words", "reason", "error", "bad_steps"].into_iter().find_map(text);
                let words = words.unwrap_or_else(numbers);
                self.note(Note { step, event: kind.into(), words, left_out: 0 });
            }
        }
    }

    /// Adds a note; of too many alike the one before this is left out.
    fn note(&mut self, mut note: Note) {
        let mut alike = (0..self.notes.len()).filter(|&place| self.notes[place].event == note.event);
        if let Some(before) = alike.nth(MOST_ALIKE - 1) {
            note.left_out = self.notes.remove(before).left_out + 1;
        }
        self.notes.push(note);
    }

    /// The training values `name`, in order.
    pub fn curve(&self, name: &str) -> &Curve {
        self.training.get(name).unwrap_or(Curve::EMPTY)
    }

    /// The held-out values `name`, in order.
    pub fn held_out(&self, name: &str) -> Vec<Point> {
        let points = self.evaluations.iter();
        points.filter_map(|of| Some(Point { step: of.step, value: of.get(name)? })).collect()
    }

    /// The value of a setting, without quotes.
    pub fn setting(&self, key: &str) -> Option<&str> {
        let setting = self.settings.iter().find(|setting| setting.key == key)?;
        Some(setting.value.trim_matches('"'))
    }

    /// What it is trained for: the task, or `pretrain`.
    pub fn task(&self) -> &str {
        self.setting("task.task").unwrap_or("pretrain")
    }

    /// The model that it begins with, or the size of a new one.
    pub fn model(&self) -> String {
        let begun_with = self.setting("start.model").or_else(|| self.setting("model.init"));
        match begun_with {
            Some(path) => name_of(Path::new(path.trim_end_matches("/model"))),
            None => self.setting("model.preset").unwrap_or_default().into(),
        }
    }

    /// The settings that what it comes to depends on: runs in which they are the same differ by chance alone.
    pub(super) fn settings_but_for_seed(&self) -> Vec<String> {
        let settings = self.settings.iter().filter(|of| bears_on_results(&of.key));
        settings.map(|of| format!("{} = {}", of.key, of.value)).collect()
    }

    /// Steps that it is to have, where the settings say; not where its data say.
    pub fn steps_planned(&self) -> Option<&str> {
        let is_of_data = ["training.epochs", "training.tokens"].iter().any(|key| self.setting(key).is_some());
        self.setting("training.steps").filter(|_| !is_of_data || self.task() != "pretrain")
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        let trained = self.curve("loss").last().map_or(0, |point| point.step);
        trained.max(self.evaluations.last().map_or(0, |evaluation| evaluation.step)).max(self.saved)
    }

    /// The figures that it has come to: those of its model, or its last where it has gone on since.
    pub fn came_to(&self) -> Option<&Evaluation> {
        let last = self.evaluations.last();
        let has_gone_on = |results: &Evaluation| last.is_some_and(|last| last.step > results.step);
        let is_over = self.info.status == Status::Finished;
        self.results.as_ref().filter(|results| is_over || !has_gone_on(results)).or(last)
    }
}

/// The runs among `paths`, and those in and below folders that are none; each once, whatever leads to it. Those that are
/// damaged are runs all the same: [`RunRecord::read`] says what is wrong with them.
pub fn find_runs(paths: &[PathBuf]) -> Vec<PathBuf> {
    /// `runs/glue/mrpc/seed-1`
    const DEPTH: usize = 4;
    fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
        if is_run(folder) {
            found.push(folder.into());
        } else if depth > 0
            && let Ok(names) = files::names(folder)
        {
            let mut folders: Vec<_> = names.into_iter().map(|name| folder.join(name)).collect();
            folders.retain(|path| path.is_dir());
            folders.sort();
            folders.iter().for_each(|folder| collect(folder, depth - 1, found));
        }
    }
    let mut found = Vec::new();
    paths.iter().for_each(|path| collect(path, DEPTH, &mut found));
    let mut seen = BTreeSet::new();
    found.retain(|run| seen.insert(fs::canonicalize(run).unwrap_or_else(|_| run.clone())));
    found
}

/// Whether a folder is a run, whole or damaged. Others have files of one of these names too.
fn is_run(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    match directory::read_info(folder) {
        Ok(Some(_)) => has(CONFIG) || has(JOURNAL),
        Ok(None) | Err(_) => has(CONFIG) && has(JOURNAL),
    }
}

/// The lines of `config.toml`, as a run writes it: `key = value # source`.
fn settings(toml: &str) -> Vec<Setting> {
    let (mut settings, mut section) = (Vec::new(), "");
    for line in toml.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if let Some((name, rest)) = line.split_once(" = ") {
            let (value, source) = rest.rsplit_once(" # ").unwrap_or((rest, ""));
            settings.push(Setting {
                key: format!("{section}.{name}"),
                value: value.trim_end().into(),
                source: source.into(),
            });
        }
    }
    settings
}

fn results(folder: &Path) -> Option<Evaluation> {
    let results: Value =
        serde_json::from_slice(&files::read_plain(&folder.join(EVAL_RESULTS), LONGEST_FILE).ok()?).ok()?;
    let results = results.as_object()?;
    let figures = results.iter().filter(|(name, _)| *name != "global_step");
    Some(Evaluation {
        step: results.get("global_step")?.as_u64()?,
        figures: figures.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect(),
    })
}

/// Seconds between the first and the last event of each session, added up.
#[derive(Default)]
struct WorkingTime {
    before: f64,
    /// The first and the last time of the session that is looked at.
    session: Option<(f64, f64)>,
}

impl WorkingTime {
    fn add(&mut self, event: &Recorded) {
        if event.kind() == RESUME {
            *self = Self { before: self.seconds(), session: None };
        } else if let Some(time) = event.number("time") {
            self.session = Some((self.session.map_or(time, |(first, _)| first), time));
        }
    }

    fn seconds(&self) -> f64 {
        self.before + self.session.map_or(0.0, |(first, last)| (last - first).max(0.0))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::run::directory::RunDirectory;
    use crate::run::journal::Event;

    /// A run of 20 steps that was continued at step 10, in a folder whose name and settings are hostile.
    pub fn run(folder: &Path, loss: f64) {
        let command = ["albert-train".into(), "pretrain".into(), "<script>alert(1)</script>".into()];
        let mut directory = RunDirectory::open(folder, &command).unwrap();
        directory
            .write_config("[model]\npreset = \"<script>\\u001b[31m\"  # --preset \u{1b}[31m\n[training]\nsteps = 20 # x\n")
            .unwrap();
        let mut journal = directory.journal().unwrap();
        let mut record = |event: Event| journal.record(&event).unwrap();
        for step in [1, 10, 15] {
            record(Event::new("train").at(step).with("loss", loss / step as f64).with("learning_rate", 1e-3));
        }
        record(Event::new("skip").at(13).with("loss", f64::NAN));
        record(Event::new(RESUME).at(10));
        record(Event::new("skip").at(14).with("loss", f64::NAN));
        record(Event::new("order_not_learnt").at(20).with("words", "<script>\u{1b}]0;x\u{7}"));
        record(Event::new("train").at(20).with("loss", loss / 20.0).with("learning_rate", 0.0));
        let evaluation = Event::new("evaluation").at(20).with("loss", 0.123_456_789);
        record(
            evaluation
                .with("masked_lm_loss", 4.5)
                .with("masked_lm_accuracy", 0.25)
                .with("majority_masked_lm_accuracy", 0.06)
                .with("unigram_masked_lm_loss", 6.0),
        );
        directory.finish(Status::Finished, "all steps are done").unwrap();
    }

    #[test]
    fn the_files_of_a_run_are_read_once() {
        let folder = tempfile::tempdir().unwrap();
        run(&folder.path().join("mine"), 8.0);
        let record = RunRecord::read(&folder.path().join("mine")).unwrap();
        assert_eq!((record.name.as_str(), record.task(), record.steps_done()), ("mine", "pretrain", 20));
        assert_eq!((record.resumes, record.skipped, record.rolled_back), (1, 1, 0));
        let steps: Vec<_> =
            record.curve("loss").parts(9).iter().map(|part| (part.until, part.mean())).collect();
        assert_eq!(steps, [(1, 8.0), (10, 0.8), (20, 0.4)], "what was done again counts once");
        assert_eq!(record.came_to().unwrap().compared(), Some(("masked_lm_accuracy", 0.25, 0.06)));
        assert_eq!(
            record.notes.iter().map(|note| note.event.as_str()).collect::<Vec<_>>(),
            ["skip", "order_not_learnt"]
        );
        assert_eq!(record.setting("training.steps"), Some("20"));
        assert_eq!(find_runs(&[folder.path().into()]), [folder.path().join("mine")]);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(folder.path().join("mine"), folder.path().join("other")).unwrap();
            let paths = [folder.path().join("mine"), folder.path().into()];
            assert_eq!(find_runs(&paths), [folder.path().join("mine")], "one run has one place");
        }
        assert!(RunRecord::read(folder.path()).unwrap_err().to_string().contains("is no run"));
    }

    /// Of months of work what is shown is kept, not all of it; what stands out is there, and the ends are exact.
    #[test]
    fn the_journal_of_a_long_run_takes_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let run_folder = folder.path().join("long");
        run(&run_folder, 8.0);
        let mut lines = String::new();
        for step in 21..=12_000_u64 {
            let loss = if step == 5000 { 77.0 } else { 1.0 };
            lines += &format!("{{\"event\":\"train\",\"step\":{step},\"loss\":{loss}}}\n");
            if step % 10 == 0 {
                let loss = if step == 7770 { 0.0625 } else { 2.0 + 1.0 / step as f64 };
                lines += &format!("{{\"event\":\"evaluation\",\"step\":{step},\"loss\":{loss}}}\n");
            }
            if step % 30 == 0 {
                lines += &format!("{{\"event\":\"skip\",\"step\":{step},\"loss\":\"NaN\"}}\n");
            }
        }
        lines += "{\"event\":\"diverged\",\"step\":12000,\"bad_steps\":\"[12000]\"}\n";
        let journal = run_folder.join(JOURNAL);
        let begun = fs::read_to_string(&journal).unwrap();
        fs::write(&journal, begun + &lines).unwrap();
        let record = RunRecord::read(&run_folder).unwrap();
        let curve = record.curve("loss");
        let ends = curve.ends().map(|(first, last)| (first.value, last.step, last.value));
        assert_eq!(ends, Some((8.0, 12_000, 1.0)));
        let parts = curve.parts(usize::MAX);
        assert!(parts.len() < 2000, "{}", parts.len());
        assert_eq!(parts.iter().map(|part| part.points).sum::<u64>(), 3 + 11_980);
        assert_eq!(parts.iter().map(|part| part.high).fold(0.0, f64::max), 77.0);
        assert!(record.evaluations.len() < 1024, "{}", record.evaluations.len());
        assert!(record.held_out("loss").contains(&Point { step: 7770, value: 0.0625 }));
        assert_eq!(record.evaluations.last().map(|last| last.step), Some(12_000));
        assert_eq!(crate::report::evaluations(&run_folder).unwrap().len(), 1 + 1198);
        assert_eq!(record.skipped, 1 + 400);
        let skips: Vec<&Note> = record.notes.iter().filter(|note| note.event == "skip").collect();
        assert_eq!((skips.len(), skips[0].step, skips[98].left_out), (MOST_ALIKE, Some(14), 0));
        assert_eq!((skips[99].step, skips[99].left_out), (Some(12_000), 401 - MOST_ALIKE));
        let line = skips[99].line();
        assert!(line.starts_with("step 12000: ") && line.contains("301 times more"), "{line}");
        assert_eq!(record.notes.last().map(|note| note.line()), Some("step 12000: [12000]".into()));
        let html = crate::report::page(&[record]);
        assert!(html.contains("step 7770: 0.0625</title>") && html.len() < 1 << 20, "{}", html.len());
    }

    #[test]
    fn a_damaged_run_is_found_and_says_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let mine = folder.path().join("mine");
        run(&mine, 8.0);
        fs::write(mine.join("run.json"), "{").unwrap();
        assert_eq!(find_runs(&[folder.path().into()]), std::slice::from_ref(&mine));
        assert!(RunRecord::read(&mine).unwrap_err().to_string().contains("run.json is damaged"));
        fs::remove_file(mine.join("run.json")).unwrap();
        assert_eq!(find_runs(&[folder.path().into()]), std::slice::from_ref(&mine));
        assert!(RunRecord::read(&mine).unwrap_err().to_string().contains("it has no run.json"));
        // Somebody else's settings, and somebody else's run.json.
        fs::remove_file(mine.join(JOURNAL)).unwrap();
        fs::write(mine.join("run.json"), "{}").unwrap();
        assert!(find_runs(&[folder.path().into()]).is_empty());
    }

    /// Whatever lies in place of a file, such as a pipe that nobody writes to.
    #[cfg(unix)]
    #[test]
    fn nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), 8.0);
        for name in [EVAL_RESULTS, CONFIG, JOURNAL] {
            let path = folder.path().join(name);
            let _ = fs::remove_file(&path);
            assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
            assert_eq!(RunRecord::read(folder.path()).is_ok(), name != JOURNAL, "{name}");
        }
    }

    #[test]
    fn a_run_that_goes_on_has_come_to_its_last_evaluation() {
        let folder = tempfile::tempdir().unwrap();
        run(&folder.path().join("mine"), 8.0);
        let mut record = RunRecord::read(&folder.path().join("mine")).unwrap();
        record.results = Some(Evaluation { step: 10, figures: Vec::new() });
        assert_eq!(record.came_to().unwrap().step, 10, "it is over, and its best model was that of step 10");
        record.info.status = Status::Running;
        assert_eq!(record.came_to().unwrap().step, 20);
        // Where it was stopped, a checkpoint says: steps after the last mean are in none.
        let save = serde_json::json!({ "event": "save", "step": 23 });
        record.add(&Recorded { fields: save.as_object().unwrap().clone(), superseded: false });
        assert_eq!(record.steps_done(), 23);
    }
}
