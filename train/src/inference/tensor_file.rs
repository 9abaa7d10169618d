//! A safetensors file of f32 tensors that are written row by row, in any order: what was never written is zero, and no
//! tensor is ever whole in memory.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::error::InferenceError;
use crate::files::{Disk, beside, create_beside};

/// A file being written beside the place where it will be; dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub(super) struct TensorFile {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    tensors: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    name: &'static str,
    /// Byte at which the tensor begins.
    start: u64,
    /// Bytes of one row of the last dimension.
    row: u64,
}

impl TensorFile {
    /// Begins a file of these tensors.
    pub fn create(path: &Path, tensors: &[(&'static str, Vec<usize>)]) -> Result<Self, InferenceError> {
        let mut header = serde_json::Map::new();
        header.insert("__metadata__".into(), serde_json::json!({ "format": "pt" }));
        let mut end = 0;
        let mut places = Vec::new();
        for (name, shape) in tensors {
            let start = end;
            end += 4 * shape.iter().map(|&size| size as u64).product::<u64>();
            let entry = serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] });
            header.insert((*name).to_owned(), entry);
            places.push(Place { name, start, row: 4 * shape.last().copied().unwrap_or(1) as u64 });
        }
        let mut header = serde_json::Value::from(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let data = 8 + header.len() as u64;
        places.iter_mut().for_each(|place| place.start += data);
        let partial = beside(path);
        let file = create_beside(&Disk, path).map_err(InferenceError::io("create", &partial))?;
        let mut begun = Self { path: path.to_path_buf(), partial, file, tensors: places };
        begun.begin(&header, data + end).map_err(InferenceError::io("write", &begun.partial))?;
        Ok(begun)
    }

    fn begin(&mut self, header: &[u8], length: u64) -> io::Result<()> {
        self.file.write_all(&(header.len() as u64).to_le_bytes())?;
        self.file.write_all(header)?;
        self.file.set_len(length)
    }

    /// Writes `values` from row `row` of a tensor on.
    pub fn write(&mut self, name: &str, row: usize, values: &[f32]) -> Result<(), InferenceError> {
        let place = self.tensors.iter().find(|place| place.name == name).expect("a tensor of this file");
        self.file
            .seek(SeekFrom::Start(place.start + row as u64 * place.row))
            .and_then(|_| self.file.write_all(bytemuck::cast_slice(values)))
            .map_err(InferenceError::io("write", &self.partial))
    }

    /// Puts the file in its place, whole.
    pub fn finish(self) -> Result<(), InferenceError> {
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.partial, &self.path))
            .map_err(InferenceError::io("write", &self.path))
    }
}

impl Drop for TensorFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.partial); // a finished one has been renamed
    }
}
