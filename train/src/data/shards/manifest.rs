//! `manifest.json`: what a folder of shards holds and where it came from.

mod version1;

use std::fs::{self, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::shard::LARGEST_VOCABULARY;
use crate::data::error::DataError;
use crate::data::text::{self, Oddities, Reading};
use crate::files::{Disk, replace};
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// The file's name within the folder. It is written last: a folder that has it is complete.
pub const MANIFEST: &str = "manifest.json";
const VERSION: u32 = 2;
/// A manifest takes about 200 bytes a shard, and one of version 1 as much a file; this is room for a million.
const LARGEST_FILE: u64 = 200 << 20;

/// The tokenizer that made the shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerIdentity {
    /// Tells two tokenizers apart that would give different ids.
    pub fingerprint: String,
    /// The number of pieces; every id is below it.
    pub vocabulary_size: usize,
    /// Its special ids.
    pub special: SpecialTokens,
}

impl TokenizerIdentity {
    /// That of a tokenizer at hand.
    pub fn of(tokenizer: &Tokenizer) -> Self {
        Self {
            fingerprint: tokenizer.fingerprint_text(),
            vocabulary_size: tokenizer.vocabulary_size(),
            special: tokenizer.special(),
        }
    }

    /// Whether this is the identity of `tokenizer`: as it is written now, or as version 1 wrote it. That version divided
    /// some words otherwise, but the pieces and their ids are the same, and so is what a model learns of them.
    pub fn is_of(&self, tokenizer: &Tokenizer) -> bool {
        let now = Self::of(tokenizer);
        *self == now || *self == Self { fingerprint: tokenizer.fingerprint_of_version_1(), ..now }
    }
}

/// The text that was read. It is known by its content; names, sizes and times only save reading it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The first files, as they were given.
    pub first: Vec<String>,
    /// How many files there are.
    pub files: u64,
    /// Their length in bytes, packed as they may be; those of pipes are not known.
    pub bytes: u64,
    /// A hash of what the files are known by without being read: place, length, times; `None` where one of
    /// them is a pipe.
    pub stamp: Option<String>,
    /// A hash of the text itself; `None` before all of it was read.
    pub blake3: Option<String>,
}

/// So many files are named.
const FILES_NAMED: usize = 5;

impl Source {
    /// That of `files`, which are not read.
    ///
    /// # Errors
    /// If one of them is not there.
    pub(super) fn of(files: &[PathBuf]) -> Result<Self, DataError> {
        let (stamp, bytes) = stamp_of(files, Stamp::add_file)?;
        Ok(Self { first: first_names(files), files: files.len() as u64, bytes, stamp, blake3: None })
    }
}

/// What `files` were known by in earlier versions, which did not look where they lie: enough to see a change of theirs, not to
/// tell them from others.
///
/// # Errors
/// If one of them is not there.
pub(super) fn loose_stamp(files: &[PathBuf]) -> Result<Option<String>, DataError> {
    let add = |stamp: &mut Stamp, path: &Path, metadata: &Metadata| {
        stamp.add(path, metadata.len(), modified(metadata));
    };
    Ok(stamp_of(files, add)?.0)
}

/// The stamp of some files, and their length in bytes.
fn stamp_of(
    files: &[PathBuf],
    add: impl Fn(&mut Stamp, &Path, &Metadata),
) -> Result<(Option<String>, u64), DataError> {
    let (mut stamp, mut bytes, mut is_stream) = (Stamp::default(), 0, false);
    for path in files {
        if text::is_stream(path) {
            is_stream = true;
            continue;
        }
        let metadata = fs::metadata(path).map_err(DataError::io("read", path))?;
        add(&mut stamp, path, &metadata);
        bytes += metadata.len();
    }
    Ok(((!is_stream).then(|| stamp.finish()), bytes))
}

/// When a file was changed, in nanoseconds since 1970.
fn modified(metadata: &Metadata) -> u64 {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    modified.map_or(0, |since| since.as_nanos() as u64)
}

impl Source {
    /// For a message.
    pub(super) fn in_words(&self) -> String {
        let files = if self.files == 1 { "1 file".into() } else { format!("{} files", self.files) };
        let first = self.first.first().map_or("", String::as_str);
        format!("text ({files}, {} bytes, beginning with {first})", self.bytes)
    }
}

/// The names of the first of some files.
pub(super) fn first_names(files: &[impl AsRef<Path>]) -> Vec<String> {
    files.iter().take(FILES_NAMED).map(|path| path.as_ref().to_string_lossy().into_owned()).collect()
}

/// What text files are known by as long as they need not be read.
#[derive(Default)]
struct Stamp(blake3::Hasher);

