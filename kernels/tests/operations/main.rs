//! Every operation: its gradients against finite differences, every instruction set against the reference, every number
//! of threads against one, a GPU under every schedule, and no operand of a wrong length.

mod case;
mod cases;
mod contract;
mod devices;
mod extremes;
#[cfg(target_os = "linux")]
mod gpu;
#[cfg(target_os = "linux")]
mod gpu_attention;
mod pool;
#[cfg(target_os = "linux")]
mod programs;
mod tolerance;
mod weightless;

use std::collections::BTreeSet;

/// The cases, each of which becomes five tests. A kernel that no case calls is an error.
macro_rules! cases {
    ($($name:ident: $case:ty;)*) => {
        mod gradients {
            $(#[test] fn $name() { crate::case::check_gradients::<$case>(); })*
        }
        mod backends {
            $(#[test] fn $name() { crate::case::check_backends::<$case>(); })*
        }
        #[cfg(target_os = "linux")]
        mod on_a_gpu {
            use emulated_gpu::process::{SCHEDULES, same_under};

            $(#[test] fn $name() {
                same_under(concat!("on_a_gpu::", stringify!($name)), &SCHEDULES, crate::case::check_gpu::<$case>);
            })*
        }
        mod threads {
            $(#[test] fn $name() { crate::case::check_threads::<$case>(); })*
        }
        mod lengths {
            $(#[test] fn $name() { crate::contract::check::<$case>(); })*
        }

        #[test]
        fn every_kernel_has_a_case() {
            let tested: BTreeSet<_> = [$(case::kernels::<$case>()),*].into_iter().flatten().collect();
            let listed: BTreeSet<_> = kernels::KERNELS.iter().copied().collect();
            assert_eq!(tested, listed);
        }
    };
}

cases! {
    activation: crate::cases::activation::Activation;
    add: crate::cases::add::Add;
    attention: crate::cases::attention::Attention;
    columns: crate::cases::columns::Columns;
    cross_entropy: crate::cases::cross_entropy::CrossEntropy;
    dropout: crate::cases::dropout::Dropout;
    embedding: crate::cases::embedding::Embedding;
    gather: crate::cases::gather::Gather;
    layer_norm: crate::cases::layer_norm::LayerNorm;
    linear: crate::cases::linear::Linear;
    optimizer: crate::cases::optimizer::Optimizer;
    sequence_cross_entropy: crate::cases::sequence_cross_entropy::SequenceCrossEntropy;
    sequence_softmax: crate::cases::sequence_softmax::SequenceSoftmax;
    sequence_sum: crate::cases::sequence_sum::SequenceSum;
    squared_error: crate::cases::squared_error::SquaredError;
}

/// Where cuBLASLt refuses what it may refuse, kernels of our own do the work; and where it does in two kernels what is one epilogue, it
/// rounds once more.
#[cfg(target_os = "linux")]
mod refused_products {
    use emulated_gpu::blas::mode::BLAS;
    use emulated_gpu::process::same_under;

    macro_rules! refused {
        ($($name:ident: $setting:literal;)*) => {
            $(#[test] fn $name() {
                let test = concat!("refused_products::", stringify!($name));
                same_under(test, &[&[(BLAS, $setting)]], crate::case::check_gpu::<crate::cases::linear::Linear>);
            })*
        };
    }
    refused! {
        no_epilogues: "no-epilogues";
        no_auxiliary_matrix: "no-auxiliary";
        nothing_unaligned: "no-unaligned";
        nothing_unproven: "strict";
        epilogues_of_their_own: "unfused";
    }
}
