//! What the compiler says of kernels, and what follows from it: registers, occupancy, launches that are refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::time::SystemTime;

use cudarc::driver::{CudaFunction, LaunchConfig, PushKernelArg, sys};
use cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts, result as nvrtc};
use emulated_gpu::machine_code::{CodeError, MachineCode};
use emulated_gpu::performance::counted;
use support::{bug, compile, cover, eager_and_late, gpu, kernel};

/// A kernel of some 128 registers: as many sums at once.
const GREEDY: &str = "extern \"C\" __global__ void greedy(const float* x, float* y, int n) {\n\
    float sums[110];\n#pragma unroll\n  for (int i = 0; i < 110; i++) sums[i] = x[i];\n\
    for (int k = 0; k < n; k++)\n#pragma unroll\n    for (int i = 0; i < 110; i++) sums[i] = sums[i] * sums[(i + 37) % 110] + float(k);\n\
    float sum = 0.f;\n#pragma unroll\n  for (int i = 0; i < 110; i++) sum += sums[i];\n  y[threadIdx.x] = sum;\n}";

fn registers(function: &CudaFunction) -> i32 {
    function.num_regs().unwrap()
}

#[test]
fn registers_limit_blocks_as_on_hardware() {
    support::on_any_gpu("registers_limit_blocks_as_on_hardware", || {
        let (context, _stream) = gpu();
        let greedy = context.load_module(compile(GREEDY)).unwrap().load_function("greedy").unwrap();
        let needed = registers(&greedy);
        assert!((100..=255).contains(&needed), "{needed}");
        let portions = (needed as u32 * 32).next_multiple_of(256);
        let warps = 65536 / portions / 4 * 4;
        assert_eq!(greedy.max_threads_per_block().unwrap() as u32, (warps * 32).min(1024));
        assert_eq!(greedy.occupancy_max_active_blocks_per_multiprocessor(128, 0, None).unwrap(), warps / 4);
        extern "C" fn no_shared(_threads: i32) -> usize {
            0
        }
        let (grid, threads) = greedy.occupancy_max_potential_block_size(no_shared, 0, 0, None).unwrap();
        let blocks = greedy.occupancy_max_active_blocks_per_multiprocessor(threads, 0, None).unwrap();
        assert!(threads >= 32 && blocks * threads <= warps * 32, "{blocks} blocks of {threads}");
        assert_eq!(grid % blocks, 0);
        assert!(registers(&kernel(&context, "scale")) < 32);
    });
}

#[test]
fn too_many_threads_for_the_registers() {
    let reports =
        ["CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "kernel greedy: 1024 threads of 1", "__launch_bounds__"];
    bug("too_many_threads_for_the_registers", "eager", &reports, || {
        let (context, stream) = gpu();
        let greedy = context.load_module(compile(GREEDY)).unwrap().load_function("greedy").unwrap();
        let (x, mut y) = (stream.alloc_zeros::<f32>(128).unwrap(), stream.alloc_zeros::<f32>(1024).unwrap());
        let one = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (1024, 1, 1), shared_mem_bytes: 0 };
        let mut launch = stream.launch_builder(&greedy);
        launch.arg(&x).arg(&mut y).arg(&1_i32);
        // SAFETY: the arguments are those of the kernel.
        unsafe { launch.launch(one) }.unwrap();
    });
}

/// PTX that NVRTC makes and `ptxas` refuses is refused when it is loaded.
#[test]
fn inline_assembly_that_the_driver_would_not_compile() {
    let reports = ["cuModuleLoadData", "CUDA_ERROR_INVALID_PTX", "the driver's compiler refuses it"];
    bug("inline_assembly_that_the_driver_would_not_compile", "eager", &reports, || {
        let (context, _stream) = gpu();
        let source = "extern \"C\" __global__ void k(float* x) { asm volatile(\"wgmma.fence.sync.aligned;\"); x[0] = 1.f; }";
        context.load_module(compile(source)).unwrap();
    });
}

