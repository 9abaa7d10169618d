//! A product of cuBLASLt, described call by call.

use std::ffi::c_void;
use std::ptr;

use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys;
use cudarc::driver::CudaStream;
use sys::cublasLtEpilogue_t as Epilogue;
use sys::cublasLtMatmulDescAttributes_t as Attribute;

use super::operand::Operand;

/// Bits of the epilogues with a bias or the gradient of one (beside GELU's, of a factor), and of those with a matrix beside D.
const BIAS: u32 = Epilogue::CUBLASLT_EPILOGUE_BIAS as u32
    | (Epilogue::CUBLASLT_EPILOGUE_DGELU_BGRAD as u32 - Epilogue::CUBLASLT_EPILOGUE_DGELU as u32)
    | Epilogue::CUBLASLT_EPILOGUE_BGRADA as u32
    | Epilogue::CUBLASLT_EPILOGUE_BGRADB as u32;
const AUXILIARY: u32 = Epilogue::CUBLASLT_EPILOGUE_GELU_AUX as u32 - Epilogue::CUBLASLT_EPILOGUE_GELU as u32;

/// Layouts, description and preference of one product; destroyed together.
pub struct Product {
    handle: sys::cublasLtHandle_t,
    description: sys::cublasLtMatmulDesc_t,
    preference: sys::cublasLtMatmulPreference_t,
    layouts: [sys::cublasLtMatrixLayout_t; 4],
}

/// Scratch memory: address and bytes.
pub type Workspace = (u64, usize);

impl Product {
    /// Of operands A, B, C and D, with sums in f32 and no epilogue.
    pub fn new(operands: [&Operand; 4]) -> Self {
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        Self {
            handle: result::create_handle().unwrap(),
            description: result::create_matmul_desc(compute, sys::cudaDataType_t::CUDA_R_32F).unwrap(),
            preference: result::create_matmul_pref().unwrap(),
            layouts: operands.map(layout),
        }
    }

    /// Sets an attribute of the description.
    pub fn set(&self, attribute: Attribute, value: &[u8]) {
        // SAFETY: the description is alive, and the value has its own length.
        let set = unsafe {
            result::set_matmul_desc_attribute(self.description, attribute, value.as_ptr().cast(), value.len())
        };
        set.unwrap();
    }

