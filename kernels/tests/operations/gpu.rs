//! The GPU as a device whose operands are slices of the host: each call copies them there and what it has written back.

use std::convert::Infallible;

use std::sync::{Mutex, PoisonError};

use emulated_gpu::performance::Launched;
use kernels::cuda::{self, CudaPrecision, Global};
use kernels::dropout::Randomness;
use kernels::memory::{Buffer, Host, Memory, RunScalars, Views};
use kernels::precision::Masters;
use kernels::{
    Activation, Backend, Cuda, DeviceError, Element, Kernels, Store, activation, add, attention, columns,
    cross_entropy, dropout, embedding, gather, layer_norm, linear, optimizer, scale, sequence_cross_entropy,
    sequence_softmax, sequence_sum, squared_error,
};

/// A GPU that computes on the host's slices.
pub struct OnHost(Cuda);

impl OnHost {
    /// The first GPU. What the compiler says is looked at where it is emulated; for a real one kernels are compiled once.
    pub fn new() -> Self {
        let gpu = Cuda::new(0).expect("a GPU, emulated or real");
        Self(if emulated_gpu::setup::real() { gpu } else { gpu.without_kernel_cache() })
    }

    fn send<T: Element>(&self, numbers: &[T]) -> cuda::Buffer {
        let mut buffer = self.0.allocate(size_of_val(numbers)).expect("memory of the GPU");
        self.0.upload(bytemuck::cast_slice(numbers), &mut buffer, 0);
        buffer
    }
}

/// What the launches of `program` asked of the hardware, one test at a time: they are counted for the whole process. Nothing
/// on a real GPU.
pub fn counted(program: impl FnOnce()) -> Vec<Launched> {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    emulated_gpu::performance::counted(program)
}

impl Backend for OnHost {
    type Memory = Host;
    type Recording = Infallible;
    type Outgoing = Buffer<u8>;
    type Incoming = Buffer<u8>;

    fn record(&self, _: impl FnMut(), _: impl FnMut() -> bool) -> Option<Infallible> {
        None
    }
    fn recording_size(&self, recording: &Infallible) -> usize {
        match *recording {}
    }
    fn replay(&self, recording: &Infallible) {
        match *recording {}
    }
    fn allocate(&self, bytes: usize) -> Result<Buffer<u8>, DeviceError> {
        Buffer::new(bytes)
    }
    fn upload(&self, from: &[u8], to: &mut Buffer<u8>, at: usize) {
        to[at..at + from.len()].copy_from_slice(from);
    }
    fn download(&self, from: &Buffer<u8>, at: usize, to: &mut [u8]) {
        to.copy_from_slice(&from[at..at + to.len()]);
    }
    fn outgoing(&self, bytes: usize) -> Result<Buffer<u8>, DeviceError> {
        Buffer::new(bytes)
    }
    fn to_send<'a>(&self, outgoing: &'a mut Buffer<u8>) -> &'a mut [u8] {
        outgoing
    }
    fn sent<'a>(&self, outgoing: &'a Buffer<u8>) -> &'a [u8] {
        outgoing
    }
    fn send(&self, outgoing: &mut Buffer<u8>, bytes: usize, to: &mut Buffer<u8>) {
        self.upload(&outgoing[..bytes], to, 0);
    }
    fn incoming(&self, bytes: usize) -> Result<Buffer<u8>, DeviceError> {
        Buffer::new(bytes)
    }
    fn fetch(&self, from: &Buffer<u8>, at: usize, bytes: usize, incoming: &mut Buffer<u8>) {
        self.download(from, at, &mut incoming[..bytes]);
    }
    fn fetched<'a>(&self, incoming: &'a Buffer<u8>) -> &'a [u8] {
        incoming
    }
    fn clear(&self, buffer: &mut Buffer<u8>) {
        buffer.fill(0);
    }
}

/// A field of a kernel's operands.
trait Field: Sized {
    /// What it becomes on the GPU.
    type There: 'static;
    /// How a kernel sees that.
    type Lent<'v>;

    fn send(&self, gpu: &OnHost) -> Self::There;
    fn lend(there: &mut Self::There) -> Self::Lent<'_>;
    /// Copies back what was written.
    fn fetch(self, _: &OnHost, _: Self::There) {}
}

impl<T: Element> Field for &[T] {
    type There = cuda::Buffer;
    type Lent<'v> = cuda::Slice<'v, T>;

