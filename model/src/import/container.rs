//! What holds tensors: a safetensors file, or a TensorFlow checkpoint.

use std::io;
use std::path::Path;

use super::tensorflow::bundle::Bundle;
use crate::tensors::{TensorFile, ValueError};

pub(super) enum Container {
    Safetensors(TensorFile),
    Checkpoint(Bundle),
}

impl Container {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Safetensors(file) => file.path(),
            Self::Checkpoint(bundle) => bundle.path(),
        }
    }

    /// The shape of one of its tensors.
    pub fn shape(&self, name: &str) -> &[usize] {
        match self {
            Self::Safetensors(file) => &file.info(name).expect("a tensor of the file").shape,
            Self::Checkpoint(bundle) => bundle.shape(name),
        }
    }

    /// Fills `values` with one of its tensors.
    pub fn read(&self, name: &str, values: &mut [f32]) -> Result<(), ValueError> {
        match self {
            Self::Safetensors(file) => file.read(name, values),
            Self::Checkpoint(bundle) => bundle.read(name, values),
        }
    }

    /// A hash of all values in it.
    pub fn digest(&self) -> io::Result<String> {
        match self {
            Self::Safetensors(file) => file.digest(),
            Self::Checkpoint(bundle) => bundle.digest(),
        }
    }

    /// The safetensors file that it is.
    pub fn safetensors(&self) -> Option<&TensorFile> {
        match self {
            Self::Safetensors(file) => Some(file),
            Self::Checkpoint(_) => None,
        }
    }
}
