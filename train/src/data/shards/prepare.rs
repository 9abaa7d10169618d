//! Text to shards: on all cores, in bounded memory, and going on where it was stopped.
//!
//! All text, whatever files it lies in, is cut into parts of a few MiB at the ends of documents; each part becomes one
//! shard, a function of its text and the tokenizer alone. So the shards are the same at any number of threads, memory
//! depends on the number of cores and not on the text, and a shard that was finished before an interruption need not be
//! made again: it bears the hash of its text.
//!
//! The folder holds `preparing.json` (what it is being prepared from) until all shards are there, then `manifest.json`;
//! and the tokenizer, so that shards and tokenizer cannot be separated.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rayon::prelude::*;

use super::claim::Claim;
use super::manifest::{
    Counts, MANIFEST, Manifest, ShardEntry, Source, TokenizerIdentity, first_names, loose_stamp,
};
use super::removal::{is_shard, remove_tokenizer};
use super::shard::{Shard, ShardBuilder};
use crate::data::error::DataError;
use crate::data::text::{
    Event, Oddities, PART_SIZE, Part, Parts, Reading, files_of, format_of, look_at, names_of,
};
use crate::files::{expect_no_link, names};
use crate::tokenizer::{LoadOptions, Tokenizer};
use crate::visible::shown;

/// Where in the folder the tokenizer is kept.
pub const TOKENIZER_FOLDER: &str = "tokenizer";
/// Where in the folder is what its text is like as a whole.
pub const REPORT: &str = "report.json";
/// What the names of shards end with.
pub(super) const SHARD: &str = ".shard";
/// What the folder is being prepared from; there until it is complete.
pub(super) const PREPARING: &str = "preparing.json";

/// The tokenizer that was trained for what is prepared in `folder`, on its text, and the number of pieces that were asked
/// for then; `None` where it is still to be trained. `asked` is the number that is asked for now, if one is.
///
/// # Errors
/// If the folder cannot be read, or was prepared with another tokenizer than such a one, which is known before any is
/// trained.
pub fn tokenizer_in(folder: &Path, asked: Option<u32>) -> Result<Option<(Tokenizer, u32)>, DataError> {
    let complete = Manifest::read(folder, MANIFEST)?;
    let is_complete = complete.is_some();
    let begun = match complete {
        None => Manifest::read(folder, PREPARING)?,
        complete => complete,
    };
    let Some(begun) = begun else { return Ok(None) };
    let (path, own) = (folder.to_path_buf(), folder.join(TOKENIZER_FOLDER));
    let load = || Tokenizer::load(&own, &LoadOptions::default());
    let (tokenizer, trained) = match begun.trained {
        // One that was not saved whole, or is damaged, is trained again.
        Some(trained) => (load().ok(), trained),
        None if begun.is_current() => {
            let difference =
                format!("tokenizer, one that was given: --tokenizer {} goes on with it", shown(&own));
            return Err(DataError::OtherPreparation { path, difference });
        }
        // Version 1 did not note what was asked for, and trained otherwise.
        None if is_complete => (Some(load()?), begun.tokenizer.vocabulary_size as u32),
        None => return Err(DataError::EarlierVersion { path }),
    };
    if asked.is_some_and(|asked| asked != trained) {
        return Err(DataError::OtherPreparation { path, difference: format!("--vocab-size ({trained})") });
    }
    Ok(tokenizer.map(|tokenizer| (tokenizer, trained)))
}

/// What to prepare, and where to.
pub struct Preparation<'a> {
    /// The text: files, folders of them, `-` for standard input; in order.
    pub sources: &'a [PathBuf],
    /// How they are read.
    pub reading: Reading,
    /// What makes ids of them.
    pub tokenizer: &'a Tokenizer,
    /// The number of pieces that were asked for, where the tokenizer was trained on this very text.
    pub trained: Option<u32>,
    /// The folder to write: new, empty, or one that this preparation was interrupted in.
    pub folder: &'a Path,
    /// Told from time to time, by any thread, how far it is.
    pub progress: &'a (dyn Fn(BytesDone) + Sync),
}

/// How far a preparation is, in bytes of text as it lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BytesDone {
    /// What is done.
    pub done: u64,
    /// Of this, what was there already.
    pub kept: u64,
    /// All there is; 0 if some of it comes from a pipe.
    pub total: u64,
}

/// What was done.
#[derive(Debug)]
pub struct Prepared {
    /// What the folder now holds.
    pub manifest: Manifest,
    /// Shards that were there already.
    pub kept: usize,
}

/// What became of one part.
struct Made {
    index: usize,
    entry: ShardEntry,
    counts: Counts,
    oddities: Oddities,
    /// The hash of its text.
    text: blake3::Hash,
    kept: bool,
}

