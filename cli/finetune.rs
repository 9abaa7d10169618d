//! `albert-train finetune`: from a pre-trained model to one that does a task.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use model::Origin;
use serde_json::{Map, json};
use train::config::{Finetune, Resolved};
use train::exit::ExitCode;
use train::files::{Disk, replace};
use train::finetuning::squad::NULL_THRESHOLD;
use train::finetuning::tasks::{GLUE, STORIES};
use train::finetuning::{FinetuningJob, SeedSummary, Split, Task, look_at, task};
use train::hub::is_of_hub;
use train::run::directory::model_in;
use train::training::{Measure, Metrics};
use train::visible::{shown, visible};

use crate::arguments::place;
use crate::exit::refuse;
use crate::output::{say, tell};
use crate::session::{self, Outcome, SessionArguments};
use crate::settings::SettingsArguments;
use crate::shell::quoted_path;
use crate::task::named;

/// Fine-tune a pre-trained model on a task: classes, values, words, spans, choices.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Glue(Glue),
    Squad(Squad),
    /// RACE: the right one of several answers to a question about a passage
    #[command(long_about = None)]
    Race(Common),
    /// A table of your own (CSV, TSV, JSONL, parquet): classes, values, or tags of words
    #[command(long_about = None)]
    Table(Common),
    /// Seven small tasks about the built-in stories, one for every head: no files are needed
    ///
    /// Each is a run of its own in OUT/TASK; OUT/results.json has what each came to beside what a constant answer gets.
    Stories(Common),
}

/// One of GLUE's tasks, or all: cola, sst-2, mrpc, sts-b, qqp, mnli, qnli, rte, wnli.
///
/// --data names the folder with the official files (or the Hub's parquet files). Recipes are the published ones; all settings can be
/// overridden. Run the same command again to continue a run that was stopped.
#[derive(Args)]
struct Glue {
    /// The task, or all
    #[arg(value_name = "TASK")]
    what: String,
    #[command(flatten)]
    common: Common,
}

/// SQuAD: an answer's place in a passage.
#[derive(Args)]
struct Squad {
    /// 1.1, where every question has an answer, or 2.0
    #[arg(long, default_value = "1.1", value_parser = ["1.1", "2.0"])]
    version: String,
    #[command(flatten)]
    common: Common,
}

/// What all tasks have in common.
#[derive(Args)]
struct Common {
    /// Run directory: a new one, or one to continue; not given: runs/TASK
    #[arg(short, long, value_name = "DIR", value_parser = place())]
    out: Option<PathBuf>,
    /// Train N times, with consecutive seeds, each in OUT/seed-SEED; then compare the results
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    #[command(flatten)]
    session: SessionArguments,
    #[command(flatten)]
    settings: SettingsArguments<Finetune>,
    /// The model, of which an archive stays unpacked for all runs.
    #[arg(skip)]
    origin: OnceLock<Origin>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.what {
        What::Glue(Glue { what, common }) if what == "all" => all(common),
        What::Glue(Glue { what, common }) => one(task(what)?.name(), common, &common.out_of(what)),
        What::Squad(Squad { version, common }) => {
            let name = format!("squad-{version}");
            one(&name, common, &common.out_of(&name))
        }
        What::Race(common) => one("race", common, &common.out_of("race")),
        What::Table(common) => one("table", common, &common.out_of("table")),
        What::Stories(common) => stories(common),
    }
}

impl Common {
    fn out_of(&self, task: &str) -> PathBuf {
        self.out.clone().unwrap_or_else(|| Path::new("runs").join(task))
    }

