//! What runs of one task came to, seeds summed up.

use std::collections::BTreeMap;

use super::page::{escape, figure, section, table};
use super::record::RunRecord;

/// What runs that are compared have come to: a row for each task and model, with mean and standard deviation over the runs of
/// it, seeds most of the time.
pub(super) fn scores(runs: &[RunRecord]) -> String {
    /// Task, model, figure, and the settings.
    type Key<'a> = (&'a str, String, &'a str, Vec<String>);
    let mut groups: BTreeMap<Key<'_>, (Vec<f64>, f64)> = BTreeMap::new();
    for run in runs {
        let model = run.model();
        if let Some((name, value, baseline)) = run.came_to().and_then(|figures| figures.compared()) {
            let key = (run.task(), model, name, run.settings_but_for_seed());
            groups.entry(key).or_insert((Vec::new(), baseline)).0.push(value);
        }
    }
    if runs.len() < 2 || groups.is_empty() {
        return String::new();
    }
    let rows = groups.iter().map(|((task, model, name, settings), (values, baseline))| {
        let is_shared = |setting: &&String| {
            let alike = groups.keys().filter(|(t, m, n, _)| (t, m, n) == (task, model, name));
            alike.map(|(.., settings)| settings).all(|settings| settings.contains(setting))
        };
        let apart = settings.iter().filter(|setting| !is_shared(setting)).map(|setting| escape(setting));
        let apart = apart.collect::<Vec<_>>().join("<br>");
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = if values.len() > 1 {
            format!(" ± {}", figure((squares / (count - 1.0)).sqrt()))
        } else {
            String::new()
        };
        let best = values.iter().copied().fold(f64::NAN, f64::max); // the largest number, if there is one
        vec![
            escape(task),
            escape(model),
            apart,
            escape(name),
            values.len().to_string(),
            format!("{}{deviation}", figure(mean)),
            figure(best),
            figure(*baseline),
        ]
    });
    section(
        "Scores",
        &table(&["task", "model", "with", "figure", "runs", "mean ± sd", "best", "baseline"], 4, rows),
    )
}

#[cfg(test)]
mod tests {
    use super::super::page::page;
    use super::super::record::Setting;
    use super::super::record::tests::run;
    use super::*;

    #[test]
    fn runs_of_one_task_are_summed_up() {
        let folder = tempfile::tempdir().unwrap();
        let records: Vec<_> = (["seed-1", "seed-2"].iter().zip([0.5, 0.7]))
            .map(|(name, accuracy)| {
                run(&folder.path().join(name), 8.0);
                let mut record = RunRecord::read(&folder.path().join(name)).unwrap();
                let figures = &mut record.evaluations[0].figures;
                figures
                    .iter_mut()
                    .filter(|(name, _)| name == "masked_lm_accuracy")
                    .for_each(|(_, value)| *value = accuracy);
                record
            })
            .collect();
        let html = page(&records);
        // (0.7 − 0.5) / √2
        assert!(html.contains("<td class=\"n\">0.6000 ± 0.1414</td><td class=\"n\">0.7000</td>"), "{html}");
        let mut without = records.clone();
        let figures = without.iter_mut().flat_map(|record| record.evaluations[0].figures.iter_mut());
        figures.for_each(|(_, value)| *value = f64::NAN);
        let html = page(&without);
        assert!(html.contains("<td class=\"n\">NaN ± NaN</td><td class=\"n\">NaN</td>"), "{html}");
        for task in ["pretrain", "\"mrpc\""] {
            let mut records = records.clone();
            let is_averaged = |records: &[RunRecord]| page(records).contains("0.6000 ± ");
            let mut add = |key: &str, values: [&str; 2]| {
                for (record, value) in records.iter_mut().zip(values) {
                    let (key, value) = (key.to_owned(), value.to_owned());
                    record.settings.push(Setting { key, value, source: String::new() });
                }
                is_averaged(&records)
            };
            if task != "pretrain" {
                assert!(add("task.task", [task; 2]));
            }
            assert!(add("training.seed", ["1", "2"]) && add("device.threads", ["1", "2"]));
            assert!(
                !add("optimizer.learning_rate", ["1e-5", "3e-5"]),
                "runs of other settings are no seeds of one another"
            );
            assert!(page(&records).contains("<td>optimizer.learning_rate = 3e-5</td>"), "{}", page(&records));
        }
    }
}
