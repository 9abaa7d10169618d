//! See the parent module: products by cuBLASLt, with bias, activation and its gradient in them where the library has that, else
//! by kernels of our own. In bf16 the library adds biases in bf16 too, as it does weights: they are rounded for it.

use super::{AfterActivation, Forward, InputGradient, Linear, PreactivationGradient, WeightGradient};
use crate::cuda::{
    Address, Blocks, Cuda, CudaPrecision, Epilogue, Factor, Global, Number, Product, Program, Slice,
    arguments,
};
use crate::memory::Length;
use crate::{Activation, Store, activation};

const PROGRAM: Program<'static> =
    Program::new("linear", concat!(include_str!("../activation/functions.cuh"), include_str!("linear.cu")));

/// For kernels that apply no function.
const NO_FUNCTION: &[(&str, usize)] = &[("ACTIVATION", Activation::Identity as usize)];
/// Bytes of sums in f32 that wait for their function at once.
const PIECE: usize = 64 << 20;
/// Rows and columns of a tile of our own product, a thread for each element.
const TILE: usize = 16;

/// See [`super`].
pub fn forward<P: CudaPrecision>(cuda: &Cuda, linear: &Linear, operands: Forward<'_, Global, P>) {
    let Linear { inputs, outputs, activation } = *linear;
    let Forward { x, weight, bias, preactivation, y } = operands;
    let rows = y.length() / outputs;
    if rows == 0 {
        return;
    }
    // u has a place of its own, or lies where y is to be.
    let u = preactivation.as_ref().map_or(y.address(), |u| u.address());
    let plain = Product {
        rows,
        columns: outputs,
        depth: inputs,
        factors: P::NUMBER,
        left: Factor { address: x.address(), transposed: false },
        right: Factor { address: weight.address(), transposed: true },
        number: P::NUMBER,
        result: u,
        store: Store::Assign,
        epilogue: Epilogue::Nothing,
    };
    let fused = match activation {
        Activation::Identity => bias.map(|bias| Epilogue::Bias(bias_of_results::<P>(cuda, bias))),
        // The library's GELU is as good as bf16, not as f32.
        Activation::GeluNew if P::NUMBER == Number::Bf16 => Some(Epilogue::BiasGelu {
            bias: bias.map(|bias| bias_of_results::<P>(cuda, bias)),
            preactivation: preactivation.as_ref().map(|u| u.address()),
        }),
        Activation::Gelu | Activation::GeluNew | Activation::Relu | Activation::Tanh => None,
    };
    if let Some(epilogue) = fused
        && fits(epilogue, outputs)
        && cuda.product(&Product { result: y.address(), epilogue, ..plain })
    {
        return;
    }
    if bias.is_none() && activation == Activation::Identity {
        return multiply::<P>(cuda, &plain);
    }
    // Sums stay in f32 until f has been applied: in place, or a piece of the work space at a time.
    let in_place = P::NUMBER == Number::F32;
    let rows_at_once = if in_place { rows } else { rows_of_piece(outputs, rows) };
    let at = |address: Address, row: usize, columns: usize| {
        address + (row * columns * size_of::<P::Activation>()) as Address
    };
    for first in (0..rows).step_by(rows_at_once) {
        let rows = rows_at_once.min(rows - first);
        let length = rows * outputs;
        let sums = if in_place { u } else { cuda.scratch(length * size_of::<f32>()).address() };
        let left = Factor { address: at(x.address(), first, inputs), transposed: false };
        multiply::<P>(cuda, &Product { rows, left, number: Number::F32, result: sums, ..plain });
        let stored = preactivation.as_ref().map_or(0, |u| at(u.address(), first, outputs));
        cuda.launch::<P>(
            PROGRAM.with(&[("ACTIVATION", activation as usize)]),
            "bias_and_activation",
            Blocks::of_threads(length),
            &arguments![sums, bias, stored, at(y.address(), first, outputs), length, outputs as i32],
        );
    }
}

/// Rows whose sums wait for their function at once.
fn rows_of_piece(outputs: usize, rows: usize) -> usize {
    (PIECE / (outputs * size_of::<f32>())).clamp(1, rows)
}

/// Bytes of work space that a product of so many rows and its gradients want on a GPU at most, where activations have so many bytes: a piece
/// of its sums, no shorter than a rounded bias, and the sums of the columns of du. In f32 sums lie where the result is to be.
pub fn scratch_bytes(linear: &Linear, rows: usize, activation_size: usize) -> usize {
    let outputs = linear.outputs;
    let sums = if activation_size < size_of::<f32>() && rows > 0 {
        rows_of_piece(outputs, rows) * outputs * size_of::<f32>()
    } else {
        0
    };
    sums.max(super::cuda_bias::scratch_bytes(outputs, rows, activation_size))
}

