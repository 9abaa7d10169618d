//! `download`, from a server on this machine.

mod interrupted;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use train::exit::ExitCode;

use crate::hub_server::{Answer, COMMIT, Model, Server, file, hash};
use crate::program::{Run, Scene, program, run};

const TOKEN: &str = "hf_verySecret0123456789";
const WEIGHTS: &str = "model.safetensors";

/// A model as somebody published it, and a cache to fetch it into.
struct Hub {
    scene: Scene,
    model: Model,
}

impl Hub {
    fn new() -> Self {
        let scene = Scene::new();
        let mut files = std::collections::BTreeMap::new();
        for entry in fs::read_dir(scene.path("model")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read(path).unwrap());
        }
        for (name, content) in [("README.md", "words"), ("pytorch_model.bin", "PK"), ("x/vocab.txt", "a")] {
            files.insert(name.into(), content.into());
        }
        Self { scene, model: Model { files, large: vec![WEIGHTS.into()], storage: None } }
    }

    fn serve(&self) -> Server {
        let model = self.model.clone();
        Server::new(move |asked| model.answer(asked))
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = program();
        for name in ["HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "SSL_CERT_FILE"] {
            command.env_remove(name);
        }
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command.args(arguments).env("HF_HOME", self.scene.path("home")).env("HF_TOKEN", TOKEN);
        command
    }

    /// The program with `more` in its environment. The token is never seen, whatever happens.
    fn run(&self, arguments: &[&str], more: &[(&str, &str)]) -> Run {
        let output = self.command(arguments).envs(more.iter().copied()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let run = Run {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        };
        assert!(!run.out.contains(TOKEN) && !run.err.contains(TOKEN), "{}{}", run.out, run.err);
        assert!(!run.err.contains("signature"), "a signed address is shown: {}", run.err);
        run
    }

    fn download(&self, server: &Server, more: &[(&str, &str)]) -> Run {
        self.run(&["download", "hf:me/mine"], &[&[("HF_ENDPOINT", server.address.as_str())], more].concat())
    }

    fn folder(&self) -> PathBuf {
        self.scene.path("home/hub/models--me--mine")
    }

    fn blob(&self, name: &str) -> PathBuf {
        let is_large = self.model.large.iter().any(|large| large == name);
        self.folder().join("blobs").join(hash(&self.model.files[name], is_large))
    }

    fn incomplete(&self, name: &str) -> PathBuf {
        self.blob(name).with_extension("incomplete")
    }

    /// Everything below the cache, folders aside.
    fn cached(&self) -> Vec<PathBuf> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                match fs::symlink_metadata(&path).unwrap().is_dir() {
                    true => walk(&path, found),
                    false => found.push(path),
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.scene.path("home"), &mut found);
        found
    }

    /// Stops the test unless the cache holds the model as huggingface_hub would.
    #[track_caller]
    fn expect_complete(&self) {
        let snapshot = self.folder().join("snapshots").join(COMMIT);
        assert_eq!(fs::read_to_string(self.folder().join("refs/main")).unwrap(), COMMIT);
        let mut names: Vec<_> =
            fs::read_dir(&snapshot).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        let expected =
            ["config.json", WEIGHTS, "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"];
        assert_eq!(names, expected);
        for name in expected {
            assert_eq!(fs::read(snapshot.join(name)).unwrap(), self.model.files[name], "{name}");
            let blob = self.blob(name);
            let link = Path::new("../../blobs").join(blob.file_name().unwrap());
            assert_eq!(fs::read_link(snapshot.join(name)).unwrap(), link, "{name}");
        }
        // Each of them, a link to it, and the branch: no lock, no part.
        assert_eq!(self.cached().len(), 2 * expected.len() + 1, "{:?}", self.cached());
    }
}

