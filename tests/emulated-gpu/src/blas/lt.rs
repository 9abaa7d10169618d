//! The calls of cuBLASLt that find an algorithm and do a product.

use std::sync::Arc;

use super::blas_calls;
use super::cublas::check_device;
use super::element::check_formats;
use super::epilogue::Epilogue;
use super::lt_attributes::{Description, Layout, Preference};
use super::matmul::{Matmul, Matrix, Scale, WORKSPACE_WANTED};
use super::mode::Mode;
use crate::compiler::hash;
use crate::driver::Driver;
use crate::driver::border::{HostPointer, In, Out};
use crate::driver::error::{Failure, Result};
use crate::driver::handles::Handle;
use crate::driver::operation::Operation;
use crate::driver::stream::Stream;

/// A cuBLASLt handle.
pub struct Context {
    device: usize,
}

/// What the address of a workspace must be a multiple of.
const WORKSPACE_ALIGNMENT: u64 = 256;

/// `cublasLtMatmulAlgo_t`: 64 bytes that a caller keeps between the search for an algorithm and its use.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Algorithm {
    mark: u64,
    /// Bytes of workspace it wants.
    workspace_bytes: u64,
    /// What it takes the addresses of A, B, C and D to be multiples of, in bytes.
    alignments: [u32; 4],
    /// As above, of the bias and of the auxiliary matrix, as the search saw them.
    epilogue_alignments: [u32; 2],
    /// Hashes of what it was found for.
    found_for: FoundFor,
}

/// Hashes of a product's description: an algorithm is for that product alone.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct FoundFor {
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
    fn difference(&self, matmul: &Matmul) -> Option<&'static str> {
        let now = Self::new(matmul);
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

impl Algorithm {
    const MARK: u64 = 0x7461_6d6d_756c_4c74;
    /// Wider than any load a GPU has: what is aligned to it is aligned enough.
    const WIDEST_ACCESS: u32 = 16;

    /// The algorithm that a preference allows. It takes a workspace wherever one is offered, so that a workspace that
    /// is missing, too small or in use elsewhere shows.
    fn new(preference: &Preference, matmul: &Matmul) -> Self {
        Self {
            mark: Self::MARK,
            workspace_bytes: preference.workspace_bytes.min(WORKSPACE_WANTED as u64),
            alignments: preference.alignments.map(|alignment| alignment.min(Self::WIDEST_ACCESS)),
            epilogue_alignments: matmul.epilogue.addresses().map(alignment),
            found_for: FoundFor::new(matmul),
        }
    }

