//! The files that the reference's programs leave, from what the commands found.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use train::files::{Disk, replace};
use train::finetuning::squad::official::Figures as Official;
use train::finetuning::{Answer, Example, Split, Target};
use train::report::{Evaluation, evaluations};
use train::run::directory::read_info;
use train::visible::shown;

use super::Program;
use super::commands::SAMPLING;
use super::given::Given;
use crate::evaluate::Found;
use crate::output::tell;
use crate::task::{Answered, softmax};

/// The line between the evaluations of two checkpoints.
const BETWEEN: usize = 50;
/// Figures of one model on the same examples differ less.
const SAME: f64 = 1e-4;
/// Figures that are whole numbers.
const COUNTS: [&str; 2] = ["global_step", "total"];

/// Figures under the reference's names, sorted as it sorts them.
type Figures = BTreeMap<&'static str, f64>;

impl Given {
    /// After text was prepared, or a model trained.
    pub fn after_training(&self) -> Result<()> {
        match self.program {
            Program::CreatePretrainingData => {
                let folder = PathBuf::from(self.needed("output_file")?);
                write(&folder.join(SAMPLING), &self.sampling())?;
                tell(
                    "how samples are cut and masked is kept there too: `compat run_pretraining --input_file` of this folder \
                     does so (masks are drawn anew in each pass, where the reference stores --dupe_factor copies)",
                );
                return Ok(());
            }
            _ if self.is_squad() || !self.is("do_eval") => {}
            _ => self.write_evaluations(&self.while_training()?, None)?,
        }
        tell(format_args!(
            "the model is in {}, where the reference has model.ckpt-best",
            shown(&self.out()?.join("model"))
        ));
        Ok(())
    }

    /// After a model was evaluated.
    pub fn after_evaluation(&self, found: &Found) -> Result<()> {
        let mut figures = self.named(&figures_of(found));
        let of_run = evaluations(&self.out()?).unwrap_or_default();
        if self.program == Program::RunRace
            && self.is("do_predict")
            && matches!(found, Found::Answers(answered) if answered.split == Split::Test)
        {
            return self.write_predicted(&figures);
        }
        if self.is_squad() {
            let earlier = if self.is("do_train") { self.while_training()? } else { Vec::new() };
            return self.write_evaluations(&earlier, Some(&figures));
        }
        let earlier = self.figures_by_step(&of_run);
        let step = match (self.program, self.best(&earlier)) {
            (Program::RunPretraining, _) => earlier.last().and_then(|last| last.get("global_step")).copied(),
            // The same model on the same examples as when it was trained: the reference evaluates all checkpoints of a run.
            (_, Some((step, _))) if is_again(&of_run, step, &figures_of(found)) => {
                return self.write_evaluations(&earlier, None);
            }
            (_, best) => best.map(|(step, _)| step),
        };
        figures.extend(step.map(|step| ("global_step", step)));
        self.write_evaluations(&[figures], None)
    }

    /// After a model of GLUE answered: probabilities, and what is submitted.
    pub fn after_prediction(&self, answered: &Answered) -> Result<()> {
        if self.program != Program::RunClassifier {
            return Ok(()); // SQuAD's files are written under the reference's names
        }
        let (mut probabilities, mut submitted) = (String::new(), String::from("index\tprediction\n"));
        let labels = answered.task.labels();
        for (example, answer) in self.of_group(answered) {
            let (line, label) = match answer {
                Answer::Value(value) => (vec![value.to_string()], value.to_string()),
                Answer::Scores(scores) => {
                    let label = answer.class().and_then(|class| labels.get(class as usize));
                    let line = softmax(scores).iter().map(|&value| (value as f32).to_string()).collect();
                    (line, label.cloned().unwrap_or_default())
                }
                _ => continue,
            };
            let _ = writeln!(probabilities, "{}", line.join("\t")); // a string takes it all
            let _ = writeln!(submitted, "{}\t{label}", example.id);
        }
        let out = self.out()?;
        write(&out.join("test_results.tsv"), &probabilities)?;
        write(&out.join("submit_results.tsv"), &submitted)
    }

    fn out(&self) -> Result<PathBuf> {
        Ok(self.needed("output_dir")?.into())
    }

    pub fn is_squad(&self) -> bool {
        matches!(self.program, Program::RunSquadV1 | Program::RunSquadV2)
    }

    /// The evaluations that were made while the run in the output folder was trained.
    fn while_training(&self) -> Result<Vec<Figures>> {
        let out = self.out()?;
        let of_run = evaluations(&out).with_context(|| format!("cannot read {}", shown(&out)))?;
        Ok(self.figures_by_step(&of_run))
    }