impl Preparation<'_> {
    /// Prepares the text, or what is left to prepare of it. A folder that is complete is only verified. It can be killed at
    /// any moment: shards finished so far are kept.
    ///
    /// # Errors
    /// If the text or the folder cannot be used.
    pub fn run(&self) -> Result<Prepared, DataError> {
        self.run_in(&Claim::of(self.folder)?)
    }

    /// The same in the folder where it was claimed before.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_in(&self, claim: &Claim) -> Result<Prepared, DataError> {
        self.run_in_parts(claim, PART_SIZE)
    }

    fn run_in_parts(&self, claim: &Claim, size: usize) -> Result<Prepared, DataError> {
        // Refuses a vocabulary too large before the first file is made.
        ShardBuilder::new(self.tokenizer.vocabulary_size())?;
        let tokenizer = self.folder.join(TOKENIZER_FOLDER);
        expect_no_link(&tokenizer).map_err(DataError::io("write into", &tokenizer))?;
        let work = self.work(size)?;
        if !self.folder.join(MANIFEST).is_file() {
            look_at(&work.files, self.reading)?; // of what is made already nothing need be opened
        }
        match work.begin()? {
            Some(manifest) => work.verify(manifest),
            None => work.make().inspect_err(|_| {
                if claim.is_new() {
                    work.withdraw();
                }
            }),
        }
    }
}

impl Preparation<'_> {
    /// What the folder holds if it is complete and of this text, which is read where it is known by nothing else; nothing is
    /// changed.
    ///
    /// # Errors
    /// If the text is not there, or cannot be read.
    pub fn found(&self) -> Result<Option<Manifest>, DataError> {
        let work = self.work(PART_SIZE)?;
        let Ok(Some(manifest)) = Manifest::read(self.folder, MANIFEST) else { return Ok(None) };
        let is_same = work.expect_same(&manifest).is_ok() && work.is_of_text(&manifest)?;
        Ok(is_same.then_some(manifest))
    }

    fn work(&self, size: usize) -> Result<Work<'_>, DataError> {
        let files = files_of(self.sources)?;
        let source = Source::of(&files)?;
        let mut plan = Manifest::new(TokenizerIdentity::of(self.tokenizer), self.reading, source);
        plan.trained = self.trained;
        Ok(Work { preparation: self, files, size, plan })
    }
}

/// A preparation whose files are known.
struct Work<'a> {
    preparation: &'a Preparation<'a>,
    files: Vec<PathBuf>,
    /// Text in a part, in bytes.
    size: usize,
    /// What the folder will hold, before any shard is there.
    plan: Manifest,
}

