//! A device, the parameters that live on it, and the plans loaded into it.

mod bindings;
mod lengths;
mod on;
mod outputs;
mod rounding;
mod state;
mod update;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub use bindings::Bindings;
use kernels::optimizer::Update;
use kernels::precision::{Bf16, F32, F64};
use kernels::{Backend, Cpu, Cuda, DeviceError, Real, Reference};
use on::On;
pub use state::State;
pub use update::Applied;

use crate::error::RunError;
use crate::parameters::Parameters;
use crate::plan::{Plan, Precision};

/// What computes.
#[derive(Debug)]
pub enum Device {
    /// f64, one scalar after the other: the oracle.
    Reference,
    /// SIMD, threads; in f32 unless [`Runtime::in_precision`] says otherwise.
    Cpu(Cpu),
    /// A GPU; in f32 unless [`Runtime::in_precision`] says otherwise.
    Cuda(Box<Cuda>),
}

impl Device {
    /// The precision that plans for this device are made in unless another is asked for.
    pub fn precision(&self) -> Precision {
        match self {
            Self::Reference => Precision::F64,
            Self::Cpu(_) | Self::Cuda(_) => Precision::F32,
        }
    }
}

/// A plan loaded into a [`Runtime`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanId(usize);

/// One of the runs since [`Runtime::zero_gradients`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunId(usize);

/// How the runs of a plan were done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// Runs whose kernels were called one by one.
    pub called: u64,
    /// Times that a run was recorded.
    pub recorded: u64,
    /// Runs that were repeated from a recording, as one call.
    pub repeated: u64,
    /// Recordings that are kept now.
    pub kept: usize,
    /// Bytes of the device's memory that they are taken to need.
    pub bytes: usize,
}

/// Parameters on a device, and plans that work on them.
#[derive(Debug)]
pub struct Runtime(AnyRuntime);

enum AnyRuntime {
    Reference(On<Reference, F64>),
    Cpu(On<Cpu, F32>),
    CpuBf16(On<Cpu, Bf16>),
    Cuda(On<Cuda, F32>),
    CudaBf16(On<Cuda, Bf16>),
}

