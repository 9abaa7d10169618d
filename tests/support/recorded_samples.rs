//! Recorded samples as the reference makes them for pre-training, and the sizes that they have.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Samples, cut and masked already.
pub struct RecordedSamples {
    /// The TFRecord file.
    pub path: PathBuf,
    /// How many there are.
    pub count: usize,
    /// Pieces of their vocabulary.
    pub vocabulary: u64,
    /// Tokens of a sample, padding included.
    pub length: usize,
    /// Most masked tokens of a sample.
    pub predictions: usize,
}

impl RecordedSamples {
    /// Those beside the recorded checkpoint.
    pub fn find() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tf_checkpoint");
        let json = |name: &str| -> Value {
            let text = std::fs::read(folder.join(name)).expect("there");
            serde_json::from_slice(&text).expect("JSON")
        };
        let samples = json("pretrain.json");
        let samples = samples.as_array().expect("a list");
        let longest = |name: &str| {
            let lengths = samples.iter().map(|sample| sample[name].as_array().expect("a list").len());
            lengths.max().expect("a sample")
        };
        Self {
            path: folder.join("pretrain.tfrecord"),
            count: samples.len(),
            vocabulary: json("albert_config.json")["vocab_size"].as_u64().expect("a number"),
            length: longest("input_ids"),
            predictions: longest("masked_lm_positions"),
        }
    }

    /// The settings of a run that takes samples of so many masked tokens, this share of all.
    pub fn masking(&self, predictions: usize) -> [String; 4] {
        let share = (predictions as f64 + 0.5) / self.length as f64;
        let [share, predictions] = [share.to_string(), predictions.to_string()];
        ["--masked-lm-prob".into(), share, "--max-predictions-per-seq".into(), predictions]
    }
}