    fn figures_by_step(&self, evaluations: &[Evaluation]) -> Vec<Figures> {
        let named = |evaluation: &Evaluation| {
            let mut figures = self.named(&evaluation.figures);
            figures.insert("global_step", evaluation.step as f64);
            figures
        };
        evaluations.iter().map(named).collect()
    }

    /// `eval_results.txt`, and of GLUE `best_trial.txt`; `last` is what the best model came to when it was asked once more.
    fn write_evaluations(&self, evaluations: &[Figures], last: Option<&Figures>) -> Result<()> {
        let out = self.out()?;
        let (mut text, key) = (String::new(), self.key());
        let mut best: Option<f64> = None;
        for figures in evaluations {
            let found = figures.get(key).copied().unwrap_or(f64::NAN);
            // SQuAD's programs name the step only at the end.
            let shown = figures.iter().filter(|(name, _)| !self.is_squad() || **name != "global_step");
            shown.for_each(|(name, value)| text += &line(name, *value));
            let before = best;
            best = if found > best.unwrap_or(-1.0) { Some(found) } else { best };
            let said = |best: Option<f64>| best.map_or("-1".to_owned(), |best| format!("{best:?}"));
            match self.program {
                Program::RunPretraining => continue,
                Program::RunSquadV1 | Program::RunSquadV2 => {
                    text += &format!("best {key} = {}\n", said(best))
                }
                _ => text += &format!("best = {}\n", said(before)),
            }
            text += &format!("{}\n", "=".repeat(BETWEEN));
        }
        if let Some(last) = last {
            last.iter().for_each(|(name, value)| text += &line(name, *value));
            if let Some((step, _)) = self.best(evaluations) {
                text += &format!("best perf happened at step: {step}");
            }
        }
        write(&out.join("eval_results.txt"), &text)?;
        if let (Program::RunClassifier, Some((step, best))) = (self.program, self.best(evaluations)) {
            let last = evaluations.last().and_then(|figures| figures.get("global_step")).copied();
            write(&out.join("best_trial.txt"), &format!("{}:{step}:{best:?}", last.unwrap_or(step)))?;
        }
        Ok(())
    }

    /// `predict_results.txt`: of RACE, the figures on the test set.
    fn write_predicted(&self, figures: &Figures) -> Result<()> {
        let mut text = String::from("***** Predict results *****\n");
        figures.iter().for_each(|(name, value)| text += &line(name, *value));
        let evaluations = self.while_training().unwrap_or_default();
        let best = self.best(&evaluations).map_or("-1".into(), |(_, best)| format!("{best:?}"));
        text += &format!("best = {best}\n");
        write(&self.out()?.join("predict_results.txt"), &text)
    }

    /// The step of the best of some evaluations, and what it came to.
    fn best(&self, evaluations: &[Figures]) -> Option<(f64, f64)> {
        let found = evaluations.iter().filter_map(|figures| {
            Some((figures.get("global_step").copied()?, figures.get(self.key()).copied()?))
        });
        found.reduce(|best, next| if next.1 > best.1 { next } else { best })
    }

    /// The figure by which the reference chooses the best checkpoint.
    fn key(&self) -> &'static str {
        match self.program {
            Program::RunSquadV1 | Program::RunSquadV2 => "f1",
            Program::RunPretraining => "masked_lm_accuracy",
            _ => match self.value("task_name").unwrap_or_default().to_lowercase().as_str() {
                "sts-b" | "sts" => "pearson",
                "cola" => "matthew_corr",
                _ => "eval_accuracy",
            },
        }
    }

    /// The group of examples that the reference means: MNLI is one task there on texts of the kinds that were trained on, and
    /// another on others.
    fn group(&self) -> &'static str {
        match self.value("task_name").unwrap_or_default().to_lowercase().as_str() {
            "mnli" => "matched",
            "mismnli" => "mismatched",
            _ => "",
        }
    }

    fn of_group<'a>(&self, answered: &'a Answered) -> impl Iterator<Item = (&'a Example, &'a Answer)> {
        let group = self.group();
        let pairs = answered.examined.examples.iter().zip(&answered.answers);
        pairs.filter(move |(example, _)| group.is_empty() || example.group == group)
    }

    /// Figures under the names that the reference gives them, and no others.
    fn named(&self, figures: &[(String, f64)]) -> Figures {
        let of = |wanted: &str| figures.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
        let accuracy = match self.group() {
            "" => "accuracy".into(),
            group => format!("accuracy_{group}"),
        };
        // The loss of MNLI is that of both groups together.
        let loss = of("loss").filter(|_| self.group().is_empty());
        let is_value = self.key() == "pearson";
        let list: &[(&'static str, Option<f64>)] = match self.program {
            Program::CreatePretrainingData => &[],
            Program::RunPretraining => &[
                ("loss", of("loss")),
                ("masked_lm_accuracy", of("masked_lm_accuracy")),
                ("masked_lm_loss", of("masked_lm_loss")),
                ("sentence_order_accuracy", of("sentence_order_accuracy")),
                ("sentence_order_loss", of("sentence_order_loss")),
            ],
            Program::RunSquadV1 => &[("exact_match", of("exact_match")), ("f1", of("f1"))],
            Program::RunSquadV2 => &[
                ("exact", of("exact")),
                ("f1", of("f1")),
                ("total", of("total")),
                ("null_score_diff_threshold", of("best_f1_thresh")),
            ],
            Program::RunClassifier | Program::RunRace => &[
                ("eval_accuracy", of(&accuracy)),
                ("matthew_corr", of("matthews")),
                ("pearson", of("pearson")),
                ("MSE", loss.filter(|_| is_value)),
                ("eval_loss", loss),
                ("loss", loss),
            ],
        };
        list.iter().filter_map(|&(name, value)| Some((name, value?))).collect()
    }
}

