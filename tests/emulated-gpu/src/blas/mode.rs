//! What cuBLASLt may refuse and this library mostly does not: combinations that no text promises, and whatever a caller
//! must be ready to do without.

use std::env;
use std::sync::LazyLock;
use std::time::Duration;

use super::algorithm::Algorithm;
use super::element::{Compute, Element};
use super::epilogue::Activation;
use super::matmul::{Matmul, Scale};
use crate::driver::error::{CudaError, Failure, Result};

/// What cuBLASLt refuses beyond what is documented, separated by commas: `strict`, `no-epilogues`, `no-auxiliary`,
/// `no-unaligned`; `refuse-first` and `refuse-checked`, products by the algorithm that a search names first, and by one that was found for
/// other sizes; `fixed-sizes`, algorithms for other sizes; `no-captured-searches`, searches while a stream is captured; `other-words`, with
/// which refusals are called something else; `slow-first`, with which the algorithm that a search names first is the slowest; and `unfused`,
/// with which epilogues take the product as D would store it.
pub const BLAS: &str = "EMULATED_GPU_BLAS";

/// What is refused beyond what is documented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// What no text says that it is there.
    strict: bool,
    /// The search finds nothing for any epilogue.
    no_epilogues: bool,
    /// The search finds nothing where a matrix beside D is read or written.
    no_auxiliary: bool,
    /// The search finds nothing where columns do not begin at multiples of 16 bytes.
    no_unaligned: bool,
    /// What a search names first is not done.
    refuse_first: bool,
    /// What a check has found to serve other sizes is not done for them.
    refuse_checked: bool,
    /// A check finds that no algorithm serves other sizes, and says so in the state of its result alone.
    fixed_sizes: bool,
    /// A search fails while a stream is captured.
    no_captured_searches: bool,
    /// What is refused is an invalid value to a search or a check, and has failed to a product.
    other_words: bool,
    /// What a search names first takes longer than anything else.
    slow_first: bool,
    /// An epilogue is a kernel of its own behind the product, and takes it from D.
    unfused: bool,
}

impl Mode {
    /// What the environment asks for; a mistaken setting stops the process, for nobody wants the default instead.
    pub fn from_environment() -> Self {
        static MODE: LazyLock<Mode> = LazyLock::new(|| {
            let setting = env::var(BLAS).unwrap_or_default();
            Mode::parse(&setting).unwrap_or_else(|word| {
                eprintln!(
                    "emulated GPU: {BLAS}={setting}: `{word}`; expected some of `strict`, `no-epilogues`, `no-auxiliary`, \
                     `no-unaligned`, `refuse-first`, `refuse-checked`, `fixed-sizes`, `no-captured-searches`, `other-words`, \
                     `slow-first`, `unfused`, separated by commas"
                );
                std::process::abort()
            })
        });
        *MODE
    }

