//! cuBLASLt, whose matrices have columns one after the other: to it, a matrix of ours is its transpose.

use std::ffi::c_void;

use cudarc::cublaslt::{result, sys};
use cudarc::driver::CudaStream;
use result::CublasError;
use sys::cublasLtMatmulAlgoConfigAttributes_t as Configured;
use sys::cublasLtMatmulDescAttributes_t as Attribute;
use sys::cublasLtMatmulHeuristicResult_t as Found;
use sys::cublasLtMatmulPreferenceAttributes_t as Preference;
use sys::cublasLtReductionScheme_t as Scheme;
use sys::cublasStatus_t as Status;

use super::memory::{Address, Buffer};
use super::products::{Epilogue, Factor, Number, Product};
use crate::Store;

/// Bytes of work space for a product: what NVIDIA advises for GPUs since Hopper.
pub const WORKSPACE: usize = 32 << 20;
/// The most algorithms that are asked for at once.
const MOST_CANDIDATES: usize = 16;

/// How a product is done. The library's: it means the same to the same version on the same GPU, and nothing to any other.
pub(super) type Algorithm = sys::cublasLtMatmulAlgo_t;

/// The library, and the work space of its products.
pub(super) struct CublasLt {
    handle: sys::cublasLtHandle_t,
    workspace: Buffer,
}

// SAFETY: the library's handle may be used by any thread.
unsafe impl Send for CublasLt {}
// SAFETY: as above.
unsafe impl Sync for CublasLt {}

impl CublasLt {
    /// # Errors
    /// What the library said.
    pub fn new(workspace: Buffer) -> Result<Self, CublasError> {
        Ok(Self { handle: result::create_handle()?, workspace })
    }

    /// The algorithms for a product that add up in a fixed order, in the order in which the library thinks them fast; unless a sum
    /// `splits`, those that add it up in one piece. Addresses are multiples of `alignments`: of the factors as the library has them, and
    /// of the result.
    ///
    /// # Errors
    /// What the library says where it has none: not always that it does not support the product.
    pub fn candidates(
        &self,
        problem: &Problem,
        alignments: [u32; 3],
        splits: bool,
    ) -> Result<Vec<Algorithm>, CublasError> {
        // Parts of a sum go to the work space in f32 and are added up in a step of their own.
        let schemes = match splits {
            true => {
                &[Scheme::CUBLASLT_REDUCTION_SCHEME_NONE, Scheme::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE][..]
            }
            false => &[Scheme::CUBLASLT_REDUCTION_SCHEME_NONE],
        };
        let mask = schemes.iter().fold(0, |mask, &scheme| mask | scheme as u32);
        let preferences = Preferences::new()?;
        preferences.set(Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &(WORKSPACE as u64))?;
        preferences.set(Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &mask)?;
        let [a, b, d] = alignments;
        preferences.set(Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &a)?;
        preferences.set(Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &b)?;
        preferences.set(Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &d)?;
        preferences.set(Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &d)?;
        let [a, b, d] = problem.layouts();
        let mut found = Vec::<Found>::with_capacity(MOST_CANDIDATES);
        let mut count = 0;
        // SAFETY: all handles are alive, and there is room for as many results as are asked for.
        unsafe {
            let (most, results) = (MOST_CANDIDATES as i32, found.as_mut_ptr());
            let description = problem.description.0;
            sys::cublasLtMatmulAlgoGetHeuristic(
                self.handle,
                description,
                a,
                b,
                d,
                d,
                preferences.0,
                most,
                results,
                &mut count,
            )
            .result()
        }?;
        // SAFETY: so many were written.
        unsafe { found.set_len(count.clamp(0, MOST_CANDIDATES as i32) as usize) };
        let sound = found.into_iter().filter(|found| found.state == Status::CUBLAS_STATUS_SUCCESS);
        Ok(sound.map(|found| found.algo).filter(|algorithm| adds_by(algorithm, schemes)).collect())
    }

    /// Whether the library says that it does a product with an algorithm that was found for one of other sizes.
    pub fn accepts(&self, problem: &Problem, algorithm: &Algorithm) -> bool {
        let [a, b, d] = problem.layouts();
        // SAFETY: zeros are a valid answer; the library fills in all but the algorithm.
        let mut answer: Found = unsafe { std::mem::zeroed() };
        // SAFETY: all handles are alive, and there is room for the answer.
        let checked = unsafe {
            let description = problem.description.0;
            sys::cublasLtMatmulAlgoCheck(self.handle, description, a, b, d, d, algorithm, &mut answer)
        };
        let success = Status::CUBLAS_STATUS_SUCCESS;
        checked == success && answer.state == success && answer.workspaceSize <= WORKSPACE
    }

