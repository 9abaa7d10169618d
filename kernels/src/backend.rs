//! What a device is, and the list of operations that it has kernels for.

use std::convert::Infallible;

use crate::cpu::CpuPrecision;
use crate::cpu::simd::Stored;
use crate::cpu::threads::{Grid, Pieces};
use crate::cuda::{Cuda, CudaPrecision, Global};
use crate::memory::{Buffer, DeviceError, Host, LARGE_PAGE, Memory};
use crate::precision::{F64, Masters, Precision};
use crate::{
    Cpu, activation, add, attention, columns, cross_entropy, dropout, embedding, gather, layer_norm, linear,
    optimizer, scale, sequence_cross_entropy, sequence_softmax, sequence_sum, squared_error,
};

/// Whether a result replaces what its destination holds or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Store {
    /// The destination's old content is not read: it may be anything, NaN included.
    Assign,
    /// The result is added to the destination.
    Add,
}

impl Store {
    /// Stores `value` at `destination`, or adds it.
    #[inline(always)]
    pub(crate) fn put<R: std::ops::AddAssign>(self, destination: &mut R, value: R) {
        match self {
            Self::Assign => *destination = value,
            Self::Add => *destination += value,
        }
    }

    /// The same with a destination that may be stored in less than f32.
    #[inline(always)]
    pub(crate) fn round<A: Stored>(self, destination: &mut A, value: f32) {
        *destination = A::narrow(match self {
            Self::Assign => value,
            Self::Add => destination.widen() + value,
        });
    }
}

/// The oracle: every operation in f64, one scalar after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

/// A device: how its memory is had, and how its kernels are called.
pub trait Backend: Send + Sync {
    /// Where its operands live.
    type Memory: Memory;
    /// A list of kernel calls that can be made again as one.
    type Recording: Send + Sync;
    /// Memory of the host that the device copies from by itself, while the host goes on.
    type Outgoing: Send + Sync;
    /// Memory of the host that the device copies to by itself, while the host goes on.
    type Incoming: Send + Sync;
    /// Whether it is worth recording what is called again and again.
    const RECORDS: bool = false;

    /// `bytes` bytes of zeros.
    ///
    /// # Errors
    /// If the device has not so much memory.
    fn allocate(&self, bytes: usize) -> Result<<Self::Memory as Memory>::Buffer, DeviceError>;

    /// Copies bytes to a buffer, from byte `at` on.
    fn upload(&self, from: &[u8], to: &mut <Self::Memory as Memory>::Buffer, at: usize);

    /// Copies bytes from a buffer, from byte `at` on, when all kernels before have run.
    fn download(&self, from: &<Self::Memory as Memory>::Buffer, at: usize, to: &mut [u8]);

    /// Memory for `bytes` bytes that are sent again and again, and what the device needs to take them.
    ///
    /// # Errors
    /// If there is not so much memory.
    fn outgoing(&self, bytes: usize) -> Result<Self::Outgoing, DeviceError>;

