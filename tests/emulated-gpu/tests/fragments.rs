//! Every form of mma, ldmatrix, stmatrix and movmatrix that is emulated, against vectors computed from the layouts that
//! the PTX ISA documents. Through the driver, so that `ALBERT_REAL_GPU=1` runs the same on hardware and settles them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use cudarc::driver::{LaunchConfig, PushKernelArg};
use serde::Deserialize;
use support::{compile, gpu, on_any_gpu};

#[derive(Deserialize)]
struct Case {
    kernel: String,
    input: Vec<u32>,
    output: Vec<u32>,
}

#[test]
fn fragments_are_laid_out_as_documented() {
    on_any_gpu("fragments_are_laid_out_as_documented", || {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../golden/fragments.json")).unwrap();
        assert_eq!(cases.len(), 8 + 6 + 6 + 1);
        let (context, stream) = gpu();
        let module = context.load_module(compile(include_str!("../kernels/fragments.cu"))).unwrap();
        for Case { kernel, input, output } in cases {
            let function = module.load_function(&kernel).unwrap();
            let input = stream.clone_htod(&input).unwrap();
            let mut got = stream.alloc_zeros::<u32>(output.len()).unwrap();
            let one_warp = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };
            // SAFETY: the kernel reads `input` and writes `got`, whose sizes come with it.
            unsafe { stream.launch_builder(&function).arg(&input).arg(&mut got).launch(one_warp) }.unwrap();
            assert_eq!(stream.clone_dtoh(&got).unwrap(), output, "{kernel}");
        }
    });
}
