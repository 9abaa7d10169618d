//! A model that learns: parameters and moments on a device, and the plans of a training step and of an evaluation.

use std::borrow::Cow;

use engine::{
    Applied, Bindings, Device, DeviceError, Part, PlanId, PlanOptions, Precision, Recompute, RunError,
    Runtime, State,
};
use kernels::optimizer::Update;
use model::{Albert, Capacity};

use super::evaluate::{Scratch, evaluate, tally};
use super::metrics::{Evaluation, Tally};
use crate::data::Batch;
use crate::run::checkpoint::{NamedTensor, TensorError, Tensors};

/// Suffixes of the moments' names in `optimizer.safetensors`.
const MOMENTS: [(&str, State); 2] =
    [("first_moment", State::FirstMoments), ("second_moment", State::SecondMoments)];

/// What a training step found before it changed anything.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What is minimised: normalised masked loss plus sentence-order loss.
    pub loss: f64,
    /// Masked tokens.
    pub masked_lm: Tally,
    /// Sentence order.
    pub sentence_order: Tally,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Real tokens of the batch.
    pub tokens: u64,
}

/// A model, its optimizer's moments, and the device they live on.
#[derive(Debug)]
pub struct Learner {
    albert: Albert,
    runtime: Runtime,
    training: PlanId,
    evaluation: PlanId,
    seed: u64,
    scratch: Scratch,
}

impl Learner {
    /// A model with fresh parameters on `device`, ready for micro-batches of at most `capacity`.
    ///
    /// # Errors
    /// If parameters, moments or the values of a step do not fit into the device's memory.
    ///
    /// # Panics
    /// If the model lacks a pre-training head, or the device has no such precision.
    pub fn new(
        albert: Albert,
        device: Device,
        precision: Precision,
        capacity: Capacity,
        recompute: Recompute,
        seed: u64,
    ) -> Result<Self, DeviceError> {
        let mut runtime = Runtime::in_precision(device, precision, albert.parameters().clone())?;
        let options = PlanOptions { precision, recompute };
        let plan = albert.pretraining_plan(capacity, options).expect("pre-training reaches every parameter");
        let training = runtime.load(plan)?;
        let evaluation = runtime.load(albert.evaluation_plan(capacity, precision))?;
        runtime.write(State::Values, &albert.parameters().initial_values(seed)?);
        Ok(Self { albert, runtime, training, evaluation, seed, scratch: Default::default() })
    }

    /// The model.
    pub fn albert(&self) -> &Albert {
        &self.albert
    }

    /// The device with the parameters.
    pub fn runtime(&mut self) -> &mut Runtime {
        &mut self.runtime
    }

    /// The training plan.
    pub fn training_plan(&self) -> PlanId {
        self.training
    }

