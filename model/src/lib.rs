//! ALBERT and nothing else: configuration, embeddings, encoder, heads, and the names of its parameters in files.
//!
//! An [`Albert`] is a configuration with the parameters it declares. Its methods record the computation of Lan et al.
//! (2020), "ALBERT: A Lite BERT", into an [`engine::Graph`]: one block, recorded L times over the same parameters.
//! [`load`] and [`save`] read and write transformers' model directories.
//!
//! ```
//! use engine::{PlanOptions, Precision, Recompute};
//! use model::{Albert, AlbertConfig, Capacity, Head, Mode};
//! let config = AlbertConfig { vocab_size: 100, hidden_size: 24, intermediate_size: 48, ..AlbertConfig::default() };
//! let albert = Albert::new(config, &[Head::Pretraining])?;
//! let capacity = Capacity { tokens: 64, sequences: 4, masked: 10 };
//! let options = PlanOptions { precision: Precision::F32, recompute: Recompute::None };
//! let plan = albert.plan(&Head::Pretraining, capacity, Mode::Training, options)?;
//! assert!(plan.cost().model_flops > 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod albert;
mod card;
mod config;
mod declare;
mod encoder;
mod error;
mod export;
mod heads;
mod import;
mod names;
mod presets;
pub mod tensors;
pub mod visible;
pub mod wire;

pub use albert::Albert;
pub use card::{CARD_FILE, Card, save_card};
pub use config::{AlbertConfig, ConfigError, MULTI_LABEL};
pub use encoder::Mode;
pub use error::ModelError;
pub use export::{TOKENIZER_HASH, WEIGHTS_HASH, save, save_from};
pub use heads::{Beam, BeamEntry, Candidates, Capacity, Found, Head, LOSSES};
pub use import::{
    CONFIG_FILE, ENCODER, Fresh, LoadedModel, Origin, Report, WEIGHTS_FILE, config_in, expect_head, heads_in,
    load, load_head, load_with, remove_unpacked, weights_in,
};
pub use names::DECODER_BIAS;
pub use presets::{PRESETS, preset};
