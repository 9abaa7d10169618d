//! Scores of answers to questions, as the official SQuAD 1.1 and 2.0 evaluation programs count them.
//!
//! An answer is compared after [`normalized`]: lower case, without ASCII punctuation, without the articles *a*, *an* and
//! *the*, white space joined. Exact match is equality, F1 the overlap of words; of several right answers the best counts.

use std::collections::HashMap;

use serde::Serialize;

/// How well one answer fits: both between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Fit {
    /// 1 where the normalized answer equals a right one.
    pub exact: f64,
    /// The largest F1 of words shared with a right one.
    pub f1: f64,
}

/// Lower case, without punctuation and articles, with one space between words.
pub fn normalized(answer: &str) -> String {
    let lower = answer.to_lowercase();
    let text: String = lower.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let is_word = |c: char| c.is_alphanumeric();
    let mut kept = String::with_capacity(text.len());
    for run in text.split_inclusive(|c: char| !is_word(c)) {
        let (word, border) = match run.chars().next_back().filter(|&c| !is_word(c)) {
            Some(border) => (&run[..run.len() - border.len_utf8()], Some(border)),
            None => (run, None),
        };
        kept.push_str(if matches!(word, "a" | "an" | "the") { " " } else { word });
        kept.extend(border);
    }
    // What Python's `split` takes for white space: the four separators of ASCII too.
    let is_space = |c: char| c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}');
    kept.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

impl Fit {
    /// Of one normalized answer with one right one.
    fn of(right: &str, answer: &str) -> Self {
        Self { exact: f64::from(u8::from(right == answer)), f1: word_f1(right, answer) }
    }

    /// The larger of each figure.
    fn max(self, other: Self) -> Self {
        Self { exact: self.exact.max(other.exact), f1: self.f1.max(other.f1) }
    }
}

/// Compares `answer` with every right one as version 1.1 does, in which every question has an answer. One that normalizes to
/// nothing, such as `.`, equals another, but shares no word with it.
pub fn fit_version1(right: &[String], answer: &str) -> Fit {
    let answer = normalized(answer);
    right.iter().map(|text| Fit::of(&normalized(text), &answer)).fold(Fit::default(), Fit::max)
}

/// Compares `answer` with every right one as version 2.0 does: those that normalize to nothing do not count. No right answer at
/// all means that the question has none: then only the empty answer fits.
pub fn fit_version2(right: &[String], answer: &str) -> Fit {
    let answer = normalized(answer);
    let right = right.iter().map(|text| normalized(text)).filter(|text| !text.is_empty());
    right.map(|text| Fit::of(&text, &answer)).reduce(Fit::max).unwrap_or_else(|| {
        let empty = f64::from(u8::from(answer.is_empty()));
        Fit { exact: empty, f1: empty }
    })
}

/// F1 of the words of two normalized answers, each word as often as it stands in both.
fn word_f1(right: &str, answer: &str) -> f64 {
    let mut open: HashMap<&str, usize> = HashMap::new();
    for word in right.split(' ').filter(|word| !word.is_empty()) {
        *open.entry(word).or_default() += 1;
    }
    let right_words: usize = open.values().sum();
    let (mut answer_words, mut shared) = (0, 0);
    for word in answer.split(' ').filter(|word| !word.is_empty()) {
        answer_words += 1;
        if let Some(left) = open.get_mut(word).filter(|left| **left > 0) {
            *left -= 1;
            shared += 1;
        }
    }
    if shared == 0 {
        return 0.0;
    }
    let (precision, recall) = (shared as f64 / answer_words as f64, shared as f64 / right_words as f64);
    2.0 * precision * recall / (precision + recall)
}

/// Figures of SQuAD 1.1, in percent, under the names of the official program.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Version1 {
    /// Share of answers that match exactly.
    pub exact_match: f64,
    /// Mean F1.
    pub f1: f64,
}

