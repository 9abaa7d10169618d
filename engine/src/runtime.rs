//! A device, the parameters that live on it, and the plans loaded into it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernels::memory::{Memory, RunScalars};
use kernels::optimizer::{Norm, Operands, Segment, Update, Weights};
use kernels::precision::{Bf16, F32, F64};
use kernels::random::Philox;
use kernels::{Backend, Cpu, DeviceError, Element, Kernels, Real, Reference, Store, scale};

use crate::error::RunError;
use crate::execute::{Buffer, StepMemory, execute};
use crate::graph::{Content, InputSpec, Kind};
use crate::parameters::Parameters;
use crate::plan::{Location, Operand, Plan, Precision};
use crate::purpose;

/// What the reference device rounds to when it simulates bf16.
type Rounded = <Bf16 as kernels::Precision>::Activation;

/// What computes.
#[derive(Debug)]
pub enum Device {
    /// f64, one scalar after the other: the oracle.
    Reference,
    /// SIMD, threads; in f32 unless [`Runtime::in_precision`] says otherwise.
    Cpu(Cpu),
}

impl Device {
    /// The precision that plans for this device are made in unless another is asked for.
    pub fn precision(&self) -> Precision {
        match self {
            Self::Reference => Precision::F64,
            Self::Cpu(_) => Precision::F32,
        }
    }
}

/// A plan loaded into a [`Runtime`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanId(usize);

/// What a run of a plan is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bindings<'a> {
    /// Members of every axis, in the order of their declaration.
    pub lengths: &'a [usize],
    /// Members of every axis that earlier micro-batches of the same optimizer step held; empty for the first.
    pub starts: &'a [u64],
    /// Integer inputs by name.
    pub integers: &'a [(&'a str, &'a [i32])],
    /// Real inputs by name.
    pub reals: &'a [(&'a str, &'a [f32])],
    /// The run's seed.
    pub seed: u64,
    /// The optimizer step.
    pub step: u32,
}

/// The flat buffers that outlive a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Values of the parameters.
    Values,
    /// Their gradients, summed since [`Runtime::zero_gradients`].
    Gradients,
    /// m
    FirstMoments,
    /// v
    SecondMoments,
}

/// What came of an optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Applied {
    /// Norm of all gradients together, before clipping.
    pub gradient_norm: f64,
    /// Whether the parameters were changed: only if the norm and the loss are finite.
    pub applied: bool,
}

/// Parameters on a device, and plans that work on them.
#[derive(Debug)]
pub struct Runtime(AnyRuntime);

enum AnyRuntime {
    Reference(On<Reference, F64>),
    Cpu(On<Cpu, F32>),
    CpuBf16(On<Cpu, Bf16>),
}

impl std::fmt::Debug for AnyRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reference(_) => f.write_str("Reference"),
            Self::Cpu(on) => on.backend.fmt(f),
            Self::CpuBf16(on) => on.backend.fmt(f),
        }
    }
}

/// Writes each method of [`Runtime`] once for all devices and precisions.
macro_rules! on_device {
    ($self:expr, $on:ident => $body:expr) => {
        match $self {
            AnyRuntime::Reference($on) => $body,
            AnyRuntime::Cpu($on) => $body,
            AnyRuntime::CpuBf16($on) => $body,
        }
    };
}

impl Runtime {
    /// A device, in its usual precision, with parameters that are all zero until they are written.
    ///
    /// # Errors
    /// If the parameters do not fit into the device's memory.
    pub fn new(device: Device, parameters: Arc<Parameters>) -> Result<Self, DeviceError> {
        let precision = device.precision();
        Self::in_precision(device, precision, parameters)
    }

    /// The same in a precision of choice. The reference device computes in f64 always; in bf16 it rounds every activation
    /// and every weight that a product reads, once, where it is stored: a simulation that tests measure by.
    ///
    /// # Errors
    /// If the parameters do not fit into the device's memory.
    ///
    /// # Panics
    /// If the device has no such precision.
    pub fn in_precision(
        device: Device,
        precision: Precision,
        parameters: Arc<Parameters>,
    ) -> Result<Self, DeviceError> {
        Ok(Self(match (device, precision) {
            (Device::Reference, Precision::F64) => {
                AnyRuntime::Reference(On::new(Reference, false, parameters)?)
            }
            (Device::Reference, Precision::Bf16) => {
                AnyRuntime::Reference(On::new(Reference, true, parameters)?)
            }
            (Device::Cpu(cpu), Precision::F32) => AnyRuntime::Cpu(On::new(cpu, false, parameters)?),
            (Device::Cpu(cpu), Precision::Bf16) => AnyRuntime::CpuBf16(On::new(cpu, false, parameters)?),
            (device, precision) => panic!("{device:?} does not compute in {precision}"),
        }))
    }