    /// The settings of a run of `task` in `out`; none where somebody asked to stop. The model says which size's recipe is followed
    /// and how long sequences can be.
    fn resolve(&self, task: &str, out: &Path) -> Result<Option<Resolved<Finetune>>> {
        let saved = session::saved(out, &self.settings);
        let saved = saved.as_deref();
        let mut given = vec![("task.task", "the command", task.to_owned())];
        let first = self.settings.resolve_with(saved, &given)?.settings;
        if let Some(model) = first.start.model.as_deref().filter(|model| is_there(model)) {
            if self.origin.get().is_none() {
                let model = model_in(model)?;
                let origin = match model.is_file() {
                    false => Origin::of(&model)?,
                    true => {
                        // An archive takes its time to be unpacked.
                        let stop = crate::stop::requests("ending; nothing was begun")?;
                        let Ok(origin) = stop.unless_stopped(move || Origin::of(&model))? else {
                            return Ok(None);
                        };
                        origin?
                    }
                };
                let _ = self.origin.set(origin); // all runs begin with the same
            }
            let (size, positions) = look_at(model)?;
            given.push(("start.size", "the model's width", size.name().to_owned()));
            given.push(("start.positions", "the model's configuration", positions.to_string()));
        }
        Ok(Some(self.settings.resolve_with(saved, &given)?))
    }
}

/// Whether there is a model to look at: one of the Hub, a path, or the beginning of the names of a checkpoint's files.
fn is_there(model: &Path) -> bool {
    let mut index = model.as_os_str().to_owned();
    index.push(".index");
    is_of_hub(model) || model.exists() || Path::new(&index).exists()
}

/// All of GLUE's tasks that are trained, one after the other.
fn all(common: &Common) -> Result<ExitCode> {
    let out = common.out_of("glue");
    for name in GLUE.iter().filter(|row| row.is_trained()).map(|row| row.name) {
        tell(format_args!("== {name}"));
        match one(name, common, &out.join(name))? {
            ExitCode::Done => {}
            other => return Ok(other),
        }
    }
    Ok(ExitCode::Done)
}

