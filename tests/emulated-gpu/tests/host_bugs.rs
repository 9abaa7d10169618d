//! Bugs of host programs, planted one by one: each must be reported, with the place named.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::{
    CudaFunction, CudaSlice, CudaStream, DevicePtr, LaunchConfig, PushKernelArg, result, sys,
};
use support::{bug, cover, gpu, kernel};

/// y = 2x, into new memory.
fn doubled(stream: &Arc<CudaStream>, scale: &CudaFunction, x: &CudaSlice<f32>, n: usize) -> CudaSlice<f32> {
    // SAFETY: the kernel writes all of it.
    let mut y = unsafe { stream.alloc::<f32>(x.len()) }.unwrap();
    let (factor, length) = (2f32, n as i32);
    let mut launch = stream.launch_builder(scale);
    launch.arg(&mut y).arg(x).arg(&factor).arg(&length);
    // SAFETY: the arguments are those of `scale`; `n` may be wrong, as the bug has it.
    unsafe { launch.launch(cover(n, 256)) }.unwrap();
    y
}

fn freed(stream: &Arc<CudaStream>) -> ManuallyDrop<CudaSlice<f32>> {
    let address = stream.clone_htod(&[1f32; 100]).unwrap().leak();
    // SAFETY: freed once here, and never by the slice that is returned.
    unsafe { result::free_async(address, stream.cu_stream()) }.unwrap();
    stream.synchronize().unwrap();
    // SAFETY: stale, as the bug has it.
    ManuallyDrop::new(unsafe { stream.upgrade_device_ptr::<f32>(address, 100) })
}

#[test]
fn missing_stream_wait() {
    bug(
        "missing_stream_wait",
        "late",
        &["kernel scale", "block (", "warp", "test.cu:", "never written"],
        || {
            let (context, first) = gpu();
            let second = context.new_stream().unwrap();
            let scale = kernel(&context, "scale");
            let x = first.clone_htod(&[1f32; 1000]).unwrap();
            let y = doubled(&second, &scale, &x, 1000);
            second.clone_dtoh(&y).unwrap();
        },
    );
}

#[test]
fn missing_wait_within_a_graph() {
    let reports = ["node 1 of the graph", "kernel scale", "never written"];
    bug("missing_wait_within_a_graph", "late", &reports, || {
        let (context, first) = gpu();
        let second = context.new_stream().unwrap();
        let scale = kernel(&context, "scale");
        // SAFETY: written in the graph.
        let mut x = unsafe { first.alloc::<f32>(1000) }.unwrap();
        // SAFETY: as above.
        let y = unsafe { first.alloc::<f32>(1000) }.unwrap();
        first.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED).unwrap();
        second.wait(&first.record_event(None).unwrap()).unwrap();
        first.memset_zeros(&mut x).unwrap();
        // The second stream should wait once more here.
        let (to, from, factor, n) = (y.device_ptr(&second).0, x.device_ptr(&second).0, 1f32, 1000i32);
        let mut launch = second.launch_builder(&scale);
        launch.arg(&to).arg(&from).arg(&factor).arg(&n);
        // SAFETY: the arguments are those of `scale`.
        unsafe { launch.launch(cover(1000, 256)) }.unwrap();
        first.wait(&second.record_event(None).unwrap()).unwrap();
        let graph = first.end_capture(sys::CUgraphInstantiate_flags(0)).unwrap().unwrap();
        graph.launch().unwrap();
        first.synchronize().unwrap();
    });
}

#[test]
fn pinned_memory_read_too_early() {
    bug("pinned_memory_read_too_early", "late", &["assertion", "left: [NaN", "right: [1.0"], || {
        let (context, stream) = gpu();
        let x = stream.clone_htod(&[1f32; 4]).unwrap();
        // SAFETY: nothing orders the reading after the copy: that is the bug.
        let host = unsafe {
            let mut pinned = context.alloc_pinned_with_flags::<f32>(4, 0).unwrap();
            let address = pinned.as_mut_ptr().unwrap();
            sys::cuMemcpyDtoHAsync_v2(address.cast(), x.device_ptr(&stream).0, 16, stream.cu_stream())
                .result()
                .unwrap();
            std::slice::from_raw_parts(address, 4).to_vec()
        };
        assert_eq!(host, [1.0; 4]);
    });
}