impl Stamp {
    /// A file by its place, its length and its times, and the number that the file system gives it: two files of one name and
    /// length are often of one time too, as archives have them.
    fn add_file(&mut self, path: &Path, metadata: &Metadata) {
        let place = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let place = place.as_os_str().as_encoded_bytes();
        self.0.update(&(place.len() as u64).to_le_bytes());
        self.0.update(place);
        let mut numbers = vec![metadata.len(), modified(metadata)];
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let changed = [metadata.ctime(), metadata.ctime_nsec()].map(i64::cast_unsigned);
            numbers.extend(changed);
            numbers.push(metadata.ino());
        }
        numbers.iter().for_each(|number| {
            self.0.update(&number.to_le_bytes());
        });
    }

    /// A file as earlier versions knew it: by its name, wherever it lies, its length and its time.
    fn add(&mut self, path: &Path, bytes: u64, modified: u64) {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        self.0.update(&(name.len() as u64).to_le_bytes());
        self.0.update(name);
        self.0.update(&bytes.to_le_bytes());
        self.0.update(&modified.to_le_bytes());
    }

    fn finish(self) -> String {
        self.0.finalize().to_hex().to_string()
    }
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// Its name within the folder.
    pub file: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The hash in its header.
    pub blake3: String,
}

/// Sums over all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Documents.
    pub documents: u64,
    /// Sentences.
    pub sentences: u64,
    /// Tokens, special ones not among them.
    pub tokens: u64,
    /// Tokens that are `<unk>`.
    pub unknown: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        let Self { documents, sentences, tokens, unknown } = other;
        self.documents += documents;
        self.sentences += sentences;
        self.tokens += tokens;
        self.unknown += unknown;
    }
}

/// What a folder of shards holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this format, and of the way from text to shards.
    pub version: u32,
    /// Who turned text into ids.
    pub tokenizer: TokenizerIdentity,
    /// How many pieces were asked for where the tokenizer was trained on this text.
    pub trained: Option<u32>,
    /// How the text was read.
    pub reading: Reading,
    /// The text.
    pub source: Source,
    /// What was odd about it.
    pub oddities: Oddities,
    /// The first of the files that hold no text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub empty_files: Vec<String>,
    /// The shards, in order.
    pub shards: Vec<ShardEntry>,
    /// Sums.
    pub counts: Counts,
}

/// The manifest and its hash, as the file has them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed<M> {
    manifest: M,
    /// blake3 of the manifest, written compactly.
    blake3: String,
}

impl<M: Serialize + DeserializeOwned> Sealed<M> {
    fn parse(bytes: &[u8]) -> Result<M, String> {
        let Self { manifest, blake3 } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if seal(&manifest) == blake3 {
            Ok(manifest)
        } else {
            Err("its content does not match its hash".into())
        }
    }
}

fn seal(manifest: &impl Serialize) -> String {
    let text = serde_json::to_vec(manifest).expect("a manifest is plain data");
    blake3::hash(&text).to_hex().to_string()
}

