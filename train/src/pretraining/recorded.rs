//! Samples that somebody made before: the TFRecord files of the reference's `create_pretraining_data`, cut and masked
//! already. Every record is checked when its file is opened, and read where it lies when its turn comes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use model::wire::checksum;
use model::wire::example::{Feature, features};
use model::wire::tfrecord::Records;

use super::example::Example;
use super::masking::Masking;
use super::sampler::{Epoch, Origin};
use crate::data::{DataError, Selection};
use crate::tokenizer::SpecialTokens;
use crate::visible::shown;

/// Bytes of a record before its content, and after it.
const FRAME: [usize; 2] = [12, 4];

/// What a record must fit.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Pieces of the vocabulary.
    pub vocabulary_size: usize,
    /// Most tokens of a sample.
    pub length: usize,
    /// Most masked tokens of a sample.
    pub predictions: usize,
}

/// The samples of some files.
#[derive(Debug)]
pub struct Recorded {
    files: Vec<Mmap>,
    /// Of each sample its file, and where its content begins and ends.
    places: Vec<(u32, usize, usize)>,
    seed: u64,
    special: SpecialTokens,
}

/// Whether a file begins as a TFRecord file does: with a length and the right checksum of it.
pub fn is_recorded(path: &Path) -> bool {
    if !path.is_file() {
        return false; // what is read from a pipe is gone from it
    }
    let mut head = [0; 12];
    let read = File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut head));
    read.is_ok() && checksum::of(&head[..8]).to_le_bytes() == head[8..]
}

impl Recorded {
    /// The selected samples of `files`, of which every `every`-th may be held out, and a hash of all of them.
    ///
    /// # Errors
    /// If a file is damaged, a record is no sample of the reference's or does not fit, or none is selected.
    pub fn open(
        paths: &[PathBuf],
        selection: Selection,
        limits: Limits,
        special: SpecialTokens,
        seed: u64,
    ) -> Result<(Self, blake3::Hash), DataError> {
        let (mut files, mut places, mut hasher) = (Vec::new(), Vec::new(), blake3::Hasher::new());
        let mut number = 0;
        for path in paths {
            let file = File::open(path).map_err(DataError::io("read", path))?;
            // SAFETY: the file is read only; that nobody changes it meanwhile is what every reader of a file relies on.
            let map = unsafe { Mmap::map(&file) }.map_err(DataError::io("map", path))?;
            let mut at = 0;
            for (record, content) in Records::new(&map[..]).enumerate() {
                let refuse =
                    |problem: String| DataError::Record { path: path.clone(), record: record + 1, problem };
                let content = content
                    .map_err(|error| DataError::Records { path: path.clone(), problem: error.to_string() })?;
                sample(&content, limits).map_err(refuse)?;
                hasher.update(&content);
                let start = at + FRAME[0];
                if selects(selection, number) {
                    places.push((files.len() as u32, start, start + content.len()));
                }
                (at, number) = (start + content.len() + FRAME[1], number + 1);
            }
            files.push(map);
        }
        if places.is_empty() {
            let what = paths.iter().map(|path| shown(path)).collect::<Vec<_>>().join(", ");
            return Err(DataError::EmptyText { what });
        }
        Ok((Self { files, places, seed, special }, hasher.finalize()))
    }

    /// The special tokens of its vocabulary.
    pub fn special(&self) -> SpecialTokens {
        self.special
    }

    /// The order of an epoch.
    pub fn epoch(&self, number: u32) -> Epoch {
        Epoch::plain(self.seed, number, self.places.len() as u64)
    }

    /// Sample `index` of an epoch.
    pub fn example(&self, epoch: &Epoch, index: u64) -> Example {
        let place = epoch.place(index);
        let (file, start, end) = self.places[place as usize];
        let any = Limits { vocabulary_size: usize::MAX, length: usize::MAX, predictions: usize::MAX };
        let example = sample(&self.files[file as usize][start..end], any);
        let mut example = example.expect("a record that was checked when its file was opened");
        example.origin.first_sentence = place;
        example
    }
}

/// Whether record `number` is selected.
fn selects(selection: Selection, number: usize) -> bool {
    match selection {
        Selection::Training { every } => number % every != every - 1,
        Selection::HeldOut { every } => number % every == every - 1,
        Selection::All | Selection::Before { .. } | Selection::From { .. } => true,
    }
}

