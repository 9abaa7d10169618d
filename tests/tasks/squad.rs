//! SQuAD: questions, and the official files of answers.

use train::finetuning::squad::Version::{self, One, Two};
use train::finetuning::squad::official::{OFFICIAL_THRESHOLD, evaluate};
use train::finetuning::{Answer, Candidate, FeatureTarget, Limits, Split, Target, Task, features, task};
use train::tables::InputError;
use train::tokenizer::{Tokenizer, TrainOptions};

use crate::write;

pub const SQUAD: &str = r#"{"version": "v2.0", "data": [{"title": "T", "paragraphs": [
{"context": "Zoë's boat sank in 1912 — off Crete.", "qas": [
{"id": "q1", "question": "When?", "answers": [{"text": "1912", "answer_start": 19}], "is_impossible": false},
{"id": "q2", "question": "Who sank it?", "answers": [], "is_impossible": true},
{"id": "q3", "question": "Where?", "answers": [{"text": "off Crete", "answer_start": 26}], "is_impossible": false}]}]}]}"#;

fn squad_error(task: &dyn Task, content: &str, split: Split) -> String {
    let folder = tempfile::tempdir().unwrap();
    task.read(&write(folder.path(), "q.json", content), split)
        .map(|_| ())
        .map_err(|e: InputError| e.to_string())
        .unwrap_err()
}

#[test]
fn questions_are_read_and_bad_ones_refused() {
    let squad = task("squad-2.0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let read = squad.read(&write(folder.path(), "q.json", SQUAD), Split::Train).unwrap();
    let gold: Vec<Vec<(String, Option<usize>)>> = (read.examples.iter())
        .map(|example| match &example.target {
            Some(Target::Answers(gold)) => gold.iter().map(|gold| (gold.text.clone(), gold.start)).collect(),
            other => panic!("{other:?}"),
        })
        .collect();
    // In bytes: two characters before take more than one.
    assert_eq!(gold, [vec![("1912".to_owned(), Some(20))], vec![], vec![("off Crete".to_owned(), Some(29))]]);
    for (content, expected) in [
        (
            SQUAD.replace(": 26", ": 27"),
            "q.json:5: question \"q3\": the answer \"off Crete\" does not stand at character 27",
        ),
        (SQUAD.replace(": 26", ": 2600"), "q.json:5: question \"q3\": the answer"),
        (
            SQUAD.replace(", \"is_impossible\": true", ""),
            "q.json:4: question \"q2\": it has no answer to learn from",
        ),
        (SQUAD[..200].to_owned(), "not a file of questions"),
        (SQUAD.replace("\"id\": \"q2\", ", ""), "q.json:4: not a file of questions as SQuAD's are (column"),
        ("{\"data\": []}".to_owned(), "the file has no question"),
    ] {
        let error = squad_error(&*squad, &content, Split::Train);
        assert!(error.contains(expected) && error.contains("; "), "{error}");
    }
    let error = squad_error(&*squad, &SQUAD[..200], Split::Train);
    assert!(error.contains("the file ends too early"), "{error}");
    for split in [Split::Train, Split::Dev, Split::Test] {
        let error = squad_error(&*task("squad-1.1").unwrap(), SQUAD, split);
        assert!(error.contains("1 of 3 questions have no answer; that is SQuAD 2.0"), "{split:?}: {error}");
    }
    // Where answers are kept back, nothing says that there are none.
    let kept_back = r#"{"data": [{"paragraphs": [{"context": "A boat sank.", "qas": [
{"id": "q", "question": "What sank?", "answers": [], "is_impossible": false}]}]}]}"#;
    let one = task("squad-1.1").unwrap();
    let read = one.read(&write(folder.path(), "kept.json", kept_back), Split::Test).unwrap();
    assert!(read.examples[0].target.is_none());
    let error = squad_error(&*one, kept_back, Split::Dev);
    assert!(error.contains("1 of 1 questions have no answer"), "{error}");
    // What is only to be scored needs no places.
    let read =
        squad.read(&write(folder.path(), "q.json", &SQUAD.replace(": 26", ": 27")), Split::Dev).unwrap();
    assert!(read.files[0].remarks[0].contains("1 answers do not stand at their answer_start"));
    // Nor does anything else take a wrong place for the answer's.
    let options = TrainOptions { vocabulary_size: 60, ..TrainOptions::default() };
    let tokenizer =
        Tokenizer::train(["Zoë's boat sank in 1912 — off Crete. When? Who sank it? Where?"], &options);
    let features =
        features::build(&*squad, &read.examples, &tokenizer.unwrap(), &Limits::new(128), &|| false).unwrap();
    let targets: Vec<_> = features.iter().map(|feature| feature.target.as_ref()).collect();
    let [Some(FeatureTarget::Span { start, .. }), Some(nothing), None] = targets[..] else {
        panic!("{targets:?}")
    };
    assert!(*start > 0 && *nothing == FeatureTarget::Span { start: 0, end: 0 }, "{targets:?}");
}

