//! `cublasLtMatmulAlgo_t`: what a search finds, what is asked of it, and what product it is for.

use super::lt_attributes::Preference;
use super::matmul::{Matmul, Sums, WORKSPACE_WANTED};
use crate::compiler::hash;
use crate::driver::border::{HostPointer, Out};
use crate::driver::error::{CudaError, Failure, Result};

/// `cublasLtMatmulAlgo_t`: 64 bytes that a caller keeps between the search for an algorithm and its use, and between
/// processes if it likes.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Algorithm {
    mark: u64,
    /// Bytes of workspace it wants.
    workspace_bytes: u32,
    /// Its place among those that a search finds.
    id: u16,
    /// How it adds up the parts of a sum, as [`Sums::scheme`].
    scheme: u16,
    /// What it takes the addresses of A, B, C and D to be multiples of, in bytes.
    alignments: [u32; 4],
    /// As above, of the bias and of the auxiliary matrix, as the search saw them.
    epilogue_alignments: [u32; 2],
    /// Hashes of what it was found for.
    found_for: FoundFor,
}

/// Hashes of a product's description: an algorithm is for that product alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FoundFor {
    /// Epilogue, transposes, compute type.
    operation: u64,
    /// Formats.
    formats: u64,
    /// Rows, columns, leading dimensions, batches and their strides.
    layouts: u64,
}

impl FoundFor {
    fn new(matmul: &Matmul) -> Self {
        let Matmul { m, n, k, batches, a, b, c, d, compute, epilogue, .. } = matmul;
        let matrices = [a, b, c, d];
        let hash = |text: String| hash(text.as_bytes(), 0);
        Self {
            operation: hash(format!("{:?} {} {} {compute:?}", epilogue.kind(), a.transposed, b.transposed)),
            formats: hash(format!("{:?} {:?}", matrices.map(|matrix| matrix.element), epilogue.formats())),
            layouts: hash(format!(
                "{:?} {:?}",
                [m, n, k, batches],
                matrices.map(|matrix| (matrix.leading_dimension, matrix.batch_stride))
            )),
        }
    }

    /// What of a product is another than that of the search.
    fn difference(&self, now: &Self) -> Option<&'static str> {
        match () {
            () if now.operation != self.operation => Some("another epilogue, transpose or compute type"),
            () if now.formats != self.formats => Some("other formats"),
            () if now.layouts != self.layouts => Some("other sizes, leading dimensions or batches"),
            () => None,
        }
    }
}

/// `cublasLtMatmulHeuristicResult_t`
#[derive(Clone, Copy)]
#[repr(C)]
pub struct HeuristicResult {
    algorithm: Algorithm,
    workspace_bytes: u64,
    state: u32,
    waves: f32,
    reserved: [i32; 4],
}

/// An algorithm that was asked about a product of other sizes than it was found for, and that product.
pub type Checked = (u16, FoundFor, FoundFor);

impl Algorithm {
    const MARK: u64 = 0x7461_6d6d_756c_4c74;
    /// Wider than any load a GPU has: what is aligned to it is aligned enough.
    const WIDEST_ACCESS: u32 = 16;

    /// The algorithms that a preference allows, the one that is thought the fastest first: one whole sum, one in two parts,
    /// and one in three that are added in the order in which they come. All take a workspace wherever one is offered, so that
    /// a workspace that is missing, too small or in use elsewhere shows.
    pub fn all(preference: &Preference, matmul: &Matmul) -> Vec<Self> {
        let allowed = |sums: &Sums| {
            let scheme = sums.scheme();
            (scheme == 0 || preference.reduction_schemes & scheme != 0) && sums.parts() <= matmul.k.max(1)
        };
        let found = |(id, sums): (usize, Sums)| Self {
            mark: Self::MARK,
            workspace_bytes: preference.workspace_bytes.min(WORKSPACE_WANTED as u64) as u32,
            id: id as u16,
            scheme: sums.scheme() as u16,
            alignments: preference.alignments.map(|alignment| alignment.min(Self::WIDEST_ACCESS)),
            epilogue_alignments: matmul.epilogue.addresses().map(alignment),
            found_for: FoundFor::new(matmul),
        };
        Sums::ALL.into_iter().enumerate().filter(|(_, sums)| allowed(sums)).map(found).collect()
    }

    /// How it adds up.
    pub fn sums(&self) -> Result<Sums> {
        let of_scheme = Sums::ALL.into_iter().find(|sums| sums.scheme() == u32::from(self.scheme));
        of_scheme.ok_or_else(not_found)
    }

