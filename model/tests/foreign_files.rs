//! What is not used is refused by name: files that are something else, heads by halves, second copies that differ.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use model::{Albert, AlbertConfig, Fresh, Head, load, load_head, save};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn saved(change: impl FnOnce(&mut AlbertConfig)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = AlbertConfig {
        vocab_size: 11,
        embedding_size: 4,
        hidden_size: 6,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 8,
        max_position_embeddings: 6,
        ..AlbertConfig::default()
    };
    change(&mut config);
    let albert = Albert::new(config, &[Head::Pretraining]).expect("valid");
    let values = albert.parameters().initial_values(1).expect("memory");
    save(folder.path(), &albert, &values).expect("written");
    folder
}

/// Rewrites the weights as another program does.
fn edit(folder: &Path, change: impl FnOnce(&mut Tensors)) {
    let path = folder.join("model.safetensors");
    let bytes = std::fs::read(&path).expect("the weights");
    let mut tensors: Tensors = (SafeTensors::deserialize(&bytes).expect("a file").iter())
        .map(|(name, view)| {
            let values = view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            (name.to_owned(), (view.shape().to_vec(), values))
        })
        .collect();
    change(&mut tensors);
    let views: HashMap<&str, TensorView<'_>> = (tensors.iter())
        .map(|(name, (shape, values))| {
            let bytes = bytemuck::cast_slice(values);
            (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("fits"))
        })
        .collect();
    safetensors::serialize_to_file(views, None, &path).expect("written");
}

#[track_caller]
fn refused(folder: &Path, parts: &[&str]) {
    let error = load(folder).expect_err("refused").to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{parts:?} are not all in: {error}");
}

#[test]
fn half_a_head_is_none() {
    for gone in [
        "albert.pooler.weight",
        "albert.pooler.bias",
        "predictions.dense.weight",
        "predictions.LayerNorm.bias",
        "predictions.bias",
        "sop_classifier.classifier.weight",
        "albert.encoder.embedding_hidden_mapping_in.bias",
    ] {
        let folder = saved(|_| ());
        edit(folder.path(), |tensors| drop(tensors.remove(gone).expect("there")));
        refused(folder.path(), &["lacks 1 of", gone, "copy the whole model", "never left at random"]);
    }
    let folder = saved(|config| config.tie_word_embeddings = false);
    edit(folder.path(), |tensors| drop(tensors.remove("predictions.decoder.weight").expect("there")));
    refused(folder.path(), &["predictions.decoder.weight"]);
}

#[test]
fn a_whole_head_may_be_missing() {
    let folder = saved(|_| ());
    edit(folder.path(), |tensors| {
        tensors.retain(|name, _| name.starts_with("albert.") && !name.contains("pooler"))
    });
    assert_eq!(load(folder.path()).expect("an encoder").albert.heads(), []);
}

#[test]
fn what_the_model_would_compute_with_is_never_passed_over() {
    let one = || (vec![1], vec![1.0]);
    for (name, reason, advice) in [
        (
            "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.distance_embedding.weight",
            "relative positions",
            "use a model with absolute positions",
        ),
        ("albert.encoder.albert_layer_groups.1.albert_layers.0.ffn.bias", "num_hidden_groups", "correct"),
        ("albert.encoder.albert_layer_groups.0.albert_layers.1.ffn.bias", "inner_group_num", "correct"),
        ("albert.encoder.adapter.weight", "computes something else", "use another model"),
        ("predictions.extra.weight", "computes something else", "use another model"),
    ] {
        let folder = saved(|_| ());
        edit(folder.path(), |tensors| drop(tensors.insert(name.into(), one())));
        refused(folder.path(), &[name, reason, advice]);
    }
    let folder = saved(|_| ());
    let positions = "albert.embeddings.position_ids";
    edit(folder.path(), |tensors| drop(tensors.insert(positions.into(), (vec![2], vec![1.0; 2]))));
    refused(folder.path(), &[positions, "positions count from 0", "remove it"]);
    let folder = saved(|_| ());
    edit(folder.path(), |tensors| drop(tensors.insert("lm_head.weight".into(), one())));
    assert_eq!(load(folder.path()).expect("a model").report.unmapped, ["lm_head.weight"]);
    edit(folder.path(), |tensors| {
        let bias = tensors["albert.pooler.bias"].clone();
        tensors.insert("pooler.bias".into(), bias);
    });
    refused(folder.path(), &["pooler.bias", "two tensors for one place", "remove one of them"]);
}

#[test]
fn a_second_copy_is_the_same_or_refused() {
    let originals = [
        ("predictions.decoder.weight", "albert.embeddings.word_embeddings.weight"),
        ("predictions.decoder.bias", "predictions.bias"),
    ];
    for (copy, original) in originals {
        let folder = saved(|_| ());
        edit(folder.path(), |tensors| drop(tensors.insert(copy.into(), tensors[original].clone())));
        load(folder.path()).expect("the same twice");
        edit(folder.path(), |tensors| tensors.get_mut(copy).expect("there").1[3] += 1.0);
        refused(folder.path(), &[copy, original, "tie_word_embeddings"]);
    }
}

