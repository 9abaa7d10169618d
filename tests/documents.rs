//! The pages for readers are true: what they link to is there, and what comments cite is in them.

#![allow(clippy::unwrap_used)] // a panic is how a test fails, in its helper functions too

use std::fs;
use std::path::{Path, PathBuf};

const PAGES: [&str; 4] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "model/ALBERT.md"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn headings(page: &str) -> Vec<&str> {
    page.lines().filter_map(|line| line.strip_prefix("## ")).collect()
}

/// What stands between `open` and `close`, each time.
fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| Some(rest.split_once(close)?.0))
}

#[test]
fn what_is_linked_is_there() {
    for name in PAGES {
        let text = page(name);
        for target in between(&text, "](", ')').filter(|target| !target.contains("://")) {
            match target.strip_prefix('#') {
                Some(anchor) => {
                    let found = headings(&text)
                        .iter()
                        .any(|heading| heading.to_lowercase().replace(' ', "-") == anchor);
                    assert!(found, "{name} links to {target}");
                }
                None => {
                    let path = root().join(name).parent().unwrap().join(target);
                    assert!(path.exists(), "{name} links to {target}");
                }
            }
        }
    }
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}

/// Comments cite sections by name: "`model/ALBERT.md`, Masking".
#[test]
fn what_is_cited_is_there() {
    let mut files = Vec::new();
    for folder in ["kernels", "engine", "model", "train", "cli", "tests"] {
        sources(&root().join(folder), &mut files);
    }
    let mut cited = 0;
    for file in files.iter().filter(|file| !file.ends_with("tests/documents.rs")) {
        // A comment may be broken anywhere.
        let text = fs::read_to_string(file).unwrap();
        let text: String = text
            .split_whitespace()
            .filter(|word| !["//", "///", "//!"].contains(word))
            .fold(String::new(), |text, word| text + word + " ");
        for name in PAGES {
            let bare = Path::new(name).file_name().unwrap().to_str().unwrap();
            let page = page(name);
            for quote in text.split(&format!("{bare}`, ")).skip(1) {
                let found = headings(&page).iter().any(|heading| quote.starts_with(heading));
                let quote: String = quote.chars().take(40).collect();
                assert!(found, "{} cites {name}, {quote}", file.display());
                cited += 1;
            }
        }
    }
    assert!(cited > 20, "{cited} citations");
}