    /// Gives the product an epilogue, and of a bias and a matrix beside D what it takes, each with an address and the elements from one batch
    /// to the next: the library refuses pointers that an epilogue has no use for.
    pub fn set_epilogue(&self, epilogue: Epilogue, bias: (u64, usize), auxiliary: (u64, usize, usize)) {
        let number = |attribute, value: usize| self.set(attribute, &(value as i64).to_le_bytes());
        self.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &(epilogue as u32).to_le_bytes());
        if epilogue as u32 & BIAS != 0 {
            self.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias.0.to_le_bytes());
            number(Attribute::CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, bias.1);
        }
        if epilogue as u32 & AUXILIARY != 0 {
            let (address, leading_dimension, stride) = auxiliary;
            self.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &address.to_le_bytes());
            number(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, leading_dimension);
            number(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, stride);
        }
    }

    /// Finds an algorithm that takes no more than `workspace_bytes` and adds up in the compute type alone, never in D's.
    pub fn find(&self, workspace_bytes: usize) -> Result<sys::cublasLtMatmulHeuristicResult_t, CublasError> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Preference;
        let schemes = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
        let [a, b, c, d] = self.layouts;
        // SAFETY: all handles are alive, and the values have 8 and 4 bytes.
        unsafe {
            let (most, value) = (
                Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                ptr::from_ref(&workspace_bytes).cast(),
            );
            result::set_matmul_pref_attribute(self.preference, most, value, 8).unwrap();
            let (mask, value) =
                (Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, ptr::from_ref(&schemes).cast());
            result::set_matmul_pref_attribute(self.preference, mask, value, 4).unwrap();
            result::get_matmul_algo_heuristic(self.handle, self.description, a, b, c, d, self.preference)
        }
    }

    /// At most `most` algorithms that add parts of sums up in one of the ways `schemes`.
    pub fn find_all(&self, schemes: u32, most: usize) -> Vec<sys::cublasLtMatmulHeuristicResult_t> {
        let mask = sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK;
        let [a, b, c, d] = self.layouts;
        let mut found = Vec::with_capacity(most);
        let mut count = 0;
        // SAFETY: all handles are alive, the value has 4 bytes, and there is room for as many results as are asked for.
        unsafe {
            let value = ptr::from_ref(&schemes).cast();
            result::set_matmul_pref_attribute(self.preference, mask, value, 4).unwrap();
            let (results, most) = (found.as_mut_ptr(), most as i32);
            let (handle, description) = (self.handle, self.description);
            sys::cublasLtMatmulAlgoGetHeuristic(
                handle,
                description,
                a,
                b,
                c,
                d,
                self.preference,
                most,
                results,
                &mut count,
            )
            .result()
            .unwrap();
            found.set_len(count as usize);
        }
        found
    }

    /// Whether an algorithm that was found for another product does this one.
    pub fn check(&self, algorithm: &sys::cublasLtMatmulAlgo_t) -> Result<(), CublasError> {
        let [a, b, c, d] = self.layouts;
        let mut answer = std::mem::MaybeUninit::uninit();
        // SAFETY: all handles are alive, and there is room for the answer.
        unsafe {
            let (handle, description, answer) = (self.handle, self.description, answer.as_mut_ptr());
            sys::cublasLtMatmulAlgoCheck(handle, description, a, b, c, d, algorithm, answer).result()
        }
    }

    /// Does the product: α, β, and the addresses of A, B, C and D, which must be those of memory as described.
    pub fn run(
        &self,
        stream: &CudaStream,
        algorithm: &sys::cublasLtMatmulAlgo_t,
        [alpha, beta]: [f32; 2],
        addresses: [u64; 4],
        (workspace, workspace_bytes): Workspace,
    ) -> Result<(), CublasError> {
        let [a, b, c, d] = addresses.map(|address| address as *mut c_void);
        let [a_layout, b_layout, c_layout, d_layout] = self.layouts;
        // SAFETY: all handles are alive; what is wrong with the memory is what the tests are about.
        unsafe {
            let (alpha, beta) = (ptr::from_ref(&alpha).cast(), ptr::from_ref(&beta).cast());
            let workspace = workspace as *mut c_void;
            let stream = stream.cu_stream().cast();
            result::matmul(
                self.handle,
                self.description,
                alpha,
                beta,
                a,
                a_layout,
                b,
                b_layout,
                c,
                c_layout,
                d,
                d_layout,
                algorithm,
                workspace,
                workspace_bytes,
                stream,
            )
        }
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        // SAFETY: all are alive, and nobody uses them any more.
        unsafe {
            for layout in self.layouts {
                result::destroy_matrix_layout(layout).unwrap();
            }
            result::destroy_matmul_pref(self.preference).unwrap();
            result::destroy_matmul_desc(self.description).unwrap();
            result::destroy_handle(self.handle).unwrap();
        }
    }
}

fn layout(operand: &Operand) -> sys::cublasLtMatrixLayout_t {
    use sys::cublasLtMatrixLayoutAttribute_t as Attribute;
    let (rows, columns) = (operand.rows as u64, operand.columns as u64);
    let layout =
        result::create_matrix_layout(operand.kind, rows, columns, operand.leading_dimension as i64).unwrap();
    let (batches, stride) = (operand.batches as i32, operand.stride() as i64);
    // SAFETY: the layout is alive, and the values have the sizes given.
    unsafe {
        let count = Attribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
        result::set_matrix_layout_attribute(layout, count, ptr::from_ref(&batches).cast(), 4).unwrap();
        let offset = Attribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET;
        result::set_matrix_layout_attribute(layout, offset, ptr::from_ref(&stride).cast(), 8).unwrap();
    }
    layout
}
