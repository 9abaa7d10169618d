//! What the compiler made before, on disk.
//!
//! A file for each result, named by a hash of what it was made of, and holding that in full: a collision is a miss.
//! Files appear whole or not at all, and whatever cannot be read or written is as if it were not there.

use std::env;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::LazyLock;

use super::{Inputs, Outputs};

/// The folder of compiled programs, or `off`; in cargo's target folder by default.
pub const CACHE: &str = "EMULATED_GPU_CACHE";

/// Changes whenever the files' form or the meaning of a key does.
const FORM: &str = "emulated-gpu cache 1";

pub struct Cache;

impl Cache {
    /// All that a result depends on, as bytes.
    pub fn key(inputs: &Inputs, version: (i32, i32)) -> Vec<u8> {
        let Inputs { source, name, headers, expressions, options } = inputs;
        let version = format!("{FORM}, NVRTC {}.{}", version.0, version.1);
        let mut fields: Vec<&[u8]> = vec![version.as_bytes(), source.as_bytes(), name.as_bytes()];
        for list in [options, expressions] {
            fields.push(b"list");
            fields.extend(list.iter().map(String::as_bytes));
        }
        fields.push(b"headers");
        fields.extend(headers.iter().flat_map(|(text, name)| [text.as_bytes(), name.as_bytes()]));
        join(&fields)
    }

    pub fn load(key: &[u8]) -> Option<Outputs> {
        let mut fields = read("compiled", key)?.into_iter();
        let (log, ptx, image) = (fields.next()?, fields.next()?, fields.next()?);
        let lowered = fields.map(|name| CString::new(name).ok()).collect::<Option<_>>()?;
        Some(Outputs { log, ptx, image, lowered })
    }

    pub fn store(key: &[u8], outputs: &Outputs) {
        let Outputs { log, ptx, image, lowered } = outputs;
        let mut fields: Vec<&[u8]> = vec![log, ptx, image];
        fields.extend(lowered.iter().map(|name| name.as_bytes()));
        write("compiled", key, &fields);
    }
}

/// The fields stored under a key.
pub fn read(kind: &str, key: &[u8]) -> Option<Vec<Vec<u8>>> {
    let bytes = fs::read(path(kind, key)?).ok()?;
    let mut fields = split(&bytes)?;
    if fields.is_empty() || fields.remove(0) != key { None } else { Some(fields) }
}

/// Stores fields under a key.
pub fn write(kind: &str, key: &[u8], fields: &[&[u8]]) {
    let Some(path) = path(kind, key) else { return };
    let Some(folder) = path.parent() else { return };
    let fields: Vec<&[u8]> = [key].into_iter().chain(fields.iter().copied()).collect();
    let draft = path.with_extension(format!("{}-{:?}.draft", process::id(), std::thread::current().id()));
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&draft, join(&fields)));
    if written.and_then(|()| fs::rename(&draft, &path)).is_err() {
        let _ = fs::remove_file(&draft);
    }
}

fn path(kind: &str, key: &[u8]) -> Option<PathBuf> {
    static FOLDER: LazyLock<Option<PathBuf>> = LazyLock::new(|| match env::var(CACHE) {
        Ok(off) if off == "off" => None,
        Ok(folder) if !folder.is_empty() => Some(PathBuf::from(folder)),
        _ => default_folder(&crate::names::own_path()?),
    });
    Some(FOLDER.as_ref()?.join(format!("{:016x}{:016x}.{kind}", hash(key, 0), hash(key, 1))))
}

/// In the target folder that this code was built in, found by its `deps`.
fn default_folder(library: &Path) -> Option<PathBuf> {
    let library = fs::canonicalize(library).ok()?;
    let deps = library.ancestors().find(|folder| folder.file_name().is_some_and(|name| name == "deps"))?;
    Some(deps.parent()?.parent()?.join("emulated-gpu-cache"))
}

/// FNV-1a, from one of two starting points.
pub fn hash(bytes: &[u8], start: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ start.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bytes.iter().fold(start, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Fields one after the other, each behind its length.
fn join(fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        bytes.extend_from_slice(&(field.len() as u64).to_le_bytes());
        bytes.extend_from_slice(field);
    }
    bytes
}

/// The fields again, unless the bytes are cut short.
fn split(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (field, rest) = rest.split_at_checked(length)?;
        fields.push(field.to_vec());
        bytes = rest;
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_unless_cut_short() {
        let fields: Vec<&[u8]> = vec![b"abc", b"", b"\0\xff"];
        let bytes = join(&fields);
        assert_eq!(split(&bytes).unwrap(), fields);
        for length in (1..bytes.len()).filter(|&length| ![11, 19].contains(&length)) {
            assert_eq!(split(&bytes[..length]), None, "{length}");
        }
    }

    #[test]
    fn whatever_matters_is_in_the_key() {
        let inputs = Inputs { source: "a".into(), name: "b".into(), ..Inputs::default() };
        let key = Cache::key(&inputs, (13, 0));
        let changed = [
            Inputs { source: "b".into(), name: "a".into(), ..Inputs::default() },
            Inputs { options: vec!["-x".into()], ..inputs.clone() },
            Inputs { expressions: vec!["-x".into()], ..inputs.clone() },
            Inputs { headers: vec![("-x".into(), "y".into())], ..inputs.clone() },
        ];
        assert!(changed.iter().all(|other| Cache::key(other, (13, 0)) != key));
        assert_ne!(Cache::key(&inputs, (13, 1)), key);
    }

    #[test]
    fn the_cache_lies_in_the_target_folder() {
        let target = tempfile::tempdir().unwrap();
        let folder = target.path().join("debug/deps/emulated-gpu");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("libcuda.so"), "").unwrap();
        let wanted = fs::canonicalize(target.path()).unwrap().join("emulated-gpu-cache");
        assert_eq!(default_folder(&folder.join("libcuda.so")), Some(wanted));
        assert_eq!(default_folder(&target.path().join("nowhere")), None);
    }
}
