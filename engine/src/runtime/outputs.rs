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
            // An empty output may begin where the region ends.
            Location::Arena(offset) if (regions.outputs.start..=regions.outputs.end).contains(&offset) => {
                &self.backend.fetched(outputs)[offset - regions.outputs.start..][..size]
            }
            Location::Arena(offset) if offset < regions.inputs.end => {
                assert!(
                    run + 1 == self.kept && self.inputs_are_sent,
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kernels::Cpu;

    use crate::{
        Bindings, Content, Device, Graph, Parameters, Plan, PlanId, Precision, Rows, Runtime, Shape,
    };

    fn loaded(record: impl FnOnce(&Graph) -> Plan) -> (Runtime, PlanId) {
        let parameters = Arc::new(Parameters::default());
        let plan = record(&Graph::new(parameters.clone()));
        let cpu = Device::Cpu(Cpu::new(Some(1), None).expect("a CPU"));
        let mut runtime = Runtime::new(cpu, parameters).expect("memory");
        let plan = runtime.load(plan).expect("memory");
        (runtime, plan)
    }

    /// There, or as the last of several, it begins where the region of the outputs ends.
    #[test]
    fn an_output_may_have_no_room() {
        for with_others in [false, true] {
            let (mut runtime, plan) = loaded(|graph| {
                let [none, some] = [("none", 0), ("some", 2)].map(|(name, capacity)| {
                    let rows = Rows::Along(graph.axis(name, capacity));
                    graph.input(&format!("of {name}"), Shape::new(rows, 3)).scale(2.0)
                });
                let all = [("some", some), ("none", none)];
                Plan::inference(graph, &all[usize::from(!with_others)..], Precision::F32)
            });
            let reals: [(&str, &[f32]); 2] = [("of none", &[]), ("of some", &[1.0; 6])];
            let bindings = Bindings { lengths: &[0, 2], reals: &reals, ..Bindings::default() };
            runtime.run(plan, &bindings).expect("inputs that fit");
            assert_eq!(runtime.output(plan, "none"), [0.0; 0]);
            if with_others {
                assert_eq!(runtime.output(plan, "some"), [2.0; 6]);
            }
        }
    }

    /// They would be those of a run that was refused.
    #[test]
    #[should_panic(expected = "output `x`, which is an input, is there until the next run")]
    fn inputs_are_gone_once_others_are_written_in_their_place() {
        let (mut runtime, plan) = loaded(|graph| {
            let rows = Rows::Along(graph.axis("rows", 2));
            let x = graph.input("x", Shape::new(rows, 1));
            graph.indices("list", rows, Content::Below(3));
            Plan::inference(graph, &[("x", x), ("y", x.scale(2.0))], Precision::F32)
        });
        let mut start = |x: &[f32], list: &[i32]| {
            let (reals, integers) = ([("x", x)], [("list", list)]);
            let bindings =
                Bindings { lengths: &[2], reals: &reals, integers: &integers, ..Bindings::default() };
            runtime.start(plan, &bindings)
        };
        let first = start(&[1.0, 2.0], &[0, 1]).expect("inputs that fit");
        start(&[3.0, 4.0], &[0, 3]).expect_err("3 is none of three");
        let mut found = Vec::<f64>::new();
        runtime.read_output_of(first, "y", &mut found);
        assert_eq!(found, [2.0, 4.0], "what was computed is there");
        runtime.read_output_of(first, "x", &mut found);
    }
}
