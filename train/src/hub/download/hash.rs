//! The hashes by which the Hub calls files.

use std::io::{self, Read};

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// What the Hub calls a file by: SHA-256 of its bytes if it is kept in large file storage, else the SHA-1 that git has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hash(String);

impl Hash {
    /// The hash that is an `ETag`; `None` if it is something else.
    pub fn of_etag(etag: &str) -> Option<Self> {
        let etag = etag.trim().trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        let is_hash = matches!(etag.len(), SHA1_DIGITS | SHA256_DIGITS);
        (is_hash && etag.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(Self(etag))
    }

    /// In hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hash of the same kind of `length` bytes that are read.
    pub fn of_same_kind(&self, mut file: impl Read, length: u64) -> io::Result<Self> {
        let mut context = if self.0.len() == SHA256_DIGITS {
            Context::new(&SHA256)
        } else {
            let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
            context.update(format!("blob {length}\0").as_bytes());
            context
        };
        let mut buffer = vec![0; 1 << 18];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => context.update(&buffer[..count]),
            }
        }
        Ok(Self(context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()))
    }
}

const SHA1_DIGITS: usize = 40;
const SHA256_DIGITS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_standard_and_of_git() {
        // FIPS 180-4's example of SHA-256, and what `git hash-object` says of the example in git's book.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let what_is_up = "bd9dbf5aae1a3862dd1526723246b20206e5fc37";
        for (hash, content) in [(abc, "abc"), (what_is_up, "what is up, doc?")] {
            let announced = Hash::of_etag(&format!("W/\"{hash}\"")).unwrap();
            assert_eq!(announced.of_same_kind(content.as_bytes(), content.len() as u64).unwrap(), announced);
            let other = announced.of_same_kind(&b"another"[..], 7).unwrap();
            assert!(other != announced && other.as_str().len() == hash.len(), "{other:?}");
        }
    }

    #[test]
    fn what_is_no_hash_is_no_name_of_a_file() {
        let paths = ["../../../../../../../../../../etc/passwd", "", "\"0123\""];
        let of_storage = "\"d41d8cd98f00b204e9800998ecf8427e-38\"";
        for etag in paths.iter().chain([&of_storage]) {
            assert_eq!(Hash::of_etag(etag), None, "{etag}");
        }
        assert_eq!(Hash::of_etag(&"g".repeat(40)), None);
        assert!(Hash::of_etag(&"A".repeat(40)).is_some());
    }
}