    /// The layout of the flat buffers.
    pub fn parameters(&self) -> &Arc<Parameters> {
        on_device!(&self.0, on => &on.parameters)
    }

    /// The precision that plans for this runtime are made in.
    pub fn precision(&self) -> Precision {
        match &self.0 {
            AnyRuntime::Reference(_) => Precision::F64,
            AnyRuntime::Cpu(_) => Precision::F32,
            AnyRuntime::CpuBf16(_) => Precision::Bf16,
        }
    }

    /// Takes a plan and makes room for it. All plans of a runtime share one arena.
    ///
    /// # Errors
    /// If the plan does not fit into the device's memory; the runtime stays as it was.
    ///
    /// # Panics
    /// If the plan was made in another precision or over other parameters.
    pub fn load(&mut self, plan: Plan) -> Result<PlanId, DeviceError> {
        assert_eq!(plan.precision, self.precision(), "a plan is made in its runtime's precision");
        on_device!(&mut self.0, on => on.load(plan))
    }

    /// Forgets all plans and gives back the memory that they needed: arena, gradients, moments. The values stay.
    pub fn unload(&mut self) {
        on_device!(&mut self.0, on => on.unload());
    }

    /// A loaded plan.
    pub fn plan(&self, plan: PlanId) -> &Plan {
        on_device!(&self.0, on => &on.plans[plan.0].plan)
    }

    /// Runs every step of a plan.
    ///
    /// # Errors
    /// If the inputs do not fit the plan; nothing has run then.
    ///
    /// # Panics
    /// If `lengths` or `starts` are not those of the plan's axes.
    pub fn run(&mut self, plan: PlanId, bindings: &Bindings<'_>) -> Result<(), RunError> {
        on_device!(&mut self.0, on => on.run(plan, bindings))
    }

    /// An output of the last run.
    ///
    /// # Panics
    /// If the last run was of another plan, or the plan has no output of that name.
    pub fn output(&self, plan: PlanId, name: &str) -> Vec<f64> {
        let mut values = Vec::new();
        self.read_output(plan, name, &mut values);
        values
    }

    /// The same into a vector whose memory is used again.
    ///
    /// # Panics
    /// As [`Self::output`], and if the output is a list of integers.
    pub fn read_output<T: Real>(&self, plan: PlanId, name: &str, into: &mut Vec<T>) {
        on_device!(&self.0, on => on.read_output(plan, name, into));
    }

    /// The same of integers, such as the predictions of a classifier.
    ///
    /// # Panics
    /// As [`Self::output`], and if the output is none of integers.
    pub fn read_indices(&self, plan: PlanId, name: &str, into: &mut Vec<i32>) {
        on_device!(&self.0, on => on.read_indices(plan, name, into));
    }

    /// A copy of one of the flat buffers.
    pub fn read<T: Real>(&self, state: State) -> Vec<T> {
        on_device!(&self.0, on => on.read(state))
    }

    /// Adds the elements `range` of one of the flat buffers to a vector.
    ///
    /// # Panics
    /// If the buffer ends before.
    pub fn read_range<T: Real>(&self, state: State, range: Range<usize>, into: &mut Vec<T>) {
        on_device!(&self.0, on => on.read_range(state, range, into));
    }

