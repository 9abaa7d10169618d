//! A TensorFlow checkpoint: an index, which is a [table] of messages, and the values, little endian, in one or more files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::table;
use crate::error::ModelError;
use crate::import::weights;
use crate::tensors::ValueError;
use crate::visible::shown;
use crate::wire::checksum;
use crate::wire::protobuf::{Malformed, Message, Value};

/// No index of an ALBERT is larger.
const LARGEST_INDEX: u64 = 1 << 22;
/// Nor does one have more files of values.
const MOST_SHARDS: u64 = 1 << 10;

/// An open checkpoint.
pub(in crate::import) struct Bundle {
    index: PathBuf,
    shards: Vec<(PathBuf, File)>,
    entries: BTreeMap<String, Entry>,
}

/// What an index says of a tensor.
#[derive(Clone, Debug, Default)]
struct Entry {
    kind: u64,
    shape: Vec<usize>,
    shard: usize,
    offset: u64,
    size: u64,
    checksum: u32,
    sliced: bool,
}

/// A type of real numbers: the bytes of one, and how they are read.
type Reals = (usize, fn(&[u8]) -> f32);

fn reals(kind: u64) -> Option<Reals> {
    fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
        *bytes.first_chunk().expect("bytes of one number")
    }
    match kind {
        1 => Some((4, |bytes| f32::from_le_bytes(first(bytes)))),
        2 => Some((8, |bytes| f64::from_le_bytes(first(bytes)) as f32)),
        14 => Some((2, |bytes| half::bf16::from_le_bytes(first(bytes)).to_f32())),
        19 => Some((2, |bytes| half::f16::from_le_bytes(first(bytes)).to_f32())),
        _ => None,
    }
}

impl Entry {
    fn read(message: &[u8]) -> Result<Self, Malformed> {
        let mut entry = Self::default();
        for field in Message::new(message) {
            match field? {
                (1, Value::Varint(kind)) => entry.kind = kind,
                (2, Value::Bytes(shape)) => {
                    for field in Message::new(shape) {
                        let (2, Value::Bytes(dimension)) = field? else { continue };
                        let mut size = 0;
                        for field in Message::new(dimension) {
                            if let (1, Value::Varint(number)) = field? {
                                size = usize::try_from(number).unwrap_or(usize::MAX);
                            }
                        }
                        entry.shape.push(size);
                    }
                }
                (3, Value::Varint(shard)) => entry.shard = usize::try_from(shard).unwrap_or(usize::MAX),
                (4, Value::Varint(offset)) => entry.offset = offset,
                (5, Value::Varint(size)) => entry.size = size,
                (6, Value::Fixed32(crc)) => entry.checksum = crc,
                (7, _) => entry.sliced = true,
                _ => (),
            }
        }
        Ok(entry)
    }

    /// What is wrong with it.
    fn problem(&self, shards: &[(PathBuf, File)]) -> Option<String> {
        let Some((path, file)) = shards.get(self.shard) else {
            return Some(format!(
                "is in file {} of {}: the index is damaged; copy it again from where it came",
                self.shard.saturating_add(1),
                shards.len()
            ));
        };
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        if self.offset.checked_add(self.size).is_none_or(|end| end > length) {
            return Some(format!(
                "goes beyond the {length} bytes of {}, which is cut off: copy it again from where it came",
                shown(path)
            ));
        }
        let (width, _) = reals(self.kind)?;
        if self.sliced {
            return Some("is stored in slices, which are not read: save the checkpoint unpartitioned".into());
        }
        let elements = self.shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size as u64));
        if elements.and_then(|elements| elements.checked_mul(width as u64)) != Some(self.size) {
            return Some(format!(
                "of shape {:?} has {} bytes: the index is damaged; copy it again from where it came",
                self.shape, self.size
            ));
        }
        None
    }
}

