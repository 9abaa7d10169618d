//! Text to shards: on all cores, in bounded memory, and going on where it was stopped.
//!
//! Files are cut into parts of a few MiB at the ends of documents; each part becomes one shard, a function of its text
//! and the tokenizer alone. So the shards are the same at any number of threads, memory depends on the number of cores
//! and not on the text, and a shard that was finished before an interruption need not be made again.
//!
//! The folder holds `preparing.json` (what it is being prepared from) until all shards are there, then `manifest.json`;
//! and the tokenizer, so that shards and tokenizer cannot be separated.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::UNIX_EPOCH;

use rayon::prelude::*;

use super::manifest::{Counts, MANIFEST, Manifest, ShardEntry, Source, TokenizerIdentity};
use super::shard::{Shard, ShardBuilder};
use crate::data::error::DataError;
use crate::data::text::{Event, Format, parts, read_documents, text_file};
use crate::files::{beside, names};
use crate::tokenizer::{LoadOptions, Tokenizer};

/// Where in the folder the tokenizer is kept.
pub const TOKENIZER_FOLDER: &str = "tokenizer";
/// What the folder is being prepared from; there until it is complete.
const PREPARING: &str = "preparing.json";
/// Text in one shard, in bytes, and the most shards: larger texts have larger shards.
const PART: u64 = 8 << 20;
const MOST_PARTS: u64 = 1 << 14;

/// What to prepare, and where to.
pub struct Preparation<'a> {
    /// The text files, in order.
    pub sources: &'a [PathBuf],
    /// How they are laid out.
    pub format: Format,
    /// What makes ids of them.
    pub tokenizer: &'a Tokenizer,
    /// The folder to write: new, empty, or one that this preparation was interrupted in.
    pub folder: &'a Path,
    /// Set from outside to stop; looked at once a sentence.
    pub stop: &'a AtomicBool,
    /// Told from time to time, by any thread, how far it is.
    pub progress: &'a (dyn Fn(BytesDone) + Sync),
}

/// How far a preparation is, in bytes of text.
#[derive(Clone, Copy, Debug)]
pub struct BytesDone {
    /// Done so far, in this run of the program or in an earlier one.
    pub done: u64,
    /// Of them, those that were done before this run of the program.
    pub kept: u64,
    /// All there are.
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

/// One shard to be.
struct Part {
    source: usize,
    bytes: std::ops::Range<u64>,
    file: PathBuf,
}

impl Preparation<'_> {
    /// Prepares the text, or what is left to prepare of it. A folder that is complete is only verified.
    ///
    /// # Errors
    /// If the text or the folder cannot be used, or `stop` was set; shards finished so far are kept.
    pub fn run(&self) -> Result<Prepared, DataError> {
        self.run_in_parts(PART)
    }

