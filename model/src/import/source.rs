//! Where a model's configuration and weights are: a folder, an archive, or the beginning of a checkpoint's file names.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::tensorflow::bundle;
use super::tensors::Tensors;
use super::weights::{self, TENSORFLOW_CONFIG};
use super::{AlbertConfig, CONFIG_FILE, ModelError, archive, foreign};
use crate::visible::shown;

/// Where the files of a model are, found once: an archive stays unpacked as long as this lives, and is not unpacked again for
/// another that is found meanwhile.
#[derive(Debug)]
pub struct Origin {
    form: Form,
    /// Gone when this is dropped.
    _unpacked: Option<Arc<TempDir>>,
}

/// What a place holds.
#[derive(Debug)]
enum Form {
    /// `config.json` and safetensors.
    Transformers(PathBuf),
    /// Configuration, prefix.
    TensorFlow(PathBuf, PathBuf),
}

impl Origin {
    /// Finds the files of the model that is meant by `path`, which is whatever [`load`](super::load) takes.
    ///
    /// # Errors
    /// If there is none, there are several, or it is an archive that is damaged.
    pub fn of(path: &Path) -> Result<Self, ModelError> {
        let plain = |form| Self { form, _unpacked: None };
        if !path.is_file() {
            return locate(path).map(plain);
        }
        if let Some(prefix) = prefix_of(path) {
            return checkpoint(&prefix).map(plain);
        }
        if foreign::is_gzip(path).map_err(ModelError::io("read", path))? {
            let unpacked = archive::unpacked(path)?;
            let refused = |problem| ModelError::Archive { path: path.to_owned(), problem };
            let form = locate(unpacked.path())
                .map_err(|error| refused(error.to_string().replace(&shown(unpacked.path()), "it")))?;
            if matches!(&form, Form::Transformers(folder) if !folder.join(CONFIG_FILE).is_file()) {
                return Err(refused("there is no model in it".into()));
            }
            return Ok(Self { form, _unpacked: Some(unpacked) });
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match (weights::other_file(&name), name.ends_with(".safetensors")) {
            (_, true) => Err(ModelError::OtherFile {
                path: path.to_owned(),
                kind: "a file of weights alone: name the folder, which holds config.json too",
            }),
            (Some((kind, way_out)), _) => Err(ModelError::OtherForm { path: path.to_owned(), kind, way_out }),
            (None, _) => Err(ModelError::OtherFile {
                path: path.to_owned(),
                kind: "no model: a folder in transformers' layout, a TensorFlow checkpoint (folder, .tar.gz, or the \
                       beginning of its files' names such as model.ckpt-best) or a TF-Hub folder is needed",
            }),
        }
    }

    /// The same as [`Origin::of`] takes, but never an archive.
    pub fn path(&self) -> &Path {
        match &self.form {
            Form::Transformers(folder) => folder,
            Form::TensorFlow(_, prefix) => prefix,
        }
    }

    /// Where the files that belong to a model are looked for, such as its tokenizer's.
    pub fn folder(&self) -> &Path {
        match &self.form {
            Form::Transformers(folder) => folder,
            Form::TensorFlow(config, _) => config.parent().unwrap_or(Path::new("")),
        }
    }

    /// Whether the files of its configuration and of its weights are there; what is in them is for [`load`](super::load) to say.
    ///
    /// # Errors
    /// If its weights are there in another form, or the index of their files cannot be read.
    pub fn is_whole(&self) -> Result<bool, ModelError> {
        match &self.form {
            Form::Transformers(folder) => match weights::files(folder) {
                Ok(files) => {
                    Ok(folder.join(CONFIG_FILE).is_file() && files.iter().all(|path| path.is_file()))
                }
                Err(ModelError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(false),
                Err(error) => Err(error),
            },
            Form::TensorFlow(..) => Ok(true), // or it would not have been found
        }
    }

    /// Its configuration, and its tensors ready to be read.
    pub(super) fn open(&self) -> Result<(AlbertConfig, Tensors), ModelError> {
        match &self.form {
            Form::Transformers(folder) => {
                Ok((weights::config(folder)?, Tensors::open(weights::files(folder)?)?))
            }
            Form::TensorFlow(config, prefix) => {
                Ok((AlbertConfig::load_released(config)?, Tensors::open_checkpoint(prefix)?))
            }
        }
    }
}

/// The prefix that the name of one of a checkpoint's files has.
fn prefix_of(file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.to_str()?;
    let at = name.strip_suffix(".index").map(str::len).or_else(|| name.find(".data-"));
    at.or_else(|| name.strip_suffix(".meta").map(str::len)).map(|at| file.with_file_name(&name[..at]))
}

/// What a folder, or the folder in it that holds a model, or a prefix holds.
fn locate(path: &Path) -> Result<Form, ModelError> {
    if !path.is_dir() {
        return if bundle::exists(path) {
            checkpoint(path)
        } else {
            Err(ModelError::io("read", path)(ErrorKind::NotFound.into()))
        };
    }
    if let Some(form) = here(path)? {
        return Ok(form);
    }
    let folders = weights::names(path).map_err(ModelError::io("read", path))?;
    let folders = folders.into_iter().map(|name| path.join(name)).filter(|path| path.is_dir());
    let (mut found, mut problem) = (Vec::new(), None);
    for folder in folders {
        match here(&folder) {
            Ok(Some(form)) => found.push((folder, form)),
            Ok(None) => (),
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    match found.len() {
        0 => problem.map_or_else(|| Ok(Form::Transformers(path.to_owned())), Err), // which says what is missing
        1 => Ok(found.remove(0).1),
        _ => Err(ModelError::Several {
            path: path.to_owned(),
            found: found.into_iter().map(|(folder, _)| folder).collect(),
        }),
    }
}

/// What a folder itself holds, if it is a model.
fn here(folder: &Path) -> Result<Option<Form>, ModelError> {
    let hub = [folder.join("assets").join(TENSORFLOW_CONFIG), folder.join("variables").join("variables")];
    if hub[0].is_file() && bundle::exists(&hub[1]) {
        let [config, prefix] = hub;
        return Ok(Some(Form::TensorFlow(config, prefix)));
    }
    let (ours, released) = (folder.join(CONFIG_FILE).is_file(), folder.join(TENSORFLOW_CONFIG).is_file());
    if ours && weights::has_safetensors(folder) {
        return Ok(Some(Form::Transformers(folder.to_owned())));
    }
    let prefixes = bundle::checkpoints(folder).map_err(ModelError::io("read", folder))?;
    if !prefixes.is_empty() && (ours || released) {
        return Ok(Some(checkpoint(&the_one(folder, prefixes)?)?));
    }
    Ok(ours.then(|| Form::Transformers(folder.to_owned())))
}

/// A checkpoint by its prefix, with the configuration beside it.
fn checkpoint(prefix: &Path) -> Result<Form, ModelError> {
    let folder = prefix.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let above = folder.parent().unwrap_or(folder);
    let places = [
        folder.join(TENSORFLOW_CONFIG),
        folder.join(CONFIG_FILE),
        above.join("assets").join(TENSORFLOW_CONFIG),
        above.join(TENSORFLOW_CONFIG),
    ];
    let config = places.into_iter().find(|path| path.is_file());
    let config = config
        .ok_or_else(|| ModelError::io("read", &folder.join(TENSORFLOW_CONFIG))(ErrorKind::NotFound.into()))?;
    Ok(Form::TensorFlow(config, prefix.to_owned()))
}

/// Of several checkpoints in a folder the one that the reference calls its best.
fn the_one(folder: &Path, prefixes: Vec<PathBuf>) -> Result<PathBuf, ModelError> {
    let best = |path: &&PathBuf| path.to_string_lossy().ends_with("-best");
    match (prefixes.len(), prefixes.iter().find(best)) {
        (1, _) => Ok(prefixes[0].clone()),
        (_, Some(best)) => Ok(best.clone()),
        _ => Err(ModelError::Several { path: folder.to_owned(), found: prefixes }),
    }
}