#[test]
fn kernel_past_the_end_of_memory() {
    let reports =
        ["kernel scale", "block (3, 0, 0), warp 7", "test.cu:", "lane 8", "byte 4000 of one of 4000"];
    for_both("kernel_past_the_end_of_memory", &reports, || {
        let (context, stream) = gpu();
        let x = stream.clone_htod(&[1f32; 1000]).unwrap();
        let y = doubled(&stream, &kernel(&context, "scale"), &x, 1001);
        stream.clone_dtoh(&y).unwrap();
    });
}

#[test]
fn kernel_on_freed_memory() {
    let reports = ["kernel scale", "test.cu:", "allocation of 400 bytes that was freed"];
    for_both("kernel_on_freed_memory", &reports, || {
        let (context, stream) = gpu();
        let y = doubled(&stream, &kernel(&context, "scale"), &freed(&stream), 100);
        stream.clone_dtoh(&y).unwrap();
    });
}

#[test]
fn memory_freed_while_another_stream_uses_it() {
    // Only an eager free is early enough to be noticed.
    let reports = ["kernel scale", "allocation of 4000 bytes that was freed"];
    bug("memory_freed_while_another_stream_uses_it", "eager", &reports, || {
        let (context, first) = gpu();
        let second = context.new_stream().unwrap();
        let scale = kernel(&context, "scale");
        let x = first.clone_htod(&[1f32; 1000]).unwrap();
        first.synchronize().unwrap();
        let address = x.leak();
        // SAFETY: the bug: the second stream is about to use it.
        unsafe { result::free_async(address, first.cu_stream()) }.unwrap();
        // SAFETY: stale, as the bug has it.
        let x = ManuallyDrop::new(unsafe { first.upgrade_device_ptr::<f32>(address, 1000) });
        doubled(&second, &scale, &x, 1000);
    });
}

#[test]
fn copy_from_freed_memory() {
    for_both(
        "copy_from_freed_memory",
        &["a copy of 400 bytes", "allocation of 400 bytes that was freed"],
        || {
            let (_context, stream) = gpu();
            stream.clone_dtoh(&*freed(&stream)).unwrap();
        },
    );
}

#[test]
fn copy_past_the_end_of_memory() {
    let reports = ["a copy of 404 bytes", "to device memory", "byte 0 of one of 400 bytes"];
    for_both("copy_past_the_end_of_memory", &reports, || {
        let (_context, stream) = gpu();
        let x = stream.alloc_zeros::<f32>(100).unwrap();
        // SAFETY: one element too many, as the bug has it.
        unsafe { result::memcpy_htod_async(x.device_ptr(&stream).0, &[0f32; 101], stream.cu_stream()) }
            .unwrap();
        stream.synchronize().unwrap();
    });
}

#[test]
fn memory_that_nobody_wrote_is_copied_out() {
    let reports =
        ["a copy of 400 bytes from device memory", "byte 0 of the allocation of 400 bytes", "never written"];
    for_both("memory_that_nobody_wrote_is_copied_out", &reports, || {
        let (_context, stream) = gpu();
        // SAFETY: not written before it is read: that is the bug.
        let x = unsafe { stream.alloc::<f32>(100) }.unwrap();
        stream.clone_dtoh(&x).unwrap();
    });
}

#[test]
fn double_free() {
    for_both("double_free", &["the free of 0x", "400 bytes that was freed"], || {
        let (_context, stream) = gpu();
        let address = freed(&stream).device_ptr(&stream).0;
        // SAFETY: freed twice, as the bug has it.
        unsafe { result::free_async(address, stream.cu_stream()) }.unwrap();
        stream.synchronize().unwrap();
    });
}