/// A record as a sample. Masks that were written with weight 0 are padding.
fn sample(record: &[u8], limits: Limits) -> Result<Example, String> {
    let features = features(record).map_err(|error| format!("is no example: {error}"))?;
    let list = |name: &str| integers(&features, name);
    let mask = list("input_mask")?;
    let length = mask.iter().take_while(|&&real| real != 0).count();
    if length == 0 || mask[length..].iter().any(|&real| real != 0) {
        return Err("has tokens after padding, or none: input_mask must be ones and then zeros".into());
    }
    if length > limits.length {
        return Err(format!("has {length} tokens: give --max-seq-length {length} or more"));
    }
    let ids = |name: &str, list: &[i64]| -> Result<Vec<u32>, String> {
        let fits = |&id: &i64| u32::try_from(id).ok().filter(|&id| (id as usize) < limits.vocabulary_size);
        list.iter()
            .map(|id| {
                fits(id).ok_or_else(|| {
                    format!(
                        "has {id} in {name}, which the vocabulary of {} pieces has not",
                        limits.vocabulary_size
                    )
                })
            })
            .collect()
    };
    let at_least = |name: &str, list: &[i64]| {
        if list.len() < length { Err(format!("has only {} numbers in {name}", list.len())) } else { Ok(()) }
    };
    let (tokens, segments) = (list("input_ids")?, list("segment_ids")?);
    at_least("input_ids", tokens)?;
    at_least("segment_ids", segments)?;
    let second_segment = segments[..length].iter().take_while(|&&segment| segment == 0).count();
    if segments[second_segment..length].iter().any(|&segment| segment != 1) {
        return Err("has segments that are not zeros and then ones".into());
    }
    let (positions, labels) = (list("masked_lm_positions")?, list("masked_lm_ids")?);
    let Some(Feature::Reals(weights)) = features.get("masked_lm_weights") else {
        return Err("has no list of real numbers masked_lm_weights".into());
    };
    if positions.len() != labels.len() || positions.len() != weights.len() {
        return Err("has lists of masked tokens of different lengths".into());
    }
    let mut masked = Vec::new();
    for ((&position, &label), &weight) in positions.iter().zip(labels).zip(weights) {
        if weight != 0.0 {
            let place = u32::try_from(position).ok().filter(|&place| (place as usize) < length);
            masked
                .push((place.ok_or_else(|| format!("has a masked token at {position} of {length}"))?, label));
        }
    }
    if masked.len() > limits.predictions {
        return Err(format!(
            "has {} masked tokens, more than {} of {} tokens: give a larger --masked-lm-prob or --max-predictions-per-seq",
            masked.len(),
            limits.predictions,
            limits.length
        ));
    }
    masked.sort_unstable();
    let (positions, labels): (Vec<u32>, Vec<i64>) = masked.into_iter().unzip();
    let order = list("next_sentence_labels")?;
    let &[order @ (0 | 1)] = order else { return Err("has no label 0 or 1 in next_sentence_labels".into()) };
    Ok(Example {
        token_ids: ids("input_ids", &tokens[..length])?,
        second_segment,
        masking: Masking { positions, labels: ids("masked_lm_ids", &labels)?, spans: Vec::new() },
        sentence_order_label: order as u32,
        origin: Origin {
            document: 0,
            sentences: 0..0,
            first_sentence: 0,
            short: false,
            random_next: false,
            single_segment: false,
            truncated: 0,
        },
    })
}

