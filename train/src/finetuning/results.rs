//! What fine-tuning runs came to, as the published tables show it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::published::{GLUE_COLUMNS, GLUE_PUBLISHED, READING_COLUMNS, READING_PUBLISHED, SIZES_PUBLISHED};
use crate::config::{Finetune, Layers, bears_on_results};
use crate::run::directory::{CONFIG, EVAL_RESULTS};
use crate::visible::shown;

/// How deep below a folder runs are looked for: `runs/glue/mrpc/seed-1`.
const DEPTH: usize = 4;

/// What one run came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunResult {
    /// Its folder.
    #[serde(serialize_with = "as_text")]
    pub run: PathBuf,
    /// What it was trained for.
    pub task: String,
    /// The model that it began with: its name, or its path where several have that name.
    pub model: String,
    /// Where that is.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// That model's size.
    pub size: Option<String>,
    /// Its held-out figures.
    pub figures: BTreeMap<String, f64>,
    /// The settings that these depend on, where they are not the usual ones; not its seed.
    #[serde(skip)]
    pub settings: Vec<(&'static str, String)>,
}

/// A path, whose name may be anything, as JSON, which has text only.
fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// What is found in and below folders.
#[derive(Debug, Default)]
pub struct Results {
    /// The finished fine-tuning runs, in order.
    pub runs: Vec<RunResult>,
    /// Fine-tuning runs that cannot be read, such as those of another version, and why.
    pub unread: Vec<(PathBuf, String)>,
}

/// The finished fine-tuning runs in and below `folders`.
pub fn find_results(folders: &[PathBuf]) -> Results {
    let mut found = Results::default();
    folders.iter().for_each(|folder| collect(folder, DEPTH, &mut found));
    found.runs.sort_by(|a, b| a.run.cmp(&b.run));
    found.unread.sort();
    name(&mut found.runs);
    found
}

/// Calls each model by the part of its path that says something, where no other is called so.
fn name(results: &mut [RunResult]) {
    let names: Vec<String> = results.iter().map(|result| name_of(&result.path)).collect();
    for index in 0..results.len() {
        let is_alone = (names.iter().zip(&*results))
            .all(|(name, other)| *name != names[index] || other.path == results[index].path);
        let path = || shown(&results[index].path);
        results[index].model = if is_alone { names[index].clone() } else { path() };
    }
}

fn collect(folder: &Path, depth: usize, found: &mut Results) {
    if folder.join(CONFIG).is_file() {
        match read(folder) {
            Ok(run) => found.runs.extend(run),
            Err(why) => found.unread.push((folder.to_path_buf(), why)),
        }
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else { return };
    if depth > 0 {
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            collect(&entry.path(), depth - 1, found);
        }
    }
}

/// The result of one run; none where it is not finished, or of another kind.
///
/// # Errors
/// In words, why it cannot be read.
fn read(run: &Path) -> Result<Option<RunResult>, String> {
    let (config, results) = (run.join(CONFIG), run.join(EVAL_RESULTS));
    let of_task = |text: String| text.lines().any(|line| line.trim() == "[task]");
    if !results.is_file() || !fs::read_to_string(&config).is_ok_and(of_task) {
        return Ok(None);
    }
    let mut layers = Layers::<Finetune>::new();
    layers.saved(&config);
    let resolved = layers.resolve().map_err(|error| error.to_string())?;
    let chosen = resolved.differences(&Finetune::default()).into_iter();
    let chosen = chosen.filter(|(key, ..)| bears_on_results(key)).map(|(key, value, _)| (key, value));
    let settings = &resolved.settings;
    let unread = |why: String| format!("cannot read {}: {why}", shown(&results));
    let content = fs::read(&results).map_err(|error| unread(error.to_string()))?;
    let content: Map<String, Value> =
        serde_json::from_slice(&content).map_err(|error| unread(error.to_string()))?;
    let figures = content.iter().filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)));
    Ok(Some(RunResult {
        run: run.to_path_buf(),
        task: settings.task.task.clone(),
        model: String::new(), // once all are known
        path: settings.start.model.clone().unwrap_or_default(),
        size: settings.start.size.map(|size| size.name().to_owned()),
        figures: figures.collect(),
        settings: chosen.collect(),
    }))
}

