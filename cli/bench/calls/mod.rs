//! Calls of kernels at the sizes of a model, to be timed on any device: `bench gemm` and `bench kernels` do so, and
//! `benches/kernels.rs`.

mod encoder;
mod heads;
mod operands;
mod products;

use anyhow::Result;
use kernels::{Activation, Backend, Cost, DeviceError, Kernels, Precision};
use model::{Albert, AlbertConfig, Head, ModelError};

pub use operands::Operands;
pub use products::products;

/// The sizes of a model and of what it computes at a time.
pub struct Sizes {
    config: AlbertConfig,
    /// Of the feed-forward layers.
    activation: Activation,
    sequences: usize,
    /// Tokens of each.
    length: usize,
    /// Tokens that are asked for, of all of them.
    masked: usize,
    parameters: usize,
}

impl Sizes {
    /// At least so many tokens, in sequences of `length`, `predictions` of whose tokens are asked for.
    ///
    /// # Errors
    /// If there is no such model.
    pub fn new(
        config: AlbertConfig,
        tokens: usize,
        length: usize,
        predictions: usize,
    ) -> Result<Self, ModelError> {
        let sequences = tokens.div_ceil(length).max(1);
        Ok(Self {
            activation: config.activation()?,
            sequences,
            length,
            masked: (sequences * predictions).max(1),
            parameters: Albert::new(config.clone(), &[Head::Pretraining])?.parameters().count(),
            config,
        })
    }

    /// Rows of the encoder's matrices.
    pub fn rows(&self) -> usize {
        self.sequences * self.length
    }
}

/// Which of a device's peaks a kernel's operations are held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// That of products in the precision of the activations.
    Products,
    /// That of f32.
    Single,
}

/// What times calls on a device, in one precision.
pub trait Timer<B: Backend, P: Precision> {
    /// Times a kernel. `make` makes its operands and gives what calls it with them.
    ///
    /// # Errors
    /// If the operands do not fit into the device's memory, or it fails.
    fn kernel<C: FnMut(&B) + Send>(
        &mut self,
        name: &str,
        unit: Unit,
        cost: Cost,
        make: impl Fn(&Operands<'_, B, P>) -> Result<C, DeviceError>,
    ) -> Result<()>;
}

/// All kernels but matrix products.
///
/// # Errors
/// As [`Timer::kernel`].
pub fn others<B: Kernels<P>, P: Precision>(timer: &mut impl Timer<B, P>, sizes: &Sizes) -> Result<()> {
    encoder::all(timer, sizes)?;
    heads::all(timer, sizes)
}

/// Bytes of an activation.
fn size<P: Precision>() -> usize {
    size_of::<P::Activation>()
}
