//! The tensors of a model's files, and what each of them is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::container::Container;
use super::tensorflow::bundle::Bundle;
use super::tensorflow::names::{Variable, variable};
use super::{Fresh, ModelError};
use crate::albert::Albert;
use crate::export::{TOKENIZER_HASH, WEIGHTS_HASH};
use crate::heads::Head;
use crate::names::{DECODER_BIAS, DECODER_BIAS_AGAIN, DECODER_WEIGHT, MAPPING_IN, WORDS};
use crate::tensors::{TensorFile, ValueError};

/// What older versions of transformers saved beside the weights although it is always 0, 1, 2, …, or all 0.
const BUFFERS: [&str; 2] = ["albert.embeddings.position_ids", "albert.embeddings.token_type_ids"];

/// The tensors of one or more files.
pub(super) struct Tensors {
    files: Vec<Container>,
    /// By canonical name.
    places: BTreeMap<String, Place>,
    /// Names of what is no part of a model: an optimizer's slots, counters.
    pub bookkeeping: Vec<String>,
    /// Names of what was [set aside](Self::set_aside).
    aside: Vec<String>,
}

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    file: usize,
    name: String,
    /// Whether the file has rows where the parameter has columns.
    turned: bool,
}

impl Place {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Tensors {
    pub(super) fn open(paths: Vec<PathBuf>) -> Result<Self, ModelError> {
        let files = paths.iter().map(|path| TensorFile::open(path)).collect::<Result<Vec<_>, _>>()?;
        let mut places: BTreeMap<String, Place> = BTreeMap::new();
        for (file, open) in files.iter().enumerate() {
            for name in open.names() {
                let canonical = canonical(&name);
                if let Some(other) = places.get(&canonical) {
                    let problem =
                        format!("and {} are two tensors for one place: remove one of them", other.name);
                    return Err(ModelError::Tensor { path: open.path().to_owned(), name, problem });
                }
                places.insert(canonical, Place { file, name, turned: false });
            }
        }
        let files = files.into_iter().map(Container::Safetensors).collect();
        Ok(Self { files, places, bookkeeping: Vec::new(), aside: Vec::new() })
    }

    /// The tensors of a TensorFlow checkpoint, by the prefix of its files' names.
    pub(super) fn open_checkpoint(prefix: &Path) -> Result<Self, ModelError> {
        let bundle = Bundle::open(prefix)?;
        let (mut places, mut bookkeeping) = (BTreeMap::new(), Vec::new());
        for (name, real) in bundle.names() {
            let (canonical, turned) = match variable(name) {
                Variable::Parameter(..) if !real => {
                    let (path, name) = (bundle.path().to_owned(), name.to_owned());
                    let problem =
                        "holds no numbers of a kind that is read: save it as f32, f64, f16 or bf16".into();
                    return Err(ModelError::Tensor { path, name, problem });
                }
                Variable::Parameter(canonical, turned) => (canonical, turned),
                Variable::Unknown if real => (name.to_owned(), false),
                Variable::Bookkeeping | Variable::Unknown => {
                    bookkeeping.push(name.to_owned());
                    continue;
                }
            };
            let place = Place { file: 0, name: name.to_owned(), turned };
            if let Some(other) = places.insert(canonical, place) {
                let (path, name) = (bundle.path().to_owned(), name.to_owned());
                let problem = format!(
                    "and {} are two variables for one place: save the checkpoint with one of them",
                    other.name
                );
                return Err(ModelError::Tensor { path, name, problem });
            }
        }
        Ok(Self { files: vec![Container::Checkpoint(bundle)], places, bookkeeping, aside: Vec::new() })
    }

    /// Whether any tensor's name begins so.
    pub(super) fn have(&self, prefix: &str) -> bool {
        self.places.range(prefix.to_owned()..).next().is_some_and(|(name, _)| name.starts_with(prefix))
    }