/// What the engine does before each launch: compares what it passes with what the kernel takes.
fn check_arguments(function: &CudaFunction, sizes: &[usize]) {
    for (index, &size) in sizes.iter().enumerate() {
        let (mut offset, mut expected) = (0, 0);
        // SAFETY: the function is alive, and both results have room.
        unsafe { sys::cuFuncGetParamInfo(function.cu_function(), index, &mut offset, &mut expected) }
            .result()
            .unwrap();
        assert_eq!(size, expected, "size of argument {index}");
    }
    let (mut offset, mut size) = (0, 0);
    // SAFETY: as above.
    let more =
        unsafe { sys::cuFuncGetParamInfo(function.cu_function(), sizes.len(), &mut offset, &mut size) };
    assert_ne!(more, sys::CUresult::CUDA_SUCCESS, "too few arguments");
}

#[test]
fn argument_of_the_wrong_size() {
    for_both("argument_of_the_wrong_size", &["size of argument 3", "left: 8", "right: 4"], || {
        let (context, _) = gpu();
        check_arguments(&kernel(&context, "scale"), &[8, 8, 4, size_of::<i64>()]);
    });
}

#[test]
fn too_many_arguments() {
    let reports = ["scale has 4 parameters, none of index 4"];
    for_both("too_many_arguments", &reports, || {
        let (context, _) = gpu();
        check_arguments(&kernel(&context, "scale"), &[8, 8, 4, 4, 4]);
    });
}

#[test]
fn packed_arguments_of_the_wrong_size() {
    let reports = ["cuLaunchKernel", "kernel scale takes 24 bytes of arguments, not 28"];
    for_both("packed_arguments_of_the_wrong_size", &reports, || {
        let (context, stream) = gpu();
        let scale = kernel(&context, "scale");
        let (buffer, mut bytes) = ([0u32; 7], 28usize);
        let mut extra = [
            1 as _,
            buffer.as_ptr().cast_mut().cast(),
            2 as _,
            ptr::from_mut(&mut bytes).cast(),
            ptr::null_mut(),
        ];
        let (function, stream) = (scale.cu_function(), stream.cu_stream());
        // SAFETY: the buffer has 28 bytes.
        let launched = unsafe {
            let extra = extra.as_mut_ptr();
            sys::cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, ptr::null_mut(), extra)
        };
        launched.result().unwrap();
    });
}

fn launch(grid_dim: (u32, u32, u32), block_dim: (u32, u32, u32), shared_mem_bytes: u32) {
    let (context, stream) = gpu();
    let scale = kernel(&context, "scale");
    let x = stream.alloc_zeros::<f32>(1).unwrap();
    let mut y = stream.alloc_zeros::<f32>(1).unwrap();
    let (factor, n) = (1f32, 1i32);
    let mut launch = stream.launch_builder(&scale);
    launch.arg(&mut y).arg(&x).arg(&factor).arg(&n);
    // SAFETY: the arguments are those of `scale`.
    unsafe { launch.launch(LaunchConfig { grid_dim, block_dim, shared_mem_bytes }) }.unwrap();
}

#[test]
fn more_threads_than_the_kernel_was_compiled_for() {
    let reports = ["cuLaunchKernel", "kernel scale: 512 threads a block; it was compiled for 256"];
    for_both("more_threads_than_the_kernel_was_compiled_for", &reports, || launch((1, 1, 1), (512, 1, 1), 0));
}

#[test]
fn more_shared_memory_than_was_asked_for() {
    let reports = ["kernel scale: 49153 bytes of dynamic shared memory", "cuFuncSetAttribute is 49152"];
    for_both("more_shared_memory_than_was_asked_for", &reports, || {
        launch((1, 1, 1), (32, 1, 1), (48 << 10) + 1)
    });
}

#[test]
fn empty_grid() {
    for_both("empty_grid", &["kernel scale: grid [0, 1, 1]"], || launch((0, 1, 1), (32, 1, 1), 0));
}

#[test]
fn too_large_a_grid() {
    for_both("too_large_a_grid", &["kernel scale: grid [1, 65536, 1]"], || {
        launch((1, 65536, 1), (32, 1, 1), 0)
    });
}