    fn parse(setting: &str) -> Result<Self, &str> {
        let mut mode = Self::default();
        for word in setting.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "strict" => mode.strict = true,
                "no-epilogues" => mode.no_epilogues = true,
                "no-auxiliary" => mode.no_auxiliary = true,
                "no-unaligned" => mode.no_unaligned = true,
                "refuse-first" => mode.refuse_first = true,
                "refuse-checked" => mode.refuse_checked = true,
                "fixed-sizes" => mode.fixed_sizes = true,
                "no-captured-searches" => mode.no_captured_searches = true,
                "other-words" => mode.other_words = true,
                "slow-first" => mode.slow_first = true,
                "unfused" => mode.unfused = true,
                other => return Err(other),
            }
        }
        Ok(mode)
    }

    /// How much longer than here the algorithm takes that a search names first.
    pub fn lag_of_first(self) -> Duration {
        if self.slow_first { Duration::from_secs(1) } else { Duration::ZERO }
    }

    /// Whether a check finds that an algorithm does a product that it was not found for.
    pub fn serves_other_sizes(self) -> bool {
        !self.fixed_sizes
    }

    /// Whether an epilogue takes the product as D would store it.
    pub fn is_unfused(self) -> bool {
        self.unfused
    }

    /// Refuses a search of which something is asked of the device that a capture forbids.
    pub fn check_capture(self, is_capturing: bool) -> Result {
        if self.no_captured_searches && is_capturing {
            let reason = format!("a search while a stream is being captured ({BLAS})");
            return Err(Failure::new(CudaError::StreamCaptureUnsupported, reason));
        }
        Ok(())
    }

    /// Refuses a product by an algorithm that a search, or a check, has named.
    pub fn check_algorithm(self, algorithm: &Algorithm, matmul: &Matmul) -> Result {
        let refuse =
            |what: &str| Err(self.call(none(format!("{what} is not done ({BLAS})")), CudaError::Unknown));
        if self.refuse_first && algorithm.is_first() {
            return refuse("what the search named first");
        }
        if self.refuse_checked && !algorithm.is_for(matmul) {
            return refuse("a product of other sizes than the algorithm was found for");
        }
        Ok(())
    }

    /// A refusal in other words, if those are wanted.
    fn call(self, refusal: Failure, code: CudaError) -> Failure {
        if self.other_words { Failure { code, ..refusal } } else { refusal }
    }

    /// Refuses a search as a real library may, so that callers' other ways are taken.
    pub fn check_search(self, matmul: &Matmul) -> Result {
        self.search(matmul).map_err(|refusal| self.call(refusal, CudaError::InvalidValue))
    }

    fn search(self, matmul: &Matmul) -> Result {
        let refuse = |what: &str| Err(none(format!("no algorithm for {what} ({BLAS})")));
        let plain = matmul.epilogue.is_nothing();
        if self.no_epilogues && !plain {
            return refuse("an epilogue");
        }
        if self.no_auxiliary && matmul.epilogue.auxiliary().is_some() {
            return refuse("an epilogue with an auxiliary matrix");
        }
        let unaligned = unaligned(matmul);
        if let (true, Some(name)) = (self.no_unaligned, unaligned) {
            return refuse(&format!("columns of {name} that do not begin at multiples of 16 bytes"));
        }
        if let (true, false, Some(name)) = (self.strict, plain, unaligned) {
            return refuse(&format!(
                "an epilogue with columns of {name} that do not begin at multiples of 16 bytes"
            ));
        }
        self.prove(matmul)
    }

    /// Refuses a product, if it is strict, of which no text says that it is there.
    pub fn check_product(self, matmul: &Matmul) -> Result {
        self.prove(matmul).map_err(|refusal| self.call(refusal, CudaError::Unknown))
    }

    fn prove(self, matmul: &Matmul) -> Result {
        if !self.strict {
            return Ok(());
        }
        match unproven(matmul) {
            Some(what) => Err(none(format!("{what}: nothing says that cuBLASLt has it ({BLAS}=strict)"))),
            None => Ok(()),
        }
    }
}

fn none(reason: String) -> Failure {
    Failure::new(CudaError::NotSupported, reason)
}

/// The first matrix whose columns do not all begin at multiples of 16 bytes.
fn unaligned(matmul: &Matmul) -> Option<&'static str> {
    let matrices = [("A", &matmul.a), ("B", &matmul.b), ("C", &matmul.c), ("D", &matmul.d)];
    let odd = |(_, it): &(&str, &super::matmul::Matrix)| it.leading_dimension * it.element.size() % 16 != 0;
    matrices.into_iter().find(odd).map(|(name, _)| name)
}

/// What of a product is documented nowhere. cuBLASLt 13.1 was seen to do most of it on an H200 (`tests/probe.rs` asks), another may not.
fn unproven(matmul: &Matmul) -> Option<&'static str> {
    let Matmul { batches, a, c, d, compute, epilogue, beta, .. } = matmul;
    if epilogue.is_nothing() {
        return None;
    }
    let adds = !matches!(beta, Scale::Value(0.0));
    let gelu = matches!(epilogue.activation, Activation::Gelu(_) | Activation::GeluGradient(_));
    let odd_vector = epilogue.vector().is_some_and(|vector| vector.address % 16 != 0);
    Some(match epilogue.activation {
        Activation::GeluGradient(_) if d.element == Element::F32 => "the gradient of GELU with D of F32",
        Activation::Gelu(Some(_)) if *compute == Compute::Tf32 => "GELU with an auxiliary matrix in TF32",
        _ if gelu && a.element == Element::Bf16 => "GELU with inputs of Bf16",
        _ if *batches > 1 => "an epilogue in batches",
        _ if adds => "an epilogue with β other than 0",
        _ if c.leading_dimension != d.leading_dimension => "an epilogue with C that does not lie as D does",
        _ if a.element.size() < d.element.size() => "an epilogue with D of more bytes than the factors",
        _ if odd_vector => "a bias, or its gradient, that is not aligned to 16 bytes",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_words_between_commas() {
        assert_eq!(Mode::parse(""), Ok(Mode::default()));
        let both = Mode { strict: true, no_auxiliary: true, ..Mode::default() };
        assert_eq!(Mode::parse("strict, no-auxiliary"), Ok(both));
        assert_eq!(Mode::parse("strict,nothing"), Err("nothing"));
    }
}
