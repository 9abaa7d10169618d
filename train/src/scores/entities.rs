//! Scores of sentences whose words have classes: entities as CoNLL's evaluation program counts them, and accuracy.
//!
//! An entity is a run of words of one type. Classes are `O` for no entity, `B-TYPE` for the first word of one and `I-TYPE` for
//! the next ones; `E-` and `S-` (the last, the only word) are understood as well. A run that begins with `I-` counts too.

use std::ops::Range;

/// The share of words whose class was found; a word without an answer was not. NaN where there are no words.
pub fn accuracy<'a>(sentences: impl Iterator<Item = (&'a [u32], &'a [u32])>) -> f64 {
    let (mut right, mut total) = (0u64, 0u64);
    for (labels, found) in sentences {
        total += labels.len() as u64;
        right += labels.iter().zip(found).filter(|(label, found)| label == found).count() as u64;
    }
    right as f64 / total as f64
}

/// F1 of entities over all sentences: an entity is found if its words and its type are; 0 where there are none. Words without
/// an answer belong to no entity.
pub fn f1<'a>(sentences: impl Iterator<Item = (&'a [u32], &'a [u32])>, classes: &[String]) -> f64 {
    let (mut shared, mut labelled, mut predicted) = (0u64, 0u64, 0u64);
    for (labels, found) in sentences {
        let names = |list: &[u32]| -> Vec<&str> {
            list.iter().map(|&class| classes.get(class as usize).map_or("O", String::as_str)).collect()
        };
        let (labels, found) = (entities(&names(labels)), entities(&names(found)));
        shared += found.iter().filter(|entity| labels.contains(entity)).count() as u64;
        labelled += labels.len() as u64;
        predicted += found.len() as u64;
    }
    if labelled + predicted == 0 { 0.0 } else { 2.0 * shared as f64 / (labelled + predicted) as f64 }
}

/// The words and the type of each entity.
fn entities<'a>(classes: &[&'a str]) -> Vec<(Range<usize>, &'a str)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, &str)> = None;
    for (at, class) in classes.iter().enumerate() {
        let (mark, kind) = match class.split_once('-') {
            Some((mark @ ("B" | "I" | "E" | "S"), kind)) => (mark, kind),
            _ if *class == "O" => ("O", ""),
            _ => ("I", *class), // a type without a mark
        };
        let goes_on = matches!(mark, "I" | "E") && open.is_some_and(|(_, open)| open == kind);
        if !goes_on {
            found.extend(open.take().map(|(start, kind)| (start..at, kind)));
            open = (mark != "O").then_some((at, kind));
        }
        if matches!(mark, "E" | "S") {
            found.extend(open.take().map(|(start, kind)| (start..at + 1, kind)));
        }
    }
    found.extend(open.map(|(start, kind)| (start..classes.len(), kind)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_type_are_entities() {
        let classes = ["B-PER", "I-PER", "B-PER", "O", "I-LOC", "I-ORG", "S-ORG", "B-ORG", "E-ORG", "I-ORG"];
        assert_eq!(
            entities(&classes),
            [
                (0..2, "PER"),
                (2..3, "PER"),
                (4..5, "LOC"),
                (5..6, "ORG"),
                (6..7, "ORG"),
                (7..9, "ORG"),
                (9..10, "ORG"),
            ]
        );
    }

    #[test]
    fn half_an_entity_is_none() {
        let classes: Vec<String> = ["O", "B-PER", "I-PER"].map(str::to_owned).to_vec();
        let labels: &[u32] = &[1, 2, 0, 1];
        let found: &[u32] = &[1, 0, 0, 1];
        // One of two labelled and two predicted.
        assert_eq!(f1([(labels, found)].into_iter(), &classes), 0.5);
        assert_eq!(accuracy([(labels, found)].into_iter()), 0.75);
        // Words without an answer are wrong.
        assert_eq!(f1([(labels, &found[..2])].into_iter(), &classes), 0.0);
        assert_eq!(accuracy([(labels, &found[..2])].into_iter()), 0.25);
        assert_eq!(f1([(&labels[2..3], &found[2..3])].into_iter(), &classes), 0.0);
    }
}
