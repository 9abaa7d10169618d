//! Sequences to a file of hidden states and logits.

use std::path::Path;

use super::Inference;
use super::error::InferenceError;
use super::row_file::RowFile;
use super::sequences::Sequences;
use crate::run::signals::StopRequests;

/// Encodes `sequences` and writes what came out as `output`, a safetensors file, in memory that does not depend on how
/// many there are: `last_hidden_state` `[B, S, H]`, zero past the mask; `pooler_output` `[B, H]` where the model has a
/// pooler; with `logits` also `prediction_logits` `[B, S, V]`, zero past the mask, and `sop_logits` `[B, 2]`, as far as the
/// model has the heads.
///
/// # Errors
/// If a sequence does not fit the model, the file cannot be written, or somebody asks to stop. Nothing is left behind then.
pub fn encode(
    model: &mut Inference,
    sequences: &Sequences,
    logits: bool,
    output: &Path,
    stop: &mut StopRequests,
) -> Result<(), InferenceError> {
    let (pools, config) = (model.albert().pools(), model.albert().config().clone());
    sequences.check_length(config.max_position_embeddings, |index| format!("sequence {index}"))?;
    if pools {
        sequences.check_begin()?;
    }
    let (count, length) = (sequences.count(), sequences.length);
    // By token, then by sequence.
    let of_tokens: Vec<_> = [
        ("last_hidden_state", config.hidden_size, true),
        ("prediction_logits", config.vocab_size, logits && model.albert().predicts_words()),
    ]
    .into_iter()
    .filter(|&(_, _, wanted)| wanted)
    .collect();
    let of_sequences: Vec<_> = [
        ("pooler_output", config.hidden_size, pools),
        ("sop_logits", 2, logits && model.albert().predicts_order()),
    ]
    .into_iter()
    .filter(|&(_, _, wanted)| wanted)
    .collect();
    let shapes = (of_tokens.iter().map(|&(name, width, _)| (name, vec![count, length, width])))
        .chain(of_sequences.iter().map(|&(name, width, _)| (name, vec![count, width])));
    let mut file = RowFile::create(output, &shapes.collect::<Vec<_>>())?;
    let (mut values, step) = (Vec::new(), model.sequences_per_run(length));
    for first in (0..count).step_by(step) {
        if let Some(reason) = stop.pending() {
            return Err(InferenceError::Stopped(reason));
        }
        let range = first..(first + step).min(count);
        let mut batch = sequences.batch(range.clone())?;
        batch.masked_rows = if logits { (0..batch.tokens() as i32).collect() } else { Vec::new() };
        let outputs = model.run(&batch, logits)?;
        for &(name, width, _) in &of_tokens {
            outputs.read(name, &mut values);
            for (cell, row) in sequences.cells(range.clone()).zip(values.chunks_exact(width)) {
                file.write(name, cell, row)?;
            }
        }
        for &(name, ..) in &of_sequences {
            outputs.read(name, &mut values);
            file.write(name, first, &values)?;
        }
    }
    file.finish()
}
