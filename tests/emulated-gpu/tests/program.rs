//! A program that uses every part of the driver through cudarc, run eagerly and late.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cudarc::driver::{
    CudaContext, CudaFunction, CudaStream, DevicePtr, DevicePtrMut, DriverError, LaunchConfig, PushKernelArg,
    result, sys,
};
use support::{cover, eager_and_late, gpu, kernel, kernels, launch_scale, numbers, scaled};

#[test]
fn device_and_context() {
    eager_and_late("device_and_context", || {
        assert_eq!(CudaContext::device_count().unwrap(), 1);
        assert!(CudaContext::new(1).is_err());
        let (context, _stream) = gpu();
        assert_eq!(context.name().unwrap(), "Emulated GPU");
        assert_eq!(context.compute_capability().unwrap(), (9, 0));
        let attribute = |attribute| context.attribute(attribute).unwrap();
        assert_eq!(attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT), 132);
        assert_eq!(
            attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN),
            227 << 10
        );
        let unknown = context.attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_PCI_BUS_ID);
        assert_eq!(unknown.unwrap_err().0, sys::CUresult::CUDA_ERROR_NOT_SUPPORTED);

        let (free, total) = context.mem_get_info().unwrap();
        assert_eq!((free, total), (total, context.total_mem().unwrap()));
        let bytes = 3 << 20;
        // SAFETY: nobody reads the memory.
        let held = unsafe { context.default_stream().alloc::<u8>(bytes) }.unwrap();
        assert_eq!(context.mem_get_info().unwrap().0, total - bytes);
        drop(held);
        context.synchronize().unwrap();
        assert_eq!(context.mem_get_info().unwrap().0, total);

        drop(context.default_stream().null::<f32>().unwrap());
        // SAFETY: nobody reads the memory; there is too little of it.
        let too_much = unsafe { context.default_stream().alloc::<u8>(total + 1) };
        assert_eq!(too_much.unwrap_err().0, sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY);
        let name = format!("{:?}", DriverError(sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS));
        assert!(name.contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{name}");
    });
}

#[test]
fn copies_and_fills() {
    eager_and_late("copies_and_fills", || {
        let (context, stream) = gpu();
        let values = numbers(1000);
        let mut a = stream.clone_htod(&values).unwrap();
        let b = stream.clone_dtod(&a).unwrap();
        stream.memset_zeros(&mut a.slice_mut(10..20)).unwrap();
        assert_eq!(stream.clone_dtoh(&b).unwrap(), values);
        let mut wanted = values.clone();
        wanted[10..20].fill(0.0);
        assert_eq!(stream.clone_dtoh(&a).unwrap(), wanted);

        // The synchronous calls, on the null stream.
        let null = context.default_stream();
        let address = a.device_ptr(&null).0;
        let mut host = vec![0f32; 1000];
        // SAFETY: `address` is that of 1000 elements, and so is `host`.
        unsafe {
            result::memcpy_htod_sync(address, &values).unwrap();
            result::memset_d8_sync(address, 0, 8).unwrap();
            result::memcpy_dtoh_sync(&mut host, address).unwrap();
        }
        assert_eq!(host[..2], [0.0, 0.0]);
        assert_eq!(host[2..], values[2..]);

        let address = a.device_ptr_mut(&stream).0;
        // SAFETY: the filled bytes are within the 4000 of `a`.
        unsafe {
            sys::cuMemsetD32Async(address, 1.5f32.to_bits(), 5, stream.cu_stream()).result().unwrap();
            sys::cuMemsetD16Async(address + 20, 0x4000, 2, stream.cu_stream()).result().unwrap();
        }
        assert_eq!(
            stream.clone_dtoh(&a).unwrap()[..6],
            [1.5, 1.5, 1.5, 1.5, 1.5, f32::from_bits(0x4000_4000)]
        );
    });
}

