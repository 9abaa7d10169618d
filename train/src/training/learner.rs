//! A model that learns: parameters and moments on a device, and the plans of a training step and of an evaluation.

use std::borrow::Cow;

use engine::{Applied, Device, DeviceError, Part, Plan, PlanId, Precision, RunError, Runtime, State};
use kernels::optimizer::Update;
use model::Albert;

use super::inputs::{Evaluator, Inputs, Outputs};
use super::metrics::Sums;
use crate::config;
use crate::run::checkpoint::{NamedTensor, TensorError, Tensors};

/// Suffixes of the moments' names in `optimizer.safetensors`.
const MOMENTS: [(&str, State); 2] =
    [("first_moment", State::FirstMoments), ("second_moment", State::SecondMoments)];

/// What a training step found before it changed anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What is minimised.
    pub loss: f64,
    /// What was predicted, as the objective adds it up.
    pub sums: Sums,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Real tokens of the batch.
    pub tokens: u64,
}

/// What is computed with the parameters.
#[derive(Debug)]
pub struct Plans {
    /// A training step, whose output `loss` is minimised.
    pub training: Plan,
    /// The same without dropout and gradients, for evaluation.
    pub evaluation: Plan,
}

impl Plans {
    /// Bytes that a training step needs on a device: all of it, and the activations. A GPU keeps recordings of both plans.
    pub fn memory(&self, device: config::Device) -> (usize, usize) {
        let work_space = match device {
            config::Device::Cuda(_) => {
                self.training.work_space().total() + self.evaluation.work_space().recordings
            }
            config::Device::Auto | config::Device::Cpu => 0,
        };
        let activations = self.training.arena_size();
        (activations + self.training.parameter_size() + work_space, activations)
    }
}

/// A model, its optimizer's moments, and the device they live on.
#[derive(Debug)]
pub struct Learner {
    albert: Albert,
    runtime: Runtime,
    training: PlanId,
    evaluation: PlanId,
    seed: u64,
    loss: Vec<f32>,
}

impl Learner {
    /// A model with fresh parameters on `device`, ready for micro-batches that fit `plans`.
    ///
    /// # Errors
    /// If parameters, moments or the values of a step do not fit into the device's memory.
    ///
    /// # Panics
    /// If the device has no such precision.
    pub fn new(
        albert: Albert,
        device: Device,
        precision: Precision,
        plans: Plans,
        seed: u64,
    ) -> Result<Self, DeviceError> {
        let mut runtime = Runtime::in_precision(device, precision, albert.parameters().clone())?;
        let training = runtime.load(plans.training)?;
        let evaluation = runtime.load(plans.evaluation)?;
        runtime.write(State::Values, &albert.parameters().initial_values(seed)?);
        Ok(Self { albert, runtime, training, evaluation, seed, loss: Vec::new() })
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
    pub fn gradient(&mut self, micro_batches: &[Inputs], step: u64) -> Result<Outcome, RunError> {
        let outcome = self.gradient_unless(&|| false, micro_batches, step, &mut |_, _, _| {})?;
        Ok(outcome.expect("nobody stops it"))
    }

    /// The same, with what was predicted added up by `tally`; or `None` where `stop` said so before a micro-batch: what was
    /// computed until then is of no use. Nothing is waited for until all micro-batches have been asked for: what they computed is
    /// read at the end.
    ///
    /// # Errors
    /// If a micro-batch does not fit the plan.
    pub fn gradient_unless(
        &mut self,
        stop: &dyn Fn() -> bool,
        micro_batches: &[Inputs],
        step: u64,
        tally: &mut dyn FnMut(&Inputs, Outputs<'_>, &mut Sums),
    ) -> Result<Option<Outcome>, RunError> {
        self.runtime.zero_gradients();
        let mut runs = Vec::with_capacity(micro_batches.len());
        let mut starts = Vec::new();
        for inputs in micro_batches {
            if stop() {
                return Ok(None);
            }
            runs.push(inputs.start(&mut self.runtime, self.training, &starts, self.seed, step)?);
            starts.resize(inputs.lengths.len(), 0);
            starts.iter_mut().zip(&inputs.lengths).for_each(|(start, &length)| *start += length as u64);
        }
        let gradient_norm = self.runtime.gradient_norm();
        self.runtime.status()?;
        let mut outcome = Outcome { gradient_norm, ..Outcome::default() };
        for (inputs, run) in micro_batches.iter().zip(runs) {
            let outputs = Outputs::of(&self.runtime, run);
            tally(inputs, outputs, &mut outcome.sums);
            outputs.read("loss", &mut self.loss);
            outcome.loss += f64::from(self.loss[0]);
            outcome.tokens += inputs.tokens() as u64;
        }
        Ok(Some(outcome))
    }

    /// Changes the parameters along the gradient that was computed last, unless that or its loss is not finite.
    ///
    /// # Errors
    /// If the device has failed.
    pub fn update(&mut self, update: &Update) -> Result<Applied, DeviceError> {
        self.runtime.update(update)
    }

    /// The model as it is now, to be evaluated until `stop` says so.
    pub fn evaluator<'a>(&'a mut self, stop: &'a dyn Fn() -> bool) -> Evaluator<'a> {
        Evaluator::new(&mut self.runtime, self.evaluation, stop)
    }

    /// Hands the weights and the moments to `save` as named tensors.
    ///
    /// # Errors
    /// If the device has failed; nothing is saved then.
    pub fn with_tensors<T>(
        &self,
        save: impl FnOnce(&[NamedTensor<'_>], &[NamedTensor<'_>]) -> T,
    ) -> Result<T, DeviceError> {
        let parameters = self.albert.parameters();
        let values = self.values();
        let moments = MOMENTS.map(|(suffix, state)| (suffix, self.runtime.view(state)));
        self.runtime.status()?;
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
        Ok(save(&weights, &optimizer))
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
