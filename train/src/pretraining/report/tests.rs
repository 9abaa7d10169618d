use super::*;
use crate::data::shards::{Preparation, Prepared};
use crate::data::text::Reading;
use crate::tokenizer::TrainOptions;

/// The report of a text with a vocabulary of its own, or of other words.
fn report(text: &str, vocabulary_of: Option<&str>, reading: Reading) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("text.txt");
    fs::write(&source, text).unwrap();
    let options = TrainOptions { vocabulary_size: 100, ..TrainOptions::default() };
    let tokenizer = Tokenizer::train(vocabulary_of.unwrap_or(text).lines(), &options).unwrap();
    let shards = folder.path().join("shards");
    let preparation = Preparation {
        sources: &[source],
        reading,
        tokenizer: &tokenizer,
        trained: None,
        folder: &shards,
        progress: &|_| (),
    };
    let Prepared { manifest, .. } = preparation.run().unwrap();
    let corpus = Arc::new(Corpus::open(&shards).unwrap());
    let report = Report::of(&corpus, &manifest, &tokenizer);
    report.write(&shards).unwrap();
    assert_eq!(Report::read(&shards).as_ref(), Some(&report));
    report
}

fn sentence(n: usize) -> String {
    const THINGS: [&str; 7] = ["ships", "rivers", "kings", "towns", "birds", "roads", "songs"];
    format!(
        "Sentence number {n} speaks of {} and of {} only, as everybody who reads it can see at once.",
        THINGS[n % 7],
        THINGS[n / 7 % 7]
    )
}

/// Units of this many sentences, with something between them.
fn text(units: usize, sentences: usize, between: &str, after: &str) -> String {
    let unit =
        |u: usize| (0..sentences).map(|s| sentence(u * sentences + s)).collect::<Vec<_>>().join(between);
    (0..units).map(|u| unit(u) + after).collect()
}

#[test]
fn a_sound_text_has_no_warnings() {
    let report = report(&text(30, 8, "\n", "\n\n"), None, Reading::default());
    assert_eq!((report.documents, report.sentences), (30, 240));
    assert_eq!(report.scripts, [("Latin".to_owned(), 1.0)]);
    assert_eq!(report.document_sentences, Spread { median: 8, most: 8, largest: 8 });
    assert_eq!((report.unknown, report.repeated_documents), (0.0, 0.0));
    assert!(report.warnings.is_empty(), "{report}");
    assert!(report.to_string().contains("nothing looks wrong"));
}

#[test]
fn what_looks_wrong_is_said_with_what_mends_it() {
    let expect = |report: Report, parts: &[&str]| {
        let words = report.to_string();
        assert!(parts.iter().all(|part| words.contains(part)), "{parts:?}: {words}");
    };
    let prose = Reading::from(Format::Prose);
    let articles = report(&text(8, 40, " ", "\n"), None, Reading::default());
    expect(
        articles,
        &["one article a line (8 lines of about", "sed 'G;G'", "--format prose", "% at --max-seq-length 512"],
    );
    let paragraphs = text(15, 30, " ", "\n\n");
    let report_of = |reading| report(&paragraphs, None, reading);
    expect(
        report_of(Reading::default()),
        &["several sentences", "--format prose", "% at --max-seq-length 128"],
    );
    assert!(report_of(prose).warnings.is_empty(), "{}", report_of(prose));
    let sound = text(30, 8, "\n", "\n\n");
    expect(
        report(&sound, Some("работать работник писатель"), Reading::default()),
        &["of the tokens are unknown", "without --tokenizer"],
    );
    expect(
        report(&sound.repeat(2), None, Reading::default()),
        &["50.0% of the documents repeat", "--held-out"],
    );
    let skipping = Reading { skip_bad_lines: true, ..Reading::default() };
    let damaged = |lines: usize| report(&("a\0b\n".repeat(lines) + &sound), Some(&sound), skipping);
    expect(
        damaged(5),
        &["5 lines cannot be read and are left out, beside 240 sentences", "--skip-bad-lines"],
    );
    assert!(damaged(2).warnings.is_empty(), "of some few it is enough to be counted");
}

#[test]
fn many_files_of_a_document_each_are_as_they_should_be() {
    let sound = report(&text(30, 8, "\n", "\n\n"), None, Reading::default());
    let of_files = |files| Report { files, documents: files, sentences: 6000, ..sound.clone() };
    assert_eq!(verdict::warnings(&of_files(2000), false), [""; 0]);
    assert!(verdict::warnings(&of_files(2), false)[0].starts_with("there is no blank line"));
}

#[test]
fn text_of_two_corpora_is_compared() {
    let tokenizer = Tokenizer::train(
        text(9, 9, " ", "\n").lines(),
        &TrainOptions { vocabulary_size: 100, ..TrainOptions::default() },
    )
    .unwrap();
    let corpus = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        Corpus::of_text(&[file.path().into()], Reading::default(), &tokenizer).unwrap()
    };
    let training = corpus(&text(20, 5, "\n", "\n\n"));
    assert_eq!(share_repeated_in(&corpus(&text(2, 5, "\n", "\n\n")), &training), 1.0);
    let other = text(2, 5, "\n", "\n\n").replace("only", "alone");
    assert_eq!(share_repeated_in(&corpus(&other), &training), 0.0);
    let half = share_repeated_in(&corpus(&(text(2, 5, "\n", "\n") + &other)), &training);
    assert!((half - 0.5).abs() < 0.1, "{half}");
}