/// The last part of a path that says something: of `runs/tiny/model`, `tiny`; of `albert_base/model.ckpt-best`, `albert_base`.
fn name_of(model: &Path) -> String {
    let named = model.components().rev().map(|part| part.as_os_str().to_string_lossy().into_owned());
    named.into_iter().find(|part| part != "model" && !part.starts_with("model.ckpt")).unwrap_or_default()
}

/// A table as the reference's README has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResultsTable {
    /// What it is of.
    pub title: &'static str,
    /// Its columns, the first of them that of the models.
    pub columns: Vec<&'static str>,
    /// Its rows.
    pub rows: Vec<ResultsRow>,
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResultsRow {
    /// The model.
    pub model: String,
    /// Whether the figures were published by others.
    pub published: bool,
    /// A figure, or several, for each column; `-` where there are none.
    pub figures: Vec<String>,
}

/// Both tables of `results`, a row for each model that runs began with, and where runs of a task differ in more than their
/// seed, for each of their settings; with `published`, others' figures before them, and
/// those of the released models of the same sizes.
pub fn tables(results: &[RunResult], published: bool) -> [ResultsTable; 2] {
    let mut models: Vec<&str> = results.iter().map(|result| result.model.as_str()).collect();
    models.sort_unstable();
    models.dedup();
    let sizes: Vec<&str> = results.iter().filter_map(|result| result.size.as_deref()).collect();
    let row =
        |model: &str, figures: Vec<String>, published| ResultsRow { model: model.into(), published, figures };
    let owned = |figures: &[&str]| figures.iter().map(|&figure| figure.to_owned()).collect::<Vec<_>>();
    let (mut glue, mut reading) = (Vec::new(), Vec::new());
    if published {
        glue.extend(GLUE_PUBLISHED.iter().map(|(model, figures)| row(model, owned(figures), true)));
        reading.extend(READING_PUBLISHED.iter().map(|(model, figures)| row(model, owned(figures), true)));
        let of_size = |name: &str| sizes.iter().any(|size| name.split(' ').next() == Some(size));
        for (name, [mnli, sst, squad1, squad2, race]) in
            SIZES_PUBLISHED.iter().filter(|(name, _)| of_size(name))
        {
            let model = format!("ALBERT-{name}");
            glue.push(row(&model, owned(&[mnli, "-", "-", "-", sst, "-", "-", "-"]), true));
            reading.push(row(&model, owned(&[squad1, squad2, "-", race]), true));
        }
    }
    for (model, results) in models.into_iter().flat_map(|model| rows_of(model, results)) {
        let of = |task: &str, name: &str| mean(&results, task, name);
        let percent = |value: Option<f64>| value.map_or("-".into(), |value| format!("{:.1}", 100.0 * value));
        let of_glue = GLUE_COLUMNS.map(|(task, _)| percent(of(task, glue_figure(task))));
        // The official scripts of SQuAD give percentages.
        let two = |f1: Option<f64>, exact: Option<f64>| match (f1, exact) {
            (Some(f1), Some(exact)) => format!("{f1:.1}/{exact:.1}"),
            _ => "-".into(),
        };
        let race = match (of("race", "accuracy"), of("race", "accuracy_middle"), of("race", "accuracy_high"))
        {
            (None, ..) => "-".into(),
            (all, None, _) | (all, _, None) => percent(all),
            (all, middle, high) => format!("{} ({}/{})", percent(all), percent(middle), percent(high)),
        };
        let of_reading = vec![
            two(of("squad-1.1", "f1"), of("squad-1.1", "exact_match")),
            two(of("squad-2.0", "f1"), of("squad-2.0", "exact")),
            "-".into(),
            race,
        ];
        for (rows, figures) in [(&mut glue, of_glue.to_vec()), (&mut reading, of_reading)] {
            if figures.iter().any(|figure| figure != "-") {
                rows.push(row(&model, figures, false));
            }
        }
    }
    let glue_columns = GLUE_COLUMNS.map(|(_, column)| column);
    [
        ("GLUE, dev sets, single models", glue_columns.to_vec(), glue),
        ("SQuAD (F1/exact match) and RACE, single models", READING_COLUMNS.to_vec(), reading),
    ]
    .map(|(title, columns, rows)| ResultsTable { title, columns, rows })
}

