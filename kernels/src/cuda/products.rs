//! Matrix products by cuBLASLt, whose matrices have columns one after the other: to it, a matrix of ours is its transpose.
//!
//! How a product is done is found once for each shape, and the first way that the library names is taken: the same one on
//! the same GPU with the same library. Sums are in f32 and in a fixed order. What the library has no way for, it refuses;
//! callers have kernels of their own for that.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

use cudarc::cublaslt::{result, sys};
use cudarc::driver::CudaStream;
use sys::cublasLtEpilogue_t as Kind;
use sys::cublasLtMatmulDescAttributes_t as Attribute;
use sys::cublasLtMatmulPreferenceAttributes_t as Preference;
use sys::cublasStatus_t as Status;

use super::Cuda;
use super::memory::{Address, Buffer};
use crate::Store;
use crate::memory::DeviceError;

/// Bytes of work space for a product: what NVIDIA advises for GPUs since Hopper.
pub(super) const WORKSPACE: usize = 32 << 20;
/// The most ways that are remembered; lengths of batches differ from run to run.
const MOST_WAYS: usize = 1 << 14;

/// What numbers of a matrix are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    /// 4 bytes.
    F32,
    /// 2 bytes.
    Bf16,
}

impl Number {
    fn of_library(self) -> sys::cudaDataType_t {
        match self {
            Self::F32 => sys::cudaDataType_t::CUDA_R_32F,
            Self::Bf16 => sys::cudaDataType_t::CUDA_R_16BF,
        }
    }
}

/// A factor of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factor {
    pub address: Address,
    /// Whether its rows are what the product takes for columns.
    pub transposed: bool,
}

/// What is done to a product before it is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Epilogue {
    Nothing,
    /// Adds a vector of the product's numbers to each row.
    Bias(Address),
    /// Adds a vector, keeps the sum where there is a place for it, and applies the tanh form of GELU.
    BiasGelu {
        bias: Option<Address>,
        sum: Option<Address>,
    },
    /// Beside the product, stores the sums of the rows of its left factor as that is taken: one f32 for each.
    SumsOfLeft(Address),
}

impl Epilogue {
    fn kind(self) -> Kind {
        match self {
            Self::Nothing => Kind::CUBLASLT_EPILOGUE_DEFAULT,
            Self::Bias(_) => Kind::CUBLASLT_EPILOGUE_BIAS,
            // The library's second factor.
            Self::SumsOfLeft(_) => Kind::CUBLASLT_EPILOGUE_BGRADB,
            Self::BiasGelu { bias: Some(_), sum: Some(_) } => Kind::CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
            Self::BiasGelu { bias: Some(_), sum: None } => Kind::CUBLASLT_EPILOGUE_GELU_BIAS,
            Self::BiasGelu { bias: None, sum: Some(_) } => Kind::CUBLASLT_EPILOGUE_GELU_AUX,
            Self::BiasGelu { bias: None, sum: None } => Kind::CUBLASLT_EPILOGUE_GELU,
        }
    }

    /// Bias and sum, 0 where there is none.
    fn addresses(self) -> [Address; 2] {
        match self {
            Self::Nothing => [0, 0],
            Self::Bias(vector) | Self::SumsOfLeft(vector) => [vector, 0],
            Self::BiasGelu { bias, sum } => [bias.unwrap_or(0), sum.unwrap_or(0)],
        }
    }
}

/// `result[rows, columns] (+)= left[rows, depth] · right[depth, columns]`; none of the three is 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    /// What both factors are stored in.
    pub factors: Number,
    pub left: Factor,
    pub right: Factor,
    /// What the result is stored in.
    pub number: Number,
    pub result: Address,
    pub store: Store,
    pub epilogue: Epilogue,
}

/// What a way to do a product is found for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Shape {
    sizes: [usize; 3],
    transposed: [bool; 2],
    numbers: [Number; 2],
    store: Store,
    epilogue: u32,
    /// What the addresses of the factors, the result, the bias and the sum are multiples of.
    alignments: [u32; 5],
}

