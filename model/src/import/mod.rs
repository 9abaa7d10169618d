//! Models from files, anybody's: transformers' layout (`config.json` and `model.safetensors`), TensorFlow checkpoints, TF-Hub
//! folders, archives of releases.
//!
//! Whatever a file holds is used, named in the [`Report`], or refused by name: a model that is read is the model that was
//! meant.

mod archive;
mod container;
pub(crate) mod foreign;
mod heads;
mod source;
mod tensorflow;
mod tensors;
mod weights;

use std::path::Path;

use crate::albert::Albert;
use crate::config::AlbertConfig;
use crate::error::ModelError;
use crate::heads::Head;
pub use archive::remove_unpacked;
pub use source::Origin;
use tensors::{Place, Tensors};

/// Name of the configuration in a model directory.
pub const CONFIG_FILE: &str = "config.json";
/// Name of the weights in a model directory.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// What the names of an encoder's parameters begin with.
pub const ENCODER: &str = "albert.";

/// A model as read from a directory.
#[derive(Debug)]
pub struct LoadedModel {
    /// Configuration and parameter layout.
    pub albert: Albert,
    /// Values in the layout of [`engine::Parameters`].
    pub values: Vec<f32>,
    /// Fingerprint of the tokenizer that the model was trained with, where the file says so.
    pub tokenizer: Option<String>,
    /// What became of everything in the files.
    pub report: Report,
}

/// What became of the tensors and keys of a model's files. What is neither here nor an error repeats something that is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Tensors that became parameters: the name in the file, the parameter's name.
    pub mapped: Vec<(String, String)>,
    /// Tensors that the model has no place for: heads of other tasks.
    pub unmapped: Vec<String>,
    /// What a TensorFlow checkpoint holds beside a model: an optimizer's slots, counters.
    pub bookkeeping: Vec<String>,
    /// Parameters that the files lack and that were drawn anew, as was allowed.
    pub missing: Vec<String>,
    /// Keys of the configuration that have no meaning here.
    pub unused_keys: Vec<String>,
}

impl LoadedModel {
    /// What a person should know of it although it can be used, in words: what its configuration may have wrong or says without
    /// effect, and what of the encoder its files lack.
    pub fn warnings(&self) -> Vec<String> {
        let Report { missing, unused_keys, .. } = &self.report;
        let drawn: Vec<&str> =
            missing.iter().map(String::as_str).filter(|name| name.starts_with(ENCODER)).collect();
        let mut warnings = self.albert.config().notes();
        if !drawn.is_empty() {
            warnings
                .push(format!("the model's files lack {}, which begin at random values", drawn.join(", ")));
        }
        if !unused_keys.is_empty() {
            warnings.push(format!("keys in {CONFIG_FILE} that are not used: {}", unused_keys.join(", ")));
        }
        warnings
    }
}

/// Which parameters may be drawn anew where a model's files lack them.
#[derive(Clone, Copy, Debug)]
pub enum Fresh<'a> {
    /// None: the model is used as it is.
    Nothing,
    /// Those whose names begin with one of `allowed`.
    Named {
        /// What they are drawn from.
        seed: u64,
        /// Beginnings of names, such as `albert.pooler`.
        allowed: &'a [String],
    },
    /// Those of the heads, for a model that is going to be trained, and those of the encoder whose names begin with one of
    /// `allowed`. A head's tensor of another shape counts as one that is not there, and so does another kind of head's.
    Head {
        /// What they are drawn from.
        seed: u64,
        /// Beginnings of names, such as `albert.pooler`.
        allowed: &'a [String],
    },
}

impl Fresh<'_> {
    /// Whether a parameter may be drawn; one whose tensor `is_there`, in another shape, only if it is of a head to be trained.
    fn allows(&self, name: &str, heads: &[Head], is_there: bool) -> bool {
        let named = |allowed: &[String]| {
            allowed.iter().any(|prefix| !prefix.is_empty() && name.starts_with(prefix.as_str()))
        };
        match self {
            Self::Nothing => false,
            Self::Named { allowed, .. } => !is_there && named(allowed),
            Self::Head { allowed, .. } => {
                !is_there && named(allowed)
                    || heads.iter().flat_map(Head::prefixes).any(|prefix| name.starts_with(prefix))
            }
        }
    }
}

/// Reads the configuration of a model, which may be all that [`load`] reads, without the values of its weights.
///
/// # Errors
/// If it is missing or something else than it should be.
pub fn config_in(path: &Path) -> Result<AlbertConfig, ModelError> {
    Origin::of(path)?.open().map(|(config, _)| config)
}

/// The heads that the weights of a model hold.
///
/// # Errors
/// As of [`config_in`].
pub fn heads_in(path: &Path) -> Result<Vec<Head>, ModelError> {
    let (config, tensors) = Origin::of(path)?.open()?;
    Ok(heads::found(&tensors, &config))
}

