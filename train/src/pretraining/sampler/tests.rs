use super::*;
use crate::pretraining::synthetic::{Shape, samples, words};

fn sampler(shape: &Shape, options: SampleOptions, seed: u64) -> Sampler {
    Sampler::new(shape.corpus(), words(), Selection::All, options, seed).unwrap()
}

fn pairs(sampler: &Sampler, epoch: u32) -> Vec<Pair<'_>> {
    let epoch = sampler.epoch(epoch);
    (0..epoch.samples()).map(|index| sampler.pair(&epoch, index)).collect()
}

/// The sentences used, as (document, sentence), in order.
fn used(pairs: &[Pair<'_>]) -> Vec<(usize, usize)> {
    let sentences = |pair: &Pair<'_>| {
        let document = pair.origin.document;
        pair.origin.sentences.clone().map(move |sentence| (document, sentence))
    };
    let mut all: Vec<_> = pairs.iter().flat_map(sentences).collect();
    all.sort_unstable();
    all
}

fn all_sentences(corpus: &Corpus) -> Vec<(usize, usize)> {
    (0..corpus.documents()).flat_map(|d| (0..corpus.document(d).0.sentences()).map(move |s| (d, s))).collect()
}

#[test]
fn every_sentence_is_used_once_an_epoch() {
    for random_next_sentence in [false, true] {
        let options = SampleOptions {
            short_seq_prob: 0.5,
            single_segment: SingleSegment::Random,
            random_next_sentence,
            ..samples(40)
        };
        let sampler = sampler(&Shape::default(), options, 3);
        for epoch in 0..4 {
            assert_eq!(used(&pairs(&sampler, epoch)), all_sentences(sampler.corpus()), "epoch {epoch}");
        }
    }
}

/// Chunks reach the target and no further than the sentence that crosses it, but for the last of a document.
#[test]
fn chunks_are_as_long_as_they_should_be() {
    let options = SampleOptions { short_seq_prob: 0.0, ..samples(40) };
    let sampler = sampler(&Shape::default(), options, 3);
    for Pair { origin, .. } in pairs(&sampler, 0) {
        let (document, _) = sampler.corpus().document(origin.document);
        let Range { start, end } = origin.sentences;
        assert!(document.length(start..end) >= 37 || end == document.sentences());
        assert!(end == start + 1 || document.length(start..end - 1) < 37);
        assert!(!origin.short);
    }
}

#[test]
fn pairs_are_the_text_in_its_order_or_swapped() {
    let sampler = sampler(&Shape::default(), samples(40), 5);
    let pairs = pairs(&sampler, 0);
    let mut whole = 0;
    for Pair { first, second, label, origin } in &pairs {
        assert!(!first.is_empty() && !second.is_empty());
        let (document, _) = sampler.corpus().document(origin.document);
        let text = document.tokens(origin.sentences.clone());
        assert_eq!(first.len() + second.len() + origin.truncated, text.len());
        assert!(first.len() + second.len() <= 37);
        if origin.truncated == 0 {
            let (earlier, later) = if *label == 1 { (second, first) } else { (first, second) };
            assert_eq!([*earlier, *later].concat(), text);
            whole += 1;
        } else {
            assert_eq!(first.len() + second.len(), 37);
        }
    }
    assert!(whole > 20 && whole < pairs.len(), "both kinds occur: {whole} of {}", pairs.len());
}