impl Bundle {
    /// Opens the checkpoint whose files' names begin with `prefix`; values are read when they are asked for.
    pub(in crate::import) fn open(prefix: &Path) -> Result<Self, ModelError> {
        let index = with_suffix(prefix, ".index");
        let damaged = |problem: String| ModelError::Checkpoint { path: index.clone(), problem };
        let mut bytes = Vec::new();
        (File::open(&index).and_then(|file| file.take(LARGEST_INDEX + 1).read_to_end(&mut bytes)))
            .map_err(ModelError::io("read", &index))?;
        if bytes.len() as u64 > LARGEST_INDEX {
            return Err(damaged(format!("it has more than {LARGEST_INDEX} bytes")));
        }
        let table = table::entries(&bytes).map_err(|error| damaged(error.to_string()))?;
        let mut shards = None;
        let mut entries = BTreeMap::new();
        for (key, value) in table {
            if key.is_empty() {
                shards = Some(header(&value).map_err(damaged)?);
                continue;
            }
            if key[0] == 0 {
                continue; // the place of a slice; the tensor that it is of says that it is stored so
            }
            let name = String::from_utf8(key).map_err(|_| damaged("a name is not UTF-8".into()))?;
            let entry = Entry::read(&value).map_err(|error| damaged(format!("{name}: {error}")))?;
            if entries.insert(name.clone(), entry).is_some() {
                return Err(damaged(format!("{name} is there twice")));
            }
        }
        let count = shards.ok_or_else(|| damaged("it has no header".into()))?;
        let open = |shard: u64| {
            let path = with_suffix(prefix, &format!(".data-{shard:05}-of-{count:05}"));
            let file = File::open(&path).map_err(ModelError::io("read", &path))?;
            Ok((path, file))
        };
        let shards = (0..count).map(open).collect::<Result<Vec<_>, ModelError>>()?;
        let problem = entries.iter().find_map(|(name, entry)| Some((name.clone(), entry.problem(&shards)?)));
        if let Some((name, problem)) = problem {
            return Err(ModelError::Tensor { path: index, name, problem });
        }
        Ok(Self { index, shards, entries })
    }

    /// Where its index is.
    pub(in crate::import) fn path(&self) -> &Path {
        &self.index
    }

    /// Its variables' names, and whether each is a tensor of real numbers.
    pub(in crate::import) fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), reals(entry.kind).is_some()))
    }

    /// The shape of a variable.
    pub(in crate::import) fn shape(&self, name: &str) -> &[usize] {
        &self.entries[name].shape
    }

    /// A hash of all values, an optimizer's too.
    pub(in crate::import) fn digest(&self) -> io::Result<String> {
        let mut hasher = blake3::Hasher::new();
        for (_, file) in &self.shards {
            let mut file = file;
            file.seek(SeekFrom::Start(0))?;
            hasher.update_reader(file)?;
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// Reads a tensor of real numbers, checks what its index says of it, and fills `values`, which has its number of elements.
    pub(in crate::import) fn read(&self, name: &str, values: &mut [f32]) -> Result<(), ValueError> {
        let entry = &self.entries[name];
        let (width, decode) = reals(entry.kind).expect("a tensor of real numbers");
        let mut file = &self.shards[entry.shard].1;
        file.seek(SeekFrom::Start(entry.offset))?;
        let mut crc = 0;
        let mut bytes = vec![0; width * values.len().min(CHUNK)];
        for values in values.chunks_mut(CHUNK) {
            let bytes = &mut bytes[..width * values.len()];
            file.read_exact(bytes)?;
            crc = checksum::append(crc, bytes);
            for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(width)) {
                *value = decode(bytes);
            }
        }
        if checksum::masked(crc) != entry.checksum {
            return Err(ValueError::Checksum);
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(ValueError::NotFinite { index, value: values[index] }),
            None => Ok(()),
        }
    }
}

/// Values that are read at once.
const CHUNK: usize = 1 << 18;

