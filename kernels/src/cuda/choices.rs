//! Which of cuBLASLt's algorithms does which product, where that was found out by timing: so that a run that goes on computes what
//! it would have computed.

use cudarc::cublaslt::sys;
use serde::{Deserialize, Serialize};

use super::lt::Algorithm;
use super::products::{Number, Product};
use crate::Store;

/// What is not faster than what the library proposes before it by more than this share is not worth another choice.
const MUCH_FASTER: f32 = 0.02;
/// A choice serves products of so many times as many rows of a batch, or as few.
const REACH: usize = 2;

/// How algorithms of products are chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ProductChoice {
    /// The first that the library proposes: the same on GPUs of one kind with one version of it.
    #[default]
    First,
    /// The first that it proposes of those that add up each sum in one piece: what it says of parts, which are added in a step of their
    /// own, promises no order of them.
    Unsplit,
    /// The fastest of those that it proposes, timed when a product is first met.
    Timed,
    /// As was chosen before; of products that have no part in that, the first.
    Recorded(Choices),
}

/// What was chosen by timing, and where: it means nothing to another GPU or another version of the library.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choices {
    /// Name of the GPU.
    pub gpu: String,
    /// Its compute capability, as in `sm_90`.
    pub architecture: String,
    /// Its multiprocessors, on which the library's results depend too; not known of what earlier versions chose.
    #[serde(default)]
    pub multiprocessors: Option<usize>,
    /// Version of cuBLASLt.
    pub cublaslt: String,
    /// Each product, once.
    pub(super) products: Vec<Choice>,
}

impl Choices {
    /// The products that something was chosen for.
    pub fn len(&self) -> usize {
        self.products.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.products.is_empty()
    }
}

/// What was chosen for a product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Choice {
    pub product: Shape,
    pub algorithm: Bytes,
    /// Its place among those that were timed, counted from 0, in the order in which the library proposed them.
    pub place: usize,
    /// Microseconds that each of them took; none where the library does not do what it proposed.
    pub microseconds: Vec<Option<f32>>,
}

/// The library's 64 bytes, which it lets callers keep; hexadecimal in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Bytes(pub Algorithm);

impl From<Bytes> for String {
    fn from(Bytes(algorithm): Bytes) -> Self {
        algorithm.data.map(|word| format!("{word:016x}")).concat()
    }
}

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut data = [0; 8];
        let words = text.as_bytes().chunks_exact(16);
        let sound = words.len() == data.len() && words.remainder().is_empty();
        for (word, digits) in data.iter_mut().zip(words) {
            let digits = std::str::from_utf8(digits).ok().filter(|_| sound);
            let read = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            *word = read.ok_or("an algorithm is 128 hexadecimal digits")?;
        }
        if sound {
            Ok(Self(Algorithm { data }))
        } else {
            Err("an algorithm is 128 hexadecimal digits".into())
        }
    }
}

/// What an algorithm is found for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shape {
    /// Rows and columns of the result, and the length of its sums.
    sizes: [usize; 3],
    /// Whether the right factor, and the left, is stored with its rows for columns.
    transposed: [bool; 2],
    /// What the factors are stored in, and the result.
    numbers: [Number; 2],
    /// Whether the result is added to what is there.
    adds: bool,
    /// The library's number of what is done before the result is stored, `cublasLtEpilogue_t`.
    epilogue: u32,
    /// What the addresses of right factor, left factor, result, vector and auxiliary matrix are multiples of, up to what the library
    /// asks about; of nothing, that.
    alignments: [u32; 5],
}

impl Shape {
    pub fn new(product: &Product) -> Self {
        let [vector, auxiliary] = product.epilogue.addresses();
        let addresses = [product.right.address, product.left.address, product.result, vector, auxiliary];
        const MOST: u32 = 256;
        Self {
            sizes: [product.rows, product.columns, product.depth],
            transposed: [product.right.transposed, product.left.transposed],
            numbers: [product.factors, product.number],
            adds: product.store == Store::Add,
            epilogue: product.epilogue.kind() as u32,
            alignments: addresses.map(|address| 1 << address.trailing_zeros().min(MOST.trailing_zeros())),
        }
    }

    /// Those of right factor, left factor and result.
    pub fn alignments(&self) -> [u32; 3] {
        let [right, left, result, ..] = self.alignments;
        [right, left, result]
    }

    /// The size that differs from batch to batch: sums over a batch are gradients of weights, whose left factor is transposed.
    fn rows_of_batch(&self) -> usize {
        let [rows, _, depth] = self.sizes;
        if self.transposed[1] { depth } else { rows }
    }

    /// The same product of no batch in particular.
    fn of_any_batch(&self) -> Self {
        let [rows, columns, depth] = self.sizes;
        let sizes = if self.transposed[1] { [rows, columns, 0] } else { [0, columns, depth] };
        Self { sizes, ..self.clone() }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [rows, columns, depth] = self.sizes;
        let [factors, result] = self.numbers;
        let epilogue = epilogue_name(self.epilogue);
        write!(f, "{rows} x {columns}, sums of {depth}, {factors:?} to {result:?}{epilogue}")
    }
}