/// The figure by which a task of GLUE is published.
fn glue_figure(task: &str) -> &'static str {
    match task {
        "cola" => "matthews",
        "sts-b" => "pearson",
        "mnli" => "accuracy_matched",
        _ => "accuracy",
    }
}

/// The rows of a model, and the runs of each: those of tasks whose runs differ in their seeds alone are in one, the others are
/// called after their folders.
fn rows_of<'a>(model: &str, results: &'a [RunResult]) -> Vec<(String, Vec<&'a RunResult>)> {
    let mut groups: BTreeMap<_, BTreeMap<_, Vec<&RunResult>>> = BTreeMap::new();
    for result in results.iter().filter(|result| result.model == model) {
        groups.entry(&result.task).or_default().entry(&result.settings).or_default().push(result);
    }
    let (mut alone, mut apart) = (Vec::new(), Vec::new());
    for mut of_task in groups.into_values() {
        match of_task.len() {
            1 => alone.extend(of_task.pop_first().into_iter().flat_map(|(_, runs)| runs)),
            _ => apart
                .extend(of_task.into_values().map(|runs| (format!("{model} ({})", folder_of(&runs)), runs))),
        }
    }
    std::iter::once((model.to_owned(), alone)).chain(apart).collect()
}

/// What runs that differ in their seeds are called together: the folder of one, or the one that all are in.
fn folder_of(runs: &[&RunResult]) -> String {
    let parent = |run: &RunResult| run.run.parent().map(Path::to_path_buf).unwrap_or_default();
    let folder = match runs {
        [first, _, ..] if runs.iter().all(|run| parent(run) == parent(first)) => parent(first),
        _ => runs.first().map(|first| first.run.clone()).unwrap_or_default(),
    };
    shown(&folder)
}

