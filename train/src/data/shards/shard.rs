//! A shard: token ids of some documents, with the places where sentences and documents begin.
//!
//! ```text
//! header            40 bytes, see `Header`
//! text              32 bytes: blake3 of the text it was made of (not in version 1)
//! hash              32 bytes: blake3 of all before and after it
//! sentence offsets  u32 × (sentences + 1): the token at which each sentence begins, then the number of tokens
//! document offsets  u32 × (documents + 1): the sentence at which each document begins, then the number of sentences
//! token ids         u16 × tokens, and one zero where that makes an odd number even
//! ```
//!
//! All numbers are little endian. A shard is memory-mapped and trusted only after [`Shard::open`] has checked every
//! length, offset, id and the hash, so that reading it later cannot go out of bounds. No sentence and no document is
//! empty.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use bytemuck::{Pod, Zeroable};

use super::document::Document;
use crate::data::error::DataError;
use crate::files::{Disk, replace};

#[cfg(target_endian = "big")]
compile_error!("shards are little endian and are used as they lie on disk");

const MAGIC: [u8; 8] = *b"ALBSHARD";
const VERSION: u32 = 2;
/// 16-bit ids count this far.
pub(crate) const LARGEST_VOCABULARY: usize = 1 << 16;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Header {
    magic: [u8; 8],
    version: u32,
    vocabulary_size: u32,
    tokens: u64,
    sentences: u64,
    documents: u64,
}

const HASH: usize = 32;

impl Header {
    /// What the shard's hash covers of what stands before it: the header, and the hash of the text.
    fn hashed(&self) -> usize {
        size_of::<Self>() + if self.version == 1 { 0 } else { HASH }
    }

    /// Where the offsets begin.
    fn end(&self) -> usize {
        self.hashed() + HASH
    }
}

/// Collects the sentences of one shard.
#[derive(Debug)]
pub struct ShardBuilder {
    vocabulary_size: usize,
    ids: Vec<u16>,
    sentence_offsets: Vec<u32>,
    document_offsets: Vec<u32>,
}

impl ShardBuilder {
    /// An empty shard for ids below `vocabulary_size`.
    ///
    /// # Errors
    /// If the vocabulary does not fit 16 bits.
    pub fn new(vocabulary_size: usize) -> Result<Self, DataError> {
        if vocabulary_size > LARGEST_VOCABULARY {
            return Err(DataError::VocabularyTooLarge { size: vocabulary_size });
        }
        Ok(Self { vocabulary_size, ids: Vec::new(), sentence_offsets: vec![0], document_offsets: vec![0] })
    }

    /// Appends one sentence to the current document; an empty one is left out.
    ///
    /// # Panics
    /// If an id is not below the vocabulary size, or the shard grows past 2³² tokens.
    pub fn push_sentence<'a>(&mut self, ids: impl IntoIterator<Item = &'a u32>) {
        let before = self.ids.len();
        let vocabulary_size = self.vocabulary_size;
        self.ids.extend(ids.into_iter().map(|&id| {
            assert!((id as usize) < vocabulary_size, "token id {id} in a vocabulary of {vocabulary_size}");
            id as u16
        }));
        if self.ids.len() > before {
            let end = u32::try_from(self.ids.len()).expect("a shard is cut long before 2^32 tokens");
            self.sentence_offsets.push(end);
        }
    }

    /// Ends the current document; without a sentence since the last end, nothing happens.
    pub fn end_document(&mut self) {
        let sentences = self.sentence_offsets.len() as u32 - 1;
        if self.document_offsets.last() != Some(&sentences) {
            self.document_offsets.push(sentences);
        }
    }

    /// The shard as it lies on disk, in 32-bit words.
    fn words(mut self, text: &blake3::Hash) -> Vec<u32> {
        self.end_document();
        let header = Header {
            magic: MAGIC,
            version: VERSION,
            vocabulary_size: self.vocabulary_size as u32,
            tokens: self.ids.len() as u64,
            sentences: self.sentence_offsets.len() as u64 - 1,
            documents: self.document_offsets.len() as u64 - 1,
        };
        if self.ids.len() % 2 == 1 {
            self.ids.push(0);
        }
        let payload: [&[u8]; 3] = [
            bytemuck::cast_slice(&self.sentence_offsets),
            bytemuck::cast_slice(&self.document_offsets),
            bytemuck::cast_slice(&self.ids),
        ];
        let mut front = [bytemuck::bytes_of(&header), text.as_bytes()].concat();
        let hash = digest(&front, &payload);
        front.extend_from_slice(&hash);
        let mut words = vec![0; front.len() / 4];
        bytemuck::cast_slice_mut(&mut words).copy_from_slice(&front);
        words.reserve_exact(payload.iter().map(|part| part.len()).sum::<usize>() / 4);
        words.extend_from_slice(&self.sentence_offsets);
        words.extend_from_slice(&self.document_offsets);
        words.extend(self.ids.chunks_exact(2).map(|pair| u32::from(pair[0]) | u32::from(pair[1]) << 16));
        words
    }

    /// Writes the shard to `path`, which appears complete or not at all; `text` is the hash of what it was made of.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(self, path: &Path, text: &blake3::Hash) -> Result<(), DataError> {
        replace(&Disk, path, bytemuck::cast_slice(&self.words(text))).map_err(DataError::io("write", path))
    }

    /// The shard in memory, for small corpora and tests.
    pub fn into_shard(self) -> Shard {
        let words = self.words(&blake3::Hash::from_bytes([0; HASH]));
        let layout = Layout::parse(bytemuck::cast_slice(&words)).expect("the builder makes valid shards");
        Shard { bytes: Bytes::Owned(words), layout }
    }
}