    fn send(&self, gpu: &OnHost) -> cuda::Buffer {
        gpu.send(self)
    }
    fn lend(there: &mut cuda::Buffer) -> cuda::Slice<'_, T> {
        Global::slice(there, 0..Global::bytes(there))
    }
}

impl<T: Element> Field for &mut [T] {
    type There = cuda::Buffer;
    type Lent<'v> = cuda::SliceMut<'v, T>;

    fn send(&self, gpu: &OnHost) -> cuda::Buffer {
        gpu.send(self)
    }
    fn lend(there: &mut cuda::Buffer) -> cuda::SliceMut<'_, T> {
        Global::slice_mut(there)
    }
    fn fetch(self, gpu: &OnHost, there: cuda::Buffer) {
        gpu.0.download(&there, 0, bytemuck::cast_slice_mut(self));
    }
}

impl<F: Field> Field for Option<F> {
    type There = Option<F::There>;
    type Lent<'v> = Option<F::Lent<'v>>;

    fn send(&self, gpu: &OnHost) -> Self::There {
        self.as_ref().map(|field| field.send(gpu))
    }
    fn lend(there: &mut Self::There) -> Self::Lent<'_> {
        there.as_mut().map(F::lend)
    }
    fn fetch(self, gpu: &OnHost, there: Self::There) {
        if let (Some(field), Some(there)) = (self, there) {
            field.fetch(gpu, there);
        }
    }
}

impl Field for Randomness {
    type There = cuda::Buffer;
    type Lent<'v> = cuda::Randomness;

    fn send(&self, gpu: &OnHost) -> cuda::Buffer {
        // The second of two axes is the one meant.
        let mut words = vec![0; RunScalars::words(2)];
        RunScalars::write(&mut words, self.philox.key, self.step, [1 << 50, self.first_row]);
        gpu.send(&words)
    }
    fn lend(there: &mut cuda::Buffer) -> cuda::Randomness {
        Views::<Global>::new(there).randomness(0, Some(1))
    }
}

impl Field for embedding::Indices<'_, Host> {
    type There = [cuda::Buffer; 3];
    type Lent<'v> = embedding::Indices<'v, Global>;

    fn send(&self, gpu: &OnHost) -> Self::There {
        [self.tokens, self.positions, self.segments].map(|list| gpu.send(list))
    }
    fn lend([tokens, positions, segments]: &mut Self::There) -> Self::Lent<'_> {
        let (tokens, positions) = (<&[i32]>::lend(tokens), <&[i32]>::lend(positions));
        embedding::Indices { tokens, positions, segments: <&[i32]>::lend(segments) }
    }
}

/// What is no memory is handed on.
macro_rules! unchanged {
    ($($field:ty),*) => {$(
        impl Field for $field {
            type There = Self;
            type Lent<'v> = Self;

            fn send(&self, _: &OnHost) -> Self {
                *self
            }
            fn lend(there: &mut Self) -> Self {
                *there
            }
        }
    )*};
}
unchanged!(usize, Store, columns::Place);

/// A field, and what it has become.
struct Moved<F: Field> {
    here: F,
    there: F::There,
}

impl<F: Field> Moved<F> {
    fn new(gpu: &OnHost, here: F) -> Self {
        let there = here.send(gpu);
        Self { here, there }
    }

    fn lend(&mut self) -> F::Lent<'_> {
        F::lend(&mut self.there)
    }

    fn fetch(self, gpu: &OnHost) {
        self.here.fetch(gpu, self.there);
    }
}

/// Writes the kernels from one table: method, constants, operands and their fields, and those that stay where they are.
macro_rules! on_host {
    ($($method:ident: $module:ident::$operands:ident($constants:ty) $(in $lifted:ident)?
        { $($field:ident),* $(; $stays:ident)? };)*) => {
        impl<P: CudaPrecision> Kernels<P> for OnHost {
            $(fn $method(
                &self,
                constants: &$constants,
                operands: $module::$operands<'_, Host, on_host!(P $($lifted)?)>,
            ) {
                let $module::$operands { $($field,)* $($stays)? } = operands;
                $(let mut $field = Moved::new(self, $field);)*
                let operands = $module::$operands { $($field: $field.lend(),)* $($stays)? };
                Kernels::<P>::$method(&self.0, constants, operands);
                $($field.fetch(self);)*
                self.0.status().unwrap_or_else(|error| panic!("{}: {error}", stringify!($method)));
            })*
        }
    };
    ($precision:ident) => { $precision };
    ($precision:ident $lifted:ident) => { $lifted<$precision> };
}

