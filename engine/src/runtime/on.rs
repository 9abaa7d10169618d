//! A runtime on one backend, in one precision: its buffers, its plans, a run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kernels::memory::Memory;
use kernels::optimizer::Segment;
use kernels::{Backend, DeviceError, Kernels, Real, Store, scale};

use super::bindings::{stage, take_lengths, unite};
use super::lengths::{Lengths, fill_up};
use super::rounding::{between_roundings, round_written};
use super::{Bindings, PlanId, RunId, Runs};
use crate::error::RunError;
use crate::execute::execute;
use crate::parameters::Parameters;
use crate::plan::{INPUTS, Location, MOST_RECORDINGS, Operand, Plan, RESERVED_RECORDINGS};
use crate::step_memory::{Buffer, StepMemory};

/// A plan, and what is known of its last run.
pub(super) struct Loaded<R> {
    pub plan: Plan,
    /// Time spent in each step while profiling.
    pub times: Vec<Duration>,
    /// Those of the last run.
    lengths: Lengths,
    /// What runs of some computed lengths do, those of the latest run last.
    recordings: Vec<Recorded<R>>,
    /// How its runs were done.
    runs: Runs,
}

/// What a run that is computed for some lengths does: recorded when such a run comes for the second time.
struct Recorded<R> {
    lengths: Vec<usize>,
    calls: Option<R>,
}

/// One of the runs since gradients were zero.
pub(super) struct Started<B: Backend> {
    pub plan: PlanId,
    /// Members of every axis that it was given.
    pub lengths: Vec<usize>,
    /// Those that it was computed for.
    pub computed: Vec<usize>,
    /// What it was asked for.
    pub outputs: B::Incoming,
    /// Bytes that there is room for.
    room: usize,
}

impl<R> Loaded<R> {
    /// Makes what a run of the present lengths does the last of the recordings; whether there was such a run before.
    fn recorded(&mut self) -> bool {
        let lengths = &self.lengths.computed;
        let known = self.recordings.iter().position(|recorded| recorded.lengths == *lengths);
        let recorded = match known {
            Some(place) => self.recordings.remove(place),
            None => {
                // The one that was not wanted for the longest time goes first.
                if self.recordings.len() == MOST_RECORDINGS {
                    self.recordings.remove(0);
                }
                Recorded { lengths: lengths.clone(), calls: None }
            }
        };
        self.recordings.push(recorded);
        known.is_some()
    }
}

/// How many of them are recordings.
fn kept<R>(recordings: &[Recorded<R>]) -> usize {
    recordings.iter().filter(|recorded| recorded.calls.is_some()).count()
}

/// Forgets the recording, not the latest run's, that was not wanted for the longest time; whether there is one.
fn forget_one<R>(recordings: &mut Vec<Recorded<R>>) -> bool {
    let earlier = &recordings[..recordings.len().saturating_sub(1)];
    let place = earlier.iter().position(|recorded| recorded.calls.is_some());
    place.map(|place| recordings.remove(place)).is_some()
}

