//! The way of a download: what is there, what is missing, file by file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use model::{AlbertConfig, CONFIG_FILE, ConfigError};

use super::blobs::io_error;
use super::choice::{self, INDEX_FILE};
use super::environment::offline;
use super::server::{Incoming, Listing, Question, RemoteFile, Server};
use super::{Downloaded, Event};
use crate::data::BytesDone;
use crate::files;
use crate::hub::cache::{Cache, CachedModel, Variables};
use crate::hub::{DownloadError, Reference, is_whole};

/// Connections in a row that may bring nothing of a file.
const FRUITLESS: u64 = 3;

/// See [`download`](super::download).
pub fn download(
    reference: &Reference,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Downloaded, DownloadError> {
    let variables: Variables<'_> = &|name| std::env::var_os(name);
    let cache = Cache::of(variables)?;
    if let Some(variable) = offline(variables)? {
        let Some(snapshot) = cache.find(reference).ok().filter(|it| matches!(is_whole(it), Ok(true))) else {
            return Err(DownloadError::Offline { model: reference.model().into(), variable });
        };
        watch(Event::Offline { variable });
        return Ok(Downloaded { snapshot, fetched: 0 });
    }
    let cache = cache.model(reference.model());
    let server = Server::of(variables)?;
    let listing = server.listing(reference)?;
    let is_new = !cache.folder.exists();
    let mut download =
        Download { reference, server, cache, listing, watch, done: BytesDone { done: 0, kept: 0, total: 0 } };
    let result = download.run();
    if result.is_err() && is_new {
        download.cache.remove_empty();
    }
    result
}

struct Download<'a> {
    reference: &'a Reference,
    server: Server,
    cache: CachedModel,
    listing: Listing,
    watch: &'a mut dyn FnMut(Event<'_>),
    /// Of all that is missing.
    done: BytesDone,
}