    /// What a search, or a check, says of it.
    pub fn result(&self) -> HeuristicResult {
        let workspace_bytes = self.workspace_bytes.into();
        HeuristicResult { algorithm: *self, workspace_bytes, state: 0, waves: 1.0, reserved: [0; 4] }
    }

    /// What a check says of it where it does not do a product, and the check itself has gone well.
    pub fn refused(&self) -> HeuristicResult {
        const NOT_SUPPORTED: u32 = 15;
        HeuristicResult { state: NOT_SUPPORTED, ..self.result() }
    }

    /// Whether a search names it first.
    pub fn is_first(&self) -> bool {
        self.id == 0
    }

    /// Whether it was found for this product.
    pub fn is_for(&self, matmul: &Matmul) -> bool {
        self.found_for == FoundFor::new(matmul)
    }

    /// Whether it can do a product of the same kind and of sizes that may be others; what to remember then.
    pub fn check(&self, matmul: &Matmul) -> Result<Checked> {
        let now = FoundFor::new(matmul);
        if self.mark != Self::MARK {
            return Err(not_found());
        }
        let same_layouts = FoundFor { layouts: self.found_for.layouts, ..now };
        let difference = self.found_for.difference(&same_layouts);
        let too_few = (self.sums()?.parts() > matmul.k.max(1)).then_some("a shorter inner dimension");
        match difference.or(too_few) {
            None => Ok((self.id, self.found_for, now)),
            Some(difference) => {
                let reason = format!("the algorithm was found for a product with {difference}");
                Err(Failure::new(CudaError::NotSupported, reason))
            }
        }
    }

    /// Refuses to do a product with it that it was not found for, nor asked about.
    pub fn check_use(
        &self,
        matmul: &Matmul,
        addresses: [u64; 4],
        workspace_bytes: usize,
        was_checked: impl FnOnce(&Checked) -> bool,
    ) -> Result {
        if self.mark != Self::MARK {
            return Err(not_found());
        }
        for ((name, address), alignment) in ["A", "B", "C", "D"].iter().zip(addresses).zip(self.alignments) {
            if !address.is_multiple_of(alignment.max(1).into()) {
                let reason = format!(
                    "{name} at {address:#x} is not aligned to {alignment} bytes, which the algorithm was chosen for \
                     (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_{name}_BYTES)"
                );
                return Err(Failure::invalid(reason));
            }
        }
        let now = FoundFor::new(matmul);
        if let Some(difference) = self.found_for.difference(&now)
            && !was_checked(&(self.id, self.found_for, now))
        {
            let reason = format!(
                "the algorithm was found for a product with {difference}: search again, or ask cublasLtMatmulAlgoCheck"
            );
            return Err(Failure::invalid(reason));
        }
        let epilogue = matmul.epilogue.addresses();
        for ((name, address), seen) in
            ["bias", "auxiliary matrix"].iter().zip(epilogue).zip(self.epilogue_alignments)
        {
            if alignment(address) < seen {
                let reason = format!(
                    "the {name} at {address:#x} is less aligned than it was at the search ({seen} bytes), which the \
                     algorithm was chosen for"
                );
                return Err(Failure::invalid(reason));
            }
        }
        if workspace_bytes < self.workspace_bytes as usize {
            let reason = format!(
                "a workspace of {workspace_bytes} bytes; the algorithm needs {}",
                self.workspace_bytes
            );
            return Err(Failure::invalid(reason));
        }
        Ok(())
    }

    /// Writes an attribute of its configuration: all that are known here have 4 bytes.
    pub fn write_attribute(
        &self,
        attribute: u32,
        value: HostPointer,
        bytes: usize,
        written: &Out<usize>,
    ) -> Result {
        let number = match attribute {
            0 => u32::from(self.id),
            2 => self.sums()?.parts() as u32,
            3 => u32::from(self.scheme),
            other => return Err(Failure::not_emulated(format!("algorithm attribute {other}"))),
        };
        let number = number.to_le_bytes();
        written.set_if_wanted(number.len());
        if bytes < number.len() {
            return Err(Failure::invalid(format!("{bytes} bytes for an attribute of {}", number.len())));
        }
        value.write(&number)
    }
}

fn not_found() -> Failure {
    Failure::invalid("the algorithm does not come from a heuristic search")
}

/// What an address is a multiple of, up to the widest access; 0 where there is nothing.
fn alignment(address: u64) -> u32 {
    match address {
        0 => 0,
        address => (1 << address.trailing_zeros().min(31)).min(Algorithm::WIDEST_ACCESS),
    }
}
