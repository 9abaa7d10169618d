//! A model to files that transformers loads unchanged and computes the same with.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::Path;

use crate::albert::Albert;
use crate::config::{AlbertConfig, MULTI_LABEL};
use crate::error::ModelError;
use crate::heads::{Head, architecture};
use crate::import::{CONFIG_FILE, WEIGHTS_FILE};
use crate::names::{DECODER_BIAS, DECODER_BIAS_AGAIN, MAPPING_IN};
use crate::tensors::{self, Layout};

/// Key of the weights' blake3 in the metadata of their file: [`load`](crate::load) compares, other programs ignore it.
pub const WEIGHTS_HASH: &str = "weights_blake3";
/// Key of the fingerprint of the tokenizer that belongs to the weights.
pub const TOKENIZER_HASH: &str = "tokenizer_blake3";

/// What transformers calls classes of which each sequence has one.
const SINGLE: &str = "single_label_classification";
/// What it knows a head for sequences to tell.
const PROBLEMS: [&str; 3] = ["regression", SINGLE, MULTI_LABEL];

/// Where the values of a tensor in a file come from.
enum Source {
    /// Parameters.
    Values(Range<usize>),
    /// A square matrix of this many rows, 1 on the diagonal.
    Identity(usize),
    /// Nothing.
    Zeros,
}

/// Writes `config.json` and `model.safetensors` into `directory`, which becomes a model only when both are there; `values`
/// are in the layout of [`engine::Parameters`].
///
/// # Errors
/// If a file cannot be written, or a value is not finite.
pub fn save(directory: &Path, albert: &Albert, values: &[f32]) -> Result<(), ModelError> {
    save_from(directory, albert, &[], &mut |range, into| into.extend_from_slice(&values[range]))
}

/// The same, with `notes` in the metadata of the weights, and values from wherever they are, in pieces: `read` adds those of
/// a range to a vector. It is asked for each value twice, once for the hash that stands at the beginning of the file.
///
/// # Errors
/// As of [`save`].
pub fn save_from(
    directory: &Path,
    albert: &Albert,
    notes: &[(&str, &str)],
    read: &mut dyn FnMut(Range<usize>, &mut Vec<f32>),
) -> Result<(), ModelError> {
    std::fs::create_dir_all(directory).map_err(ModelError::io("create", directory))?;
    let path = directory.join(WEIGHTS_FILE);
    write_weights(&path, albert, notes, read).map_err(ModelError::io("write", &path))?;
    let path = directory.join(CONFIG_FILE);
    let config = config(albert).to_json();
    create(&path, &mut |file| file.write_all(config.as_bytes())).map_err(ModelError::io("write", &path))
}

fn write_weights(
    path: &Path,
    albert: &Albert,
    notes: &[(&str, &str)],
    read: &mut dyn FnMut(Range<usize>, &mut Vec<f32>),
) -> io::Result<()> {
    let tensors = contents(albert);
    let shapes: Vec<_> = tensors.iter().map(|(name, shape, _)| (name.as_str(), shape.as_slice())).collect();
    let names: Vec<_> = shapes.iter().map(|&(name, _)| name).collect();
    let mut read = |index: usize, elements: Range<usize>, into: &mut Vec<f32>| match &tensors[index].2 {
        Source::Values(range) => read(range.start + elements.start..range.start + elements.end, into),
        Source::Identity(rows) => into.extend(elements.map(|at| f32::from(at / rows == at % rows))),
        Source::Zeros => into.extend(elements.map(|_| 0.0)),
    };
    let hash = tensors::digest(&Layout::new(&shapes, &[])?, &mut read);
    let layout = Layout::new(&shapes, &[notes, &[(WEIGHTS_HASH, &hash)]].concat())?;
    create(path, &mut |file| tensors::write(&layout, &names, &mut read, file))
}

/// Creates a file and makes it durable.
fn create(path: &Path, write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    write(&mut file)?;
    file.into_inner()?.sync_all()
}

/// The tensors of the file: the parameters, and what transformers wants beside them and otherwise fills at random.
fn contents(albert: &Albert) -> Vec<(String, Vec<usize>, Source)> {
    let mut tensors: Vec<_> = (albert.parameters().placed_parts())
        .map(|(part, range)| (part.name.clone(), part.shape.clone(), Source::Values(range)))
        .collect();
    if albert.mapping_in.is_none() {
        // It always maps, where the reference has no such layer for equal widths (`ALBERT.md`, Forward pass).
        let width = albert.config().hidden_size;
        tensors.push((format!("{MAPPING_IN}.weight"), vec![width; 2], Source::Identity(width)));
        tensors.push((format!("{MAPPING_IN}.bias"), vec![width], Source::Zeros));
    }
    if !albert.config().tie_word_embeddings {
        // Where nothing is tied, its decoder has a bias of its own.
        let bias = albert.parameters().placed_parts().find(|(part, _)| part.name == DECODER_BIAS);
        tensors.extend(
            bias.map(|(part, range)| {
                (DECODER_BIAS_AGAIN.to_owned(), part.shape.clone(), Source::Values(range))
            }),
        );
    }
    tensors
}

/// The configuration, with the class that transformers reads it by.
fn config(albert: &Albert) -> AlbertConfig {
    let class = architecture(albert.heads());
    let mut config = AlbertConfig { architectures: Some(vec![class.into()]), ..albert.config().clone() };
    if let Some(dropout) = albert.heads().iter().find_map(Head::dropout) {
        config.classifier_dropout_prob = Some(dropout);
    }
    // The weights are written in f32, whatever they were read in: what the configuration says of them others make them.
    for key in ["torch_dtype", "dtype"] {
        if let Some(kind) = config.other.get_mut(key) {
            *kind = "float32".into();
        }
    }
    // transformers takes the number of outputs from the names of classes, and the loss from their number.
    let mut labels = config.labels();
    let outputs = albert.heads().iter().find_map(|head| match *head {
        Head::Classification { outputs, .. } => {
            Some((outputs, Some(if outputs == 1 { "regression" } else { SINGLE })))
        }
        Head::TokenClassification { outputs, .. } => Some((outputs, None)),
        _ => None,
    });
    let (outputs, usual) = outputs.unwrap_or((0, None));
    // What the model's own files say stays true of it: others compute by it.
    let said = config.problem_type().filter(|said| PROBLEMS.contains(said)).map(str::to_owned);
    let problem = usual.map(|usual| said.unwrap_or_else(|| usual.to_owned()));
    if labels.len() != outputs {
        labels = (0..outputs).map(|id| format!("LABEL_{id}")).collect();
    }
    config.set_labels(&labels);
    config.other.extend(problem.map(|problem| ("problem_type".to_owned(), problem.into())));
    config
}
