//! Fetching a model into the cache, in the layout in which huggingface_hub keeps it.
//!
//! A file is written to `blobs/HASH.incomplete`, which an interrupted download goes on from; its hash is compared with the
//! one that the Hub announced, and only then it is called `HASH`. When all files are there, the snapshot gets its links,
//! and the branch its commit: whoever reads the cache meanwhile finds what was there before.

#[cfg(feature = "download")]
mod address;
#[cfg(feature = "download")]
mod blobs;
#[cfg(feature = "download")]
mod choice;
#[cfg(feature = "download")]
mod environment;
#[cfg(feature = "download")]
mod fetch;
#[cfg(feature = "download")]
mod hash;
#[cfg(feature = "download")]
mod proxy;
#[cfg(feature = "download")]
mod server;

use std::path::PathBuf;

use super::{DownloadError, Reference};
use crate::data::BytesDone;

/// A model that was fetched, or found complete.
#[derive(Clone, Debug)]
pub struct Downloaded {
    /// Its files' folder.
    pub snapshot: PathBuf,
    /// Bytes that came over the network.
    pub fetched: u64,
}

/// What happens on the way.
#[derive(Debug)]
pub enum Event<'a> {
    /// What is to be fetched is known.
    Found {
        /// The commit that the revision is.
        commit: &'a str,
        /// Its files that are read here.
        files: &'a [String],
        /// Bytes of those that are not in the cache.
        missing: u64,
        /// As the model's card says.
        licence: Option<&'a str>,
    },
    /// Nothing is asked, because this variable is set; what is in the cache is given.
    Offline {
        /// Its name.
        variable: &'static str,
    },
    /// Another process fetches this file, and is waited for.
    Waiting {
        /// The file.
        file: &'a str,
    },
    /// A file goes on from here after a connection broke.
    GoingOn {
        /// The file.
        file: &'a str,
        /// Bytes of it that are there.
        from: u64,
        /// What broke it off.
        problem: &'a str,
    },
    /// What was left of an interrupted download was damaged: the file is fetched anew.
    Anew {
        /// The file.
        file: &'a str,
    },
    /// So much is there.
    Progress(BytesDone),
}

/// Fetches what is not in the cache yet of a model: the files that this program reads, and no others.
///
/// `HF_ENDPOINT` names another server than huggingface.co. `HF_TOKEN`, or the file that logging in wrote, is shown to that
/// server alone. `HTTPS_PROXY` or `ALL_PROXY` names a proxy, `NO_PROXY` hosts and domains that are asked without it; `SSL_CERT_FILE` has the certificates that
/// are trusted in place of the built-in ones.
///
/// # Errors
/// If `HF_HUB_OFFLINE` says yes and the model is not in the cache, the server does not give the model, or what it gives cannot be read or kept.
pub fn download(
    reference: &Reference,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Downloaded, DownloadError> {
    #[cfg(feature = "download")]
    {
        fetch::download(reference, watch)
    }
    #[cfg(not(feature = "download"))]
    {
        let _ = watch;
        Err(DownloadError::NotBuilt { model: reference.model().into() })
    }
}
