//! A plan as a person reads it.

use std::collections::BTreeMap;
use std::fmt;

use kernels::Cost;

use super::{Location, Operand, Plan};

impl Plan {
    /// Number of calls and cost of each kind of kernel, most expensive first.
    pub fn cost_by_operation(&self) -> Vec<(&'static str, usize, Cost)> {
        let mut sums = BTreeMap::<&str, (usize, Cost)>::new();
        for step in &self.steps {
            let (calls, cost) = sums.entry(step.operation.name()).or_default();
            *calls += 1;
            *cost += step.cost;
        }
        let mut sums: Vec<_> = sums.into_iter().map(|(name, (calls, cost))| (name, calls, cost)).collect();
        sums.sort_by_key(|(_, _, cost)| std::cmp::Reverse((cost.executed_flops, cost.bytes)));
        sums
    }
}

/// Every step with its operands' places: what a snapshot of a plan holds.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |operand: &Operand| match operand.location {
            Location::Arena(offset) => format!("@{offset}"),
            Location::Master(first) => format!("m{first}"),
            Location::Weight(first) => format!("w{first}"),
        };
        for step in &self.steps {
            let reads: Vec<_> = step.reads.iter().map(place).collect();
            let writes = step.writes.iter().zip(&step.stores).map(|(operand, store)| match operand {
                None => "-".to_owned(),
                Some(operand) => {
                    format!("{}{}", if *store == kernels::Store::Add { "+" } else { "" }, place(operand))
                }
            });
            let gradients = step.accumulates.iter().map(|range| format!("+g{}", range.start));
            let writes: Vec<_> = writes.chain(gradients).collect();
            let (name, operation) = (&step.name, step.operation.name());
            writeln!(f, "{name}: {operation} {} -> {}", reads.join(" "), writes.join(" "))?;
        }
        let cost = self.cost();
        let (model, executed) = (cost.model_flops, cost.executed_flops);
        write!(f, "{} steps, {model} model flops, {executed} executed flops, ", self.steps.len())?;
        write!(f, "{} bytes moved, ", cost.bytes)?;
        writeln!(f, "arena {} bytes, parameters {} bytes", self.arena_size, self.parameter_size())
    }
}
