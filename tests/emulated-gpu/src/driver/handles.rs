//! Handles: the opaque pointers that callers hold. They are numbers, never addresses, and never used twice, so that a
//! stale or mixed-up handle is named instead of followed.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use super::error::{CudaError, Failure, Result};

/// What a caller holds for a `T`: a stream, an event, a module …
#[repr(transparent)]
pub struct Handle<T>(u64, PhantomData<fn() -> T>);

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Handle<T> {}
impl<T> PartialEq for Handle<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<T> Eq for Handle<T> {}

impl<T> Handle<T> {
    /// The null handle.
    pub const NULL: Self = Self(0, PhantomData);

    /// The number behind the handle.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl<T> fmt::Display for Handle<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#x}", self.0)
    }
}

/// The live objects of one kind.
pub struct Handles<T> {
    kind: &'static str,
    next: u64,
    live: BTreeMap<u64, T>,
}

impl<T> Handles<T> {
    /// No objects yet. `kind` names them in reports, `tag` sets their numbers apart from those of other kinds.
    pub fn new(kind: &'static str, tag: u16) -> Self {
        Self { kind, next: (u64::from(tag) << 32) + 0x10, live: BTreeMap::new() }
    }

    /// Stores an object and gives its handle.
    pub fn insert(&mut self, object: T) -> Handle<T> {
        let number = self.next;
        self.next += 0x10;
        self.live.insert(number, object);
        Handle(number, PhantomData)
    }

    /// The object behind a handle.
    pub fn get(&self, handle: Handle<T>) -> Result<&T> {
        self.live.get(&handle.0).ok_or_else(|| unknown(self.kind, self.next, handle.0))
    }

    /// The object behind a handle, to change.
    pub fn get_mut(&mut self, handle: Handle<T>) -> Result<&mut T> {
        self.live.get_mut(&handle.0).ok_or_else(|| unknown(self.kind, self.next, handle.0))
    }

    /// Takes the object out; the handle is stale from now on.
    pub fn remove(&mut self, handle: Handle<T>) -> Result<T> {
        self.live.remove(&handle.0).ok_or_else(|| unknown(self.kind, self.next, handle.0))
    }

    /// The live handles, oldest first.
    pub fn all(&self) -> Vec<Handle<T>> {
        self.live.keys().map(|&number| Handle(number, PhantomData)).collect()
    }

    /// The live objects, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (Handle<T>, &T)> {
        self.live.iter().map(|(&number, object)| (Handle(number, PhantomData), object))
    }

    /// The live objects, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.live.values_mut()
    }

    /// Forgets the objects that `keep` does not want.
    pub fn retain(&mut self, mut keep: impl FnMut(Handle<T>, &T) -> bool) {
        self.live.retain(|&number, object| keep(Handle(number, PhantomData), object));
    }
}

fn unknown(kind: &str, next: u64, number: u64) -> Failure {
    let state = match () {
        () if number == 0 => "is null",
        () if number >> 32 == next >> 32 && number < next => "was destroyed",
        () => "was never created",
    };
    Failure::new(CudaError::InvalidHandle, format!("{kind} {number:#x} {state}"))
}
