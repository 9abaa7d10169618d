//! Runs of the program, and small things for it to work on.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use model::{Albert, AlbertConfig, Head};
use train::exit::ExitCode;
use train::tokenizer::{Tokenizer, TrainOptions};

/// A run of the program.
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// The program, in an environment without settings.
pub fn program() -> std::process::Command {
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("albert-train"));
    command.env_remove("ALBERT_ISA").env("RUST_BACKTRACE", "0");
    command
}

/// Runs the program with these arguments.
pub fn run(arguments: &[&str]) -> Run {
    run_with(arguments, "")
}

/// The same with text on standard input.
pub fn run_with(arguments: &[&str], input: impl AsRef<[u8]>) -> Run {
    let output = Command::from(program()).args(arguments).write_stdin(input.as_ref()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let run =
        Run { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) };
    // Neither is a terminal.
    for (stream, text) in [("output", &run.out), ("error", &run.err)] {
        assert!(!text.contains(['\r', '\x1b']), "{stream} is written as if to a terminal: {text:?}");
    }
    run
}

impl Run {
    /// Standard output of a run that did its work.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, 0, "{}", self.err);
        self.out
    }

    /// What a run complained of that ended with `code`.
    #[track_caller]
    pub fn failed(self, code: ExitCode) -> String {
        assert_eq!(self.code, i32::from(code.code()), "{}", self.err);
        assert!(self.err.lines().any(|line| line.starts_with("error")), "{}", self.err);
        self.err
    }

    /// Stops the test unless the run ended with `code` and a complaint that holds all of `parts`.
    #[track_caller]
    pub fn complains(self, code: ExitCode, parts: &[&str]) {
        let error = self.failed(code);
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A folder with a text, a vocabulary and a model with the parameters that training would begin with.
pub struct Scene {
    folder: tempfile::TempDir,
}

/// Sentences, one a line, blank lines between documents.
pub fn sentences() -> String {
    const WORDS: [&str; 8] = ["cat", "dog", "bird", "house", "garden", "river", "moon", "tree"];
    let word = |n: usize| WORDS[n % WORDS.len()];
    (0..120)
        .map(|n| {
            let (a, b) = (word(n), word(n / 8 + 1));
            format!(
                "The {a} went to the {b}.\nThere it saw another {a}.\nBoth of them slept near the {b}.\n\n"
            )
        })
        .collect()
}

impl Scene {
    pub fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(scene.path("text.txt"), sentences()).unwrap();
        let options = TrainOptions { vocabulary_size: 50, ..TrainOptions::default() };
        let tokenizer = Tokenizer::train(sentences().lines(), &options).unwrap();
        tokenizer.save(&scene.path("model")).unwrap();
        let config = AlbertConfig {
            vocab_size: tokenizer.vocabulary_size(),
            embedding_size: 8,
            hidden_size: 24,
            num_hidden_layers: 2,
            num_attention_heads: 3,
            intermediate_size: 48,
            max_position_embeddings: 40,
            ..AlbertConfig::default()
        };
        let albert = Albert::new(config, &[Head::Pretraining]).unwrap();
        let values = albert.parameters().initial_values(1).expect("memory");
        model::save(&scene.path("model"), &albert, &values).unwrap();
        scene
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path as an argument.
    pub fn arg(&self, name: &str) -> String {
        text(&self.path(name)).to_owned()
    }

    /// Writes a file and gives its path as an argument.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.arg(name)
    }
}
