//! A runtime on one backend, in one precision: its buffers, its plans, a run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kernels::memory::Memory;
use kernels::optimizer::Segment;
use kernels::{Backend, DeviceError, Kernels, Real, Store, scale};

use super::bindings::{stage, take_lengths, unite};
use super::rounding::round_written;
use super::{Bindings, PlanId};
use crate::error::RunError;
use crate::execute::{Buffer, StepMemory, execute};
use crate::parameters::Parameters;
use crate::plan::{Location, Operand, Plan};

/// A plan, and what is known of its last run.
pub(super) struct Loaded<R> {
    pub plan: Plan,
    /// Time spent in each step while profiling.
    pub times: Vec<Duration>,
    /// Length of every axis in the last run.
    pub lengths: Vec<usize>,
    /// What runs of some lengths do, those of the latest run last.
    recordings: Vec<Recorded<R>>,
}

/// What a run of some lengths does: recorded when such a run comes for the second time.
struct Recorded<R> {
    lengths: Vec<usize>,
    calls: Option<R>,
}

/// The most recordings that a plan keeps.
const MOST_RECORDINGS: usize = 16;

impl<R> Loaded<R> {
    /// The place of what a run of the present lengths does, and whether there was such a run before.
    fn recorded(&mut self) -> (usize, bool) {
        let known = self.recordings.iter().position(|recorded| recorded.lengths == self.lengths);
        let recorded = match known {
            Some(place) => self.recordings.remove(place),
            None => {
                if self.recordings.len() == MOST_RECORDINGS {
                    self.recordings.remove(0);
                }
                Recorded { lengths: self.lengths.clone(), calls: None }
            }
        };
        self.recordings.push(recorded);
        (self.recordings.len() - 1, known.is_some())
    }
}

/// A runtime on one backend, in one precision.
pub(super) struct On<B: Backend, P: kernels::Precision> {
    pub parameters: Arc<Parameters>,
    pub segments: Vec<Segment>,
    pub masters: Buffer<B>,
    /// Weights as products read them, where those are not the masters.
    pub weights: Option<Buffer<B>>,
    /// Empty until a plan that trains is loaded, as are the moments.
    pub gradients: Buffer<B>,
    pub first_moments: Buffer<B>,
    pub second_moments: Buffer<B>,
    /// The loss summed since gradients were zero.
    pub loss: Buffer<B>,
    /// The norm of the gradients, and whether it is that of the gradients as they are.
    pub norm: Buffer<B>,
    pub norm_is_known: bool,
    pub arena: Buffer<B>,
    /// A number for every row of an axis of which a run makes a union.
    pub marks: Vec<i32>,
    /// What a run is given and what it is asked for, in the host's memory.
    pub inputs: Vec<u64>,
    pub outputs: Vec<u64>,
    pub plans: Vec<Loaded<B::Recording>>,
    /// Whose values lie in the arena.
    pub ran: Option<PlanId>,
    pub profiling: bool,
    /// Whether activations are rounded to bf16 where they are stored: see `Runtime::in_precision`.
    pub rounds: bool,
    pub precision: std::marker::PhantomData<P>,
    /// Last, so that it is dropped last: recordings call its kernels, and buffers are its memory.
    pub backend: B,
}