impl Product {
    fn shape(&self) -> Shape {
        let [bias, sum] = self.epilogue.addresses();
        let addresses = [self.right.address, self.left.address, self.result, bias, sum];
        Shape {
            sizes: [self.rows, self.columns, self.depth],
            transposed: [self.right.transposed, self.left.transposed],
            numbers: [self.factors, self.number],
            store: self.store,
            epilogue: self.epilogue.kind() as u32,
            alignments: addresses.map(alignment),
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [rows, columns, depth] = self.sizes;
        let [factors, result] = self.numbers;
        write!(
            f,
            "{rows} x {columns}, sums of {depth}, {factors:?} to {result:?}, epilogue {}",
            self.epilogue
        )
    }
}

/// What an address is a multiple of, up to what the library asks about; of nothing, that.
fn alignment(address: Address) -> u32 {
    const MOST: u32 = 256;
    1 << address.trailing_zeros().min(MOST.trailing_zeros())
}

/// A way to do the products of one shape.
struct Way {
    description: Description,
    /// Of A, B and D.
    layouts: [Layout; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

/// The library, and all ways that it was asked for: none where it refused.
pub(super) struct Products {
    handle: sys::cublasLtHandle_t,
    ways: Mutex<HashMap<Shape, Option<Way>>>,
    workspace: Buffer,
}

// SAFETY: the library's handle may be used by any thread, and its descriptions are behind a lock.
unsafe impl Send for Products {}
// SAFETY: as above.
unsafe impl Sync for Products {}

impl Products {
    /// # Errors
    /// What the library said.
    pub fn new(workspace: Buffer) -> Result<Self, result::CublasError> {
        Ok(Self { handle: result::create_handle()?, ways: Mutex::default(), workspace })
    }

    /// Whether there was a way.
    fn run(&self, product: &Product, stream: &CudaStream) -> Result<bool, result::CublasError> {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if ways.len() > MOST_WAYS {
            ways.clear();
        }
        let way = match ways.entry(product.shape()) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(unknown) => unknown.insert(self.find(product)?),
        };
        let Some(Way { description, layouts: [a, b, d], algorithm }) = way else { return Ok(false) };
        description.point_to(product.epilogue)?;
        let (alpha, beta) = (1_f32, if product.store == Store::Add { 1_f32 } else { 0.0 });
        // SAFETY: the description fits the operands, by `find`; they are borrowed by the caller, and work that frees them
        // comes later in the same stream.
        let done = unsafe {
            result::matmul(
                self.handle,
                description.0,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                product.right.address as *const c_void,
                a.0,
                product.left.address as *const c_void,
                b.0,
                product.result as *const c_void,
                d.0,
                product.result as *mut c_void,
                d.0,
                algorithm,
                self.workspace.address(0, WORKSPACE) as *mut c_void,
                WORKSPACE,
                stream.cu_stream().cast(),
            )
        };
        if refused(&done) {
            // A way that is named need not be there.
            *way = None;
            return Ok(false);
        }
        done.map(|()| true)
    }

    fn find(&self, product: &Product) -> Result<Option<Way>, result::CublasError> {
        let &Product { rows, columns, depth, factors, number, .. } = product;
        let description = Description::new()?;
        description.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &u32::from(product.right.transposed))?;
        description.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &u32::from(product.left.transposed))?;
        description.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &(product.epilogue.kind() as u32))?;
        description.point_to(product.epilogue)?;
        if let Epilogue::BiasGelu { sum: Some(_), .. } = product.epilogue {
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
        let wish = Wish::new()?;
        wish.set(Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &(WORKSPACE as u64))?;
        // Parts of a sum go to the work space in f32 and are added up in a fixed order.
        let scheme = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
        wish.set(Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &scheme)?;
        let [a, b, d, ..] = product.shape().alignments;
        wish.set(Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &a)?;
        wish.set(Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &b)?;
        wish.set(Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &d)?;
        wish.set(Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &d)?;
        let [a, b, d] = layouts.each_ref().map(|layout| layout.0);
        // SAFETY: all handles are alive.
        let found =
            unsafe { result::get_matmul_algo_heuristic(self.handle, description.0, a, b, d, d, wish.0) };
        if refused(&found) {
            return Ok(None);
        }
        Ok(Some(Way { description, layouts, algorithm: found?.algo }))
    }
}

/// Whether the library says that it cannot, rather than that something is broken or asked for wrongly.
fn refused<T>(result: &Result<T, result::CublasError>) -> bool {
    result.as_ref().err().is_some_and(|error| error.0 == Status::CUBLAS_STATUS_NOT_SUPPORTED)
}

impl Drop for Products {
    fn drop(&mut self) {
        // SAFETY: created, and destroyed once.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

/// The operation of a product.
struct Description(sys::cublasLtMatmulDesc_t);

impl Description {
    fn new() -> Result<Self, result::CublasError> {
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        result::create_matmul_desc(compute, sys::cudaDataType_t::CUDA_R_32F).map(Self)
    }

    fn set<T>(&self, attribute: Attribute, value: &T) -> Result<(), result::CublasError> {
        // SAFETY: the description is alive, and the value has its own size.
        unsafe {
            result::set_matmul_desc_attribute(self.0, attribute, (&raw const *value).cast(), size_of::<T>())
        }
    }

    fn point_to(&self, epilogue: Epilogue) -> Result<(), result::CublasError> {
        let [bias, sum] = epilogue.addresses();
        if bias != 0 {
            self.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
        }
        if sum != 0 {
            self.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &sum)?;
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
    fn new(number: Number, [rows, columns]: [usize; 2]) -> Result<Self, result::CublasError> {
        result::create_matrix_layout(number.of_library(), columns as u64, rows as u64, columns as i64)
            .map(Self)
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: created, and destroyed once.
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

/// What is asked of a way.
struct Wish(sys::cublasLtMatmulPreference_t);

impl Wish {
    fn new() -> Result<Self, result::CublasError> {
        result::create_matmul_pref().map(Self)
    }

    fn set<T>(&self, attribute: Preference, value: &T) -> Result<(), result::CublasError> {
        // SAFETY: the preference is alive, and the value has its own size.
        unsafe {
            result::set_matmul_pref_attribute(self.0, attribute, (&raw const *value).cast(), size_of::<T>())
        }
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        // SAFETY: created, and destroyed once.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}

impl Cuda {
    /// The products for which the library had no way: kernels of our own did them, and are slower. Those that had a way without
    /// an epilogue are among them.
    pub(super) fn refused_products(&self) -> Vec<String> {
        let ways = self.products.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = ways.iter().filter(|(_, way)| way.is_none());
        let mut refused: Vec<_> =
            refused.map(|(shape, _)| format!("cuBLASLt has no way for a product of {shape}")).collect();
        refused.sort();
        refused
    }

    /// Does a product, if the library has a way; whether it had one. What goes wrong besides is kept, and reported by
    /// [`Backend::status`](crate::Backend::status).
    pub(crate) fn product(&self, product: &Product) -> bool {
        let done = self.attempt(|| {
            self.products.run(product, &self.stream).map_err(|error| DeviceError::Failed {
                device: format!("{self:?}"),
                what: "a matrix product of cuBLASLt's".into(),
                error: error.to_string(),
            })
        });
        // After a failure there is nothing left to be done in another way.
        done.unwrap_or(true)
    }
}
