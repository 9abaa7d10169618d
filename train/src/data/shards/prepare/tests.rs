use super::*;
use crate::data::Corpus;
use crate::tokenizer::TrainOptions;
use std::collections::BTreeMap;
use std::sync::Mutex;
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

    fn prepare_with(&self, progress: &(dyn Fn(BytesDone) + Sync)) -> Result<Prepared, DataError> {
        let Self { sources, tokenizer, format, stop, .. } = self;
        Preparation { sources, format: *format, tokenizer, folder: &self.output(), stop, progress }
            .run_in_parts(300)
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

/// Stopped after each number of shards, it goes on with what is left and ends with the same bytes.
#[test]
fn an_interrupted_preparation_goes_on() {
    let uninterrupted = Scene::new();
    let total = uninterrupted.prepare().unwrap().manifest.shards.len();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for stop_after in 1..total {
        let scene = Scene::new();
        let done = AtomicUsize::new(0);
        let stop = |_| scene.stop.store(done.fetch_add(1, Relaxed) + 1 == stop_after, Relaxed);
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
        let all_done = Mutex::new(None);
        scene.prepare_with(&|done| *all_done.lock().unwrap() = Some(done)).unwrap();
        let BytesDone { done, kept, total: bytes } = all_done.into_inner().unwrap().unwrap();
        assert_eq!((done, kept), (bytes, bytes), "nothing of it was done now");
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

/// The tokenizer is there from the beginning, for what was stopped to go on with, and is that of this text alone.
#[test]
fn a_preparation_that_was_begun_has_its_tokenizer() {
    let scene = Scene::new();
    let found = |scene: &Scene| tokenizer_in(&scene.output(), &scene.sources).unwrap();
    assert!(found(&scene).is_none());
    let stop = |_| scene.stop.store(true, Relaxed);
    scene.prepare_with(&stop).unwrap_err();
    assert_eq!(found(&scene).unwrap().fingerprint(), scene.tokenizer.fingerprint());
    fs::write(scene.output().join(TOKENIZER_FOLDER).join("tokenizer.json"), "{").unwrap();
    assert!(found(&scene).is_none(), "a damaged one");
    fs::remove_dir_all(scene.output().join(TOKENIZER_FOLDER)).unwrap();
    scene.stop.store(false, Relaxed);
    scene.prepare().unwrap();
    assert!(found(&scene).is_some());
    fs::write(&scene.sources[1], "Another text.").unwrap();
    assert!(found(&scene).is_none());
}

#[test]
fn two_at_once_are_refused() {
    let scene = Scene::new();
    let inner = Mutex::new(None);
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
