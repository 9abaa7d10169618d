//! The manifest of version 1, which knew text by its files' names, lengths and times of change, and had a shard or more
//! for each.

use serde::{Deserialize, Serialize};

use super::{Counts, ShardEntry, Stamp, TokenizerIdentity};
use crate::data::text::{Format, Oddities};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    version: u32,
    tokenizer: TokenizerIdentity,
    format: Format,
    sources: Vec<Source>,
    shards: Vec<ShardEntry>,
    counts: Counts,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    path: String,
    bytes: u64,
    modified: u64,
}

impl From<Manifest> for super::Manifest {
    fn from(earlier: Manifest) -> Self {
        let Manifest { version, tokenizer, format, sources, shards, counts } = earlier;
        let mut stamp = Stamp::default();
        sources.iter().for_each(|source| stamp.add(source.path.as_ref(), source.bytes, source.modified));
        let source = super::Source {
            first: sources.iter().take(super::FILES_NAMED).map(|source| source.path.clone()).collect(),
            files: sources.len() as u64,
            bytes: sources.iter().map(|source| source.bytes).sum(),
            stamp: Some(stamp.finish()),
            blake3: None,
        };
        let oddities = Oddities::default();
        Self {
            version,
            tokenizer,
            trained: None,
            reading: format.into(),
            source,
            oddities,
            empty_files: Vec::new(),
            shards,
            counts,
        }
    }
}