    fn run_in_parts(&self, part: u64) -> Result<Prepared, DataError> {
        let plan = self.plan()?;
        let (_lock, sealed) = self.claim_folder(&plan)?;
        let total: u64 = plan.sources.iter().map(|source| source.bytes).sum();
        // First, so that a preparation that is continued finds the vocabulary it began with.
        self.tokenizer.save(&self.folder.join(TOKENIZER_FOLDER))?;
        let parts = self.parts(&plan, part.max(total.div_ceil(MOST_PARTS)))?;
        let (bytes_done, bytes_kept) = (AtomicU64::new(0), AtomicU64::new(0));
        let (shards_done, kept) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let summaries = parts
            .par_iter()
            .enumerate()
            .with_max_len(1)
            .map(|(index, part)| {
                let is_sealed = |shard: &Shard| {
                    sealed.get(index).is_none_or(|entry| entry.blake3 == shard.hash().to_hex().as_str())
                };
                let length = part.bytes.end - part.bytes.start;
                let shard = match Shard::open(&part.file) {
                    // Written whole by an earlier run of this very plan; one that is damaged is made again.
                    Ok(shard) if is_sealed(&shard) => {
                        kept.fetch_add(1, Relaxed);
                        bytes_kept.fetch_add(length, Relaxed);
                        shard
                    }
                    _ => self.make_shard(part)?,
                };
                shards_done.fetch_add(1, Relaxed);
                let done = bytes_done.fetch_add(length, Relaxed) + length;
                (self.progress)(BytesDone { done, kept: bytes_kept.load(Relaxed).min(done), total });
                Ok(summary(part, &shard, plan.tokenizer.special.unknown))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| match error {
                DataError::Interrupted { .. } => {
                    DataError::Interrupted { done: shards_done.load(Relaxed), total: parts.len() }
                }
                error => error,
            })?;
        let manifest = self.finish(plan, summaries)?;
        Ok(Prepared { manifest, kept: kept.into_inner() })
    }

    /// What is to be prepared, before any shard is there.
    fn plan(&self) -> Result<Manifest, DataError> {
        if self.sources.is_empty() {
            return Err(DataError::NoSources);
        }
        // Refuses a vocabulary too large before the first folder is made.
        ShardBuilder::new(self.tokenizer.vocabulary_size())?;
        let identity = TokenizerIdentity::of(self.tokenizer);
        self.sources.iter().try_for_each(|path| self.format.expect_of(path))?;
        let sources = self.sources.iter().map(|path| source(path)).collect::<Result<_, _>>()?;
        Ok(Manifest::new(identity, self.format, sources))
    }

    /// Makes sure that the folder is ours alone, and has the plan in it. Gives the lock, and the shards of a folder
    /// that was complete.
    fn claim_folder(&self, plan: &Manifest) -> Result<(File, Vec<ShardEntry>), DataError> {
        fs::create_dir_all(self.folder).map_err(DataError::io("create", self.folder))?;
        let path = self.folder.to_path_buf();
        let earlier = match Manifest::read(self.folder, MANIFEST)? {
            Some(complete) => Some(complete),
            None => Manifest::read(self.folder, PREPARING)?,
        };
        match &earlier {
            Some(earlier) => {
                if let Some(difference) = difference(earlier, plan) {
                    return Err(DataError::OtherPreparation { path, difference });
                }
            }
            None => {
                for found in names(self.folder).map_err(DataError::io("list", self.folder))? {
                    // All that an interruption at the very beginning can leave.
                    if found != beside(PREPARING.as_ref()) {
                        return Err(DataError::ForeignFolder {
                            path,
                            found: found.to_string_lossy().into_owned(),
                        });
                    }
                }
                plan.write(self.folder, PREPARING)?;
            }
        }
        // Of a folder that is complete only what is missing or damaged is written anew.
        let name = if self.folder.join(PREPARING).exists() { PREPARING } else { MANIFEST };
        let lock_path = self.folder.join(name);
        let lock = File::open(&lock_path).map_err(DataError::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok((lock, earlier.map(|earlier| earlier.shards).unwrap_or_default())),
            Err(TryLockError::WouldBlock) => Err(DataError::Busy { path }),
            Err(TryLockError::Error(error)) => Err(DataError::io("lock", &lock_path)(error)),
        }
    }

    fn parts(&self, plan: &Manifest, size: u64) -> Result<Vec<Part>, DataError> {
        let mut all = Vec::new();
        for (source, path) in self.sources.iter().enumerate() {
            for bytes in parts(path, plan.sources[source].bytes, self.format, size)? {
                let file = self.folder.join(format!("{:05}.shard", all.len()));
                all.push(Part { source, bytes, file });
            }
        }
        Ok(all)
    }

    fn make_shard(&self, part: &Part) -> Result<Shard, DataError> {
        let mut builder = ShardBuilder::new(self.tokenizer.vocabulary_size())?;
        let mut encoder = self.tokenizer.encoder();
        let mut ids = Vec::new();
        read_documents(&self.sources[part.source], part.bytes.clone(), self.format, &mut |event| {
            if self.stop.load(Relaxed) {
                return Err(DataError::Interrupted { done: 0, total: 0 });
            }
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
        builder.write(&part.file)?;
        Shard::open(&part.file)
    }

    /// Seals the folder.
    fn finish(&self, plan: Manifest, summaries: Vec<(ShardEntry, Counts)>) -> Result<Manifest, DataError> {
        let mut manifest = plan;
        for (path, planned) in self.sources.iter().zip(&manifest.sources) {
            if source(path)? != *planned {
                return Err(DataError::SourceChanged { path: path.clone() });
            }
        }
        for (entry, counts) in summaries {
            manifest.shards.push(entry);
            manifest.counts += counts;
        }
        if manifest.counts.tokens == 0 {
            let what =
                manifest.sources.iter().map(|source| source.path.as_str()).collect::<Vec<_>>().join(", ");
            return Err(DataError::EmptyText { what });
        }
        // Written last; a folder that is complete keeps the file by which it is locked.
        if Manifest::read(self.folder, MANIFEST)?.as_ref() != Some(&manifest) {
            manifest.write(self.folder, MANIFEST)?;
        }
        let preparing = self.folder.join(PREPARING);
        if preparing.exists() {
            fs::remove_file(&preparing).map_err(DataError::io("remove", &preparing))?;
        }
        Ok(manifest)
    }
}

fn summary(part: &Part, shard: &Shard, unknown: u32) -> (ShardEntry, Counts) {
    let entry = ShardEntry {
        file: part.file.file_name().expect("a part has a file name").to_string_lossy().into_owned(),
        bytes: shard.file_size(),
        blake3: shard.hash().to_hex().to_string(),
    };
    let counts = Counts {
        documents: shard.documents() as u64,
        sentences: shard.sentences() as u64,
        tokens: shard.ids().len() as u64,
        unknown: shard.ids().iter().filter(|&&id| u32::from(id) == unknown).count() as u64,
    };
    (entry, counts)
}

/// Bytes of text in all of `sources`.
///
/// # Errors
/// If one is no file with text.
pub fn text_size(sources: &[PathBuf]) -> Result<u64, DataError> {
    sources.iter().map(|path| Ok(text_file(path)?.len())).sum()
}

fn source(path: &Path) -> Result<Source, DataError> {
    let metadata = text_file(path)?;
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok(Source {
        path: path.to_string_lossy().into_owned(),
        bytes: metadata.len(),
        modified: modified.map_or(0, |since| since.as_nanos() as u64),
    })
}

/// The tokenizer with which `folder` is being prepared, or was, from just these `sources`; `None` where there is none yet.
///
/// # Errors
/// If a source or the folder cannot be read.
pub fn tokenizer_in(folder: &Path, sources: &[PathBuf]) -> Result<Option<Tokenizer>, DataError> {
    let earlier = match Manifest::read(folder, MANIFEST)? {
        Some(complete) => Some(complete),
        None => Manifest::read(folder, PREPARING)?,
    };
    let sources = sources.iter().map(|path| source(path)).collect::<Result<Vec<_>, _>>()?;
    match earlier {
        Some(earlier)
            if earlier.sources.len() == sources.len() && changed(&earlier.sources, &sources).is_none() =>
        {
            // One that was not saved whole, or is damaged, is trained or given again.
            Ok(Tokenizer::load(&folder.join(TOKENIZER_FOLDER), &LoadOptions::default()).ok())
        }
        _ => Ok(None),
    }
}

/// What an earlier preparation of the folder does not share with this one, in words. The text may have moved.
fn difference(earlier: &Manifest, plan: &Manifest) -> Option<String> {
    if earlier.tokenizer != plan.tokenizer {
        Some("tokenizer".into())
    } else if earlier.format != plan.format {
        Some(format!("format ({:?})", earlier.format))
    } else if earlier.sources.len() != plan.sources.len() {
        Some(format!("text ({} files)", earlier.sources.len()))
    } else {
        changed(&earlier.sources, &plan.sources)
            .map(|before| format!("text ({}, of {} bytes)", before.path, before.bytes))
    }
}

/// The first of the earlier sources that the one in its place now is not. They are known by their names, sizes and times.
fn changed<'a>(earlier: &'a [Source], now: &[Source]) -> Option<&'a Source> {
    fn known_by(source: &Source) -> (Option<&OsStr>, u64, u64) {
        (Path::new(&source.path).file_name(), source.bytes, source.modified)
    }
    let mut pairs = earlier.iter().zip(now);
    pairs.find(|(before, now)| known_by(before) != known_by(now)).map(|(before, _)| before)
}

#[cfg(test)]
mod tests;