#[test]
fn pinned_memory_is_read_when_the_stream_gets_there() {
    eager_and_late("pinned_memory_is_read_when_the_stream_gets_there", || {
        let late = std::env::var(emulated_gpu::driver::STREAMS).is_ok_and(|schedule| schedule == "late");
        let (context, stream) = gpu();
        // SAFETY: written before it is read.
        let mut pinned = unsafe { context.alloc_pinned_with_flags::<f32>(4, 0) }.unwrap();
        // SAFETY: as above.
        let mut write_back = unsafe { context.alloc_pinned::<f32>(4) }.unwrap();
        let address = pinned.as_mut_ptr().unwrap();
        // SAFETY: four elements were allocated.
        let write = |value: f32| unsafe { std::slice::from_raw_parts_mut(address, 4) }.fill(value);
        let mut device = stream.alloc_zeros::<f32>(4).unwrap();
        let to = device.device_ptr(&stream).0;
        let copy = |bytes| {
            // SAFETY: both ends have 16 bytes, and the host memory outlives the copy.
            unsafe { sys::cuMemcpyHtoDAsync_v2(to, address.cast(), bytes, stream.cu_stream()) }.result()
        };
        write(1.0);
        copy(16).unwrap();
        write(2.0);
        let got = stream.clone_dtoh(&device).unwrap();
        assert_eq!(got, [if late { 2.0 } else { 1.0 }; 4]);
        assert!(copy(17).is_err(), "a copy past the end of pinned memory");

        // The way back: cudarc does not wait by itself, with its event tracking off.
        write(5.0);
        stream.memcpy_htod(&pinned, &mut device).unwrap();
        write_back.as_mut_slice().unwrap().fill(0.0);
        stream.memcpy_dtoh(&device, &mut write_back).unwrap();
        stream.synchronize().unwrap();
        assert_eq!(write_back.as_slice().unwrap(), [5.0; 4]);

        // Memory that is not pinned is read before the call returns.
        let mut pageable = vec![3f32; 4];
        stream.memcpy_htod(&pageable, &mut device).unwrap();
        pageable.fill(4.0);
        assert_eq!(stream.clone_dtoh(&device).unwrap(), [3.0; 4]);
    });
}

#[test]
fn streams_and_events() {
    eager_and_late("streams_and_events", || {
        let (context, first) = gpu();
        let second = context.new_stream_with_priority(-1).unwrap();
        let scale = kernel(&context, "scale");
        let n = 1000;
        let values = numbers(n);
        let x = first.clone_htod(&values).unwrap();
        let mut y = first.alloc_zeros::<f32>(n).unwrap();
        let timing = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let before = first.record_event(timing).unwrap();
        launch_scale(&first, &scale, &mut y, &x, 2.0, n);
        let after = first.record_event(timing).unwrap();
        second.wait(&after).unwrap();
        // A later recording does not change what the second stream waits for.
        after.record(&first).unwrap();
        let mut z = second.alloc_zeros::<f32>(n).unwrap();
        launch_scale(&second, &scale, &mut z, &y, 3.0, n);
        assert_eq!(second.clone_dtoh(&z).unwrap(), scaled(&scaled(&values, 2.0), 3.0));
        assert!(before.elapsed_ms(&after).unwrap() >= 0.0);
        assert!(
            context.new_event(None).unwrap().is_complete(),
            "an event never recorded is nothing to wait for"
        );

        // Polling ends, however late the stream.
        first.memset_zeros(&mut y).unwrap();
        let done = first.record_event(None).unwrap();
        while !done.is_complete() {}
        assert_eq!(first.clone_dtoh(&y).unwrap(), vec![0.0; n]);
        // SAFETY: the stream is alive.
        while unsafe { sys::cuStreamQuery(second.cu_stream()) } != sys::CUresult::CUDA_SUCCESS {}

        // A destroyed stream's work is still done.
        let mut w = first.alloc_zeros::<f32>(n).unwrap();
        let short_lived = first.fork().unwrap();
        launch_scale(&short_lived, &scale, &mut w, &x, 5.0, n);
        let done = short_lived.record_event(None).unwrap();
        drop(short_lived);
        first.wait(&done).unwrap();
        assert_eq!(first.clone_dtoh(&w).unwrap(), scaled(&values, 5.0));
    });
}