/// A head that is not there is told as what there is in its place, by what people call it.
#[test]
fn another_head_is_told_as_what_it_is() {
    let folder = saved(|_| ());
    let of = |head: Head, has: &[Head]| {
        let config = load(folder.path()).expect("a model").albert.config().clone();
        let albert = Albert::new(config, has).expect("valid");
        let other = tempfile::tempdir().expect("a folder");
        save(other.path(), &albert, &albert.parameters().initial_values(1).expect("memory"))
            .expect("written");
        load_head(other.path(), &head, Fresh::Nothing).expect_err("another head").to_string()
    };
    let dropout = 0.0;
    let (classes, words) =
        (Head::Classification { outputs: 2, dropout }, Head::TokenClassification { outputs: 2, dropout });
    let answerable = Head::AnswerableSpan { dropout };
    for (head, has, found, expected) in [
        (Head::Span, vec![classes.clone()], "AlbertForSequenceClassification", "AlbertForQuestionAnswering"),
        (classes.clone(), vec![Head::Span], "AlbertForQuestionAnswering", "AlbertForSequenceClassification"),
        (classes.clone(), vec![words], "AlbertForTokenClassification", "AlbertForSequenceClassification"),
        (classes.clone(), vec![Head::Pretraining], "AlbertForPreTraining", "AlbertForSequenceClassification"),
        (classes, vec![], "AlbertModel", "AlbertForSequenceClassification"),
        (answerable.clone(), vec![Head::Span], "--head span", "--version 2.0 --head answerable"),
        (Head::Span, vec![answerable], "--version 2.0 --head answerable", "--head span"),
    ] {
        let error = of(head, &has);
        let (before, after) = error.split_once(", which answers").expect("both");
        assert!(before.contains(found) && after.contains(expected), "{error}");
        assert!(error.contains("use a model that was fine-tuned for this kind of task"), "{error}");
    }
}

/// To a model without a decoder its bias is no second copy of anything, nor is a weight that is not the word table.
#[test]
fn every_tensor_of_another_head_is_named() {
    for tied in [true, false] {
        let folder = saved(|config| config.tie_word_embeddings = tied);
        let head = Head::Classification { outputs: 2, dropout: 0.0 };
        let fresh = Fresh::Head { seed: 1, allowed: &[] };
        let unmapped = load_head(folder.path(), &head, fresh).expect("an encoder").report.unmapped;
        let mut expected = vec![
            "predictions.LayerNorm.bias",
            "predictions.LayerNorm.weight",
            "predictions.bias",
            "predictions.dense.bias",
            "predictions.dense.weight",
            "sop_classifier.classifier.bias",
            "sop_classifier.classifier.weight",
        ];
        if !tied {
            expected.splice(3..3, ["predictions.decoder.bias", "predictions.decoder.weight"]);
        }
        assert_eq!(unmapped, expected, "tied: {tied}");
    }
}

#[test]
fn damage_is_noticed() {
    let folder = saved(|_| ());
    let path = folder.path().join("model.safetensors");
    let whole = std::fs::read(&path).expect("the weights");
    let mut flipped = whole.clone();
    *flipped.last_mut().expect("bytes") ^= 1;
    std::fs::write(&path, &flipped).expect("written");
    refused(folder.path(), &["is damaged", "weights_blake3"]);
    std::fs::write(&path, &whole[..whole.len() - 1]).expect("written");
    refused(folder.path(), &["not a whole safetensors file"]);
    let folder = saved(|_| ());
    edit(folder.path(), |tensors| tensors.get_mut("albert.pooler.bias").expect("there").1[2] = f32::NAN);
    refused(folder.path(), &["albert.pooler.bias", "NaN at element 2", "copy it again"]);
    edit(folder.path(), |tensors| drop(tensors.insert("albert.pooler.bias".into(), (vec![5], vec![0.0; 5]))));
    let parts = ["has shape [5] where the configuration asks for [6]", "copy both again"];
    refused(folder.path(), &parts);
    // Integers of as many bytes.
    let folder = saved(|_| ());
    let path = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).expect("the weights");
    let kind = bytes.windows(5).position(|word| word == b"\"F32\"").expect("a tensor");
    bytes[kind + 1] = b'I';
    std::fs::write(&path, bytes).expect("written");
    refused(folder.path(), &["is I32, which is not read", "save it as F32"]);
}

#[test]
fn files_that_are_something_else_are_named() {
    let folder = saved(|_| ());
    let put =
        |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).expect("written");
    for (content, part) in [
        (&b"version https://git-lfs.github.com/spec/v1\n"[..], "git lfs pull"),
        (b"<!DOCTYPE html>", "web page"),
        (b"PK\x03\x04", "pickled"),
        (b"", "empty"),
    ] {
        put("model.safetensors", content);
        refused(folder.path(), &["model.safetensors is", part]);
    }
    std::fs::remove_file(folder.path().join("model.safetensors")).expect("there");
    refused(folder.path(), &["model.safetensors", "cannot read"]);
    for (name, part) in [
        ("x.safetensors", "another name"),
        ("tf_model.h5", "from_tf"),
        ("pytorch_model.bin", "save_file"),
        ("flax_model.msgpack", "from_flax"),
    ] {
        put(name, b"?");
        refused(folder.path(), &[name, part, "no model.safetensors"]);
        std::fs::remove_file(folder.path().join(name)).expect("there");
    }
    put("model.safetensors.index.json", br#"{"weight_map": {"a": "../b.safetensors"}}"#);
    refused(folder.path(), &["../b.safetensors", "no file beside it"]);
    put("model.safetensors.index.json", br#"{"weight_map": {"a": "b.safetensors"}}"#);
    refused(folder.path(), &["b.safetensors"]);
}
