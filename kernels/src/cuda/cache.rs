//! Compiled programs on the disk: `$XDG_CACHE_HOME/albert-train/kernels`, a file for each source, set of options and compiler.
//!
//! A file is trusted only if it has the hash it begins with, and replaced by renaming, so that any number of processes may
//! share a folder. A folder that cannot be written costs time at each start and nothing else.

use std::fs;
use std::path::PathBuf;

use super::compile::Image;

/// Bytes of a hash.
const HASH: usize = 32;
/// Bytes of the length of the first part.
const LENGTH: usize = 8;

/// The name of what is made of `parts`.
pub(super) fn key(parts: &[&str]) -> String {
    let mut hash = blake3::Hasher::new();
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hash.finalize().to_hex().to_string()
}

/// Where compiled programs lie, if the user has a home.
pub fn folder() -> Option<PathBuf> {
    let set = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches =
        set("XDG_CACHE_HOME").filter(|path| path.is_absolute()).or_else(|| Some(set("HOME")?.join(".cache")));
    Some(caches?.join("albert-train/kernels"))
}

/// What was written under `key`, if it is whole.
pub(super) fn read(key: &str) -> Option<Image> {
    parse(&fs::read(folder()?.join(key)).ok()?)
}

fn parse(bytes: &[u8]) -> Option<Image> {
    let (hash, content) = bytes.split_at_checked(HASH)?;
    let whole = blake3::hash(content).as_bytes() == hash;
    let (length, images) = content.split_first_chunk::<LENGTH>()?;
    let (cubin, ptx) = images.split_at_checked(u64::from_le_bytes(*length) as usize)?;
    (whole && ptx.ends_with(&[0])).then(|| Image { cubin: cubin.to_vec(), ptx: ptx.to_vec() })
}

/// Writes an image, or does not.
pub(super) fn write(key: &str, image: &Image) {
    let Some(folder) = folder() else { return };
    let content = [&(image.cubin.len() as u64).to_le_bytes(), &image.cubin[..], &image.ptx].concat();
    let file = [&blake3::hash(&content).as_bytes()[..], &content].concat();
    let draft = folder.join(format!("{key}.{}", std::process::id()));
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&draft, file));
    if written.and_then(|()| fs::rename(&draft, folder.join(key))).is_err() {
        let _ = fs::remove_file(&draft);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_whole_is_not_read() {
        let image = Image { cubin: vec![1, 2, 3], ptx: b"text\0".to_vec() };
        let content = [&3_u64.to_le_bytes()[..], &image.cubin, &image.ptx].concat();
        let file = [&blake3::hash(&content).as_bytes()[..], &content].concat();
        assert_eq!(parse(&file), Some(image));
        for end in 0..file.len() {
            assert_eq!(parse(&file[..end]), None, "{end} bytes of {}", file.len());
        }
        for byte in 0..file.len() {
            let mut changed = file.clone();
            changed[byte] ^= 1;
            assert_eq!(parse(&changed), None, "byte {byte}");
        }
    }
}
