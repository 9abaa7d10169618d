//! Several devices in one process: what belongs to which, and copies between them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::ptr;

use cudarc::cublas::CudaBlas;
use cudarc::driver::{CudaContext, DevicePtr, PushKernelArg, sys};
use emulated_gpu::driver::STREAMS;
use emulated_gpu::driver::device::DEVICES;
use support::{
    bug_with, cover, device, eager_and_late_with, eager_with, kernel, launch_scale, numbers, scaled,
};
use sys::CUresult as Code;

const TWO: &[(&str, &str)] = &[(DEVICES, "2")];

#[test]
fn each_device_has_its_own_memory_streams_and_modules() {
    eager_and_late_with("each_device_has_its_own_memory_streams_and_modules", TWO, || {
        assert_eq!(CudaContext::device_count().unwrap(), 2);
        assert!(CudaContext::new(2).is_err());
        let values = numbers(1000);
        let devices = [device(0), device(1)];
        assert_ne!(devices[0].0.uuid().unwrap().bytes, devices[1].0.uuid().unwrap().bytes);
        for (factor, (context, stream)) in [2.0, 3.0].into_iter().zip(&devices) {
            let x = stream.clone_htod(&values).unwrap();
            let mut y = stream.alloc_zeros::<f32>(1000).unwrap();
            launch_scale(stream, &kernel(context, "scale"), &mut y, &x, factor, 1000);
            assert_eq!(stream.clone_dtoh(&y).unwrap(), scaled(&values, factor));
            // The null stream is that of the context that is current.
            let mut z = context.default_stream().clone_dtod(&y).unwrap();
            context.default_stream().memset_zeros(&mut z).unwrap();
            assert_eq!(context.default_stream().clone_dtoh(&z).unwrap(), vec![0.0; 1000]);
            drop((x, y, z));
            context.synchronize().unwrap();
            let (free, total) = context.mem_get_info().unwrap();
            assert_eq!(free, total, "all was of this device");
        }
    });
}

#[test]
fn memory_is_copied_from_one_device_to_another() {
    eager_and_late_with("memory_is_copied_from_one_device_to_another", TWO, || {
        let [(_, first), (_, second)] = [device(0), device(1)];
        let values = numbers(1000);
        let x = first.clone_htod(&values).unwrap();
        // cudarc waits for the other device's stream and copies with cuMemcpyPeerAsync.
        let y = second.clone_dtod(&x).unwrap();
        assert_eq!(second.clone_dtoh(&y).unwrap(), values);
        assert!(first.clone_dtod(&x).is_ok());
        let (mut access, contexts) = (7, [first.context().cu_ctx(), second.context().cu_ctx()]);
        let (to, from) = (y.device_ptr(&second).0, x.device_ptr(&first).0);
        // SAFETY: there is room for the answer; the addresses have that many bytes.
        unsafe {
            sys::cuDeviceCanAccessPeer(&mut access, 0, 1).result().unwrap();
            assert_eq!(access, 0);
            assert_eq!(sys::cuCtxEnablePeerAccess(contexts[1], 0), Code::CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
            let mixed_up =
                sys::cuMemcpyPeerAsync(to, contexts[0], from, contexts[1], 4000, second.cu_stream());
            assert_eq!(mixed_up, Code::CUDA_ERROR_INVALID_VALUE);
        }
    });
}

#[test]
fn events_are_waited_for_across_devices_but_recorded_on_their_own() {
    eager_and_late_with("events_are_waited_for_across_devices_but_recorded_on_their_own", TWO, || {
        let [(first_context, first), (second_context, second)] = [device(0), device(1)];
        let event = first_context.new_event(None).unwrap();
        event.record(&first).unwrap();
        second.wait(&event).unwrap();
        second_context.bind_to_thread().unwrap();
        // SAFETY: both handles are alive.
        let foreign = unsafe { sys::cuEventRecord(event.cu_event(), second.cu_stream()) };
        assert_eq!(foreign, Code::CUDA_ERROR_INVALID_HANDLE);
    });
}

#[test]
fn what_is_of_another_device_is_refused() {
    eager_and_late_with("what_is_of_another_device_is_refused", TWO, || {
        let [(first_context, first), (_, second)] = [device(0), device(1)];
        let scale = kernel(&first_context, "scale");
        let mut launch = second.launch_builder(&scale);
        let (address, n) = (0u64, 0i32);
        launch.arg(&address).arg(&address).arg(&1f32).arg(&n);
        // SAFETY: refused.
        let refused = unsafe { launch.launch(cover(1, 256)) };
        assert_eq!(refused.unwrap_err().0, Code::CUDA_ERROR_INVALID_HANDLE, "a kernel of the first device");
        let blas = CudaBlas::new(first.clone()).unwrap();
        // SAFETY: refused.
        let refused = unsafe {
            cudarc::cublas::sys::cublasSetStream_v2(*blas.handle(), second.cu_stream().cast()).result()
        };
        assert!(refused.is_err(), "a handle of the first device");
        let mut stream = ptr::null_mut();
        // SAFETY: there is room for the handle.
        unsafe { sys::cuCtxSetCurrent(0xC0_0000_0030 as sys::CUcontext).result() }.unwrap_err();
        // SAFETY: as above.
        unsafe { sys::cuStreamCreate(&mut stream, 1) }.result().unwrap();
    });
}

#[test]
fn a_kernel_sees_the_memory_of_its_own_device_alone() {
    let reports =
        ["kernel scale", "test.cu:", "outside every allocation of this device: the address is of device 1"];
    for schedule in ["eager", "late"] {
        let variables = [(DEVICES, "2"), (STREAMS, schedule)];
        bug_with("a_kernel_sees_the_memory_of_its_own_device_alone", &variables, &reports, || {
            let [(context, first), (_, second)] = [device(0), device(1)];
            let x = second.clone_htod(&numbers(1000)).unwrap();
            let mut y = first.alloc_zeros::<f32>(1000).unwrap();
            second.synchronize().unwrap();
            launch_scale(&first, &kernel(&context, "scale"), &mut y, &x, 2.0, 1000);
            first.synchronize().unwrap();
        });
    }
}

/// A failure spoils the device that it is of.
#[test]
fn the_other_device_goes_on() {
    eager_and_late_with("the_other_device_goes_on", TWO, || {
        let [(_, first), (_, second)] = [device(0), device(1)];
        // SAFETY: not written before it is read: that is the bug.
        let x = unsafe { first.alloc::<f32>(100) }.unwrap();
        assert!(first.clone_dtoh(&x).is_err());
        let y = second.clone_htod(&[1f32]).unwrap();
        assert_eq!(second.clone_dtoh(&y).unwrap(), [1.0]);
        assert!(first.clone_htod(&[1f32]).is_err());
        std::mem::forget(x);
    });
}

#[test]
fn a_process_sees_the_devices_it_is_told_to() {
    let variables = [(DEVICES, "4"), ("CUDA_VISIBLE_DEVICES", "3,1")];
    eager_with("a_process_sees_the_devices_it_is_told_to", &variables, || {
        assert_eq!(CudaContext::device_count().unwrap(), 2);
        let name = |ordinal| device(ordinal).0.uuid().unwrap().bytes.map(|byte| byte as u8);
        assert!(name(0).ends_with(b"03") && name(1).ends_with(b"01"));
    });
}

#[test]
fn a_process_that_may_see_no_device_has_none() {
    eager_with("a_process_that_may_see_no_device_has_none", &[("CUDA_VISIBLE_DEVICES", "")], || {
        assert_eq!(CudaContext::device_count().unwrap(), 0);
        assert!(CudaContext::new(0).is_err());
    });
}
