//! The reference's names of variables, and what they are called in transformers' files (`ALBERT.md`, Tensor names).

/// What a variable is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::import) enum Variable {
    /// A parameter: its name, and whether its matrix is `[in, out]` and has to be turned.
    Parameter(String, bool),
    /// State of the optimizer or of the training loop.
    Bookkeeping,
    /// Anything else.
    Unknown,
}

/// The layers of the reference and of transformers that have a kernel and a bias, or γ and β.
const LAYERS: [(&str, &str); 11] = [
    ("bert/embeddings/LayerNorm", "albert.embeddings.LayerNorm"),
    ("bert/encoder/embedding_hidden_mapping_in", "albert.encoder.embedding_hidden_mapping_in"),
    ("bert/pooler/dense", "albert.pooler"),
    ("cls/predictions/transform/dense", "predictions.dense"),
    ("cls/predictions/transform/LayerNorm", "predictions.LayerNorm"),
    ("start_logits/dense", "start_logits.dense"),
    ("end_logits/dense_0", "end_logits.dense_0"),
    ("end_logits/LayerNorm", "end_logits.LayerNorm"),
    ("end_logits/dense_1", "end_logits.dense_1"),
    ("answer_class/dense_0", "answer_class.dense_0"),
    ("answer_class/dense_1", "answer_class.dense_1"),
];

/// The same within a block.
const LAYERS_OF_BLOCKS: [(&str, &str); 8] = [
    ("attention_1/self/query", "attention.query"),
    ("attention_1/self/key", "attention.key"),
    ("attention_1/self/value", "attention.value"),
    ("attention_1/output/dense", "attention.dense"),
    ("LayerNorm", "attention.LayerNorm"),
    ("ffn_1/intermediate/dense", "ffn"),
    ("ffn_1/intermediate/output/dense", "ffn_output"),
    ("LayerNorm_1", "full_layer_layer_norm"),
];

/// What stands alone.
const OTHERS: [(&str, &str); 10] = [
    ("bert/embeddings/word_embeddings", "albert.embeddings.word_embeddings.weight"),
    ("bert/embeddings/position_embeddings", "albert.embeddings.position_embeddings.weight"),
    ("bert/embeddings/token_type_embeddings", "albert.embeddings.token_type_embeddings.weight"),
    ("cls/predictions/output_bias", "predictions.bias"),
    ("cls/seq_relationship/output_weights", "sop_classifier.classifier.weight"),
    ("cls/seq_relationship/output_bias", "sop_classifier.classifier.bias"),
    ("cls/squad/output_weights", "qa_outputs.weight"),
    ("cls/squad/output_bias", "qa_outputs.bias"),
    ("output_weights", "classifier.weight"),
    ("output_bias", "classifier.bias"),
];

/// Ends of the names of an optimizer's slots.
const SLOTS: [&str; 6] = ["/adam_m", "/adam_v", "/lamb_m", "/lamb_v", "/Adam", "/Adam_1"];
/// Variables of training loops.
const LOOP: [&str; 4] = ["global_step", "save_counter", "_CHECKPOINTABLE_OBJECT_GRAPH", "beta1_power"];

/// What the variable `name` is; variables of TF-Hub's modules begin with `module/`.
pub(in crate::import) fn variable(name: &str) -> Variable {
    let name = name.strip_prefix("module/").unwrap_or(name);
    if SLOTS.iter().any(|slot| name.ends_with(slot)) || LOOP.contains(&name) || name == "beta2_power" {
        return Variable::Bookkeeping;
    }
    if let Some((_, ours)) = OTHERS.iter().find(|(theirs, _)| *theirs == name) {
        return Variable::Parameter((*ours).into(), false);
    }
    let Some((layer, last)) = name.rsplit_once('/') else { return Variable::Unknown };
    let (last, turned) = match last {
        "kernel" => ("weight", true),
        "bias" | "beta" => ("bias", false),
        "gamma" => ("weight", false),
        _ => return Variable::Unknown,
    };
    let found = |layers: &[(&str, &str)], layer: &str| {
        layers.iter().find(|(theirs, _)| *theirs == layer).map(|&(_, ours)| ours.to_owned())
    };
    let layer = found(&LAYERS, layer).or_else(|| {
        let (group, rest) = layer.strip_prefix("bert/encoder/transformer/group_")?.split_once('/')?;
        let (inner, rest) = rest.strip_prefix("inner_group_")?.split_once('/')?;
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
        let block = format!("albert.encoder.albert_layer_groups.{group}.albert_layers.{inner}");
        (number(group) && number(inner)).then_some(())?;
        Some(format!("{block}.{}", found(&LAYERS_OF_BLOCKS, rest)?))
    });
    layer.map_or(Variable::Unknown, |layer| Variable::Parameter(format!("{layer}.{last}"), turned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_variable_is_known() {
        let parameter = |name: &str, turned| Variable::Parameter(name.into(), turned);
        let block = "bert/encoder/transformer/group_2/inner_group_1";
        let ours = "albert.encoder.albert_layer_groups.2.albert_layers.1";
        for (theirs, expected) in [
            ("module/bert/pooler/dense/kernel".to_owned(), parameter("albert.pooler.weight", true)),
            (
                format!("{block}/attention_1/self/key/bias"),
                parameter(&format!("{ours}.attention.key.bias"), false),
            ),
            (
                format!("{block}/ffn_1/intermediate/output/dense/kernel"),
                parameter(&format!("{ours}.ffn_output.weight"), true),
            ),
            (
                format!("{block}/LayerNorm_1/gamma"),
                parameter(&format!("{ours}.full_layer_layer_norm.weight"), false),
            ),
            ("output_weights".into(), parameter("classifier.weight", false)),
            ("bert/pooler/dense/kernel/adam_m".into(), Variable::Bookkeeping),
            ("global_step".into(), Variable::Bookkeeping),
            (format!("{block}/layer_normalization/gamma"), Variable::Unknown),
            ("bert/encoder/layer_shared/output/dense/kernel".into(), Variable::Unknown),
        ] {
            assert_eq!(variable(&theirs), expected, "{theirs}");
        }
    }
}
