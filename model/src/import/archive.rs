//! Archives of releases (`.tar.gz`), unpacked into a folder of their own; nothing in an archive is believed.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use flate2::read::MultiGzDecoder;
use tempfile::TempDir;

use crate::error::ModelError;
use crate::visible::shown;
use crate::wire::unpacked::Limited;

/// Weights hardly compress: an archive that unpacks to more than so many times its bytes is no release's.
const LARGEST_RATIO: u64 = 20;
/// What any archive may unpack to.
const ALWAYS: u64 = 16 << 20;
/// An archive of a release has some ten files.
const MOST_FILES: usize = 1000;

/// An archive as it was when it was unpacked.
#[derive(PartialEq, Eq)]
struct Known {
    path: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
}

/// What is unpacked at the moment.
static UNPACKED: Mutex<Vec<(Known, Weak<TempDir>)>> = Mutex::new(Vec::new());

/// The files of an archive, [unpacked](unpack) once for all who have them at the same time.
pub(super) fn unpacked(archive: &Path) -> Result<Arc<TempDir>, ModelError> {
    let metadata = archive.metadata().map_err(ModelError::io("read", archive))?;
    let path = std::path::absolute(archive).map_err(ModelError::io("read", archive))?;
    let known = Known { path, length: metadata.len(), modified: metadata.modified().ok() };
    let mut all = UNPACKED.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|(_, folder)| folder.strong_count() > 0);
    if let Some(folder) =
        all.iter().find(|(other, _)| *other == known).and_then(|(_, folder)| folder.upgrade())
    {
        return Ok(folder);
    }
    let folder = Arc::new(unpack(archive, &IS_LEFT)?);
    all.push((known, Arc::downgrade(&folder)));
    Ok(folder)
}

/// Whether what is being unpacked is left as it is.
static IS_LEFT: AtomicBool = AtomicBool::new(false);

/// Removes what of archives is still unpacked, at the end of a process that does not wait for all of its threads; an archive that
/// one of them is unpacking is left and removed at once.
pub fn remove_unpacked() {
    IS_LEFT.store(true, Ordering::Relaxed);
    for (_, folder) in UNPACKED.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        if let Some(folder) = folder.upgrade() {
            let _ = std::fs::remove_dir_all(folder.path()); // nobody is left to be told
        }
    }
}

/// A source that fails once it is left.
struct Leavable<'a, R> {
    source: R,
    is_left: &'a AtomicBool,
}

impl<R: Read> Read for Leavable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.is_left.load(Ordering::Relaxed) {
            true => Err(io::Error::other("the program ends")),
            false => self.source.read(buffer),
        }
    }
}

/// Unpacks the files of an archive, until it is done or left; its folders count as parts of their names.
///
/// # Errors
/// If it is damaged, holds anything but files and folders, names a place outside of itself, or unpacks to more than any
/// release does; if there is no room for its files.
fn unpack(archive: &Path, is_left: &AtomicBool) -> Result<TempDir, ModelError> {
    let file = File::open(archive).map_err(ModelError::io("read", archive))?;
    let packed = file.metadata().map_err(ModelError::io("read", archive))?.len();
    let unwritten =
        |source| ModelError::Unpack { archive: archive.to_owned(), folder: std::env::temp_dir(), source };
    let folder = tempfile::Builder::new().prefix("albert-train-archive-").tempdir().map_err(unwritten)?;
    let source = Leavable { source: MultiGzDecoder::new(BufReader::new(file)), is_left };
    let mut tar = tar::Archive::new(Limited::unpacked(source, packed, LARGEST_RATIO, ALWAYS));
    let unpacked = extract(&mut tar, folder.path()).and_then(|()| {
        // To the end: there gzip has its checksum.
        Ok(io::copy(&mut tar.into_inner(), &mut io::sink()).map(drop)?)
    });
    unpacked.map_err(|error| match error {
        Refusal::Io(source) if source.kind() == io::ErrorKind::FileTooLarge => ModelError::Archive {
            path: archive.to_owned(),
            problem: format!("it unpacks to more than {LARGEST_RATIO} times its {packed} bytes"),
        },
        Refusal::Io(source) => ModelError::Archive { path: archive.to_owned(), problem: source.to_string() },
        Refusal::Unwritten(source) => unwritten(source),
        Refusal::Hostile(problem) => ModelError::Archive { path: archive.to_owned(), problem },
    })?;
    Ok(folder)
}