impl Work<'_> {
    fn folder(&self) -> &Path {
        self.preparation.folder
    }

    fn other(&self, difference: String) -> DataError {
        DataError::OtherPreparation { path: self.folder().to_path_buf(), difference }
    }

    /// Makes sure that what is there belongs to this text, and that the plan is there. Gives the manifest if the folder is
    /// complete.
    fn begin(&self) -> Result<Option<Manifest>, DataError> {
        let path = self.folder();
        match (Manifest::read(path, MANIFEST)?, Manifest::read(path, PREPARING)?) {
            (Some(complete), _) => {
                self.expect_same(&complete)?;
                Ok(Some(complete))
            }
            (None, Some(begun)) => {
                if !begun.is_current() {
                    return Err(DataError::EarlierVersion { path: path.to_path_buf() });
                }
                self.expect_same(&begun)?;
                // Whether it is the same text, each shard says; but what is plainly another's is left alone.
                if (begun.source.files, begun.source.bytes)
                    != (self.plan.source.files, self.plan.source.bytes)
                {
                    return Err(self.other(begun.source.in_words()));
                }
                Ok(None)
            }
            (None, None) => self.plan.write(path, PREPARING).map(|()| None),
        }
    }

    /// Refuses a folder of another tokenizer, or of text read otherwise.
    fn expect_same(&self, earlier: &Manifest) -> Result<(), DataError> {
        if !earlier.tokenizer.is_of(self.preparation.tokenizer) {
            let by_whom = match earlier.is_current() {
                true => "",
                false => {
                    ", by an earlier version (a WordPiece vocabulary: give its vocab.txt by name, not its folder)"
                }
            };
            return Err(self.other(format!("tokenizer{by_whom}")));
        }
        let mut reading = self.plan.reading;
        if !earlier.is_current() && reading.format.is_none() {
            // Then all files had the layout that the first one's name said.
            reading.format = Some(format_of(&self.files[0], reading)?);
        }
        if earlier.reading.format != reading.format {
            let format = earlier.reading.format.map_or("by each file's content".into(), |f| format!("{f:?}"));
            return Err(self.other(format!("format ({format})")));
        }
        if earlier.reading != reading {
            return Err(self.other("treatment of bad lines".into()));
        }
        Ok(())
    }

    /// Makes sure that a complete folder holds this text, and is sound; makes anew what is not.
    fn verify(&self, mut manifest: Manifest) -> Result<Prepared, DataError> {
        let is_known = self.is_known(&manifest)?;
        if !is_known && !self.has_hash_of(&manifest)? {
            return Err(self.other(manifest.source.in_words()));
        }
        let is_sound = |entry: &&ShardEntry| {
            let shard = Shard::open(&self.folder().join(&entry.file));
            shard.is_ok_and(|shard| entry.blake3 == shard.hash().to_hex().as_str())
        };
        let sound = manifest.shards.par_iter().filter(is_sound).count();
        if sound == manifest.shards.len() {
            if !is_known {
                // The next time it need not be read.
                manifest.source.stamp.clone_from(&self.plan.source.stamp);
                manifest.write(self.folder(), MANIFEST)?;
            }
            self.seal(&manifest)?;
            return Ok(Prepared { manifest, kept: sound });
        }
        if !manifest.is_current() {
            let what = "a shard is missing or not as it was, and an earlier version made it";
            return Err(DataError::damaged(self.folder(), what));
        }
        self.make()
    }

    /// Whether a complete folder is of this text, as far as that is known without reading it.
    fn is_known(&self, manifest: &Manifest) -> Result<bool, DataError> {
        let stamp = match manifest.is_current() {
            true => self.plan.source.stamp.clone(),
            // Version 1 knew text by nothing else.
            false => loose_stamp(&self.files)?,
        };
        Ok(stamp.is_some() && stamp == manifest.source.stamp)
    }

    /// Whether the text is that of `manifest` by its hash, which version 1 did not note.
    fn has_hash_of(&self, manifest: &Manifest) -> Result<bool, DataError> {
        Ok(manifest.is_current() && self.text()? == manifest.source.blake3)
    }

    fn is_of_text(&self, manifest: &Manifest) -> Result<bool, DataError> {
        Ok(self.is_known(manifest)? || self.has_hash_of(manifest)?)
    }

    /// Takes back what was begun if nothing in the folder took work: no shard, and no vocabulary that was trained. The claim
    /// takes back the empty folder.
    fn withdraw(&self) {
        let has_shards = names(self.folder()).map_or(true, |names| names.iter().any(|name| is_shard(name)));
        if !has_shards && self.plan.trained.is_none() {
            // The error that led here is the one to tell.
            let _ = remove_tokenizer(&self.folder().join(TOKENIZER_FOLDER));
            let _ = fs::remove_file(self.folder().join(PREPARING));
        }
    }

    /// Makes the shards that are not there, and completes the folder.
    fn make(&self) -> Result<Prepared, DataError> {
        let before = loose_stamp(&self.files)?;
        // First, so that what was trained is not trained again.
        self.preparation.tokenizer.save(&self.folder().join(TOKENIZER_FOLDER))?;
        let make = |(index, part): (usize, Part), progress: &Meter<'_>| {
            let made = self.make_shard(index, &part)?;
            progress.add(&part, made.kept);
            Ok(made)
        };
        let (mut made, empty_files) = self.for_each_part(make)?;
        if loose_stamp(&self.files)? != before {
            return Err(DataError::SourceChanged { what: names_of(&self.files) });
        }
        made.sort_unstable_by_key(|made| made.index);
        let mut manifest = self.plan.clone();
        manifest.source.blake3 = Some(text_hash(made.iter().map(|made| made.text)));
        manifest.oddities.empty_files = empty_files.len() as u64;
        manifest.empty_files = first_names(&empty_files);
        let kept = made.iter().filter(|made| made.kept).count();
        for made in made {
            manifest.shards.push(made.entry);
            manifest.counts += made.counts;
            manifest.oddities += made.oddities;
        }
        if manifest.counts.tokens == 0 {
            return Err(DataError::EmptyText { what: names_of(&self.files) });
        }
        self.remove_further_shards(manifest.shards.len())?;
        self.seal(&manifest)?;
        Ok(Prepared { manifest, kept })
    }

    fn make_shard(&self, index: usize, part: &Part) -> Result<Made, DataError> {
        let Preparation { tokenizer, reading, .. } = self.preparation;
        let (file, text) = (shard_name(index), part.hash());
        let path = self.folder().join(&file);
        let vocabulary_size = tokenizer.vocabulary_size();
        // Made whole of this very text by an earlier run; one that is damaged is made again.
        let there = Shard::open(&path)
            .ok()
            .filter(|shard| shard.text() == Some(text) && shard.vocabulary_size() == vocabulary_size);
        let kept = there.is_some();
        let (shard, oddities) = match there {
            Some(shard) => (shard, part.read(reading.skip_bad_lines, &mut |_| Ok(()))?),
            None => {
                let mut builder = ShardBuilder::new(vocabulary_size)?;
                let (mut encoder, mut ids) = (tokenizer.encoder(), Vec::new());
                let oddities = part.read(reading.skip_bad_lines, &mut |event| {
                    match event {
                        Event::Sentence(sentence) => {
                            ids.clear();
                            encoder.encode(sentence, &mut ids);
                            builder.push_sentence(&ids);
                        }
                        Event::DocumentEnd => builder.end_document(),
                    }
                    Ok(())
                })?;
                builder.write(&path, &text)?;
                (Shard::open(&path)?, oddities)
            }
        };
        let (entry, counts) = summary(file, &shard, tokenizer.special().unknown);
        Ok(Made { index, entry, counts, oddities, text, kept })
    }

    /// The hash of all text.
    fn text(&self) -> Result<Option<String>, DataError> {
        let hash = |(index, part): (usize, Part), progress: &Meter<'_>| {
            progress.add(&part, true);
            Ok((index, part.hash()))
        };
        let (mut hashes, _) = self.for_each_part(hash)?;
        hashes.sort_unstable_by_key(|&(index, _)| index);
        Ok(Some(text_hash(hashes.into_iter().map(|(_, hash)| hash))))
    }

    /// Works on all parts, on all cores, each as soon as it is read; what became of them, in no order, and the files that
    /// hold no text.
    fn for_each_part<T: Send>(
        &self,
        work: impl Fn((usize, Part), &Meter<'_>) -> Result<T, DataError> + Sync,
    ) -> Result<(Vec<T>, Vec<&Path>), DataError> {
        let source = &self.plan.source;
        let progress = Meter {
            tell: self.preparation.progress,
            total: if source.stamp.is_some() { source.bytes } else { 0 },
            done: AtomicU64::new(0),
            kept: AtomicU64::new(0),
        };
        let mut parts = Parts::of_size(&self.files, self.preparation.reading, self.size);
        let results = parts
            .by_ref()
            .enumerate()
            .par_bridge()
            .map(|(index, part)| work((index, part?), &progress))
            .collect::<Result<Vec<_>, _>>()?;
        Ok((results, parts.empty_files().to_vec()))
    }

    /// Of an earlier text that had more of them.
    fn remove_further_shards(&self, count: usize) -> Result<(), DataError> {
        for path in (count..).map(|index| self.folder().join(shard_name(index))) {
            if !path.exists() {
                break;
            }
            fs::remove_file(&path).map_err(DataError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Writes the manifest last, so that a folder that has it is complete.
    fn seal(&self, manifest: &Manifest) -> Result<(), DataError> {
        self.preparation.tokenizer.save(&self.folder().join(TOKENIZER_FOLDER))?;
        if Manifest::read(self.folder(), MANIFEST)?.as_ref() != Some(manifest) {
            manifest.write(self.folder(), MANIFEST)?;
        }
        let preparing = self.folder().join(PREPARING);
        if preparing.exists() {
            fs::remove_file(&preparing).map_err(DataError::io("remove", &preparing))?;
        }
        Ok(())
    }
}

/// Adds up what is done.
struct Meter<'a> {
    tell: &'a (dyn Fn(BytesDone) + Sync),
    total: u64,
    done: AtomicU64,
    kept: AtomicU64,
}

impl Meter<'_> {
    fn add(&self, part: &Part, kept: bool) {
        let more = if kept { part.taken } else { 0 };
        let kept = self.kept.fetch_add(more, Relaxed) + more;
        let done = self.done.fetch_add(part.taken, Relaxed) + part.taken;
        (self.tell)(BytesDone { done, kept, total: self.total });
    }
}

pub(super) fn shard_name(index: usize) -> String {
    format!("{index:05}{SHARD}")
}

fn text_hash(parts: impl Iterator<Item = blake3::Hash>) -> String {
    let mut hasher = blake3::Hasher::new();
    parts.for_each(|part| {
        hasher.update(part.as_bytes());
    });
    hasher.finalize().to_hex().to_string()
}

fn summary(file: String, shard: &Shard, unknown: u32) -> (ShardEntry, Counts) {
    let entry = ShardEntry { file, bytes: shard.file_size(), blake3: shard.hash().to_hex().to_string() };
    let counts = Counts {
        documents: shard.documents() as u64,
        sentences: shard.sentences() as u64,
        tokens: shard.ids().len() as u64,
        unknown: shard.ids().iter().filter(|&&id| u32::from(id) == unknown).count() as u64,
    };
    (entry, counts)
}

#[cfg(test)]
mod tests;
