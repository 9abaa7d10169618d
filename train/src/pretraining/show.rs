//! Examples as a person or another program reads them.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use safetensors::{Dtype, tensor::TensorView};

use super::example::Example;
use crate::data::error::DataError;
use crate::tokenizer::Tokenizer;
use crate::visible::visible;

/// The label of a token that is not to be predicted, as transformers has it.
const NOT_PREDICTED: i32 = -100;

/// An example in pieces: what the model sees, and behind each masked piece in braces what was there.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The example.
    pub example: &'a Example,
    /// What its ids mean.
    pub tokenizer: &'a Tokenizer,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Example { token_ids, second_segment, masking, sentence_order_label, origin } = self.example;
        // A piece must not command the terminal it is shown on.
        let piece = |id: u32| visible(self.tokenizer.piece(id).unwrap_or("?"));
        let labels: HashMap<usize, u32> =
            masking.positions.iter().map(|&at| at as usize).zip(masking.labels.iter().copied()).collect();
        let order = if *sentence_order_label == 1 { "swapped" } else { "in order" };
        let sentences = &origin.sentences;
        writeln!(
            f,
            "document {}, sentences {} to {}: {} tokens, {} masked, {order}",
            origin.document,
            sentences.start,
            sentences.end,
            token_ids.len(),
            masking.positions.len(),
        )?;
        for (name, range) in [("A", 0..*second_segment), ("B", *second_segment..token_ids.len())] {
            let words = range.map(|at| match labels.get(&at) {
                Some(&label) => format!("{}{{{}}}", piece(token_ids[at]), piece(label)),
                None => piece(token_ids[at]),
            });
            writeln!(f, "  {name}  {}", words.collect::<Vec<_>>().join(" "))?;
        }
        Ok(())
    }
}

/// Writes examples as padded matrices of i32 in a safetensors file: `input_ids`, `attention_mask`, `token_type_ids` and
/// `labels` (−100 where nothing is to be predicted), each `[B, S]`, and `sentence_order_label` `[B]`.
///
/// # Errors
/// If the file cannot be written.
pub fn write_examples(examples: &[Example], pad: u32, path: &Path) -> Result<(), DataError> {
    let (count, columns) = (examples.len(), examples.iter().map(|e| e.token_ids.len()).max().unwrap_or(0));
    let matrix = |fill: i32| vec![fill; count * columns];
    let (mut ids, mut mask, mut segments) = (matrix(pad as i32), matrix(0), matrix(0));
    let mut labels = matrix(NOT_PREDICTED);
    for (row, example) in examples.iter().enumerate() {
        for (column, &id) in example.token_ids.iter().enumerate() {
            let cell = row * columns + column;
            (ids[cell], mask[cell]) = (id as i32, 1);
            segments[cell] = i32::from(column >= example.second_segment);
        }
        for (&position, &label) in example.masking.positions.iter().zip(&example.masking.labels) {
            labels[row * columns + position as usize] = label as i32;
        }
    }
    let orders: Vec<i32> = examples.iter().map(|example| example.sentence_order_label as i32).collect();
    let shape = vec![count, columns];
    let tensors = [
        ("input_ids", shape.clone(), &ids),
        ("attention_mask", shape.clone(), &mask),
        ("token_type_ids", shape.clone(), &segments),
        ("labels", shape, &labels),
        ("sentence_order_label", vec![count], &orders),
    ];
    let views = tensors.map(|(name, shape, values)| {
        let view = TensorView::new(Dtype::I32, shape, bytemuck::cast_slice(values));
        (name, view.expect("as many values as the shape says"))
    });
    safetensors::serialize_to_file(views, None, path)
        .map_err(|error| DataError::io("write", path)(std::io::Error::other(error)))
}
