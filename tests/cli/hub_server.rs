//! A server on this machine that behaves as the Hub does, as far as fetching a model goes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What was asked: the request's lines, and the two parts of the first that matter.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    headers: Vec<(String, String)>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What is answered.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// The connection ends after so many bytes of the body.
    pub cut: Option<usize>,
    /// It stays open after what was sent, and nothing more comes.
    pub holds: bool,
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A server that listens for as long as the test runs.
pub struct Server {
    pub address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// A server whose answers `answer` gives.
    pub fn new(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                // Whoever asks may be gone before the answer is: a test may end it on purpose.
                thread::spawn(move || drop(serve(connection.unwrap(), &log, &*answer)));
            }
        });
        Self { address, asked }
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// What was asked by GET for a file.
    pub fn fetched(&self, file: &str) -> Vec<Asked> {
        let is_of_file = |asked: &Asked| asked.method == "GET" && asked.path.ends_with(&format!("/{file}"));
        self.asked().into_iter().filter(is_of_file).collect()
    }
}

fn serve(
    connection: TcpStream,
    log: &Mutex<Vec<Asked>>,
    answer: &dyn Fn(&Asked) -> Answer,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap();
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let asked = Asked { method, path, headers };
    log.lock().unwrap().push(asked.clone());
    let Answer { status, headers, body, cut, holds } = answer(&asked);
    let mut connection = connection;
    write!(connection, "HTTP/1.1 {status} x\r\nConnection: close\r\n")?;
    if !headers.iter().any(|(name, _)| *name == "Content-Length") {
        write!(connection, "Content-Length: {}\r\n", body.len())?;
    }
    for (name, value) in headers {
        write!(connection, "{name}: {value}\r\n")?;
    }
    connection.write_all(b"\r\n")?;
    if asked.method != "HEAD" {
        connection.write_all(&body[..cut.unwrap_or(body.len())])?;
    }
    connection.flush()?;
    if holds {
        thread::park();
    }
    connection.shutdown(std::net::Shutdown::Write)?;
    // Until the other side has read it all: closing earlier could take back what is on the way.
    std::io::copy(&mut connection.take(1 << 20), &mut std::io::sink()).map(drop)
}

/// The commit that every branch is.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A model's files as the Hub has them, and what it answers of them.
#[derive(Clone)]
pub struct Model {
    pub files: BTreeMap<String, Vec<u8>>,
    /// Those kept in large file storage, which is another server where one is named.
    pub large: Vec<String>,
    pub storage: Option<String>,
}

impl Model {
    /// What the Hub answers to a question about `me/mine`.
    pub fn answer(&self, asked: &Asked) -> Answer {
        let path = asked.path.split('?').next().unwrap();
        if let Some(revision) = path.strip_prefix("/api/models/me/mine/revision/") {
            if ![COMMIT, "main", "pr%2F1"].contains(&revision) {
                return Answer::status(404).with("X-Error-Code", "RevisionNotFound");
            }
            let files: Vec<_> =
                self.files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
            let model =
                serde_json::json!({ "sha": COMMIT, "siblings": files, "tags": ["license:apache-2.0"] });
            return Answer { status: 200, body: model.to_string().into_bytes(), ..Answer::default() };
        }
        let Some(name) = path.strip_prefix(&format!("/me/mine/resolve/{COMMIT}/")) else {
            return Answer::status(404).with("X-Error-Code", "RepoNotFound");
        };
        let Some(content) = self.files.get(name) else {
            return Answer::status(404).with("X-Error-Code", "EntryNotFound");
        };
        let is_large = self.large.iter().any(|large| large == name);
        let hash = hash(content, is_large);
        match &self.storage {
            Some(storage) if is_large => Answer::status(302)
                .with("X-Linked-Etag", format!("\"{hash}\""))
                .with("X-Linked-Size", content.len().to_string())
                .with("Location", format!("{storage}/signed/{name}?signature=abc")),
            _ => file(asked, content).with("ETag", format!("\"{hash}\"")),
        }
    }
}

/// A file's bytes from where they are asked for.
pub fn file(asked: &Asked, content: &[u8]) -> Answer {
    let range = asked.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    let Some(from) = range.map(|from| from.parse::<usize>().unwrap()) else {
        return Answer { status: 200, body: content.into(), ..Answer::default() };
    };
    let length = content.len();
    let part = Answer { status: 206, body: content[from..].into(), ..Answer::default() };
    part.with("Content-Range", format!("bytes {from}-{}/{length}", length - 1))
}

/// The hash that the Hub calls a file by, as coreutils and git make it.
pub fn hash(content: &[u8], is_large: bool) -> String {
    let (program, header) = match is_large {
        true => ("sha256sum", String::new()),
        false => ("sha1sum", format!("blob {}\0", content.len())),
    };
    let bytes = [header.as_bytes(), content].concat();
    let output = assert_cmd::Command::new(program).write_stdin(bytes).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().to_owned()
}