/// The mean of a figure over runs of a task: seeds of one run.
fn mean(results: &[&RunResult], task: &str, name: &str) -> Option<f64> {
    let of_task = results.iter().filter(|result| result.task == task);
    let values: Vec<f64> = of_task.filter_map(|result| result.figures.get(name).copied()).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

impl ResultsTable {
    /// The table in Markdown; what was measured here is marked.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "{}\n\n| Models | {} |\n|---|{}\n",
            self.title,
            self.columns.join(" | "),
            "---|".repeat(self.columns.len())
        );
        for ResultsRow { model, published, figures } in &self.rows {
            let mark = if *published { "" } else { " (measured here, dev sets)" };
            text += &format!("| {model}{mark} | {} |\n", figures.join(" | "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(run: &str, task: &str, figures: &[(&str, f64)]) -> RunResult {
        RunResult {
            run: run.into(),
            task: task.into(),
            model: "mine".into(),
            path: "mine".into(),
            size: Some("base".into()),
            figures: figures.iter().map(|&(name, value)| (name.to_owned(), value)).collect(),
            settings: Vec::new(),
        }
    }

    #[test]
    fn runs_of_other_settings_are_no_seeds_of_one_another() {
        let mut results =
            ["a/seed-1", "a/seed-2", "b", "c"].map(|run| result(run, "rte", &[("accuracy", 0.5)]));
        results[1].figures.insert("accuracy".into(), 0.6);
        results[2].settings.push(("optimizer.learning_rate", "3e-5".into()));
        results[3].task = "mrpc".into();
        let [glue, _] = tables(&results, false);
        let figures = |row: &ResultsRow| (row.figures[3].clone(), row.figures[5].clone());
        let rows: Vec<_> = glue.rows.iter().map(|row| (row.model.as_str(), figures(row))).collect();
        assert_eq!(
            rows,
            [
                ("mine", ("-".into(), "50.0".into())),
                ("mine (a)", ("55.0".into(), "-".into())),
                ("mine (b)", ("50.0".into(), "-".into())),
            ]
        );
    }

    #[test]
    fn the_layouts_are_the_published_ones() {
        let results = [
            result("a", "mnli", &[("accuracy_matched", 0.8), ("accuracy_mismatched", 0.7)]),
            result("b/seed-1", "sts-b", &[("pearson", 0.9), ("spearman", 0.1)]),
            result("b/seed-2", "sts-b", &[("pearson", 0.8), ("spearman", 0.1)]),
            result("c", "squad-1.1", &[("f1", 88.25), ("exact_match", 80.0)]),
            result("d", "race", &[("accuracy", 0.66), ("accuracy_middle", 0.7), ("accuracy_high", 0.64)]),
        ];
        let [glue, reading] = tables(&results, false);
        assert_eq!(glue.rows[0].figures, ["80.0", "-", "-", "-", "-", "-", "-", "85.0"]);
        assert_eq!(reading.rows[0].figures, ["88.2/80.0", "-", "-", "66.0 (70.0/64.0)"]);
        let text = glue.markdown();
        assert!(text.contains("| Models | MNLI | QNLI | QQP | RTE | SST | MRPC | CoLA | STS |\n"), "{text}");
        assert!(text.contains("| mine (measured here, dev sets) | 80.0 |"), "{text}");
        let [glue, reading] = tables(&results, true);
        // The five systems, base in both releases, and ours.
        assert_eq!((glue.rows.len(), reading.rows.len()), (5 + 2 + 1, 7 + 2 + 1));
        assert!(glue.rows.iter().take(7).all(|row| row.published) && !glue.rows[7].published);
    }

    /// A run that cannot be read is told of: a mean over the others is not the one that was asked for.
    #[test]
    fn runs_that_cannot_be_read_are_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let run = |name: &str, config: &str, results: &str| {
            let run = folder.path().join(name);
            fs::create_dir(&run).unwrap();
            fs::write(run.join(CONFIG), config).unwrap();
            fs::write(run.join(EVAL_RESULTS), results).unwrap();
        };
        run("good", "[task]\ntask = \"rte\"\n", "{\"accuracy\": 0.5}");
        run("later", "[task]\ntask = \"rte\"\nof_a_later_version = 1\n", "{\"accuracy\": 0.5}");
        run("damaged", "[task]\ntask = \"rte\"\n", "{\"accura");
        run("of-another-kind", "[masking]\nngram = 3\n", "{\"masked_lm_accuracy\": 0.5}");
        let found = find_results(&[folder.path().to_path_buf()]);
        assert_eq!(found.runs.iter().map(|run| run.task.as_str()).collect::<Vec<_>>(), ["rte"]);
        let [(damaged, why), (later, key)] = &found.unread[..] else { panic!("{:?}", found.unread) };
        assert!(damaged.ends_with("damaged") && why.contains("eval_results.json"), "{why}");
        assert!(later.ends_with("later") && key.contains("of_a_later_version"), "{key}");
    }

    #[test]
    fn a_models_name_is_the_part_of_its_path_that_says_something() {
        assert_eq!(name_of(Path::new("/runs/tiny/model")), "tiny");
        assert_eq!(name_of(Path::new("albert-base-v2")), "albert-base-v2");
        assert_eq!(name_of(Path::new("albert_base/model.ckpt-best")), "albert_base");
        // Two models of one name are two models.
        let mut results = ["x/tiny", "y/tiny", "z/base/model.ckpt-best", "x/tiny"]
            .map(|path| RunResult { path: path.into(), ..result("a", "rte", &[("accuracy", 0.5)]) });
        name(&mut results);
        assert_eq!(
            results.each_ref().map(|result| result.model.as_str()),
            ["x/tiny", "y/tiny", "base", "x/tiny"]
        );
        assert_eq!(tables(&results, false)[0].rows.len(), 3);
    }
}
