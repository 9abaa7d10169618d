//! The tensors of a model's files, and what each of them is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::ModelError;
use crate::albert::{Albert, Heads};
use crate::export::{TOKENIZER_HASH, WEIGHTS_HASH};
use crate::names::{DECODER_BIAS, DECODER_BIAS_AGAIN, DECODER_WEIGHT, MAPPING_IN, WORDS};
use crate::tensors::{TensorFile, ValueError};

/// What older versions of transformers saved beside the weights although it is always 0, 1, 2, …, or all 0.
const BUFFERS: [&str; 2] = ["albert.embeddings.position_ids", "albert.embeddings.token_type_ids"];

/// The tensors of one or more files.
pub(super) struct Tensors {
    files: Vec<TensorFile>,
    /// By canonical name.
    places: BTreeMap<String, Place>,
}

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    file: usize,
    name: String,
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
                    let problem = format!("and {} are two tensors for one place", other.name);
                    return Err(ModelError::Tensor { path: open.path().to_owned(), name, problem });
                }
                places.insert(canonical, Place { file, name });
            }
        }
        Ok(Self { files, places })
    }

    fn have(&self, prefix: &str) -> bool {
        self.places.range(prefix.to_owned()..).next().is_some_and(|(name, _)| name.starts_with(prefix))
    }

    pub(super) fn have_mapping_in(&self) -> bool {
        self.have(MAPPING_IN)
    }

    /// A head of which any tensor is there: one of which only some are is refused, not dropped.
    pub(super) fn heads(&self) -> Heads {
        let sentence_order = self.have("sop_classifier.");
        Heads {
            pooler: sentence_order || self.have("albert.pooler."),
            masked_lm: self.have("predictions."),
            sentence_order,
        }
    }

    /// The tensor of each part of the model's parameters, in their order.
    pub(super) fn assign(&self, albert: &Albert) -> Result<Vec<Place>, ModelError> {
        let bias = self.decoder_bias(albert);
        let place = |name: &str| self.places.get(if name == DECODER_BIAS { bias } else { name });
        let parts = || albert.parameters().parts();
        let missing: Vec<_> =
            parts().filter(|part| place(&part.name).is_none()).map(|part| part.name.clone()).collect();
        if !missing.is_empty() {
            let known = |name: &String| parts().any(|part| part.name == *name) || is_repetition(name);
            let found =
                self.places.iter().filter(|(name, _)| !known(name)).map(|(_, place)| place.name.clone());
            return Err(ModelError::Missing { path: self.path(), missing, found: found.collect() });
        }
        parts()
            .map(|part| {
                let place = &place(&part.name).expect("none is missing");
                let shape = &self.files[place.file].info(&place.name).expect("a tensor of the file").shape;
                if *shape == part.shape {
                    return Ok((*place).clone());
                }
                let expected = &part.shape;
                Err(self.refuse(
                    place,
                    format!("has shape {shape:?} where the configuration asks for {expected:?}"),
                ))
            })
            .collect()
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

    /// Tensors for which there is no place and no need.
    pub(super) fn unused(&self, albert: &Albert, parts: &[Place]) -> Result<Vec<String>, ModelError> {
        let mut unused = Vec::new();
        for (name, place) in &self.places {
            if parts.contains(place) || is_repetition(name) {
                continue;
            }
            // The model's own namespaces: a tensor there changes what the model computes.
            if ["albert.", "predictions.", "sop_classifier."].iter().any(|own| name.starts_with(own)) {
                return Err(self.refuse(place, reason(name, albert)));
            }
            unused.push(place.name.clone());
        }
        if !albert.config().tie_word_embeddings && self.decoder_bias(albert) == DECODER_BIAS_AGAIN {
            // transformers keeps it, and does not read it.
            unused.extend(self.places.get(DECODER_BIAS).map(|place| place.name.clone()));
        }
        Ok(unused)
    }

    /// Compares the weights with the hash that their file holds, if it is one of ours; the fingerprint of the tokenizer.
    pub(super) fn check_hashes(&self) -> Result<Option<String>, ModelError> {
        for file in &self.files {
            let Some(expected) = file.notes().get(WEIGHTS_HASH) else { continue };
            if file.digest().map_err(ModelError::io("read", file.path()))? != *expected {
                return Err(ModelError::Hash { path: file.path().to_owned(), key: WEIGHTS_HASH });
            }
        }
        Ok(self.files.iter().find_map(|file| file.notes().get(TOKENIZER_HASH)).cloned())
    }

    /// The values of all parameters.
    pub(super) fn read(&self, albert: &Albert, parts: &[Place]) -> Result<Vec<f32>, ModelError> {
        let mut values = self.memory(albert.parameters().buffer_length())?;
        for (place, (_, range)) in parts.iter().zip(albert.parameters().placed_parts()) {
            self.fill(place, &mut values[range])?;
        }
        Ok(values)
    }

    /// Refuses a second copy of something that is not the same.
    pub(super) fn check_repetitions(
        &self,
        albert: &Albert,
        parts: &[Place],
        values: &[f32],
    ) -> Result<(), ModelError> {
        let tied = albert.config().tie_word_embeddings;
        let copies = [(DECODER_WEIGHT, WORDS), (DECODER_BIAS_AGAIN, DECODER_BIAS)];
        for (name, original) in copies.into_iter().filter(|_| tied) {
            let Some(place) = self.places.get(name).filter(|place| !parts.contains(place)) else { continue };
            let Some((part, range)) =
                albert.parameters().placed_parts().find(|(part, _)| part.name == original)
            else {
                continue;
            };
            let shape = &self.files[place.file].info(&place.name).expect("a tensor of the file").shape;
            let mut copy = self.memory(range.len())?;
            if *shape == part.shape {
                self.fill(place, &mut copy)?;
            }
            if *shape != part.shape || copy != values[range] {
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
            let file = &self.files[place.file];
            let bytes = file.bytes(&place.name).map_err(ModelError::io("read", file.path()))?;
            let usual = |(index, chunk): (usize, &[u8; 8])| {
                let value = i64::from_le_bytes(*chunk);
                value == 0 || name == BUFFERS[0] && value == index as i64
            };
            if !bytes.as_chunks().0.iter().enumerate().all(usual) {
                return Err(
                    self.refuse(place, "is not what transformers makes of it: positions count from 0".into())
                );
            }
        }
        Ok(())
    }

    fn fill(&self, place: &Place, values: &mut [f32]) -> Result<(), ModelError> {
        let file = &self.files[place.file];
        file.read(&place.name, values).map_err(|error| match error {
            ValueError::Io(source) => ModelError::io("read", file.path())(source),
            error => self.refuse(place, error.to_string()),
        })
    }

    /// `elements` zeros, if there is memory for them.
    fn memory(&self, elements: usize) -> Result<Vec<f32>, ModelError> {
        let mut values = Vec::new();
        values.try_reserve_exact(elements).map_err(|_| ModelError::Memory {
            path: self.path(),
            bytes: elements.saturating_mul(size_of::<f32>()),
        })?;
        values.resize(elements, 0.0);
        Ok(values)
    }

    fn refuse(&self, place: &Place, problem: String) -> ModelError {
        ModelError::Tensor {
            path: self.files[place.file].path().to_owned(),
            name: place.name.clone(),
            problem,
        }
    }

    fn path(&self) -> PathBuf {
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

/// Tensors that repeat others, which is checked, or that nothing is computed from.
fn is_repetition(name: &str) -> bool {
    [DECODER_WEIGHT, DECODER_BIAS, DECODER_BIAS_AGAIN].contains(&name) || BUFFERS.contains(&name)
}

/// Why a tensor in a namespace of the model cannot be passed over.
fn reason(name: &str, albert: &Albert) -> String {
    let config = albert.config();
    if name.contains("distance_embedding") {
        return "belongs to relative positions, which are not computed here: use a model with absolute positions".into();
    }
    if name.contains("albert_layer_groups") {
        return format!(
            "is not one of the {} groups of {} layers that the configuration has: num_hidden_groups or inner_group_num is \
             wrong, or the model computes something that is not computed here",
            config.num_hidden_groups, config.inner_group_num
        );
    }
    "is no part of an ALBERT as it is computed here: the model computes something else".into()
}
