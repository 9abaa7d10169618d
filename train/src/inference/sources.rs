//! Sequences from files: text, JSONL, matrices of another program.

use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::error::InferenceError;
use super::sequences::Sequences;
use crate::data::{DataError, read_lines, texts_of};
use crate::tokenizer::Tokenizer;
use crate::visible::shown;

/// Reads sequences from a file: `.safetensors` with `input_ids`, and as far as they are there `attention_mask` (else 1),
/// `token_type_ids` (else 0) and `position_ids` (else 0, 1, 2, …), each `[B, S]` of integers; `.jsonl` with a `text`, and if it has one a `text_pair`, in each line; any other as text, one sequence a line.
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
            "jsonl" | "ndjson" if line.is_empty() => return Ok(()), // as at the end of many files
            "jsonl" | "ndjson" => {
                let (text, pair) = texts_of(line).map_err(|reason| DataError::Json {
                    path: path.to_path_buf(),
                    line: number,
                    reason,
                })?;
                (encode(&text), pair.as_deref().map(&mut encode))
            }
            _ => (encode(line), None),
        });
        Ok(())
    })?;
    if texts.is_empty() {
        return Err(DataError::EmptyText { what: shown(path) }.into());
    }
    Ok(Sequences::of(&texts, tokenizer.special()))
}

/// Inputs that other programs know and that change what a model computes.
const REFUSED: [&str; 5] =
    ["inputs_embeds", "head_mask", "encoder_hidden_states", "encoder_attention_mask", "past_key_values"];

/// The matrices of a safetensors file.
fn matrices(bytes: &[u8]) -> Result<Sequences, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| {
        format!("not a whole safetensors file ({error}): copy it again from where it came")
    })?;
    let mut names = file.names();
    names.sort_unstable();
    if let Some(name) = names.iter().find(|name| REFUSED.contains(name)) {
        return Err(format!(
            "tensor {name} would change what the model computes, and it is not known here: leave it out"
        ));
    }
    let ids = file.tensor("input_ids").map_err(|_| {
        format!(
            "there is no tensor input_ids; it holds {}",
            if names.is_empty() { "nothing".into() } else { names.join(", ") }
        )
    })?;
    let &[count, length] = ids.shape() else {
        return Err(format!("tensor input_ids has shape {:?}; [B, S] is needed", ids.shape()));
    };
    if count == 0 || length == 0 {
        return Err(format!("tensor input_ids of shape {:?} holds no sequence", ids.shape()));
    }
    let matrix = |name: &str| -> Result<Option<Vec<i32>>, String> {
        let Ok(tensor) = file.tensor(name) else { return Ok(None) };
        let values = integers(&tensor).map_err(|problem| format!("tensor {name} {problem}"))?;
        match tensor.shape() {
            shape if shape == [count, length] => Ok(Some(values)),
            // One row for all, as positions often come.
            shape if shape == [1, length] => Ok(Some(values.repeat(count))),
            shape => Err(format!("tensor {name} has shape {shape:?}, but input_ids has [{count}, {length}]")),
        }
    };
    let attention_mask = matrix("attention_mask")?.unwrap_or_else(|| vec![1; count * length]);
    if let Some(other) = attention_mask.iter().find(|mask| !matches!(mask, 0 | 1)) {
        return Err(format!(
            "tensor attention_mask holds {other}; 1 for a token and 0 for padding is needed"
        ));
    }
    let used = ["input_ids", "attention_mask", "token_type_ids", "position_ids"];
    Ok(Sequences {
        length,
        input_ids: matrix("input_ids")?.unwrap_or_default(),
        attention_mask,
        token_type_ids: matrix("token_type_ids")?.unwrap_or_else(|| vec![0; count * length]),
        position_ids: matrix("position_ids")?,
        unused: names.into_iter().filter(|name| !used.contains(name)).map(str::to_owned).collect(),
    })
}

/// The values of a tensor that holds integers, in whatever type.
fn integers(tensor: &TensorView<'_>) -> Result<Vec<i32>, String> {
    fn decode<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> i64) -> Result<Vec<i32>, String> {
        let narrow = |bytes: &[u8; N]| {
            let value = value(*bytes);
            i32::try_from(value).map_err(|_| format!("holds {value}, which no model has"))
        };
        bytes.as_chunks().0.iter().map(narrow).collect()
    }
    let bytes = tensor.data();
    match tensor.dtype() {
        Dtype::I64 => decode(bytes, i64::from_le_bytes),
        Dtype::I32 => decode(bytes, |b| i32::from_le_bytes(b).into()),
        Dtype::I16 => decode(bytes, |b| i16::from_le_bytes(b).into()),
        Dtype::I8 => decode(bytes, |b| i8::from_le_bytes(b).into()),
        // Beyond all integers that are read it is still one that no model has.
        Dtype::U64 => decode(bytes, |b| i64::try_from(u64::from_le_bytes(b)).unwrap_or(i64::MAX)),
        Dtype::U32 => decode(bytes, |b| u32::from_le_bytes(b).into()),
        Dtype::U16 => decode(bytes, |b| u16::from_le_bytes(b).into()),
        Dtype::U8 | Dtype::BOOL => decode(bytes, |[byte]| byte.into()),
        other => Err(format!("is {other:?}; integers of 8 to 64 bits and BOOL are read")),
    }
}