impl<B: Kernels<P>, P: kernels::Precision> On<B, P> {
    pub(super) fn new(backend: B, rounds: bool, parameters: Arc<Parameters>) -> Result<Self, DeviceError> {
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
            marks: Vec::new(),
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

    pub(super) fn load(&mut self, plan: Plan) -> Result<PlanId, DeviceError> {
        assert!(Arc::ptr_eq(&plan.parameters, &self.parameters), "a plan works on its runtime's parameters");
        let begins_to_train = plan.trains && B::Memory::bytes(&self.gradients) == 0;
        if begins_to_train {
            let size = self.parameters.buffer_length() * size_of::<P::Master>();
            let [gradients, first, second] = [(); 3].map(|()| self.backend.allocate(size));
            (self.gradients, self.first_moments, self.second_moments) = (gradients?, first?, second?);
            self.forget_recordings();
        }
        let present = B::Memory::bytes(&self.arena);
        if plan.arena_size > present {
            // What lies there is gone either way, and two arenas may not fit.
            self.forget_recordings();
            (self.arena, self.ran) = (Buffer::<B>::default(), None);
            match self.backend.allocate(plan.arena_size) {
                Ok(arena) => self.arena = arena,
                Err(refused) => {
                    if begins_to_train {
                        let nothing = [(); 3].map(|()| Buffer::<B>::default());
                        [self.gradients, self.first_moments, self.second_moments] = nothing;
                    }
                    // Should even this be refused, the next run asks again.
                    self.arena = self.backend.allocate(present).unwrap_or_default();
                    return Err(refused);
                }
            }
        }
        for (words, region) in
            [(&mut self.inputs, &plan.regions.inputs), (&mut self.outputs, &plan.regions.outputs)]
        {
            words.resize(words.len().max(region.len().div_ceil(size_of::<u64>())), 0);
        }
        let marked = plan.unions.iter().map(|union| plan.axes[union.rows_of].capacity).max().unwrap_or(0);
        self.marks.resize(self.marks.len().max(marked), 0);
        self.plans.push(Loaded {
            times: vec![Duration::ZERO; plan.steps.len()],
            lengths: vec![0; plan.axes.len()],
            recordings: Vec::new(),
            plan,
        });
        Ok(PlanId(self.plans.len() - 1))
    }

    /// Recorded calls know where their operands lay.
    fn forget_recordings(&mut self) {
        self.plans.iter_mut().for_each(|loaded| loaded.recordings.clear());
    }

    pub(super) fn unload(&mut self) {
        self.plans.clear();
        self.ran = None;
        for buffer in
            [&mut self.gradients, &mut self.first_moments, &mut self.second_moments, &mut self.arena]
        {
            *buffer = Buffer::<B>::default();
        }
    }

    pub(super) fn run(&mut self, id: PlanId, bindings: &Bindings<'_>) -> Result<(), RunError> {
        self.ran = None;
        let size = self.plans[id.0].plan.arena_size;
        if size > B::Memory::bytes(&self.arena) {
            self.arena = self.backend.allocate(size)?;
        }
        let loaded = &mut self.plans[id.0];
        let Loaded { plan, lengths, .. } = loaded;
        take_lengths(plan, bindings, lengths)?;
        let staged: &mut [u8] = bytemuck::cast_slice_mut(&mut self.inputs);
        stage::<P>(plan, bindings, self.rounds, lengths, staged)?;
        unite(plan, bindings, lengths, &mut self.marks, staged);
        self.norm_is_known &= !plan.trains;
        let (backend, profiling, rounds) = (&self.backend, self.profiling, self.rounds);
        backend.upload(&staged[plan.regions.inputs.clone()], &mut self.arena, 0);
        let recorded = (B::RECORDS && !profiling).then(|| loaded.recorded());
        let Loaded { plan, times, lengths, recordings } = loaded;
        let mut memory = StepMemory::<B> {
            arena: &mut self.arena,
            masters: &self.masters,
            weights: self.weights.as_ref(),
            gradients: &mut self.gradients,
            axes: &plan.axes,
            lengths,
            scalars: plan.regions.scalars,
        };
        let loss = &mut self.loss;
        let mut steps = || {
            for (step, time) in plan.steps.iter().zip(times.iter_mut()) {
                let start = profiling.then(Instant::now);
                execute::<P, B>(backend, step, &mut memory);
                if rounds {
                    round_written::<B, P>(backend, step, &mut memory);
                }
                if let Some(start) = start {
                    // What fails is found out below.
                    let _ = backend.finish();
                    *time += start.elapsed();
                }
            }
            if let Some(Operand { location: Location::Arena(offset), .. }) = plan.loss {
                let x = B::Memory::slice(memory.arena, offset..offset + size_of::<P::Master>());
                let y = B::Memory::slice_mut(loss);
                backend
                    .scale_masters(&scale::Scale { factor: 1.0 }, scale::Forward { x, y, store: Store::Add });
            }
        };
        let calls = recorded.and_then(|(place, again)| {
            let calls = &mut recordings[place].calls;
            if again && calls.is_none() {
                *calls = backend.record(&mut steps);
            }
            calls.as_ref()
        });
        match calls {
            Some(calls) => backend.replay(calls),
            None => backend.run(steps),
        }
        let read: &mut [u8] = bytemuck::cast_slice_mut(&mut self.outputs);
        let region = &plan.regions.outputs;
        backend.download(&self.arena, region.start, &mut read[..region.len()]);
        backend.status()?;
        self.ran = Some(id);
        Ok(())
    }

    pub(super) fn poison(&mut self, value: f64) {
        let numbers =
            vec![P::Master::from_f64(value); B::Memory::bytes(&self.arena) / size_of::<P::Master>()];
        self.backend.upload(bytemuck::cast_slice(&numbers), &mut self.arena, 0);
    }
}