    /// Does a product with an algorithm that was found for `problem`, what describes it.
    ///
    /// # Errors
    /// What the library says. What is named in a search need not be there.
    pub fn multiply(
        &self,
        product: &Product,
        problem: &Problem,
        algorithm: &Algorithm,
        stream: &CudaStream,
    ) -> Result<(), CublasError> {
        problem.description.point_to(product.epilogue)?;
        let (alpha, beta) = (1_f32, if product.store == Store::Add { 1_f32 } else { 0.0 });
        let [a, b, d] = problem.layouts();
        // SAFETY: the description fits the operands, by `Problem::new`; they are borrowed by the caller, and work that frees
        // them comes later in the same stream.
        unsafe {
            result::matmul(
                self.handle,
                problem.description.0,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                product.right.address as *const c_void,
                a,
                product.left.address as *const c_void,
                b,
                product.result as *const c_void,
                d,
                product.result as *mut c_void,
                d,
                algorithm,
                self.workspace.address(0, WORKSPACE) as *mut c_void,
                WORKSPACE,
                stream.cu_stream().cast(),
            )
        }
    }
}

impl Drop for CublasLt {
    fn drop(&mut self) {
        // SAFETY: created, and destroyed once.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

/// Whether an algorithm adds up as one of `schemes` says. Those give the same bits each time: a whole sum, or parts that wait in the work
/// space until they are added. Added where the result is to be, parts come in any order. What does not say is none.
fn adds_by(algorithm: &Algorithm, schemes: &[Scheme]) -> bool {
    let mut scheme = 0_u32;
    let mut written = 0;
    // SAFETY: the algorithm is one that a search wrote; the value has the size given.
    let asked = unsafe {
        sys::cublasLtMatmulAlgoConfigGetAttribute(
            algorithm,
            Configured::CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME,
            (&raw mut scheme).cast(),
            size_of::<u32>(),
            &mut written,
        )
    };
    asked == Status::CUBLAS_STATUS_SUCCESS && schemes.iter().any(|&allowed| scheme == allowed as u32)
}

/// A product as the library has it described.
pub(super) struct Problem {
    description: Description,
    /// Of A, B and D: the right factor, the left, the result.
    layouts: [Layout; 3],
}

// SAFETY: descriptions of the library are memory that any thread may read; `Products` has them behind a lock.
unsafe impl Send for Problem {}

impl Problem {
    pub fn new(product: &Product) -> Result<Self, CublasError> {
        let &Product { rows, columns, depth, factors, number, .. } = product;
        let description = Description::new()?;
        description.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &u32::from(product.right.transposed))?;
        description.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &u32::from(product.left.transposed))?;
        description.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &(product.epilogue.kind() as u32))?;
        description.point_to(product.epilogue)?;
        if product.epilogue.addresses()[1] != 0 {
            description.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &(columns as i64))?;
        }
        let stored = |factor: &Factor, rows, columns| {
            if factor.transposed { [columns, rows] } else { [rows, columns] }
        };
        let layouts = [
            Layout::new(factors, stored(&product.right, depth, columns))?,
            Layout::new(factors, stored(&product.left, rows, depth))?,
            Layout::new(number, [rows, columns])?,
        ];
        Ok(Self { description, layouts })
    }

    fn layouts(&self) -> [sys::cublasLtMatrixLayout_t; 3] {
        self.layouts.each_ref().map(|layout| layout.0)
    }
}

/// The operation of a product.
struct Description(sys::cublasLtMatmulDesc_t);

impl Description {
    fn new() -> Result<Self, CublasError> {
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        result::create_matmul_desc(compute, sys::cudaDataType_t::CUDA_R_32F).map(Self)
    }

    fn set<T>(&self, attribute: Attribute, value: &T) -> Result<(), CublasError> {
        // SAFETY: the description is alive, and the value has its own size.
        unsafe {
            result::set_matmul_desc_attribute(self.0, attribute, (&raw const *value).cast(), size_of::<T>())
        }
    }

    fn point_to(&self, epilogue: Epilogue) -> Result<(), CublasError> {
        let [vector, auxiliary]: [Address; 2] = epilogue.addresses();
        if vector != 0 {
            self.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &vector)?;
        }
        if auxiliary != 0 {
            self.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &auxiliary)?;
        }
        Ok(())
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: created, and destroyed once.
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

/// A matrix of ours, as the library sees it.
struct Layout(sys::cublasLtMatrixLayout_t);

impl Layout {
    fn new(number: Number, [rows, columns]: [usize; 2]) -> Result<Self, CublasError> {
        let number = match number {
            Number::F32 => sys::cudaDataType_t::CUDA_R_32F,
            Number::Bf16 => sys::cudaDataType_t::CUDA_R_16BF,
        };
        result::create_matrix_layout(number, columns as u64, rows as u64, columns as i64).map(Self)
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: created, and destroyed once.
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

/// What is asked of an algorithm.
struct Preferences(sys::cublasLtMatmulPreference_t);

impl Preferences {
    fn new() -> Result<Self, CublasError> {
        result::create_matmul_pref().map(Self)
    }

    fn set<T>(&self, attribute: Preference, value: &T) -> Result<(), CublasError> {
        // SAFETY: the preference is alive, and the value has its own size.
        unsafe {
            result::set_matmul_pref_attribute(self.0, attribute, (&raw const *value).cast(), size_of::<T>())
        }
    }
}

impl Drop for Preferences {
    fn drop(&mut self) {
        // SAFETY: created, and destroyed once.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}
