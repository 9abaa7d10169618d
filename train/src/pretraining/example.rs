//! A sample as the model sees it: two segments between special tokens, some of it masked.

use super::masking::Masking;
use super::sampler::{Origin, Pair, SPECIAL_TOKENS};
use crate::tokenizer::SpecialTokens;

/// One masked sequence, `[CLS] A [SEP] B [SEP]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The tokens, masked.
    pub token_ids: Vec<u32>,
    /// Where segment 1 begins: after the first `[SEP]`.
    pub second_segment: usize,
    /// What is to be predicted.
    pub masking: Masking,
    /// 1 where the segments are not in the order of the text.
    pub sentence_order_label: u32,
    /// Where it comes from.
    pub origin: Origin,
}

impl Example {
    /// Puts a pair between its special tokens; nothing is masked yet.
    pub(crate) fn assemble(pair: Pair<'_>, special: SpecialTokens) -> Self {
        let Pair { first, second, label, origin } = pair;
        let mut token_ids = Vec::with_capacity(first.len() + second.len() + SPECIAL_TOKENS);
        token_ids.push(special.classification);
        token_ids.extend(first.iter().map(|&id| u32::from(id)));
        token_ids.push(special.separator);
        let second_segment = token_ids.len();
        token_ids.extend(second.iter().map(|&id| u32::from(id)));
        token_ids.push(special.separator);
        Self { token_ids, second_segment, masking: Masking::default(), sentence_order_label: label, origin }
    }
}
