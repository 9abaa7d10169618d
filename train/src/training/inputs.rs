//! What a plan is given and what it gives back, by name: the loop knows no task.

use engine::{Bindings, PlanId, RunError, RunId, Runtime};

/// A micro-batch as a plan binds it: sequences one after the other, one row per real token, no padding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    /// Members of every axis of the plan, in the order of their declaration: tokens, sequences, and what a head adds.
    pub lengths: Vec<usize>,
    /// Integer inputs.
    pub integers: Vec<(&'static str, Vec<i32>)>,
    /// Real inputs.
    pub reals: Vec<(&'static str, Vec<f32>)>,
}

impl Inputs {
    /// Rows of real tokens.
    pub fn tokens(&self) -> usize {
        self.lengths[0]
    }

    /// Sequences.
    pub fn sequences(&self) -> usize {
        self.lengths[1]
    }

    /// The integer input `name`; empty where there is none.
    pub fn integer(&self, name: &str) -> &[i32] {
        self.integers.iter().find(|(known, _)| *known == name).map_or(&[], |(_, values)| values)
    }

    /// Hands them to `work` as the engine takes them.
    pub fn bound<T>(&self, work: impl FnOnce(&Bindings<'_>) -> T) -> T {
        let integers: Vec<_> =
            self.integers.iter().map(|(name, values)| (*name, values.as_slice())).collect();
        let reals: Vec<_> = self.reals.iter().map(|(name, values)| (*name, values.as_slice())).collect();
        work(&Bindings { lengths: &self.lengths, integers: &integers, reals: &reals, ..Bindings::default() })
    }

    /// Asks for a run of `plan` on them, and does not wait for it. `starts` are the members of every axis that earlier micro-batches
    /// of the same step held.
    pub(super) fn start(
        &self,
        runtime: &mut Runtime,
        plan: PlanId,
        starts: &[u64],
        seed: u64,
        step: u64,
    ) -> Result<RunId, RunError> {
        self.bound(|bindings| runtime.start(plan, &Bindings { starts, seed, step: step as u32, ..*bindings }))
    }
}

/// What a run of a plan computed.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    runtime: &'a Runtime,
    run: RunId,
}

impl<'a> Outputs<'a> {
    /// Those of the last run of `plan`.
    ///
    /// # Panics
    /// If another plan has run since.
    pub fn new(runtime: &'a Runtime, plan: PlanId) -> Self {
        Self::of(runtime, runtime.last_run(plan))
    }

    /// Those of one of the runs since gradients were zero.
    pub(super) fn of(runtime: &'a Runtime, run: RunId) -> Self {
        Self { runtime, run }
    }

    /// Tokens that the run was computed for, where that may be more than it was given: on a device that records runs, for which
    /// lengths are rounded up.
    pub fn computed_tokens(&self) -> Option<usize> {
        self.runtime.records().then(|| self.runtime.computed_lengths(self.run)[0])
    }

    /// Reads the output `name` into `into`, whose content is replaced.
    pub fn read(&self, name: &str, into: &mut Vec<f32>) {
        self.runtime.read_output_of(self.run, name, into);
    }

    /// Reads an output that is indices.
    pub fn read_indices(&self, name: &str, into: &mut Vec<i32>) {
        self.runtime.read_indices_of(self.run, name, into);
    }
}

/// A model that answers: runs a plan without gradients on one micro-batch after the other.
pub struct Evaluator<'a> {
    runtime: &'a mut Runtime,
    plan: PlanId,
    stop: &'a dyn Fn() -> bool,
}

impl<'a> Evaluator<'a> {
    /// Runs `plan` of `runtime` until `stop` says so.
    pub fn new(runtime: &'a mut Runtime, plan: PlanId, stop: &'a dyn Fn() -> bool) -> Self {
        Self { runtime, plan, stop }
    }

    /// What the model answers to a micro-batch; `None` where somebody asked to stop. No step is claimed.
    ///
    /// # Errors
    /// If the micro-batch does not fit the plan.
    pub fn run(&mut self, inputs: &Inputs) -> Result<Option<Outputs<'_>>, RunError> {
        if (self.stop)() {
            return Ok(None);
        }
        inputs.bound(|bindings| self.runtime.run(self.plan, bindings))?;
        Ok(Some(Outputs::new(self.runtime, self.plan)))
    }

    /// The device with the model, for work of several plans; `None` where somebody asked to stop.
    pub fn runtime(&mut self) -> Option<&mut Runtime> {
        (!(self.stop)()).then_some(&mut *self.runtime)
    }
}
