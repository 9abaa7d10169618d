//! Text to shards: on all cores, in bounded memory, and going on where it was stopped.
//!
//! All text, whatever files it lies in, is cut into parts of a few MiB at the ends of documents; each part becomes one
//! shard, a function of its text and the tokenizer alone. So the shards are the same at any number of threads, memory
//! depends on the number of cores and not on the text, and a shard that was finished before an interruption need not be
//! made again: it bears the hash of its text.
//!
//! The folder holds `preparing.json` (what it is being prepared from) until all shards are there, then `manifest.json`;
//! and the tokenizer, so that shards and tokenizer cannot be separated.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rayon::prelude::*;

use super::manifest::{Counts, MANIFEST, Manifest, ShardEntry, Source, TokenizerIdentity, first_names};
use super::shard::{Shard, ShardBuilder};
use crate::data::error::DataError;
use crate::data::text::{
    Event, Oddities, PART_SIZE, Part, Parts, Reading, files_of, format_of, look_at, names_of,
};
use crate::files::{Disk, Lockable, beside, missing_folders, names, remove_flat_dir};
use crate::tokenizer::{self, LoadOptions, Tokenizer};

/// Where in the folder the tokenizer is kept.
pub const TOKENIZER_FOLDER: &str = "tokenizer";
/// Where in the folder is what its text is like as a whole.
pub const REPORT: &str = "report.json";
/// What the names of shards end with.
const SHARD: &str = ".shard";
/// What the folder is being prepared from; there until it is complete.
const PREPARING: &str = "preparing.json";

/// Whether a folder holds prepared data, complete or not.
pub fn is_prepared(folder: &Path) -> bool {
    [MANIFEST, PREPARING].iter().any(|name| folder.join(name).is_file())
}

/// Removes what was prepared in `folder`, whole or not. A folder that is not there is fine; one with a file of somebody else is
/// left, with an error that names the file.
///
/// # Errors
/// If something cannot be removed.
pub fn remove_prepared(folder: &Path) -> Result<(), DataError> {
    remove_tokenizer(&folder.join(TOKENIZER_FOLDER))?;
    let is_ours =
        |name: &OsStr| is_shard(name) || [MANIFEST, PREPARING, REPORT].iter().any(|&ours| name == ours);
    remove_flat_dir(&Disk, folder, is_ours).map_err(DataError::io("remove", folder))
}

fn is_shard(name: &OsStr) -> bool {
    let stem = name.to_str().and_then(|name| name.strip_suffix(SHARD));
    stem.is_some_and(|stem| stem.len() >= 5 && stem.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Removes a folder of a tokenizer's files, as [`remove_prepared`] does.
///
/// # Errors
/// If something cannot be removed.
pub fn remove_tokenizer(folder: &Path) -> Result<(), DataError> {
    let is_ours = |name: &OsStr| tokenizer::FILES.iter().any(|&ours| name == ours);
    remove_flat_dir(&Disk, folder, is_ours).map_err(DataError::io("remove", folder))
}

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
                format!("tokenizer, one that was given: --tokenizer {} goes on with it", own.display());
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
        self.run_in_parts(PART_SIZE)
    }

    fn run_in_parts(&self, size: usize) -> Result<Prepared, DataError> {
        // Refuses a vocabulary too large before the first folder is made.
        ShardBuilder::new(self.tokenizer.vocabulary_size())?;
        let files = files_of(self.sources)?;
        look_at(&files, self.reading)?;
        let source = Source::of(&files)?;
        let mut plan = Manifest::new(TokenizerIdentity::of(self.tokenizer), self.reading, source);
        plan.trained = self.trained;
        let work = Work { preparation: self, files, size, plan };
        let missing = missing_folders(self.folder);
        let (_lock, complete) = work.claim_folder()?;
        match complete {
            Some(manifest) => work.verify(manifest),
            None => work.make().inspect_err(|_| {
                if !missing.is_empty() {
                    work.withdraw(&missing);
                }
            }),
        }
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

    /// Makes sure that the folder is ours alone, and has the plan in it. Gives the lock, and the manifest if the folder is
    /// complete.
    fn claim_folder(&self) -> Result<(Lockable, Option<Manifest>), DataError> {
        let path = self.folder();
        fs::create_dir_all(path).map_err(DataError::io("create", path))?;
        let complete = Manifest::read(path, MANIFEST)?;
        let complete = match (complete, Manifest::read(path, PREPARING)?) {
            (Some(complete), _) => {
                self.expect_same(&complete)?;
                Some(complete)
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
                None
            }
            (None, None) => {
                for found in names(path).map_err(DataError::io("list", path))? {
                    // All that an interruption at the very beginning can leave.
                    if found != beside(PREPARING.as_ref()) {
                        let found = found.to_string_lossy().into_owned();
                        return Err(DataError::ForeignFolder { path: path.to_path_buf(), found });
                    }
                }
                self.plan.write(path, PREPARING)?;
                None
            }
        };
        // Of a folder that is complete only what is missing or damaged is written anew.
        let name = if path.join(PREPARING).exists() { PREPARING } else { MANIFEST };
        let lock_path = path.join(name);
        let lock = Lockable::from(File::open(&lock_path).map_err(DataError::io("open", &lock_path))?);
        match lock.try_lock() {
            Ok(()) => Ok((lock, complete)),
            Err(TryLockError::WouldBlock) => Err(DataError::Busy { path: path.to_path_buf() }),
            Err(TryLockError::Error(error)) => Err(DataError::io("lock", &lock_path)(error)),
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
        let stamp = &self.plan.source.stamp;
        let is_known = stamp.is_some() && *stamp == manifest.source.stamp;
        if !is_known && (!manifest.is_current() || self.text()? != manifest.source.blake3) {
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
                manifest.source.stamp.clone_from(stamp);
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

    /// Takes back a folder that has nothing in it which took work, no shard and no vocabulary that was trained, and the
    /// folders on the way to it that were not there.
    fn withdraw(&self, made: &[PathBuf]) {
        let has_shards = names(self.folder()).map_or(true, |names| names.iter().any(|name| is_shard(name)));
        if !has_shards && self.plan.trained.is_none() {
            let _ = remove_prepared(self.folder()); // the error that led here is the one to tell
            made.iter().skip(1).all(|folder| fs::remove_dir(folder).is_ok());
        }
    }

    /// Makes the shards that are not there, and completes the folder.
    fn make(&self) -> Result<Prepared, DataError> {
        // First, so that what was trained is not trained again.
        self.preparation.tokenizer.save(&self.folder().join(TOKENIZER_FOLDER))?;
        let make = |(index, part): (usize, Part), progress: &Meter<'_>| {
            let made = self.make_shard(index, &part)?;
            progress.add(&part, made.kept);
            Ok(made)
        };
        let (mut made, empty_files) = self.for_each_part(make)?;
        if Source::of(&self.files)?.stamp != self.plan.source.stamp {
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
        // A folder that is complete keeps the file by which it is locked.
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

fn shard_name(index: usize) -> String {
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