#[test]
fn a_model_is_fetched_once_and_read_from_the_cache() {
    let hub = Hub::new();
    let server = hub.serve();
    let first = hub.download(&server, &[]);
    assert!(first.err.contains("licence apache-2.0"), "{}", first.err);
    let snapshot = hub.folder().join("snapshots").join(COMMIT);
    assert_eq!(first.done().trim_end(), snapshot.to_str().unwrap());
    hub.expect_complete();
    let shown = format!("Bearer {TOKEN}");
    assert!(server.asked().iter().all(|asked| asked.header("authorization") == Some(shown.as_str())));
    let sent = server.asked().len();
    // A cache that is shared may be one to be read alone: what is there is not written again.
    let branch = || fs::metadata(hub.folder().join("refs/main")).unwrap().ino();
    let before = branch();
    let again = hub.download(&server, &[]);
    assert!(again.err.contains("all there"), "{}", again.err);
    again.done();
    assert_eq!(server.asked().len(), sent + 1, "only which commit the branch is now");
    assert_eq!(branch(), before);
    let quiet = hub.run(&["-q", "download", "me/mine"], &[("HF_ENDPOINT", server.address.as_str())]);
    assert_eq!(quiet.err, "");
    let expected = run(&["fill-mask", "--model", &hub.scene.arg("model"), "The [MASK] went."]).done();
    let found =
        hub.run(&["fill-mask", "--model", "hf:me/mine", "The [MASK] went."], &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(found.done(), expected);
}

#[test]
fn a_revision_is_fetched_under_its_name() {
    let hub = Hub::new();
    let server = hub.serve();
    let endpoint = [("HF_ENDPOINT", server.address.as_str())];
    hub.run(&["download", "hf:me/mine@pr/1"], &endpoint).done();
    assert_eq!(fs::read_to_string(hub.folder().join("refs/pr/1")).unwrap(), COMMIT);
    assert!(!hub.folder().join("refs/main").exists());
    hub.run(&["download", &format!("me/mine@{COMMIT}")], &endpoint).done();
    assert!(!hub.folder().join("refs").join(COMMIT).exists());
    hub.run(&["download", "me/mine@v9"], &endpoint)
        .complains(ExitCode::Usage, &["has no revision v9 of me/mine", "a branch, a tag or a commit"]);
}

#[test]
fn a_file_with_another_hash_is_refused_and_not_kept() {
    for name in [WEIGHTS, "tokenizer.json"] {
        let hub = Hub::new();
        let model = hub.model.clone();
        let server = Server::new(move |asked| {
            let mut answer = model.answer(asked);
            if asked.path.ends_with(name) && asked.method == "GET" {
                answer.body[100] ^= 1;
            }
            answer
        });
        let announced = hub.blob(name);
        let announced = announced.file_name().unwrap().to_str().unwrap();
        hub.download(&server, &[])
            .complains(ExitCode::Checkpoint, &[name, "me/mine", announced, "it was not kept"]);
        let left = hub.cached();
        assert!(!left.iter().any(|path| path.to_string_lossy().contains(announced)), "{left:?}");
        assert!(!hub.folder().join("refs").exists() && !hub.folder().join("snapshots").exists());
        assert_eq!(server.fetched(name).len(), 1);
    }
}

#[test]
fn a_server_that_says_no_hash_is_not_believed() {
    let hub = Hub::new();
    let model = hub.model.clone();
    let server = Server::new(move |asked| {
        let mut answer = model.answer(asked);
        answer.headers.retain(|(name, _)| *name != "ETag");
        answer.with("ETag", "\"../../../etc/passwd\"")
    });
    hub.download(&server, &[]).complains(ExitCode::Io, &["config.json of me/mine", "the file's hash"]);
    assert!(hub.cached().is_empty(), "{:?}", hub.cached());
    assert!(!hub.folder().exists());
}

#[test]
fn nothing_is_asked_offline() {
    let hub = Hub::new();
    let server = hub.serve();
    for variable in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        hub.download(&server, &[(variable, "1")])
            .complains(ExitCode::Usage, &[variable, "me/mine is not in the cache", "unset it"]);
    }
    assert!(server.asked().is_empty() && hub.cached().is_empty());
    hub.download(&server, &[("HF_HUB_OFFLINE", "0")]).done();
    let asked = server.asked().len();
    let offline = hub.download(&server, &[("HF_HUB_OFFLINE", "1")]);
    assert!(offline.err.contains("as it is in the cache"), "{}", offline.err);
    assert!(offline.done().trim_end().ends_with(COMMIT) && server.asked().len() == asked);
    fs::remove_file(hub.folder().join("snapshots").join(COMMIT).join(WEIGHTS)).unwrap();
    hub.download(&server, &[("HF_HUB_OFFLINE", "1")]).complains(ExitCode::Usage, &["not whole"]);
}

