//! Real text through the whole data path: shards, samples, masks.

#![allow(clippy::unwrap_used)] // a panic is how a test fails, in its helper functions too

#[path = "support/data_folder.rs"]
mod data_folder;
#[path = "support/peak_memory.rs"]
mod peak_memory;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use data_folder::data;
use peak_memory::peak_memory;
use train::data::{Corpus, DataError, Format, Manifest, Preparation, Selection};
use train::pretraining::{Dataset, MaskingOptions, SampleOptions, Statistics, WordStarts};
use train::stories::{Split, story};
use train::tokenizer::{LoadOptions, Tokenizer, TrainOptions};

fn prepare(sources: &[PathBuf], tokenizer: &Tokenizer, folder: &Path) -> Result<Manifest, DataError> {
    let reading = Format::Sentences.into();
    Preparation { sources, reading, tokenizer, trained: None, folder, progress: &|_| () }
        .run()
        .map(|done| done.manifest)
}

/// Wikipedia articles under the released vocabulary.
#[test]
fn real_text_becomes_small_shards_in_little_memory() {
    let (Some(model), Some(text)) = (data("vocab/30k-clean.model"), data("text/wiki.txt")) else { return };
    let tokenizer = Tokenizer::load(&model, &LoadOptions::default()).unwrap();
    text_becomes_small_shards_in_little_memory(text, &tokenizer, (442, 91_312), 0.039..0.06);
}

/// The built-in stories under a vocabulary of their own, for machines without the data.
#[test]
fn stories_become_small_shards_in_little_memory() {
    const STORIES: u64 = 20_000;
    let stories: Vec<Vec<String>> = (0..STORIES).map(|index| story(0, Split::Training, index)).collect();
    let options = TrainOptions { vocabulary_size: 3000, ..TrainOptions::default() };
    let tokenizer = Tokenizer::train(stories[..2000].iter().flatten(), &options).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("stories.txt");
    std::fs::write(&text, stories.iter().map(|story| story.join("\n") + "\n\n").collect::<String>()).unwrap();
    let sentences = stories.iter().map(|story| story.len() as u64).sum();
    text_becomes_small_shards_in_little_memory(text, &tokenizer, (STORIES, sentences), 0.11..0.15);
}

/// What is written, how much memory it takes, and what samples of it look like. Memory depends on the number of cores
/// alone, so that any text stands for a larger one.
fn text_becomes_small_shards_in_little_memory(
    text: PathBuf,
    tokenizer: &Tokenizer,
    expected: (u64, u64),
    rate: Range<f64>,
) {
    let input = std::fs::metadata(&text).unwrap().len();
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let manifest = prepare(&[text], tokenizer, folder.path()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let output: u64 = manifest.shards.iter().map(|shard| shard.bytes).sum();
    println!("{}", manifest.summary());
    println!(
        "{:.1} MB/s, output {:.3} of the input",
        input as f64 / 1e6 / seconds,
        output as f64 / input as f64
    );
    assert_eq!((manifest.counts.documents, manifest.counts.sentences), expected);
    assert!(output * 10 <= input * 6, "{output} of {input} bytes");
    assert!(peak_memory("self").is_none_or(|bytes| bytes < 1 << 30), "{:?}", peak_memory("self"));
    assert!(manifest.counts.unknown * 100 < manifest.counts.tokens, "{:?}", manifest.counts);

    let corpus = Arc::new(Corpus::open(folder.path()).unwrap());
    let words = WordStarts::new(tokenizer.vocabulary_size(), |id| tokenizer.starts_word(id));
    let (samples, masking) = (SampleOptions::default(), MaskingOptions::default());
    let dataset = Dataset::new(corpus, words, Selection::All, samples, masking, 12345).unwrap();
    let epoch = dataset.epoch(0);
    let statistics = Statistics::collect(&dataset, &epoch, u64::MAX);
    println!("{statistics}");
    assert_eq!(statistics.samples, epoch.samples());
    // Of 512 tokens 20 may be predicted; short samples have a higher share, up to 15%.
    assert!(rate.contains(&statistics.mask_rate()), "{}", statistics.mask_rate());
    assert!(statistics.swapped.abs_diff(statistics.samples / 2) < 3 * statistics.samples.isqrt());
    let ngrams = statistics.ngram_shares();
    assert!(ngrams[0] > ngrams[1] && ngrams[1] > ngrams[2] && ngrams[3] == 0.0, "{ngrams:?}");
}

#[test]
fn a_vocabulary_past_sixteen_bits_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let vocabulary = folder.path().join("vocab.txt");
    let words: String = (0..70_000).map(|n| format!("w{n}\n")).collect();
    std::fs::write(&vocabulary, format!("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n{words}")).unwrap();
    let error = Tokenizer::load(&vocabulary, &LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("vocab.txt") && error.contains("at most 65536"), "{error}");
}
