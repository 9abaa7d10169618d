//! Operands of kernels on any device: random numbers, and lists that are like those of real batches.

use std::marker::PhantomData;

use kernels::memory::{Memory, RunScalars, Views};
use kernels::random::{Philox, unit};
use kernels::{Backend, DeviceError, Element, Precision, Real};

/// Numbers on a device.
pub struct Numbers<M: Memory, T> {
    buffer: M::Buffer,
    number: PhantomData<T>,
}

impl<M: Memory, T: Element> Numbers<M, T> {
    /// To be read.
    pub fn read(&self) -> M::Slice<'_, T> {
        M::slice(&self.buffer, 0..M::bytes(&self.buffer))
    }

    /// To be written.
    pub fn write(&mut self) -> M::SliceMut<'_, T> {
        M::slice_mut(&mut self.buffer)
    }
}

/// Where dropout's coins come from.
pub struct Coins<M: Memory>(M::Buffer);

impl<M: Memory> Coins<M> {
    /// Those of the first row on.
    pub fn toss(&mut self) -> M::Randomness {
        Views::<M>::new(&mut self.0).randomness(0, Some(0))
    }
}

/// Random numbers are drawn once so many, and then come again.
const DRAWN: usize = 1 << 20;

/// Makes operands on a device, in one precision.
pub struct Operands<'a, B, P: Precision> {
    backend: &'a B,
    activations: Vec<P::Activation>,
    masters: Vec<P::Master>,
}

/// Activations on the device `B` in the precision `P`.
pub type Activations<B, P> = Numbers<<B as Backend>::Memory, <P as Precision>::Activation>;
/// Masters.
pub type Masters<B, P> = Numbers<<B as Backend>::Memory, <P as Precision>::Master>;
/// Indices.
pub type Indices<B> = Numbers<<B as Backend>::Memory, i32>;

impl<'a, B: Backend, P: Precision> Operands<'a, B, P> {
    /// For `backend`.
    pub fn new(backend: &'a B) -> Self {
        let philox = Philox::new(1, 0);
        let numbers = || (0..DRAWN as u64).map(|index| 2.0 * unit(philox.word(0, index)) - 1.0);
        let activations = numbers().map(Real::from_f64).collect();
        Self { backend, activations, masters: numbers().map(Real::from_f64).collect() }
    }

    fn repeated<T: Element>(&self, drawn: &[T], length: usize) -> Result<Numbers<B::Memory, T>, DeviceError> {
        let mut buffer = self.backend.allocate(length * size_of::<T>())?;
        for first in (0..length).step_by(drawn.len().max(1)) {
            let part = &drawn[..drawn.len().min(length - first)];
            self.backend.upload(bytemuck::cast_slice(part), &mut buffer, first * size_of::<T>());
        }
        self.backend.status()?;
        Ok(Numbers { buffer, number: PhantomData })
    }

    /// Random activations in [−1, 1).
    pub fn activations(&self, length: usize) -> Result<Activations<B, P>, DeviceError> {
        self.repeated(&self.activations, length)
    }

    /// Random masters in [−1, 1).
    pub fn masters(&self, length: usize) -> Result<Masters<B, P>, DeviceError> {
        self.repeated(&self.masters, length)
    }

    /// The same master again and again.
    pub fn constants(&self, length: usize, value: f64) -> Result<Masters<B, P>, DeviceError> {
        self.repeated(&vec![Real::from_f64(value); DRAWN.min(length)], length)
    }

    /// These numbers.
    pub fn of<T: Element>(&self, numbers: &[T]) -> Result<Numbers<B::Memory, T>, DeviceError> {
        self.repeated(numbers, numbers.len())
    }

    /// An index for each of `length` rows.
    pub fn indices(&self, length: usize, index: impl Fn(usize) -> usize) -> Result<Indices<B>, DeviceError> {
        self.of(&(0..length).map(|row| index(row) as i32).collect::<Vec<_>>())
    }

    /// Coins.
    pub fn coins(&self) -> Result<Coins<B::Memory>, DeviceError> {
        let mut words = vec![0; RunScalars::words(1)];
        RunScalars::write(&mut words, [7, 9], 3, [0]);
        Ok(Coins(self.of(&words)?.buffer))
    }
}

/// A piece of a vocabulary for a row: every eighth is the same one, as masked ones are, the others are spread.
pub fn token(row: usize, vocabulary: usize) -> usize {
    if row.is_multiple_of(8) { 4 } else { row * 7919 % vocabulary }
}
