//! Parameters: their names, shapes, initial values, and where they lie in the flat buffers.
//!
//! A device holds four buffers of one layout: values, gradients and the two moments. A parameter is one matrix to the
//! kernels and one or more *parts* to files and the optimizer: the query, key and value weights of ALBERT are one
//! `[3 · hidden, hidden]` matrix so that they are one GEMM, and three tensors with three names and three trust ratios.

use kernels::DeviceError;
use kernels::optimizer::Segment;
use kernels::random::{Philox, unit};
use std::ops::Range;

use crate::purpose;

/// Parameters start at multiples of this many elements, so that rows of the flat buffers are aligned for SIMD.
const ALIGNMENT: usize = 64;

/// A parameter of one [`Parameters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParameterId(pub(crate) usize);

/// What a parameter is before training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initializer {
    /// 0
    Zeros,
    /// 1
    Ones,
    /// Normal with mean 0, drawn again beyond two deviations (TensorFlow's `truncated_normal_initializer`).
    TruncatedNormal {
        /// Standard deviation before truncation.
        deviation: f64,
    },
}

/// A tensor of the outside world: a block of rows of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Name in files.
    pub name: String,
    /// Shape in files; its product is the part's number of elements.
    pub shape: Vec<usize>,
}

/// What a parameter is declared as.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    /// Columns of the matrix; the parts fill its rows one after the other.
    pub columns: usize,
    /// At least one.
    pub parts: Vec<Part>,
    /// Value before training.
    pub initializer: Initializer,
    /// Whether weight decay applies.
    pub decays: bool,
    /// Whether LAMB's trust ratio applies.
    pub adapts: bool,
}

#[derive(Clone, Debug)]
struct Placed {
    declaration: Declaration,
    range: Range<usize>,
}

/// All parameters of a model, in the order of their declaration.
///
/// ```
/// use engine::{Declaration, Initializer, Parameters, Part};
/// let mut parameters = Parameters::default();
/// let part = |name: &str| Part { name: name.into(), shape: vec![4, 8] };
/// let fused = parameters.declare(Declaration {
///     columns: 8,
///     parts: vec![part("query"), part("key"), part("value")],
///     initializer: Initializer::TruncatedNormal { deviation: 0.02 },
///     decays: true,
///     adapts: true,
/// });
/// assert_eq!(parameters.rows(fused), 12);
/// assert_eq!(parameters.segments().len(), 3);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    placed: Vec<Placed>,
    length: usize,
}

impl Parameters {
    /// Adds a parameter at the end of the layout.
    ///
    /// # Panics
    /// If a part does not fill whole rows, or a name is taken: mistakes of the model's code.
    #[track_caller]
    pub fn declare(&mut self, declaration: Declaration) -> ParameterId {
        let mut elements = 0;
        for part in &declaration.parts {
            let size: usize = part.shape.iter().product();
            assert!(
                size > 0 && size.is_multiple_of(declaration.columns),
                "{}: {:?} does not fill rows",
                part.name,
                part.shape
            );
            assert!(
                self.parts().all(|known| known.name != part.name),
                "parameter {} is declared twice",
                part.name
            );
            elements += size;
        }
        let range = self.length..self.length + elements;
        self.length = range.end.next_multiple_of(ALIGNMENT);
        self.placed.push(Placed { declaration, range });
        ParameterId(self.placed.len() - 1)
    }

    /// Length of each flat buffer, gaps for alignment included.
    pub fn buffer_length(&self) -> usize {
        self.length
    }

    /// Number of trainable values, gaps excluded.
    pub fn count(&self) -> usize {
        self.placed.iter().map(|p| p.range.len()).sum()
    }

    /// All parameters.
    pub fn ids(&self) -> impl Iterator<Item = ParameterId> + use<> {
        (0..self.placed.len()).map(ParameterId)
    }

    /// Where a parameter lies in the flat buffers.
    pub fn range(&self, id: ParameterId) -> Range<usize> {
        self.placed[id.0].range.clone()
    }

    /// Rows of a parameter.
    pub fn rows(&self, id: ParameterId) -> usize {
        self.placed[id.0].range.len() / self.columns(id)
    }

    /// Columns of a parameter.
    pub fn columns(&self, id: ParameterId) -> usize {
        self.placed[id.0].declaration.columns
    }

    /// The parameter's name, or its first part's and the number of the others.
    pub fn name(&self, id: ParameterId) -> String {
        let parts = &self.placed[id.0].declaration.parts;
        match parts.len() {
            1 => parts[0].name.clone(),
            n => format!("{} (and {} more)", parts[0].name, n - 1),
        }
    }