fn digest(header: &[u8], payload: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header);
    payload.iter().for_each(|part| {
        hasher.update(part);
    });
    *hasher.finalize().as_bytes()
}

#[derive(Debug)]
enum Bytes {
    Mapped(memmap2::Mmap),
    /// In 32-bit words, which gives them the alignment of a mapping.
    Owned(Vec<u32>),
}

/// Where the parts lie, in bytes.
#[derive(Clone, Debug)]
struct Layout {
    vocabulary_size: usize,
    /// The hash of the text; `None` in version 1.
    text: Option<[u8; HASH]>,
    hash: [u8; HASH],
    sentence_offsets: Range<usize>,
    document_offsets: Range<usize>,
    ids: Range<usize>,
}

impl Layout {
    /// Checks everything that reading relies on; the error says what is wrong.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let short = || format!("{} bytes are too few for a shard", bytes.len());
        let front = bytes.get(..size_of::<Header>()).ok_or_else(short)?;
        let header: Header = bytemuck::pod_read_unaligned(front);
        if header.magic != MAGIC {
            return Err("it is not a shard (wrong first bytes)".into());
        }
        if !(1..=VERSION).contains(&header.version) {
            return Err(format!(
                "it is a shard of version {}, this program reads versions 1 to {VERSION}",
                header.version
            ));
        }
        let (hashed, end) = (header.hashed(), header.end());
        let (front, payload) = bytes.split_at_checked(end).ok_or_else(short)?;
        let (front, hash_bytes) = front.split_at(hashed);
        let hash = |bytes: &[u8]| <[u8; HASH]>::try_from(bytes).expect("a hash has its length");
        let (hash, text) = (hash(hash_bytes), (header.version > 1).then(|| hash(&front[hashed - HASH..])));
        let Some(layout) = Self::of(&header, text, hash) else {
            return Err("its header gives impossible lengths".into());
        };
        let (expected, found) = (layout.ids.end.next_multiple_of(4), bytes.len());
        if expected != found {
            return Err(format!("it should be {expected} bytes long and is {found}"));
        }
        if digest(front, &[payload]) != hash {
            return Err("its content does not match its hash".into());
        }
        // The hash guards against accidents; what follows guards against files made to harm.
        check_offsets(
            "sentence",
            bytemuck::cast_slice(&bytes[layout.sentence_offsets.clone()]),
            header.tokens,
        )?;
        check_offsets(
            "document",
            bytemuck::cast_slice(&bytes[layout.document_offsets.clone()]),
            header.sentences,
        )?;
        let ids: &[u16] = bytemuck::cast_slice(&bytes[layout.ids.clone()]);
        match ids.iter().copied().max() {
            Some(id) if usize::from(id) >= layout.vocabulary_size => {
                Err(format!("it holds token id {id}, its vocabulary has {} pieces", layout.vocabulary_size))
            }
            _ => Ok(layout),
        }
    }

    fn of(header: &Header, text: Option<[u8; HASH]>, hash: [u8; HASH]) -> Option<Self> {
        let after = |start: usize, count: u64, size: u64| {
            let length = usize::try_from(count.checked_mul(size)?).ok()?;
            Some(start..start.checked_add(length)?)
        };
        let vocabulary_size = usize::try_from(header.vocabulary_size).ok()?;
        if vocabulary_size > LARGEST_VOCABULARY || header.tokens > u64::from(u32::MAX) {
            return None;
        }
        let sentence_offsets = after(header.end(), header.sentences.checked_add(1)?, 4)?;
        let document_offsets = after(sentence_offsets.end, header.documents.checked_add(1)?, 4)?;
        let ids = after(document_offsets.end, header.tokens, 2)?;
        ids.end.checked_add(3)?;
        Some(Self { vocabulary_size, text, hash, sentence_offsets, document_offsets, ids })
    }
}

