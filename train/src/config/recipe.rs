//! How each task is learnt: what the reference's script and paper did, by task and model size (`model/ALBERT.md`,
//! Fine-tuning). Each value can be overridden; the settings say which come from here.

use serde::{Deserialize, Serialize};

/// The size whose recipes a model is trained by: that of the first preset that is as wide as the model. Small models learn at a
/// higher rate, and large ones diverge at one that small ones need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// Up to 128 wide.
    Micro,
    /// Up to 312 wide.
    Tiny,
    /// Up to 384 wide.
    Small,
    /// Up to 768 wide.
    Base,
    /// Up to 1024 wide.
    Large,
    /// Up to 2048 wide.
    Xlarge,
    /// Wider.
    Xxlarge,
}

impl Size {
    /// The size of a model of this width.
    pub fn of(hidden_size: usize) -> Self {
        match hidden_size {
            0..=128 => Self::Micro,
            129..=312 => Self::Tiny,
            313..=384 => Self::Small,
            385..=768 => Self::Base,
            769..=1024 => Self::Large,
            1025..=2048 => Self::Xlarge,
            _ => Self::Xxlarge,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Micro => "micro",
            Self::Tiny => "tiny",
            Self::Small => "small",
            Self::Base => "base",
            Self::Large => "large",
            Self::Xlarge => "xlarge",
            Self::Xxlarge => "xxlarge",
        }
    }

    /// How much faster it learns than the published rates, which are for the released sizes. Of `micro` it was measured with
    /// `finetune stories` from 600 steps of the built-in run: at 1e-3, twenty times the published rate and more, `stories-mood`
    /// collapses to 0.7275, its commonest class; at 2e-4 it has 0.9975 after 160 steps and 1.0 after 400.
    fn rate_factor(self) -> f64 {
        match self {
            Self::Micro => 10.0,
            Self::Tiny => 5.0,
            Self::Small => 3.0,
            Self::Base | Self::Large | Self::Xlarge | Self::Xxlarge => 1.0,
        }
    }
}

/// How a task is learnt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recipe {
    /// What it is called: the task, and the size where that makes a difference.
    pub name: String,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Examples of a step.
    pub batch: usize,
    /// Steps; `None` where passes over the data say how long.
    pub steps: Option<u64>,
    /// Passes over the data.
    pub epochs: f64,
    /// Share of the steps over which the learning rate rises.
    pub warmup_share: f64,
    /// Dropout in the encoder; `None` for the model's own.
    pub hidden_dropout: Option<f64>,
    /// Dropout within the head.
    pub head_dropout: f64,
    /// Largest norm of the gradient.
    pub clip_norm: f64,
    /// Largest number of tokens in a sequence.
    pub max_seq_length: usize,
}

/// A row of the published table: task, learning rate, batch, encoder's dropout, steps, steps of warm-up, longest sequence.
type Row = (&'static str, f64, usize, Option<f64>, u64, u64, usize);

/// The published recipes. A dropout of 0 is that of the released version 2 and of what is pre-trained here: it is left to the
/// model.
const PUBLISHED: [Row; 12] = [
    ("cola", 1e-5, 16, None, 5336, 320, 512),
    ("sst-2", 1e-5, 32, None, 20_935, 1256, 512),
    ("mrpc", 2e-5, 32, None, 800, 200, 512),
    ("sts-b", 2e-5, 16, None, 3598, 214, 512),
    ("qqp", 5e-5, 128, Some(0.1), 14_000, 1000, 512),
    ("mnli", 3e-5, 128, None, 10_000, 1000, 512),
    ("qnli", 1e-5, 32, None, 33_112, 1986, 512),
    ("rte", 3e-5, 32, Some(0.1), 800, 200, 512),
    ("wnli", 2e-5, 16, Some(0.1), 2000, 250, 512),
    ("squad-1.1", 5e-5, 48, None, 3649, 365, 384),
    ("squad-2.0", 3e-5, 48, None, 8144, 814, 512),
    // Of the second release: with the first one's 2e-5 and dropout its models diverge.
    ("race", 1e-5, 32, None, 12_000, 1000, 512),
];

/// Names of all tasks that have a recipe of their own, and `table` for any other.
pub fn names() -> Vec<&'static str> {
    PUBLISHED.iter().map(|row| row.0).chain(["table"]).collect()
}