#[test]
fn answers_become_official_files() {
    let folder = tempfile::tempdir().unwrap();
    let squad = task("squad-2.0").unwrap();
    let read = squad.read(&write(folder.path(), "q.json", SQUAD), Split::Dev).unwrap();
    let candidate = |text: &str, start: f32| Candidate { text: text.to_owned(), start, end: 0.0 };
    let answers = [
        Answer::Spans { best: vec![candidate("1912", -0.5), candidate("in 1912", -1.5)], null: -3.0 },
        Answer::Spans { best: vec![candidate("Zoë", -0.5)], null: 2.0 },
        Answer::Spans { best: vec![candidate("Crete", -0.5)], null: -1.0 },
    ];
    let figures = squad.score(&read.examples, &answers);
    let figure = |name: &str| figures.iter().find(|(known, _)| known == name).unwrap().1;
    // F1 of "Crete" for "off Crete" is 2/3; the threshold that is found leaves q2 unanswered and answers the one it lies at.
    assert!((figure("f1") - 100.0 * (2.0 + 2.0 / 3.0) / 3.0).abs() < 1e-9, "{figures:?}");
    assert!((figure("NoAns_f1") - 100.0).abs() < 1e-9);
    assert_eq!(
        figure("null_score_diff_threshold"),
        -1.0,
        "it is told, to be used where answers are not known"
    );
    let files = squad.write(&read.examples, &answers, Split::Dev, folder.path()).unwrap();
    let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["predictions.json", "nbest_predictions.json", "null_odds.json"]);
    let text = |at: usize| std::fs::read_to_string(&files[at]).unwrap();
    assert_eq!(text(0), "{\n    \"q1\": \"1912\",\n    \"q2\": \"\",\n    \"q3\": \"Crete\"\n}\n");
    let nbest: serde_json::Value = serde_json::from_str(&text(1)).unwrap();
    let (first, second) = (&nbest["q1"][0], &nbest["q1"][1]);
    assert_eq!((first["text"].as_str(), first["start_log_prob"].as_f64()), (Some("1912"), Some(-0.5)));
    let probability = |entry: &serde_json::Value| entry["probability"].as_f64().unwrap();
    assert!((probability(first) / probability(second) - 1f64.exp()).abs() < 1e-9);
    assert!((probability(first) + probability(second) - 1.0).abs() < 1e-9);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text(2)).unwrap()["q2"], 2.0);
    // Where nothing can be an answer, that is the one candidate.
    let silent = vec![Answer::Spans { best: Vec::new(), null: 0.0 }; 3];
    for (name, score) in [("squad-1.1", 0.0), ("squad-2.0", -1e6)] {
        let files = task(name).unwrap().write(&read.examples, &silent, Split::Dev, folder.path()).unwrap();
        let nbest = std::fs::read_to_string(&files[1]).unwrap();
        let nbest: serde_json::Value = serde_json::from_str(&nbest).unwrap();
        let nothing = serde_json::json!([
            { "text": "", "probability": 1.0, "start_log_prob": score, "end_log_prob": score }
        ]);
        assert_eq!(nbest, serde_json::json!({ "q1": nothing, "q2": nothing, "q3": nothing }), "{name}");
    }
}

