//! What the answers to a labelled set give reason to doubt, in words: classes in another order than the model's, a model that
//! says always the same.

use super::answers::Answer;
use super::task::{Example, Kind, Target, Task};
use crate::scores::correlation::pearson;

/// With fewer examples than this nothing is doubted.
const FEWEST: usize = 20;
/// With more classes than this their orders are not tried one by one.
const MOST_CLASSES: usize = 6;
/// A correlation as far below zero as this is no accident.
const REVERSED: f64 = -0.2;

/// What is strange about the answers; nothing where all is well.
pub fn doubts(task: &dyn Task, examples: &[Example], answers: &[Answer]) -> Vec<String> {
    match task.kind() {
        Kind::Classes(classes) => doubts_of_classes(task, classes, &pairs(examples, answers)),
        Kind::Choice(options) => {
            let pairs = pairs(examples, answers);
            let right = pairs.iter().filter(|(label, found)| label == found).count();
            let doubt = is_below_chance(right, options, pairs.len()).then(|| {
                "that is worse than guessing: the options may be numbered in another way than when the model was trained"
                    .to_owned()
            });
            doubt.into_iter().collect()
        }
        Kind::Value => {
            let known = examples.iter().zip(answers).filter_map(|pair| match pair {
                (Example { target: Some(Target::Value(value)), .. }, Answer::Value(found)) => {
                    Some((f64::from(*value), f64::from(*found)))
                }
                _ => None,
            });
            let (values, found): (Vec<f64>, Vec<f64>) = known.unzip();
            let is_reversed = values.len() >= FEWEST && pearson(&values, &found) < REVERSED;
            let doubt = "the model's value falls where the right one grows: the scale may be reversed";
            is_reversed.then(|| doubt.to_owned()).into_iter().collect()
        }
        Kind::TokenClasses(classes) => doubts_of_classes(task, classes, &pairs_of_words(examples, answers)),
        Kind::Span | Kind::AnswerableSpan => Vec::new(),
    }
}

/// The right class and the one that was found.
fn pairs(examples: &[Example], answers: &[Answer]) -> Vec<(usize, usize)> {
    let known = examples.iter().zip(answers).filter_map(|(example, answer)| match example.target {
        Some(Target::Class(class)) => Some((class as usize, answer.class()? as usize)),
        _ => None,
    });
    known.collect()
}

/// The right class of each word that was answered, and the one that was found.
fn pairs_of_words(examples: &[Example], answers: &[Answer]) -> Vec<(usize, usize)> {
    let known = examples.iter().zip(answers).filter_map(|pair| match pair {
        (Example { target: Some(Target::Classes(labels)), .. }, Answer::Words(found)) => {
            Some(labels.iter().zip(found))
        }
        _ => None,
    });
    known.flatten().map(|(&label, &found)| (label as usize, found as usize)).collect()
}

/// Whether so few right answers are beyond the bad luck of guessing: three standard deviations.
fn is_below_chance(right: usize, classes: usize, examples: usize) -> bool {
    let (chance, count) = (1.0 / classes.max(1) as f64, examples as f64);
    (right as f64) < chance * count - 3.0 * (chance * (1.0 - chance) * count).sqrt()
}

fn doubts_of_classes(task: &dyn Task, classes: usize, pairs: &[(usize, usize)]) -> Vec<String> {
    let Some(&(_, first)) = pairs.first().filter(|_| pairs.len() >= FEWEST) else { return Vec::new() };
    let name = |class: usize| task.labels().get(class).map_or("?", String::as_str);
    if classes > 1 && pairs.iter().all(|&(_, found)| found == first) {
        return vec![format!(
            "the model says {:?} every time: it has learnt nothing of this task, or lost it (a smaller learning rate or \
             another seed helps)",
            name(first)
        )];
    }
    let right = pairs.iter().filter(|(label, found)| label == found).count();
    let reading = best_reading(classes, pairs);
    let (best, order) = match &reading {
        Some((best, order)) => (*best, Some(order)),
        None => (right, None),
    };
    // Another reading of the outputs that is right for a fifth more of the examples is no accident either.
    let is_better_read = best > right + pairs.len() / 5 && right * 2 < pairs.len();
    if !is_below_chance(right, classes, pairs.len()) && !is_better_read {
        return Vec::new();
    }
    let how = order.filter(|_| best > right).map_or_else(String::new, |order| {
        let moved = order.iter().enumerate().filter(|(output, class)| output != *class);
        let words = moved.map(|(output, &class)| format!("{:?} as {:?}", name(output), name(class)));
        let percent = |count: usize| 100.0 * count as f64 / pairs.len() as f64;
        format!(
            "; {:.1} of 100 are right, but {:.1} if one reads {}",
            percent(right),
            percent(best),
            words.collect::<Vec<_>>().join(", ")
        )
    });
    vec![format!(
        "the model's classes are probably in another order than this task's (id2label in its config.json), or it was trained \
         for another task{how}"
    )]
}

