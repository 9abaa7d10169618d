//! What can go wrong between a text file and a batch.

use std::io;
use std::path::{Path, PathBuf};

use super::text::Format;
use crate::exit::{Classify, ExitCode};
use crate::files::is_address;
use crate::run::lock::LockError;
use crate::threads::ThreadsError;
use crate::tokenizer::TokenizerError;
use crate::visible::shown;

/// What to do about single bad lines.
const SKIP_ADVICE: &str = "--skip-bad-lines leaves such lines out and counts them";

/// An error of the data path: what, where, why, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}{}", shown(path), way_out(path))]
    Io {
        /// What was being done, as a verb: `read`, `write`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason given by the system.
        source: io::Error,
    },
    /// The system gives no threads.
    #[error(transparent)]
    Threads(#[from] ThreadsError),
    /// The output folder cannot be locked.
    #[error(transparent)]
    Lock(LockError),
    /// No input file was named.
    #[error("no text was given: name at least one file")]
    NoSources,
    /// The input holds nothing to learn from.
    #[error("{what}: there is no text to learn from")]
    EmptyText {
        /// Which file or files.
        what: String,
    },
    /// A folder of prepared data where text is wanted.
    #[error(
        "{} holds prepared data, not text; `albert-train pretrain --train` takes it as it is",
        shown(path)
    )]
    PreparedFolder {
        /// The folder.
        path: PathBuf,
    },
    /// JSON lines that are to be read as plain text.
    #[error(
        "{} holds JSON lines, or is named so, but is to be read as {}: give it apart from plain text, with the format \
         jsonl or none",
        shown(path),
        match format { Format::Prose => "prose", _ => "sentences" },
    )]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// How it was to be read.
        format: Format,
    },
    /// JSON that is not one object a line.
    #[error("{} holds {problem}", shown(path))]
    JsonDocument {
        /// The file.
        path: PathBuf,
        /// What it holds, and what to do.
        problem: &'static str,
    },
    /// A TFRecord file that is damaged.
    #[error("{}: {problem}", shown(path))]
    Records {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A record that is no sample, or does not fit.
    #[error("{}: record {record} {problem}", shown(path))]
    Record {
        /// The file.
        path: PathBuf,
        /// From 1.
        record: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Samples that were made before, and something else.
    #[error("{} holds samples that are masked already (TFRecord): {problem}", shown(path))]
    Recorded {
        /// The file.
        path: PathBuf,
        /// What is missing, or does not go with it.
        problem: &'static str,
    },
    /// A file that is recognised as something else than UTF-8 text.
    #[error("{} {problem}", shown(path))]
    NotText {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do.
        problem: &'static str,
    },
    /// A packed file cannot be unpacked.
    #[error("{} is damaged gzip: {what}; pack or fetch it again", shown(path))]
    DamagedGzip {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A line is not UTF-8.
    #[error("{}:{line}: byte {column} of the line is not valid UTF-8; {advice} ({SKIP_ADVICE})", shown(path))]
    InvalidUtf8 {
        /// The file.
        path: PathBuf,
        /// Its line, counted from 1.
        line: u64,
        /// The first bad byte of the line, counted from 1.
        column: usize,
        /// What to do.
        advice: String,
    },
    /// A line holds a NUL, which no text does.
    #[error(
        "{}:{line}: the line holds a NUL byte, which no text does; `tr -d '\\000'` takes them out ({SKIP_ADVICE})",
        shown(path)
    )]
    Nul {
        /// The file.
        path: PathBuf,
        /// Its line, counted from 1.
        line: u64,
    },
    /// A record does not end within the limit.
    #[error(
        "{}:{line}: the record is longer than {} MiB: divide its text between several ({SKIP_ADVICE})",
        shown(path),
        limit >> 20
    )]
    EndlessLine {
        /// The file.
        path: PathBuf,
        /// Its line, counted from 1.
        line: u64,
        /// The longest record accepted, in bytes.
        limit: usize,
    },
    /// A line of a JSONL file is not an object with a `text`.
    #[error(
        "{}:{line}: not a record with a \"text\": {reason} ({SKIP_ADVICE}; --format sentences reads plain text that begins so)",
        shown(path)
    )]
    Json {
        /// The file.
        path: PathBuf,
        /// Its line, counted from 1.
        line: u64,
        /// Why not, in a reader's words.
        reason: String,
    },
    /// The vocabulary does not fit the shards' 16-bit ids.
    #[error("the vocabulary has {size} pieces, shards hold at most 65536 (16-bit ids): train a smaller one")]
    VocabularyTooLarge {
        /// Its number of pieces.
        size: usize,
    },
    /// The tokenizer could not be saved beside the shards.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The output folder belongs to something else.
    #[error("{} already holds {found}; name an empty or a new folder", shown(path))]
    ForeignFolder {
        /// The folder.
        path: PathBuf,
        /// An entry that is not ours.
        found: String,
    },
    /// A file where the output folder is to be.
    #[error("{} is a file, not a folder to write in; name an empty or a new folder", shown(path))]
    NoFolder {
        /// The file.
        path: PathBuf,
    },
    /// The output folder was prepared, or half prepared, from something else.
    #[error(
        "{} was prepared with another {difference}; name a new folder, or delete this one to prepare it afresh",
        shown(path)
    )]
    OtherPreparation {
        /// The folder.
        path: PathBuf,
        /// What differs.
        difference: String,
    },
    /// Another process is at work on the folder.
    #[error("another process is preparing data in {}; wait for it, or name another folder", shown(path))]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The text changed while it was being read.
    #[error("{what}: the text changed while it was being prepared; run the same command again")]
    SourceChanged {
        /// Which files.
        what: String,
    },
    /// The output folder was left unfinished by an earlier version of the program.
    #[error(
        "{} was begun by an earlier version of this program, which cut text otherwise; delete the folder to prepare it \
         afresh, or name a new one",
        shown(path)
    )]
    EarlierVersion {
        /// The folder.
        path: PathBuf,
    },
    /// A shard or a manifest is damaged.
    #[error("{} is damaged: {what}; prepare the data again", shown(path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The folder holds no prepared data.
    #[error("{} holds no prepared data ({detail}); make it with `albert-train prepare`", shown(path))]
    NotPrepared {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        detail: &'static str,
    },
    /// The shards were made with another tokenizer than the run's.
    #[error(
        "the data in {} was prepared with tokenizer {prepared}, this run uses {given}: prepare it again, or give the \
         tokenizer it was prepared with (if an earlier version did so with a WordPiece vocabulary: its vocab.txt by name, \
         not its folder)",
        shown(path)
    )]
    OtherTokenizer {
        /// The folder of shards.
        path: PathBuf,
        /// Fingerprint of the tokenizer that made the shards.
        prepared: String,
        /// Fingerprint of the one at hand.
        given: String,
    },
    /// An option has an impossible value.
    #[error("{option} = {value}: {reason}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        reason: &'static str,
    },
    /// A padded batch does not fit together.
    #[error("{matrix}: {reason}")]
    Padded {
        /// The name of the matrix.
        matrix: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Samples without masked words.
    #[error(
        "{masked} of the {tokens} tokens in {samples} samples of the {name} data are masked, which is nothing to learn from: {reason}"
    )]
    NothingMasked {
        /// Which data.
        name: &'static str,
        /// How many were looked at.
        samples: u64,
        /// Their tokens.
        tokens: usize,
        /// Of these, masked.
        masked: usize,
        /// Why, and what to change.
        reason: &'static str,
    },
    /// The corpus yields no sample under these options.
    #[error("no sample can be made of this text: {reason}")]
    NothingToSample {
        /// Why, and what to change.
        reason: &'static str,
    },
}