    /// One of the flat buffers in f32: itself where that is what the host's memory holds, else a copy.
    pub fn view(&self, state: State) -> Cow<'_, [f32]> {
        match &self.0 {
            AnyRuntime::Reference(on) => Cow::Owned(on.read(state)),
            AnyRuntime::Cpu(on) => Cow::Borrowed(bytemuck::cast_slice(on.state(state))),
            AnyRuntime::CpuBf16(on) => Cow::Borrowed(bytemuck::cast_slice(on.state(state))),
        }
    }

    /// Replaces one of the flat buffers.
    ///
    /// # Panics
    /// If the length is not [`Parameters::buffer_length`], or gradients or moments are written before a plan that trains
    /// is loaded.
    pub fn write<T: Real>(&mut self, state: State, values: &[T]) {
        on_device!(&mut self.0, on => on.write(state, values));
    }

    /// Replaces parts of one of the flat buffers: from which element on, and by which numbers.
    ///
    /// # Panics
    /// If the buffer ends before.
    pub fn write_parts<T: Real>(&mut self, state: State, parts: impl IntoIterator<Item = (usize, Vec<T>)>) {
        on_device!(&mut self.0, on => on.write_parts(state, parts));
    }

    /// Fills the arena with `value`: a test's way to show that no run reads what it did not write.
    pub fn poison(&mut self, value: f64) {
        on_device!(&mut self.0, on => on.poison(value));
    }

    /// Sets all gradients to zero, and the loss that belongs to them.
    pub fn zero_gradients(&mut self) {
        on_device!(&mut self.0, on => on.zero_gradients());
    }

    /// The norm of all gradients together.
    pub fn gradient_norm(&mut self) -> f64 {
        on_device!(&mut self.0, on => on.gradient_norm())
    }

    /// One optimizer step with the gradients as they are: their norm is taken, they are clipped, and parameters and moments
    /// change, unless the norm or the loss, summed over the runs since [`Self::zero_gradients`], is not finite: then nothing
    /// does.
    pub fn update(&mut self, update: &Update) -> Applied {
        on_device!(&mut self.0, on => on.update(update))
    }

    /// Starts to measure how long each step takes, or stops.
    pub fn profile(&mut self, on: bool) {
        on_device!(&mut self.0, runtime => runtime.profiling = on);
    }

    /// Time spent in each kind of kernel since profiling began, longest first.
    pub fn profile_of(&self, plan: PlanId) -> Vec<(&'static str, Duration)> {
        let times = on_device!(&self.0, on => &on.plans[plan.0].times);
        let mut sums = std::collections::BTreeMap::<_, Duration>::new();
        for (step, time) in self.plan(plan).steps.iter().zip(times) {
            *sums.entry(step.operation.name()).or_default() += *time;
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|&(_, time)| std::cmp::Reverse(time));
        sums
    }
}

struct Loaded {
    plan: Plan,
    /// Time spent in each step while profiling.
    times: Vec<Duration>,
    /// Length of every axis in the last run.
    lengths: Vec<usize>,
}

/// A runtime on one backend, in one precision.
struct On<B: Backend, P: kernels::Precision> {
    backend: B,
    parameters: Arc<Parameters>,
    segments: Vec<Segment>,
    masters: Buffer<B>,
    /// Weights as products read them, where those are not the masters.
    weights: Option<Buffer<B>>,
    /// Empty until a plan that trains is loaded, as are the moments.
    gradients: Buffer<B>,
    first_moments: Buffer<B>,
    second_moments: Buffer<B>,
    /// The loss summed since gradients were zero.
    loss: Buffer<B>,
    /// The norm of the gradients, and whether it is that of the gradients as they are.
    norm: Buffer<B>,
    norm_is_known: bool,
    arena: Buffer<B>,
    /// What a run is given and what it is asked for, in the host's memory.
    inputs: Vec<u64>,
    outputs: Vec<u64>,
    plans: Vec<Loaded>,
    /// Whose values lie in the arena.
    ran: Option<PlanId>,
    profiling: bool,
    /// Whether activations are rounded to bf16 where they are stored: see [`Runtime::in_precision`].
    rounds: bool,
    precision: std::marker::PhantomData<P>,
}