/// Figures of SQuAD 2.0, in percent, under the names of the official program. `HasAns` are the questions that have an
/// answer, `NoAns` those that have none; their figures are missing where there is no such question.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Version2 {
    /// Share of answers that match exactly.
    pub exact: f64,
    /// Mean F1.
    pub f1: f64,
    /// Number of questions.
    pub total: usize,
    /// The three figures of the questions that have an answer.
    #[serde(flatten)]
    pub answerable: Option<Answerable>,
    /// The three figures of the questions that have none.
    #[serde(flatten)]
    pub unanswerable: Option<Unanswerable>,
}

/// The questions that have an answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Answerable {
    /// Share of answers that match exactly.
    #[serde(rename = "HasAns_exact")]
    pub exact: f64,
    /// Mean F1.
    #[serde(rename = "HasAns_f1")]
    pub f1: f64,
    /// Number of these questions.
    #[serde(rename = "HasAns_total")]
    pub total: usize,
}

/// The questions that have no answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Unanswerable {
    /// Share of answers that match exactly.
    #[serde(rename = "NoAns_exact")]
    pub exact: f64,
    /// Mean F1.
    #[serde(rename = "NoAns_f1")]
    pub f1: f64,
    /// Number of these questions.
    #[serde(rename = "NoAns_total")]
    pub total: usize,
}

/// One question after it was answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// How well the answer fits.
    pub fit: Fit,
    /// Whether the question has an answer.
    pub has_answer: bool,
    /// Whether something was answered (an empty text is no answer).
    pub answered: bool,
    /// How likely the question has no answer, on any scale: larger is likelier.
    pub null_score: f64,
}

/// Means in percent over all questions, as SQuAD 1.1 reports them; NaN where there are none.
pub fn version1(questions: &[Scored]) -> Version1 {
    let (exact_match, f1) = percent(questions.iter());
    Version1 { exact_match, f1 }
}

/// Means in percent, over all questions and apart by whether they have an answer, as SQuAD 2.0 reports them.
pub fn version2(questions: &[Scored]) -> Version2 {
    let part = |has_answer: bool| {
        let of = questions.iter().filter(move |question| question.has_answer == has_answer);
        let total = of.clone().count();
        let (exact, f1) = percent(of);
        (total > 0).then_some((exact, f1, total))
    };
    let (exact, f1) = percent(questions.iter());
    Version2 {
        exact,
        f1,
        total: questions.len(),
        answerable: part(true).map(|(exact, f1, total)| Answerable { exact, f1, total }),
        unanswerable: part(false).map(|(exact, f1, total)| Unanswerable { exact, f1, total }),
    }
}

fn percent<'a>(questions: impl Iterator<Item = &'a Scored>) -> (f64, f64) {
    let (mut exact, mut f1, mut total) = (0.0, 0.0, 0.0);
    for question in questions {
        exact += question.fit.exact;
        f1 += question.fit.f1;
        total += 1.0;
    }
    (100.0 * exact / total, 100.0 * f1 / total)
}

/// What the questions score when those whose null score lies above `threshold` are left without an answer.
pub fn with_threshold(questions: &[Scored], threshold: f64) -> Vec<Scored> {
    (questions.iter())
        .map(|question| {
            if question.null_score > threshold {
                let right = f64::from(u8::from(!question.has_answer));
                Scored { fit: Fit { exact: right, f1: right }, answered: false, ..*question }
            } else {
                *question
            }
        })
        .collect()
}