/// Offsets begin with 0, rise strictly, and end with the length of what they divide.
fn check_offsets(name: &str, offsets: &[u32], length: u64) -> Result<(), String> {
    let tile = offsets.first() == Some(&0)
        && offsets.last().is_some_and(|&last| u64::from(last) == length)
        && offsets.windows(2).all(|pair| pair[0] < pair[1]);
    if tile { Ok(()) } else { Err(format!("its {name} offsets do not divide it")) }
}

/// A verified shard.
#[derive(Debug)]
pub struct Shard {
    bytes: Bytes,
    layout: Layout,
}

impl Shard {
    /// Maps the file and verifies it whole.
    ///
    /// # Errors
    /// If it cannot be read, or is not a sound shard.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::io("open", path))?;
        // SAFETY: the mapping is read-only and lives as long as the shard. Should another process change the file
        // meanwhile, ids would change under us; every access stays within the mapping because the parsed lengths are
        // kept here and not read again, and slices into it are bounds-checked. Should it cut the file short, the
        // system ends us. We ourselves only ever replace shards by renaming.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(DataError::io("map", path))?;
        let layout = Layout::parse(&map).map_err(|what| DataError::damaged(path, what))?;
        Ok(Self { bytes: Bytes::Mapped(map), layout })
    }

    fn part(&self, range: &Range<usize>) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map) => &map[range.clone()],
            Bytes::Owned(words) => &bytemuck::cast_slice(words)[range.clone()],
        }
    }

    /// All token ids.
    pub fn ids(&self) -> &[u16] {
        bytemuck::cast_slice(self.part(&self.layout.ids))
    }

    /// Where each sentence begins, in tokens; one more than there are sentences.
    pub fn sentence_offsets(&self) -> &[u32] {
        bytemuck::cast_slice(self.part(&self.layout.sentence_offsets))
    }

    /// Where each document begins, in sentences; one more than there are documents.
    pub fn document_offsets(&self) -> &[u32] {
        bytemuck::cast_slice(self.part(&self.layout.document_offsets))
    }

    /// The number of documents.
    pub fn documents(&self) -> usize {
        self.document_offsets().len() - 1
    }

    /// The number of sentences.
    pub fn sentences(&self) -> usize {
        self.sentence_offsets().len() - 1
    }

    /// Document `index` of this shard.
    ///
    /// # Panics
    /// If there is no such document.
    pub fn document(&self, index: usize) -> Document<'_> {
        let offsets = self.document_offsets();
        let (first, last) = (offsets[index] as usize, offsets[index + 1] as usize);
        Document::new(self.ids(), &self.sentence_offsets()[first..=last])
    }

    /// Every id is below this.
    pub fn vocabulary_size(&self) -> usize {
        self.layout.vocabulary_size
    }

    /// The hash of the content, as written in the header.
    pub fn hash(&self) -> blake3::Hash {
        blake3::Hash::from_bytes(self.layout.hash)
    }

    /// The hash of the text it was made of; `None` for one of version 1, which does not know it.
    pub fn text(&self) -> Option<blake3::Hash> {
        self.layout.text.map(blake3::Hash::from_bytes)
    }

    /// The length of the file in bytes.
    pub fn file_size(&self) -> u64 {
        self.layout.ids.end.next_multiple_of(4) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn build(documents: &[Vec<Vec<u32>>]) -> ShardBuilder {
        let mut builder = ShardBuilder::new(100).expect("a small vocabulary");
        for document in documents {
            document.iter().for_each(|sentence| builder.push_sentence(sentence));
            builder.end_document();
        }
        builder
    }

    const TEXT: blake3::Hash = blake3::Hash::from_bytes([7; HASH]);

    /// A small shard with another header, and its payload changed, under a right hash.
    fn forged(header: Header, change: impl FnOnce(&mut [u32])) -> Vec<u32> {
        let words = build(&[vec![vec![1, 2, 3], vec![4]]]).words(&TEXT);
        let mut payload = words[header.end() / 4..].to_vec();
        change(&mut payload);
        let front = [bytemuck::bytes_of(&header), TEXT.as_bytes()].concat();
        let hash = digest(&front, &[bytemuck::cast_slice(&payload)]);
        let mut bytes = [&front[..], &hash].concat();
        bytes.extend_from_slice(bytemuck::cast_slice(&payload));
        let mut words = vec![0; bytes.len() / 4];
        bytemuck::cast_slice_mut(&mut words).copy_from_slice(&bytes);
        words
    }

    fn documents() -> impl Strategy<Value = Vec<Vec<Vec<u32>>>> {
        let sentence = prop::collection::vec(0u32..100, 1..20);
        prop::collection::vec(prop::collection::vec(sentence, 1..8), 0..6)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(documents in documents()) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("shard");
            build(&documents).write(&path, &TEXT).unwrap();
            let shard = Shard::open(&path).unwrap();
            let read: Vec<Vec<Vec<u32>>> = (0..shard.documents())
                .map(|d| shard.document(d))
                .map(|d| (0..d.sentences()).map(|s| d.tokens(s..s + 1).iter().map(|&id| id.into()).collect()).collect())
                .collect();
            prop_assert_eq!(read, documents.clone());
            prop_assert_eq!(shard.file_size(), std::fs::metadata(&path).unwrap().len());
            prop_assert_eq!(shard.text(), Some(TEXT));
        }

        #[test]
        fn every_flipped_bit_and_every_truncation_is_found(documents in documents(), place: prop::sample::Index) {
            let words = build(&documents).words(&TEXT);
            let mut bytes: Vec<u32> = words.clone();
            let bit = place.index(words.len() * 32);
            bytes[bit / 32] ^= 1 << (bit % 32);
            prop_assert!(Layout::parse(bytemuck::cast_slice(&bytes)).is_err(), "bit {} went unnoticed", bit);
            let whole: &[u8] = bytemuck::cast_slice(&words);
            prop_assert!(Layout::parse(&whole[..place.index(whole.len())]).is_err());
        }

        /// Headers with a right hash and wild numbers are refused, not believed.
        #[test]
        fn a_forged_header_is_refused(tokens: u64, sentences: u64, count: u64, vocabulary_size: u32) {
            let header = Header { magic: MAGIC, version: VERSION, vocabulary_size, tokens, sentences, documents: count };
            let words = forged(header, |_| ());
            prop_assert!(Layout::parse(bytemuck::cast_slice(&words)).is_err());
        }
    }

    /// Offsets that do not rise and ids outside the vocabulary are refused even under a right hash.
    #[test]
    fn forged_content_is_refused() {
        let forge = |word: usize, value: u32| {
            let header = Header {
                magic: MAGIC,
                version: VERSION,
                vocabulary_size: 100,
                tokens: 4,
                sentences: 2,
                documents: 1,
            };
            let words = forged(header, |payload| payload[word] = value);
            Layout::parse(bytemuck::cast_slice(&words)).map(|_| ())
        };
        assert_eq!(forge(5, 1 | 2 << 16), Ok(()), "the honest value of that word");
        for (word, value, complaint) in [
            (0, 1, "sentence offsets"),
            (1, 4, "sentence offsets"),
            (2, 9, "sentence offsets"),
            (4, 1, "document offsets"),
            (5, 100, "token id 100"),
        ] {
            let error = forge(word, value).unwrap_err();
            assert!(error.contains(complaint), "word {word}: {error}");
        }
    }

    #[test]
    fn a_vocabulary_past_sixteen_bits_is_refused() {
        assert!(ShardBuilder::new(65_536).is_ok());
        assert!(matches!(ShardBuilder::new(65_537), Err(DataError::VocabularyTooLarge { size: 65_537 })));
    }
}
