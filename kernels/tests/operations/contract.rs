//! An operand of a wrong length is refused before anything is computed.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kernels::precision::{Bf16, F32, F64};
use kernels::{Precision, Reference};

use crate::case::{Case, Device, pool};
use crate::devices;

/// Every operand of a case, one number longer and one shorter, on every device.
pub fn check<C: Case>() {
    every_operand_is_refused::<C, _, F64>(&Reference);
    devices::cpus(1).for_each(|cpu| {
        every_operand_is_refused::<C, _, F32>(&cpu);
        every_operand_is_refused::<C, _, Bf16>(&cpu);
    });
}

fn every_operand_is_refused<C: Case, B: Device<P>, P: Precision>(device: &B) {
    // Not every case has every operand.
    let (mut known, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for case in &C::small() {
        for name in pool(case).names() {
            for change in [-1, 1] {
                let mut operands = pool(case);
                operands.resize(name, change);
                known.insert((name, change));
                let says_so = case.steps::<B, P>().iter().any(|step| {
                    let run = AssertUnwindSafe(|| step.run(device, &operands));
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