/// Forgets recordings until the others take at most `most` bytes: those first that were not wanted for the longest time.
fn keep_within<R>(recordings: &mut Vec<Recorded<R>>, most: usize, size: impl Fn(&R) -> usize) {
    let size = |recorded: &Recorded<R>| recorded.calls.as_ref().map_or(0, &size);
    let mut bytes: usize = recordings.iter().map(size).sum();
    let forgotten = recordings.iter().take_while(|recorded| {
        let is_too_much = bytes > most;
        bytes -= if is_too_much { size(recorded) } else { 0 };
        is_too_much
    });
    let forgotten = forgotten.count();
    recordings.drain(..forgotten);
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
    /// What runs are given, in turn: one is written while another is on its way to the device.
    pub inputs: Vec<B::Outgoing>,
    /// The one that was written last, whether it is the last run's as a whole, and bytes that each has room for.
    pub turn: usize,
    pub inputs_are_sent: bool,
    input_room: usize,
    pub plans: Vec<Loaded<B::Recording>>,
    /// The runs since gradients were zero, of which the first `kept` are; the others are there to be used again.
    pub started: Vec<Started<B>>,
    pub kept: usize,
    pub profiling: bool,
    /// Whether runs are computed for lengths of which there are few.
    pub rounds_up: bool,
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
            turn: 0,
            inputs_are_sent: false,
            input_room: 0,
            plans: Vec::new(),
            started: Vec::new(),
            kept: 0,
            profiling: false,
            rounds_up: B::RECORDS,
            rounds,
            precision: std::marker::PhantomData,
            parameters,
            backend,
        })
    }

    pub(super) fn load(&mut self, mut plan: Plan) -> Result<PlanId, DeviceError> {
        assert!(Arc::ptr_eq(&plan.parameters, &self.parameters), "a plan works on its runtime's parameters");
        let begins_to_train = plan.trains && B::Memory::bytes(&self.gradients) == 0;
        if self.rounds {
            plan.steps = plan.steps.into_iter().flat_map(between_roundings).collect();
        }
        // Recorded calls know where their operands lay.
        self.plans.iter_mut().for_each(|loaded| loaded.recordings.clear());
        if let Err(refused) = self.make_room(&plan, begins_to_train) {
            if begins_to_train {
                let nothing = [(); 3].map(|()| Buffer::<B>::default());
                [self.gradients, self.first_moments, self.second_moments] = nothing;
            }
            return Err(refused);
        }
        let marked = plan.unions.iter().map(|union| plan.axes[union.rows_of].capacity).max().unwrap_or(0);
        self.marks.resize(self.marks.len().max(marked), 0);
        self.plans.push(Loaded {
            times: vec![Duration::ZERO; plan.steps.len()],
            lengths: Lengths::of(&plan),
            recordings: Vec::new(),
            runs: Runs::default(),
            plan,
        });
        Ok(PlanId(self.plans.len() - 1))
    }

    /// Allocates what a plan needs and is not there yet.
    fn make_room(&mut self, plan: &Plan, begins_to_train: bool) -> Result<(), DeviceError> {
        if begins_to_train {
            let size = self.parameters.buffer_length() * size_of::<P::Master>();
            let [gradients, first, second] = [(); 3].map(|()| self.backend.allocate(size));
            (self.gradients, self.first_moments, self.second_moments) = (gradients?, first?, second?);
        }
        let present = B::Memory::bytes(&self.arena);
        if plan.arena_size > present {
            // What lies there is gone either way, and two arenas may not fit.
            (self.arena, self.kept) = (Buffer::<B>::default(), 0);
            match self.backend.allocate(plan.arena_size) {
                Ok(arena) => self.arena = arena,
                Err(refused) => {
                    // Should even this be refused, the next run asks again.
                    self.arena = self.backend.allocate(present).unwrap_or_default();
                    return Err(refused);
                }
            }
        }
        self.backend.reserve(plan.scratch_size())?;
        let wanted = plan.regions.inputs.len();
        if wanted > self.input_room || self.inputs.is_empty() {
            let turns = if B::RECORDS { INPUTS } else { 1 };
            self.inputs = (0..turns).map(|_| self.backend.outgoing(wanted)).collect::<Result<_, _>>()?;
            (self.input_room, self.kept) = (wanted, 0);
        }
        Ok(())
    }

    pub(super) fn unload(&mut self) {
        self.plans.clear();
        self.inputs.clear();
        self.started.clear();
        (self.input_room, self.kept) = (0, 0);
        self.norm_is_known = false;
        for buffer in
            [&mut self.gradients, &mut self.first_moments, &mut self.second_moments, &mut self.arena]
        {
            *buffer = Buffer::<B>::default();
        }
    }

    /// Runs a plan, and waits for it.
    pub(super) fn run(&mut self, id: PlanId, bindings: &Bindings<'_>) -> Result<(), RunError> {
        self.kept = 0;
        let RunId(run) = self.start(id, bindings)?;
        let _ = self.backend.fetched(&self.started[run].outputs);
        self.backend.status().inspect_err(|_| self.kept = 0)?;
        Ok(())
    }

    /// Asks for a run, and does not wait for it.
    pub(super) fn start(&mut self, id: PlanId, bindings: &Bindings<'_>) -> Result<RunId, RunError> {
        let size = self.plans[id.0].plan.arena_size;
        if size > B::Memory::bytes(&self.arena) {
            self.arena = self.backend.allocate(size)?;
        }
        self.make_room_for_outputs(id)?;
        let loaded = &mut self.plans[id.0];
        let Loaded { plan, lengths, .. } = loaded;
        take_lengths(plan, bindings, &mut lengths.given)?;
        let (backend, profiling, rounds) = (&self.backend, self.profiling, self.rounds);
        (self.turn, self.inputs_are_sent) = ((self.turn + 1) % self.inputs.len(), false);
        let inputs = &mut self.inputs[self.turn];
        let staged = backend.to_send(inputs);
        stage::<P>(plan, bindings, rounds, &lengths.given, staged)?;
        unite(plan, bindings, &mut lengths.given, &mut self.marks, staged);
        lengths.settle(&plan.axes, self.rounds_up);
        fill_up(plan, lengths, staged);
        self.norm_is_known &= !plan.trains;
        backend.send(inputs, plan.regions.inputs.len(), &mut self.arena);
        self.inputs_are_sent = true;
        let recorded = (B::RECORDS && !profiling).then(|| loaded.recorded());
        let Loaded { plan, times, lengths, recordings, runs } = loaded;
        let mut memory = StepMemory::<B> {
            arena: &mut self.arena,
            masters: &self.masters,
            weights: self.weights.as_ref(),
            gradients: &mut self.gradients,
            axes: &plan.axes,
            lengths: &lengths.computed,
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
                    // What fails is found out by whoever reads what was computed.
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
        let is_unrecorded = recordings.last().is_some_and(|latest| latest.calls.is_none());
        if recorded == Some(true) && is_unrecorded {
            // Where memory is short, one takes the place of another.
            if kept(recordings) >= RESERVED_RECORDINGS && backend.is_short_of_memory() {
                forget_one(recordings);
            }
            let calls = backend.record(&mut steps, || forget_one(recordings));
            runs.recorded += u64::from(calls.is_some());
            if let Some(latest) = recordings.last_mut() {
                latest.calls = calls;
            }
            keep_within(recordings, plan.recordings_size(), |calls| backend.recording_size(calls));
        }
        let last = recorded.and_then(|_| recordings.last());
        match last.and_then(|recorded| recorded.calls.as_ref()) {
            Some(calls) => {
                backend.replay(calls);
                runs.repeated += 1;
            }
            None => {
                backend.run(steps);
                runs.called += 1;
            }
        }
        let Started { plan: of, lengths: given, computed, outputs, .. } = &mut self.started[self.kept];
        (*of, self.kept) = (id, self.kept + 1);
        given.clone_from(&lengths.given);
        computed.clone_from(&lengths.computed);
        let region = &plan.regions.outputs;
        backend.fetch(&self.arena, region.start, region.len(), outputs);
        backend.status().inspect_err(|_| self.kept = 0)?;
        Ok(RunId(self.kept - 1))
    }

    /// Sees to it that there is a place for what the next run is asked for.
    fn make_room_for_outputs(&mut self, id: PlanId) -> Result<(), DeviceError> {
        let wanted = self.plans[id.0].plan.regions.outputs.len();
        let started =
            |outputs| Started { plan: id, lengths: Vec::new(), computed: Vec::new(), outputs, room: wanted };
        match self.started.get_mut(self.kept) {
            Some(known) if known.room >= wanted => {}
            Some(known) => *known = started(self.backend.incoming(wanted)?),
            None => self.started.push(started(self.backend.incoming(wanted)?)),
        }
        Ok(())
    }

    /// How the runs of a plan were done, and how many recordings there are of them.
    pub(super) fn runs(&self, id: PlanId) -> Runs {
        let Loaded { runs, recordings, .. } = &self.plans[id.0];
        let calls = recordings.iter().filter_map(|recorded| recorded.calls.as_ref());
        let bytes = calls.map(|calls| self.backend.recording_size(calls)).sum();
        Runs { kept: kept(recordings), bytes, ..*runs }
    }

    pub(super) fn poison(&mut self, value: f64) {
        let numbers =
            vec![P::Master::from_f64(value); B::Memory::bytes(&self.arena) / size_of::<P::Master>()];
        self.backend.upload(bytemuck::cast_slice(&numbers), &mut self.arena, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recordings as their sizes; 0 stands for lengths that came once.
    fn recordings(sizes: &[usize]) -> Vec<Recorded<usize>> {
        let recorded = |&size: &usize| Recorded { lengths: Vec::new(), calls: (size > 0).then_some(size) };
        sizes.iter().map(recorded).collect()
    }

    fn sizes(recordings: &[Recorded<usize>]) -> Vec<usize> {
        recordings.iter().map(|recorded| recorded.calls.unwrap_or(0)).collect()
    }

    #[test]
    fn recordings_that_were_not_wanted_for_the_longest_time_make_room() {
        for (most, wanted) in [(12, &[3, 0, 4, 5][..]), (11, &[0, 4, 5]), (8, &[5]), (4, &[])] {
            let mut recordings = recordings(&[3, 0, 4, 5]);
            keep_within(&mut recordings, most, |&size| size);
            assert_eq!(sizes(&recordings), wanted, "at most {most}");
        }
    }

    #[test]
    fn one_recording_is_forgotten_after_the_other_but_not_the_latest() {
        let mut recordings = recordings(&[0, 3, 0, 4, 5]);
        assert_eq!(kept(&recordings), 3);
        assert!(forget_one(&mut recordings) && forget_one(&mut recordings));
        assert_eq!(sizes(&recordings), [0, 0, 5]);
        assert!(!forget_one(&mut recordings) && !forget_one(&mut Vec::<Recorded<usize>>::new()));
        assert_eq!(sizes(&recordings), [0, 0, 5]);
    }
}