/// What the library asks of the bias and of the matrix beside the result: that they, and its columns, begin at multiples of 16
/// bytes.
fn fits(epilogue: Epilogue, columns: usize) -> bool {
    let (bias, preactivation) = match epilogue {
        Epilogue::BiasGelu { bias, preactivation } => (bias, preactivation),
        Epilogue::GeluGradient(preactivation) => (None, Some(preactivation)),
        Epilogue::Bias(vector) => (Some(vector), None),
        Epilogue::Nothing => (None, None),
    };
    let aligned = |address: Option<Address>| address.is_none_or(|address| address.is_multiple_of(16));
    aligned(bias) && aligned(preactivation) && (preactivation.is_none() || columns.is_multiple_of(8))
}

/// The bias in the numbers of the result, as the library wants it.
fn bias_of_results<P: CudaPrecision>(cuda: &Cuda, bias: Slice<'_, f32>) -> Address {
    if P::NUMBER == Number::F32 {
        return bias.address();
    }
    let length = bias.length();
    let rounded = cuda.scratch(length * size_of::<P::Activation>());
    cuda.launch::<P>(
        PROGRAM.with(NO_FUNCTION),
        "round_bias",
        Blocks::of_threads(length),
        &arguments![bias, rounded, length],
    );
    rounded.address()
}

/// See [`super`].
pub fn input_gradient<P: CudaPrecision>(
    cuda: &Cuda,
    linear: &Linear,
    operands: InputGradient<'_, Global, P>,
) {
    multiply::<P>(cuda, &input_product(linear, &operands));
}

/// `du · W`
fn input_product<P: CudaPrecision>(linear: &Linear, operands: &InputGradient<'_, Global, P>) -> Product {
    let Linear { inputs, outputs, .. } = *linear;
    let InputGradient { du, weight, dx, store } = operands;
    Product {
        rows: dx.length() / inputs,
        columns: inputs,
        depth: outputs,
        factors: P::NUMBER,
        left: Factor { address: du.address(), transposed: false },
        right: Factor { address: weight.address(), transposed: false },
        number: P::NUMBER,
        result: dx.address(),
        store: *store,
        epilogue: Epilogue::Nothing,
    }
}

/// See [`super`]: one product where the library has the derivative, else two kernels, of which the second works in place.
pub fn preactivation_gradient<P: CudaPrecision>(
    cuda: &Cuda,
    constants: &AfterActivation,
    operands: PreactivationGradient<'_, Global, P>,
) {
    let PreactivationGradient { dy, weight, saved, mut du } = operands;
    let AfterActivation { linear, activation } = constants;
    let product = InputGradient::<_, P> { du: dy, weight, dx: du.reborrow(), store: Store::Assign };
    let product = input_product::<P>(linear, &product);
    // The library's derivative is as good as bf16, not as f32.
    let epilogue = Epilogue::GeluGradient(saved.address());
    let is_fused = *activation == Activation::GeluNew && P::NUMBER == Number::Bf16 && product.rows > 0;
    if is_fused && fits(epilogue, product.columns) && cuda.product(&Product { epilogue, ..product }) {
        return;
    }
    multiply::<P>(cuda, &product);
    let derivative = activation::Backward::<_, P> { saved, dy: None, du };
    activation::cuda::backward(cuda, activation, derivative);
}

/// See [`super`].
pub fn weight_gradient<P: CudaPrecision>(
    cuda: &Cuda,
    linear: &Linear,
    operands: WeightGradient<'_, Global, P>,
) {
    let Linear { inputs, outputs, .. } = *linear;
    let WeightGradient { x, du, d_weight, d_bias } = operands;
    let product = Product {
        rows: outputs,
        columns: inputs,
        depth: x.length() / inputs,
        factors: P::NUMBER,
        left: Factor { address: du.address(), transposed: true },
        right: Factor { address: x.address(), transposed: false },
        number: Number::F32,
        result: d_weight.address(),
        store: Store::Add,
        epilogue: Epilogue::Nothing,
    };
    multiply::<P>(cuda, &product);
    // cuBLASLt's epilogue for these sums is a kernel of its own behind the product, and a slower one (an H200's profile).
    if let Some(d_bias) = d_bias {
        super::cuda_bias::add_column_sums::<P>(cuda, du, d_bias);
    }
}

/// A product without an epilogue, by the library or by a kernel of our own; nothing where there is nothing to multiply.
fn multiply<P: CudaPrecision>(cuda: &Cuda, product: &Product) {
    let &Product { rows, columns, depth, left, right, number, result, store, .. } = product;
    if rows * columns * depth == 0 || cuda.product(product) {
        return;
    }
    let kernel = if number == P::NUMBER { "product" } else { "product_of_masters" };
    // The first dimension is the one that may be long.
    let blocks = Blocks::grid([rows.div_ceil(TILE), columns.div_ceil(TILE), 1]);
    let (left_transposed, right_transposed) = (i32::from(left.transposed), i32::from(right.transposed));
    cuda.launch::<P>(
        PROGRAM.with(NO_FUNCTION),
        kernel,
        blocks,
        &arguments![
            left.address,
            right.address,
            result,
            rows,
            columns,
            depth,
            left_transposed,
            right_transposed,
            store
        ],
    );
}
