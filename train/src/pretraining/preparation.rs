//! What a run learns from: text or prepared folders, a tokenizer, and what is held out.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Origin;

use super::dataset::Dataset;
use super::own_text::in_place_of_what_is_gone;
use super::recorded::{Limits, Recorded, is_recorded};
use super::report::{Report, share_repeated_in};
use super::sampler::TOO_SHORT;
use super::stale::{drop_parts, drop_prepared};
use super::words::WordStarts;
use crate::config::{DataSettings, Pretrain};
use crate::data::{
    Copied, Corpus, DataError, Format, MANIFEST, Preparation, Prepared, Reading, Selection, TOKENIZER_FOLDER,
    copied, few_documents, files_of, has_copies, is_prepared, left_out, look_at, reads_standard_input,
    remove_prepared, text_size, with_sentences,
};
use crate::files::{Disk, replace};
use crate::run::directory::{model_in, tokenizer_of};
use crate::stories::{Split, story};
use crate::tokenizer::{LoadOptions, Tokenizer, TrainOptions};
use crate::training::SessionError;

/// Built-in stories to learn from, and to measure with.
const STORIES: [(Split, &str, u64); 2] =
    [(Split::Training, "stories-training.txt", 20_000), (Split::HeldOut, "stories-held-out.txt", 1_000)];
/// Pieces of the vocabulary that is trained on the built-in stories.
const STORY_VOCABULARY: usize = 4096;

/// More of the held-out text that is trained on too: it is no test.
const MOST_REPEATED: f64 = 0.05;
/// More of the text that no sequence shows.
const MOST_CUT: f64 = 0.3;
/// More tokens in the middles of words that pass for words.
const MOST_INNER_STARTS: f64 = 0.1;

/// Text as ids, and what made it so.
#[derive(Debug)]
pub struct RunData {
    /// Text to ids.
    pub tokenizer: Tokenizer,
    /// Examples to learn from.
    pub training: Arc<Dataset>,
    /// Examples to measure with.
    pub held_out: Arc<Dataset>,
    /// Tells the text to learn from apart from any other, in hexadecimal.
    pub identity: String,
}

/// Where the data of a run are made and found again. The work can be killed at any moment.
pub struct DataPreparation<'a> {
    /// `data/` in the run directory.
    pub folder: &'a Path,
    /// Whether the run has begun. As long as it has not, the pipe of this start counts: text from pipes is read anew where there
    /// is a copy of what was piped in before.
    pub has_begun: bool,
    /// `data/` of a run of the same text: what it has is taken from there, and nothing in it is changed.
    pub there: Option<&'a Path>,
    /// Told in words what is being done.
    pub announce: &'a dyn Fn(&str),
}

