//! The same run with several seeds: what they come to together.

use serde::Serialize;

use super::objective::COLLAPSE;
use crate::training::Metrics;

/// What one run came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeedResult {
    /// Its seed.
    pub seed: u64,
    /// Its held-out figure.
    pub value: f64,
    /// Whether it is no better than one and the same answer to everything.
    pub collapsed: bool,
}

/// What runs that differ in their seed came to: `summary.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeedSummary {
    /// The task.
    pub task: String,
    /// The figure by which runs are compared.
    pub metric: String,
    /// Its mean.
    pub mean: f64,
    /// Its standard deviation (n − 1; 0 of one run).
    pub standard_deviation: f64,
    /// The best.
    pub best: f64,
    /// The seed that has it.
    pub best_seed: u64,
    /// How many collapsed.
    pub collapsed: usize,
    /// What one and the same answer to everything has.
    pub baseline: f64,
    /// Each run.
    pub runs: Vec<SeedResult>,
}

impl SeedSummary {
    /// Of runs by seed with their held-out figures, which are compared by `metric`; `None` of no runs.
    pub fn of(task: &str, metric: &str, runs: &[(u64, Metrics)]) -> Option<Self> {
        let baseline = runs.first()?.1.value(&format!("baseline_{metric}"));
        let runs: Vec<SeedResult> = (runs.iter())
            .map(|(seed, metrics)| {
                let value = metrics.value(metric);
                SeedResult { seed: *seed, value, collapsed: value <= baseline + COLLAPSE }
            })
            .collect();
        let count = runs.len() as f64;
        let mean = runs.iter().map(|run| run.value).sum::<f64>() / count;
        let squares: f64 = runs.iter().map(|run| (run.value - mean).powi(2)).sum();
        let best = runs.iter().max_by(|a, b| a.value.total_cmp(&b.value).then(b.seed.cmp(&a.seed)))?;
        Some(Self {
            task: task.into(),
            metric: metric.into(),
            mean,
            standard_deviation: (squares / (count - 1.0).max(1.0)).sqrt(),
            best: best.value,
            best_seed: best.seed,
            collapsed: runs.iter().filter(|run| run.collapsed).count(),
            baseline,
            runs,
        })
    }

    /// The same as a table for people.
    pub fn table(&self) -> String {
        let mut text = format!("{:>8}  {}\n", "seed", self.metric);
        for run in &self.runs {
            let note = if run.collapsed { "  collapsed" } else { "" };
            text += &format!("{:>8}  {:.4}{note}\n", run.seed, run.value);
        }
        text += &format!("{:>8}  {:.4} ± {:.4}\n", "mean", self.mean, self.standard_deviation);
        text += &format!("{:>8}  {:.4} (seed {})\n", "best", self.best, self.best_seed);
        text + &format!(
            "{} of {} collapsed; a constant answer gets {:.4}",
            self.collapsed,
            self.runs.len(),
            self.baseline
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_summed_up() {
        let run =
            |seed, value| (seed, Metrics::default().with("accuracy", value).with("baseline_accuracy", 0.5));
        let summary = SeedSummary::of("rte", "accuracy", &[run(1, 0.6), run(2, 0.5), run(3, 0.7)]).unwrap();
        approx::assert_relative_eq!(summary.mean, 0.6);
        approx::assert_relative_eq!(summary.standard_deviation, 0.1, max_relative = 1e-12);
        assert_eq!((summary.best, summary.best_seed, summary.collapsed), (0.7, 3, 1));
        assert!(summary.table().ends_with("1 of 3 collapsed; a constant answer gets 0.5000"));
        let one = SeedSummary::of("rte", "accuracy", &[run(4, 0.6)]).unwrap();
        assert_eq!((one.standard_deviation, one.best_seed), (0.0, 4));
        assert_eq!(SeedSummary::of("rte", "accuracy", &[]), None);
    }
}
