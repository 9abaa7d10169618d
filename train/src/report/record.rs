//! What the files of a run say of it.

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
use crate::run::journal::{self, RESUME, Recorded};
use crate::run::lock;

/// A value at a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Steps done.
    pub step: u64,
    /// The value, finite or not.
    pub value: f64,
}

/// Figures by name, in the order of the journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Steps done.
    pub step: u64,
    /// The figures.
    pub figures: Vec<(String, f64)>,
}

impl Evaluation {
    /// The figure `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// The figure by which runs of this kind are compared, with what is reached without a model: the one that a
    /// baseline is given for.
    pub fn compared(&self) -> Option<(&str, f64, f64)> {
        let baselines = self.figures.iter().filter_map(|(name, value)| {
            let of = name.strip_prefix("baseline_").or_else(|| name.strip_prefix("majority_"))?;
            Some((of, self.get(of)?, *value))
        });
        baselines.into_iter().next()
    }
}

/// Something that happened which a person should know of.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// Steps done.
    pub step: Option<u64>,
    /// What happened: the event of the journal.
    pub event: String,
    /// In words, where the journal has some.
    pub words: String,
}

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
    pub training: BTreeMap<String, Vec<Point>>,
    /// The evaluations, in order; of a step the last.
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
                format!("{} is no run: it has no run.json", folder.display()),
            )
        })?;
        let history = match journal::read(&folder.join(JOURNAL)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Default::default(),
            history => history?,
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
        history.events.iter().for_each(|event| record.add(event));
        record.seconds = working_time(&history.events);
        record.evaluations.sort_by_key(|evaluation| evaluation.step);
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
        match (kind, step) {
            ("train", Some(step)) => {
                for (name, value) in event.numbers() {
                    self.training.entry(name.into()).or_default().push(Point { step, value });
                }
            }
            ("evaluation", Some(step)) => {
                let figures = event.numbers().map(|(name, value)| (name.into(), value)).collect();
                self.evaluations.retain(|earlier| earlier.step != step);
                self.evaluations.push(Evaluation { step, figures });
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
                self.notes.push(Note { step, event: kind.into(), words: words.unwrap_or_else(numbers) });
            }
        }
    }

    /// The training values `name`, in order.
    pub fn curve(&self, name: &str) -> &[Point] {
        self.training.get(name).map_or(&[], Vec::as_slice)
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

/// The first and the last of a list, `most` of it in all, and how many lie between.
pub fn first_and_last<T>(list: &[T], most: usize) -> (&[T], usize, &[T]) {
    if list.len() <= most {
        return (list, 0, &[]);
    }
    let (first, rest) = list.split_at(most / 2);
    let (between, last) = rest.split_at(list.len() - most);
    (first, between.len(), last)
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
fn working_time(events: &[Recorded]) -> f64 {
    let mut all = 0.0;
    for session in events.split(|event| event.kind() == RESUME) {
        let mut times = session.iter().filter_map(|event| event.number("time"));
        if let Some(first) = times.next() {
            all += times.next_back().map_or(0.0, |last| (last - first).max(0.0));
        }
    }
    all
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
        let steps: Vec<_> = record.curve("loss").iter().map(|point| (point.step, point.value)).collect();
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

    #[test]
    fn a_damaged_run_is_found_and_says_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let mine = folder.path().join("mine");
        run(&mine, 8.0);
        fs::write(mine.join("run.json"), "{").unwrap();
        assert_eq!(find_runs(&[folder.path().into()]), [mine.clone()]);
        assert!(RunRecord::read(&mine).unwrap_err().to_string().contains("run.json is damaged"));
        fs::remove_file(mine.join("run.json")).unwrap();
        assert_eq!(find_runs(&[folder.path().into()]), [mine.clone()]);
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
    fn of_a_long_list_its_ends_are_shown() {
        assert_eq!(first_and_last(&[1, 2, 3], 3), (&[1, 2, 3][..], 0, &[][..]));
        assert_eq!(first_and_last(&[1, 2, 3, 4, 5, 6], 3), (&[1][..], 3, &[5, 6][..]));
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
