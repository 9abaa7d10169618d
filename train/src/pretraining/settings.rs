//! What a session of pre-training takes from its settings.

use engine::Precision;

use super::job::micro_batch;
use crate::config::{DeviceSettings, Pretrain, Span};
use crate::training::{RunSettings, precision};

impl RunSettings for Pretrain {
    /// The data are checked by their fingerprints. The micro-batch and the instruction set change the order of sums, and
    /// with it the last bits; the run says so.
    const FREE_AT_RESUME: &'static [&'static str] = &[
        "data.train",
        "model.init",
        "data.held_out",
        "data.tokenizer",
        "training.micro_batch",
        "training.recompute",
        "training.eval_sequences",
    ];

    fn keep(&self) -> usize {
        self.training.keep
    }

    fn max_time(&self) -> Option<Span> {
        self.training.max_time
    }

    fn device(&self) -> &DeviceSettings {
        &self.device
    }

    fn device_mut(&mut self) -> &mut DeviceSettings {
        &mut self.device
    }

    fn tensorboard(&self) -> bool {
        self.training.tensorboard
    }

    fn rounds_like(&self, earlier: &Self) -> bool {
        // What is computed again in bf16 begins from a number that was rounded.
        let [now, before] = [self, earlier].map(|settings| settings.training.recompute);
        let again = now == before || precision(&self.device) == Precision::F32;
        // `auto` may have been settled to a GPU since; another device is told of elsewhere.
        let earlier = Self { device: self.device.clone(), ..earlier.clone() };
        again && micro_batch(&earlier) == micro_batch(self)
    }

    fn notice(&self) -> Option<&'static str> {
        let is_built_in = self.data.train.is_empty();
        is_built_in.then_some("no text was given: learning from built-in stories (your own: --train FILE)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Device, Layers};

    #[test]
    fn a_device_that_was_settled_computes_as_before() {
        let earlier = Layers::<Pretrain>::new().resolve().unwrap().settings;
        let mut now = earlier.clone();
        now.device.device = Device::Cuda(0);
        assert!(earlier.device.device == Device::Auto && now.rounds_like(&earlier));
        now.training.micro_batch = Some(1);
        assert!(!now.rounds_like(&earlier));
    }
}
