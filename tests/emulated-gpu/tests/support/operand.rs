//! Matrices in device memory, and how far a product in f32 may be from one in f64.

use std::sync::Arc;

use cudarc::cublaslt::sys::cudaDataType_t as Type;
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr};
use half::{bf16, f16};

/// Numbers between -1 and 1 that every format here holds exactly: multiples of 1/64.
pub fn numbers(count: usize, seed: u32) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(state >> 24) - 128.0) / 128.0
    };
    (0..count).map(|_| (next() * 64.0).round() / 64.0).collect()
}

/// As memory holds it.
pub fn encode(kind: Type, values: &[f64]) -> Vec<u8> {
    match kind {
        Type::CUDA_R_32F => values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect(),
        Type::CUDA_R_16F => values.iter().flat_map(|&value| f16::from_f64(value).to_le_bytes()).collect(),
        Type::CUDA_R_16BF => values.iter().flat_map(|&value| bf16::from_f64(value).to_le_bytes()).collect(),
        other => panic!("{other:?}"),
    }
}

/// From memory.
pub fn decode(kind: Type, bytes: &[u8]) -> Vec<f64> {
    let halves = || bytes.chunks_exact(2).map(|half| [half[0], half[1]]);
    match kind {
        Type::CUDA_R_32F => {
            bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect()
        }
        Type::CUDA_R_16F => halves().map(|half| f16::from_le_bytes(half).to_f64()).collect(),
        Type::CUDA_R_16BF => halves().map(|half| bf16::from_le_bytes(half).to_f64()).collect(),
        other => panic!("{other:?}"),
    }
}

/// Unit roundoff of a format.
pub fn roundoff(kind: Type) -> f64 {
    match kind {
        Type::CUDA_R_32F => 2f64.powi(-24),
        Type::CUDA_R_16F => 2f64.powi(-11),
        _ => 2f64.powi(-8),
    }
}

/// What is left of it is rounding: of the sum of `terms` products of at most 1 in f32, and of the result.
pub fn assert_close(what: &str, kind: Type, terms: usize, got: &[f64], wanted: &[f64]) {
    assert_within(what, kind, terms, got, wanted, &vec![0.0; wanted.len()]);
}

/// The same, with so much more for each number.
pub fn assert_within(what: &str, kind: Type, terms: usize, got: &[f64], wanted: &[f64], more: &[f64]) {
    assert_eq!([got.len(), more.len()], [wanted.len(); 2]);
    for (index, ((got, wanted), more)) in got.iter().zip(wanted).zip(more).enumerate() {
        // The constant covers the bias, C, and the steps of the activation, each of the size of a term or two.
        let sum = (terms as f64 + 8.0) * (terms as f64 + 8.0) * roundoff(Type::CUDA_R_32F);
        let tolerance = sum + roundoff(kind) * wanted.abs() + more;
        assert!(
            (got - wanted).abs() <= tolerance,
            "{what}, element {index}: {got}, wanted {wanted} ± {tolerance}"
        );
    }
}

/// Elements between one matrix and the next: as many as an auxiliary matrix may have.
const GAP: usize = 8;

/// Column-major matrices at regular distances, each followed by a gap that nobody may touch.
pub struct Operand {
    pub kind: Type,
    pub rows: usize,
    pub columns: usize,
    pub leading_dimension: usize,
    pub batches: usize,
    pub values: Vec<f64>,
    memory: CudaSlice<u8>,
}

impl Operand {
    /// Matrices of numbers made from `seed`.
    pub fn new(
        stream: &Arc<CudaStream>,
        kind: Type,
        [rows, columns]: [usize; 2],
        leading_dimension: usize,
        batches: usize,
        seed: u32,
    ) -> Self {
        let values = numbers((leading_dimension * columns + GAP) * batches, seed);
        let memory = stream.clone_htod(&encode(kind, &values)).unwrap();
        Self { kind, rows, columns, leading_dimension, batches, values, memory }
    }

    /// Elements from one matrix to the next.
    pub fn stride(&self) -> usize {
        self.leading_dimension * self.columns + GAP
    }

    /// An element, as the product sees it.
    pub fn at(&self, batch: usize, row: usize, column: usize, transposed: bool) -> f64 {
        let (row, column) = if transposed { (column, row) } else { (row, column) };
        self.values[batch * self.stride() + row + column * self.leading_dimension]
    }

    /// Where the first matrix begins.
    pub fn address(&self, stream: &CudaStream) -> u64 {
        self.memory.device_ptr(stream).0
    }

    /// The values that `changed` gives for rows and columns, and between them what was there before.
    pub fn with(&self, changed: impl Fn(usize, usize, usize) -> f64) -> Vec<f64> {
        self.filled(self.values.clone(), changed)
    }

    /// The values that `changed` gives for rows and columns, and between them those of `values`.
    pub fn filled(&self, mut values: Vec<f64>, changed: impl Fn(usize, usize, usize) -> f64) -> Vec<f64> {
        for batch in 0..self.batches {
            for (column, row) in
                (0..self.columns).flat_map(|column| (0..self.rows).map(move |row| (column, row)))
            {
                values[batch * self.stride() + row + column * self.leading_dimension] =
                    changed(batch, row, column);
            }
        }
        values
    }

    /// Holds other numbers from now on, gaps included.
    pub fn fill(&mut self, stream: &Arc<CudaStream>, values: &[f64]) {
        assert_eq!(values.len(), self.values.len());
        stream.memcpy_htod(&encode(self.kind, values), &mut self.memory).unwrap();
        self.values = values.to_vec();
    }

    /// What memory holds, gaps included.
    pub fn read(&self, stream: &Arc<CudaStream>) -> Vec<f64> {
        decode(self.kind, &stream.clone_dtoh(&self.memory).unwrap())
    }

    /// Compares all elements, gaps too.
    pub fn assert_is(&self, what: &str, stream: &Arc<CudaStream>, terms: usize, wanted: &[f64]) {
        let got = decode(self.kind, &stream.clone_dtoh(&self.memory).unwrap());
        assert_close(what, self.kind, terms, &got, wanted);
    }
}
