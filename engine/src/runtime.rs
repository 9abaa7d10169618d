//! A device, the parameters that live on it, and the plans loaded into it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kernels::dropout::Randomness;
use kernels::memory::Buffer;
use kernels::optimizer::{Norm, Operands, Segment, Update};
use kernels::random::Philox;
use kernels::{Cpu, DeviceError, Host, Real, Reference};

use crate::error::RunError;
use crate::graph::{Content, InputSpec};
use crate::host::{Memory, execute};
use crate::parameters::Parameters;
use crate::plan::{Location, Operand, Plan, Precision};
use crate::purpose;

/// What computes.
#[derive(Debug)]
pub enum Device {
    /// f64, one scalar after the other: the oracle.
    Reference,
    /// f32, SIMD, threads.
    Cpu(Cpu),
}

impl Device {
    /// The precision that plans for this device are made in.
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

/// Parameters on a device, and plans that work on them.
#[derive(Debug)]
pub struct Runtime(AnyHost);

enum AnyHost {
    Reference(HostRuntime<Reference>),
    Cpu(HostRuntime<Cpu>),
}

impl std::fmt::Debug for AnyHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reference(_) => f.write_str("Reference"),
            Self::Cpu(host) => host.kernels.fmt(f),
        }
    }
}

/// Writes each method of [`Runtime`] once for all devices.
macro_rules! on_host {
    ($self:expr, $host:ident => $body:expr) => {
        match $self {
            AnyHost::Reference($host) => $body,
            AnyHost::Cpu($host) => $body,
        }
    };
}

impl Runtime {
    /// A device with parameters that are all zero until they are written.
    ///
    /// # Errors
    /// If the parameters do not fit into the device's memory.
    pub fn new(device: Device, parameters: Arc<Parameters>) -> Result<Self, DeviceError> {
        Ok(Self(match device {
            Device::Reference => AnyHost::Reference(HostRuntime::new(Reference, parameters)?),
            Device::Cpu(cpu) => AnyHost::Cpu(HostRuntime::new(cpu, parameters)?),
        }))
    }

    /// The layout of the flat buffers.
    pub fn parameters(&self) -> &Arc<Parameters> {
        on_host!(&self.0, host => &host.parameters)
    }

    /// The precision that plans for this device are made in.
    pub fn precision(&self) -> Precision {
        match &self.0 {
            AnyHost::Reference(_) => Precision::F64,
            AnyHost::Cpu(_) => Precision::F32,
        }
    }

    /// Takes a plan and makes room for it. All plans of a runtime share one arena.
    ///
    /// # Errors
    /// If the plan does not fit into the device's memory; the runtime stays as it was.
    ///
    /// # Panics
    /// If the plan was made in another precision or over other parameters, or has more than 32 inputs.
    pub fn load(&mut self, plan: Plan) -> Result<PlanId, DeviceError> {
        assert_eq!(plan.precision, self.precision(), "a plan is made in its device's precision");
        on_host!(&mut self.0, host => host.load(plan))
    }

    /// A loaded plan.
    pub fn plan(&self, plan: PlanId) -> &Plan {
        on_host!(&self.0, host => &host.plans[plan.0].plan)
    }