/// All tasks about the built-in stories.
fn stories(common: &Common) -> Result<ExitCode> {
    if common.seeds != 1 {
        refuse!(
            "finetune stories has one run of each task: leave out --seeds, or give --seed another number"
        );
    }
    let out = common.out_of("stories");
    let mut results = Map::new();
    for name in STORIES {
        tell(format_args!("== {name}"));
        let run = out.join(name);
        let Some(resolved) = common.resolve(name, &run)? else { return Ok(ExitCode::Interrupted) };
        match session::run(FinetuningJob::default(), resolved, &run, &common.session)? {
            Outcome::Shown => {}
            Outcome::Stopped => return Ok(ExitCode::Interrupted),
            Outcome::Finished { metrics, .. } => {
                let metric = metric_of(&[(0, metrics.clone())])?;
                let baseline = metrics.value(&format!("baseline_{metric}"));
                let value = metrics.value(&metric);
                results
                    .insert(name.into(), json!({ "metric": metric, "value": value, "baseline": baseline }));
            }
        }
    }
    if results.is_empty() {
        return Ok(ExitCode::Done); // only looked at
    }
    for (name, result) in &results {
        say!(
            "{name:20} {:10} {:.4}  (constant answer: {:.4})",
            result["metric"].as_str().unwrap_or(""),
            result["value"].as_f64().unwrap_or(f64::NAN),
            result["baseline"].as_f64().unwrap_or(f64::NAN)
        );
    }
    let path = out.join("results.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&results)?);
    replace(&Disk, &path, text.as_bytes()).with_context(|| format!("cannot write {}", shown(&path)))?;
    Ok(ExitCode::Done)
}

/// One task: a run, or one for each seed.
fn one(name: &str, common: &Common, out: &Path) -> Result<ExitCode> {
    let job = FinetuningJob::default();
    if common.seeds == 1 {
        let Some(resolved) = common.resolve(name, out)? else { return Ok(ExitCode::Interrupted) };
        let settings = resolved.settings.clone();
        return Ok(match session::run(job, resolved, out, &common.session)? {
            Outcome::Shown => ExitCode::Done,
            Outcome::Stopped => ExitCode::Interrupted,
            Outcome::Finished { model, metrics, data, .. } => {
                show(&settings, &*data.task, &model, &metrics)?;
                ExitCode::Done
            }
        });
    }
    let mut runs = Vec::new();
    let Some(first) = common.resolve(name, &out.join("seed-1"))? else { return Ok(ExitCode::Interrupted) };
    let first = first.settings.training.seed;
    let Some(last) = first.checked_add(common.seeds - 1) else {
        refuse!("--seed {first} has no {} seeds that follow it: give a smaller one", common.seeds - 1);
    };
    for seed in first..=last {
        let out = out.join(format!("seed-{seed}"));
        let Some(mut resolved) = common.resolve(name, &out)? else { return Ok(ExitCode::Interrupted) };
        resolved.settings.training.seed = seed;
        tell(format_args!("-- seed {seed}, in {}", shown(&out)));
        match session::run(job.clone(), resolved, &out, &common.session)? {
            Outcome::Shown => return Ok(ExitCode::Done),
            Outcome::Stopped => return Ok(ExitCode::Interrupted),
            Outcome::Finished { metrics, .. } => runs.push((seed, metrics)),
        }
    }
    let metric = metric_of(&runs)?;
    let Some(summary) = SeedSummary::of(name, &metric, &runs) else { bail!("there were no runs") };
    let path = out.join("summary.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&summary)?);
    replace(&Disk, &path, text.as_bytes()).with_context(|| format!("cannot write {}", shown(&path)))?;
    say!("{}", summary.table());
    Ok(ExitCode::Done)
}

/// The figure by which runs of a task are compared: the one whose baseline stands beside it.
fn metric_of(runs: &[(u64, Metrics)]) -> Result<String> {
    let names = runs.iter().flat_map(|(_, metrics)| metrics.iter().map(|(name, _)| name));
    let name = names.filter_map(|name| name.strip_prefix("baseline_")).next();
    name.map(str::to_owned).context("the runs have no figure to be compared by")
}

/// What a run came to, and what to do with it.
fn show(settings: &Finetune, task: &dyn Task, model: &Path, metrics: &Metrics) -> Result<()> {
    say!("\n{}, the best evaluation:", task.name());
    for (figure, measure) in metrics.iter() {
        match measure {
            Measure::Count(count) => say!("  {figure:24} {count}"),
            Measure::Real(value) => say!("  {figure:24} {value:.4}"),
        }
    }
    say!("the model is in {}\ntry next:", shown(model));
    let path = |path: &Path| visible(&quoted_path(&path.to_string_lossy()));
    let Some(data) = settings.task.sources()[1] else { return Ok(()) };
    let mut on = format!("{} --model {} --data {}", named(&settings.task), path(model), path(data));
    let usual = settings.recipe().max_seq_length.min(settings.start.positions.unwrap_or(usize::MAX));
    if let Some(length) = settings.sequences.max_seq_length.filter(|&length| length != usual) {
        on += &format!(" --max-seq-length {length}");
    }
    let of_squad = settings.task.task.starts_with("squad-");
    let has_questions = of_squad || settings.task.task == "race";
    for (flag, value, is_meant) in [
        ("--max-question-length", settings.sequences.max_question_length, has_questions),
        ("--doc-stride", settings.sequences.doc_stride, of_squad),
    ] {
        if let Some(value) = value.filter(|_| is_meant) {
            on += &format!(" {flag} {value}");
        }
    }
    // It was searched where answers are known; where they are not, it has to be given.
    let found = metrics.iter().find(|(name, _)| *name == NULL_THRESHOLD);
    let threshold = match (found, settings.task.null_threshold) {
        (Some((_, Measure::Real(threshold))), None) => format!(" --null-threshold {threshold}"),
        _ => String::new(),
    };
    // A folder need not have a test set.
    let split = if task.read(data, Split::Test).is_ok() { "" } else { " --split dev" };
    say!("  albert-train evaluate {on}");
    say!("  albert-train predict {on}{split}{threshold} --out predictions");
    Ok(())
}
