//! Text to shards: on all cores, in bounded memory, and going on where it was stopped.
//!
//! Files are cut into parts of a few MiB at the ends of documents; each part becomes one shard, a function of its text
//! and the tokenizer alone. So the shards are the same at any number of threads, memory depends on the number of cores
//! and not on the text, and a shard that was finished before an interruption need not be made again.
//!
//! The folder holds `preparing.json` (what it is being prepared from) until all shards are there, then `manifest.json`;
//! and the tokenizer, so that shards and tokenizer cannot be separated.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::UNIX_EPOCH;

use rayon::prelude::*;

use super::error::DataError;
use super::manifest::{Counts, MANIFEST, Manifest, ShardEntry, Source, TokenizerIdentity};
use super::shard::{Shard, ShardBuilder};
use super::text::{Event, Format, parts, read_documents};
use crate::files::beside;
use crate::tokenizer::Tokenizer;

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
    /// Told from time to time, by any thread, how many of how many bytes of text are done.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
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
        let parts = self.parts(&plan, part.max(total.div_ceil(MOST_PARTS)))?;
        let (bytes_done, shards_done, kept) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let summaries = parts
            .par_iter()
            .enumerate()
            .with_max_len(1)
            .map(|(index, part)| {
                let is_sealed = |shard: &Shard| {
                    sealed.get(index).is_none_or(|entry| entry.blake3 == shard.hash().to_hex().as_str())
                };
                let shard = match Shard::open(&part.file) {
                    // Written whole by an earlier run of this very plan; one that is damaged is made again.
                    Ok(shard) if is_sealed(&shard) => {
                        kept.fetch_add(1, Relaxed);
                        shard
                    }
                    _ => self.make_shard(part)?,
                };
                shards_done.fetch_add(1, Relaxed);
                let length = part.bytes.end - part.bytes.start;
                (self.progress)(bytes_done.fetch_add(length, Relaxed) + length, total);
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
                for entry in fs::read_dir(self.folder).map_err(DataError::io("list", self.folder))? {
                    let found = entry.map_err(DataError::io("list", self.folder))?.file_name();
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
        self.tokenizer.save(&self.folder.join(TOKENIZER_FOLDER))?;
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

/// Looks at a file that should hold text.
pub(crate) fn text_file(path: &Path) -> Result<Metadata, DataError> {
    let metadata = fs::metadata(path).map_err(DataError::io("read", path))?;
    if !metadata.is_file() {
        return Err(DataError::NotAFile { path: path.to_path_buf() });
    }
    if metadata.len() == 0 {
        return Err(DataError::EmptyText { what: path.display().to_string() });
    }
    Ok(metadata)
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

/// What an earlier preparation of the folder does not share with this one, in words. The text may have moved: its files
/// are known by their names, sizes and times.
fn difference(earlier: &Manifest, plan: &Manifest) -> Option<String> {
    if earlier.tokenizer != plan.tokenizer {
        Some("tokenizer".into())
    } else if earlier.format != plan.format {
        Some(format!("format ({:?})", earlier.format))
    } else if earlier.sources.len() != plan.sources.len() {
        Some(format!("text ({} files)", earlier.sources.len()))
    } else {
        fn known_by(source: &Source) -> (Option<&OsStr>, u64, u64) {
            (Path::new(&source.path).file_name(), source.bytes, source.modified)
        }
        let mut pairs = earlier.sources.iter().zip(&plan.sources);
        let changed = pairs.find(|(before, now)| known_by(before) != known_by(now));
        changed.map(|(before, _)| format!("text ({}, of {} bytes)", before.path, before.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Corpus;
    use crate::tokenizer::TrainOptions;
    use std::collections::BTreeMap;
    use tempfile::TempDir;

    const WORDS: [&str; 7] = ["cat", "dog", "mat", "house", "garden", "river", "moon"];

    /// Forty documents of two sentences.
    fn text() -> String {
        let word = |n: usize| WORDS[n % WORDS.len()];
        (0..40)
            .map(|n| format!("The {} sat by the {}.\nIt was warm.\n\n", word(n), word(n / 7 + 1)))
            .collect()
    }

    struct Scene {
        folder: TempDir,
        tokenizer: Tokenizer,
        sources: Vec<PathBuf>,
        format: Format,
        stop: AtomicBool,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let options = TrainOptions { vocabulary_size: 60, ..TrainOptions::default() };
            let tokenizer = Tokenizer::train(text().lines(), &options).unwrap();
            let sources = vec![folder.path().join("a.txt"), folder.path().join("b.txt")];
            fs::write(&sources[0], text()).unwrap();
            fs::write(&sources[1], "The dog sat.\nThe mat was warm.").unwrap();
            Self { folder, tokenizer, sources, format: Format::Sentences, stop: AtomicBool::new(false) }
        }

        fn output(&self) -> PathBuf {
            self.folder.path().join("shards")
        }

        fn prepare_with(&self, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Prepared, DataError> {
            let Self { sources, tokenizer, format, stop, .. } = self;
            Preparation { sources, format: *format, tokenizer, folder: &self.output(), stop, progress }
                .run_in_parts(300)
        }

        fn prepare(&self) -> Result<Prepared, DataError> {
            self.prepare_with(&|_, _| ())
        }

        fn refused(&self) -> String {
            self.prepare().unwrap_err().to_string()
        }

        /// The names and contents of the shards.
        fn shards(&self) -> Vec<(String, Vec<u8>)> {
            let mut shards: Vec<_> = fs::read_dir(self.output())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|ending| ending == "shard"))
                .map(|path| {
                    (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
                })
                .collect();
            shards.sort();
            shards
        }
    }

    #[test]
    fn shards_hold_the_tokens_of_the_text() {
        let scene = Scene::new();
        let Prepared { manifest, kept } = scene.prepare().unwrap();
        assert_eq!(kept, 0);
        assert!(manifest.shards.len() > 5);
        assert_eq!((manifest.counts.documents, manifest.counts.sentences), (41, 82));
        let corpus = Corpus::open(&scene.output()).unwrap();
        assert_eq!(corpus.documents(), 41);
        let sentence = |document: usize, index: usize| -> Vec<u32> {
            let (document, _) = corpus.document(document);
            document.tokens(index..index + 1).iter().map(|&id| id.into()).collect()
        };
        assert_eq!(sentence(0, 1), scene.tokenizer.encode("It was warm."));
        assert_eq!(sentence(39, 0), scene.tokenizer.encode("The garden sat by the moon."));
        assert_eq!(sentence(40, 1), scene.tokenizer.encode("The mat was warm."));
        let saved = Tokenizer::load(&scene.output().join(TOKENIZER_FOLDER), &Default::default()).unwrap();
        assert!(corpus.expect_tokenizer(&scene.output(), &saved).is_ok());
    }

    #[test]
    fn any_number_of_threads_makes_the_same_shards() {
        let shards = |threads| {
            let scene = Scene::new();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| scene.prepare()).unwrap();
            scene.shards()
        };
        assert_eq!(shards(1), shards(4));
    }

    /// Stopped after each number of shards, it goes on with what is left and ends with the same bytes.
    #[test]
    fn an_interrupted_preparation_goes_on() {
        let uninterrupted = Scene::new();
        let total = uninterrupted.prepare().unwrap().manifest.shards.len();
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        for stop_after in 1..total {
            let scene = Scene::new();
            let done = AtomicUsize::new(0);
            let stop = |_, _| scene.stop.store(done.fetch_add(1, Relaxed) + 1 == stop_after, Relaxed);
            let error = one.install(|| scene.prepare_with(&stop)).unwrap_err();
            assert!(
                matches!(error, DataError::Interrupted { done, total: t } if done == stop_after && t == total)
            );
            let unprepared = Corpus::open(&scene.output()).unwrap_err().to_string();
            assert!(unprepared.contains("`prepare` did not finish here"), "{unprepared}");
            // What a crash may leave of a shard being written.
            fs::write(scene.output().join("00003.shard.tmp"), "half a shard").unwrap();
            scene.stop.store(false, Relaxed);
            let prepared = scene.prepare().unwrap();
            assert_eq!(prepared.kept, stop_after);
            assert_eq!(scene.shards(), uninterrupted.shards());
            assert_eq!(scene.prepare().unwrap().kept, total, "a complete folder is only verified");
        }
    }

    /// Killed while it saved the tokenizer, after any of its files.
    #[test]
    fn a_tokenizer_half_saved_is_finished() {
        let scene = Scene::new();
        scene.prepare().unwrap();
        let files = || -> BTreeMap<_, _> {
            let entries = fs::read_dir(scene.output().join(TOKENIZER_FOLDER)).unwrap();
            entries
                .map(|entry| entry.unwrap().path())
                .map(|path| (path.clone(), fs::read(path).unwrap()))
                .collect()
        };
        let whole = files();
        assert!(whole.len() >= 3);
        for lost in whole.keys().filter(|path| !path.ends_with("tokenizer_config.json")) {
            fs::remove_file(lost).unwrap();
            scene.prepare().unwrap();
            assert_eq!(files(), whole);
        }
    }

    #[test]
    fn damaged_shards_are_found_and_made_again() {
        let scene = Scene::new();
        scene.prepare().unwrap();
        let sound = scene.shards();
        let path = scene.output().join("00002.shard");
        for damage in [&sound[2].1[..50], &[], &sound[1].1] {
            fs::write(&path, damage).unwrap();
            let error = Corpus::open(&scene.output()).unwrap_err().to_string();
            assert!(error.contains("00002.shard is damaged"), "{error}");
        }
        for damage in [&sound[2].1[1..], &sound[1].1] {
            fs::write(&path, damage).unwrap();
            assert_eq!(scene.prepare().unwrap().kept, sound.len() - 1);
            assert_eq!(scene.shards(), sound);
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(Corpus::open(&scene.output()), Err(DataError::Io { .. })));
    }

    #[test]
    fn bad_text_is_refused() {
        let scene = Scene::new();
        fs::write(&scene.sources[1], b"fine\n\xFF\n").unwrap();
        assert!(
            scene.refused().contains("b.txt:2: byte 1 of the line is not valid UTF-8"),
            "{}",
            scene.refused()
        );
        let scene = Scene::new();
        fs::write(&scene.sources[0], "").unwrap();
        assert!(scene.refused().contains("a.txt: there is no text"));
        let mut scene = Scene { sources: vec!["no/such.txt".into()], ..Scene::new() };
        assert!(scene.refused().starts_with("cannot read no/such.txt"), "{}", scene.refused());
        scene.sources = vec![scene.folder.path().to_path_buf()];
        assert!(scene.refused().contains("not a regular file"));
        scene.sources.clear();
        assert!(scene.refused().contains("name at least one file"));
        let scene = Scene::new();
        scene.sources.iter().for_each(|path| fs::write(path, "\n \n\n").unwrap());
        assert!(scene.refused().contains("b.txt: there is no text"));
    }

    #[test]
    fn foreign_folders_are_left_alone() {
        let mut scene = Scene::new();
        fs::create_dir(scene.output()).unwrap();
        fs::write(scene.output().join("thesis.doc"), "years of work").unwrap();
        assert!(scene.refused().contains("already holds thesis.doc"));
        assert_eq!(fs::read_dir(scene.output()).unwrap().count(), 1);

        fs::remove_file(scene.output().join("thesis.doc")).unwrap();
        scene.prepare().unwrap();
        let shards = scene.shards();
        scene.format = Format::Prose;
        assert!(scene.refused().contains("another format (Sentences)"));
        scene.format = Format::Sentences;
        let options = TrainOptions { vocabulary_size: 50, ..TrainOptions::default() };
        let other = Tokenizer::train(["Some other text."], &options).unwrap();
        let own = std::mem::replace(&mut scene.tokenizer, other);
        assert!(scene.refused().contains("another tokenizer"));
        scene.tokenizer = own;
        let moved = scene.folder.path().join("elsewhere");
        fs::create_dir(&moved).unwrap();
        fs::rename(&scene.sources[1], moved.join("b.txt")).unwrap();
        let before = std::mem::replace(&mut scene.sources[1], moved.join("b.txt"));
        scene.prepare().unwrap();
        // Of the same size and time, as the parts of an archive may be.
        fs::rename(moved.join("b.txt"), moved.join("c.txt")).unwrap();
        scene.sources[1] = moved.join("c.txt");
        assert!(scene.refused().contains("another text"), "{}", scene.refused());
        scene.sources[1] = before;
        fs::write(&scene.sources[1], "Another text.").unwrap();
        assert!(scene.refused().contains("another text"));
        scene.sources.pop();
        assert!(scene.refused().contains("another text (2 files)"));
        assert_eq!(scene.shards(), shards);
    }

    #[test]
    fn two_at_once_are_refused() {
        let scene = Scene::new();
        let inner = std::sync::Mutex::new(None);
        let again = |_, _| {
            inner.lock().unwrap().get_or_insert_with(|| scene.refused());
        };
        scene.prepare_with(&again).unwrap();
        assert!(inner.into_inner().unwrap().unwrap().contains("another process is preparing"));
    }

    #[test]
    fn shards_of_another_tokenizer_are_refused() {
        let scene = Scene::new();
        scene.prepare().unwrap();
        let corpus = Corpus::open(&scene.output()).unwrap();
        let options = TrainOptions { vocabulary_size: 50, ..TrainOptions::default() };
        let other = Tokenizer::train(["Some other text."], &options).unwrap();
        let error = corpus.expect_tokenizer(&scene.output(), &other).unwrap_err().to_string();
        let given = TokenizerIdentity::of(&other).fingerprint;
        assert!(error.contains(&format!("this run uses {given}")), "{error}");
        // Forged, it must not pass for the tokenizer whose hash it bears.
        let forged = TokenizerIdentity { vocabulary_size: 7, ..TokenizerIdentity::of(&scene.tokenizer) };
        let corpus = Corpus::new(Vec::new(), forged);
        assert!(corpus.expect_tokenizer(&scene.output(), &scene.tokenizer).is_err());
    }
}