    pub(super) fn have_mapping_in(&self) -> bool {
        self.have(MAPPING_IN)
    }

    /// Takes the tensors whose names begin with one of `prefixes` for none of the model's.
    pub(super) fn set_aside(&mut self, prefixes: &[&str]) {
        let is_meant = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
        self.aside.extend(self.places.extract_if(.., |name, _| is_meant(name)).map(|(_, place)| place.name));
    }

    /// The shape of a tensor, by its canonical name.
    pub(super) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.places.get(name).map(|place| self.shape_at(place))
    }

    /// The shape as a parameter has it.
    fn shape_at(&self, place: &Place) -> Vec<usize> {
        let mut shape = self.files[place.file].shape(&place.name).to_vec();
        if place.turned {
            shape.reverse();
        }
        shape
    }

    /// The tensor of each part of the model's parameters, in their order; `None` for one that `fresh` allows to be drawn.
    pub(super) fn assign(
        &self,
        albert: &Albert,
        fresh: &Fresh<'_>,
    ) -> Result<Vec<Option<Place>>, ModelError> {
        let bias = self.decoder_bias(albert);
        let mut missing = Vec::new();
        let mut places = Vec::new();
        for part in albert.parameters().parts() {
            let place = self.places.get(if part.name == DECODER_BIAS { bias } else { &part.name });
            let fits = |place: &&Place| self.shape_at(place) == part.shape;
            match place.filter(fits) {
                Some(place) => places.push(Some(place.clone())),
                None if fresh.allows(&part.name, albert.heads(), place.is_some()) => places.push(None),
                None => match place {
                    None => missing.push(part.name.clone()),
                    Some(place) => {
                        let problem = misfit(&part.name, &self.shape_at(place), &part.shape);
                        return Err(self.refuse(place, problem));
                    }
                },
            }
        }
        if missing.is_empty() {
            return Ok(places);
        }
        let known = |name: &String| {
            albert.parameters().parts().any(|part| part.name == *name) || is_repetition(name, albert)
        };
        let found = self.places.iter().filter(|(name, _)| !known(name)).map(|(_, place)| place.name.clone());
        Err(ModelError::Missing { path: self.path(), missing, found: found.collect() })
    }