/// What all versions have.
#[derive(Deserialize)]
struct AnyVersion {
    manifest: Version,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Manifest {
    /// A manifest of this version's format.
    pub fn new(tokenizer: TokenizerIdentity, reading: Reading, source: Source) -> Self {
        Self {
            version: VERSION,
            tokenizer,
            trained: None,
            reading,
            source,
            oddities: Oddities::default(),
            empty_files: Vec::new(),
            shards: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Whether this version of the program made it.
    pub(super) fn is_current(&self) -> bool {
        self.version == VERSION
    }

    /// Writes it into `folder` under `name`, complete or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<(), DataError> {
        let sealed = Sealed { manifest: self, blake3: seal(self) };
        let mut text = serde_json::to_string_pretty(&sealed).expect("a manifest is plain data");
        text.push('\n');
        let path = folder.join(name);
        replace(&Disk, &path, text.as_bytes()).map_err(DataError::io("write", &path))
    }

    /// Whether the file `name` in `folder` begins as this program writes it: other programs have files of such names.
    pub(super) fn is_in(folder: &Path, name: &str) -> bool {
        const BEGINNING: &[u8] = br#"{"manifest":{"version":"#;
        let mut head = Vec::new();
        let read = fs::File::open(folder.join(name)).and_then(|file| file.take(256).read_to_end(&mut head));
        head.retain(|byte| !byte.is_ascii_whitespace());
        let version = head.strip_prefix(BEGINNING).and_then(|rest| rest.first());
        read.is_ok() && version.is_some_and(u8::is_ascii_digit)
    }

    /// Reads it from `folder`; `None` where there is no such file.
    pub(crate) fn read(folder: &Path, name: &str) -> Result<Option<Self>, DataError> {
        let path = folder.join(name);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DataError::io("open", &path)(error)),
        };
        let mut bytes = Vec::new();
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(DataError::io("read", &path))?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(DataError::damaged(&path, format!("it is longer than {} MiB", LARGEST_FILE >> 20)));
        }
        Self::parse(&bytes).map(Some).map_err(|what| DataError::damaged(&path, what))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let AnyVersion { manifest } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let manifest: Self = match manifest.version {
            1 => Sealed::<version1::Manifest>::parse(bytes)?.into(),
            VERSION => Sealed::parse(bytes)?,
            other => {
                return Err(format!("it has version {other}, this program reads versions 1 to {VERSION}"));
            }
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// What a right hash does not prove.
    fn check(&self) -> Result<(), String> {
        let size = self.tokenizer.vocabulary_size;
        if size > LARGEST_VOCABULARY {
            return Err(format!("its vocabulary has {size} pieces, 16-bit ids allow {LARGEST_VOCABULARY}"));
        }
        if let Some(id) = self.tokenizer.special.ids().into_iter().find(|&id| id as usize >= size) {
            return Err(format!("its special id {id} lies outside its vocabulary of {size} pieces"));
        }
        // A name with a folder in it would read outside of ours.
        match self.shards.iter().find(|shard| Path::new(&shard.file).file_name() != Some(shard.file.as_ref()))
        {
            Some(shard) => Err(format!("its shard `{}` is not a plain file name", shard.file.escape_debug())),
            None => Ok(()),
        }
    }

    /// One line for a person: documents, sentences, tokens, size.
    pub fn summary(&self) -> String {
        let Counts { documents, sentences, tokens, unknown } = self.counts;
        let bytes: u64 = self.shards.iter().map(|shard| shard.bytes).sum();
        format!(
            "{documents} documents, {sentences} sentences, {tokens} tokens ({:.3}% unknown), {:.1} MB in {} shards",
            100.0 * unknown as f64 / tokens.max(1) as f64,
            bytes as f64 / 1e6,
            self.shards.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Format;
    use proptest::prelude::*;

    fn example() -> Manifest {
        let special = SpecialTokens { pad: 0, unknown: 1, classification: 2, separator: 3, mask: 4 };
        let tokenizer = TokenizerIdentity { fingerprint: "f00d".into(), vocabulary_size: 30, special };
        let source = Source {
            first: vec!["books.txt".into()],
            files: 1,
            bytes: 17,
            stamp: Some("cafe".into()),
            blake3: Some("beef".into()),
        };
        let mut manifest = Manifest::new(tokenizer, Format::Sentences.into(), source);
        manifest.shards.push(ShardEntry { file: "00000.shard".into(), bytes: 96, blake3: "ab".into() });
        manifest.counts = Counts { documents: 1, sentences: 2, tokens: 3, unknown: 0 };
        manifest
    }

    fn written(manifest: &Manifest) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        manifest.write(folder.path(), MANIFEST).unwrap();
        assert_eq!(Manifest::read(folder.path(), MANIFEST).unwrap().as_ref(), Some(manifest));
        fs::read(folder.path().join(MANIFEST)).unwrap()
    }

    proptest! {
        /// A flipped bit is found, or falls on white space and changes nothing.
        #[test]
        fn a_flipped_bit_is_found_or_harmless(place: prop::sample::Index) {
            let manifest = example();
            let mut bytes = written(&manifest);
            let bit = place.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(read) = Manifest::parse(&bytes) {
                prop_assert_eq!(read, manifest);
            }
        }

        #[test]
        fn a_truncated_manifest_is_refused(place: prop::sample::Index) {
            let bytes = written(&example());
            // The last byte is the newline after the closing brace.
            prop_assert!(Manifest::parse(&bytes[..place.index(bytes.len() - 1)]).is_err());
        }

        #[test]
        fn nonsense_is_refused(bytes: Vec<u8>) {
            prop_assert!(Manifest::parse(&bytes).is_err());
        }
    }

    #[test]
    fn forged_manifests_are_refused() {
        let refuse = |change: fn(&mut Manifest), complaint: &str| {
            let mut manifest = example();
            change(&mut manifest);
            let sealed = Sealed { blake3: seal(&manifest), manifest };
            let error = Manifest::parse(&serde_json::to_vec(&sealed).unwrap()).unwrap_err();
            assert!(error.contains(complaint), "{error}");
        };
        refuse(|m| m.version = 3, "version 3");
        refuse(|m| m.tokenizer.vocabulary_size = 70_000, "70000 pieces");
        refuse(|m| m.tokenizer.special.mask = 30, "special id 30");
        refuse(|m| m.shards[0].file = "../../secret".into(), "plain file name");
        refuse(|m| m.shards[0].file = "..".into(), "plain file name");
    }
}