/// What to do about a file that cannot be read, where its path says.
fn way_out(path: &Path) -> &'static str {
    if is_address(path) { "\n  help: files are read on this machine alone: copy it here first" } else { "" }
}

impl DataError {
    /// Turns the system's error into one that says what was done to which file.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn damaged_gzip(path: PathBuf, what: String) -> Self {
        Self::DamagedGzip { path, what }
    }

    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_path_buf(), what: what.into() }
    }
}

impl Classify for DataError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Io { source, .. } => source.exit_code(),
            Self::Threads(error) => error.exit_code(),
            Self::Lock(error) => error.exit_code(),
            Self::Tokenizer(error) => error.exit_code(),
            Self::NoSources
            | Self::ForeignFolder { .. }
            | Self::NoFolder { .. }
            | Self::OtherPreparation { .. }
            | Self::EarlierVersion { .. }
            | Self::Busy { .. }
            | Self::PreparedFolder { .. }
            | Self::OtherFormat { .. }
            | Self::Recorded { .. }
            | Self::OtherTokenizer { .. }
            | Self::Option { .. } => ExitCode::Usage,
            Self::EmptyText { .. }
            | Self::JsonDocument { .. }
            | Self::Records { .. }
            | Self::Record { .. }
            | Self::NotText { .. }
            | Self::DamagedGzip { .. }
            | Self::Nul { .. }
            | Self::InvalidUtf8 { .. }
            | Self::EndlessLine { .. }
            | Self::Json { .. }
            | Self::VocabularyTooLarge { .. }
            | Self::SourceChanged { .. }
            | Self::Damaged { .. }
            | Self::Padded { .. }
            | Self::NotPrepared { .. }
            | Self::NothingMasked { .. }
            | Self::NothingToSample { .. } => ExitCode::Data,
        }
    }
}