/// Whoever needed a tokenizer alone, or a model by PyTorch, fetched no weights that are read here.
#[test]
fn a_model_in_the_cache_without_its_weights_is_completed() {
    let hub = Hub::new();
    let server = hub.serve();
    hub.download(&server, &[]).done();
    let snapshot = hub.folder().join("snapshots").join(COMMIT);
    let fill_mask = ["fill-mask", "--model", "hf:me/mine", "The [MASK] went."];
    let pretrain = ["pretrain", "--init", "hf:me/mine", "--train", &hub.scene.arg("text.txt")];
    for left in
        [&["tokenizer.json"][..], &["tokenizer.json", "config.json"], &["config.json", "pytorch_model.bin"]]
    {
        for name in fs::read_dir(&snapshot).unwrap().map(|entry| entry.unwrap().file_name()) {
            if !left.iter().any(|left| name == *left) {
                fs::remove_file(snapshot.join(name)).unwrap();
            }
        }
        if left.contains(&"pytorch_model.bin") {
            fs::write(snapshot.join("pytorch_model.bin"), "PK").unwrap();
            let convert = ["if the Hub has none either", "PyTorch's pickled weights", "weights_only=True"];
            hub.run(&fill_mask, &[]).complains(ExitCode::Usage, &convert);
        } else {
            hub.run(&["tokenizer", "encode", "--tokenizer", "hf:me/mine", "The cat."], &[]).done();
        }
        for command in [&fill_mask[..], &pretrain] {
            let help =
                ["me/mine is in the cache, but not with its weights", "`albert-train download hf:me/mine`"];
            hub.run(command, &[]).complains(ExitCode::Usage, &help);
        }
        hub.download(&server, &[]).done();
        hub.run(&fill_mask, &[]).done();
    }
    // What is damaged is not missing.
    fs::remove_file(snapshot.join(WEIGHTS)).unwrap();
    fs::write(snapshot.join("model.safetensors.index.json"), "{").unwrap();
    hub.run(&fill_mask, &[]).complains(ExitCode::Checkpoint, &["model.safetensors.index.json is not"]);
}

/// Each way in which a model is not given has words of its own, and leaves nothing behind.
#[test]
fn what_is_not_given_is_said_in_words() {
    let hub = Hub::new();
    let no_token = [("HF_TOKEN", "")];
    let with = |status: u16, code: &'static str, of: &'static str, more: &[(&str, &str)]| {
        let model = hub.model.clone();
        let server = Server::new(move |asked| match asked.path.contains(of) {
            // A server may repeat what it was told.
            true => Answer::status(status)
                .with("X-Error-Code", code)
                .with("X-Error-Message", asked.header("authorization").unwrap_or_default()),
            false => model.answer(asked),
        });
        let run = hub.download(&server, more);
        assert!(!hub.folder().exists(), "{:?}", hub.cached());
        run
    };
    let usage = ExitCode::Usage;
    with(404, "RepoNotFound", "/api/", &[]).complains(usage, &["has no model me/mine", "check the name"]);
    with(401, "RepoNotFound", "/api/", &no_token)
        .complains(usage, &["has no model me/mine that everybody may read", "HF_TOKEN"]);
    with(401, "", "/api/", &[]).complains(usage, &["to the owner of this token", "is valid"]);
    with(404, "EntryNotFound", "/config.json", &[])
        .complains(ExitCode::Io, &["no file config.json of me/mine"]);
    with(401, "GatedRepo", "/config.json", &no_token)
        .complains(usage, &["without an access token", "/me/mine, then put your access token into HF_TOKEN"]);
    with(403, "GatedRepo", "/config.json", &[])
        .complains(usage, &["to the owner of this token", "wants terms accepted first"]);
    with(503, "", "/api/", &[]).complains(ExitCode::Io, &["answered 503", "me/mine", "try again later"]);
    with(429, "", "/config.json", &[]).complains(ExitCode::Io, &["answered 429", "wait some minutes"]);
    with(200, "", "/api/", &[]).complains(ExitCode::Io, &["answered as the Hub does not", "HF_ENDPOINT"]);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    hub.run(&["download", "me/mine"], &[("HF_ENDPOINT", &format!("http://{nobody}"))])
        .complains(ExitCode::Io, &["cannot reach http://127.0.0.1", "check the network"]);
    hub.run(&["download", "hf:a/b/c"], &[]).complains(usage, &["names no model of the Hub", "hf:owner/name"]);
    hub.run(&["download", "a/b"], &[("HF_ENDPOINT", "localhost")]).complains(usage, &["HF_ENDPOINT is no"]);
}

/// Large files lie with somebody else, who is not to be shown who asks.
#[test]
fn another_server_is_not_shown_the_token() {
    let mut hub = Hub::new();
    let content = hub.model.files[WEIGHTS].clone();
    let storage = Server::new(move |asked| file(asked, &content));
    hub.model.storage = Some(storage.address.clone());
    // The name of a model may have changed: its old one leads to the new one, on the same server.
    let model = hub.model.clone();
    let server = Server::new(move |asked| match asked.path.strip_prefix("/old") {
        Some(path) => Answer::status(307).with("Location", path),
        None => model.answer(asked),
    });
    let endpoint = format!("{}/old", server.address);
    hub.run(&["download", "me/mine"], &[("HF_ENDPOINT", &endpoint)]).done();
    hub.expect_complete();
    let stored = storage.asked();
    assert_eq!(stored.iter().map(|asked| asked.method.as_str()).collect::<Vec<_>>(), ["GET"]);
    assert!(stored.iter().all(|asked| asked.header("authorization").is_none()), "{stored:?}");
    assert!(server.asked().iter().all(|asked| asked.header("authorization").is_some()));
}