/// A list of integers by name.
fn integers<'a>(features: &'a BTreeMap<String, Feature>, name: &str) -> Result<&'a [i64], String> {
    match features.get(name) {
        Some(Feature::Integers(list)) => Ok(list),
        _ => Err(format!("has no list of integers {name}: it is none of create_pretraining_data's")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIAL: SpecialTokens =
        SpecialTokens { pad: 0, unknown: 1, classification: 2, separator: 3, mask: 4 };

    fn golden() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tf_checkpoint/pretrain.tfrecord")
    }

    /// The recorded samples as they are written beside their file.
    fn written() -> Vec<serde_json::Value> {
        let json = std::fs::read_to_string(golden().with_extension("json")).unwrap();
        serde_json::from_str(&json).unwrap()
    }

    fn numbers(sample: &serde_json::Value, name: &str) -> Vec<u32> {
        sample[name].as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as u32).collect()
    }

    /// What the samples just fit: the largest id, the most tokens, the most masked ones.
    fn limits() -> Limits {
        let samples = written();
        let most = |of: &dyn Fn(&serde_json::Value) -> usize| samples.iter().map(of).max().unwrap();
        let count = |name: &'static str| {
            move |sample: &serde_json::Value| numbers(sample, name).iter().sum::<u32>() as usize
        };
        let largest = |sample: &serde_json::Value| {
            let ids = ["input_ids", "masked_lm_ids"].map(|name| numbers(sample, name));
            ids.concat().into_iter().max().unwrap() as usize
        };
        Limits {
            vocabulary_size: most(&largest) + 1,
            length: most(&count("input_mask")),
            predictions: most(&count("masked_lm_weights")),
        }
    }

    fn open(selection: Selection, limits: Limits) -> Result<(Recorded, blake3::Hash), DataError> {
        Recorded::open(&[golden()], selection, limits, SPECIAL, 5)
    }

    /// Each record once an epoch, in an order of its own, as it is written beside it.
    #[test]
    fn an_epoch_has_each_record_once() {
        let expected = written();
        let (recorded, _) = open(Selection::All, limits()).unwrap();
        let orders = [0, 1, 2, 3].map(|number| {
            let epoch = recorded.epoch(number);
            assert_eq!(epoch.samples(), expected.len() as u64);
            let mut seen: Vec<u64> = Vec::new();
            for index in 0..epoch.samples() {
                let example = recorded.example(&epoch, index);
                let record = &expected[example.origin.first_sentence as usize];
                seen.push(example.origin.first_sentence);
                let list = |name: &str| numbers(record, name);
                let length = list("input_mask").iter().sum::<u32>() as usize;
                assert_eq!(example.token_ids, list("input_ids")[..length]);
                let ones = list("segment_ids")[..length].iter().sum::<u32>() as usize;
                assert_eq!(example.second_segment, length - ones);
                let masked = list("masked_lm_weights").iter().sum::<u32>() as usize;
                assert_eq!(example.masking.positions, list("masked_lm_positions")[..masked]);
                assert_eq!(example.masking.labels, list("masked_lm_ids")[..masked]);
                assert_eq!(vec![example.sentence_order_label], list("next_sentence_labels"));
            }
            seen
        });
        assert!(orders.iter().any(|order| *order != orders[0]));
        for mut order in orders {
            order.sort_unstable();
            assert!(order.into_iter().eq(0..expected.len() as u64));
        }
    }

    #[test]
    fn what_is_held_out_is_not_learnt_from() {
        let samples = |selection| open(selection, limits()).unwrap().0.places;
        let every = written().len().min(5);
        let [all, training, held_out] =
            [Selection::All, Selection::Training { every }, Selection::HeldOut { every }].map(samples);
        assert_eq!(held_out.len(), all.len() / every);
        assert_eq!(training.len() + held_out.len(), all.len());
        assert!(held_out.iter().all(|place| !training.contains(place)));
    }

    #[test]
    #[cfg(unix)]
    fn nothing_is_taken_from_a_pipe() {
        use std::io::{Read, Write};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        // Open at both ends, so that neither is waited for.
        let mut pipe = File::options().read(true).write(true).open(&path).unwrap();
        pipe.write_all(b"a text of so many bytes").unwrap();
        assert!(!is_recorded(&path));
        let mut text = [0; 64];
        let length = pipe.read(&mut text).unwrap();
        assert_eq!(&text[..length], b"a text of so many bytes");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = |limits| open(Selection::All, limits).unwrap_err().to_string();
        let fits = limits();
        assert!(error(Limits { length: fits.length - 1, ..fits }).contains("--max-seq-length"));
        let fewer = Limits { predictions: fits.predictions - 1, ..fits };
        assert!(error(fewer).contains("--max-predictions-per-seq"));
        // As many pieces as the largest id of the first sample has before it.
        let vocabulary_size = numbers(&written()[0], "input_ids").into_iter().max().unwrap() as usize;
        let small = error(Limits { vocabulary_size, ..fits });
        let pieces = format!("{vocabulary_size} pieces");
        assert!(small.contains("pretrain.tfrecord: record 1 ") && small.contains(&pieces), "{small}");
        assert!(is_recorded(&golden()) && !is_recorded(&golden().with_extension("json")));
    }
}
