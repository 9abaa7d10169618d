//! `albert-train encode`: hidden states and logits of sequences.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use train::exit::ExitCode;
use train::inference::{encode, read_sequences};
use train::visible::{shown, visible};

use crate::arguments::{ModelArguments, place};
use crate::output::tell;

/// Encode sequences: hidden states, and logits if asked for, as safetensors.
///
/// The output holds `last_hidden_state [B,S,H]` (zero past the mask), `pooler_output [B,H]` where the model has a pooler,
/// and with --logits also `prediction_logits [B,S,V]` and `sop_logits [B,2]`.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// .txt: one sequence a line; .jsonl: "text", and "text_pair" if there is one, a line; .safetensors: `input_ids [B,S]`,
    /// and if they are there `attention_mask`, `token_type_ids` and `position_ids`, of integers
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,
    /// Where to write
    #[arg(short, long, value_name = "OUT.safetensors", value_parser = place())]
    output: PathBuf,
    /// Also write prediction_logits and sop_logits
    #[arg(long)]
    logits: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { model, input, output, logits } = arguments;
    let mut stop = crate::stop::requests("ending after the sequences under way; nothing is written")?;
    let is_text = input.extension().is_none_or(|ending| ending != "safetensors");
    let tokenizer = is_text.then(|| model.tokenizer()).transpose()?;
    let mut model = model.load()?;
    if let Some(tokenizer) = &tokenizer {
        model.expect_tokenizer(tokenizer)?;
    }
    let sequences = read_sequences(input, tokenizer.as_ref())?;
    if !sequences.unused.is_empty() {
        let names = visible(&sequences.unused.join(", "));
        tell(format_args!("warning: tensors in {} that are not used: {names}", shown(input)));
    }
    encode(&mut model, &sequences, *logits, output, &mut stop)?;
    tell(format_args!(
        "{} sequences of at most {} tokens encoded into {}",
        sequences.count(),
        sequences.length,
        shown(output)
    ));
    Ok(ExitCode::Done)
}