/// Who keeps large files may refuse them: neither a token nor the model's name would help.
#[test]
fn a_storage_that_refuses_is_named() {
    let mut hub = Hub::new();
    let storage = Server::new(|_| Answer::status(403));
    hub.model.storage = Some(storage.address.clone());
    let server = hub.serve();
    let expected = [storage.address.as_str(), "answered 403", WEIGHTS, "where the Hub keeps the file"];
    hub.download(&server, &[]).complains(ExitCode::Io, &expected);
}

/// A proxy's variable counts for addresses of its kind, and for nobody whom NO_PROXY names.
#[test]
fn a_proxy_is_asked_where_it_is_meant() {
    let hub = Hub::new();
    let server = hub.serve();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (proxy, socks) = (format!("http://me:secret@{nobody}"), "socks5://me:secret@127.0.0.1:1");
    for (variable, value, problem) in
        [("HTTP_PROXY", proxy.as_str(), "HTTPS_PROXY"), ("ALL_PROXY", socks, "ALL_PROXY names a SOCKS proxy")]
    {
        let refused = hub.download(&server, &[(variable, value)]);
        assert!(!refused.err.contains("secret"), "{}", refused.err);
        refused.complains(ExitCode::Io, &["cannot reach http://127.0.0.1", problem]);
    }
    assert!(server.asked().is_empty());
    hub.download(&server, &[("HTTP_PROXY", &proxy), ("NO_PROXY", "localhost, 127.0.0.1")]).done();
    hub.download(&server, &[("HTTPS_PROXY", &proxy)]).done();
}

#[test]
fn what_cannot_be_read_here_is_not_fetched() {
    let change = |change: &dyn Fn(&mut Model)| {
        let mut hub = Hub::new();
        change(&mut hub.model);
        let server = hub.serve();
        let run = hub.download(&server, &[]);
        assert!(server.fetched(WEIGHTS).is_empty() && server.fetched("pytorch_model.bin").is_empty());
        assert!(!hub.folder().exists(), "{:?}", hub.cached());
        run
    };
    let refused = ExitCode::Checkpoint;
    change(&|model| drop(model.files.remove(WEIGHTS)))
        .complains(refused, &["pytorch_model.bin is a pickle", "a program that runs", "refs/pr/1"]);
    change(&|model| drop(model.files.remove("config.json")))
        .complains(refused, &["config.json: it has none"]);
    change(&|model| drop(model.files.insert("config.json".into(), br#"{"model_type": "bert"}"#.into())))
        .complains(refused, &["me/mine is no model for this program", "config.json"]);
}

/// Weights may be spread over files, which an index names.
#[test]
fn weights_in_parts_are_fetched_part_by_part() {
    let mut hub = Hub::new();
    let (part, index) = ("model-00001-of-00001.safetensors", "model.safetensors.index.json");
    let weights = hub.model.files.remove(WEIGHTS).unwrap();
    let header = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let header: serde_json::Map<_, _> = serde_json::from_slice(&weights[8..8 + header]).unwrap();
    let map: serde_json::Map<_, _> = header
        .keys()
        .filter(|name| *name != "__metadata__")
        .map(|name| (name.clone(), part.into()))
        .collect();
    let spread = serde_json::json!({ "weight_map": map }).to_string();
    hub.model.files.extend([(part.to_owned(), weights), (index.to_owned(), spread.into_bytes())]);
    hub.model.files.insert("model-other.safetensors".into(), b"not named".into());
    hub.model.large = vec![part.into()];
    let server = hub.serve();
    hub.download(&server, &[]).done();
    assert!(server.fetched("model-other.safetensors").is_empty());
    let expected = run(&["fill-mask", "--model", &hub.scene.arg("model"), "The [MASK] went."]).done();
    assert_eq!(hub.run(&["fill-mask", "--model", "hf:me/mine", "The [MASK] went."], &[]).done(), expected);
}

/// Of two downloads of a model one waits for the other, and nothing is fetched twice.
#[test]
fn two_downloads_share_the_work() {
    let hub = Hub::new();
    let model = hub.model.clone();
    // Neither is told what there is to fetch before both have asked.
    let both = std::sync::Barrier::new(2);
    let server = Server::new(move |asked| {
        if asked.path.contains("/api/") {
            both.wait();
        }
        model.answer(asked)
    });
    let begin = || {
        let mut command = hub.command(&["download", "me/mine"]);
        command.env("HF_ENDPOINT", &server.address).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let (mut first, mut second) = (begin(), begin());
    assert!(first.wait().unwrap().success() && second.wait().unwrap().success());
    assert_eq!(server.fetched(WEIGHTS).len(), 1);
    hub.expect_complete();
}

#[test]
fn known_models_are_listed() {
    let listed = run(&["download", "--list"]).done();
    insta::assert_snapshot!(listed);
}
