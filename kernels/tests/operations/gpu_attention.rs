//! Attention on tensor cores: what it asks of a GPU, and GPUs that have less to give.

use emulated_gpu::performance::Launched;
use emulated_gpu::process::same_under;
use kernels::precision::Bf16;

use crate::case::{Case, check_gpu_in, pool};
use crate::cases::attention::Attention;
use crate::gpu::{OnHost, counted};
use crate::pool::Packed;

/// Forward and backward of one head of one sequence; nothing where no GPU is emulated.
fn launches(head_width: usize, length: usize, dropout: Option<f32>) -> Option<[Launched; 2]> {
    if emulated_gpu::setup::real() || !emulated_gpu::setup::available() {
        return None;
    }
    let case = Attention::new(Packed::new(&[length], 0), 1, head_width, dropout);
    let (gpu, operands) = (OnHost::new(), pool(&case));
    let launches = counted(|| case.steps::<_, Bf16>().iter().for_each(|step| step.run(&gpu, &operands)));
    // Other tests of this process may launch kernels meanwhile, but none of these.
    let ours = launches.into_iter().filter(|launched| launched.kernel.starts_with("attention"));
    Some(ours.collect::<Vec<_>>().try_into().expect("a kernel forward, and one backward"))
}

/// Head width, length, and TFLOP/s forward and backward, which counts as 2.5 times as many operations (as FlashAttention's
/// authors count), that the emulated GPU's model of an H100 must predict.
const RATES: [(usize, usize, [f64; 2]); 3] =
    [(64, 128, [150.0, 170.0]), (64, 512, [250.0, 190.0]), (128, 512, [300.0, 210.0])];

#[test]
fn no_resource_is_wasted() {
    for (head_width, length, rates) in RATES {
        let Some(launches) = launches(head_width, length, None) else { return };
        for ((launched, rate), operations) in launches.iter().zip(rates).zip([4.0, 10.0]) {
            launched.assert_no_bank_conflicts();
            launched.assert_resources(255);
            let loads = launched.summary.global[0];
            let sectors = loads.sectors as f64 * 32.0 / loads.bytes as f64;
            assert!(
                sectors <= 1.05,
                "{}: loads touch {sectors} times the sectors that they fill",
                launched.kernel
            );
            let (seconds, resource) = launched.least_time();
            let predicted = operations * (length * length * head_width) as f64 / seconds / 1e12;
            println!("{}, {head_width} x {length}: {predicted:.0} TFLOP/s, by {resource}", launched.kernel);
            assert!(
                predicted >= rate,
                "{}, {head_width} x {length}: {predicted} by {resource}",
                launched.kernel
            );
        }
    }
}

/// Everything is read once, and once more where it must be; written once.
#[test]
fn memory_is_touched_once() {
    let Some([forward, backward]) = launches(64, 512, None) else { return };
    let (matrix, statistics) = (2 * 64 * 512, 4 * 512);
    let offsets = 8;
    forward.assert_distinct_bytes([3 * matrix + offsets, matrix + statistics]);
    // Backward keeps gradients of q in f32, and two numbers for each row, between its passes over the keys.
    let scratch = 2 * matrix + 2 * statistics;
    backward.assert_distinct_bytes([5 * matrix + statistics + scratch + offsets, 3 * matrix + scratch]);
}

#[test]
fn dropout_keeps_its_registers() {
    for head_width in [64, 128] {
        let Some(launches) = launches(head_width, 16, Some(0.1)) else { return };
        for launched in launches {
            assert!(launched.registers.is_some(), "{}: it was not compiled here", launched.kernel);
            assert!(launched.spills <= 16, "{}: {} bytes of spills", launched.kernel, launched.spills);
        }
    }
}

/// 163 KiB of shared memory, 99, and 99 with kernels for newer GPUs; the device that other tests have, 227.
#[test]
fn less_shared_memory_gives_the_same_bits() {
    let devices = ["8.0", "8.6", "12.0", "9.0"].map(|capability| [("EMULATED_GPU_CAPABILITY", capability)]);
    let devices = devices.each_ref().map(|variables| &variables[..]);
    same_under("gpu_attention::less_shared_memory_gives_the_same_bits", &devices, || {
        check_gpu_in::<Attention, Bf16>()
    });
}
