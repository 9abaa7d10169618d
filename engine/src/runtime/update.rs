//! An optimizer step: norm, clipping and update as one call.

use kernels::memory::Memory;
use kernels::optimizer::{Norm, Operands, Update};
use kernels::{DeviceError, Kernels, Real};

use super::on::On;

/// What came of an optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Applied {
    /// Norm of all gradients together, before clipping.
    pub gradient_norm: f64,
    /// Whether the parameters were changed: only if the norm and the loss are finite.
    pub applied: bool,
}

impl<B: Kernels<P>, P: kernels::Precision> On<B, P> {
    pub(super) fn zero_gradients(&mut self) {
        self.backend.clear(&mut self.gradients);
        self.backend.clear(&mut self.loss);
        self.norm_is_known = false;
        self.kept = 0;
    }

    pub(super) fn gradient_norm(&mut self) -> f64 {
        self.take_norm();
        let mut norm = [0.0_f64];
        self.backend.download(&self.norm, 0, bytemuck::cast_slice_mut(&mut norm));
        norm[0]
    }

    /// Has the norm computed unless it is there.
    fn take_norm(&mut self) {
        let (backend, gradients) = (&self.backend, &self.gradients);
        if !self.norm_is_known {
            let norm = &mut self.norm;
            backend.run(|| {
                let gradients = B::Memory::slice(gradients, 0..B::Memory::bytes(gradients));
                backend.gradient_norm(&(), Norm { gradients, norm: B::Memory::slice_mut(norm) });
            });
            self.norm_is_known = true;
        }
    }

    pub(super) fn update(&mut self, update: &Update) -> Result<Applied, DeviceError> {
        let trains = B::Memory::bytes(&self.gradients) == B::Memory::bytes(&self.masters);
        assert!(
            trains,
            "an optimizer step needs gradients: they are there once a plan that trains is loaded"
        );
        self.take_norm();
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
        // Nothing was waited for until here.
        let gradient_norm = self.gradient_norm();
        let mut loss = [0_u64];
        let loss: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut loss)[..size_of::<P::Master>()];
        self.backend.download(&self.loss, 0, loss);
        let loss: &[P::Master] = bytemuck::cast_slice(loss);
        self.backend.status()?;
        let applied = update.gradient_scale(gradient_norm, loss[0].to_f64()).is_some();
        Ok(Applied { gradient_norm, applied })
    }
}
