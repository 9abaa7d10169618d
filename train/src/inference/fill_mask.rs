//! Text with `[MASK]` in it to the likeliest pieces.

use super::Inference;
use super::error::InferenceError;
use super::sequences::Sequences;
use crate::tokenizer::Tokenizer;

/// How a mask is written in text.
pub const MASK: &str = "[MASK]";
/// How the border between two segments is written in text.
pub const SEPARATOR: &str = "[SEP]";
/// What sentencepiece puts where a word begins.
const WORD_START: char = '▁';

/// A mask and what could stand in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Filled {
    /// Place among the tokens, `[CLS]` being 0.
    pub position: usize,
    /// The likeliest pieces, the best first.
    pub candidates: Vec<Candidate>,
}

/// A piece that could stand in place of a mask.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its id.
    pub id: u32,
    /// The piece as the vocabulary spells it.
    pub piece: String,
    /// Its probability among all pieces.
    pub probability: f64,
}

/// The `top` likeliest pieces for every `[MASK]` in `text`, each judged with all others masked. `A [SEP] B` is read as two
/// segments, as a model sees text in pre-training.
///
/// # Errors
/// If there is no mask, more than two segments or an empty one, the text is longer than the model's positions, or
/// tokenizer and model do not belong together.
pub fn fill_mask(
    model: &mut Inference,
    tokenizer: &Tokenizer,
    text: &str,
    top: usize,
) -> Result<Vec<Filled>, InferenceError> {
    if !model.albert().predicts_words() {
        return Err(InferenceError::MissingHead { head: "masked-word head" });
    }
    model.expect_tokenizer(tokenizer)?;
    let segments: Vec<_> = text.split(SEPARATOR).map(|part| with_masks(tokenizer, part)).collect();
    let pair = match <[_; 2]>::try_from(segments) {
        Ok([first, second]) if !first.is_empty() && !second.is_empty() => (first, Some(second)),
        Err(mut one) if one.len() == 1 => (one.remove(0), None),
        _ => return Err(InferenceError::Segments { text: text.into() }),
    };
    let sequences = Sequences::of(&[pair], tokenizer.special());
    let mask = tokenizer.special().mask as i32;
    let ids = &sequences.input_ids;
    let positions: Vec<usize> = (0..ids.len()).filter(|&at| ids[at] == mask).collect();
    if positions.is_empty() {
        return Err(InferenceError::NoMask { text: text.into() });
    }
    sequences.check_length(model.albert().config().max_position_embeddings, |_| format!("\"{text}\""))?;
    let mut batch = sequences.batch(0..1)?;
    batch.masked_rows = positions.iter().map(|&at| at as i32).collect();
    let mut logits = Vec::new();
    model.run(&batch, true)?.read("prediction_logits", &mut logits);
    let vocabulary = model.albert().config().vocab_size;
    Ok(positions
        .into_iter()
        .zip(logits.chunks_exact(vocabulary))
        .map(|(position, logits)| Filled { position, candidates: likeliest(logits, top, tokenizer) })
        .collect())
}

/// The `top` best of `logits`, with their shares of the softmax; of equal ones the first.
fn likeliest(logits: &[f32], top: usize, tokenizer: &Tokenizer) -> Vec<Candidate> {
    let logits = &logits[..tokenizer.vocabulary_size()];
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| f64::from(logit - largest).exp();
    let sum: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    ids.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    ids.truncate(top);
    let candidate = |id: u32| Candidate {
        id,
        piece: tokenizer.piece(id).unwrap_or_default().to_owned(),
        probability: weight(logits[id as usize]) / sum,
    };
    ids.into_iter().map(candidate).collect()
}

/// The ids of a text, `[MASK]` being the mask. A tokenizer sees the text between masks in pieces and takes each for a
/// text of its own, which begins a word: where no white space follows a mask, that beginning is taken back.
fn with_masks(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    for (index, part) in text.split(MASK).enumerate() {
        if index > 0 {
            ids.push(tokenizer.special().mask);
        }
        let mut rest = tokenizer.encode(part);
        let continues = index > 0 && !part.starts_with(char::is_whitespace);
        if continues && let Some(inner) = rest.first().and_then(|&first| tokenizer.piece(first)) {
            match inner.strip_prefix(WORD_START) {
                Some("") => drop(rest.remove(0)),
                Some(inner) => rest[0] = tokenizer.id(inner).unwrap_or(rest[0]),
                None => {}
            }
        }
        ids.extend(rest);
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::TrainOptions;

    fn tokenizer() -> Tokenizer {
        let text = ["The cat sat on the mat.", "The dog, it sat; on the cats.", "cats dogs mats s"];
        Tokenizer::train(text, &TrainOptions { vocabulary_size: 60, ..TrainOptions::default() }).unwrap()
    }

    #[test]
    fn masks_stand_between_the_pieces_of_their_text() {
        let tokenizer = tokenizer();
        let mask = tokenizer.special().mask;
        let expect = |text: &str, parts: [&[u32]; 3]| {
            assert_eq!(with_masks(&tokenizer, text), parts.concat(), "{text}");
        };
        let encode = |text: &str| tokenizer.encode(text);
        expect("the [MASK] sat", [&encode("the"), &[mask], &encode("sat")]);
        let stop = tokenizer.id(".").unwrap();
        assert_eq!(tokenizer.encode("sat.").last(), Some(&stop));
        expect("sat on the [MASK].", [&encode("sat on the"), &[mask], &[stop]]);
        expect("[MASK] [MASK]", [&[mask], &[mask], &[]]);
        expect("[MASK]", [&[], &[mask], &[]]);
    }

    #[test]
    fn probabilities_are_those_of_the_softmax() {
        let tokenizer = tokenizer();
        let mut logits = vec![0.0; tokenizer.vocabulary_size() + 3];
        (logits[7], logits[9]) = (2.0, 1.0);
        // Rows of the model that no piece has are never proposed.
        logits[tokenizer.vocabulary_size()] = 50.0;
        let best = likeliest(&logits, 2, &tokenizer);
        let sum = 2f64.exp() + 1f64.exp() + (tokenizer.vocabulary_size() - 2) as f64;
        assert_eq!((best[0].id, best[1].id), (7, 9));
        assert!((best[0].probability - 2f64.exp() / sum).abs() < 1e-12);
        assert!((best[1].probability - 1f64.exp() / sum).abs() < 1e-12);
    }
}