#[test]
fn work_after_a_failure() {
    for_both("work_after_a_failure", &["work on the device has failed (reported above)"], || {
        let (context, stream) = gpu();
        // SAFETY: not written before it is read: that is the bug.
        let x = unsafe { stream.alloc::<f32>(100) }.unwrap();
        assert!(stream.clone_dtoh(&x).is_err());
        kernel(&context, "scale");
    });
}

#[test]
fn no_context_on_this_thread() {
    for_both("no_context_on_this_thread", &["cuMemAlloc_v2", "no context is current on this thread"], || {
        let (_context, _stream) = gpu();
        // SAFETY: refused.
        std::thread::spawn(|| unsafe { result::malloc_sync(4) }.map_err(|error| error.0).unwrap())
            .join()
            .unwrap();
    });
}

#[test]
fn handles_mixed_up() {
    for_both("handles_mixed_up", &["cuEventSynchronize", "event 0x5ea", "was never created"], || {
        let (_context, stream) = gpu();
        // SAFETY: handles are numbers here; a stream's is not an event's, which is the bug.
        unsafe { sys::cuEventSynchronize(stream.cu_stream().cast()) }.result().unwrap();
    });
}

#[test]
fn stale_handle() {
    for_both("stale_handle", &["cuStreamSynchronize", "stream 0x5ea", "was destroyed"], || {
        let (context, _stream) = gpu();
        let stale = context.new_stream().unwrap().cu_stream();
        // SAFETY: as above.
        unsafe { sys::cuStreamSynchronize(stale) }.result().unwrap();
    });
}

#[test]
fn schedule_that_does_not_exist() {
    let reports = ["EMULATED_GPU_STREAMS=sometimes: expected `eager` or `late`"];
    bug("schedule_that_does_not_exist", "sometimes", &reports, || drop(gpu()));
}

#[test]
fn call_that_is_not_there() {
    for_both("call_that_is_not_there", &["Missing symbol cuMemAllocManaged"], || {
        let (_context, _stream) = gpu();
        let mut address = 0;
        // SAFETY: there is no such call.
        unsafe { sys::cuMemAllocManaged(&mut address, 4, 1) }.result().unwrap();
    });
}

#[test]
fn product_of_memory_that_is_too_small() {
    let reports = ["cublasSgemm of m 16, n 16, k 16", "B: ", "outside every allocation"];
    for_both("product_of_memory_that_is_too_small", &reports, || product(16 * 16, 16 * 15));
}

#[test]
fn product_of_memory_that_nobody_wrote() {
    let reports = ["cublasSgemm of m 16, n 16, k 16", "A: byte 1020 of the allocation", "never written"];
    for_both("product_of_memory_that_nobody_wrote", &reports, || product(16 * 16 - 1, 16 * 16));
}

/// 16 × 16 × 16, of which `written` elements of A are written, and B has `held`.
fn product(written: usize, held: usize) {
    use cudarc::cublas::{CudaBlas, Gemm, GemmConfig, sys::cublasOperation_t::CUBLAS_OP_N};
    let (_context, stream) = gpu();
    let b = stream.alloc_zeros::<f32>(held).unwrap();
    let mut c = stream.alloc_zeros::<f32>(256).unwrap();
    // SAFETY: partly written, as the bug has it.
    let mut a = unsafe { stream.alloc::<f32>(256) }.unwrap();
    stream.memset_zeros(&mut a.slice_mut(0..written)).unwrap();
    let (transa, transb, m, n, k) = (CUBLAS_OP_N, CUBLAS_OP_N, 16, 16, 16);
    let config = GemmConfig { transa, transb, m, n, k, alpha: 1f32, lda: 16, ldb: 16, beta: 0f32, ldc: 16 };
    // SAFETY: the memory is too small, as the bug has it.
    unsafe { CudaBlas::new(stream.clone()).unwrap().gemm(config, &a, &b, &mut c) }.unwrap();
    stream.synchronize().unwrap();
}

fn for_both(test: &str, reports: &[&str], program: impl Fn()) {
    for schedule in ["eager", "late"] {
        bug(test, schedule, reports, &program);
    }
}