/// The number of files of values that the header of an index names.
fn header(message: &[u8]) -> Result<u64, String> {
    let mut shards = 0;
    for field in Message::new(message) {
        match field.map_err(|error| error.to_string())? {
            (1, Value::Varint(count)) => shards = count,
            (2, Value::Varint(1)) => return Err("its numbers are big endian, which is not read".into()),
            _ => (),
        }
    }
    if (1..=MOST_SHARDS).contains(&shards) { Ok(shards) } else { Err(format!("it names {shards} files")) }
}

/// A path with more at its end.
pub(in crate::import) fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Whether there is a checkpoint whose files' names begin with `prefix`.
pub(in crate::import) fn exists(prefix: &Path) -> bool {
    with_suffix(prefix, ".index").is_file()
}

/// The checkpoints in a folder, by prefix.
pub(in crate::import) fn checkpoints(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let names = weights::names(folder)?;
    let prefixes = names.iter().filter_map(|name| name.strip_suffix(".index"));
    let is_file = |prefix: &PathBuf| exists(prefix);
    Ok(prefixes.map(|prefix| folder.join(prefix)).filter(is_file).collect())
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{block_of, table_of};
    use super::*;
    use crate::import::tensors::Tensors;

    /// As TensorFlow writes one: the variable has no place of its own, and each slice has a key that is no text.
    #[test]
    fn a_partitioned_variable_is_told_as_what_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let prefix = folder.path().join("model.ckpt");
        let header = (Vec::new(), vec![8, 1]); // one file of values
        let slice = (b"\0\x01a\0\x01\x80\xff".to_vec(), vec![8, 1, 18, 4, 18, 2, 8, 2, 40, 8]);
        let variable = (b"a".to_vec(), vec![8, 1, 18, 4, 18, 2, 8, 2, 58, 0]);
        let index = table_of(&[block_of(&[header, slice, variable])]);
        std::fs::write(with_suffix(&prefix, ".index"), index).expect("written");
        std::fs::write(with_suffix(&prefix, ".data-00000-of-00001"), [0; 8]).expect("written");
        let Err(error) = Bundle::open(&prefix) else { panic!("slices are not read") };
        let error = error.to_string();
        assert!(error.contains("tensor a is stored in slices") && error.contains("unpartitioned"), "{error}");
    }

    #[test]
    fn what_is_refused_says_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let prefix = folder.path().join("model.ckpt");
        let header = (Vec::new(), vec![8, 1]); // one file of values
        let refused = |variables: &[(&[u8], Vec<u8>)]| {
            let variables = variables.iter().map(|(name, entry)| (name.to_vec(), entry.clone()));
            let entries: Vec<_> = std::iter::once(header.clone()).chain(variables).collect();
            std::fs::write(with_suffix(&prefix, ".index"), table_of(&[block_of(&entries)])).expect("written");
            std::fs::write(with_suffix(&prefix, ".data-00000-of-00001"), [0; 8]).expect("written");
            let Err(error) = Tensors::open_checkpoint(&prefix) else { panic!("it is refused") };
            error.to_string()
        };
        // Two numbers of a kind in a file, of so many bytes.
        let entry = |kind, file, bytes| vec![8, kind, 18, 4, 18, 2, 8, 2, 24, file, 40, bytes];
        let (name, again) = (&b"bert/pooler/dense/bias"[..], &b"module/bert/pooler/dense/bias"[..]);
        for (variables, what, advice) in [
            (vec![(name, entry(1, 3, 8))], "is in file 4 of 1", "copy it again"),
            (vec![(name, entry(1, 0, 9))], "is cut off", "copy it again"),
            (vec![(name, entry(1, 0, 4))], "of shape [2] has 4 bytes", "copy it again"),
            (vec![(name, entry(3, 0, 8))], "holds no numbers of a kind that is read", "save it as f32"),
            (vec![(name, entry(1, 0, 8)), (again, entry(1, 0, 8))], "two variables", "with one of them"),
        ] {
            let error = refused(&variables);
            assert!(error.contains(what) && error.contains(advice), "{what}: {error}");
        }
    }
}