    /// The name of the decoder's bias that counts: the decoder's own where nothing is tied.
    fn decoder_bias(&self, albert: &Albert) -> &'static str {
        let [first, second] = [DECODER_BIAS, DECODER_BIAS_AGAIN].map(|name| self.places.contains_key(name));
        if second && (!first || !albert.config().tie_word_embeddings) {
            DECODER_BIAS_AGAIN
        } else {
            DECODER_BIAS
        }
    }

    /// Tensors for which there is no place and no need: those of other heads.
    pub(super) fn unmapped(
        &self,
        albert: &Albert,
        parts: &[Option<Place>],
    ) -> Result<Vec<String>, ModelError> {
        let used: BTreeSet<&Place> = parts.iter().flatten().collect();
        let mut unmapped = self.aside.clone();
        for (name, place) in &self.places {
            if used.contains(place) || is_repetition(name, albert) {
                continue;
            }
            // The model's own namespaces: a tensor there changes what the model computes.
            let heads: Vec<_> = albert.heads().iter().flat_map(Head::prefixes).collect();
            let own = heads.iter().any(|prefix| name.starts_with(**prefix));
            let pooler = name.starts_with("albert.pooler.") && albert.on_top.pooler.is_none();
            if own && !self.is_of_another_shape(albert, name) || name.starts_with("albert.") && !pooler {
                return Err(self.refuse(place, reason(name, albert)));
            }
            unmapped.push(place.name.clone());
        }
        let decodes = albert.predicts_words() && !albert.config().tie_word_embeddings;
        if decodes && self.decoder_bias(albert) == DECODER_BIAS_AGAIN {
            // transformers keeps it, and does not read it.
            unmapped.extend(self.places.get(DECODER_BIAS).map(|place| place.name.clone()));
        }
        Ok(unmapped)
    }

    /// Whether the model has a parameter of this name, which was allowed to be drawn because this tensor does not fit.
    fn is_of_another_shape(&self, albert: &Albert, name: &str) -> bool {
        albert.parameters().parts().any(|part| part.name == name)
    }

    /// Compares the weights with the hash that their file holds, if it is one of ours; the fingerprint of the tokenizer.
    pub(super) fn check_hashes(&self) -> Result<Option<String>, ModelError> {
        for file in self.files.iter().filter_map(Container::safetensors) {
            let Some(expected) = file.notes().get(WEIGHTS_HASH) else { continue };
            if file.digest().map_err(ModelError::io("read", file.path()))? != *expected {
                return Err(ModelError::Hash { path: file.path().to_owned(), key: WEIGHTS_HASH });
            }
        }
        let mut files = self.files.iter().filter_map(Container::safetensors);
        Ok(files.find_map(|file| file.notes().get(TOKENIZER_HASH)).cloned())
    }

    /// A hash of all values in the files.
    pub(super) fn digest(&self) -> Result<String, ModelError> {
        let mut hasher = blake3::Hasher::new();
        for file in &self.files {
            hasher.update(file.digest().map_err(ModelError::io("read", file.path()))?.as_bytes());
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// The values of all parameters, those without a place as they are in `drawn`.
    pub(super) fn read(
        &self,
        albert: &Albert,
        parts: &[Option<Place>],
        drawn: Option<Vec<f32>>,
    ) -> Result<Vec<f32>, ModelError> {
        let mut values = match drawn {
            Some(drawn) => drawn,
            None => self.memory(albert.parameters().buffer_length())?,
        };
        for (place, (_, range)) in parts.iter().zip(albert.parameters().placed_parts()) {
            if let Some(place) = place {
                self.fill(place, &mut values[range])?;
            }
        }
        Ok(values)
    }

    /// Refuses a second copy of something that is not the same.
    pub(super) fn check_repetitions(
        &self,
        albert: &Albert,
        parts: &[Option<Place>],
        values: &[f32],
    ) -> Result<(), ModelError> {
        let tied = albert.config().tie_word_embeddings;
        let copies = [(DECODER_WEIGHT, WORDS), (DECODER_BIAS_AGAIN, DECODER_BIAS)];
        for (name, original) in copies.into_iter().filter(|_| tied) {
            let Some(place) =
                self.places.get(name).filter(|place| !parts.iter().flatten().any(|part| part == *place))
            else {
                continue;
            };
            let Some((part, range)) =
                albert.parameters().placed_parts().find(|(part, _)| part.name == original)
            else {
                continue;
            };
            let shape = self.shape_at(place);
            let mut copy = self.memory(range.len())?;
            if shape == part.shape {
                self.fill(place, &mut copy)?;
            }
            if shape != part.shape || copy != values[range] {
                let problem = format!(
                    "is not {original}, although tie_word_embeddings says that they are one; which of them counts differs \
                     between versions of transformers: set tie_word_embeddings to false in config.json for a decoder of its \
                     own, or remove {name} from the file"
                );
                return Err(self.refuse(place, problem));
            }
        }
        for name in BUFFERS {
            let Some(place) = self.places.get(name) else { continue };
            let Some(file) = self.files[place.file].safetensors() else { continue };
            let bytes = file.bytes(&place.name).map_err(ModelError::io("read", file.path()))?;
            let usual = |(index, chunk): (usize, &[u8; 8])| {
                let value = i64::from_le_bytes(*chunk);
                value == 0 || name == BUFFERS[0] && value == index as i64
            };
            if !bytes.as_chunks().0.iter().enumerate().all(usual) {
                let problem = "is not what transformers makes of it, and positions count from 0 here: remove it from the file if the \
                               model was trained so";
                return Err(self.refuse(place, problem.into()));
            }
        }
        Ok(())
    }

    fn fill(&self, place: &Place, values: &mut [f32]) -> Result<(), ModelError> {
        let file = &self.files[place.file];
        file.read(&place.name, values).map_err(|error| match error {
            ValueError::Io(source) => ModelError::io("read", file.path())(source),
            error => self.refuse(place, error.to_string()),
        })?;
        if let (true, &[rows, columns]) = (place.turned, &self.shape_at(place)[..]) {
            let mut turned = self.memory(values.len())?;
            for (at, value) in turned.iter_mut().enumerate() {
                *value = values[at % columns * rows + at / columns];
            }
            values.copy_from_slice(&turned);
        }
        Ok(())
    }

    /// `elements` zeros, if there is memory for them.
    fn memory(&self, elements: usize) -> Result<Vec<f32>, ModelError> {
        let mut values = Vec::new();
        values.try_reserve_exact(elements).map_err(|_| self.no_memory(elements))?;
        values.resize(elements, 0.0);
        Ok(values)
    }

    /// There is no memory for so many elements.
    pub(super) fn no_memory(&self, elements: usize) -> ModelError {
        ModelError::Memory { path: self.path(), bytes: elements.saturating_mul(size_of::<f32>()) }
    }

    fn refuse(&self, place: &Place, problem: String) -> ModelError {
        ModelError::Tensor {
            path: self.files[place.file].path().to_owned(),
            name: place.name.clone(),
            problem,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.files.first().map(|file| file.path().to_owned()).unwrap_or_default()
    }
}

/// The name as a whole model of today's transformers has it: an encoder saved alone has no prefix, and layer norms had γ and
/// β by name.
fn canonical(name: &str) -> String {
    let bare = ["embeddings.", "encoder.", "pooler."].iter().any(|prefix| name.starts_with(prefix));
    let name = if bare { format!("albert.{name}") } else { name.to_owned() };
    let renamed = |old: &str, new: &str| name.strip_suffix(old).map(|stem| format!("{stem}{new}"));
    renamed(".gamma", ".weight").or_else(|| renamed(".beta", ".bias")).unwrap_or(name)
}

/// Tensors that repeat others of the model, which is checked, or that nothing is computed from.
fn is_repetition(name: &str, albert: &Albert) -> bool {
    let of_decoder = [DECODER_WEIGHT, DECODER_BIAS, DECODER_BIAS_AGAIN].contains(&name);
    let of_words = name == DECODER_WEIGHT && albert.config().tie_word_embeddings;
    albert.predicts_words() && of_decoder || of_words || BUFFERS.contains(&name)
}

/// What is wrong with a parameter's tensor of another shape. Only the number of classes is the task's to say.
fn misfit(name: &str, found: &[usize], expected: &[usize]) -> String {
    if name.starts_with("classifier.") && found.get(1..) == expected.get(1..) {
        return format!(
            "has shape {found:?} where {expected:?} is needed: the model was fine-tuned for another number of classes; use one \
             that was fine-tuned for this task"
        );
    }
    format!(
        "has shape {found:?} where the configuration asks for {expected:?}: the two are not of one model; copy both again from \
         where they came"
    )
}

/// Why a tensor in a namespace of the model cannot be passed over.
fn reason(name: &str, albert: &Albert) -> String {
    let config = albert.config();
    if name.contains("distance_embedding") {
        return "belongs to relative positions, which are not computed here: use a model with absolute positions".into();
    }
    if name.contains("albert_layer_groups") {
        return format!(
            "is not one of the {} groups of {} layers that the configuration has: correct num_hidden_groups or \
             inner_group_num there, or, where they are right, use a model that computes nothing else than is computed here",
            config.num_hidden_groups, config.inner_group_num
        );
    }
    "is no part of an ALBERT as it is computed here, so that the model computes something else: use another \
     model, or remove the tensor from the file if it is of no use"
        .into()
}