on_host! {
    embedding_forward: embedding::Forward(embedding::Embedding) { indices, words, positions, segments, y };
    embedding_backward: embedding::Backward(embedding::Embedding) {
        indices, token_order, dy, d_words, d_positions, d_segments
    };
    linear_forward: linear::Forward(linear::Linear) { x, weight, bias, preactivation, y };
    linear_input_gradient: linear::InputGradient(linear::Linear) { du, weight, dx, store };
    linear_preactivation_gradient: linear::PreactivationGradient(linear::AfterActivation) {
        dy, weight, saved, du
    };
    linear_weight_gradient: linear::WeightGradient(linear::Linear) { x, du, d_weight, d_bias };
    activation_forward: activation::Forward(Activation) { x, y };
    activation_backward: activation::Backward(Activation) { saved, dy, du };
    layer_norm_forward: layer_norm::Forward(layer_norm::LayerNorm) {
        x, residual, gamma, beta, randomness, logical_rows, sum, mean, rstd, y
    };
    layer_norm_backward: layer_norm::Backward(layer_norm::LayerNorm) {
        sum, mean, rstd, gamma, dy, randomness, logical_rows, d_sum, store, d_x, d_gamma, d_beta
    };
    attention_forward: attention::Forward(attention::Attention) {
        qkv, offsets, randomness, context, log_sum_exp
    };
    attention_backward: attention::Backward(attention::Attention) {
        qkv, offsets, randomness, context, log_sum_exp, d_context, d_qkv
    };
    dropout_forward: dropout::Forward(dropout::Dropout) { width, randomness, logical_rows, x, y };
    dropout_backward: dropout::Backward(dropout::Dropout) { width, randomness, logical_rows, dy, dx, store };
    gather_forward: gather::Forward(gather::Gather) { rows, x, y };
    gather_backward: gather::Backward(gather::Gather) { rows, dy, dx, store };
    cross_entropy_forward: cross_entropy::Forward(cross_entropy::CrossEntropy) {
        logits, labels, weights, loss, row_loss, log_sum_exp, prediction
    };
    cross_entropy_backward: cross_entropy::Backward(cross_entropy::CrossEntropy) {
        logits, labels, weights, log_sum_exp, d_loss, d_logits
    };
    sequence_cross_entropy_forward:
        sequence_cross_entropy::Forward(sequence_cross_entropy::SequenceCrossEntropy) {
            logits, offsets, labels, weights, loss, sequence_loss, log_sum_exp, prediction
        };
    sequence_cross_entropy_backward:
        sequence_cross_entropy::Backward(sequence_cross_entropy::SequenceCrossEntropy) {
            logits, offsets, labels, weights, log_sum_exp, d_loss, d_logits
        };
    squared_error_forward: squared_error::Forward(squared_error::SquaredError) { x, targets, weights, loss };
    squared_error_backward: squared_error::Backward(squared_error::SquaredError) {
        x, targets, weights, d_loss, dx, store
    };
    add_forward: add::Forward(add::Add) { a, b, y };
    add_masters: add::Forward(add::Add) in Masters { a, b, y };
    scale_forward: scale::Forward(scale::Scale) { x, y, store };
    scale_masters: scale::Forward(scale::Scale) in Masters { x, y, store };
    columns_copy: columns::Copy(columns::Columns) { x, y, place };
    sequence_softmax_forward: sequence_softmax::Forward(sequence_softmax::SequenceSoftmax) { x, offsets, y };
    sequence_softmax_backward: sequence_softmax::Backward(sequence_softmax::SequenceSoftmax) {
        y, offsets, dy, dx, store
    };
    sequence_sum_forward: sequence_sum::Forward(sequence_sum::SequenceSum) { weights, x, offsets, y };
    sequence_sum_backward: sequence_sum::Backward(sequence_sum::SequenceSum) {
        weights, x, offsets, dy, d_weights, store_weights, dx, store
    };
    optimizer_update: optimizer::Operands(optimizer::Update) {
        parameters, gradients, norm, loss, first_moments, second_moments; segments
    };
    gradient_norm: optimizer::Norm(()) { gradients, norm };
    prepare_weights: optimizer::Weights(()) { masters, weights };
}

impl std::fmt::Debug for OnHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
