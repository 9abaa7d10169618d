use super::super::removal::remove_prepared;
use super::*;
use crate::data::{Corpus, Format};
use crate::tokenizer::TrainOptions;
use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use tempfile::TempDir;

const WORDS: [&str; 7] = ["cat", "dog", "mat", "house", "garden", "river", "moon"];

/// Forty documents of two sentences.
fn text() -> String {
    let word = |n: usize| WORDS[n % WORDS.len()];
    (0..40).map(|n| format!("The {} sat by the {}.\nIt was warm.\n\n", word(n), word(n / 7 + 1))).collect()
}

struct Scene {
    folder: TempDir,
    tokenizer: Tokenizer,
    sources: Vec<PathBuf>,
    reading: Reading,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = TrainOptions { vocabulary_size: 60, ..TrainOptions::default() };
        let tokenizer = Tokenizer::train(text().lines(), &options).unwrap();
        let sources = vec![folder.path().join("a.txt"), folder.path().join("b.txt")];
        fs::write(&sources[0], text()).unwrap();
        fs::write(&sources[1], "The dog sat.\nThe mat was warm.").unwrap();
        Self { folder, tokenizer, sources, reading: Format::Sentences.into() }
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("shards")
    }

    fn prepare_with(&self, progress: &(dyn Fn(BytesDone) + Sync)) -> Result<Prepared, DataError> {
        self.in_small_parts(None, progress)
    }

    fn in_small_parts(
        &self,
        trained: Option<u32>,
        progress: &(dyn Fn(BytesDone) + Sync),
    ) -> Result<Prepared, DataError> {
        let folder = self.output();
        self.preparation(trained, &folder, progress).run_in_parts(&Claim::of(&folder)?, 300)
    }

    fn preparation<'a>(
        &'a self,
        trained: Option<u32>,
        folder: &'a Path,
        progress: &'a (dyn Fn(BytesDone) + Sync),
    ) -> Preparation<'a> {
        let Self { sources, tokenizer, reading, .. } = self;
        Preparation { sources, reading: *reading, tokenizer, trained, folder, progress }
    }

    /// Prepares until so many shards are made, and is killed then.
    fn killed_after(&self, shards: usize, trained: Option<u32>) {
        let made = AtomicUsize::new(0);
        let kill = |_| assert!(made.fetch_add(1, Relaxed) + 1 < shards, "killed");
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let prepare = || one.install(|| self.in_small_parts(trained, &kill));
        catch_unwind(AssertUnwindSafe(prepare)).unwrap_err();
    }

    fn prepare(&self) -> Result<Prepared, DataError> {
        self.prepare_with(&|_| ())
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
            .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
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

/// Killed after each number of shards, it goes on with what is left and ends with the same bytes.
#[test]
fn an_interrupted_preparation_goes_on() {
    let uninterrupted = Scene::new();
    let total = uninterrupted.prepare().unwrap().manifest.shards.len();
    for stop_after in 1..total {
        let scene = Scene::new();
        scene.killed_after(stop_after, None);
        let unprepared = Corpus::open(&scene.output()).unwrap_err().to_string();
        assert!(unprepared.contains("`prepare` did not finish here"), "{unprepared}");
        // What a crash may leave of a shard being written.
        fs::write(scene.output().join("00003.shard.tmp"), "half a shard").unwrap();
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
    let oddities = scene.prepare().unwrap().manifest.oddities;
    assert_eq!(oddities.empty_files, 1, "one of several is a remark");
    let scene = Scene::new();
    scene.sources.iter().for_each(|path| fs::write(path, "").unwrap());
    assert!(scene.refused().contains("a.txt") && scene.refused().contains("there is no text"));
    let mut scene = Scene { sources: vec!["no/such.txt".into()], ..Scene::new() };
    assert!(scene.refused().starts_with("cannot read no/such.txt"), "{}", scene.refused());
    fs::create_dir(scene.folder.path().join("nothing")).unwrap();
    scene.sources = vec![scene.folder.path().join("nothing")];
    assert!(scene.refused().contains("nothing: there is no text"));
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
    scene.reading = Format::Prose.into();
    assert!(scene.refused().contains("another format (Sentences)"));
    scene.reading = Reading { skip_bad_lines: true, ..Format::Sentences.into() };
    assert!(scene.refused().contains("another treatment of bad lines"));
    scene.reading = Format::Sentences.into();
    let options = TrainOptions { vocabulary_size: 50, ..TrainOptions::default() };
    let other = Tokenizer::train(["Some other text."], &options).unwrap();
    let own = std::mem::replace(&mut scene.tokenizer, other);
    assert!(scene.refused().contains("another tokenizer"));
    scene.tokenizer = own;
    fs::write(&scene.sources[1], "The dog sat.\nThe mat was worm.").unwrap();
    assert!(scene.refused().contains("another text (2 files, "), "{}", scene.refused());
    scene.sources.pop();
    assert!(scene.refused().contains("another text (2 files, "));
    assert_eq!(scene.shards(), shards);
    assert!(scene.output().join(MANIFEST).exists());
}

/// Text is known by its content: its files may be touched, moved, renamed or packed, before the end and after it.
#[test]
fn moved_and_touched_text_is_the_same() {
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;
    for unfinished in [false, true] {
        let mut scene = Scene::new();
        let total = scene.prepare().unwrap().manifest.shards.len();
        let shards = scene.shards();
        let begin_again = |scene: &Scene| {
            if unfinished {
                let mut plan = Manifest::read(&scene.output(), MANIFEST).unwrap().unwrap();
                plan.source.blake3 = None;
                plan.source.bytes = Source::of(&scene.sources).unwrap().bytes;
                plan.shards.clear();
                plan.write(&scene.output(), PREPARING).unwrap();
                fs::remove_file(scene.output().join(MANIFEST)).unwrap();
            }
        };
        let kept_all = |scene: &Scene| {
            begin_again(scene);
            assert_eq!(scene.prepare().unwrap().kept, total);
            assert_eq!(scene.shards(), shards);
        };
        let touched = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        File::options().write(true).open(&scene.sources[0]).unwrap().set_modified(touched).unwrap();
        kept_all(&scene);
        let moved = scene.folder.path().join("elsewhere.txt");
        fs::rename(&scene.sources[1], &moved).unwrap();
        scene.sources[1] = moved;
        kept_all(&scene);
        let packed = scene.folder.path().join("packed");
        let mut encoder = GzEncoder::new(File::create(&packed).unwrap(), Compression::default());
        encoder.write_all(text().as_bytes()).unwrap();
        encoder.finish().unwrap();
        scene.sources[0] = packed;
        kept_all(&scene);
        // The time it was last seen with is remembered.
        let seen = Manifest::read(&scene.output(), MANIFEST).unwrap().unwrap().source.stamp;
        assert_eq!(seen, Source::of(&scene.sources).unwrap().stamp);
    }
}

/// The version before knew text by less: it is read once more, and then known by all of it.
#[test]
fn an_earlier_stamp_is_no_other_text() {
    let scene = Scene::new();
    let made = scene.prepare().unwrap().manifest;
    let mut earlier = made.clone();
    earlier.source.stamp = loose_stamp(&scene.sources).unwrap();
    assert_ne!(earlier, made);
    earlier.write(&scene.output(), MANIFEST).unwrap();
    let again = scene.prepare().unwrap();
    assert_eq!((&again.manifest, again.kept), (&made, made.shards.len()));
    assert_eq!(Manifest::read(&scene.output(), MANIFEST).unwrap(), Some(made));
}

/// Files of archives are often of one name, length and time.
#[test]
fn text_is_not_known_by_its_name() {
    let mut scene = Scene::new();
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
    for folder in ["one", "other"] {
        let path = scene.folder.path().join(folder).join("part.txt");
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, text().replacen("cat", if folder == "one" { "cat" } else { "dog" }, 1)).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }
    scene.sources = vec![scene.folder.path().join("one/part.txt")];
    scene.prepare().unwrap();
    scene.sources = vec![scene.folder.path().join("other/part.txt")];
    let refused = scene.refused();
    assert!(refused.contains("was prepared with another text"), "{refused}");
    // Nor by its place, where the file is another.
    let (one, other) = (scene.folder.path().join("one/part.txt"), scene.sources[0].clone());
    fs::rename(&other, &one).unwrap();
    scene.sources = vec![one];
    assert_eq!(scene.refused().replace("one", "other"), refused.replace("one", "other"));
}

/// A half-prepared folder goes on with a text of the same size only where it is the same.
#[test]
fn shards_of_another_text_are_made_again() {
    let scene = Scene::new();
    scene.killed_after(1, None);
    let other = text().replacen("cat", "dog", 1);
    fs::write(&scene.sources[0], &other).unwrap();
    scene.prepare().unwrap();
    let fresh = Scene::new();
    fs::write(&fresh.sources[0], &other).unwrap();
    fresh.prepare().unwrap();
    assert_eq!(scene.shards(), fresh.shards());
}

/// A folder that version 1 completed is used as it is, a sentencepiece vocabulary too; one that it did not complete is refused with
/// the way out.
#[test]
fn folders_of_version_1() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/prepared-version-1");
    let copy = |from: &Path, to: &Path| {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    for (name, trained) in [("shards", true), ("shards-sentencepiece", false)] {
        let (mut scene, shards) = (Scene::new(), golden.join(name));
        copy(&golden, scene.folder.path());
        copy(&shards, &scene.output());
        copy(&shards.join(TOKENIZER_FOLDER), &scene.output().join(TOKENIZER_FOLDER));
        let time =
            std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_nanos(1_577_934_245_000_000_000);
        let set_time = |time| {
            for path in &scene.sources {
                File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
            }
        };
        set_time(time);
        let (tokenizer, size) = tokenizer_in(&scene.output(), None).unwrap().unwrap();
        let shards = scene.shards();
        assert_eq!(tokenizer.vocabulary_size(), size as usize);
        assert!(tokenizer_in(&scene.output(), Some(size)).unwrap().is_some());
        let error = tokenizer_in(&scene.output(), Some(size + 1)).map(drop).unwrap_err().to_string();
        assert!(error.contains(&format!("another --vocab-size ({size})")), "{error}");
        let identity = Manifest::read(&scene.output(), MANIFEST).unwrap().unwrap().tokenizer;
        assert_eq!(
            identity == TokenizerIdentity::of(&tokenizer),
            trained,
            "{name}: a fingerprint of that time"
        );
        Corpus::open(&scene.output()).unwrap().expect_tokenizer(&scene.output(), &tokenizer).unwrap();
        scene.tokenizer = tokenizer;
        for reading in [Reading::default(), Format::Sentences.into()] {
            scene.reading = reading;
            let Prepared { manifest, kept } = scene.prepare().unwrap();
            assert_eq!((manifest.version, kept, manifest.counts.sentences), (1, 2, 82));
            assert_eq!((manifest.tokenizer, scene.shards()), (identity.clone(), shards.clone()));
        }
        // That is all that version 1 knows of its text.
        set_time(time + std::time::Duration::from_secs(1));
        assert!(
            scene.refused().contains("another text (2 files, 1649 bytes, beginning with a.txt)"),
            "{}",
            scene.refused()
        );
        set_time(time);
        fs::remove_file(scene.output().join("00001.shard")).unwrap();
        assert!(scene.refused().contains("an earlier version made it"), "{}", scene.refused());
        fs::rename(scene.output().join(MANIFEST), scene.output().join(PREPARING)).unwrap();
        assert!(scene.refused().contains("begun by an earlier version"), "{}", scene.refused());
        let error = tokenizer_in(&scene.output(), None).map(drop).unwrap_err().to_string();
        assert!(error.contains("begun by an earlier version"), "{error}");
    }
}

/// The tokenizer is there from the beginning, for what was stopped to go on with.
#[test]
fn a_preparation_that_was_begun_has_its_tokenizer() {
    let scene = Scene::new();
    let found = |asked| tokenizer_in(&scene.output(), asked);
    assert!(found(Some(60)).unwrap().is_none());
    scene.killed_after(1, Some(60));
    for asked in [Some(60), None] {
        let (tokenizer, trained) = found(asked).unwrap().unwrap();
        assert_eq!((tokenizer.fingerprint(), trained), (scene.tokenizer.fingerprint(), 60));
    }
    let error = found(Some(61)).unwrap_err().to_string();
    assert!(error.contains("was prepared with another --vocab-size (60)"), "{error}");
    fs::write(scene.output().join(TOKENIZER_FOLDER).join("tokenizer.json"), "{").unwrap();
    assert!(found(Some(60)).unwrap().is_none(), "a damaged one");
    fs::remove_dir_all(scene.output().join(TOKENIZER_FOLDER)).unwrap();
    scene.in_small_parts(Some(60), &|_| ()).unwrap();
    assert!(found(Some(60)).unwrap().is_some());
}

/// A tokenizer that was given is not trained in its place.
#[test]
fn a_given_tokenizer_is_asked_for_again() {
    let scene = Scene::new();
    scene.prepare().unwrap();
    let error = tokenizer_in(&scene.output(), Some(60)).unwrap_err().to_string();
    assert!(error.contains("shards/tokenizer goes on with it"), "{error}");
}

/// A removal that is broken off leaves a folder that is still known to be ours.
#[test]
fn a_removal_that_is_broken_off_can_be_taken_up_again() {
    for is_newest in [true, false] {
        let scene = Scene::new();
        scene.prepare().unwrap();
        let folder = scene.output();
        fs::create_dir(folder.join("99999.shard")).unwrap(); // no file, so it cannot be removed as one
        if is_newest {
            let manifest = fs::read(folder.join(MANIFEST)).unwrap();
            fs::remove_file(folder.join(MANIFEST)).unwrap();
            fs::write(folder.join(MANIFEST), manifest).unwrap();
        }
        remove_prepared(&folder).unwrap_err();
        drop(Claim::of(&folder).unwrap());
        fs::remove_dir(folder.join("99999.shard")).unwrap();
        remove_prepared(&folder).unwrap();
        assert!(!folder.exists());
    }
}

#[test]
fn two_at_once_are_refused() {
    let scene = Scene::new();
    let inner = std::sync::Mutex::new(None);
    let again = |_| {
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