enum Refusal {
    /// The archive cannot be read.
    Io(io::Error),
    /// Its files cannot be written.
    Unwritten(io::Error),
    Hostile(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn extract<R: Read>(tar: &mut tar::Archive<R>, folder: &Path) -> Result<(), Refusal> {
    for (count, entry) in tar.entries()?.enumerate() {
        if count >= MOST_FILES {
            return Err(Refusal::Hostile(format!("it has more than {MOST_FILES} entries")));
        }
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        let hostile = |what: &str| Refusal::Hostile(format!("its entry `{}` {what}", beginning(&name)));
        // Not made because of what it is called, or for want of a place.
        let unmade = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
                hostile("takes the place of another")
            }
            io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput => {
                hostile("is called what no file can be called here")
            }
            _ => Refusal::Unwritten(error),
        };
        let path = folder.join(inside(&name).ok_or_else(|| hostile("lies outside of it"))?);
        match entry.header().entry_type() {
            tar::EntryType::Directory => std::fs::create_dir_all(&path).map_err(unmade)?,
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let within = path.parent().unwrap_or(folder);
                std::fs::create_dir_all(within).map_err(unmade)?;
                let file = File::create_new(&path).map_err(unmade)?;
                let size = entry.size();
                if copy(&mut entry, file)? != size {
                    return Err(Refusal::Io(io::ErrorKind::UnexpectedEof.into()));
                }
            }
            tar::EntryType::XGlobalHeader => (),
            kind => {
                let is_link = kind.is_symlink() || kind.is_hard_link();
                return Err(hostile(if is_link { "is a link" } else { "is no file" }));
            }
        }
    }
    Ok(())
}

/// Copies all that there is to read, and says how many bytes that was.
fn copy(from: &mut impl Read, mut to: File) -> Result<u64, Refusal> {
    const CHUNK: u64 = 1 << 16;
    let (mut copied, mut chunk) = (0, Vec::new());
    loop {
        chunk.clear();
        let read = from.by_ref().take(CHUNK).read_to_end(&mut chunk)?;
        if read == 0 {
            return Ok(copied);
        }
        to.write_all(&chunk).map_err(Refusal::Unwritten)?;
        copied += read as u64;
    }
}

/// A name as it is shown, which an archive may have made of any length.
fn beginning(name: &Path) -> String {
    const SHOWN: usize = 100;
    let name = shown(name);
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    }
}

