//! Locks that end with their owner.

use std::fs::File;
use std::ops::{Deref, DerefMut};

/// An open file that gives up its lock, if it holds one, when it is dropped.
///
/// Closing it would give up the lock too, but not always at once: a child process that any thread is starting has a copy of
/// every open file until its own program begins, and a lock that is not given up lives as long as the last copy.
#[derive(Debug)]
pub struct Lockable(File);

impl From<File> for Lockable {
    fn from(file: File) -> Self {
        Self(file)
    }
}

impl Deref for Lockable {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl DerefMut for Lockable {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.0
    }
}

impl Drop for Lockable {
    fn drop(&mut self) {
        let _ = self.0.unlock(); // the file is closed next, whatever the system says
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let open =
            || Lockable::from(File::options().write(true).create(true).truncate(false).open(&path).unwrap());
        let locked = open();
        locked.try_lock().unwrap();
        let copy = locked.try_clone().unwrap(); // shares the lock, as a copy in a child process does
        open().try_lock().unwrap_err(); // and one that holds no lock gives up no other's
        open().try_lock().unwrap_err();
        drop(locked);
        open().try_lock().unwrap();
        drop(copy);
    }
}
