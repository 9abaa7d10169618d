//! What a run is asked for.

use kernels::{Kernels, Real};

use super::on::{On, Started};
use super::{PlanId, RunId};
use crate::graph::Kind;
use crate::plan::{Location, Operand};

impl<B: Kernels<P>, P: kernels::Precision> On<B, P> {
    /// The last run.
    pub(super) fn last_run(&self, id: PlanId) -> RunId {
        let last = self.kept.checked_sub(1).filter(|&last| self.started[last].plan == id);
        RunId(last.expect("what the plan computed is gone: another has run, or this one has not"))
    }

    /// For how many members of every axis a run was computed.
    pub(super) fn computed_lengths(&self, RunId(run): RunId) -> &[usize] {
        assert!(run < self.kept, "the run is gone: gradients were zero since, or another run");
        &self.started[run].computed
    }

    /// Finds an output of a run: its kind, and its bytes if it was computed.
    fn output(&self, RunId(run): RunId, name: &str) -> (Operand, usize, &[u8]) {
        assert!(run < self.kept, "output `{name}` is gone: gradients were zero since, or another run");
        let Started { plan, lengths, outputs, .. } = &self.started[run];
        let plan = &self.plans[plan.0].plan;
        let output = plan.outputs.iter().find(|output| output.name == name);
        let operand = output.unwrap_or_else(|| panic!("the plan has no output `{name}`")).operand;
        let length = operand.shape.elements(lengths);
        let (regions, size) = (&plan.regions, length * plan.precision.size(operand.kind));
        let bytes = match operand.location {
            Location::Arena(offset) if regions.outputs.contains(&offset) => {
                &self.backend.fetched(outputs)[offset - regions.outputs.start..][..size]
            }
            Location::Arena(offset) if offset < regions.inputs.end => {
                assert_eq!(
                    run + 1,
                    self.kept,
                    "output `{name}`, which is an input, is there until the next run"
                );
                &self.backend.sent(&self.inputs[self.turn])[offset..][..size]
            }
            Location::Arena(_) | Location::Weight(_) | Location::Master(_) => &[],
        };
        (operand, length, bytes)
    }

    pub(super) fn read_output<T: Real>(&self, run: RunId, name: &str, into: &mut Vec<T>) {
        fn convert<R: Real, T: Real>(bytes: &[u8], into: &mut Vec<T>) {
            into.extend(bytemuck::cast_slice(bytes).iter().map(|value: &R| T::from_f64(value.to_f64())));
        }
        let (operand, length, bytes) = self.output(run, name);
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

    pub(super) fn read_indices(&self, run: RunId, name: &str, into: &mut Vec<i32>) {
        let (operand, _, bytes) = self.output(run, name);
        assert_eq!(operand.kind, Kind::Index, "output `{name}` is no list of integers");
        into.clear();
        into.extend_from_slice(bytemuck::cast_slice(bytes));
    }
}