impl Recipe {
    /// The recipe of a task for a model of a size, `base` where none is given.
    pub fn of(task: &str, size: Option<Size>) -> Self {
        let size = size.unwrap_or(Size::Base);
        let published = PUBLISHED.iter().find(|row| row.0 == task);
        let mut recipe = match published {
            Some(&(name, learning_rate, batch, hidden_dropout, steps, warmup, max_seq_length)) => Self {
                name: name.into(),
                learning_rate,
                batch,
                steps: Some(steps),
                epochs: 3.0,
                warmup_share: warmup as f64 / steps as f64,
                hidden_dropout,
                head_dropout: 0.1,
                clip_norm: 1.0,
                max_seq_length,
            },
            None if task.starts_with("stories-") => Self {
                // Enough for each to beat its baseline, little enough for all seven in under three minutes on two cores.
                name: "stories".into(),
                learning_rate: 2e-5,
                batch: 32,
                steps: Some(250),
                epochs: 3.0,
                warmup_share: 0.1,
                hidden_dropout: None,
                head_dropout: 0.1,
                clip_norm: 1.0,
                max_seq_length: 128,
            },
            None => Self {
                name: "table".into(),
                learning_rate: 2e-5,
                batch: 32,
                steps: None,
                epochs: 3.0,
                warmup_share: 0.1,
                hidden_dropout: None,
                head_dropout: 0.1,
                clip_norm: 1.0,
                max_seq_length: 512,
            },
        };
        recipe.learning_rate = as_written(recipe.learning_rate * size.rate_factor());
        if size >= Size::Xlarge {
            // At the usual limit the two largest of the second release diverge.
            recipe.clip_norm = 0.1;
            recipe.learning_rate = recipe.learning_rate.min(2e-5);
        }
        if size < Size::Base {
            recipe.hidden_dropout = None;
        }
        if size != Size::Base {
            recipe.name = format!("{} for {}", recipe.name, size.name());
        }
        recipe
    }
}

/// A rate of few digits, without what multiplying left behind them: 0.00015 in place of 0.00015000000000000001.
fn as_written(rate: f64) -> f64 {
    format!("{rate:.6e}").parse().expect("a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_values() {
        let mrpc = Recipe::of("mrpc", Some(Size::Base));
        assert_eq!((mrpc.name.as_str(), mrpc.learning_rate, mrpc.batch), ("mrpc", 2e-5, 32));
        assert_eq!((mrpc.steps, mrpc.warmup_share, mrpc.clip_norm), (Some(800), 0.25, 1.0));
        let squad = Recipe::of("squad-2.0", Some(Size::Xxlarge));
        assert_eq!((squad.learning_rate, squad.clip_norm), (2e-5, 0.1), "the variant that does not diverge");
        let own = Recipe::of("table", Some(Size::Tiny));
        assert_eq!((own.name.as_str(), own.steps, own.epochs), ("table for tiny", None, 3.0));
        assert!(names().iter().all(|name| Recipe::of(name, None).name == *name));
    }

    /// They are printed, and copied into files.
    #[test]
    fn rates_have_few_digits() {
        for task in names() {
            for size in [Size::Micro, Size::Tiny, Size::Small, Size::Base, Size::Large, Size::Xlarge] {
                let rate = Recipe::of(task, Some(size)).learning_rate;
                assert!(
                    rate.to_string().trim_start_matches(['0', '.']).len() <= 2,
                    "{task}, {size:?}: {rate}"
                );
            }
        }
        assert_eq!(Recipe::of("mnli", Some(Size::Tiny)).learning_rate, 1.5e-4);
    }

    #[test]
    fn presets_have_the_sizes_of_their_names() {
        for name in ["micro", "tiny", "small", "base", "large", "xlarge", "xxlarge"] {
            let size = Size::of(model::preset(name).unwrap().hidden_size);
            assert_eq!(size.name(), name);
        }
    }
}