/// A hash of the weights of a model, of all that its files hold: it tells two models of one configuration apart.
///
/// # Errors
/// As of [`config_in`].
pub fn weights_in(path: &Path) -> Result<String, ModelError> {
    Origin::of(path)?.open()?.1.digest()
}

/// Reads a model with the heads that its weights hold. `path` is a directory in transformers' layout, a TensorFlow checkpoint
/// (its directory, an archive of it, or the beginning of its files' names), a TF-Hub directory, or a directory with one of
/// these in it.
///
/// # Errors
/// If a file is missing, damaged or something else than it should be, does not fit the configuration, or asks for what is
/// not computed here; if a weight is not finite; if there is not enough memory.
pub fn load(path: &Path) -> Result<LoadedModel, ModelError> {
    read(path, Wanted::Found(None), Fresh::Nothing)
}

/// Reads a model as [`load`] does, where some of it may be missing; `class`, one of transformers', counts in place of what the
/// configuration says that the model is, which of TensorFlow's is nothing.
///
/// # Errors
/// As of [`load`].
pub fn load_with(path: &Path, class: Option<&str>, fresh: Fresh<'_>) -> Result<LoadedModel, ModelError> {
    read(path, Wanted::Found(class), fresh)
}

/// Reads a model as [`load`] does, but as an encoder with this head, whatever heads its weights hold.
///
/// # Errors
/// As of [`load`]; if there is no such head and `fresh` does not allow to draw it anew.
pub fn load_head(path: &Path, head: &Head, fresh: Fresh<'_>) -> Result<LoadedModel, ModelError> {
    read(path, Wanted::Head(head), fresh)
}

/// Refuses what [`load_head`] would refuse before it reads any value: what is missing, or of another shape.
///
/// # Errors
/// As of [`load_head`].
pub fn expect_head(path: &Path, head: &Head, fresh: Fresh<'_>) -> Result<(), ModelError> {
    open_as(&Origin::of(path)?, Wanted::Head(head), fresh).map(drop)
}

/// The heads with which a model is read.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    /// Those of which there are tensors; of this class, if it is known.
    Found(Option<&'a str>),
    /// This one alone.
    Head(&'a Head),
}

/// The tensors of a model, what is made of them, and which of them is each of its parameters.
fn open_as(
    origin: &Origin,
    wanted: Wanted<'_>,
    fresh: Fresh<'_>,
) -> Result<(Tensors, Albert, Vec<Option<Place>>), ModelError> {
    let (mut config, mut tensors) = origin.open()?;
    config.maps_equal_widths = config.embedding_size == config.hidden_size && tensors.have_mapping_in();
    let heads = match wanted {
        Wanted::Found(class) => {
            config.architectures = class.map(|class| vec![class.to_owned()]).or(config.architectures);
            heads::found(&tensors, &config)
        }
        Wanted::Head(head) => {
            if let Some(found) = heads::instead_of(head, &tensors, &config) {
                let is_fresh = |prefix: &&str| fresh.allows(prefix, std::slice::from_ref(head), false);
                if !head.prefixes().iter().all(is_fresh) {
                    let (path, expected) = (tensors.path(), heads::title(head));
                    return Err(ModelError::OtherHead { path, found, expected });
                }
                tensors.set_aside(head.prefixes());
            }
            vec![head.clone()]
        }
    };
    let albert = Albert::new(config, &heads)?;
    // Before memory is asked for: what a configuration promises may be terabytes.
    let parts = tensors.assign(&albert, &fresh)?;
    Ok((tensors, albert, parts))
}

fn read(path: &Path, wanted: Wanted<'_>, fresh: Fresh<'_>) -> Result<LoadedModel, ModelError> {
    let origin = Origin::of(path)?; // an archive stays unpacked until its values are read
    let (mut tensors, albert, parts) = open_as(&origin, wanted, fresh)?;
    let unmapped = tensors.unmapped(&albert, &parts)?;
    let tokenizer = tensors.check_hashes()?;
    let drawn = match fresh {
        Fresh::Head { seed, .. } | Fresh::Named { seed, .. } if parts.contains(&None) => {
            let parameters = albert.parameters();
            let refused = |_| tensors.no_memory(parameters.buffer_length());
            Some(parameters.initial_values(seed).map_err(refused)?)
        }
        _ => None,
    };
    let values = tensors.read(&albert, &parts, drawn)?;
    tensors.check_repetitions(&albert, &parts, &values)?;
    let bookkeeping = std::mem::take(&mut tensors.bookkeeping);
    let unused_keys = albert.config().unused_keys();
    let mut report = Report { unmapped, bookkeeping, unused_keys, ..Report::default() };
    for (place, part) in parts.iter().zip(albert.parameters().parts()) {
        match place {
            Some(place) => report.mapped.push((place.name().to_owned(), part.name.clone())),
            None => report.missing.push(part.name.clone()),
        }
    }
    Ok(LoadedModel { albert, values, tokenizer, report })
}
