//! `MANIFEST.json`: what a checkpoint consists of, with the length and blake3 hash of every file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::tensors::TensorError;
use crate::files::{self, Files, Writer};

/// The manifest's name inside a checkpoint.
pub const MANIFEST: &str = "MANIFEST.json";

/// Version of the manifest's form. The first had no `best`; it is still read.
const SCHEMA: u32 = 2;

/// No manifest of ours comes near this many bytes.
const MAX_MANIFEST: u64 = 64 << 10;

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no manifest: the checkpoint was never finished, or somebody took it away.
    #[error("{MANIFEST} is missing")]
    NoManifest,
    /// The manifest is not one of ours, or damaged.
    #[error("{MANIFEST} is damaged: {0}")]
    Manifest(String),
    /// The folder's name and the manifest speak of different steps.
    #[error("{MANIFEST} belongs to step {0}")]
    OtherStep(u64),
    /// A file cannot be read back.
    #[error("{file} cannot be read: {source}")]
    Unreadable {
        /// The file's name.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file is shorter or longer than when it was written.
    #[error("{file} has {found} bytes, {expected} were written")]
    Length {
        /// The file's name.
        file: String,
        /// Length now.
        found: u64,
        /// Length in the manifest.
        expected: u64,
    },
    /// A file's content changed.
    #[error("{file} does not have the content that was written (blake3 hash differs)")]
    Hash {
        /// The file's name.
        file: String,
    },
    /// A tensor file does not hold what a model can use.
    #[error("{file}: {source}")]
    Tensors {
        /// The file's name.
        file: String,
        /// What is wrong with it.
        source: TensorError,
    },
}

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// File name, without any folder.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// blake3 hash of the content, in hexadecimal.
    pub blake3: String,
}

/// The list of a checkpoint's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    schema: u32,
    /// Optimizer steps done when the checkpoint was written.
    pub step: u64,
    /// The step of the best checkpoint as it was known then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<u64>,
    /// The files, in the order in which they were written.
    pub files: Vec<Entry>,
}

impl Manifest {
    /// An empty manifest for a checkpoint of `step`, when the best was that of step `best`.
    pub fn new(step: u64, best: Option<u64>) -> Self {
        Manifest { schema: SCHEMA, step, best, files: Vec::new() }
    }

    /// Writes one file of the checkpoint in `dir`, synced, and lists it.
    pub fn write_file(
        &mut self,
        files: &dyn Files,
        dir: &Path,
        name: &str,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let path = dir.join(name);
        let mut hashing =
            Hashing { writer: Writer::create(files, &path)?, hasher: blake3::Hasher::new(), bytes: 0 };
        content(&mut hashing)?;
        hashing.writer.sync()?;
        let blake3 = hashing.hasher.finalize().to_hex().to_string();
        self.files.push(Entry { name: name.into(), bytes: hashing.bytes, blake3 });
        Ok(())
    }

    /// Writes the manifest itself, the last file of a checkpoint.
    pub fn write(&self, files: &dyn Files, dir: &Path) -> io::Result<()> {
        let path = dir.join(MANIFEST);
        let mut writer = Writer::create(files, &path)?;
        writer.write_all(&self.to_bytes()?)?;
        writer.sync()
    }

    /// Reads the manifest in `dir`. Its bytes must be exactly those that we would write for its content, so that no
    /// flipped bit in it goes unnoticed.
    pub fn read(dir: &Path) -> Result<Self, Fault> {
        let bytes = match files::read_plain(&dir.join(MANIFEST), MAX_MANIFEST) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Fault::NoManifest),
            Err(source) => return Err(Fault::Unreadable { file: MANIFEST.into(), source }),
        };
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| Fault::Manifest(error.to_string()))?;
        if !(1..=SCHEMA).contains(&manifest.schema) {
            return Err(Fault::Manifest(format!(
                "it has schema {}, this program reads schemas up to {SCHEMA}",
                manifest.schema
            )));
        }
        if manifest.to_bytes().ok().as_ref() != Some(&bytes) {
            return Err(Fault::Manifest("it is not in the form in which it was written".into()));
        }
        if let Some(entry) = manifest.files.iter().find(|entry| !is_plain_name(&entry.name)) {
            return Err(Fault::Manifest(format!("`{}` is not a plain file name", entry.name)));
        }
        Ok(manifest)
    }

    /// Checks length and hash of every file in `dir`.
    pub fn verify(&self, dir: &Path) -> Result<(), Fault> {
        self.files.iter().try_for_each(|entry| {
            let unreadable = |source| Fault::Unreadable { file: entry.name.clone(), source };
            let file = entry.open(dir)?;
            let hash = blake3::Hasher::new().update_reader(file).map_err(unreadable)?.finalize();
            entry.check_hash(&hash)
        })
    }

    /// Reads one file whole and checks it.
    pub fn read_file(&self, dir: &Path, name: &str) -> Result<Vec<u8>, Fault> {
        let entry = self
            .files
            .iter()
            .find(|entry| entry.name == name)
            .ok_or_else(|| Fault::Manifest(format!("it does not list {name}")))?;
        let mut bytes = Vec::new();
        entry
            .open(dir)?
            .read_to_end(&mut bytes)
            .map_err(|source| Fault::Unreadable { file: name.into(), source })?;
        entry.check_hash(&blake3::hash(&bytes))?;
        Ok(bytes)
    }

    /// Size of the checkpoint's files together, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|entry| entry.bytes).sum()
    }

    fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

impl Entry {
    /// Opens the file if it has the right length, and never reads past it.
    fn open(&self, dir: &Path) -> Result<io::Take<File>, Fault> {
        let unreadable = |source| Fault::Unreadable { file: self.name.clone(), source };
        let file = files::open_plain(&dir.join(&self.name)).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?.len();
        if found != self.bytes {
            return Err(Fault::Length { file: self.name.clone(), found, expected: self.bytes });
        }
        Ok(file.take(self.bytes))
    }

    fn check_hash(&self, hash: &blake3::Hash) -> Result<(), Fault> {
        if hash.to_hex().as_str() == self.blake3 {
            Ok(())
        } else {
            Err(Fault::Hash { file: self.name.clone() })
        }
    }
}

/// A writer that hashes and counts what passes.
struct Hashing<'a> {
    writer: Writer<'a>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

fn is_plain_name(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|file| file == name)
}
