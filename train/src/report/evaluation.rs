//! What held-out evaluations came to.

use std::io;
use std::path::Path;

use crate::run::directory::JOURNAL;
use crate::run::journal::{History, Recorded};

/// Evaluations that are kept to look at, about: where they are twice as many, so many at even distances stay.
const ENOUGH: usize = 512;

/// Figures by name, in the order of the journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Steps done.
    pub step: u64,
    /// The figures.
    pub figures: Vec<(String, f64)>,
}

impl Evaluation {
    /// The figure `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// The figure by which runs of this kind are compared, with what is reached without a model: the one that a
    /// baseline is given for.
    pub fn compared(&self) -> Option<(&str, f64, f64)> {
        let baselines = self.figures.iter().filter_map(|(name, value)| {
            let of = name.strip_prefix("baseline_").or_else(|| name.strip_prefix("majority_"))?;
            Some((of, self.get(of)?, *value))
        });
        baselines.into_iter().next()
    }

    /// An event of the journal as an evaluation that counts, if it is one.
    pub(super) fn of(event: &Recorded) -> Option<Self> {
        let step = event.step().filter(|_| event.kind() == "evaluation" && !event.superseded)?;
        let figures = event.numbers().map(|(name, value)| (name.into(), value)).collect();
        Some(Self { step, figures })
    }
}

/// All evaluations of the run in `folder`, by step; of a step the last.
///
/// # Errors
/// If its journal cannot be read; one that is not there is no error.
pub fn evaluations(folder: &Path) -> io::Result<Vec<Evaluation>> {
    let mut evaluations = Vec::new();
    let mut history = match History::open(&folder.join(JOURNAL)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(evaluations),
        history => history?,
    };
    for event in history.events()? {
        if let Some(evaluation) = Evaluation::of(&event?) {
            insert(&mut evaluations, evaluation);
        }
    }
    Ok(evaluations)
}

/// Adds an evaluation to those of other steps, which are in order.
fn insert(evaluations: &mut Vec<Evaluation>, new: Evaluation) {
    match evaluations.binary_search_by_key(&new.step, |known| known.step) {
        Ok(place) => evaluations[place] = new,
        Err(place) => evaluations.insert(place, new),
    }
}

/// [`insert`], and of more than are looked at some at even distances are kept, with the first, the last and the best.
pub(super) fn insert_and_thin(evaluations: &mut Vec<Evaluation>, new: Evaluation) {
    insert(evaluations, new);
    let [first, .., last] = evaluations.as_slice() else { return };
    if evaluations.len() < 2 * ENOUGH {
        return;
    }
    let (distance, last) = ((last.step - first.step).div_ceil(ENOUGH as u64), last.step);
    let best = lowest_loss(evaluations).map(|(step, _)| step);
    let mut next = 0;
    evaluations.retain(|Evaluation { step, .. }| {
        let is_due = *step >= next;
        if is_due {
            next = step.saturating_add(distance);
        }
        is_due || *step == last || Some(*step) == best
    });
}

/// The lowest loss, and the first step that came to it.
pub(super) fn lowest_loss(evaluations: &[Evaluation]) -> Option<(u64, f64)> {
    let losses = evaluations.iter().filter_map(|of| Some((of.step, of.get("loss")?)));
    losses.filter(|(_, loss)| !loss.is_nan()).min_by(|a, b| a.1.total_cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_evaluations_enough_are_kept() {
        let evaluation = |step, loss| Evaluation { step, figures: vec![("loss".into(), loss)] };
        let (mut kept, count) = (Vec::new(), 20 * ENOUGH as u64);
        for number in 1..=count {
            let loss = if number == 777 { 0.5 } else { 1.0 + 1.0 / number as f64 };
            insert_and_thin(&mut kept, evaluation(10 * number, loss));
            assert!(kept.len() < 2 * ENOUGH);
            assert_eq!(kept.last().map(|last| last.step), Some(10 * number));
        }
        assert!(kept.len() >= ENOUGH / 2 && kept.is_sorted_by(|a, b| a.step < b.step), "{}", kept.len());
        assert_eq!((kept[0].step, lowest_loss(&kept)), (10, Some((7770, 0.5))));
        let widest = kept.windows(2).map(|pair| pair[1].step - pair[0].step).max().unwrap();
        assert!(widest <= 4 * 10 * count / ENOUGH as u64, "{widest}");
        // One that is made again takes the place of the earlier one.
        insert_and_thin(&mut kept, evaluation(7770, 3.0));
        assert_eq!(kept.iter().filter(|of| of.step == 7770).count(), 1);
        assert!(lowest_loss(&kept).is_some_and(|(_, loss)| loss > 0.5));
    }
}
