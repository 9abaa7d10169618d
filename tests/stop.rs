//! A request to stop is answered in words and obeyed soon, whatever the program is doing.
//!
//! "Soon" is measured in the processor time that the process still takes, which other work on the machine does not change: less
//! than two seconds. Each phase here would take far longer.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use train::stories::{Split, story};
use train::tokenizer::{Tokenizer, TrainOptions};

/// Processor seconds from the request to the end.
const SOON: f64 = 2.0;
/// After this a test has hung.
const HUNG: Duration = Duration::from_secs(300);

/// Stories in a file, and a small vocabulary.
fn scene(stories: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let text: String = (0..stories).map(|i| story(1, Split::Training, i).join("\n") + "\n\n").collect();
    std::fs::write(folder.path().join("text.txt"), &text).expect("written");
    let options = TrainOptions { vocabulary_size: 200, ..TrainOptions::default() };
    let some = text.lines().take(500);
    Tokenizer::train(some, &options)
        .expect("a vocabulary")
        .save(&folder.path().join("vocabulary"))
        .expect("saved");
    folder
}

/// The program at work, and what it says.
struct Running {
    process: Child,
    lines: Receiver<String>,
    said: String,
}

impl Running {
    fn start(folder: &Path, arguments: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_albert-train"))
            .current_dir(folder)
            .args(arguments.split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (sender, lines) = channel();
        let errors = BufReader::new(process.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            errors.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { process, lines, said: String::new() }
    }

    /// Waits until a line is said that begins with `start`.
    #[track_caller]
    fn until(&mut self, start: &str) {
        loop {
            let line = self.lines.recv_timeout(HUNG);
            let line =
                line.unwrap_or_else(|error| panic!("`{start}` was never said ({error}):\n{}", self.said));
            self.said += &line;
            self.said.push('\n');
            if line.starts_with(start) {
                return;
            }
        }
    }

    /// State, and processor seconds so far.
    fn status(&self) -> (char, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("a process");
        let fields: Vec<&str> = status.rsplit_once(") ").expect("the form of stat").1.split(' ').collect();
        // state is field 3, utime and stime are fields 14 and 15, in hundredths of a second
        let ticks: f64 =
            [fields[11], fields[12]].iter().map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
        (fields[0].chars().next().expect("a letter"), ticks / 100.0)
    }

    /// Waits until it has worked for so many more processor seconds.
    #[track_caller]
    fn works(&self, seconds: f64) {
        let (start, (_, before)) = (Instant::now(), self.status());
        loop {
            let (state, now) = self.status();
            if now - before >= seconds {
                return;
            }
            assert!(state != 'Z' && start.elapsed() < HUNG, "it ended or hangs:\n{}", self.said);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends `signal`, which must be acknowledged with `words` and obeyed soon, with code 75.
    #[track_caller]
    fn stops(mut self, signal: &str, words: &str) -> String {
        let (_, before) = self.status();
        let kill = Command::new("kill").args([signal, &self.process.id().to_string()]).status();
        assert!(kill.expect("kill is there").success());
        self.until(words);
        let start = Instant::now();
        while self.status().0 != 'Z' {
            assert!(start.elapsed() < HUNG, "never ended:\n{}", self.said);
            std::thread::sleep(Duration::from_millis(5));
        }
        let taken = self.status().1 - before;
        let code = self.process.wait().expect("it ended").code();
        self.said.extend(self.lines.iter().map(|line| line + "\n"));
        assert_eq!(code, Some(75), "{}", self.said);
        assert!(taken < SOON, "{taken} processor seconds after the request:\n{}", self.said);
        assert!(
            self.said.contains("run the same command again")
                || self.said.contains("the same command goes on")
        );
        self.said
    }
}

const TINY: &str =
    "pretrain --preset tiny --train text.txt --out run --max-seq-length 64 --held-out-every 4 --threads 1";

#[test]
fn while_a_vocabulary_is_trained() {
    let folder = scene(20_000);
    let mut running = Running::start(folder.path(), &format!("{TINY} --vocab-size 8000"));
    running.until("training a vocabulary");
    running.stops("-INT", "interrupted (SIGINT): ");
    let mut running = Running::start(folder.path(), "prepare --input text.txt --vocab-size 8000 --out data");
    running.until("training a vocabulary");
    running.stops("-TERM", "asked to end (SIGTERM): ");
    assert!(!folder.path().join("data").exists(), "nothing of it took work");
}

#[test]
fn while_text_is_prepared() {
    let folder = scene(20_000);
    let mut running = Running::start(folder.path(), &format!("{TINY} --tokenizer vocabulary"));
    running.until("preparing training text");
    running.stops("-TERM", "asked to end (SIGTERM): ");
}

/// A step of two thousand micro-batches.
#[test]
fn while_gradients_are_added_up() {
    let folder = scene(200);
    let arguments = format!("{TINY} --tokenizer vocabulary --batch 4000 --micro-batch 2 --eval-sequences 2");
    for _ in 0..2 {
        let mut running = Running::start(folder.path(), &arguments);
        running.until("estimate: ");
        running.works(0.5); // by then the loop has begun, however busy the machine is
        let said = running.stops("-INT", "interrupted (SIGINT): ");
        assert!(said.contains("step 0 is saved"), "{said}"); // nothing of the step that was under way
    }
}

/// An evaluation of two thousand micro-batches. It is made before the next step when the run goes on.
#[test]
fn while_it_is_evaluated() {
    let folder = scene(2000);
    let arguments = format!(
        "{TINY} --tokenizer vocabulary --batch 2 --micro-batch 2 --eval-every 1 --eval-sequences 4000"
    );
    let mut running = Running::start(folder.path(), &arguments);
    running.until("pretrain 1/");
    let said = running.stops("-TERM", "asked to end (SIGTERM): ");
    assert!(said.contains("step 1 is saved"), "{said}");
    let mut running = Running::start(folder.path(), &arguments);
    running.until("continuing from step 1");
    running.until("estimate: ");
    running.works(0.5);
    let said = running.stops("-TERM", "asked to end (SIGTERM): ");
    assert!(said.contains("step 1 is saved"), "the evaluation was passed over: {said}");
}

/// What leaves nothing behind ends at once, with a word.
#[test]
fn while_something_is_made_or_measured() {
    let folder = scene(20_000);
    let train = "tokenizer train --input text.txt --vocab-size 8000 --out pieces";
    let stops_when = |arguments: &str, signal, words| {
        let running = Running::start(folder.path(), arguments);
        running.works(0.3);
        running.stops(signal, words);
    };
    stops_when(train, "-INT", "interrupted (SIGINT): ending");
    assert!(!folder.path().join("pieces").exists());
    stops_when("bench step --preset base --steps 1000", "-TERM", "asked to end (SIGTERM): ending");
    stops_when(
        "inspect batches --train text.txt --vocab-size 8000",
        "-HUP",
        "the terminal was closed (SIGHUP): ending",
    );
    let one = "pretrain --preset micro --steps 1 --batch 2 --train text.txt --tokenizer vocabulary --out run";
    let made = Command::new(env!("CARGO_BIN_EXE_albert-train"))
        .current_dir(folder.path())
        .args(one.split(' '))
        .output()
        .expect("the program starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    stops_when(
        "evaluate --model run --data text.txt --sequences 100000",
        "-TERM",
        "asked to end (SIGTERM): ending",
    );
}