impl Download<'_> {
    fn run(&mut self) -> Result<Downloaded, DownloadError> {
        let model = self.reference.model();
        let mut names = choice::files(model, &self.listing.files)?;
        // The configuration says whether this is a model for this program: it comes first, and alone if it is not.
        let mut described = Vec::new();
        self.check_config(&mut described)?;
        if names.iter().any(|name| name == INDEX_FILE) {
            let (path, _) = self.path_of(INDEX_FILE, &mut described)?;
            let index = std::fs::read(&path).map_err(io_error("read", &path))?;
            let odd = |problem| self.question(INDEX_FILE).odd(&self.server.host(), problem);
            names.extend(choice::parts(&index, &self.listing.files).map_err(odd)?);
        }
        let snapshot = self.cache.snapshot(&self.listing.commit);
        for name in &names {
            let is_known = described.iter().any(|file: &RemoteFile| file.name == *name);
            if !is_known && !snapshot.join(name).exists() {
                described.push(self.server.describe(&self.question(name), &self.listing.commit)?);
            }
        }
        let missing = described.iter().filter(|file| !self.cache.blob(&file.hash).exists());
        self.done.total = missing.filter_map(|file| file.size).sum::<u64>() + self.done.done;
        let event = Event::Found {
            commit: &self.listing.commit,
            files: &names,
            missing: self.done.total - self.done.done,
            licence: self.listing.licence.as_deref(),
        };
        (self.watch)(event);
        let mut were_fetched = Vec::new();
        for file in &described {
            were_fetched.push(self.fetch(file)?);
        }
        let mut spare = Vec::new();
        for (file, was_fetched) in described.iter().zip(were_fetched) {
            let is_copy = self.cache.link(&self.listing.commit, &file.name, &file.hash)?;
            spare.extend((is_copy && was_fetched).then(|| self.cache.blob(&file.hash)));
        }
        self.cache.refer(self.reference.revision(), &self.listing.commit)?;
        // Where the file system has no links, no file need be there twice. One that stays is no harm.
        spare.iter().for_each(|blob| drop(std::fs::remove_file(blob)));
        Ok(Downloaded { snapshot, fetched: self.done.done - self.done.kept })
    }

    fn question<'a>(&'a self, file: &'a str) -> Question<'a> {
        Question { reference: self.reference, file: Some(file) }
    }

    /// Refuses a model that is none for this program, and leaves nothing of it.
    fn check_config(&mut self, described: &mut Vec<RemoteFile>) -> Result<(), DownloadError> {
        let (path, is_new) = self.path_of(CONFIG_FILE, described)?;
        let problem = match AlbertConfig::load(&path) {
            Ok(_) => return Ok(()),
            Err(ConfigError::File { problem, .. }) => problem,
            Err(other) => other.to_string(),
        };
        if is_new {
            std::fs::remove_file(&path).map_err(io_error("remove", &path))?;
        }
        Err(DownloadError::OtherModel { model: self.reference.model().into(), problem })
    }

    /// A file that is read before the others are fetched, and whether it was not in the cache.
    fn path_of(
        &mut self,
        name: &str,
        described: &mut Vec<RemoteFile>,
    ) -> Result<(PathBuf, bool), DownloadError> {
        let path = self.cache.snapshot(&self.listing.commit).join(name);
        if path.exists() {
            return Ok((path, false));
        }
        let file = self.server.describe(&self.question(name), &self.listing.commit)?;
        let is_new = self.fetch(&file)?;
        let path = self.cache.blob(&file.hash);
        described.push(file);
        Ok((path, is_new))
    }

    /// Brings a file into the cache under its hash; says whether it was not there.
    fn fetch(&mut self, file: &RemoteFile) -> Result<bool, DownloadError> {
        let blob = self.cache.blob(&file.hash);
        if blob.exists() {
            return Ok(false);
        }
        let watch = &mut *self.watch;
        let _lock = self.cache.lock(&file.hash, || watch(Event::Waiting { file: &file.name }))?;
        if blob.exists() {
            self.done.total = self.done.total.saturating_sub(file.size.unwrap_or(0));
            return Ok(false); // another process brought it meanwhile
        }
        let path = self.cache.incomplete(&file.hash);
        let open = || {
            std::fs::create_dir_all(blob.parent().unwrap_or(&blob))?;
            let mut options = File::options();
            files::open_own(options.read(true).write(true).create(true).truncate(false), &path)
        };
        let mut part = open().map_err(io_error("write", &path))?;
        let mut kept = part.metadata().map_err(io_error("read", &path))?.len();
        let before = self.done;
        loop {
            (self.done.done, self.done.kept) = (before.done + kept, before.kept + kept);
            self.receive(&mut part, file)?;
            let hash = part.rewind().and_then(|()| {
                let length = part.metadata()?.len();
                file.hash.of_same_kind(&part, length)
            });
            let found = hash.map_err(io_error("read", &path))?;
            if found == file.hash {
                self.cache.keep(&part, &file.hash)?;
                return Ok(true);
            }
            if kept == 0 {
                std::fs::remove_file(&path).map_err(io_error("remove", &path))?;
                return Err(DownloadError::Hash {
                    what: self.question(&file.name).to_string(),
                    host: self.server.host(),
                    announced: file.hash.as_str().into(),
                    found: found.as_str().into(),
                });
            }
            // What was left of an earlier download may have been damaged since, as by a loss of power.
            part.set_len(0).map_err(io_error("write", &path))?;
            kept = 0;
            (self.watch)(Event::Anew { file: &file.name });
        }
    }

    /// Appends what is missing of a file, over as many connections as that takes.
    fn receive(&mut self, part: &mut File, file: &RemoteFile) -> Result<(), DownloadError> {
        let path = self.cache.incomplete(&file.hash);
        let (mut furthest, mut fruitless, mut problem) = (0, 0, String::new());
        loop {
            let from = part.seek(SeekFrom::End(0)).map_err(io_error("read", &path))?;
            if !problem.is_empty() {
                fruitless = if from > furthest { 0 } else { fruitless + 1 };
            }
            furthest = furthest.max(from);
            if Some(from) == file.size {
                return Ok(());
            }
            // What is longer than the file cannot be its beginning.
            let from = if file.size.is_some_and(|size| from > size) { 0 } else { from };
            if fruitless == FRUITLESS {
                let host = self.server.host();
                return Err(DownloadError::Broken { file: file.name.clone(), host, received: from, problem });
            }
            if !problem.is_empty() {
                (self.watch)(Event::GoingOn { file: &file.name, from, problem: &problem });
                sleep(Duration::from_secs(fruitless));
            }
            let opened = self.server.open(&self.question(&file.name), &self.listing.commit, from);
            let incoming = match opened {
                Ok(Some(incoming)) => incoming,
                Ok(None) => return Ok(()), // nothing more, as far as the server knows
                Err(DownloadError::Unreachable { host, problem, .. }) if from > 0 => {
                    return Err(DownloadError::Broken {
                        file: file.name.clone(),
                        host,
                        received: from,
                        problem,
                    });
                }
                Err(error) => return Err(error),
            };
            self.set_back(part, incoming.start).map_err(io_error("write", &path))?;
            match self.append(part, file, incoming).map_err(io_error("write", &path))? {
                End::Whole => return Ok(()),
                End::Broken(why) => problem = why,
            }
        }
    }

    /// Takes back what comes again.
    fn set_back(&mut self, part: &mut File, start: u64) -> io::Result<()> {
        let length = part.metadata()?.len();
        let again = length.saturating_sub(start);
        self.done.done = self.done.done.saturating_sub(again);
        self.done.kept = self.done.kept.min(self.done.done);
        part.set_len(length.min(start))?;
        part.seek(SeekFrom::End(0)).map(drop)
    }

    /// Appends what comes over one connection, and says how that ended. Errors are those of the disk.
    fn append(&mut self, part: &mut File, file: &RemoteFile, mut incoming: Incoming) -> io::Result<End> {
        let mut buffer = vec![0; 1 << 18];
        let mut at = incoming.start;
        loop {
            let count = match incoming.bytes.read(&mut buffer) {
                Ok(0) if file.size.is_some_and(|size| at < size) => {
                    return Ok(End::Broken(format!("{} ended the connection", incoming.host)));
                }
                Ok(0) => return Ok(End::Whole),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(End::Broken(error.to_string())),
            };
            part.write_all(&buffer[..count])?;
            at += count as u64;
            self.done.done += count as u64;
            (self.watch)(Event::Progress(self.done));
            if file.size.is_some_and(|size| at > size) {
                return Ok(End::Whole); // more than was announced: its hash will tell
            }
        }
    }
}

/// How a connection ended.
enum End {
    Whole,
    Broken(String),
}