    /// Where the bytes are written that are to be sent. Waits for what was sent before to be on the device; of two that are used
    /// in turn, the one that comes next mostly is there.
    fn to_send<'a>(&self, outgoing: &'a mut Self::Outgoing) -> &'a mut [u8];

    /// What was written there.
    fn sent<'a>(&self, outgoing: &'a Self::Outgoing) -> &'a [u8];

    /// Copies the first `bytes` bytes to the start of a buffer, behind all that was asked for before, and does not wait.
    fn send(&self, outgoing: &mut Self::Outgoing, bytes: usize, to: &mut <Self::Memory as Memory>::Buffer);

    /// Memory for `bytes` bytes that are fetched.
    ///
    /// # Errors
    /// If there is not so much memory.
    fn incoming(&self, bytes: usize) -> Result<Self::Incoming, DeviceError>;

    /// Copies `bytes` bytes of a buffer, from byte `at` on, behind all that was asked for before, and does not wait.
    fn fetch(
        &self,
        from: &<Self::Memory as Memory>::Buffer,
        at: usize,
        bytes: usize,
        incoming: &mut Self::Incoming,
    );

    /// What was fetched last, once it is there.
    fn fetched<'a>(&self, incoming: &'a Self::Incoming) -> &'a [u8];

    /// Sees to it that kernels have `bytes` bytes of work space, and get no more from then on. What was recorded before is not to be
    /// repeated.
    ///
    /// # Errors
    /// If there is not so much memory.
    fn reserve(&self, _bytes: usize) -> Result<(), DeviceError> {
        Ok(())
    }

    /// Makes a buffer all zeros.
    fn clear(&self, buffer: &mut <Self::Memory as Memory>::Buffer);

    /// Whether everything that was asked for so far has been done, as far as is known without waiting: after a first failure nothing is.
    ///
    /// # Errors
    /// What failed first.
    fn status(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    /// Waits for everything that was asked for.
    ///
    /// # Errors
    /// As [`Self::status`].
    fn finish(&self) -> Result<(), DeviceError> {
        self.status()
    }

    /// What was computed in a slower way than the device has, in words for a person.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }

    /// Records the calls that `work` makes instead of doing them, if it can. Every kernel has been called before with operands of these shapes.
    /// Where the device has no memory for the recording, `make_room` is asked to drop an earlier one, until it says that there is none, and
    /// `work` is recorded anew.
    fn record(&self, work: impl FnMut(), make_room: impl FnMut() -> bool) -> Option<Self::Recording>;

    /// Whether so little of the device's memory is left that nothing more should be kept there for speed alone.
    fn is_short_of_memory(&self) -> bool {
        false
    }

    /// Bytes of the device's memory that a recording is taken to need.
    fn recording_size(&self, recording: &Self::Recording) -> usize;

    /// Does what was recorded. The buffers of its operands must still be those that they were.
    fn replay(&self, recording: &Self::Recording);

    /// Runs `work`, a list of kernel calls, where the device likes to be called from.
    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        work()
    }
}

/// Host memory is allocated and copied in one way.
macro_rules! host_memory {
    () => {
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
            to[..bytes].copy_from_slice(&outgoing[..bytes]);
        }
        fn incoming(&self, bytes: usize) -> Result<Buffer<u8>, DeviceError> {
            Buffer::new(bytes)
        }
        fn fetch(&self, from: &Buffer<u8>, at: usize, bytes: usize, incoming: &mut Buffer<u8>) {
            incoming[..bytes].copy_from_slice(&from[at..at + bytes]);
        }
        fn fetched<'a>(&self, incoming: &'a Buffer<u8>) -> &'a [u8] {
            incoming
        }
    };
}

impl Backend for Reference {
    host_memory!();

    fn clear(&self, buffer: &mut Buffer<u8>) {
        buffer.fill(0);
    }
}

impl Backend for Cpu {
    host_memory!();

    fn clear(&self, buffer: &mut Buffer<u8>) {
        let (grid, bytes) = (Grid::new(buffer.len(), LARGE_PAGE), Pieces::new(buffer));
        // SAFETY: every range belongs to one task.
        self.for_each_range(grid, |_, range| unsafe { bytes.piece(range) }.fill(0));
    }

    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.enter(work)
    }
}