impl DataPreparation<'_> {
    /// Gathers, and where needed makes, what `settings` ask for.
    ///
    /// # Errors
    /// If text, prepared folders or tokenizer cannot be used, or do not belong together.
    pub fn run(&self, settings: &Pretrain) -> Result<RunData, SessionError> {
        // A run that has not begun learns from what is named now.
        let own = self.there.or(self.has_begun.then_some(self.folder));
        let own = own.map(|own| in_place_of_what_is_gone(settings, own, self.announce));
        let settings = own.as_ref().unwrap_or(settings);
        let data = &settings.data;
        if data.train.is_empty() {
            let reading = Reading::from(Format::Sentences);
            let [training, held_out] = STORIES.map(|(split, name, count)| self.stories(split, name, count));
            let (training, held_out) = (vec![training?], vec![held_out?]);
            let tokenizer = match &data.tokenizer {
                Some(path) => given_tokenizer(settings, path)?,
                None => {
                    let size = settings.model.vocab_size.unwrap_or(STORY_VOCABULARY);
                    self.trained_tokenizer(&training, reading, size, settings.model.vocab_size.is_none())?
                }
            };
            let (training, _) = self.prepare("training", &training, reading, &tokenizer)?;
            let (held_out, _) = self.prepare("held-out", &held_out, reading, &tokenizer)?;
            return self.assemble(settings, tokenizer, training, Some(held_out));
        }
        if let Some(recorded) = data.train.iter().find(|path| is_recorded(path)) {
            return self.recorded(settings, recorded);
        }
        let reading = data.reading();
        // That a file is not there is said before the work on the others.
        if !data.held_out.is_empty()
            && !self.folder.join("held-out").join(MANIFEST).exists()
            && prepared_folder(&data.held_out)?.is_none()
        {
            files_of(&data.held_out)?;
        }
        let training = self.repeatable("training", &data.train)?;
        let held_out = self.repeatable("held-out", &data.held_out)?;
        let prepared = prepared_folder(&training)?;
        let is_made = |there: &Path| there.join(MANIFEST).is_file();
        if prepared.is_none() && !is_made(&self.place("training", is_made)) {
            look_at(&files_of(&training)?, reading)?; // before a vocabulary of nothing is trained
        }
        if data.held_out.is_empty() && prepared.is_none() {
            let few = few_documents(&training, reading, data.held_out_every)?;
            if few.is_some_and(|few| few.sentences < 2) {
                return Err(DataError::NothingToSample { reason: TOO_SHORT }.into());
            }
            self.say_if_few(few.map(|few| few.documents), data.held_out_every);
        }
        let is_prepared = prepared.is_some();
        self.say_what_is_unused(
            data,
            is_prepared && (held_out.is_empty() || prepared_folder(&held_out)?.is_some()),
        );
        let tokenizer = match (&data.tokenizer, prepared) {
            (Some(path), _) => given_tokenizer(settings, path)?,
            (None, Some(folder)) => Tokenizer::load(&folder.join(TOKENIZER_FOLDER), &LoadOptions::default())?,
            (None, None) => {
                let suitable = || text_size(&training).map(TrainOptions::suitable_size);
                let size = settings.model.vocab_size.map_or_else(suitable, Ok)?;
                self.trained_tokenizer(&training, reading, size, settings.model.vocab_size.is_none())?
            }
        };
        let training = self.corpus("training", &training, reading, &tokenizer)?;
        let held_out = match data.held_out.is_empty() {
            true => {
                let few = is_prepared && training.documents() < data.held_out_every;
                self.say_if_few(few.then_some(training.documents()), data.held_out_every);
                None
            }
            false => Some(self.corpus("held-out", &held_out, reading, &tokenizer)?),
        };
        self.assemble(settings, tokenizer, training, held_out)
    }

    /// Samples that were cut and masked before; `file` is one of their files.
    fn recorded(&self, settings: &Pretrain, file: &Path) -> Result<RunData, SessionError> {
        let data = &settings.data;
        let refuse = |problem| DataError::Recorded { path: file.to_owned(), problem };
        if !data.train.iter().chain(&data.held_out).all(|path| is_recorded(path)) {
            return Err(refuse("give such files alone, for --held-out too").into());
        }
        let Some(tokenizer) = &data.tokenizer else {
            return Err(refuse("name the tokenizer that made them (--tokenizer)").into());
        };
        let tokenizer = given_tokenizer(settings, tokenizer)?;
        (self.announce)(
            "the samples are cut and masked already: settings of sampling and masking only say how long they may be",
        );
        let length = settings.sampling.max_seq_length;
        let limits = Limits {
            vocabulary_size: settings.model.vocab_size.unwrap_or_else(|| tokenizer.vocabulary_size()),
            length,
            predictions: settings.masking.predictions(length),
        };
        let open = |paths: &[PathBuf], selection| {
            Recorded::open(paths, selection, limits, tokenizer.special(), settings.training.seed)
        };
        let every = data.held_out_every;
        let (part, held_out) = match data.held_out.as_slice() {
            [] => (Selection::Training { every }, open(&data.train, Selection::HeldOut { every })),
            files => (Selection::All, open(files, Selection::All)),
        };
        let held_out = held_out.map_err(|error| match error {
            DataError::EmptyText { .. } => {
                refuse("there are fewer than --held-out-every: give a smaller number, or other samples by --held-out")
            }
            error => error,
        })?;
        let (training, hash) = open(&data.train, part)?;
        let mut identity = blake3::Hasher::new();
        identity.update(hash.as_bytes()).update(format!("{part:?}").as_bytes());
        identity.update(tokenizer.fingerprint_text().as_bytes());
        let [training, held_out] = [training, held_out.0].map(|part| Arc::new(Dataset::recorded(part)));
        Ok(RunData { tokenizer, training, held_out, identity: identity.finalize().to_hex().to_string() })
    }

    /// A corpus of the run's data: a prepared folder, or text that is prepared now.
    ///
    /// # Errors
    /// If it cannot be read, or was prepared with another tokenizer.
    pub fn corpus(
        &self,
        name: &str,
        paths: &[PathBuf],
        reading: Reading,
        tokenizer: &Tokenizer,
    ) -> Result<Arc<Corpus>, SessionError> {
        match prepared_folder(paths)? {
            Some(folder) => {
                let corpus = Arc::new(open_prepared(&folder, tokenizer)?);
                self.warn(Report::read(&folder));
                Ok(corpus)
            }
            None => {
                let (corpus, report) = self.prepare(name, paths, reading, tokenizer)?;
                self.warn(Some(report));
                Ok(corpus)
            }
        }
    }

    /// What is read from pipes is kept beside the run: it is read twice, and again when the run is continued.
    fn repeatable(&self, name: &str, paths: &[PathBuf]) -> Result<Vec<PathBuf>, SessionError> {
        let folder = self.place(&format!("{name}-text"), |there| has_copies(paths, there));
        if reads_standard_input(paths, &folder, !self.has_begun) {
            (self.announce)(&format!("reading the {name} text from standard input"));
        }
        let Copied { files, kept, replaced } = copied(paths, &folder, !self.has_begun)?;
        if kept {
            (self.announce)(&format!("using the {name} text that was piped in when this run was begun"));
        }
        if replaced {
            (self.announce)(&format!(
                "the {name} text that is piped in now takes the place of an earlier start's"
            ));
            match name {
                "held-out" => drop_parts(self.folder, &["held-out"])?,
                _ => drop_prepared(self.folder)?,
            }
        }
        left_out(&files)?.iter().for_each(|note| (self.announce)(note));
        Ok(files)
    }

    fn prepare(
        &self,
        name: &str,
        sources: &[PathBuf],
        reading: Reading,
        tokenizer: &Tokenizer,
    ) -> Result<(Arc<Corpus>, Report), SessionError> {
        if let Some(found) = self.found(name, sources, reading, tokenizer)? {
            return Ok(found);
        }
        let folder = self.folder.join(name);
        if !folder.join(MANIFEST).exists() {
            (self.announce)(&format!("preparing {name} text"));
        }
        let preparation =
            Preparation { sources, reading, tokenizer, trained: None, folder: &folder, progress: &|_| {} };
        let Prepared { manifest, .. } = match preparation.run() {
            // What a run is measured on may change; the trainer tells of it.
            Err(DataError::OtherPreparation { .. } | DataError::EarlierVersion { .. })
                if name == "held-out" =>
            {
                (self.announce)("preparing held-out text anew: what is there was made of another");
                remove_prepared(&folder)?;
                preparation.run()?
            }
            prepared => prepared?,
        };
        let corpus = Arc::new(Corpus::open(&folder)?);
        let report = match Report::read(&folder) {
            Some(report) => report,
            None => {
                let report = Report::of(&corpus, &manifest, tokenizer);
                report.write(&folder)?;
                report
            }
        };
        Ok((corpus, report))
    }

    /// Where the part `name` of the data is to be: in the run that is only looked at, if it is whole there.
    fn place(&self, name: &str, is_whole: impl FnOnce(&Path) -> bool) -> PathBuf {
        let there = self.there.map(|there| there.join(name)).filter(|there| is_whole(there));
        there.unwrap_or_else(|| self.folder.join(name))
    }

    /// What was prepared of this text in the run that is only looked at.
    fn found(
        &self,
        name: &str,
        sources: &[PathBuf],
        reading: Reading,
        tokenizer: &Tokenizer,
    ) -> Result<Option<(Arc<Corpus>, Report)>, SessionError> {
        let Some(folder) = self.there.map(|there| there.join(name)) else { return Ok(None) };
        let there =
            Preparation { sources, reading, tokenizer, trained: None, folder: &folder, progress: &|_| {} };
        let Some(manifest) = there.found()? else { return Ok(None) };
        // One that is damaged is made anew, elsewhere.
        let Ok(corpus) = Corpus::open(&folder) else { return Ok(None) };
        let corpus = Arc::new(corpus);
        let report = Report::read(&folder).unwrap_or_else(|| Report::of(&corpus, &manifest, tokenizer));
        Ok(Some((corpus, report)))
    }

    /// Tells what looks wrong with a text.
    fn warn(&self, report: Option<Report>) {
        for warning in report.iter().flat_map(|report| &report.warnings) {
            (self.announce)(&format!("warning: {warning}"));
        }
    }

    /// Tells of settings that these data leave nothing to do for.
    fn say_what_is_unused(&self, data: &DataSettings, is_prepared: bool) {
        let usual = DataSettings::default();
        let is_divided = "the held-out text is given, none is taken of the training text";
        let was_read = "the text was read when it was prepared; `albert-train prepare` takes it";
        for (flag, is_unused, reason) in [
            ("--format", is_prepared && data.format.is_some(), was_read),
            ("--skip-bad-lines", is_prepared && data.skip_bad_lines, was_read),
            (
                "--held-out-every",
                !data.held_out.is_empty() && data.held_out_every != usual.held_out_every,
                is_divided,
            ),
        ] {
            if is_unused {
                (self.announce)(&format!("warning: {flag} changes nothing: {reason}"));
            }
        }
    }

    /// Tells what is held out of a text of too few documents; `documents` is their number if they are.
    fn say_if_few(&self, documents: Option<usize>, every: usize) {
        if let Some(documents) = documents {
            let documents =
                if documents == 1 { "1 document".into() } else { format!("{documents} documents") };
            (self.announce)(&format!(
                "the text has {documents}, fewer than --held-out-every {every}: its last sentences are held out for evaluation \
                 (other text: --held-out)"
            ));
        }
    }

    /// Tells what would make a run's figures mean something else than they seem to.
    fn check(
        &self,
        settings: &Pretrain,
        tokenizer: &Tokenizer,
        training: &Arc<Corpus>,
        held_out: Option<&Corpus>,
    ) {
        if let Some(held_out) = held_out {
            let share = share_repeated_in(held_out, training);
            if share > MOST_REPEATED {
                (self.announce)(&format!(
                    "warning: {:.1}% of the held-out text in long sentences is in the training text too: it is no test",
                    100.0 * share
                ));
            }
        }
        let length = settings.sampling.max_seq_length;
        let cut = Report::cut_off_at(training, tokenizer, length);
        if cut > MOST_CUT {
            (self.announce)(&format!(
                "warning: {:.1}% of the tokens are never seen in sequences of {length}, cut off at the ends of too long \
                 pairs: sentences are too long, or are several each ({} divides them)",
                100.0 * cut,
                if settings.data.train.iter().any(|path| is_prepared(path)) {
                    "prepared again with --format prose, `prepare`"
                } else {
                    "--format prose"
                }
            ));
        }
        if settings.masking.whole_word && !settings.masking.words_by_space {
            let [reference, by_space] = [false, true].map(|by_space| WordStarts::of(tokenizer, by_space));
            let share = reference.share_unlike(&by_space, training);
            if share > MOST_INNER_STARTS {
                (self.announce)(&format!(
                    "warning: whole-word masking has little effect: {:.0}% of the tokens are middles of words that are taken \
                     for words, as ALBERT does outside English; --words-by-space masks whole words",
                    100.0 * share
                ));
            }
        }
    }

    /// The tokenizer of this run, trained when it was begun.
    fn trained_tokenizer(
        &self,
        sources: &[PathBuf],
        reading: Reading,
        vocabulary_size: usize,
        grows: bool,
    ) -> Result<Tokenizer, SessionError> {
        let folder = self.place("tokenizer", |there| there.join("tokenizer.json").exists());
        if !folder.join("tokenizer.json").exists() {
            (self.announce)(&format!("training a vocabulary of {vocabulary_size} pieces"));
            let options = TrainOptions { vocabulary_size, grows, ..TrainOptions::default() };
            let trained =
                with_sentences(sources, reading, |sentences| Tokenizer::train(sentences, &options))??;
            if let Some(warning) = options.shortfall(trained.vocabulary_size()) {
                (self.announce)(&warning);
            }
            trained.save(&folder)?;
        }
        Ok(Tokenizer::load(&folder, &LoadOptions::default())?)
    }

    /// Writes stories to a file once, whole or not at all.
    fn stories(&self, split: Split, name: &str, count: u64) -> Result<PathBuf, SessionError> {
        let path = self.place(name, Path::exists);
        if !path.exists() {
            let stories = (0..count).map(|index| story(0, split, index).join("\n") + "\n\n");
            let text: String = stories.collect();
            fs::create_dir_all(self.folder)
                .and_then(|()| replace(&Disk, &path, text.as_bytes()))
                .map_err(|source| DataError::Io { action: "write", path: path.clone(), source })?;
        }
        Ok(path)
    }

    fn assemble(
        &self,
        settings: &Pretrain,
        tokenizer: Tokenizer,
        training: Arc<Corpus>,
        held_out: Option<Arc<Corpus>>,
    ) -> Result<RunData, SessionError> {
        if !settings.data.train.is_empty() {
            self.check(settings, &tokenizer, &training, held_out.as_deref());
        }
        let (training_part, held_out) = match held_out {
            Some(corpus) => (Selection::All, (corpus, Selection::All)),
            None => {
                let [part, held_out] = Selection::of_corpus(&training, settings.data.held_out_every);
                (part, (training.clone(), held_out))
            }
        };
        let mut identity = blake3::Hasher::new();
        identity.update(training.identity().as_bytes()).update(format!("{training_part:?}").as_bytes());
        let identity = identity.finalize().to_hex().to_string();
        let seed = settings.training.seed;
        let examples = |corpus, part| dataset(&tokenizer, corpus, part, settings, seed);
        let training = examples(training, training_part)?;
        let held_out = examples(held_out.0, held_out.1)?;
        Ok(RunData { tokenizer, training, held_out, identity })
    }
}