/// The image that NVRTC makes for an H100.
fn image(source: &str) -> Vec<u8> {
    let source = std::ffi::CString::new(source).unwrap();
    let program = nvrtc::create_program(&source, None).unwrap();
    let mut image = Vec::new();
    // SAFETY: the program is alive, and `image` has as many bytes as it is said to have.
    unsafe {
        nvrtc::compile_program(program, &["--gpu-architecture=sm_90"]).unwrap();
        let mut bytes = 0;
        cudarc::nvrtc::sys::nvrtcGetCUBINSize(program, &mut bytes).result().unwrap();
        assert!(bytes > 0);
        image.resize(bytes, 0_u8);
        cudarc::nvrtc::sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast()).result().unwrap();
        nvrtc::destroy_program(program).unwrap();
    }
    image
}

/// Whether a test that cannot be set up is to fail.
fn required() -> bool {
    let asked = |name| std::env::var(name).is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"));
    asked(emulated_gpu::setup::REQUIRE) || asked("CI")
}

/// The machine's own code of the tests' attention: every `mma` is one HMMA, nothing is spilled; and sums that must not be
/// made one with a product are not.
#[test]
fn machine_code_is_as_expected() {
    if emulated_gpu::setup::real() || !emulated_gpu::setup::available() {
        return;
    }
    let header = include_str!("../kernels/device.cuh").replace("#pragma once", "");
    let attention = include_str!("../kernels/attention.cu").replace("#include \"device.cuh\"", &header);
    let exact = "extern \"C\" __global__ void exact(float* x) { x[0] = __fadd_rn(__fmul_rn(x[1], x[2]), x[3]); }\n\
                 extern \"C\" __global__ void fused(float* x) { x[0] = x[1] * x[2] + x[3]; }";
    let code = match MachineCode::of(&image(&(attention + exact))) {
        Err(CodeError::Setup(error)) if !required() => {
            eprintln!("SKIPPED, no disassembler: {error}");
            return;
        }
        code => code.unwrap(),
    };
    for kernel in ["attention_forward", "attention_backward", "attention_deltas"] {
        code.assert_no_spills(kernel);
    }
    // Two products of 64 x 64 x 64 for 16 rows, of 16 x 8 x 16 each; the loop over tiles is not unrolled.
    assert_eq!(code.count("attention_forward", "HMMA.16816.F32.BF16"), 2 * 8 * 4);
    assert!(code.count("attention_forward", "LDGSTS") > 0 && code.count("attention_forward", "LDSM") > 0);
    assert_eq!(["FMUL", "FADD", "FFMA"].map(|opcode| code.count("exact", opcode)), [1, 1, 0]);
    assert_eq!(["FMUL", "FADD", "FFMA"].map(|opcode| code.count("fused", opcode)), [0, 0, 1]);
    assert!(MachineCode::of(b"nothing").is_err());
}

/// A compiled image runs, through the PTX it was made with, as hardware would run it.
#[test]
fn compiled_images_are_loaded() {
    eager_and_late("compiled_images_are_loaded", || {
        let (context, stream) = gpu();
        let image = image(include_str!("support/kernels.cu"));
        let (mut module, mut function) = (std::ptr::null_mut(), std::ptr::null_mut());
        let mut registers = 0;
        // SAFETY: the image is one, and there is room for the results.
        unsafe {
            sys::cuModuleLoadData(&mut module, image.as_ptr().cast()).result().unwrap();
            sys::cuModuleGetFunction(&mut function, module, c"scale".as_ptr()).result().unwrap();
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_NUM_REGS;
            sys::cuFuncGetAttribute(&mut registers, attribute, function).result().unwrap();
        }
        assert!((4..32).contains(&registers), "{registers}");
        drop((context, stream));
    });
}

/// What is compiled once is not compiled again, by this process or another.
#[test]
fn programs_are_remembered_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().to_str().unwrap();
    let files = || -> Vec<(String, SystemTime)> {
        let mut files: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().modified().unwrap())
            })
            .collect();
        files.sort();
        files
    };
    let program = || {
        let ptx = compile("extern \"C\" __global__ void once(float* x) { x[0] = 2.f; }").to_src();
        assert!(ptx.contains("once"));
        let broken = compile_ptx_with_opts("not C++", CompileOptions::default());
        assert!(format!("{:?}", broken.unwrap_err()).contains("error"), "the log is there");
    };
    let variables = [(emulated_gpu::compiler::CACHE, cache)];
    support::eager_with("programs_are_remembered_on_disk", &variables, program);
    if support::is_child() || emulated_gpu::setup::real() || !emulated_gpu::setup::available() {
        return;
    }
    let first = files();
    assert_eq!(first.len(), 1, "{first:?}");
    support::eager_with("programs_are_remembered_on_disk", &variables, program);
    assert_eq!(files(), first);
    // A file that is cut short is as good as none.
    fs::write(folder.path().join(&first[0].0), b"cut").unwrap();
    support::eager_with("programs_are_remembered_on_disk", &variables, program);
    assert!(fs::metadata(folder.path().join(&first[0].0)).unwrap().len() > 100);
}

