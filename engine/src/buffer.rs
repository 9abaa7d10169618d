//! A buffer of numbers that starts on a cache line.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::{Pod, Zeroable};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Zeroed numbers, aligned to 64 bytes.
pub(crate) struct Buffer<R> {
    lines: Vec<Line>,
    length: usize,
    element: PhantomData<R>,
}

impl<R: Pod> Buffer<R> {
    pub fn new(length: usize) -> Self {
        let lines = (length * size_of::<R>()).div_ceil(size_of::<Line>());
        Self { lines: vec![Line([0; 64]); lines], length, element: PhantomData }
    }
}

impl<R: Pod> Deref for Buffer<R> {
    type Target = [R];
    fn deref(&self) -> &[R] {
        &bytemuck::cast_slice(&self.lines)[..self.length]
    }
}

impl<R: Pod> DerefMut for Buffer<R> {
    fn deref_mut(&mut self) -> &mut [R] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.length]
    }
}