impl<B: Kernels<P>, P: kernels::Precision> On<B, P> {
    fn new(backend: B, rounds: bool, parameters: Arc<Parameters>) -> Result<Self, DeviceError> {
        let length = parameters.buffer_length();
        let copies = rounds || size_of::<P::Activation>() < size_of::<P::Master>();
        let weights = copies.then(|| backend.allocate(length * size_of::<P::Activation>())).transpose()?;
        Ok(Self {
            segments: parameters.segments(),
            masters: backend.allocate(length * size_of::<P::Master>())?,
            weights,
            gradients: Buffer::<B>::default(),
            first_moments: Buffer::<B>::default(),
            second_moments: Buffer::<B>::default(),
            loss: backend.allocate(size_of::<P::Master>())?,
            norm: backend.allocate(size_of::<f64>())?,
            norm_is_known: false,
            arena: Buffer::<B>::default(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            plans: Vec::new(),
            ran: None,
            profiling: false,
            rounds,
            precision: std::marker::PhantomData,
            parameters,
            backend,
        })
    }

    fn load(&mut self, plan: Plan) -> Result<PlanId, DeviceError> {
        assert!(Arc::ptr_eq(&plan.parameters, &self.parameters), "a plan works on its runtime's parameters");
        if plan.trains && B::Memory::bytes(&self.gradients) == 0 {
            let size = self.parameters.buffer_length() * size_of::<P::Master>();
            let [gradients, first, second] = [(); 3].map(|()| self.backend.allocate(size));
            (self.gradients, self.first_moments, self.second_moments) = (gradients?, first?, second?);
        }
        if plan.arena_size > B::Memory::bytes(&self.arena) {
            self.arena = self.backend.allocate(plan.arena_size)?;
            self.ran = None;
        }
        for (words, region) in
            [(&mut self.inputs, &plan.regions.inputs), (&mut self.outputs, &plan.regions.outputs)]
        {
            words.resize(words.len().max(region.len().div_ceil(size_of::<u64>())), 0);
        }
        self.plans.push(Loaded {
            times: vec![Duration::ZERO; plan.steps.len()],
            lengths: vec![0; plan.axes.len()],
            plan,
        });
        Ok(PlanId(self.plans.len() - 1))
    }

    fn unload(&mut self) {
        self.plans.clear();
        self.ran = None;
        for buffer in
            [&mut self.gradients, &mut self.first_moments, &mut self.second_moments, &mut self.arena]
        {
            *buffer = Buffer::<B>::default();
        }
    }

    fn run(&mut self, id: PlanId, bindings: &Bindings<'_>) -> Result<(), RunError> {
        self.ran = None;
        let Loaded { plan, times, lengths } = &mut self.plans[id.0];
        check_lengths(plan, bindings)?;
        let staged: &mut [u8] = bytemuck::cast_slice_mut(&mut self.inputs);
        stage::<P>(plan, bindings, self.rounds, staged)?;
        lengths.copy_from_slice(bindings.lengths);
        self.norm_is_known &= !plan.trains;
        let (backend, profiling, rounds) = (&self.backend, self.profiling, self.rounds);
        backend.upload(&staged[plan.regions.inputs.clone()], &mut self.arena, 0);
        let mut memory = StepMemory::<B> {
            arena: &mut self.arena,
            masters: &self.masters,
            weights: self.weights.as_ref(),
            gradients: &mut self.gradients,
            lengths: bindings.lengths,
            scalars: plan.regions.scalars,
        };
        let loss = &mut self.loss;
        backend.run(|| {
            for (step, time) in plan.steps.iter().zip(times) {
                let start = profiling.then(Instant::now);
                execute::<P, B>(backend, step, &mut memory);
                if rounds {
                    round_written::<B, P>(backend, step, &mut memory);
                }
                if let Some(start) = start {
                    *time += start.elapsed();
                }
            }
            if let Some(Operand { location: Location::Arena(offset), .. }) = plan.loss {
                let x = B::Memory::slice(memory.arena, offset..offset + size_of::<P::Master>());
                let y = B::Memory::slice_mut(loss);
                backend
                    .scale_masters(&scale::Scale { factor: 1.0 }, scale::Forward { x, y, store: Store::Add });
            }
        });
        let read: &mut [u8] = bytemuck::cast_slice_mut(&mut self.outputs);
        let region = &plan.regions.outputs;
        backend.download(&self.arena, region.start, &mut read[..region.len()]);
        self.ran = Some(id);
        Ok(())
    }

    /// Finds an output of the last run: its kind, and its bytes if it was computed.
    fn output(&self, id: PlanId, name: &str) -> (Operand, usize, &[u8]) {
        assert_eq!(self.ran, Some(id), "output `{name}` is gone: another plan has run, or this one has not");
        let Loaded { plan, lengths, .. } = &self.plans[id.0];
        let output = plan.outputs.iter().find(|output| output.name == name);
        let operand = output.unwrap_or_else(|| panic!("the plan has no output `{name}`")).operand;
        let length = operand.shape.elements(lengths);
        let (regions, size) = (&plan.regions, length * plan.precision.size(operand.kind));
        let bytes = match operand.location {
            Location::Arena(offset) if regions.outputs.contains(&offset) => {
                &bytemuck::cast_slice(&self.outputs)[offset - regions.outputs.start..][..size]
            }
            Location::Arena(offset) if offset < regions.inputs.end => {
                &bytemuck::cast_slice(&self.inputs)[offset..][..size]
            }
            Location::Arena(_) | Location::Weight(_) | Location::Master(_) => &[],
        };
        (operand, length, bytes)
    }

    fn read_output<T: Real>(&self, id: PlanId, name: &str, into: &mut Vec<T>) {
        fn convert<R: Real, T: Real>(bytes: &[u8], into: &mut Vec<T>) {
            into.extend(bytemuck::cast_slice(bytes).iter().map(|value: &R| T::from_f64(value.to_f64())));
        }
        let (operand, length, bytes) = self.output(id, name);
        into.clear();
        match (operand.location, operand.kind) {
            (Location::Weight(first) | Location::Master(first), _) => {
                let values = self.download::<P::Master>(&self.masters);
                into.extend(values[first..][..length].iter().map(|value| T::from_f64(value.to_f64())));
            }
            (Location::Arena(_), Kind::Activation) => convert::<P::Activation, T>(bytes, into),
            (Location::Arena(_), Kind::Statistic) => convert::<P::Master, T>(bytes, into),
            (Location::Arena(_), Kind::Index) => panic!("output `{name}` is a list of integers"),
        }
    }

    fn read_indices(&self, id: PlanId, name: &str, into: &mut Vec<i32>) {
        let (operand, _, bytes) = self.output(id, name);
        assert_eq!(operand.kind, Kind::Index, "output `{name}` is no list of integers");
        into.clear();
        into.extend_from_slice(bytemuck::cast_slice(bytes));
    }

    fn state(&self, state: State) -> &Buffer<B> {
        match state {
            State::Values => &self.masters,
            State::Gradients => &self.gradients,
            State::FirstMoments => &self.first_moments,
            State::SecondMoments => &self.second_moments,
        }
    }

    fn download<T: Element>(&self, buffer: &Buffer<B>) -> Vec<T> {
        let mut numbers = vec![T::zeroed(); B::Memory::bytes(buffer) / size_of::<T>()];
        self.backend.download(buffer, 0, bytemuck::cast_slice_mut(&mut numbers));
        numbers
    }

    fn read<T: Real>(&self, state: State) -> Vec<T> {
        self.download::<P::Master>(self.state(state))
            .iter()
            .map(|value| T::from_f64(value.to_f64()))
            .collect()
    }

    fn read_range<T: Real>(&self, state: State, range: Range<usize>, into: &mut Vec<T>) {
        let mut numbers = vec![<P::Master as bytemuck::Zeroable>::zeroed(); range.len()];
        let at = range.start * size_of::<P::Master>();
        self.backend.download(self.state(state), at, bytemuck::cast_slice_mut(&mut numbers));
        into.extend(numbers.iter().map(|value| T::from_f64(value.to_f64())));
    }

    fn write<T: Real>(&mut self, state: State, values: &[T]) {
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

    fn write_parts<T: Real>(&mut self, state: State, parts: impl IntoIterator<Item = (usize, Vec<T>)>) {
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
    fn prepare_weights(&mut self) {
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

    fn zero_gradients(&mut self) {
        self.backend.clear(&mut self.gradients);
        self.backend.clear(&mut self.loss);
        self.norm_is_known = false;
    }

    fn gradient_norm(&mut self) -> f64 {
        let (backend, gradients) = (&self.backend, &self.gradients);
        if !self.norm_is_known {
            let norm = &mut self.norm;
            backend.run(|| {
                let gradients = B::Memory::slice(gradients, 0..B::Memory::bytes(gradients));
                backend.gradient_norm(&(), Norm { gradients, norm: B::Memory::slice_mut(norm) });
            });
            self.norm_is_known = true;
        }
        let mut norm = [0.0_f64];
        self.backend.download(&self.norm, 0, bytemuck::cast_slice_mut(&mut norm));
        norm[0]
    }

    fn update(&mut self, update: &Update) -> Applied {
        let gradient_norm = self.gradient_norm();
        let (backend, gradients) = (&self.backend, &self.gradients);
        let (norm, loss) = (&self.norm, &self.loss);
        let (masters, first, second) = (&mut self.masters, &mut self.first_moments, &mut self.second_moments);
        let segments = &self.segments;
        backend.run(|| {
            let operands = Operands {
                segments,
                parameters: B::Memory::slice_mut(masters),
                gradients: B::Memory::slice(gradients, 0..B::Memory::bytes(gradients)),
                norm: B::Memory::slice(norm, 0..size_of::<f64>()),
                loss: B::Memory::slice(loss, 0..size_of::<P::Master>()),
                first_moments: B::Memory::slice_mut(first),
                second_moments: B::Memory::slice_mut(second),
            };
            backend.optimizer_update(update, operands);
        });
        self.prepare_weights();
        let mut loss = [0_u64];
        let loss: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut loss)[..size_of::<P::Master>()];
        self.backend.download(&self.loss, 0, loss);
        let loss: &[P::Master] = bytemuck::cast_slice(loss);
        Applied { gradient_norm, applied: update.gradient_scale(gradient_norm, loss[0].to_f64()).is_some() }
    }

    fn poison(&mut self, value: f64) {
        let numbers =
            vec![P::Master::from_f64(value); B::Memory::bytes(&self.arena) / size_of::<P::Master>()];
        self.backend.upload(bytemuck::cast_slice(&numbers), &mut self.arena, 0);
    }
}

/// Writes what a run is given to where it lies among a plan's inputs.
fn stage<P: kernels::Precision>(
    plan: &Plan,
    bindings: &Bindings<'_>,
    rounds: bool,
    staged: &mut [u8],
) -> Result<(), RunError> {
    fn place<'a, T: Element>(staged: &'a mut [u8], operand: &Operand, lengths: &[usize]) -> &'a mut [T] {
        let Location::Arena(offset) = operand.location else { unreachable!("inputs lie in the arena") };
        let size = operand.shape.elements(lengths) * size_of::<T>();
        bytemuck::cast_slice_mut(&mut staged[offset..offset + size])
    }
    let Bindings { lengths, integers, reals, .. } = *bindings;
    for (input, at) in plan.inputs.iter().zip(&plan.input_places) {
        if input.content == Content::Real {
            let Some(at) = at else { continue };
            let values = bound(input, reals, lengths)?;
            let values = values.iter().map(|&value| f64::from(value));
            match at.kind {
                Kind::Activation => {
                    let round = |value| if rounds { Rounded::from_f64(value).to_f64() } else { value };
                    let to = place::<P::Activation>(staged, at, lengths).iter_mut();
                    to.zip(values).for_each(|(to, from)| *to = Real::from_f64(round(from)));
                }
                Kind::Statistic | Kind::Index => {
                    let to = place::<P::Master>(staged, at, lengths).iter_mut();
                    to.zip(values).for_each(|(to, from)| *to = Real::from_f64(from));
                }
            }
        } else {
            let values = bound(input, integers, lengths)?;
            check_content(plan, input, values, bindings)?;
            if let Some(at) = at {
                place::<i32>(staged, at, lengths).copy_from_slice(values);
            }
        }
    }
    let words = RunScalars::words(plan.axes.len()) * size_of::<u64>();
    let philox = Philox::new(bindings.seed, purpose::DROPOUT);
    let words = bytemuck::cast_slice_mut(&mut staged[plan.regions.scalars..][..words]);
    RunScalars::write(words, philox.key, bindings.step, bindings.starts);
    let one = &mut staged[plan.regions.one..][..size_of::<P::Master>()];
    bytemuck::cast_slice_mut(one)[0] = P::Master::from_f64(1.0);
    Ok(())
}

/// Rounds the activations that a step has written to bf16.
fn round_written<B: Backend, P: kernels::Precision>(
    backend: &B,
    step: &crate::plan::Step,
    memory: &mut StepMemory<'_, B>,
) {
    for operand in step.writes.iter().flatten().filter(|operand| operand.kind == Kind::Activation) {
        let Location::Arena(offset) = operand.location else { unreachable!("no step writes a parameter") };
        let size = operand.shape.elements(memory.lengths) * size_of::<P::Activation>();
        round::<B, P>(backend, memory.arena, offset..offset + size);
    }
}

/// Rounds numbers that are stored as activations are to bf16.
fn round<B: Backend, P: kernels::Precision>(
    backend: &B,
    buffer: &mut Buffer<B>,
    range: std::ops::Range<usize>,
) {
    let mut numbers = vec![P::Activation::from_f64(0.0); range.len() / size_of::<P::Activation>()];
    backend.download(buffer, range.start, bytemuck::cast_slice_mut(&mut numbers));
    for number in &mut numbers {
        *number = Real::from_f64(Rounded::from_f64(number.to_f64()).to_f64());
    }
    backend.upload(bytemuck::cast_slice(&numbers), buffer, range.start);
}

fn check_lengths(plan: &Plan, &Bindings { lengths, starts, .. }: &Bindings<'_>) -> Result<(), RunError> {
    assert_eq!(lengths.len(), plan.axes.len(), "a run names the length of every axis");
    assert!(starts.is_empty() || starts.len() == plan.axes.len(), "a start for every axis, or none");
    for (axis, &found) in plan.axes.iter().zip(lengths) {
        if found > axis.capacity {
            return Err(RunError::Capacity { axis: axis.name.clone(), found, capacity: axis.capacity });
        }
    }
    Ok(())
}

/// What is bound to an input, if it has the right length.
fn bound<'a, T>(
    input: &InputSpec,
    bindings: &[(&str, &'a [T])],
    lengths: &[usize],
) -> Result<&'a [T], RunError> {
    let found = bindings.iter().find(|(name, _)| *name == input.name);
    let Some((_, values)) = found else {
        return Err(RunError::NotBound { name: input.name.clone() });
    };
    let expected = input.shape.elements(lengths);
    if values.len() != expected {
        return Err(RunError::Length { name: input.name.clone(), found: values.len(), expected });
    }
    Ok(values)
}

/// Checks that integers are what their input declares, so that kernels can index with them.
fn check_content(
    plan: &Plan,
    input: &InputSpec,
    values: &[i32],
    bindings: &Bindings<'_>,
) -> Result<(), RunError> {
    let lengths = bindings.lengths;
    let wrong = |index: usize, expected: String| {
        Err(RunError::Content { name: input.name.clone(), index, value: values[index], expected })
    };
    let limit = match input.content {
        Content::Real => return Ok(()),
        Content::Below(limit) => limit,
        Content::RowOf(axis) => lengths[axis.0],
        Content::OrderOf(_) => values.len(),
        Content::OffsetsOf(axis) => {
            let end = lengths[axis.0] as i32;
            if values.first() != Some(&0) {
                return wrong(0, "the first offset is 0".into());
            }
            if values.last() != Some(&end) {
                return wrong(values.len() - 1, format!("the last offset is {end}"));
            }
            return match values.windows(2).position(|pair| pair[0] > pair[1]) {
                Some(index) => wrong(index + 1, "offsets do not descend".into()),
                None => Ok(()),
            };
        }
    };
    let outside = values.iter().position(|&value| value < 0 || value as usize >= limit);
    if let Some(index) = outside {
        return wrong(index, format!("it must lie in 0..{limit}"));
    }
    if let Content::OrderOf(of) = input.content {
        let keys = bound(&plan.inputs[of], bindings.integers, lengths)?;
        // Rows that ascend strictly by (key, row) are distinct, and as many as there are rows: all of them.
        let key = |row: i32| (keys[row as usize], row);
        if let Some(index) = values.windows(2).position(|pair| key(pair[0]) >= key(pair[1])) {
            return wrong(index + 1, format!("rows must be sorted by `{}`, stably", plan.inputs[of].name));
        }
    }
    Ok(())
}
