//! Downloads that are broken off, by the network, the server or a signal, and go on where they were.

use std::fs;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use train::exit::ExitCode;

use super::{Hub, WEIGHTS};
use crate::hub_server::{Answer, Server};

/// What a broken connection brought is not fetched again: in the same run, or in the next one after the program was ended.
#[test]
fn an_interrupted_download_goes_on_where_it_was() {
    let hub = Hub::new();
    let (model, cut) = (hub.model.clone(), AtomicUsize::new(0));
    let half = model.files[WEIGHTS].len() / 2;
    let server = Server::new(move |asked| {
        let is_cut = asked.path.ends_with(WEIGHTS) && asked.method == "GET";
        let cut = is_cut && cut.fetch_add(1, Ordering::Relaxed) == 0;
        Answer { cut: cut.then_some(half), ..model.answer(asked) }
    });
    let run = hub.download(&server, &[]);
    assert!(run.err.contains(&format!("going on with {WEIGHTS} from byte {half}")), "{}", run.err);
    run.done();
    hub.expect_complete();
    let ranges: Vec<_> =
        server.fetched(WEIGHTS).iter().map(|asked| asked.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [None, Some(format!("bytes={half}-"))]);
}

#[test]
fn what_an_earlier_run_left_is_gone_on_with() {
    let hub = Hub::new();
    let content = &hub.model.files[WEIGHTS];
    let range = |server: &Server| {
        server.fetched(WEIGHTS).first().and_then(|asked| asked.header("range").map(str::to_owned))
    };
    // Of no use to a server that knows no parts, and not trusted if they are not what they should be.
    let (kept, all) = (&content[..1000], content.as_slice());
    let damaged = vec![0; 1000];
    let too_long = vec![0; content.len() + 1];
    for (left, expected, knows_parts) in [
        (kept, Some("bytes=1000-"), true),
        (kept, Some("bytes=1000-"), false),
        (damaged.as_slice(), Some("bytes=1000-"), true),
        (too_long.as_slice(), None, true),
    ] {
        let _ = fs::remove_dir_all(hub.scene.path("home"));
        fs::create_dir_all(hub.folder().join("blobs")).unwrap();
        fs::write(hub.incomplete(WEIGHTS), left).unwrap();
        let model = hub.model.clone();
        let server = Server::new(move |asked| {
            let answer = model.answer(asked);
            match knows_parts || answer.status != 206 {
                true => answer,
                false => Answer { status: 200, body: model.files[WEIGHTS].clone(), ..answer },
            }
        });
        let run = hub.download(&server, &[]);
        assert_eq!(run.err.contains("is damaged: fetching it anew"), left == damaged, "{}", run.err);
        run.done();
        assert_eq!(range(&server).as_deref(), expected);
        hub.expect_complete();
    }
    // Nothing is asked for where nothing but the name is missing.
    fs::remove_dir_all(hub.scene.path("home")).unwrap();
    fs::create_dir_all(hub.folder().join("blobs")).unwrap();
    fs::write(hub.incomplete(WEIGHTS), all).unwrap();
    let server = hub.serve();
    hub.download(&server, &[]).done();
    assert!(server.fetched(WEIGHTS).is_empty());
    hub.expect_complete();
}

/// A connection that brings nothing more ends the run with what there is, which the next run goes on from.
#[test]
fn what_does_not_come_is_said_and_kept() {
    let hub = Hub::new();
    let (model, is_cut) = (hub.model.clone(), std::sync::Arc::new(AtomicBool::new(true)));
    let cutting = std::sync::Arc::clone(&is_cut);
    let server = Server::new(move |asked| {
        let answer = model.answer(asked);
        let is_cut =
            cutting.load(Ordering::Relaxed) && asked.path.ends_with(WEIGHTS) && asked.method == "GET";
        let cut = is_cut.then_some(if answer.status == 206 { 0 } else { 1000 });
        Answer { cut, ..answer }
    });
    hub.download(&server, &[])
        .complains(ExitCode::Io, &[WEIGHTS, "only to byte 1000", "run the same command again", "127.0.0.1"]);
    assert_eq!(fs::read(hub.incomplete(WEIGHTS)).unwrap(), &hub.model.files[WEIGHTS][..1000]);
    assert!(!hub.folder().join("refs").exists(), "a part of a model is no model");
    is_cut.store(false, Ordering::Relaxed);
    hub.download(&server, &[]).done();
    hub.expect_complete();
}

/// Whoever ends a download keeps what came.
#[cfg(unix)]
#[test]
fn a_download_that_is_stopped_goes_on_later() {
    let hub = Hub::new();
    let model = hub.model.clone();
    let (reached, waiting) = std::sync::mpsc::channel();
    let (reached, is_slow) = (Mutex::new(reached), AtomicBool::new(true));
    let server = Server::new(move |asked| {
        let mut answer = model.answer(asked);
        if asked.path.ends_with(WEIGHTS) && asked.method == "GET" && is_slow.swap(false, Ordering::Relaxed) {
            // As many bytes are announced as there are, and some of them never come.
            answer = answer.with("Content-Length", model.files[WEIGHTS].len().to_string());
            answer.body.truncate(1000);
            answer.holds = true;
            reached.lock().unwrap().send(()).unwrap();
        }
        answer
    });
    let mut command = hub.command(&["download", "me/mine"]);
    command.env("HF_ENDPOINT", &server.address).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    waiting.recv().unwrap();
    let part = hub.incomplete(WEIGHTS);
    // In all, twenty seconds.
    for _ in 0..4000 {
        if fs::metadata(&part).map_or(0, |metadata| metadata.len()) == 1000 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let killed = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(killed.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{told}");
    assert!(told.contains("run the same command again to go on"), "{told}");
    hub.download(&server, &[]).done();
    assert_eq!(server.fetched(WEIGHTS)[1].header("range"), Some("bytes=1000-"));
    hub.expect_complete();
}

/// A server that has had enough says for how long: it is asked again then, or where that takes too long, not at all.
#[test]
fn a_server_that_wants_to_be_left_alone_is() {
    for (seconds, is_asked_again) in [("1", true), ("3600", false)] {
        let hub = Hub::new();
        let (model, first) = (hub.model.clone(), Mutex::new(None));
        let waited = std::sync::Arc::new(Mutex::new(None));
        let noted = waited.clone();
        let server = Server::new(move |asked| {
            let mut first = first.lock().unwrap();
            let Some(begin) = *first else {
                *first = Some(std::time::Instant::now());
                return Answer::status(429).with("Retry-After", seconds);
            };
            noted.lock().unwrap().get_or_insert(begin.elapsed());
            model.answer(asked)
        });
        let run = hub.download(&server, &[]);
        if is_asked_again {
            run.done();
            assert!(waited.lock().unwrap().unwrap().as_secs() >= 1);
        } else {
            run.complains(ExitCode::Io, &["answered 429", "wait some minutes"]);
            assert_eq!(server.asked().len(), 1);
        }
    }
}
