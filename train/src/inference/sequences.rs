//! What an encoder is given: padded matrices of token ids, from text or from a file of another program.

use std::ops::Range;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::error::InferenceError;
use crate::data::{Batch, DataError, Padded, read_lines};
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// Token ids of sequences in matrices, row-major, as other programs write them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequences {
    /// Columns of each matrix.
    pub length: usize,
    /// `[B, S]`
    pub input_ids: Vec<i32>,
    /// `[B, S]`, 0 on padding.
    pub attention_mask: Vec<i32>,
    /// `[B, S]`
    pub token_type_ids: Vec<i32>,
}

impl Sequences {
    /// Puts texts' ids between special pieces: `[CLS] A [SEP]`, or `[CLS] A [SEP] B [SEP]`.
    pub fn of(texts: &[(Vec<u32>, Option<Vec<u32>>)], special: SpecialTokens) -> Self {
        let tokens = |(first, second): &(Vec<u32>, Option<Vec<u32>>)| {
            2 + first.len() + second.as_ref().map_or(0, |second| second.len() + 1)
        };
        let length = texts.iter().map(tokens).max().unwrap_or(0);
        let mut sequences = Self { length, ..Self::default() };
        for text in texts {
            let (first, second) = text;
            let mut push = |id: u32, mask: i32, segment: i32| {
                sequences.input_ids.push(id as i32);
                sequences.attention_mask.push(mask);
                sequences.token_type_ids.push(segment);
            };
            push(special.classification, 1, 0);
            first.iter().for_each(|&id| push(id, 1, 0));
            push(special.separator, 1, 0);
            if let Some(second) = second {
                second.iter().for_each(|&id| push(id, 1, 1));
                push(special.separator, 1, 1);
            }
            (tokens(text)..length).for_each(|_| push(special.pad, 0, 0));
        }
        sequences
    }

    /// Number of sequences.
    pub fn count(&self) -> usize {
        self.input_ids.len().checked_div(self.length).unwrap_or(0)
    }

    /// The cells of `attention_mask` that are not padding, in the order of a packed batch's rows.
    pub(super) fn cells(&self, sequences: Range<usize>) -> impl Iterator<Item = usize> {
        let cells = sequences.start * self.length..sequences.end * self.length;
        cells.filter(|&cell| self.attention_mask[cell] != 0)
    }

    /// Refuses a sequence that reaches beyond the model's positions; `name` is what it is called.
    pub(super) fn check_length(
        &self,
        positions: usize,
        name: impl Fn(usize) -> String,
    ) -> Result<(), InferenceError> {
        for (sequence, mask) in self.attention_mask.chunks(self.length.max(1)).enumerate() {
            let found = mask.iter().rposition(|&mask| mask != 0).map_or(0, |last| last + 1);
            if found > positions {
                return Err(InferenceError::TooLong { what: name(sequence), found, positions });
            }
        }
        Ok(())
    }

    /// Some of the sequences, packed.
    pub(super) fn batch(&self, sequences: Range<usize>) -> Result<Batch, DataError> {
        let cells = sequences.start * self.length..sequences.end * self.length;
        Batch::from_padded(&Padded {
            sequence_length: self.length,
            input_ids: &self.input_ids[cells.clone()],
            attention_mask: &self.attention_mask[cells.clone()],
            token_type_ids: &self.token_type_ids[cells],
            ..Padded::default()
        })
    }
}

/// One line of a JSONL file.
#[derive(Deserialize)]
struct Line {
    text: String,
    text_pair: Option<String>,
}

/// Reads sequences from a file: `.safetensors` with `input_ids`, `attention_mask` and `token_type_ids`, each `[B, S]` of
/// i32; `.jsonl` with a `text`, and if it has one a `text_pair`, in each line; any other as text, one sequence a line.
///
/// # Errors
/// If the file cannot be read or is not what its name says, or text comes without a tokenizer.
pub fn read_sequences(path: &Path, tokenizer: Option<&Tokenizer>) -> Result<Sequences, InferenceError> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if ending == "safetensors" {
        let bytes = std::fs::read(path).map_err(InferenceError::io("read", path))?;
        return matrices(&bytes)
            .map_err(|problem| InferenceError::Tensors { path: path.to_path_buf(), problem });
    }
    let tokenizer = tokenizer.ok_or(InferenceError::NoTokenizer)?;
    let mut encoder = tokenizer.encoder();
    let mut encode = |text: &str| {
        let mut ids = Vec::new();
        encoder.encode(text, &mut ids);
        ids
    };
    let mut texts = Vec::new();
    read_lines(path, &mut |number, line| {
        texts.push(match ending {
            "jsonl" | "ndjson" => {
                let line: Line = serde_json::from_str(line).map_err(|error| DataError::Json {
                    path: path.to_path_buf(),
                    line: number,
                    reason: error.to_string(),
                })?;
                (encode(&line.text), line.text_pair.as_deref().map(&mut encode))
            }
            _ => (encode(line), None),
        });
        Ok(())
    })?;
    if texts.is_empty() {
        return Err(DataError::EmptyText { what: path.display().to_string() }.into());
    }
    Ok(Sequences::of(&texts, tokenizer.special()))
}

/// The three matrices of a safetensors file.
fn matrices(bytes: &[u8]) -> Result<Sequences, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| {
        format!("not a whole safetensors file ({error}): copy it again from where it came")
    })?;
    let mut length = None;
    let mut matrix = |name: &str| -> Result<Vec<i32>, String> {
        let tensor = file.tensor(name).map_err(|_| {
            format!("there is no tensor {name}; input_ids, attention_mask and token_type_ids are needed")
        })?;
        let (shape, dtype) = (tensor.shape(), tensor.dtype());
        let (&[_, columns], Dtype::I32) = (shape, dtype) else {
            return Err(format!(
                "tensor {name} is {dtype:?} of shape {shape:?}; I32 of shape [B, S] is needed"
            ));
        };
        let (of, expected) = length.get_or_insert_with(|| (name.to_owned(), shape.to_vec()));
        if shape != &expected[..] {
            return Err(format!("tensor {name} has shape {shape:?}, but {of} has {expected:?}"));
        }
        if columns == 0 || shape[0] == 0 {
            return Err(format!("tensor {name} of shape {shape:?} holds no sequence"));
        }
        Ok(tensor.data().chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    };
    let (input_ids, attention_mask, token_type_ids) =
        (matrix("input_ids")?, matrix("attention_mask")?, matrix("token_type_ids")?);
    let length = length.map_or(0, |(_, shape)| shape[1]);
    Ok(Sequences { length, input_ids, attention_mask, token_type_ids })
}