    /// Values of the parameters.
    pub fn values(&self) -> Cow<'_, [f32]> {
        self.runtime.view(State::Values)
    }

    /// Replaces the values of the parameters.
    pub fn set_values(&mut self, values: &[f32]) {
        self.runtime.write(State::Values, values);
    }

    /// Computes the gradient of a whole optimisation batch, micro-batch by micro-batch, and changes no parameter.
    ///
    /// # Errors
    /// If a micro-batch does not fit the plan.
    pub fn gradient(&mut self, micro_batches: &[Batch], step: u64) -> Result<Outcome, RunError> {
        Ok(self.gradient_unless(&|| false, micro_batches, step)?.expect("nobody stops it"))
    }

    /// The same, or `None` where `stop` said so before a micro-batch: what was computed until then is of no use.
    ///
    /// # Errors
    /// If a micro-batch does not fit the plan.
    pub fn gradient_unless(
        &mut self,
        stop: &dyn Fn() -> bool,
        micro_batches: &[Batch],
        step: u64,
    ) -> Result<Option<Outcome>, RunError> {
        self.runtime.zero_gradients();
        let mut outcome = Outcome::default();
        let mut starts = [0; 3];
        for batch in micro_batches {
            if stop() {
                return Ok(None);
            }
            let lengths = [batch.tokens(), batch.sequences(), batch.predictions()];
            let bindings = Bindings {
                lengths: &lengths,
                starts: &starts,
                integers: &batch.integers(),
                reals: &batch.floats(),
                seed: self.seed,
                step: step as u32,
            };
            self.runtime.run(self.training, &bindings)?;
            let tallies = [&mut outcome.masked_lm, &mut outcome.sentence_order];
            tally(&self.runtime, self.training, batch, tallies, &mut self.scratch);
            self.runtime.read_output(self.training, "loss", &mut self.scratch.losses);
            outcome.loss += f64::from(self.scratch.losses[0]);
            outcome.tokens += batch.tokens() as u64;
            starts.iter_mut().zip(lengths).for_each(|(start, length)| *start += length as u64);
        }
        outcome.gradient_norm = self.runtime.gradient_norm();
        Ok(Some(outcome))
    }

    /// Changes the parameters along the gradient that was computed last, unless that or its loss is not finite.
    pub fn update(&mut self, update: &Update) -> Applied {
        self.runtime.update(update)
    }

    /// Evaluates on held-out batches; `None` where `stop` said so before a batch.
    ///
    /// # Errors
    /// If a batch does not fit the plan.
    pub fn evaluate(
        &mut self,
        batches: &[Batch],
        step: u64,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Evaluation>, RunError> {
        let vocabulary_size = self.albert.config().vocab_size;
        let evaluation = evaluate(&mut self.runtime, self.evaluation, batches, vocabulary_size, stop)?;
        Ok(evaluation.map(|evaluation| Evaluation { global_step: step, ..evaluation }))
    }

    /// Hands the weights and the moments to `save` as named tensors.
    pub fn with_tensors<T>(&self, save: impl FnOnce(&[NamedTensor<'_>], &[NamedTensor<'_>]) -> T) -> T {
        let parameters = self.albert.parameters();
        let values = self.values();
        let moments = MOMENTS.map(|(suffix, state)| (suffix, self.runtime.view(state)));
        let names: Vec<_> = (moments.iter())
            .flat_map(|(suffix, _)| parameters.parts().map(move |part| format!("{}.{suffix}", part.name)))
            .collect();
        let weights: Vec<_> = (parameters.placed_parts())
            .map(|(part, range)| NamedTensor { name: &part.name, shape: &part.shape, values: &values[range] })
            .collect();
        let optimizer: Vec<_> = (moments.iter())
            .flat_map(|(_, values)| parameters.placed_parts().map(move |placed| (placed, values)))
            .zip(&names)
            .map(|(((part, range), values), name)| NamedTensor {
                name,
                shape: &part.shape,
                values: &values[range],
            })
            .collect();
        save(&weights, &optimizer)
    }

    /// Takes weights and moments from the tensors of a checkpoint; takes all or changes nothing.
    ///
    /// # Errors
    /// If a tensor is missing, has another shape, or is one too many.
    pub fn restore(&mut self, model: &Tensors, optimizer: &Tensors) -> Result<(), TensorError> {
        let parameters = self.albert.parameters().clone();
        model.expect_only(parameters.parts().map(|part| part.name.as_str()))?;
        let [first, second] = MOMENTS.map(|(suffix, state)| (optimizer, format!(".{suffix}"), state));
        let sources = [(model, String::new(), State::Values), first, second];
        let values = |tensors: &Tensors, suffix: &str, part: &Part, length: usize| {
            let (name, mut values) = (format!("{}{suffix}", part.name), vec![0.0; length]);
            tensors.copy_into(&name, &part.shape, &mut values)?;
            let negative = values.iter().copied().find(|&value| value < 0.0);
            Ok((name, values, negative))
        };
        for (tensors, suffix, state) in &sources {
            for (part, range) in parameters.placed_parts() {
                let (name, _, negative) = values(tensors, suffix, part, range.len())?;
                if let Some(value) = negative.filter(|_| *state == State::SecondMoments) {
                    return Err(TensorError::Negative { name, value });
                }
            }
        }
        // Tensor by tensor: a copy of everything beside the checkpoint would be the peak of the whole run.
        for (tensors, suffix, state) in &sources {
            let parts = parameters.placed_parts().map(|(part, range)| {
                let (_, values, _) = values(tensors, suffix, part, range.len()).expect("looked at above");
                (range.start, values)
            });
            self.runtime.write_parts(*state, parts);
        }
        Ok(())
    }
}
