//! Scores against recorded values: GLUE's figures from scikit-learn and scipy, SQuAD's from the official programs.

use std::path::Path;

use serde_json::Value;
use train::scores::classes::Confusion;
use train::scores::correlation::{pearson, spearman};

/// Sums of a few hundred terms of size 1 in f64: far below what any report shows.
const TOLERANCE: f64 = 1e-9;

#[test]
fn glue_figures_equal_the_recorded_ones() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/glue_metrics.json");
    let records: Vec<Value> =
        serde_json::from_slice(&std::fs::read(path).expect("recorded figures")).expect("JSON");
    let mut compared = 0;
    for (index, record) in records.iter().enumerate() {
        let numbers = |key: &str| -> Vec<f64> {
            let list = record[key].as_array().expect("a list");
            list.iter().map(|value| value.as_f64().expect("a number")).collect()
        };
        let (labels, predictions) = (numbers("labels"), numbers("predictions"));
        let classes = |values: &[f64]| values.iter().map(|&value| value as u32).collect::<Vec<_>>();
        let ours: &[(&str, &dyn Fn() -> f64)] = &[
            ("accuracy", &|| Confusion::new(&classes(&labels), &classes(&predictions)).accuracy()),
            ("f1", &|| Confusion::new(&classes(&labels), &classes(&predictions)).f1()),
            ("matthews", &|| Confusion::new(&classes(&labels), &classes(&predictions)).matthews()),
            ("pearson", &|| pearson(&labels, &predictions)),
            ("spearman", &|| spearman(&labels, &predictions)),
        ];
        for (name, figure) in ours {
            let Some(expected) = record.get(*name).and_then(Value::as_f64) else { continue };
            let found = figure();
            let distance = (found - expected).abs();
            assert!(distance <= TOLERANCE, "record {index}: {name} is {found}, recorded {expected}");
            compared += 1;
        }
    }
    assert!(compared > 0, "no figure was compared");
}