#[test]
fn null_stream_and_blocking_streams_wait_for_each_other() {
    eager_and_late("null_stream_and_blocking_streams_wait_for_each_other", || {
        let (context, _) = gpu();
        let null = context.default_stream();
        let blocking = result::stream::create(result::stream::StreamKind::Default).unwrap();
        // SAFETY: the stream is this context's own, and lives until the end of the test.
        let blocking = unsafe { context.wrap_borrowed_stream(blocking) };
        let scale = kernel(&context, "scale");
        let values = numbers(300);
        let x = null.clone_htod(&values).unwrap();
        let mut y = blocking.alloc_zeros::<f32>(300).unwrap();
        launch_scale(&blocking, &scale, &mut y, &x, 2.0, 300);
        let mut z = null.alloc_zeros::<f32>(300).unwrap();
        launch_scale(&null, &scale, &mut z, &y, 2.0, 300);
        assert_eq!(blocking.clone_dtoh(&z).unwrap(), scaled(&values, 4.0));
    });
}

#[test]
fn modules_and_launches() {
    eager_and_late("modules_and_launches", || {
        let (context, stream) = gpu();
        let module = kernels(&context);
        assert!(module.load_function("missing").is_err());
        let n = 70_000;
        let values = numbers(n);
        let x = stream.clone_htod(&values).unwrap();
        let mut y = stream.alloc_zeros::<f32>(n).unwrap();
        let weigh = module.load_function("weigh").unwrap();
        for _ in 0..3 {
            let mut launch = stream.launch_builder(&weigh);
            launch.arg(&mut y).arg(&x);
            let length = n as i32;
            launch.arg(&length);
            // SAFETY: the arguments are those of `weigh`.
            unsafe { launch.launch(cover(n, 1024)) }.unwrap();
        }
        let weights: Vec<f32> =
            values.iter().enumerate().map(|(i, value)| value * (i % 4 + 1) as f32).collect();
        assert_eq!(stream.clone_dtoh(&y).unwrap(), weights);
        let counter = module.get_global("launches", &stream).unwrap();
        assert_eq!(stream.clone_dtoh(&counter).unwrap(), 3i32.to_le_bytes());

        struct_argument(&stream, &module.load_function("affine").unwrap());
        dynamic_shared_memory(&stream, &module.load_function("reverse").unwrap());

        let scale = module.load_function("scale").unwrap();
        let threads = scale.max_threads_per_block().unwrap();
        assert_eq!(threads, 256);
        assert_eq!(scale.occupancy_max_active_blocks_per_multiprocessor(256, 0, None).unwrap(), 8);
        assert_eq!(scale.occupancy_max_active_blocks_per_multiprocessor(256, 100 << 10, None).unwrap(), 2);
    });
}

fn struct_argument(stream: &Arc<CudaStream>, affine: &CudaFunction) {
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Affine {
        slope: f64,
        shift: i32,
    }
    // SAFETY: the layout is that of `Affine` in `kernels.cu`.
    unsafe impl cudarc::driver::DeviceRepr for Affine {}
    let sizes: Vec<_> = (0..4).map(|index| parameter(affine, index).unwrap()).collect();
    assert_eq!(sizes, [(0, 8), (8, 16), (24, 1), (32, 8)]);
    assert!(parameter(affine, 4).is_err());

    let mut y = stream.alloc_zeros::<f64>(100).unwrap();
    let map = Affine { slope: 0.5, shift: -3 };
    let (negate, n) = (1i8, 90i64);
    let mut launch = stream.launch_builder(affine);
    launch.arg(&mut y).arg(&map).arg(&negate).arg(&n);
    // SAFETY: the arguments are those of `affine`.
    unsafe { launch.launch(cover(100, 32)) }.unwrap();
    let wanted: Vec<f64> = (0..100).map(|i| if i < 90 { 3.0 - 0.5 * f64::from(i) } else { 0.0 }).collect();
    assert_eq!(stream.clone_dtoh(&y).unwrap(), wanted);
}

