//! Features to micro-batches: packed sequences, and what each head is told to learn.

use model::Head;

use super::features::{Feature, FeatureTarget, Sequence};
use crate::tokenizer::SpecialTokens;
use crate::training::Inputs;

const WRONG_TARGET: &str = "a task's features have the targets of its kind";

/// Divides features, by their places in `of`, into micro-batches of at most `budget` tokens and `most` sequences: each goes, the
/// longest first, into the first where it has room. In each they are in their order. A feature is never divided.
pub(super) fn divide(of: &[&Feature], budget: usize, most: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..of.len()).collect();
    order.sort_by_key(|&place| std::cmp::Reverse(of[place].tokens())); // stable
    let mut parts: Vec<(usize, usize, Vec<usize>)> = Vec::new();
    for place in order {
        let (tokens, sequences) = (of[place].tokens(), of[place].sequences.len());
        let fits =
            |part: &&mut (usize, usize, Vec<usize>)| part.0 + tokens <= budget && part.1 + sequences <= most;
        match parts.iter_mut().find(fits) {
            Some(part) => {
                part.0 += tokens;
                part.1 += sequences;
                part.2.push(place);
            }
            None => parts.push((tokens, sequences, vec![place])),
        }
    }
    let mut parts: Vec<Vec<usize>> = parts.into_iter().map(|(_, _, places)| places).collect();
    parts.iter_mut().for_each(|places| places.sort_unstable());
    parts
}

/// What the weights of the losses are divided by: all that is predicted in an optimisation batch.
pub(super) fn predictions(features: &[&Feature], head: &Head) -> usize {
    match head {
        Head::TokenClassification { .. } => features.iter().map(|feature| feature.rows.len()).sum(),
        _ => features.len(),
    }
}

/// Packs features as the inputs of `head`'s plan: with what is right where `predictions`, the count over all that the loss is
/// the mean of, is given, else for prediction. A feature whose target is not known takes no part in the loss.
///
/// # Panics
/// If a feature has the target of another kind of task.
pub(super) fn pack(
    features: &[&Feature],
    head: &Head,
    special: &SpecialTokens,
    predictions: Option<usize>,
) -> Inputs {
    let (mut token_ids, mut segment_ids, mut position_ids) = (Vec::new(), Vec::new(), Vec::new());
    let mut offsets = vec![0];
    let sequences: Vec<&Sequence> = features.iter().flat_map(|feature| &feature.sequences).collect();
    for sequence in &sequences {
        sequence.push(special, &mut token_ids, &mut segment_ids);
        position_ids.extend(0..sequence.len() as i32);
        offsets.push(token_ids.len() as i32);
    }
    let tokens = token_ids.len();
    let first_rows = offsets[..sequences.len()].to_vec();
    let mut token_order: Vec<i32> = (0..tokens as i32).collect();
    token_order.sort_by_key(|&row| token_ids[row as usize]);
    let mut inputs = Inputs {
        lengths: vec![tokens, sequences.len()],
        integers: vec![
            ("token_ids", token_ids),
            ("position_ids", position_ids),
            ("segment_ids", segment_ids),
            ("offsets", offsets),
            ("token_order", token_order),
        ],
        reals: Vec::new(),
    };
    let weight = predictions.map(|count| 1.0 / count.max(1) as f32);
    let weights = || {
        let of =
            |weight: f32| features.iter().map(move |feature| feature.target.as_ref().map_or(0.0, |_| weight));
        weight.map(|weight| ("weights", of(weight).collect()))
    };
    match head {
        Head::Classification { outputs, .. } => {
            inputs.integers.push(("first_rows", first_rows));
            if weight.is_some() && *outputs == 1 {
                let value = |feature: &&Feature| match feature.target {
                    Some(FeatureTarget::Value(value)) => value,
                    None => 0.0,
                    _ => unreachable!("{WRONG_TARGET}"),
                };
                inputs.reals.push(("targets", features.iter().map(value).collect()));
            } else if weight.is_some() {
                inputs.integers.push(("labels", features.iter().map(|feature| class(feature)).collect()));
            }
            inputs.reals.extend(weights());
        }
        Head::Choice { .. } => {
            inputs.lengths.push(features.len());
            inputs.integers.push(("first_rows", first_rows));
            let mut option_offsets = vec![0];
            for feature in features {
                option_offsets
                    .push(option_offsets[option_offsets.len() - 1] + feature.sequences.len() as i32);
            }
            if weight.is_some() {
                let labels =
                    features.iter().zip(&option_offsets).map(|(feature, first)| first + class(feature));
                inputs.integers.push(("labels", labels.collect()));
                inputs.integers.push(("option_offsets", option_offsets));
            }
            inputs.reals.extend(weights());
        }
        Head::Span | Head::AnswerableSpan { .. } => {
            if weight.is_some() {
                let span = |(feature, &first): (&&Feature, &i32)| match feature.target {
                    Some(FeatureTarget::Span { start, end }) => (first + start as i32, first + end as i32),
                    None => (first, first),
                    _ => unreachable!("{WRONG_TARGET}"),
                };
                let (starts, ends) = features.iter().zip(&first_rows).map(span).unzip();
                inputs.integers.push(("start_labels", starts));
                inputs.integers.push(("end_labels", ends));
                inputs.reals.extend(weights());
            }
            if let Head::AnswerableSpan { .. } = head {
                // Row 0 is the answer of a sequence without one; the question and the separators are never one.
                let (mut excluded, mut sequence_of_token) = (Vec::new(), Vec::new());
                for (index, sequence) in sequences.iter().enumerate() {
                    let passage = sequence.second_rows();
                    let is_excluded = |row: usize| row > 0 && !passage.contains(&row);
                    excluded.extend((0..sequence.len()).map(|row| f32::from(u8::from(is_excluded(row)))));
                    sequence_of_token.extend(std::iter::repeat_n(index as i32, sequence.len()));
                }
                if weight.is_some() {
                    let is_impossible = |feature: &&Feature| {
                        i32::from(feature.target == Some(FeatureTarget::Span { start: 0, end: 0 }))
                    };
                    let labels = features.iter().map(is_impossible).collect();
                    inputs.integers.push(("answerable_labels", labels));
                }
                inputs.integers.push(("first_rows", first_rows));
                inputs.integers.push(("sequence_of_token", sequence_of_token));
                inputs.reals.push(("excluded", excluded));
            }
        }
        Head::TokenClassification { .. } => {
            if let Some(weight) = weight {
                let (mut labels, mut weights) = (vec![0; tokens], vec![0.0; tokens]);
                for (feature, &first) in features.iter().zip(&first_rows) {
                    let classes = match &feature.target {
                        Some(FeatureTarget::Classes(classes)) => classes.as_slice(),
                        None => &[],
                        _ => unreachable!("{WRONG_TARGET}"),
                    };
                    for (&row, &class) in feature.rows.iter().zip(classes) {
                        labels[first as usize + row as usize] = class as i32;
                        weights[first as usize + row as usize] = weight;
                    }
                }
                inputs.integers.push(("labels", labels));
                inputs.reals.push(("weights", weights));
            }
        }
        _ => unreachable!("pre-training has batches of its own"),
    }
    inputs
}

/// The class, or the option, of a feature; 0 where it is not known.
fn class(feature: &Feature) -> i32 {
    match feature.target {
        Some(FeatureTarget::Class(class)) => class as i32,
        None => 0,
        _ => unreachable!("{WRONG_TARGET}"),
    }
}
