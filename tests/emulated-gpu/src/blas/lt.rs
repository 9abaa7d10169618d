//! The calls of cuBLASLt that find an algorithm and do a product.

use std::sync::Arc;

use super::algorithm::{Algorithm, HeuristicResult};
use super::blas_calls;
use super::cublas::check_device;
use super::element::check_formats;
use super::epilogue::Epilogue;
use super::lt_attributes::{Description, Layout, Preference};
use super::matmul::{Matmul, Matrix, Scale, Sums, WORKSPACE_WANTED};
use super::mode::Mode;
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

/// β is not known to a search; 0 is what every product may have.
const ANY_FACTORS: [Scale; 2] = [Scale::Value(1.0), Scale::Value(0.0)];

/// The version that the library says it is, `13.0.2` by default.
pub const VERSION: &str = "EMULATED_GPU_CUBLASLT";

/// The version of the library: 130002 is 13.0.2. A mistaken setting stops the process.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name is cuBLAS's")]
pub extern "C" fn cublasLtGetVersion() -> usize {
    let setting = std::env::var(VERSION).unwrap_or_default();
    let text = if setting.is_empty() { "13.0.2" } else { &setting };
    let parts: Result<Vec<usize>, _> = text.split('.').map(str::parse).collect();
    match parts.as_deref() {
        Ok(&[major, minor, patch]) => 10_000 * major + 100 * minor + patch,
        _ => {
            eprintln!("emulated GPU: {VERSION}={setting}: expected a version, as in 13.0.2");
            std::process::abort()
        }
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
        let epilogue = Epilogue::new(&description.epilogue, m, d.batches, d.element)?;
        epilogue.check_transposes(description.transpose_a, description.transpose_b)?;
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
            epilogue,
            workspace: None,
            sums: Sums::Whole,
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

    /// Finds algorithms for a product.
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
        let matmul = driver.describe(description, [a, b, c, d], [0; 4], ANY_FACTORS)?;
        found.set(0)?;
        let mode = Mode::from_environment();
        mode.check_capture(driver.is_capturing())?;
        mode.check_search(&matmul)?;
        let mut all: Vec<_> = Algorithm::all(&preference, &matmul).iter().map(Algorithm::result).collect();
        all.truncate(wanted as usize);
        results.set_all(&all)?;
        found.set(all.len() as i32)
    }

    /// Whether an algorithm can do a product, of other sizes than it was found for: it may be used for it then.
    fn cublasLtMatmulAlgoCheck(
        driver,
        handle: Handle<Context>,
        description: Handle<Description>,
        a: Handle<Layout>, b: Handle<Layout>, c: Handle<Layout>, d: Handle<Layout>,
        algorithm: In<Algorithm>,
        result: Out<HeuristicResult>,
    ) {
        driver.blas.lt.get(handle)?;
        let algorithm = algorithm.get()?;
        let matmul = driver.describe(description, [a, b, c, d], [0; 4], ANY_FACTORS)?;
        let mode = Mode::from_environment();
        mode.check_search(&matmul)?;
        let checked = algorithm.check(&matmul)?;
        if !mode.serves_other_sizes() && !algorithm.is_for(&matmul) {
            return result.set(algorithm.refused());
        }
        driver.blas.checked.insert(checked);
        result.set(algorithm.result())
    }

    /// An attribute of an algorithm's configuration.
    fn cublasLtMatmulAlgoConfigGetAttribute(
        _driver,
        algorithm: In<Algorithm>,
        attribute: u32, value: HostPointer, bytes: usize,
        written: Out<usize>,
    ) {
        algorithm.get()?.write_attribute(attribute, value, bytes, &written)
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
        let described = driver.blas.descriptions.get(description)?;
        described.epilogue.check_pointers()?;
        let device_factors = described.device_factors;
        let factors = [Scale::new(alpha, device_factors)?, Scale::new(beta, device_factors)?];
        let mut matmul = driver.describe(description, layouts, addresses, factors)?;
        if let Some(algorithm) = algorithm.get_if_given() {
            let was_checked = |checked: &_| driver.blas.checked.contains(checked);
            algorithm.check_use(&matmul, addresses, workspace_bytes, was_checked)?;
            Mode::from_environment().check_algorithm(&algorithm, &matmul)?;
            matmul.sums = algorithm.sums()?;
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