/// Offset and size of a parameter.
fn parameter(function: &CudaFunction, index: usize) -> Result<(usize, usize), DriverError> {
    let (mut offset, mut size) = (0, 0);
    // SAFETY: the function is alive, and both results have room.
    unsafe { sys::cuFuncGetParamInfo(function.cu_function(), index, &mut offset, &mut size) }.result()?;
    Ok((offset, size))
}

fn dynamic_shared_memory(stream: &Arc<CudaStream>, reverse: &CudaFunction) {
    let n = 15_000i32;
    let mut x = stream.clone_htod(&(0..n).collect::<Vec<i32>>()).unwrap();
    let bytes = 4 * n as u32;
    let config = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (512, 1, 1), shared_mem_bytes: bytes };
    let mut launch = stream.launch_builder(reverse);
    launch.arg(&mut x).arg(&n);
    // SAFETY: the arguments are those of `reverse`.
    let refused = unsafe { launch.launch(config) };
    assert_eq!(refused.unwrap_err().0, sys::CUresult::CUDA_ERROR_INVALID_VALUE, "more than 48 KiB, unasked");
    let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    assert!(reverse.set_attribute(attribute, (227 << 10) + 1).is_err());
    reverse.set_attribute(attribute, bytes as i32).unwrap();
    // SAFETY: as above.
    unsafe { launch.launch(config) }.unwrap();
    assert_eq!(stream.clone_dtoh(&x).unwrap(), (0..n).rev().collect::<Vec<i32>>());
}

#[test]
fn launch_attributes_and_packed_arguments() {
    eager_and_late("launch_attributes_and_packed_arguments", || {
        let (context, stream) = gpu();
        let scale = kernel(&context, "scale");
        let values = numbers(100);
        let x = stream.clone_htod(&values).unwrap();
        let mut y = stream.alloc_zeros::<f32>(100).unwrap();
        let addresses = (y.device_ptr_mut(&stream).0, x.device_ptr(&stream).0);
        let (mut to, mut from, mut factor, mut n) = (addresses.0, addresses.1, 3f32, 100i32);
        let mut arguments: [*mut c_void; 4] = [
            ptr::from_mut(&mut to).cast(),
            ptr::from_mut(&mut from).cast(),
            ptr::from_mut(&mut factor).cast(),
            ptr::from_mut(&mut n).cast(),
        ];
        let mut launch = |id, value| {
            let mut attribute = sys::CUlaunchAttribute { id, pad: [0; 4], value };
            let config = sys::CUlaunchConfig {
                gridDimX: 1,
                gridDimY: 1,
                gridDimZ: 1,
                blockDimX: 128,
                blockDimY: 1,
                blockDimZ: 1,
                sharedMemBytes: 0,
                hStream: stream.cu_stream(),
                attrs: &mut attribute,
                numAttrs: 1,
            };
            // SAFETY: the configuration and the arguments of `scale` live through the call.
            unsafe {
                let arguments = arguments.as_mut_ptr();
                sys::cuLaunchKernelEx(&config, scale.cu_function(), arguments, ptr::null_mut()).result()
            }
        };
        use sys::CUlaunchAttributeID as Id;
        let overlap = sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 };
        launch(Id::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION, overlap).unwrap();
        assert_eq!(stream.clone_dtoh(&y).unwrap(), scaled(&values, 3.0));
        let cluster = |x| sys::CUlaunchAttributeValue {
            clusterDim: sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x, y: 1, z: 1 },
        };
        launch(Id::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, cluster(1)).unwrap();
        let refused = launch(Id::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, cluster(2)).unwrap_err();
        assert_eq!(refused.0, sys::CUresult::CUDA_ERROR_NOT_SUPPORTED);
        let cooperative = sys::CUlaunchAttributeValue { cooperative: 1 };
        assert!(launch(Id::CU_LAUNCH_ATTRIBUTE_COOPERATIVE, cooperative).is_err());

        // The same arguments in one buffer, whose size the driver compares with the kernel's.
        let mut buffer = Vec::new();
        buffer.extend(addresses.0.to_le_bytes());
        buffer.extend(addresses.1.to_le_bytes());
        buffer.extend(5f32.to_le_bytes());
        buffer.extend(100i32.to_le_bytes());
        let packed = |mut bytes: usize| {
            let mut extra: [*mut c_void; 5] = [
                1 as _,
                buffer.as_ptr().cast_mut().cast(),
                2 as _,
                ptr::from_mut(&mut bytes).cast(),
                ptr::null_mut(),
            ];
            let (function, stream) = (scale.cu_function(), stream.cu_stream());
            // SAFETY: the buffer holds the arguments of `scale`.
            unsafe {
                let extra = extra.as_mut_ptr();
                sys::cuLaunchKernel(function, 1, 1, 1, 128, 1, 1, 0, stream, ptr::null_mut(), extra).result()
            }
        };
        packed(buffer.len()).unwrap();
        assert_eq!(stream.clone_dtoh(&y).unwrap(), scaled(&values, 5.0));
        assert!(packed(buffer.len() - 4).is_err());
    });
}

