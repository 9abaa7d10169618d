//! The program as a person meets it: what commands print, what they write, how they end.

#![allow(clippy::unwrap_used)] // a panic is how a test fails, in its helper functions too

mod bad_input;
mod compat;
mod convert;
mod data;
#[cfg(feature = "download")]
mod download;
mod formats;
#[path = "../support/golden_folders.rs"]
mod golden_folders;
mod help;
#[cfg(feature = "download")]
mod hub_server;
mod inference;
mod machine;
mod models;
mod pretrain;
mod program;
mod readme;
#[path = "../support/recorded_samples.rs"]
mod recorded_samples;
mod rehearsal;
mod report;
mod settings;
mod sources;
#[cfg(unix)]
mod strangers;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "devices are for the tests that compute without the program")]
mod support;
#[cfg(unix)]
mod terminal;
mod text;
#[cfg(not(feature = "download"))]
mod without_download;