/// Whether a question has an answer the official program of version 2.0 tells by its answers alone, and it knows a question by
/// its id.
#[test]
fn odd_questions_count_as_in_the_official_program() {
    let folder = tempfile::tempdir().unwrap();
    let squad = task("squad-2.0").unwrap();
    let targets = |content: &str, split| {
        let read = squad.read(&write(folder.path(), "q.json", content), split).unwrap();
        let answers = |target: Option<Target>| match target {
            Some(Target::Answers(gold)) => Some(gold.len()),
            _ => None,
        };
        let remarks = read.files[0].remarks.join("; ");
        (read.examples.into_iter().map(|example| answers(example.target)).collect::<Vec<_>>(), remarks)
    };
    let figures = |version: Option<Version>, content: &str, predictions: &str| {
        let questions = write(folder.path(), "q.json", content);
        let predictions = write(folder.path(), "p.json", predictions);
        let found = evaluate(version, &questions, &predictions, None, OFFICIAL_THRESHOLD);
        found.map(|found| serde_json::to_value(found.figures).unwrap()).map_err(|error| error.to_string())
    };
    // Plausible answers in the place of answers.
    let plausible = SQUAD.replace(
        "\"answers\": [], \"is_impossible\": true",
        "\"answers\": [{\"text\": \"boat\", \"answer_start\": 6}], \"is_impossible\": true",
    );
    let (learnt, remarks) = targets(&plausible, Split::Train);
    assert_eq!(learnt, [Some(1), Some(0), Some(1)]);
    assert!(
        remarks.contains("1 questions have answers and are said to have none: they are learnt"),
        "{remarks}"
    );
    assert_eq!(targets(&plausible, Split::Dev).0, [Some(1); 3]);
    let answers = "{\"q1\": \"1912\", \"q2\": \"boat\", \"q3\": \"\"}";
    let found = figures(None, &plausible, answers).unwrap();
    assert_eq!((found["HasAns_total"].as_u64(), found["exact"].as_f64()), (Some(3), Some(100.0 * 2.0 / 3.0)));
    // Nothing but the answers says it.
    let plain = SQUAD.replace(", \"is_impossible\": true", "").replace(", \"is_impossible\": false", "");
    assert_eq!(targets(&plain, Split::Dev).0, [Some(1), Some(0), Some(1)]);
    assert_eq!(targets(&plain, Split::Test).0, [Some(1), None, Some(1)]);
    let found = figures(Some(Two), &plain, &answers.replace("boat", "")).unwrap();
    assert_eq!((found["NoAns_total"].as_u64(), found["NoAns_exact"].as_f64()), (Some(1), Some(100.0)));
    let error = figures(None, &plain, answers).unwrap_err();
    assert!(
        error.contains("question \"q2\" has no answers to compare with") && error.contains("--version 2.0"),
        "{error}"
    );
    // What is asked for counts for more than what the file says; but in version 1.1 every question has an answer.
    let answered = plausible.replace("true", "false");
    let keys = |version| {
        let found = figures(version, &answered, answers).unwrap();
        found.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(keys(Some(One)), ["exact_match", "f1"]);
    assert_eq!(keys(None), ["HasAns_exact", "HasAns_f1", "HasAns_total", "exact", "f1", "total"]);
    let error = figures(Some(One), SQUAD, answers).unwrap_err();
    assert!(
        error.contains("question \"q2\" has no answers to compare with") && error.contains("--version 2.0"),
        "{error}"
    );
    // Predictions of two questions with one id are one.
    let twice = SQUAD.replace("\"q3\"", "\"q1\"");
    assert_eq!(targets(&twice, Split::Train).0.len(), 3);
    let error = squad_error(&*squad, &twice, Split::Test);
    assert!(error.contains("q.json:5: question \"q1\": another question has this id"), "{error}");
    let found = figures(None, &twice, "{\"q1\": \"off Crete\", \"q2\": \"\"}").unwrap();
    assert_eq!((found["total"].as_u64(), found["exact"].as_f64()), (Some(2), Some(100.0)));
    // An empty text stands everywhere, and nothing can be learnt of it.
    for text in ["", " "] {
        let empty =
            SQUAD.replace("\"1912\", \"answer_start\": 19", &format!("\"{text}\", \"answer_start\": 5"));
        let error = squad_error(&*squad, &empty, Split::Train);
        assert!(error.contains("q.json:3: question \"q1\": the answer to learn is empty; "), "{error}");
    }
}