    fn check(&self, matmul: &Matmul, addresses: [u64; 4], workspace_bytes: usize) -> Result {
        if self.mark != Self::MARK {
            return Err(Failure::invalid("the algorithm does not come from a heuristic search"));
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
        if let Some(difference) = self.found_for.difference(matmul) {
            let reason = format!("the algorithm was found for a product with {difference}: search again");
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
        if (workspace_bytes as u64) < self.workspace_bytes {
            let reason = format!(
                "a workspace of {workspace_bytes} bytes; the algorithm needs {}",
                self.workspace_bytes
            );
            return Err(Failure::invalid(reason));
        }
        Ok(())
    }
}

/// What an address is a multiple of, up to the widest access; 0 where there is nothing.
fn alignment(address: u64) -> u32 {
    match address {
        0 => 0,
        address => (1 << address.trailing_zeros().min(31)).min(Algorithm::WIDEST_ACCESS),
    }
}

impl Layout {
    /// Refuses a matrix that is not `rows` × `columns` to the product, or of which there are not as many as of D.
    fn check(&self, name: &str, transposed: bool, [rows, columns]: [usize; 2], batches: usize) -> Result {
        let (rows, columns) = if transposed { (columns, rows) } else { (rows, columns) };
        let leading_dimension = self.leading_dimension;
        if (self.rows, self.columns) != (rows, columns) || leading_dimension < rows || rows * columns == 0 {
            return Err(Failure::invalid(format!(
                "{name} is {} x {} with leading dimension {leading_dimension}; D and A ask for {rows} x {columns}",
                self.rows, self.columns
            )));
        }
        if self.batches != batches {
            return Err(Failure::invalid(format!("{name} has {} batches, D has {batches}", self.batches)));
        }
        Ok(())
    }

    fn matrix(&self, address: u64, transposed: bool) -> Matrix {
        let Self { element, leading_dimension, batch_stride, .. } = *self;
        Matrix { address, element, leading_dimension, batch_stride, transposed }
    }
}

/// The layouts of A, B, C and D.
type Layouts = [Handle<Layout>; 4];

impl Driver {
    /// The product that descriptions ask for, if they fit each other.
    fn describe(
        &self,
        description: Handle<Description>,
        layouts: Layouts,
        addresses: [u64; 4],
        factors: [Scale; 2],
    ) -> Result<Matmul> {
        let description = self.blas.descriptions.get(description)?;
        let layout = |index: usize| self.blas.layouts.get(layouts[index]).copied();
        let [a, b, c, d] = [layout(0)?, layout(1)?, layout(2)?, layout(3)?];
        let (m, n) = (d.rows, d.columns);
        let k = if description.transpose_a { a.rows } else { a.columns };
        a.check("A", description.transpose_a, [m, k], d.batches)?;
        b.check("B", description.transpose_b, [k, n], d.batches)?;
        c.check("C", false, [m, n], d.batches)?;
        d.check("D", false, [m, n], d.batches)?;
        check_formats(a.element, b.element, c.element, d.element)?;
        description.compute.check_formats([a.element, d.element])?;
        Ok(Matmul {
            call: "cublasLtMatmul",
            m,
            n,
            k,
            batches: d.batches,
            a: a.matrix(addresses[0], description.transpose_a),
            b: b.matrix(addresses[1], description.transpose_b),
            c: c.matrix(addresses[2], false),
            d: d.matrix(addresses[3], false),
            alpha: factors[0],
            beta: factors[1],
            compute: description.compute,
            epilogue: Epilogue::new(&description.epilogue, m, d.batches, d.element)?,
            workspace: None,
        })
    }
}

blas_calls! {
    /// Creates a handle.
    fn cublasLtCreate(driver, handle: Out<Handle<Context>>) {
        let device = driver.context()?;
        handle.set(driver.blas.lt.insert(Context { device }))
    }

    /// Ends a handle.
    fn cublasLtDestroy(driver, handle: Handle<Context>) {
        driver.blas.lt.remove(handle).map(drop)
    }

    /// Finds algorithms for a product: there is one.
    fn cublasLtMatmulAlgoGetHeuristic(
        driver,
        handle: Handle<Context>,
        description: Handle<Description>,
        a: Handle<Layout>, b: Handle<Layout>, c: Handle<Layout>, d: Handle<Layout>,
        preference: Handle<Preference>,
        wanted: i32,
        results: Out<HeuristicResult>,
        found: Out<i32>,
    ) {
        driver.blas.lt.get(handle)?;
        if wanted < 1 {
            return Err(Failure::invalid(format!("{wanted} results wanted")));
        }
        let preference = *driver.blas.preferences.get(preference)?;
        // β is not known to the search; 0 is what every product may have.
        let factors = [Scale::Value(1.0), Scale::Value(0.0)];
        let matmul = driver.describe(description, [a, b, c, d], [0; 4], factors)?;
        found.set(0)?;
        Mode::from_environment().check_search(&matmul)?;
        let algorithm = Algorithm::new(&preference, &matmul);
        results.set(HeuristicResult {
            algorithm,
            workspace_bytes: algorithm.workspace_bytes,
            state: 0,
            waves: 1.0,
            reserved: [0; 4],
        })?;
        found.set(1)
    }

    /// D = epilogue(α · op(A) op(B) + β · C)
    fn cublasLtMatmul(
        driver,
        handle: Handle<Context>,
        description: Handle<Description>,
        alpha: HostPointer,
        a: u64, a_layout: Handle<Layout>,
        b: u64, b_layout: Handle<Layout>,
        beta: HostPointer,
        c: u64, c_layout: Handle<Layout>,
        d: u64, d_layout: Handle<Layout>,
        algorithm: In<Algorithm>,
        workspace: u64, workspace_bytes: usize,
        stream: Handle<Stream>,
    ) {
        driver.usable()?;
        let device = driver.streams.get(driver.stream(stream)?)?.device;
        check_device("the handle", driver.blas.lt.get(handle)?.device, device)?;
        let addresses = [a, b, c, d];
        let layouts = [a_layout, b_layout, c_layout, d_layout];
        let device_factors = driver.blas.descriptions.get(description)?.device_factors;
        let factors = [Scale::new(alpha, device_factors)?, Scale::new(beta, device_factors)?];
        let mut matmul = driver.describe(description, layouts, addresses, factors)?;
        if let Some(algorithm) = algorithm.get_if_given() {
            algorithm.check(&matmul, addresses, workspace_bytes)?;
        }
        Mode::from_environment().check_product(&matmul)?;
        if workspace_bytes > 0 && !workspace.is_multiple_of(WORKSPACE_ALIGNMENT) {
            let reason = format!("the workspace at {workspace:#x} is not aligned to {WORKSPACE_ALIGNMENT} bytes");
            return Err(Failure::invalid(reason));
        }
        matmul.workspace = (workspace_bytes > 0).then_some((workspace, workspace_bytes.min(WORKSPACE_WANTED)));
        driver.submit(stream, Operation::Matmul(Arc::new(matmul)))
    }
}
