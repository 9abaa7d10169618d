//! Configurations by name: the released sizes (`ALBERT.md`, Sizes) and three smaller ones.

use crate::config::AlbertConfig;

/// The names that [`preset`] knows. `-v1` has the dropout of the first release, the others none, as the second.
pub const PRESETS: [&str; 11] = [
    "micro",
    "tiny",
    "small",
    "base",
    "large",
    "xlarge",
    "xxlarge",
    "base-v1",
    "large-v1",
    "xlarge-v1",
    "xxlarge-v1",
];

/// The configuration called `name`.
///
/// ```
/// let base = model::preset("base").expect("a released size");
/// assert_eq!((base.hidden_size, base.num_hidden_layers), (768, 12));
/// assert!(model::preset("huge").is_none());
/// ```
pub fn preset(name: &str) -> Option<AlbertConfig> {
    let (size, first_version) = match name.strip_suffix("-v1") {
        Some(size) => (size, true),
        None => (name, false),
    };
    let of = |embedding_size, hidden_size, layers, heads, intermediate_size| AlbertConfig {
        embedding_size,
        hidden_size,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        intermediate_size,
        ..AlbertConfig::default()
    };
    let mut config = match (size, first_version) {
        ("micro", false) => AlbertConfig { max_position_embeddings: 128, ..of(128, 128, 3, 4, 512) },
        ("tiny", false) => of(128, 312, 4, 12, 1248),
        ("small", false) => of(128, 384, 6, 12, 1536),
        ("base", _) => of(128, 768, 12, 12, 3072),
        ("large", _) => of(128, 1024, 24, 16, 4096),
        ("xlarge", false) => of(128, 2048, 24, 32, 8192),
        ("xlarge", true) => of(128, 2048, 24, 16, 8192),
        ("xxlarge", _) => of(128, 4096, 12, 64, 16384),
        _ => return None,
    };
    if first_version && size != "xxlarge" {
        (config.hidden_dropout_prob, config.attention_probs_dropout_prob) = (0.1, 0.1);
    }
    Some(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Albert, Head};

    /// Encoder with pooler, and everything that is pre-trained (`ALBERT.md`, Sizes).
    #[test]
    fn released_sizes_have_their_parameter_counts() {
        let counts = [
            ("base", 11_683_584, 11_813_810),
            ("large", 17_683_968, 17_847_474),
            ("xlarge", 58_724_864, 59_021_490),
            ("xxlarge", 222_595_584, 223_158_450),
        ];
        for (name, encoder, everything) in counts {
            let config = preset(name).expect("known");
            let count = |head| Albert::new(config.clone(), &[head]).expect("valid").parameters().count();
            assert_eq!(count(Head::Pooler), encoder, "{name}");
            assert_eq!(count(Head::Pretraining), everything, "{name}");
        }
    }

    #[test]
    fn every_preset_is_valid() {
        for name in PRESETS {
            preset(name).expect("listed").validate().expect("valid");
        }
    }
}