/// What is done before a result is stored, in words that follow others.
fn epilogue_name(epilogue: u32) -> &'static str {
    use sys::cublasLtEpilogue_t as Kind;
    const NAMES: [(Kind, &str); 7] = [
        (Kind::CUBLASLT_EPILOGUE_DEFAULT, ""),
        (Kind::CUBLASLT_EPILOGUE_BIAS, ", with a bias"),
        (Kind::CUBLASLT_EPILOGUE_GELU, ", with GELU"),
        (Kind::CUBLASLT_EPILOGUE_GELU_BIAS, ", with a bias and GELU"),
        (Kind::CUBLASLT_EPILOGUE_GELU_AUX, ", with GELU, of which the argument is kept"),
        (Kind::CUBLASLT_EPILOGUE_GELU_AUX_BIAS, ", with a bias and GELU, of which the argument is kept"),
        (Kind::CUBLASLT_EPILOGUE_DGELU, ", times GELU's derivative"),
    ];
    let named = NAMES.iter().find(|(kind, _)| *kind as u32 == epilogue);
    named.map_or(", with an epilogue of another version", |(_, name)| name)
}

/// The choice that serves a product: its own, if there is one, for then the library did not do it by that of another; else the first of
/// those for products that are like it but for the rows of the batch, if these are not far from its own. The first is the same while
/// choices are still being made and ever after.
pub(super) fn serving<'a>(choices: &'a [Choice], product: &Shape) -> Option<&'a Choice> {
    let rows = product.rows_of_batch();
    let kind = product.of_any_batch();
    let alike = |choice: &&Choice| {
        let chosen = choice.product.rows_of_batch();
        choice.product.of_any_batch() == kind && chosen <= REACH * rows && rows <= REACH * chosen
    };
    let own = choices.iter().find(|choice| choice.product == *product);
    own.or_else(|| choices.iter().find(alike))
}

/// The place of the time to choose: the first that no other is much shorter than.
pub(super) fn pick(times: &[Option<f32>]) -> Option<usize> {
    let least = times.iter().copied().flatten().reduce(f32::min)?;
    times.iter().position(|time| time.is_some_and(|time| time <= least * (1.0 + MUCH_FASTER)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_fast_as_another_is_not_chosen_before_it() {
        for (times, chosen) in [
            (&[Some(5.0), Some(5.0), Some(5.0)][..], Some(0)),
            (&[Some(5.0), Some(4.95), Some(5.0)], Some(0)),
            (&[Some(5.0), Some(4.5), Some(4.45)], Some(1)),
            (&[None, Some(7.0), Some(9.0)], Some(1)),
            (&[Some(0.0), Some(0.0)], Some(0)),
            (&[None], None),
            (&[], None),
        ] {
            assert_eq!(pick(times), chosen, "{times:?}");
        }
    }

    fn shape(rows: usize, of_weights: bool) -> Shape {
        Shape {
            sizes: if of_weights { [64, 32, rows] } else { [rows, 32, 64] },
            transposed: [false, of_weights],
            numbers: [Number::Bf16, Number::F32],
            adds: of_weights,
            epilogue: 0,
            alignments: [256, 256, 16, 256, 256],
        }
    }

    fn choice(rows: usize, of_weights: bool) -> Choice {
        let algorithm = Bytes(Algorithm { data: [rows as u64; 8] });
        Choice {
            product: shape(rows, of_weights),
            algorithm,
            place: 1,
            microseconds: vec![Some(2.5), Some(1.25)],
        }
    }

    #[test]
    fn a_choice_serves_batches_of_about_as_many_rows() {
        for of_weights in [false, true] {
            let choices = [choice(100, of_weights), choice(300, of_weights), choice(202, of_weights)];
            for (rows, served) in [
                (49, None),
                (50, Some(100)),
                (100, Some(100)),
                // Nearer to 202, which was not there yet when this was first met.
                (180, Some(100)),
                (200, Some(100)),
                (201, Some(300)),
                // What was chosen for it while another choice did not do.
                (202, Some(202)),
                (600, Some(300)),
                (601, None),
            ] {
                let found = serving(&choices, &shape(rows, of_weights));
                assert_eq!(found.map(|choice| choice.product.rows_of_batch()), served, "{rows}");
                assert_eq!(serving(&choices, &shape(rows, !of_weights)), None, "another product");
            }
            let other = Shape { alignments: [16; 5], ..shape(100, of_weights) };
            assert_eq!(serving(&choices, &other), None, "less aligned");
        }
    }

    #[test]
    fn algorithms_are_kept_as_text() {
        let Bytes(algorithm) = choice(0xfedc_ba98_7654_3210, false).algorithm;
        let text = String::from(Bytes(algorithm));
        assert_eq!((text.len(), &text[..20]), (128, "fedcba9876543210fedc"));
        assert_eq!(Bytes::try_from(text.clone()), Ok(Bytes(algorithm)));
        for broken in ["", "00", &text[1..], &format!("{text}0"), &text.replace('f', "g"), &"é".repeat(64)] {
            assert!(Bytes::try_from(broken.to_owned()).is_err(), "{broken}");
        }
    }
}
