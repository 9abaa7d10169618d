//! What a run is asked for.

use kernels::{Kernels, Real};

use super::PlanId;
use super::on::{Loaded, On};
use crate::graph::Kind;
use crate::plan::{Location, Operand};

impl<B: Kernels<P>, P: kernels::Precision> On<B, P> {
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

    pub(super) fn read_output<T: Real>(&self, id: PlanId, name: &str, into: &mut Vec<T>) {
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

    pub(super) fn read_indices(&self, id: PlanId, name: &str, into: &mut Vec<i32>) {
        let (operand, _, bytes) = self.output(id, name);
        assert_eq!(operand.kind, Kind::Index, "output `{name}` is no list of integers");
        into.clear();
        into.extend_from_slice(bytemuck::cast_slice(bytes));
    }
}