/// Whether an evaluation came to what a run came to at a step: in the loss, and in all figures that both have.
fn is_again(evaluations: &[Evaluation], step: f64, found: &[(String, f64)]) -> bool {
    let earlier = evaluations.iter().find(|evaluation| evaluation.step as f64 == step);
    let Some(earlier) = earlier.filter(|earlier| earlier.get("loss").is_some()) else { return false };
    let has_loss = found.iter().any(|(name, _)| name == "loss");
    let agrees = |(name, value): &(String, f64)| {
        earlier.get(name).is_none_or(|earlier| (value - earlier).abs() < SAME)
    };
    has_loss && found.iter().all(agrees)
}

/// All figures of an evaluation.
fn figures_of(found: &Found) -> Vec<(String, f64)> {
    match found {
        Found::Text(metrics) => {
            metrics.iter().map(|(name, _)| (name.to_owned(), metrics.value(name))).collect()
        }
        Found::Answers(Answered { task, examined, answers, .. }) => {
            let figures = task.score(&examined.examples, answers);
            let figures = figures.into_iter().map(|(name, value)| (name.into_owned(), value));
            figures.chain(loss(&examined.examples, answers).map(|loss| ("loss".into(), loss))).collect()
        }
        Found::Official(official) => official_figures(official),
    }
}

fn official_figures(official: &Official) -> Vec<(String, f64)> {
    let object = serde_json::to_value(official).unwrap_or_default();
    let entries = object.as_object().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect()
}

/// The mean of the cross-entropies, or of the squared errors, over the examples of which is known what is right.
fn loss(examples: &[Example], answers: &[Answer]) -> Option<f64> {
    let of = |(example, answer): (&Example, &Answer)| match (example.target.as_ref()?, answer) {
        (Target::Class(class), Answer::Scores(scores)) => Some(-softmax(scores).get(*class as usize)?.ln()),
        (Target::Value(right), Answer::Value(value)) => Some(f64::from(right - value).powi(2)),
        _ => None,
    };
    let losses: Vec<f64> = examples.iter().zip(answers).filter_map(of).collect();
    (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64)
}

/// A line of a file of figures.
fn line(name: &str, value: f64) -> String {
    if COUNTS.contains(&name) { format!("{name} = {value}\n") } else { format!("{name} = {value:?}\n") }
}

/// Writes a file. One of somebody else's, in a folder that is no run of this program, is kept beside it.
fn write(path: &Path, text: &str) -> Result<()> {
    let is_run = path.parent().is_some_and(|folder| matches!(read_info(folder), Ok(Some(_))));
    let mut kept = path.as_os_str().to_owned();
    kept.push(".before");
    let is_other = || std::fs::read(path).is_ok_and(|there| there != text.as_bytes());
    if !is_run && !Path::new(&kept).exists() && is_other() {
        std::fs::rename(path, &kept).with_context(|| format!("cannot rename {}", shown(path)))?;
        tell(format_args!("{} was there: it is now {}", shown(path), shown(Path::new(&kept))));
    }
    replace(&Disk, path, text.as_bytes()).with_context(|| format!("cannot write {}", shown(path)))?;
    tell(format_args!("written: {}", shown(path)));
    Ok(())
}