/// Writes the trait and its implementations from one table: method, constants, operands.
macro_rules! operations {
    ($($(#[$doc:meta])* $method:ident: $module:ident::$function:ident($constants:ty, $operands:ident) $(in $lifted:ident)?;)*) => {
        /// The names of all operations.
        pub const KERNELS: &[&str] = &[$(stringify!($method)),*];

        /// The kernels of a device in one precision.
        ///
        /// Every method panics, and names the operand, if one does not have the shape that its contract gives it.
        pub trait Kernels<P: Precision>: Backend {
            $($(#[$doc])* fn $method(
                &self,
                constants: &$constants,
                operands: $module::$operands<'_, Self::Memory, operations!(P $($lifted)?)>,
            );)*
        }

        impl Kernels<F64> for Reference {
            $(fn $method(
                &self,
                constants: &$constants,
                operands: $module::$operands<'_, Host, operations!(F64 $($lifted)?)>,
            ) {
                operands.check(constants);
                $module::reference::$function(constants, operands);
            })*
        }

        impl<P: CpuPrecision> Kernels<P> for Cpu {
            $(fn $method(
                &self,
                constants: &$constants,
                operands: $module::$operands<'_, Host, operations!(P $($lifted)?)>,
            ) {
                operands.check(constants);
                $module::cpu::$function(self, constants, operands);
            })*
        }

        impl<P: CudaPrecision> Kernels<P> for Cuda {
            $(fn $method(
                &self,
                constants: &$constants,
                operands: $module::$operands<'_, Global, operations!(P $($lifted)?)>,
            ) {
                operands.check(constants);
                $module::cuda::$function(self, constants, operands);
            })*
        }
    };
    ($precision:ident) => { $precision };
    ($precision:ident $lifted:ident) => { $lifted<$precision> };
}

operations! {
    /// See [`embedding`].
    embedding_forward: embedding::forward(embedding::Embedding, Forward);
    /// See [`embedding`].
    embedding_backward: embedding::backward(embedding::Embedding, Backward);
    /// See [`linear`].
    linear_forward: linear::forward(linear::Linear, Forward);
    /// See [`linear`].
    linear_input_gradient: linear::input_gradient(linear::Linear, InputGradient);
    /// See [`linear`].
    linear_preactivation_gradient:
        linear::preactivation_gradient(linear::AfterActivation, PreactivationGradient);
    /// See [`linear`].
    linear_weight_gradient: linear::weight_gradient(linear::Linear, WeightGradient);
    /// See [`activation`].
    activation_forward: activation::forward(activation::Activation, Forward);
    /// See [`activation`].
    activation_backward: activation::backward(activation::Activation, Backward);
    /// See [`layer_norm`].
    layer_norm_forward: layer_norm::forward(layer_norm::LayerNorm, Forward);
    /// See [`layer_norm`].
    layer_norm_backward: layer_norm::backward(layer_norm::LayerNorm, Backward);
    /// See [`attention`].
    attention_forward: attention::forward(attention::Attention, Forward);
    /// See [`attention`].
    attention_backward: attention::backward(attention::Attention, Backward);
    /// See [`dropout`].
    dropout_forward: dropout::forward(dropout::Dropout, Forward);
    /// See [`dropout`].
    dropout_backward: dropout::backward(dropout::Dropout, Backward);
    /// See [`gather`].
    gather_forward: gather::forward(gather::Gather, Forward);
    /// See [`gather`].
    gather_backward: gather::backward(gather::Gather, Backward);
    /// See [`cross_entropy`].
    cross_entropy_forward: cross_entropy::forward(cross_entropy::CrossEntropy, Forward);
    /// See [`cross_entropy`].
    cross_entropy_backward: cross_entropy::backward(cross_entropy::CrossEntropy, Backward);
    /// See [`sequence_cross_entropy`].
    sequence_cross_entropy_forward:
        sequence_cross_entropy::forward(sequence_cross_entropy::SequenceCrossEntropy, Forward);
    /// See [`sequence_cross_entropy`].
    sequence_cross_entropy_backward:
        sequence_cross_entropy::backward(sequence_cross_entropy::SequenceCrossEntropy, Backward);
    /// See [`squared_error`].
    squared_error_forward: squared_error::forward(squared_error::SquaredError, Forward);
    /// See [`squared_error`].
    squared_error_backward: squared_error::backward(squared_error::SquaredError, Backward);
    /// See [`add`].
    add_forward: add::forward(add::Add, Forward);
    /// See [`add`]: of losses.
    add_masters: add::forward(add::Add, Forward) in Masters;
    /// See [`scale`].
    scale_forward: scale::forward(scale::Scale, Forward);
    /// See [`scale`]: of losses.
    scale_masters: scale::forward(scale::Scale, Forward) in Masters;
    /// See [`columns`].
    columns_copy: columns::copy(columns::Columns, Copy);
    /// See [`sequence_softmax`].
    sequence_softmax_forward: sequence_softmax::forward(sequence_softmax::SequenceSoftmax, Forward);
    /// See [`sequence_softmax`].
    sequence_softmax_backward: sequence_softmax::backward(sequence_softmax::SequenceSoftmax, Backward);
    /// See [`sequence_sum`].
    sequence_sum_forward: sequence_sum::forward(sequence_sum::SequenceSum, Forward);
    /// See [`sequence_sum`].
    sequence_sum_backward: sequence_sum::backward(sequence_sum::SequenceSum, Backward);
    /// See [`optimizer`].
    optimizer_update: optimizer::update(optimizer::Update, Operands);
    /// See [`optimizer`].
    gradient_norm: optimizer::norm((), Norm);
    /// See [`optimizer`].
    prepare_weights: optimizer::prepare((), Weights);
}
