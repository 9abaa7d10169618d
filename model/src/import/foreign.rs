//! What people have in place of the file that they think they have.

use std::io::Read;

/// Bytes from the beginning of a file that tell.
pub(crate) const ENOUGH: u64 = 512;

/// What a file that begins with `head` is, and what to do about it; `None` if it is none of the usual mistakes.
pub(crate) fn recognise(head: &[u8]) -> Option<&'static str> {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let starts = |with: &[u8]| text.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with));
    if head.is_empty() {
        Some("empty: the copy or download did not begin; copy it again from where it came")
    } else if starts(b"version https://git-lfs") {
        Some(
            "a Git LFS pointer, a few lines in place of the file: run `git lfs pull` in the repository it came from",
        )
    } else if starts(b"<!doctype") || starts(b"<html") || starts(b"<?xml") {
        Some("a web page, such as a login or an error page: download the file itself")
    } else if head.starts_with(b"PK\x03\x04") || head.starts_with(b"\x80\x02") {
        Some(
            "PyTorch's pickled weights under another name: convert them (see README, \"Models from elsewhere\")",
        )
    } else if head.starts_with(b"\x1f\x8b") {
        Some("compressed with gzip: unpack it first (gunzip)")
    } else if head.starts_with(b"\x89HDF") {
        Some("TensorFlow's or Keras' HDF5 under another name: convert it with transformers (from_tf=True)")
    } else if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        Some("UTF-16 text: save it as UTF-8")
    } else {
        None
    }
}

/// Whether a file is compressed with gzip.
pub(crate) fn is_gzip(path: &std::path::Path) -> std::io::Result<bool> {
    let mut head = Vec::new();
    std::fs::File::open(path)?.take(2).read_to_end(&mut head)?;
    Ok(head == b"\x1f\x8b")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_mistakes_are_recognised_and_nothing_else() {
        let kind = |head: &[u8]| recognise(head).unwrap_or("a file");
        assert!(kind(b"version https://git-lfs.github.com/spec/v1\noid sha256:0").contains("git lfs pull"));
        assert!(kind(b"\n  <!DOCTYPE html><html>").contains("web page"));
        assert!(kind(b"\xef\xbb\xbf<HTML lang=en>").contains("web page"));
        assert!(kind(b"PK\x03\x04\0\0").contains("pickled"));
        assert!(kind(b"").contains("empty"));
        assert!(kind(b"\xff\xfe{\0").contains("UTF-16"));
        for fine in [&b"{\"hidden_size\": 8}"[..], b"\xef\xbb\xbf{}", b"\x40\x02\0\0\0\0\0\0{\"a\""] {
            assert_eq!(recognise(fine), None);
        }
    }
}
