//! Tensors in the safetensors files of a checkpoint, and a reader that trusts nothing.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;

use model::tensors::Layout;
use safetensors::{Dtype, SafeTensors};

use crate::exit::{Classify, ExitCode};

/// Largest header accepted, in bytes: ALBERT's longest is below 10 KiB.
const MAX_HEADER: u64 = 16 << 20;

/// A named f32 tensor to write, borrowed from wherever it lives.
#[derive(Clone, Copy, Debug)]
pub struct NamedTensor<'a> {
    /// The name in the file; unique within it.
    pub name: &'a str,
    /// Row-major shape; its product is the number of values.
    pub shape: &'a [usize],
    /// The values.
    pub values: &'a [f32],
}

/// Why a tensor file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// Not a safetensors file, or a damaged one.
    #[error("not a valid safetensors file: {0}")]
    Format(String),
    /// A tensor is stored in another type than f32.
    #[error("tensor `{name}` has type {found}, expected F32")]
    Type {
        /// The tensor.
        name: String,
        /// The type in the file.
        found: String,
    },
    /// A value is NaN or infinite.
    #[error("tensor `{name}` holds {value} at index {index}")]
    NotFinite {
        /// The tensor.
        name: String,
        /// Row-major position of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A tensor that is needed is not there.
    #[error("tensor `{name}` is missing (the file holds {count} others)")]
    Missing {
        /// The tensor.
        name: String,
        /// How many tensors the file has.
        count: usize,
    },
    /// A tensor has another shape than the model wants.
    #[error("tensor `{name}` has shape {found:?}, the model wants {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape wanted.
        expected: Vec<usize>,
    },
    /// A mean of squares is below zero: its root, by which updates are divided, would be no number.
    #[error("tensor `{name}` holds {value}, and a mean of squares is never negative")]
    Negative {
        /// The tensor.
        name: String,
        /// The first such value.
        value: f32,
    },
    /// The file holds tensors that nobody asked for.
    #[error("the file holds tensors that the model does not have: {}", .names.join(", "))]
    Unexpected {
        /// Their names.
        names: Vec<String>,
    },
}

impl Classify for TensorError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Checkpoint
    }
}

