//! The flat buffers, read and replaced.

use std::ops::Range;

use kernels::memory::Memory;
use kernels::optimizer::Weights;
use kernels::{Element, Kernels, Real};

use super::on::On;
use super::rounding::round;
use crate::step_memory::Buffer;

/// The flat buffers that outlive a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Values of the parameters.
    Values,
    /// Their gradients, summed since [`Runtime::zero_gradients`](super::Runtime::zero_gradients).
    Gradients,
    /// m
    FirstMoments,
    /// v
    SecondMoments,
}

impl<B: Kernels<P>, P: kernels::Precision> On<B, P> {
    pub(super) fn state(&self, state: State) -> &Buffer<B> {
        match state {
            State::Values => &self.masters,
            State::Gradients => &self.gradients,
            State::FirstMoments => &self.first_moments,
            State::SecondMoments => &self.second_moments,
        }
    }

    pub(super) fn download<T: Element>(&self, buffer: &Buffer<B>) -> Vec<T> {
        let mut numbers = vec![T::zeroed(); B::Memory::bytes(buffer) / size_of::<T>()];
        self.backend.download(buffer, 0, bytemuck::cast_slice_mut(&mut numbers));
        numbers
    }

    pub(super) fn read<T: Real>(&self, state: State) -> Vec<T> {
        self.download::<P::Master>(self.state(state))
            .iter()
            .map(|value| T::from_f64(value.to_f64()))
            .collect()
    }

    pub(super) fn read_range<T: Real>(&self, state: State, range: Range<usize>, into: &mut Vec<T>) {
        let mut numbers = vec![<P::Master as bytemuck::Zeroable>::zeroed(); range.len()];
        let at = range.start * size_of::<P::Master>();
        self.backend.download(self.state(state), at, bytemuck::cast_slice_mut(&mut numbers));
        into.extend(numbers.iter().map(|value| T::from_f64(value.to_f64())));
    }

    pub(super) fn write<T: Real>(&mut self, state: State, values: &[T]) {
        let length = B::Memory::bytes(self.state(state)) / size_of::<P::Master>();
        assert!(
            state == State::Values || length > 0,
            "{state:?} are there once a plan that trains is loaded"
        );
        assert_eq!(length, values.len(), "a flat buffer has one length");
        self.write_parts(
            state,
            values.chunks(1 << 16).enumerate().map(|(n, chunk)| (n << 16, chunk.to_vec())),
        );
    }

    pub(super) fn write_parts<T: Real>(
        &mut self,
        state: State,
        parts: impl IntoIterator<Item = (usize, Vec<T>)>,
    ) {
        let buffer = match state {
            State::Values => &mut self.masters,
            State::Gradients => &mut self.gradients,
            State::FirstMoments => &mut self.first_moments,
            State::SecondMoments => &mut self.second_moments,
        };
        for (first, values) in parts {
            let numbers: Vec<P::Master> = values.iter().map(|value| Real::from_f64(value.to_f64())).collect();
            self.backend.upload(bytemuck::cast_slice(&numbers), buffer, first * size_of::<P::Master>());
        }
        match state {
            State::Values => self.prepare_weights(),
            State::Gradients => self.norm_is_known = false,
            State::FirstMoments | State::SecondMoments => {}
        }
    }

    /// Rounds the weights to what products read.
    pub(super) fn prepare_weights(&mut self) {
        let Some(weights) = &mut self.weights else { return };
        let (backend, masters) = (&self.backend, &self.masters);
        backend.run(|| {
            let masters = B::Memory::slice(masters, 0..B::Memory::bytes(masters));
            backend.prepare_weights(&(), Weights { masters, weights: B::Memory::slice_mut(weights) });
        });
        if self.rounds {
            let length = B::Memory::bytes(weights);
            round::<B, P>(backend, weights, 0..length);
        }
    }
}
