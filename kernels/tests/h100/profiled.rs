//! Launches that a profiler looks at on hardware: its counters must be those that the emulated GPU has for them.

use std::fmt::Write;
use std::{env, fs};

use emulated_gpu::performance::Launched;
use emulated_gpu::setup;
use kernels::attention::Attention;
use kernels::{Cuda, Store};

use crate::{calls, counting};

/// Names the file to which the emulated GPU's counters are written, an object of JSON in a line for each launch.
const COUNTS: &str = "COUNTS";

/// One call of every kernel that takes time, at sizes of several tiles.
fn launches(cuda: &Cuda) -> Vec<Launched> {
    let attention = |head_width| Attention { heads: 2, head_width, dropout: None };
    [
        calls::layer_norm_forward(cuda, 203, 768, true),
        calls::layer_norm_backward(cuda, 203, 768),
        calls::attention_forward(cuda, 2, 128, &attention(64)),
        calls::attention_backward(cuda, 2, 128, &attention(64)),
        calls::attention_forward(cuda, 1, 512, &attention(128)),
        calls::attention_backward(cuda, 1, 512, &attention(128)),
        calls::gelu_backward(cuda, 64, 3072),
        calls::embedding_forward(cuda, 300, 128, 1000),
        calls::embedding_backward(cuda, 700, 128, 1000),
        calls::gather_forward(cuda, 77, 7, 768),
        calls::gather_backward(cuda, 77, 7, 768, Store::Assign),
        calls::cross_entropy_forward(cuda, 3, 30_000),
        calls::cross_entropy_backward(cuda, 3, 30_000),
        calls::update(cuda, 4 * 8192 + 1000),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn launches_for_a_profiler() {
    if setup::real() {
        // Which counts by itself.
        launches(&Cuda::new(0).expect("a GPU").without_kernel_cache());
        return;
    }
    counting("profiled::launches_for_a_profiler", |cuda| {
        let mut lines = String::new();
        let launches = launches(cuda);
        assert!(launches.len() > 20, "{} launches", launches.len());
        for launched in launches {
            let Launched { kernel, registers, summary, .. } = &launched;
            let [loads, stores, _] = summary.global;
            let [shared_loads, shared_stores, _] = summary.shared;
            writeln!(
                lines,
                "{{\"kernel\": \"{kernel}\", \"instructions\": {}, \"load_sectors\": {}, \"store_sectors\": {}, \
                 \"shared_load_wavefronts\": {}, \"shared_store_wavefronts\": {}, \"registers\": {}, \
                 \"least_microseconds\": {:.3}}}",
                summary.instructions(),
                loads.sectors,
                stores.sectors,
                shared_loads.wavefronts,
                shared_stores.wavefronts,
                registers.expect("it was compiled here"),
                1e6 * launched.least_time().0,
            )
            .expect("text grows");
        }
        if let Some(path) = env::var_os(COUNTS) {
            fs::write(path, lines).expect("the folder is there");
        }
    });
}