/// A test of another crate counts what its kernels ask for.
#[test]
fn launches_are_counted_for_tests() {
    eager_and_late("launches_are_counted_for_tests", || {
        let (context, stream) = gpu();
        let scale = kernel(&context, "scale");
        let n = 4096;
        let x = stream.clone_htod(&vec![1_f32; n]).unwrap();
        let mut y = stream.alloc_zeros::<f32>(n).unwrap();
        support::launch_scale(&stream, &scale, &mut y, &x, 2.0, n);
        stream.synchronize().unwrap();
        let launches = counted(|| {
            support::launch_scale(&stream, &scale, &mut y, &x, 2.0, n);
            stream.synchronize().unwrap();
        });
        let [launch] = launches.as_slice() else { panic!("{launches:?}") };
        assert_eq!((launch.kernel.as_str(), launch.blocks, launch.threads), ("scale", 16, 256));
        launch.assert_no_bank_conflicts();
        launch.assert_sectors(1.0);
        launch.assert_distinct_bytes([4 * n as u64, 4 * n as u64]);
        launch.assert_resources(32);
        assert_eq!(launch.resident_blocks, 8);
        let (seconds, resource) = launch.least_time();
        assert!(seconds > 0.0, "{resource}");
        assert!(counted(|| ()).is_empty());
        let _ = cover(1, 1);
    });
}

#[test]
fn a_program_writes_a_table_of_its_kernels() {
    let variables = [("EMULATED_GPU_COUNT", "1")];
    let text = support::output_with("a_program_writes_a_table_of_its_kernels", &variables, || {
        let (context, stream) = gpu();
        let x = stream.clone_htod(&vec![1_f32; 512]).unwrap();
        let mut y = stream.alloc_zeros::<f32>(512).unwrap();
        let scale = kernel(&context, "scale");
        for _ in 0..3 {
            support::launch_scale(&stream, &scale, &mut y, &x, 2.0, 512);
        }
        stream.synchronize().unwrap();
    });
    let Some(text) = text else { return };
    let row = text.lines().find(|line| line.starts_with("scale ")).unwrap_or_else(|| panic!("{text}"));
    let fields: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(fields[1..4], ["3", "6", "256"], "{row}");
    assert!(text.contains("the largest bounds on an H100"), "{text}");
}

#[test]
fn devices_of_other_capabilities() {
    for (capability, shared, sm) in [("8.0", 163, 80), ("8.6", 99, 86), ("9.0", 227, 90), ("12.0", 99, 120)] {
        let variables = [("EMULATED_GPU_CAPABILITY", capability)];
        support::eager_with("devices_of_other_capabilities", &variables, || {
            let (context, _stream) = gpu();
            let (major, minor) = context.compute_capability().unwrap();
            if format!("{major}.{minor}") != capability {
                return; // the process of another case
            }
            let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
            assert_eq!(context.attribute(attribute).unwrap(), shared << 10);
            let options = |sm| CompileOptions {
                options: vec![format!("--gpu-architecture=compute_{sm}")],
                ..CompileOptions::default()
            };
            let source = "extern \"C\" __global__ void k(float* x) { x[0] = 1.f; }";
            let own = context.load_module(compile_ptx_with_opts(source, options(sm)).unwrap()).unwrap();
            let function = own.load_function("k").unwrap();
            let dynamic = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(dynamic, shared << 10).unwrap();
            assert!(function.set_attribute(dynamic, (shared << 10) + 1).is_err());
            if sm < 120 {
                let newer = compile_ptx_with_opts(source, options(121)).unwrap();
                assert!(context.load_module(newer).is_err());
            }
        });
    }
}