impl std::fmt::Debug for AnyRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reference(_) => f.write_str("Reference"),
            Self::Cpu(on) => on.backend.fmt(f),
            Self::CpuBf16(on) => on.backend.fmt(f),
            Self::Cuda(on) => on.backend.fmt(f),
            Self::CudaBf16(on) => on.backend.fmt(f),
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
            AnyRuntime::Cuda($on) => $body,
            AnyRuntime::CudaBf16($on) => $body,
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
            (Device::Cuda(gpu), Precision::F32) => AnyRuntime::Cuda(On::new(*gpu, false, parameters)?),
            (Device::Cuda(gpu), Precision::Bf16) => AnyRuntime::CudaBf16(On::new(*gpu, false, parameters)?),
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
            AnyRuntime::Cpu(_) | AnyRuntime::Cuda(_) => Precision::F32,
            AnyRuntime::CpuBf16(_) | AnyRuntime::CudaBf16(_) => Precision::Bf16,
        }
    }

    /// Takes a plan and makes room for it. All plans of a runtime share one arena.
    ///
    /// # Errors
    /// If the plan does not fit into the device's memory; then it is as if it had not been asked for, but what the last run computed
    /// is gone.
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

    /// Runs every step of a plan and waits for its outputs. Outputs of earlier runs are gone.
    ///
    /// # Errors
    /// If the inputs do not fit the plan, and nothing has run then; or if the device has failed.
    ///
    /// # Panics
    /// If `lengths` or `starts` are not those of the plan's axes.
    pub fn run(&mut self, plan: PlanId, bindings: &Bindings<'_>) -> Result<(), RunError> {
        on_device!(&mut self.0, on => on.run(plan, bindings))
    }

    /// Asks for a run of a plan and does not wait for it, where the device works by itself. Its outputs can be read, together
    /// with those of all runs since gradients were zero, until they are zero again or [`Self::run`] is called; reading waits.
    ///
    /// # Errors
    /// As [`Self::run`]; but that the device has failed may be found out later.
    ///
    /// # Panics
    /// As [`Self::run`].
    pub fn start(&mut self, plan: PlanId, bindings: &Bindings<'_>) -> Result<RunId, RunError> {
        on_device!(&mut self.0, on => on.start(plan, bindings))
    }

    /// The last run.
    ///
    /// # Panics
    /// If it was of another plan.
    pub fn last_run(&self, plan: PlanId) -> RunId {
        on_device!(&self.0, on => on.last_run(plan))
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
        self.read_output_of(self.last_run(plan), name, into);
    }

    /// The same of any run whose outputs are there.
    ///
    /// # Panics
    /// If they are not, or as [`Self::read_output`].
    pub fn read_output_of<T: Real>(&self, run: RunId, name: &str, into: &mut Vec<T>) {
        on_device!(&self.0, on => on.read_output(run, name, into));
    }

    /// The same of integers, such as the predictions of a classifier.
    ///
    /// # Panics
    /// As [`Self::output`], and if the output is none of integers.
    pub fn read_indices(&self, plan: PlanId, name: &str, into: &mut Vec<i32>) {
        self.read_indices_of(self.last_run(plan), name, into);
    }

    /// The same of any run whose outputs are there.
    ///
    /// # Panics
    /// If they are not, or as [`Self::read_indices`].
    pub fn read_indices_of(&self, run: RunId, name: &str, into: &mut Vec<i32>) {
        on_device!(&self.0, on => on.read_indices(run, name, into));
    }

    /// Computes runs for lengths that are rounded up to few different ones, as a device that records does anyway, or ends that: a
    /// test's way to show that it changes no result. See [`Plan::computed_lengths`].
    pub fn round_lengths_up(&mut self, on: bool) {
        on_device!(&mut self.0, runtime => runtime.rounds_up = on);
    }

    /// For how many members of every axis a run was computed: those that it was given, and on a device that records a few more.
    ///
    /// # Panics
    /// If its outputs are gone.
    pub fn computed_lengths(&self, run: RunId) -> &[usize] {
        on_device!(&self.0, on => on.computed_lengths(run))
    }

    /// How the runs of a plan were done.
    pub fn runs(&self, plan: PlanId) -> Runs {
        on_device!(&self.0, on => on.runs(plan))
    }

    /// Whether runs like an earlier one are recorded and repeated, which makes the first two of them slower than others.
    pub fn records(&self) -> bool {
        fn records<B: Backend, P: kernels::Precision>(_: &On<B, P>) -> bool {
            B::RECORDS
        }
        on_device!(&self.0, on => records(on))
    }

    /// Whether the device has done all that it was asked for: after a first failure it does nothing any more, and what is read
    /// from it is worth nothing.
    ///
    /// # Errors
    /// What failed first.
    pub fn status(&self) -> Result<(), DeviceError> {
        on_device!(&self.0, on => on.backend.finish())
    }

    /// The GPU that computes, if one does: for what only GPUs can be asked.
    pub fn gpu(&self) -> Option<&Cuda> {
        match &self.0 {
            AnyRuntime::Cuda(on) => Some(&on.backend),
            AnyRuntime::CudaBf16(on) => Some(&on.backend),
            AnyRuntime::Reference(_) | AnyRuntime::Cpu(_) | AnyRuntime::CpuBf16(_) => None,
        }
    }

    /// What was computed in a slower way than the device has, in words for a person.
    pub fn remarks(&self) -> Vec<String> {
        on_device!(&self.0, on => on.backend.remarks())
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
            AnyRuntime::Cuda(on) => Cow::Owned(on.read(state)),
            AnyRuntime::CudaBf16(on) => Cow::Owned(on.read(state)),
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
    ///
    /// # Errors
    /// If the device has failed: what it holds is worth nothing then.
    ///
    /// # Panics
    /// If no plan that trains is loaded.
    pub fn update(&mut self, update: &Update) -> Result<Applied, DeviceError> {
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
