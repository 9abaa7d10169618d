//! Names of tensors in transformers' files that more than one place knows.

/// The dense layer from embedding to hidden width.
pub(crate) const MAPPING_IN: &str = "albert.encoder.embedding_hidden_mapping_in";
/// The word table.
pub(crate) const WORDS: &str = "albert.embeddings.word_embeddings.weight";
/// The decoder of the masked-word head: the word table again, unless the configuration says that they are not tied.
pub(crate) const DECODER_WEIGHT: &str = "predictions.decoder.weight";
/// The decoder's bias.
pub const DECODER_BIAS: &str = "predictions.bias";
/// Its second name: transformers' decoder has it as its own, tied to the first unless nothing is tied.
pub(crate) const DECODER_BIAS_AGAIN: &str = "predictions.decoder.bias";