#[test]
fn host_functions_run_in_order_and_make_no_calls() {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    unsafe extern "C" fn look(data: *mut c_void) {
        // SAFETY: the pointer is that of `host` below, which outlives the stream's work.
        let value = unsafe { data.cast::<f32>().read() };
        // SAFETY: refused.
        let refused = unsafe { sys::cuCtxSynchronize() };
        SEEN.store(value as u32 + refused as u32, Ordering::SeqCst);
    }
    eager_and_late("host_functions_run_in_order_and_make_no_calls", || {
        let (context, stream) = gpu();
        let x = stream.clone_htod(&[7f32]).unwrap();
        // SAFETY: written by the copy before it is read.
        let mut host = unsafe { context.alloc_pinned_with_flags::<f32>(1, 0) }.unwrap();
        let data = host.as_mut_ptr().unwrap().cast::<c_void>();
        // SAFETY: `host` outlives the work of the stream.
        unsafe {
            let from = x.device_ptr(&stream).0;
            sys::cuMemcpyDtoHAsync_v2(data, from, 4, stream.cu_stream()).result().unwrap();
            sys::cuLaunchHostFunc(stream.cu_stream(), Some(look), data).result().unwrap();
        }
        stream.synchronize().unwrap();
        assert_eq!(SEEN.load(Ordering::SeqCst), 7 + sys::CUresult::CUDA_ERROR_NOT_PERMITTED as u32);
    });
}

#[test]
fn images_that_are_not_for_this_driver() {
    eager_and_late("images_that_are_not_for_this_driver", || {
        let (context, _) = gpu();
        let load =
            |image: &str| context.load_module(cudarc::nvrtc::Ptx::from_src(image)).map(drop).map_err(|e| e.0);
        use sys::CUresult as Code;
        assert_eq!(load(".version 9.1\n.target sm_90\n"), Err(Code::CUDA_ERROR_UNSUPPORTED_PTX_VERSION));
        assert_eq!(load(".version 9.0\n.target sm_100\n"), Err(Code::CUDA_ERROR_NO_BINARY_FOR_GPU));
        assert_eq!(load("\x7fELF..."), Err(Code::CUDA_ERROR_NO_BINARY_FOR_GPU));
        assert_eq!(load("int main() {}"), Err(Code::CUDA_ERROR_INVALID_PTX));
        assert_eq!(load(".version 9.0\n.target sm_90\nnonsense"), Err(Code::CUDA_ERROR_INVALID_PTX));
        assert_eq!(load(".version 9.0\n.target sm_90\n.address_size 64\n"), Ok(()));
    });
}

#[test]
fn a_released_context_takes_everything_with_it() {
    eager_and_late("a_released_context_takes_everything_with_it", || {
        let (context, stream) = gpu();
        let address = stream.clone_htod(&[1f32; 4]).unwrap().leak();
        drop((stream, context));
        let (_context, stream) = gpu();
        // SAFETY: the address is stale: that is what the test is about. It is not freed again.
        let stale = std::mem::ManuallyDrop::new(unsafe { stream.upgrade_device_ptr::<f32>(address, 4) });
        assert!(stream.clone_dtoh(&*stale).is_err());
    });
}
