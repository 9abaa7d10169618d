//! Where a step's operands lie, in whatever memory: what the executor hands to a kernel.

use kernels::memory::{Memory, Views};
use kernels::{Backend, Element, Precision, Store, embedding};

use crate::plan::{Location, Operand, Step};
use crate::shape::{AxisSpec, Rows};

/// A buffer of a backend.
pub(crate) type Buffer<B> = <<B as Backend>::Memory as Memory>::Buffer;

type Slice<'a, B, T> = <<B as Backend>::Memory as Memory>::Slice<'a, T>;
type SliceMut<'a, B, T> = <<B as Backend>::Memory as Memory>::SliceMut<'a, T>;
type Randomness<B> = <<B as Backend>::Memory as Memory>::Randomness;

/// What the steps of one run work on.
pub(crate) struct StepMemory<'a, B: Backend> {
    pub arena: &'a mut Buffer<B>,
    pub masters: &'a Buffer<B>,
    /// The copies of weights that products read, if those are not the masters themselves.
    pub weights: Option<&'a Buffer<B>>,
    pub gradients: &'a mut Buffer<B>,
    pub axes: &'a [AxisSpec],
    /// Length of every axis in this run.
    pub lengths: &'a [usize],
    /// Where the scalars of the run lie in the arena.
    pub scalars: usize,
}

impl<B: Backend> StepMemory<'_, B> {
    /// The operands of a step.
    pub fn operands<'s, P: Precision>(&'s mut self, step: &'s Step) -> Operands<'s, B, P> {
        Operands {
            step,
            axes: self.axes,
            lengths: self.lengths,
            scalars: self.scalars,
            arena: Views::new(self.arena),
            gradients: Views::new(self.gradients),
            masters: self.masters,
            weights: self.weights.unwrap_or(self.masters),
            precision: std::marker::PhantomData,
        }
    }
}

/// The operands of one step, by position. No operand that is written overlaps another: [`Views`] sees to it.
pub(crate) struct Operands<'s, B: Backend, P> {
    pub step: &'s Step,
    axes: &'s [AxisSpec],
    lengths: &'s [usize],
    scalars: usize,
    arena: Views<'s, B::Memory>,
    gradients: Views<'s, B::Memory>,
    masters: &'s Buffer<B>,
    weights: &'s Buffer<B>,
    precision: std::marker::PhantomData<P>,
}

impl<'s, B: Backend, P: Precision> Operands<'s, B, P> {
    fn read<T: Element>(&mut self, position: usize) -> Slice<'s, B, T> {
        let Operand { location, shape, .. } = self.step.reads[position];
        let length = shape.elements(self.lengths) * size_of::<T>();
        match location {
            Location::Arena(offset) => self.arena.read(offset..offset + length),
            Location::Weight(first) => B::Memory::slice(self.weights, bytes::<T>(first, length)),
            Location::Master(first) => B::Memory::slice(self.masters, bytes::<T>(first, length)),
        }
    }

    pub fn write<T: Element>(&mut self, position: usize) -> Option<SliceMut<'s, B, T>> {
        let Operand { location, shape, .. } = (*self.step.writes.get(position)?)?;
        let Location::Arena(offset) = location else { unreachable!("no step writes a parameter") };
        Some(self.arena.write(offset..offset + shape.elements(self.lengths) * size_of::<T>()))
    }

    pub fn activation(&mut self, position: usize) -> Slice<'s, B, P::Activation> {
        self.read(position)
    }

    pub fn master(&mut self, position: usize) -> Slice<'s, B, P::Master> {
        self.read(position)
    }

    pub fn index(&mut self, position: usize) -> Slice<'s, B, i32> {
        self.read(position)
    }

    pub fn index_if(&mut self, position: usize) -> Option<Slice<'s, B, i32>> {
        self.has(position).then(|| self.index(position))
    }

    /// Whether there is an operand to read at `position`.
    pub fn has(&self, position: usize) -> bool {
        position < self.step.reads.len()
    }

    pub fn activation_mut(&mut self, position: usize) -> SliceMut<'s, B, P::Activation> {
        self.write(position).expect("what a kernel must write has a place")
    }

    pub fn master_mut(&mut self, position: usize) -> SliceMut<'s, B, P::Master> {
        self.write(position).expect("what a kernel must write has a place")
    }

    pub fn index_mut(&mut self, position: usize) -> SliceMut<'s, B, i32> {
        self.write(position).expect("what a kernel must write has a place")
    }

    /// The gradient of a parameter that is added to, if there are so many.
    pub fn gradient_if(&mut self, position: usize) -> Option<SliceMut<'s, B, P::Master>> {
        let range = self.step.accumulates.get(position)?;
        let size = size_of::<P::Master>();
        Some(self.gradients.write(range.start * size..range.end * size))
    }

    pub fn gradient(&mut self, position: usize) -> SliceMut<'s, B, P::Master> {
        self.gradient_if(position).expect("a parameter's gradient has a place")
    }

    /// An activation that is read, unless the first output takes its place.
    pub fn activation_unless_overwritten(&mut self, position: usize) -> Option<Slice<'s, B, P::Activation>> {
        let output = self.step.writes.first().copied().flatten().map(|output| output.location);
        (output != Some(self.step.reads[position].location)).then(|| self.activation(position))
    }

    /// Whether the output at `position` is stored or added to.
    pub fn store(&self, position: usize) -> Store {
        self.step.stores[position]
    }

    /// The coins of rows like those of the operand read at `position`; of a union's rows, those of the axis that they are
    /// rows of.
    pub fn randomness(&self, position: usize) -> Randomness<B> {
        let axis = match self.step.reads[position].shape.rows {
            Rows::Along(axis) => Some(self.axes[axis.0].rows_of.unwrap_or(axis).0),
            Rows::Fixed(_) | Rows::Offsets(_) => None,
        };
        self.arena.randomness(self.scalars, axis)
    }

    pub fn indices(
        &mut self,
        [tokens, positions, segments]: [usize; 3],
    ) -> embedding::Indices<'s, B::Memory> {
        embedding::Indices {
            tokens: self.index(tokens),
            positions: self.index(positions),
            segments: self.index(segments),
        }
    }
}

/// The bytes of `length` bytes of numbers from number `first` on.
fn bytes<T>(first: usize, length: usize) -> std::ops::Range<usize> {
    first * size_of::<T>()..first * size_of::<T>() + length
}
