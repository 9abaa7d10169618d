//! What messages make of names from outside.

use std::io;
use std::path::Path;

use model::ModelError;

use crate::config::Source;
use crate::hub::DownloadError;
use crate::inference::InferenceError;
use crate::run::checkpoint::CheckpointError;
use crate::tables::InputError;

#[test]
fn no_name_of_a_file_adds_a_line_to_a_message() {
    let path = Path::new("a\nerror: forged").to_path_buf();
    let source = || io::Error::other("full");
    let messages = [
        Source::File { path: path.clone(), line: 1, noted: None }.to_string(),
        DownloadError::Io { action: "read", path: path.clone(), source: source() }.to_string(),
        InferenceError::Io { action: "read", path: path.clone(), source: source() }.to_string(),
        CheckpointError::Io { action: "cannot read", path: path.clone(), source: source() }.to_string(),
        CheckpointError::Missing { step: 1, directory: path.clone(), available: vec![] }.to_string(),
        ModelError::Io { action: "read", path: path.clone(), source: source() }.to_string(),
        InputError::missing(&path, "nothing", "name it").to_string(),
        InputError::content(&path, Some(1), "nothing", "name it").to_string(),
    ];
    for message in messages {
        assert!(message.contains(r"a\u{a}error: forged") && !message.contains("\nerror"), "{message}");
    }
}
