//! A safetensors file of f32 tensors that are written row by row, in any order: what was never written is zero, and no
//! tensor is ever whole in memory.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use model::tensors::Layout;

use super::error::InferenceError;
use crate::files::{Disk, Files, beside, create_beside, put_in_place};

/// A file being written beside the place where it will be; dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub(super) struct RowFile {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    layout: Layout,
    /// Name, and values of one row of the last dimension.
    tensors: Vec<(&'static str, usize)>,
}

impl RowFile {
    /// Begins a file of these tensors.
    pub fn create(path: &Path, tensors: &[(&'static str, Vec<usize>)]) -> Result<Self, InferenceError> {
        let partial = beside(path);
        let shapes: Vec<_> = tensors.iter().map(|(name, shape)| (*name, shape.as_slice())).collect();
        let layout = Layout::new(&shapes, &[]).map_err(InferenceError::io("lay out", path))?;
        let file = create_beside(&Disk, path).map_err(InferenceError::io("create", &partial))?;
        let tensors =
            shapes.iter().map(|&(name, shape)| (name, shape.last().copied().unwrap_or(1))).collect();
        let mut begun = Self { path: path.to_path_buf(), partial, file, layout, tensors };
        begun
            .file
            .write_all(begun.layout.header())
            .and_then(|()| begun.file.set_len(begun.layout.length()))
            .map_err(InferenceError::io("write", &begun.partial))?;
        Ok(begun)
    }

    /// Writes `values` from row `row` of a tensor on.
    pub fn write(&mut self, name: &str, row: usize, values: &[f32]) -> Result<(), InferenceError> {
        let index = self.tensors.iter().position(|&(known, _)| known == name).expect("a tensor of this file");
        let before = row * self.tensors[index].1 * size_of::<f32>();
        self.file
            .seek(SeekFrom::Start(self.layout.start(index) + before as u64))
            .and_then(|_| self.file.write_all(bytemuck::cast_slice(values)))
            .map_err(InferenceError::io("write", &self.partial))
    }

    /// Puts the file in its place, whole.
    pub fn finish(self) -> Result<(), InferenceError> {
        Disk.sync(&self.file, &self.partial)
            .and_then(|()| put_in_place(&Disk, &self.path))
            .map_err(InferenceError::io("write", &self.path))
    }
}

impl Drop for RowFile {
    fn drop(&mut self) {
        let _ = Disk.remove_file(&self.partial); // a finished one has been renamed
    }
}