/// The order of the classes in which most answers are right, and how many: `order[output]` is the class that it stands for.
fn best_reading(classes: usize, pairs: &[(usize, usize)]) -> Option<(usize, Vec<usize>)> {
    if !(2..=MOST_CLASSES).contains(&classes) {
        return None;
    }
    let mut counts = vec![0usize; classes * classes];
    for &(label, found) in pairs {
        if label < classes && found < classes {
            counts[found * classes + label] += 1;
        }
    }
    let mut best: Option<(usize, Vec<usize>)> = None;
    let mut orders = vec![Vec::new()];
    for _ in 0..classes {
        let longer = orders.iter().flat_map(|order: &Vec<usize>| {
            let free = (0..classes).filter(|class| !order.contains(class)).collect::<Vec<_>>();
            free.into_iter().map(move |class| [order.as_slice(), &[class]].concat())
        });
        orders = longer.collect();
    }
    for order in orders {
        let right = order.iter().enumerate().map(|(found, label)| counts[found * classes + label]).sum();
        if best.as_ref().is_none_or(|(most, _)| right > *most) {
            best = Some((right, order));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finetuning::tasks::{Columns, Table, Wanted};
    use crate::finetuning::{Input, task};

    /// 100 examples of MNLI, all answered right but for the order of the outputs.
    fn doubts_about(order: [u32; 3], wrong: usize) -> Vec<String> {
        let mnli = task("mnli").unwrap();
        let examples: Vec<Example> = (0..100)
            .map(|number| Example {
                id: String::new(),
                group: "matched",
                input: Input::Texts { first: String::new(), second: None },
                target: Some(Target::Class(number % 3)),
            })
            .collect();
        let answers: Vec<Answer> = (0..100usize)
            .map(|number| {
                let class = order[if number < wrong { (number + 1) % 3 } else { number % 3 }];
                Answer::Scores((0..3).map(|other| f32::from(u8::from(other == class))).collect())
            })
            .collect();
        doubts(&*mnli, &examples, &answers)
    }

    #[test]
    fn classes_in_another_order_are_noticed() {
        assert_eq!(doubts_about([0, 1, 2], 10), Vec::<String>::new());
        for (order, words) in
            [([1, 2, 0], "\"contradiction\" as \"neutral\""), ([2, 1, 0], "\"neutral\" as \"contradiction\"")]
        {
            let doubts = doubts_about(order, 10);
            let [doubt] = &doubts[..] else { panic!("{order:?}: {doubts:?}") };
            assert!(doubt.contains("in another order") && doubt.contains(words), "{doubt}");
            assert!(doubt.contains("but 90.0 if"), "{doubt}");
        }
        let doubts = doubts_about([1, 1, 1], 0);
        assert!(doubts[0].contains("says \"entailment\" every time"), "{doubts:?}");
    }

    #[test]
    fn tags_in_another_order_are_noticed() {
        let columns = Columns::from(["tokens", "", "tags"]);
        let labels = ["B-PER", "I-PER", "O"].map(str::to_owned).to_vec();
        let table = Table::own(columns, Wanted::WordClasses, Some(labels), "".as_ref()).unwrap();
        let right = vec![2, 2, 0, 1, 2];
        let examples = vec![
            Example {
                id: String::new(),
                group: "",
                input: Input::Words(Vec::new()),
                target: Some(Target::Classes(right.clone())),
            };
            10
        ];
        let doubts_about = |order: [u32; 3]| {
            let found: Vec<u32> = right.iter().map(|&class| order[class as usize]).collect();
            doubts(&table, &examples, &vec![Answer::Words(found); 10])
        };
        assert_eq!(doubts_about([0, 1, 2]), Vec::<String>::new());
        let turned = doubts_about([1, 2, 0]);
        assert!(
            turned[0].contains("in another order") && turned[0].contains("\"B-PER\" as \"O\""),
            "{turned:?}"
        );
        assert!(doubts_about([2, 2, 2])[0].contains("says \"O\" every time"));
    }

    #[test]
    fn worse_than_guessing_is_told_from_bad_luck() {
        assert!(is_below_chance(10, 2, 100) && is_below_chance(0, 3, 100));
        assert!(!is_below_chance(40, 2, 100) && !is_below_chance(0, 2, 4));
    }
}