/// The threshold on the null score at which the mean of `figure` is largest, and that mean in percent.
///
/// As the official program searches: from "nothing is answered" upwards through the null scores in increasing order, the
/// first of equally good thresholds wins, and the threshold is 0 where answering nothing is best.
pub fn best_threshold(questions: &[Scored], figure: fn(&Fit) -> f64) -> (f64, f64) {
    let mut order: Vec<&Scored> = questions.iter().collect();
    order.sort_by(|a, b| a.null_score.total_cmp(&b.null_score));
    let mut score = questions.iter().filter(|question| !question.has_answer).count() as f64;
    let (mut best, mut threshold) = (score, 0.0);
    for question in order {
        score += match (question.has_answer, question.answered) {
            (true, _) => figure(&question.fit),
            (false, true) => -1.0,
            (false, false) => 0.0,
        };
        if score > best {
            (best, threshold) = (score, question.null_score);
        }
    }
    (100.0 * best / questions.len() as f64, threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(right: &[&str], answer: &str) -> [Fit; 2] {
        let right: Vec<String> = right.iter().map(|text| (*text).to_owned()).collect();
        [fit_version1(&right, answer), fit_version2(&right, answer)]
    }

    fn fits(right: &[&str], answer: &str) -> Fit {
        both(right, answer)[1]
    }

    #[test]
    fn articles_punctuation_and_case_do_not_count() {
        assert_eq!(normalized("  The  U.S. — an ``idea'' of A-team_a, THE end."), "us — idea of ateama end");
        assert_eq!(normalized("an a the"), "");
        assert_eq!(normalized("x\u{1c}the\u{a0}y\u{2003}\u{1f}"), "x y");
        assert_eq!(normalized("the—end"), "—end");
        assert_eq!(normalized("Äthe theä"), "äthe theä");
    }

    #[test]
    fn words_are_shared_as_often_as_they_stand_in_both() {
        // 2 of 3 answered words stand in the right answer of 4: P = 2/3, R = 2/4.
        let f1 = 2.0 * (2.0 / 3.0) * 0.5 / (2.0 / 3.0 + 0.5);
        assert_eq!(fits(&["red red green blue"], "red blue blue"), Fit { exact: 0.0, f1 });
    }

    #[test]
    fn the_best_of_several_right_answers_counts() {
        assert_eq!(fits(&["1066 AD", "1066"], "in 1066"), Fit { exact: 0.0, f1: 2.0 / 3.0 });
        assert_eq!(fits(&["x", "the X."], "x"), Fit { exact: 1.0, f1: 1.0 });
    }

    #[test]
    fn a_question_without_answer_wants_silence() {
        assert_eq!(fits(&[], ""), Fit { exact: 1.0, f1: 1.0 });
        assert_eq!(fits(&[], "the"), Fit { exact: 1.0, f1: 1.0 });
        assert_eq!(fits(&[], "yes"), Fit::default());
        assert_eq!(fits(&["yes"], ""), Fit::default());
    }

    /// As the official programs score them: three questions of the development set of 1.1 have such a right answer.
    #[test]
    fn an_answer_that_normalizes_to_nothing_is_another_thing_in_each_version() {
        let fit = |exact, f1| Fit { exact, f1 };
        for (right, answer, expected) in [
            (&[".", "here"][..], ".", [fit(1.0, 0.0), fit(0.0, 0.0)]),
            (&[".", "here"], "here", [fit(1.0, 1.0), fit(1.0, 1.0)]),
            (&["the"], "a", [fit(1.0, 0.0), fit(1.0, 1.0)]),
            (&["."], "", [fit(1.0, 0.0), fit(1.0, 1.0)]),
            (&["here"], "", [fit(0.0, 0.0), fit(0.0, 0.0)]),
        ] {
            assert_eq!(both(right, answer), expected, "{right:?}, {answer:?}");
        }
    }

    #[test]
    fn the_threshold_that_scores_best() {
        let question = |exact: f64, has_answer, null_score| Scored {
            fit: Fit { exact, f1: exact },
            has_answer,
            answered: true,
            null_score,
        };
        // Answering up to 0.3 gains two questions; beyond it every step loses one.
        let questions = [
            question(1.0, true, 0.1),
            question(0.0, false, 0.4),
            question(1.0, true, 0.3),
            question(0.0, false, 0.9),
            question(0.0, true, 0.2),
        ];
        let (score, threshold) = best_threshold(&questions, |fit| fit.exact);
        assert_eq!((score, threshold), (80.0, 0.3));
        let figures = version2(&with_threshold(&questions, threshold));
        assert_eq!(figures.exact, score);
        assert_eq!(figures.answerable.map(|part| (part.exact, part.total)), Some((100.0 * 2.0 / 3.0, 3)));
        assert_eq!(figures.unanswerable.map(|part| (part.exact, part.total)), Some((100.0, 2)));
        // Where nothing can be gained, nothing is answered: the official program then says 0.
        assert_eq!(best_threshold(&questions[3..4], |fit| fit.exact), (100.0, 0.0));
    }
}