    /// Every tensor of the outside world.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.placed.iter().flat_map(|p| &p.declaration.parts)
    }

    /// Every tensor of the outside world with its place in the flat buffers.
    pub fn placed_parts(&self) -> impl Iterator<Item = (&Part, Range<usize>)> {
        self.placed.iter().flat_map(|placed| {
            let mut offset = placed.range.start;
            placed.declaration.parts.iter().map(move |part| {
                let range = offset..offset + part.shape.iter().product::<usize>();
                offset = range.end;
                (part, range)
            })
        })
    }

    /// What the optimizer sees: one segment per part.
    pub fn segments(&self) -> Vec<Segment> {
        let of_parts = self.placed.iter().flat_map(|p| p.declaration.parts.iter().map(|_| &p.declaration));
        self.placed_parts()
            .zip(of_parts)
            .map(|((_, range), declaration)| Segment {
                offset: range.start,
                length: range.len(),
                decays: declaration.decays,
                adapts: declaration.adapts,
            })
            .collect()
    }

    /// Values before training, a pure function of the seed and the declarations.
    ///
    /// # Errors
    /// If they do not fit into memory.
    pub fn initial_values(&self, seed: u64) -> Result<Vec<f32>, DeviceError> {
        let refused = |()| DeviceError::OutOfMemory { bytes: self.length.saturating_mul(size_of::<f32>()) };
        let mut values = bytemuck::allocation::try_zeroed_vec(self.length).map_err(refused)?;
        let philox = Philox::new(seed, purpose::INITIALIZATION);
        for (stream, placed) in self.placed.iter().enumerate() {
            let values = &mut values[placed.range.clone()];
            match placed.declaration.initializer {
                Initializer::Zeros => {}
                Initializer::Ones => values.fill(1.0),
                Initializer::TruncatedNormal { deviation } => {
                    for (index, value) in values.iter_mut().enumerate() {
                        *value = (deviation * truncated_normal(&philox, stream as u32, index as u64)) as f32;
                    }
                }
            }
        }
        Ok(values)
    }
}

/// A standard normal number within two deviations (Box–Muller, drawn again until it fits).
fn truncated_normal(philox: &Philox, stream: u32, index: u64) -> f64 {
    let mut attempt = 0;
    loop {
        let words = philox.block([index as u32, (index >> 32) as u32, stream, attempt]);
        let word = |i: usize| u64::from(words[2 * i]) | u64::from(words[2 * i + 1]) << 32;
        let (radius, angle) =
            ((-2.0 * (1.0 - unit(word(0))).ln()).sqrt(), std::f64::consts::TAU * unit(word(1)));
        for normal in [radius * angle.cos(), radius * angle.sin()] {
            if normal.abs() <= 2.0 {
                return normal;
            }
        }
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(
        parameters: &mut Parameters,
        name: &str,
        shape: [usize; 2],
        initializer: Initializer,
    ) -> ParameterId {
        let part = Part { name: name.into(), shape: shape.to_vec() };
        parameters.declare(Declaration {
            columns: shape[1],
            parts: vec![part],
            initializer,
            decays: true,
            adapts: true,
        })
    }

    #[test]
    fn truncated_normal_has_the_moments_of_its_distribution() {
        let mut parameters = Parameters::default();
        let count = 1 << 18;
        matrix(&mut parameters, "w", [count, 1], Initializer::TruncatedNormal { deviation: 0.02 });
        let values = parameters.initial_values(3).expect("memory");
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count as f64;
        let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count as f64;
        // A normal distribution cut at 2σ has deviation 0.8796 σ; five standard errors of mean and deviation.
        let (deviation, error) = (0.02 * 0.879_626, 5.0 / (count as f64).sqrt());
        assert!(mean.abs() < deviation * error, "{mean}");
        assert!((variance.sqrt() / deviation - 1.0).abs() < error, "{}", variance.sqrt());
        assert!(values.iter().all(|v| v.abs() <= 0.04));
    }

    #[test]
    fn parameters_are_aligned_and_parts_tile_them() {
        let mut parameters = Parameters::default();
        matrix(&mut parameters, "a", [3, 5], Initializer::Ones);
        let b = matrix(&mut parameters, "b", [7, 2], Initializer::Zeros);
        assert_eq!(parameters.range(b), 64..78);
        assert_eq!((parameters.count(), parameters.buffer_length()), (29, 128));
        assert_eq!(parameters.initial_values(0).expect("memory").iter().sum::<f32>(), 15.0);
    }

    #[test]
    #[should_panic(expected = "declared twice")]
    fn a_name_is_declared_once() {
        let mut parameters = Parameters::default();
        matrix(&mut parameters, "a", [1, 1], Initializer::Ones);
        matrix(&mut parameters, "a", [1, 1], Initializer::Ones);
    }
}
