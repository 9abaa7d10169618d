//! A file of anybody's, of which nothing is believed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::CHUNK;
use crate::error::ModelError;
use crate::import::foreign;

/// Largest header that is read, in bytes: ALBERT's longest is below 64 KiB, and the format's own limit is 100 MB.
const MAX_HEADER: u64 = 16 << 20;

/// An open safetensors file.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    /// Byte at which the values begin.
    begin: u64,
    metadata: Metadata,
}

/// Values that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// Neither of the four types of real numbers.
    #[error("is {0:?}, which is not read: save it as F32, F16, BF16 or F64")]
    Type(Dtype),
    /// NaN or infinite.
    #[error(
        "holds {value} at element {index}: the file is damaged or the model diverged; copy it again from where it came, or use the \
         model as it was before"
    )]
    NotFinite {
        /// Row-major position of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// What was read is not what was written.
    #[error(
        "has another checksum than its index says: the file is damaged; copy it again from where it came"
    )]
    Checksum,
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl TensorFile {
    /// Opens a file and reads its header; values are checked to be all there, and read when they are asked for.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a whole safetensors file.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let io = |source| ModelError::Io { action: "read", path: path.to_owned(), source };
        let damaged = |problem: SafeTensorError| ModelError::Damaged {
            path: path.to_owned(),
            problem: problem.to_string(),
        };
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut head = Vec::new();
        (&mut file).take(foreign::ENOUGH).read_to_end(&mut head).map_err(io)?;
        if let Some(kind) = foreign::recognise(&head) {
            return Err(ModelError::OtherFile { path: path.to_owned(), kind });
        }
        let Some(&size) = head.first_chunk::<8>() else {
            return Err(damaged(SafeTensorError::HeaderTooSmall));
        };
        let size = u64::from_le_bytes(size);
        if size > MAX_HEADER {
            return Err(damaged(SafeTensorError::HeaderTooLarge));
        }
        if 8 + size > length {
            return Err(damaged(SafeTensorError::InvalidHeaderLength));
        }
        let mut header = vec![0; size as usize];
        file.seek(SeekFrom::Start(8)).and_then(|_| file.read_exact(&mut header)).map_err(io)?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|error| damaged(SafeTensorError::InvalidHeaderDeserialization(error)))?;
        if metadata.data_len() as u64 != length - 8 - size {
            return Err(damaged(SafeTensorError::MetadataIncompleteBuffer));
        }
        Ok(Self { path: path.to_owned(), file, begin: 8 + size, metadata })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the tensors, in the order of the file.
    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// Shape and type of a tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.metadata.info(name)
    }

    /// What the file says about itself.
    pub fn notes(&self) -> &HashMap<String, String> {
        static NONE: std::sync::LazyLock<HashMap<String, String>> = std::sync::LazyLock::new(HashMap::new);
        self.metadata.metadata().as_ref().unwrap_or(&NONE)
    }

    /// Reads the tensor `name` as f32 into `values`, which has its number of elements.
    ///
    /// # Errors
    /// If it is no tensor of real numbers, or one of them is not finite.
    ///
    /// # Panics
    /// If there is no such tensor, or it has another number of elements.
    pub fn read(&self, name: &str, values: &mut [f32]) -> Result<(), ValueError> {
        let info = self.metadata.info(name).expect("a tensor of this file");
        assert_eq!(info.shape.iter().product::<usize>(), values.len(), "elements of {name}");
        let decode: fn(&[u8], &mut [f32]) = match info.dtype {
            Dtype::F32 => |bytes, values| fill(bytes, values, f32::from_le_bytes),
            Dtype::F16 => |bytes, values| fill(bytes, values, |b| half::f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => |bytes, values| fill(bytes, values, |b| half::bf16::from_le_bytes(b).to_f32()),
            Dtype::F64 => |bytes, values| fill(bytes, values, |b| f64::from_le_bytes(b) as f32),
            other => return Err(ValueError::Type(other)),
        };
        let width = info.dtype.bitsize() / 8;
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.begin + info.data_offsets.0 as u64))?;
        let mut bytes = vec![0; width * values.len().min(CHUNK)];
        for values in values.chunks_mut(CHUNK) {
            let bytes = &mut bytes[..width * values.len()];
            file.read_exact(bytes)?;
            decode(bytes, values);
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(ValueError::NotFinite { index, value: values[index] }),
            None => Ok(()),
        }
    }

    /// The bytes of a tensor as they are in the file; for small ones.
    ///
    /// # Errors
    /// If the file cannot be read.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn bytes(&self, name: &str) -> io::Result<Vec<u8>> {
        let (start, end) = self.metadata.info(name).expect("a tensor of this file").data_offsets;
        let (mut file, mut bytes) = (&self.file, vec![0; end - start]);
        file.seek(SeekFrom::Start(self.begin + start as u64))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// blake3 of all values, in hexadecimal, as [`digest`](super::digest) has it.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn digest(&self) -> io::Result<String> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.begin))?;
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut BufReader::with_capacity(CHUNK, file), &mut hasher)?;
        Ok(hasher.finalize().to_hex().to_string())
    }
}

fn fill<const N: usize>(bytes: &[u8], values: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
        *value = decode(*bytes);
    }
}