/// A name without `.`, if it leads nowhere but down.
fn inside(name: &Path) -> Option<PathBuf> {
    let mut place = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => place.push(part),
            Component::CurDir => (),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(place)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    /// A header of a name that the library would not write.
    fn header(name: &str, kind: tar::EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        header
    }

    fn tarred(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            tar.append(&header(name, *kind, content.len() as u64), *content).expect("memory");
        }
        tar.into_inner().expect("memory")
    }

    fn packed(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&tarred(entries)).expect("memory");
        gzip.finish().expect("memory")
    }

    fn unpacked(bytes: &[u8]) -> Result<TempDir, String> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("written");
        unpack(file.path(), &AtomicBool::new(false)).map_err(|error| error.to_string())
    }

    #[test]
    fn files_are_where_their_names_say() {
        let bytes = packed(&[
            ("./base/", tar::EntryType::Directory, b""),
            ("./base/a", tar::EntryType::Regular, b"1"),
            ("b/c", tar::EntryType::Regular, b"23"),
        ]);
        let folder = unpacked(&bytes).expect("an archive");
        let read = |name: &str| std::fs::read(folder.path().join(name)).expect("there");
        assert_eq!([read("base/a"), read("b/c")], [b"1".to_vec(), b"23".to_vec()]);
    }

    #[test]
    fn who_has_an_archive_at_the_same_time_has_the_same_files() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&packed(&[("a", tar::EntryType::Regular, b"1")])).expect("written");
        let unpacked = || super::unpacked(file.path()).expect("an archive");
        let (first, second) = (unpacked(), unpacked());
        assert_eq!(first.path(), second.path());
        let path = first.path().to_owned();
        drop((first, second));
        assert!(!path.exists(), "nobody has it any more");
        let third = unpacked();
        assert!(third.path().join("a").exists());
        remove_unpacked();
        assert!(!third.path().exists());
    }

    /// Whoever ends the program does not wait for an archive.
    #[test]
    fn what_is_being_unpacked_can_be_left() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let bytes = packed(&[("a", tar::EntryType::Regular, b"1")]);
        file.write_all(&bytes).expect("written");
        assert!(unpack(file.path(), &AtomicBool::new(true)).is_err(), "it is left");
        // At any moment: nothing is read past it.
        let is_left = AtomicBool::new(false);
        let mut source = Leavable { source: &bytes[..], is_left: &is_left };
        assert_eq!(source.read(&mut [0; 8]).expect("read"), 8);
        is_left.store(true, Ordering::Relaxed);
        assert!(source.read(&mut [0; 8]).is_err());
    }

    #[test]
    fn nothing_leaves_the_folder() {
        for (name, kind, part) in [
            ("/etc/x", tar::EntryType::Regular, "outside"),
            ("a/../../x", tar::EntryType::Regular, "outside"),
            ("a", tar::EntryType::Symlink, "a link"),
            ("a", tar::EntryType::Link, "a link"),
            ("a", tar::EntryType::Fifo, "no file"),
        ] {
            let error = unpacked(&packed(&[(name, kind, b"")])).expect_err(name);
            assert!(error.contains(part) && error.contains(name) && error.contains(ADVICE), "{error}");
        }
    }

    /// What to do about any archive that is not read.
    const ADVICE: &str =
        "copy it again from where it came; or, where you trust what is in it, unpack it yourself (tar -xzf)";

    /// Not the place's fault where a file cannot be made.
    #[test]
    fn names_that_no_files_can_have_are_told() {
        let (file, folder) = (tar::EntryType::Regular, tar::EntryType::Directory);
        for (first, second, kind) in [
            ("a", "./a", file),
            ("a", "a/b", file),
            ("a", "a/b/c", file),
            ("a", "a/", folder),
            ("a/b", "a", file),
            ("a", ".", file),
        ] {
            let error = unpacked(&packed(&[(first, file, b""), (second, kind, b"")])).expect_err("one place");
            let what = format!("its entry `{second}` takes the place of another");
            assert!(error.contains(&what) && error.contains(ADVICE), "{error}");
        }
        for name in [[b'a'; 100_000], [0; 100_000]] {
            let entries = [("long", tar::EntryType::GNULongName, &name[..]), ("a", file, b"")];
            let error = unpacked(&packed(&entries)).expect_err("no name");
            assert!(error.contains("what no file can be called") && error.contains(ADVICE), "{error}");
            assert!(error.len() < 1000, "all of the name is shown");
        }
    }

    #[test]
    fn no_archive_fills_the_disk() {
        let zeros = vec![0; 64 << 20];
        let error = unpacked(&packed(&[("a", tar::EntryType::Regular, &zeros)])).expect_err("a bomb");
        assert!(error.contains("more than 20 times") && error.contains(ADVICE), "{error}");
        assert!(unpacked(&packed(&[("a", tar::EntryType::Regular, &zeros[..1 << 20])])).is_ok());
        let mut forged = GzEncoder::new(Vec::new(), Compression::default());
        let header = header("a", tar::EntryType::Regular, 1 << 40);
        forged.write_all(header.as_bytes()).and_then(|()| forged.write_all(&zeros[..1024])).expect("memory");
        let error = unpacked(&forged.finish().expect("memory")).expect_err("cut off");
        assert!(error.contains(ADVICE), "{error}");
    }

    /// Where, from the beginning of a header on, an entry says what it is (its name, size, kind, the beginning of its name, and
    /// after the header what may be a longer name or a POSIX list), and what it may say instead.
    fn lie() -> impl Strategy<Value = (usize, Vec<u8>)> {
        let field = prop::sample::select(&[0, 124, 156, 345, 512][..]);
        let said = prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            prop::sample::select(&b"01257LKxgS"[..]).prop_map(|kind| vec![kind]),
            prop::sample::select(&["../", "./", "/", "\0"][..]).prop_map(Vec::from),
        ];
        (field, prop_oneof![Just(0), 0..40_usize], said).prop_map(|(field, at, said)| (field + at, said))
    }

    proptest! {
        /// What the checksum of gzip keeps from [damage_never_goes_unnoticed]: whatever a tar says, headers with right sums
        /// and all, it is refused for its own faults, or becomes files and folders within its folder.
        #[test]
        fn whatever_a_tar_says_stays_inside(
            lies in prop::collection::vec((any::<prop::sample::Index>(), lie()), 1..8),
            cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        ) {
            let long = "a_folder_of_a_long_name/".repeat(5);
            let mut tar = tarred(&[
                ("base/", tar::EntryType::Directory, b""),
                ("base/a", tar::EntryType::Regular, &[b'1'; 700]),
                ("././@LongLink", tar::EntryType::GNULongName, long.as_bytes()),
                ("folder", tar::EntryType::Directory, b""),
                ("list", tar::EntryType::XHeader, b"16 path=base/bc\n9 size=1\n"),
                ("base/b", tar::EntryType::Regular, b"2"),
            ]);
            let headers: Vec<usize> = (tar::Archive::new(&tar[..]).entries().expect("a tar").raw(true))
                .map(|entry| entry.expect("whole").raw_header_position() as usize)
                .collect();
            prop_assert_eq!(headers.len(), 6);
            for (header, (at, said)) in lies {
                let begin = headers[header.index(headers.len())] + at;
                tar[begin..begin + said.len()].copy_from_slice(&said);
            }
            for begin in headers {
                let header = &mut tar[begin..begin + 512];
                let mut summed = tar::Header::from_byte_slice(header).clone();
                summed.set_cksum();
                header.copy_from_slice(summed.as_bytes());
            }
            tar.truncate(cut.map_or(tar.len(), |cut| cut.index(tar.len())));
            let outside = tempfile::tempdir().expect("a folder");
            let inside = outside.path().join("inside");
            std::fs::create_dir(&inside).expect("a folder");
            if let Err(Refusal::Unwritten(error)) = extract(&mut tar::Archive::new(&tar[..]), &inside) {
                prop_assert!(false, "the place is not at fault: {}", error);
            }
            let made = |folder: &Path| std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("there"));
            prop_assert_eq!(made(outside.path()).count(), 1);
            let mut folders = vec![inside];
            while let Some(folder) = folders.pop() {
                for entry in made(&folder) {
                    let kind = entry.file_type().expect("there");
                    prop_assert!(kind.is_file() || kind.is_dir(), "{:?}", entry.path());
                    folders.extend(kind.is_dir().then(|| entry.path()));
                }
            }
        }

        #[test]
        fn damage_never_goes_unnoticed(at in any::<prop::sample::Index>(), bit in 0..8) {
            let content: Vec<u8> = (0..3000_u32).map(|index| ((index * index) >> 3) as u8).collect();
            let whole = packed(&[("a", tar::EntryType::Regular, &content), ("b", tar::EntryType::Regular, b"2")]);
            let mut flipped = whole.clone();
            flipped[at.index(whole.len())] ^= 1_u8 << bit;
            // A flip in what gzip's header says of the file changes nothing that is read.
            if let Ok(folder) = unpacked(&flipped) {
                prop_assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), content);
            }
            prop_assert!(unpacked(&whole[..at.index(whole.len() - 8)]).is_err());
        }
    }
}