/// The examples of a corpus as `settings` cut and mask them.
///
/// # Errors
/// If the documents yield none.
pub fn dataset(
    tokenizer: &Tokenizer,
    corpus: Arc<Corpus>,
    part: Selection,
    settings: &Pretrain,
    seed: u64,
) -> Result<Arc<Dataset>, DataError> {
    let word_starts = WordStarts::of(tokenizer, settings.masking.words_by_space);
    let (samples, masking) = (settings.sampling, settings.masking);
    Ok(Arc::new(Dataset::new(corpus, word_starts, part, samples, masking, seed)?))
}

/// The tokenizer that the settings name. That of the model to begin with lies beside the model, in an archive too.
fn given_tokenizer(settings: &Pretrain, path: &Path) -> Result<Tokenizer, SessionError> {
    let init = settings.model.init.as_deref().map(model_in).transpose()?;
    Ok(match init.filter(|init| init == path) {
        Some(model) => Tokenizer::load(Origin::of(&model)?.folder(), &LoadOptions::default())?,
        None => Tokenizer::load(&tokenizer_of(path)?, &LoadOptions::default())?,
    })
}

/// A prepared folder, which `tokenizer` must have made.
pub(super) fn open_prepared(folder: &Path, tokenizer: &Tokenizer) -> Result<Corpus, SessionError> {
    let corpus = Corpus::open(folder)?;
    corpus.expect_tokenizer(folder, tokenizer)?;
    Ok(corpus)
}

/// The prepared folder that `paths` are, or `None` for text.
pub(super) fn prepared_folder(paths: &[PathBuf]) -> Result<Option<PathBuf>, SessionError> {
    let folders: Vec<_> = paths.iter().filter(|path| is_prepared(path)).collect();
    match (folders.as_slice(), paths.len()) {
        ([], _) => Ok(None),
        ([folder], 1) => Ok(Some((*folder).clone())),
        _ => Err(SessionError::MixedSources { folder: folders[0].clone() }),
    }
}