#[test]
fn single_sentences_are_treated_as_asked() {
    let shape = Shape { sentences: 1..=2, ..Shape::default() };
    let with = |single_segment| sampler(&shape, SampleOptions { single_segment, ..samples(64) }, 5);
    let (split, skip, random) =
        (with(SingleSegment::Split), with(SingleSegment::Skip), with(SingleSegment::Random));
    let single = |pairs: &[Pair<'_>]| pairs.iter().filter(|pair| pair.origin.single_segment).count();
    assert_eq!(single(&pairs(&skip, 0)), 0);
    assert!(pairs(&skip, 0).len() < pairs(&split, 0).len());
    for pair in pairs(&random, 0).iter().filter(|pair| pair.origin.single_segment) {
        assert!(pair.origin.random_next && pair.label == 1);
    }
    let split = pairs(&split, 0);
    assert!(single(&split) > 10 && split.iter().all(|pair| !pair.origin.random_next));
    for Pair { first, second, label, .. } in split.iter().filter(|pair| pair.origin.single_segment) {
        let later = if *label == 1 { first } else { second };
        let earlier = if *label == 1 { second } else { first };
        let inside = earlier[1..].iter().chain(&later[1..]).any(|&id| words().contains(id.into()));
        assert!(words().contains(later[0].into()) || !inside, "divided inside a word though it has several");
    }
    // A corpus of nothing but single tokens has no pair at all.
    let shape = Shape { sentences: 1..=1, tokens: 1..=1, ..Shape::default() };
    let of = |selection| {
        let error = Sampler::new(shape.corpus(), words(), selection, samples(64), 0).unwrap_err();
        assert!(matches!(error, DataError::NothingToSample { .. }));
        error.to_string()
    };
    assert!(of(Selection::All).ends_with(": no sentence has two tokens"));
    for held_out in [Selection::HeldOut { every: 2 }, Selection::From { sentence: 1 }] {
        assert!(
            of(held_out).contains("of what is held out of it") && of(held_out).contains("held_out_every")
        );
    }
}

/// Passes are short, labels swapped and lengths drawn with the right probabilities.
#[test]
fn coins_fall_as_often_as_they_should() {
    let shape = Shape { documents: 400, sentences: 30..=30, tokens: 5..=5, shard: 64 };
    let sampler = sampler(&shape, samples(153), 1);
    let (mut passes, mut short, mut samples, mut swapped, mut first_of_thirty) = (0, 0, 0, 0, 0);
    for epoch in 0..50 {
        for pair in pairs(&sampler, epoch) {
            samples += 1;
            swapped += pair.label;
            if pair.origin.sentences.start == 0 {
                passes += 1;
                short += u32::from(pair.origin.short);
            }
            if pair.origin.sentences.len() == 30 {
                let earlier = if pair.label == 1 { pair.second } else { pair.first };
                first_of_thirty += earlier.len() as u32 / 5;
            }
        }
    }
    assert_eq!(passes, 20_000);
    // Six standard deviations: sqrt(20000 · 0.1 · 0.9) = 42, sqrt(n) / 2 of the labels.
    assert!(short.abs_diff(2_000) < 6 * 42, "{short}");
    assert!(
        f64::from(swapped.abs_diff(samples / 2)) < 3.0 * f64::from(samples).sqrt(),
        "{swapped} of {samples}"
    );
    // At least the 18000 full passes divide 30 sentences after one of 1 to 29: mean 15, standard deviation 8.4.
    let mean = f64::from(first_of_thirty) / 18_000.0;
    assert!((14.5..16.0).contains(&mean), "{mean}");
}

#[test]
fn any_sample_is_the_same_at_any_time_and_thread_count() {
    let sampler = sampler(&Shape::default(), samples(40), 5);
    let all = pairs(&sampler, 2);
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let epoch = one.install(|| sampler.epoch(2));
    assert_eq!(epoch.samples(), all.len() as u64);
    for index in (0..epoch.samples()).rev() {
        assert_eq!(sampler.pair(&epoch, index), all[index as usize]);
    }
    assert_ne!(pairs(&sampler, 3)[..20], all[..20], "epochs differ");
}

#[test]
fn truncation_takes_from_the_longer_at_both_ends() {
    let ids: Vec<u16> = (0..100).collect();
    let (mut front, mut back) = (0, 0);
    for index in 0..1000 {
        let mut draws = Draws::new(1, Purpose::Pair, 0, index);
        let (first, second) = truncate(&ids[..30], &ids[30..100], 50, &mut draws);
        assert_eq!((first.len(), second.len()), (25, 25), "the longer one loses until both are equal");
        front += u32::from(first[0]) + u32::from(second[0]) - 30;
        back += 29 - u32::from(first[24]) + 99 - u32::from(second[24]);
    }
    assert_eq!(front + back, 50_000);
    assert!(front.abs_diff(25_000) < 6 * 112, "{front}");
}

#[test]
fn impossible_options_are_refused() {
    let refused = |options: SampleOptions| {
        Sampler::new(Shape::default().corpus(), words(), Selection::All, options, 0).unwrap_err().to_string()
    };
    assert!(refused(samples(4)).starts_with("max_seq_length = 4"));
    assert!(
        refused(SampleOptions { short_seq_prob: f64::NAN, ..samples(9) }).starts_with("short_seq_prob = NaN")
    );
}

/// Half of the chunks keep a random first part of their sentences, whose rest is walked over again. With E(1) = 1 and
/// E(n) = 1 + the mean of E(1) … E(n−1) / 2 a document of four has 1.6875 chunks, and likewise 0.3125 of a single sentence.
#[test]
fn single_sentences_are_counted_as_they_are_cut() {
    let shape = Shape { documents: 2000, sentences: 4..=4, tokens: 5..=5, shard: 64 };
    let options = SampleOptions { short_seq_prob: 0.0, random_next_sentence: true, ..samples(64) };
    let sampler = sampler(&shape, options, 5);
    let pairs = pairs(&sampler, 0);
    let single = pairs.iter().filter(|pair| pair.origin.single_segment).count();
    // Six standard deviations of a sum over 2000 documents, each at most 4 chunks: sd below 1 a document.
    let near = |found: usize, mean: f64| (found as f64 - 2000.0 * mean).abs() < 6.0 * 45.0;
    assert!(near(pairs.len(), 1.6875) && near(single, 0.3125), "{single} of {}", pairs.len());
}
