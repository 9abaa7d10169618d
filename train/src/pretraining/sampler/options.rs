//! How samples are cut from documents.

use serde::{Deserialize, Serialize};

use super::SPECIAL_TOKENS;
use crate::data::error::DataError;

/// What becomes of a chunk that is a single sentence, which has no second segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SingleSegment {
    /// The sentence itself is divided in two, at the beginning of a word. A sentence of one token is left out.
    #[default]
    Split,
    /// It is left out.
    Skip,
    /// A random piece of another document follows, labelled as swapped (the reference).
    Random,
}

/// How samples are cut from documents.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SampleOptions {
    /// The most tokens of a sample, `[CLS]` and two `[SEP]` included.
    pub max_seq_length: usize,
    /// The probability that a pass over a document aims at a random length.
    pub short_seq_prob: f64,
    /// What becomes of chunks of one sentence.
    pub single_segment: SingleSegment,
    /// BERT's task in place of ALBERT's: half the pairs have a second segment from another document.
    pub random_next_sentence: bool,
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self {
            max_seq_length: 512,
            short_seq_prob: 0.1,
            single_segment: SingleSegment::Split,
            random_next_sentence: false,
        }
    }
}

impl SampleOptions {
    pub(crate) fn check(&self) -> Result<(), DataError> {
        let option = |option, value: String, reason| Err(DataError::Option { option, value, reason });
        if !(SPECIAL_TOKENS + 2..=1 << 20).contains(&self.max_seq_length) {
            return option(
                "max_seq_length",
                self.max_seq_length.to_string(),
                "it must hold three special tokens and one of each segment: at least 5, at most 1048576",
            );
        }
        if !(0.0..=1.0).contains(&self.short_seq_prob) {
            return option(
                "short_seq_prob",
                self.short_seq_prob.to_string(),
                "a probability lies between 0 and 1",
            );
        }
        Ok(())
    }
}