/// Writes `tensors` as one safetensors file, as [`model::tensors`] does: the same tensors give the same bytes.
///
/// # Errors
/// `InvalidInput` for a duplicate name or a shape that does not fit its values; `InvalidData` for a NaN or infinity,
/// which must never be saved as if it were a model; else what the sink reports.
pub fn write_tensors(tensors: &[NamedTensor<'_>], sink: &mut dyn Write) -> io::Result<()> {
    for NamedTensor { name, shape, values } in tensors {
        if shape.iter().product::<usize>() != values.len() {
            let message = format!("tensor `{name}` of shape {shape:?} was given {} values", values.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    }
    let names: Vec<_> = tensors.iter().map(|tensor| tensor.name).collect();
    let shapes: Vec<_> = tensors.iter().map(|tensor| (tensor.name, tensor.shape)).collect();
    let mut read = |index: usize, range: Range<usize>, into: &mut Vec<f32>| {
        into.extend_from_slice(&tensors[index].values[range]);
    };
    model::tensors::write(&Layout::new(&shapes, &[])?, &names, &mut read, sink)
}

/// A safetensors file in memory, checked: every tensor is f32 and finite, the header tiles the file exactly.
#[derive(Debug)]
pub struct Tensors {
    bytes: Vec<u8>,
    entries: BTreeMap<String, (Vec<usize>, Range<usize>)>,
}

impl Tensors {
    /// Checks the content of a safetensors file.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, TensorError> {
        let header_length = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
        if header_length > MAX_HEADER {
            return Err(TensorError::Format(format!(
                "its header claims {header_length} bytes, more than {MAX_HEADER}"
            )));
        }
        let (header, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|error| TensorError::Format(error.to_string()))?;
        let data = header + size_of::<u64>();
        let mut entries = BTreeMap::new();
        for (name, info) in metadata.tensors() {
            if info.dtype != Dtype::F32 {
                return Err(TensorError::Type { name, found: format!("{:?}", info.dtype) });
            }
            let range = data + info.data_offsets.0..data + info.data_offsets.1;
            if let Some((index, value)) =
                values(&bytes[range.clone()]).enumerate().find(|(_, v)| !v.is_finite())
            {
                return Err(TensorError::NotFinite { name, index, value });
            }
            entries.insert(name, (info.shape.clone(), range));
        }
        Ok(Tensors { bytes, entries })
    }

    /// Name and shape of every tensor, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.entries.iter().map(|(name, (shape, _))| (name.as_str(), shape.as_slice()))
    }

    /// Copies a tensor's values into `destination`, which must have `shape`'s size.
    ///
    /// # Errors
    /// The tensor is missing or has another shape.
    pub fn copy_into(&self, name: &str, shape: &[usize], destination: &mut [f32]) -> Result<(), TensorError> {
        let (found, range) = self
            .entries
            .get(name)
            .ok_or_else(|| TensorError::Missing { name: name.into(), count: self.entries.len() })?;
        if found != shape || shape.iter().product::<usize>() != destination.len() {
            return Err(TensorError::Shape {
                name: name.into(),
                found: found.clone(),
                expected: shape.into(),
            });
        }
        for (slot, value) in destination.iter_mut().zip(values(&self.bytes[range.clone()])) {
            *slot = value;
        }
        Ok(())
    }

    /// Fails if the file holds a tensor that is not in `names`: a checkpoint of another model must not half-load.
    pub fn expect_only<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Result<(), TensorError> {
        let known: std::collections::BTreeSet<_> = names.into_iter().collect();
        let unexpected: Vec<_> =
            self.entries.keys().filter(|name| !known.contains(name.as_str())).cloned().collect();
        if unexpected.is_empty() { Ok(()) } else { Err(TensorError::Unexpected { names: unexpected }) }
    }
}

fn values(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(tensors: &[NamedTensor<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_tensors(tensors, &mut bytes).unwrap();
        bytes
    }

    fn two() -> Vec<u8> {
        file(&[
            NamedTensor { name: "b", shape: &[2, 3], values: &[1.0, -2.0, 3.5, 0.0, 1e-30, 7.0] },
            NamedTensor { name: "a", shape: &[], values: &[f32::MIN_POSITIVE] },
        ])
    }

    #[test]
    fn no_flipped_bit_makes_the_reader_panic() {
        let bytes = two();
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            if let Ok(tensors) = Tensors::parse(flipped) {
                // A changed value or name may parse: the manifest's hash is what catches it.
                assert_eq!(tensors.iter().count(), 2);
            }
        }
        for length in 0..bytes.len() {
            assert!(matches!(Tensors::parse(bytes[..length].to_vec()), Err(TensorError::Format(_))));
        }
    }

    #[test]
    fn a_header_that_claims_too_much_is_refused_before_it_is_read() {
        let mut bytes = vec![0; 64];
        bytes[..8].copy_from_slice(&(MAX_HEADER + 1).to_le_bytes());
        let error = Tensors::parse(bytes).unwrap_err().to_string();
        assert!(error.contains("its header claims 16777217 bytes"), "{error}");
    }

    #[test]
    fn what_does_not_fit_the_model_is_named() {
        let tensors = Tensors::parse(two()).unwrap();
        let mut values = [0.0; 6];
        tensors.copy_into("b", &[2, 3], &mut values).unwrap();
        assert_eq!(values, [1.0, -2.0, 3.5, 0.0, 1e-30, 7.0]);
        assert!(matches!(tensors.copy_into("b", &[3, 2], &mut values), Err(TensorError::Shape { .. })));
        assert!(matches!(
            tensors.copy_into("c", &[6], &mut values),
            Err(TensorError::Missing { count: 2, .. })
        ));
        assert!(tensors.expect_only(["a", "b", "c"]).is_ok());
        let error = tensors.expect_only(["a"]).unwrap_err().to_string();
        assert_eq!(error, "the file holds tensors that the model does not have: b");
    }

    #[test]
    fn other_types_and_numbers_that_are_not_finite_are_refused() {
        let mut bytes = two();
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        let error = Tensors::parse(bytes).unwrap_err().to_string();
        assert_eq!(error, "tensor `b` holds NaN at index 5");
        let mut bytes = two();
        let at = bytes.windows(3).position(|text| text == b"F32").unwrap();
        bytes[at] = b'I';
        assert!(matches!(Tensors::parse(bytes), Err(TensorError::Type { .. })));
    }

    #[test]
    fn duplicate_names_and_wrong_shapes_are_not_written() {
        let one = NamedTensor { name: "a", shape: &[1], values: &[1.0] };
        assert!(write_tensors(&[one, one], &mut Vec::new()).is_err());
        assert!(write_tensors(&[NamedTensor { shape: &[2], ..one }], &mut Vec::new()).is_err());
    }
}
