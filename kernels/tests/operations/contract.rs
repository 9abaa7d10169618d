//! An operand of a wrong length is refused before anything is computed.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kernels::{Host, Reference};

use crate::case::{Case, pool};
use crate::devices;

/// Every operand of a case, one number longer and one shorter, on every device.
pub fn check<C: Case>() {
    every_operand_is_refused::<C, _>(&Reference);
    devices::cpus(1).for_each(|cpu| every_operand_is_refused::<C, _>(&cpu));
}

fn every_operand_is_refused<C: Case, H: Host>(host: &H) {
    // Not every case has every operand.
    let (mut known, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for case in &C::small() {
        let names: Vec<_> = pool(case).names().filter(|&name| !IN_F64.contains(&name)).collect();
        for name in names {
            for change in [-1, 1] {
                let mut operands = pool(case).convert::<H::Real>();
                let length = operands.read(name).len();
                operands.resize(name, length.saturating_add_signed(change));
                known.insert((name, change));
                let says_so = case.steps::<H>().iter().any(|step| {
                    let run = AssertUnwindSafe(|| step.run(host, &operands));
                    let message = catch_unwind(run).err().and_then(|panic| panic.downcast::<String>().ok());
                    message.is_some_and(|message| message.contains("numbers, not those of"))
                });
                if says_so {
                    refused.insert((name, change));
                }
            }
        }
    }
    let accepted: Vec<_> = known.difference(&refused).collect();
    assert!(accepted.is_empty(), "operands that may have any length: {accepted:?}");
}

/// What a case keeps beside the kernel's own operand, which is no matrix of the device's numbers.
const IN_F64: [&str; 1] = ["norm"];