    /// Runs every step of a plan.
    ///
    /// # Errors
    /// If the inputs do not fit the plan; nothing has run then.
    ///
    /// # Panics
    /// If `lengths` or `starts` are not those of the plan's axes.
    pub fn run(&mut self, plan: PlanId, bindings: &Bindings<'_>) -> Result<(), RunError> {
        on_host!(&mut self.0, host => host.run(plan, bindings))
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
    pub fn read_output<T: Real>(&self, plan: PlanId, name: &str, into: &mut Vec<T>) {
        on_host!(&self.0, host => {
            into.clear();
            into.extend(host.output(plan, name).iter().map(|value| T::from_f64(value.to_f64())));
        });
    }

    /// A copy of one of the flat buffers.
    pub fn read<T: Real>(&self, state: State) -> Vec<T> {
        on_host!(&self.0, host => host.state(state).iter().map(|value| T::from_f64(value.to_f64())).collect())
    }

    /// Replaces one of the flat buffers.
    ///
    /// # Panics
    /// If the length is not [`Parameters::buffer_length`], or gradients or moments are written before a plan that trains
    /// is loaded.
    pub fn write<T: Real>(&mut self, state: State, values: &[T]) {
        on_host!(&mut self.0, host => {
            let buffer = host.state_mut(state);
            let there = state == State::Values || !buffer.is_empty();
            assert!(there, "{state:?} are there once a plan that trains is loaded");
            assert_eq!(buffer.len(), values.len(), "a flat buffer has one length");
            buffer.iter_mut().zip(values).for_each(|(to, from)| *to = Real::from_f64(from.to_f64()));
        });
    }

    /// Fills the arena with `value`: a test's way to show that no run reads what it did not write.
    pub fn poison(&mut self, value: f64) {
        on_host!(&mut self.0, host => host.arena.fill(Real::from_f64(value)));
    }

    /// Sets all gradients to zero.
    pub fn zero_gradients(&mut self) {
        on_host!(&mut self.0, host => bytemuck::fill_zeroes(&mut host.gradients));
    }

    /// The norm of all gradients together.
    pub fn gradient_norm(&self) -> f64 {
        on_host!(&self.0, host => {
            let mut norm = [0.0];
            host.kernels.gradient_norm(&(), Norm { gradients: &host.gradients, norm: &mut norm });
            norm[0]
        })
    }

    /// One optimizer step with the gradients as they are.
    pub fn update(&mut self, update: &Update) {
        on_host!(&mut self.0, host => host.update(update));
    }

    /// Starts to measure how long each step takes, or stops.
    pub fn profile(&mut self, on: bool) {
        on_host!(&mut self.0, host => host.profiling = on);
    }

    /// Time spent in each kind of kernel since profiling began, longest first.
    pub fn profile_of(&self, plan: PlanId) -> Vec<(&'static str, Duration)> {
        let times = on_host!(&self.0, host => &host.plans[plan.0].times);
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

struct HostRuntime<H: Host> {
    kernels: H,
    parameters: Arc<Parameters>,
    segments: Vec<Segment>,
    values: Buffer<H::Real>,
    /// Empty until a plan that trains is loaded, as are the moments.
    gradients: Buffer<H::Real>,
    first_moments: Buffer<H::Real>,
    second_moments: Buffer<H::Real>,
    arena: Buffer<H::Real>,
    plans: Vec<Loaded>,
    /// Whose values lie in the arena.
    ran: Option<PlanId>,
    profiling: bool,
}

/// Inputs a plan may have: their bindings are gathered on the stack, so that a run allocates nothing.
const MOST_INPUTS: usize = 32;

impl<H: Host> HostRuntime<H> {
    fn new(kernels: H, parameters: Arc<Parameters>) -> Result<Self, DeviceError> {
        Ok(Self {
            kernels,
            segments: parameters.segments(),
            values: Buffer::new(parameters.buffer_length())?,
            gradients: Buffer::default(),
            first_moments: Buffer::default(),
            second_moments: Buffer::default(),
            arena: Buffer::default(),
            plans: Vec::new(),
            ran: None,
            profiling: false,
            parameters,
        })
    }

    fn load(&mut self, plan: Plan) -> Result<PlanId, DeviceError> {
        assert!(Arc::ptr_eq(&plan.parameters, &self.parameters), "a plan works on its runtime's parameters");
        assert!(plan.inputs.len() <= MOST_INPUTS, "a plan has at most {MOST_INPUTS} inputs");
        let length = self.parameters.buffer_length();
        if plan.trains && self.gradients.is_empty() {
            let [gradients, first, second] = [(); 3].map(|()| Buffer::new(length));
            (self.gradients, self.first_moments, self.second_moments) = (gradients?, first?, second?);
        }
        if plan.arena_size > size_of_val(&*self.arena) {
            self.arena = Buffer::new(plan.arena_size / size_of::<H::Real>())?;
            self.ran = None;
        }
        self.plans.push(Loaded {
            times: vec![Duration::ZERO; plan.steps.len()],
            lengths: vec![0; plan.axes.len()],
            plan,
        });
        Ok(PlanId(self.plans.len() - 1))
    }

    fn run(&mut self, id: PlanId, bindings: &Bindings<'_>) -> Result<(), RunError> {
        let Loaded { plan, times, lengths } = &mut self.plans[id.0];
        self.ran = None;
        check_lengths(plan, bindings)?;
        let mut integers: [&[i32]; MOST_INPUTS] = [&[]; MOST_INPUTS];
        for (position, input) in plan.inputs.iter().enumerate() {
            if input.content == Content::Real {
                let Some(place) = plan.input_places[position] else { continue };
                let values = bound(input, bindings.reals, bindings.lengths)?;
                let destination = &mut self.arena[range::<H::Real>(&place, bindings.lengths)];
                destination
                    .iter_mut()
                    .zip(values)
                    .for_each(|(to, &from)| *to = H::Real::from_f64(f64::from(from)));
            } else {
                let values = bound(input, bindings.integers, bindings.lengths)?;
                check_content(plan, input, values, bindings)?;
                integers[position] = values;
            }
        }
        lengths.copy_from_slice(bindings.lengths);
        let philox = Philox::new(bindings.seed, purpose::DROPOUT);
        let mut memory = Memory {
            arena: &mut self.arena,
            parameters: &self.values,
            gradients: &mut self.gradients,
            integers: &integers,
            lengths: bindings.lengths,
            starts: bindings.starts,
            randomness: Randomness { philox, step: bindings.step, first_row: 0 },
        };
        let (kernels, profiling) = (&self.kernels, self.profiling);
        kernels.enter(|| {
            for (step, time) in plan.steps.iter().zip(times) {
                let start = profiling.then(Instant::now);
                execute(kernels, step, &mut memory);
                if let Some(start) = start {
                    *time += start.elapsed();
                }
            }
        });
        self.ran = Some(id);
        Ok(())
    }

    fn output(&self, id: PlanId, name: &str) -> &[H::Real] {
        assert_eq!(self.ran, Some(id), "output `{name}` is gone: another plan has run, or this one has not");
        let Loaded { plan, lengths, .. } = &self.plans[id.0];
        let output = plan.outputs.iter().find(|output| output.name == name);
        let output = output.unwrap_or_else(|| panic!("the plan has no output `{name}`"));
        match output.operand.location {
            Location::Arena(_) => &self.arena[range::<H::Real>(&output.operand, lengths)],
            Location::Parameter(start) => &self.values[start..start + output.operand.shape.elements(lengths)],
            Location::Input(_) => panic!("output `{name}` is a list of integers that the caller has"),
        }
    }

    fn state(&self, state: State) -> &[H::Real] {
        match state {
            State::Values => &self.values,
            State::Gradients => &self.gradients,
            State::FirstMoments => &self.first_moments,
            State::SecondMoments => &self.second_moments,
        }
    }

    fn state_mut(&mut self, state: State) -> &mut [H::Real] {
        match state {
            State::Values => &mut self.values,
            State::Gradients => &mut self.gradients,
            State::FirstMoments => &mut self.first_moments,
            State::SecondMoments => &mut self.second_moments,
        }
    }

    fn update(&mut self, update: &Update) {
        let operands = Operands {
            segments: &self.segments,
            parameters: &mut self.values,
            gradients: &self.gradients,
            first_moments: &mut self.first_moments,
            second_moments: &mut self.second_moments,
        };
        let kernels = &self.kernels;
        kernels.enter(|| kernels.optimizer_update(update, operands));
    }
}

/// The elements of the arena that an operand occupies.
fn range<R>(operand: &Operand, lengths: &[usize]) -> std::ops::Range<usize> {
    let Location::Arena(offset) = operand.location else { unreachable!("only the arena has offsets") };
    let start = offset / size_of::<R>();
    start..start + operand.shape.elements(lengths)
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
        Content::BordersOf(axis) => {
            let end = lengths[axis.0] as i32;
            if values.first() != Some(&0) {
                return wrong(0, "the first border is 0".into());
            }
            if values.last() != Some(&end) {
                return wrong(values.len() - 1, format!("the last border is {end}"));
            }
            return match values.windows(2).position(|pair| pair[0] > pair[1]) {
                Some(index) => wrong(index + 1, "borders do not descend".into()),
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
