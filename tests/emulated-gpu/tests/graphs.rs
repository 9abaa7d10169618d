//! Graphs captured from streams: what they do, and what cannot be captured.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use cudarc::driver::sys;
use cudarc::driver::sys::CUstreamCaptureMode as Mode;
use support::{eager_and_late, gpu, kernel, launch_scale, numbers, on_any_gpu, scaled};

#[test]
fn branches_join_and_graphs_run_again() {
    eager_and_late("branches_join_and_graphs_run_again", || {
        let (context, stream) = gpu();
        let scale = kernel(&context, "scale");
        let n = 500;
        let values = numbers(n);
        let mut x = stream.clone_htod(&values).unwrap();
        let mut y = stream.alloc_zeros::<f32>(n).unwrap();
        let mut z = stream.alloc_zeros::<f32>(n).unwrap();

        // Two branches: y = 2x on this stream, z = 3x on another, then the first half of z = y, after both.
        let other = context.new_stream().unwrap();
        stream.begin_capture(Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        assert_eq!(
            stream.capture_status().unwrap(),
            sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE
        );
        other.wait(&stream.record_event(None).unwrap()).unwrap();
        launch_scale(&other, &scale, &mut z, &x, 3.0, n);
        launch_scale(&stream, &scale, &mut y, &x, 2.0, n);
        stream.wait(&other.record_event(None).unwrap()).unwrap();
        launch_scale(&stream, &scale, &mut z.slice_mut(0..n / 2), &y, 1.0, n / 2);
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0)).unwrap().unwrap();
        assert_eq!(
            stream.capture_status().unwrap(),
            sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE
        );
        assert_eq!(stream.clone_dtoh(&y).unwrap(), vec![0.0; n], "capturing does nothing");

        graph.upload().unwrap();
        for factor in [1.0, -2.0] {
            let values = scaled(&values, factor);
            stream.memcpy_htod(&values, &mut x).unwrap();
            graph.launch().unwrap();
            assert_eq!(stream.clone_dtoh(&y).unwrap(), scaled(&values, 2.0));
            let z = stream.clone_dtoh(&z).unwrap();
            assert_eq!(z[..n / 2], scaled(&values, 2.0)[..n / 2]);
            assert_eq!(z[n / 2..], scaled(&values, 3.0)[n / 2..]);
        }
    });
}

#[test]
fn what_cannot_be_captured_spoils_the_capture() {
    eager_and_late("what_cannot_be_captured_spoils_the_capture", || {
        use sys::CUresult as Code;
        let (context, stream) = gpu();
        let begin = || stream.begin_capture(Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        let end = || stream.end_capture(sys::CUgraphInstantiate_flags(0)).map(drop).map_err(|error| error.0);
        let other = context.new_stream().unwrap();
        let mut memory = other.alloc_zeros::<f32>(1).unwrap();
        let outside = other.record_event(None).unwrap();

        begin();
        assert_eq!(stream.synchronize().unwrap_err().0, Code::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        let status = sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_INVALIDATED;
        assert_eq!(stream.capture_status().unwrap(), status);
        assert_eq!(end(), Err(Code::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));

        begin();
        assert_eq!(context.synchronize().unwrap_err().0, Code::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        assert_eq!(end(), Err(Code::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));

        begin();
        assert_eq!(stream.wait(&outside).unwrap_err().0, Code::CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
        assert_eq!(end(), Err(Code::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));

        begin();
        // SAFETY: refused.
        assert!(unsafe { stream.alloc::<f32>(1) }.is_err(), "graphs own no memory");
        assert_eq!(end(), Err(Code::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));

        // A branch that nobody waits for.
        begin();
        let inside = stream.record_event(None).unwrap();
        other.wait(&inside).unwrap();
        other.memset_zeros(&mut memory).unwrap();
        assert_eq!(inside.synchronize().unwrap_err().0, Code::CUDA_ERROR_CAPTURED_EVENT);
        assert_eq!(end(), Err(Code::CUDA_ERROR_STREAM_CAPTURE_UNJOINED));
        assert_eq!(end(), Err(Code::CUDA_ERROR_INVALID_VALUE), "there is no capture any more");
        assert_eq!(other.wait(&inside).unwrap_err().0, Code::CUDA_ERROR_CAPTURED_EVENT);

        // Two captures meet, and one is ended where it was not begun.
        begin();
        other.begin_capture(Mode::CU_STREAM_CAPTURE_MODE_RELAXED).unwrap();
        let inside = stream.record_event(None).unwrap();
        assert_eq!(other.wait(&inside).unwrap_err().0, Code::CUDA_ERROR_STREAM_CAPTURE_MERGE);
        let third = context.new_stream().unwrap();
        third.wait(&inside).unwrap();
        let unmatched = third.end_capture(sys::CUgraphInstantiate_flags(0)).map(drop).unwrap_err();
        assert_eq!(unmatched.0, Code::CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
        assert_eq!(end(), Err(Code::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));
        assert!(other.end_capture(sys::CUgraphInstantiate_flags(0)).is_err());

        let null = context.default_stream().begin_capture(Mode::CU_STREAM_CAPTURE_MODE_RELAXED);
        assert_eq!(null.unwrap_err().0, Code::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);

        // All is well again.
        begin();
        stream.memset_zeros(&mut memory).unwrap();
        end().unwrap();
    });
}

/// Calls that a capture forbids though they look harmless: each spoils it.
#[test]
fn what_a_capture_forbids_besides() {
    on_any_gpu("what_a_capture_forbids_besides", || {
        use sys::CUresult as Code;
        let (context, stream) = gpu();
        let other = context.new_stream().unwrap();
        let outside = other.record_event(None).unwrap();
        // A stream that waits for the null stream, and the null stream for it.
        let mut blocking = std::ptr::null_mut();
        // SAFETY: there is room for a handle.
        unsafe { sys::cuStreamCreate(&mut blocking, 0) }.result().unwrap();
        let capture = |captured: sys::CUstream,
                       mode: Mode,
                       call: &dyn Fn() -> sys::CUresult,
                       wanted: Code| {
            let (mut graph, what) = (std::ptr::null_mut(), format!("{mode:?}"));
            // SAFETY: the stream is alive, and there is room for a handle.
            unsafe {
                sys::cuStreamBeginCapture_v2(captured, mode).result().unwrap();
                assert_eq!(call(), wanted, "{what}");
                let end = sys::cuStreamEndCapture(captured, &mut graph);
                let spoiled = wanted != Code::CUDA_SUCCESS;
                let expected =
                    if spoiled { Code::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED } else { Code::CUDA_SUCCESS };
                assert_eq!(end, expected, "{what}");
            }
        };
        let (global, local, relaxed) = (
            Mode::CU_STREAM_CAPTURE_MODE_GLOBAL,
            Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL,
            Mode::CU_STREAM_CAPTURE_MODE_RELAXED,
        );
        let unsupported = Code::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        let stream = stream.cu_stream();
        let memory = other.alloc_zeros::<u8>(16).unwrap();
        let address = cudarc::driver::DevicePtr::device_ptr(&memory, &other).0;
        other.synchronize().unwrap();
        // SAFETY: the handles are alive, the memory has 16 bytes, and there is room for results.
        let fill_null = || unsafe { sys::cuMemsetD8Async(address, 1, 16, std::ptr::null_mut()) };
        // SAFETY: the handles are alive, the memory has 16 bytes, and there is room for results.
        let fill_at_once = || unsafe { sys::cuMemsetD8_v2(address, 1, 16) };
        // SAFETY: the handles are alive, the memory has 16 bytes, and there is room for results.
        let query = || unsafe { sys::cuEventQuery(outside.cu_event()) };
        // SAFETY: the handles are alive, the memory has 16 bytes, and there is room for results.
        let wait = || unsafe { sys::cuEventSynchronize(outside.cu_event()) };
        // SAFETY: the handles are alive, the memory has 16 bytes, and there is room for results.
        let synchronize = || unsafe { sys::cuCtxSynchronize() };
        let allocate = || {
            let mut pointer = std::ptr::null_mut();
            // SAFETY: the handles are alive, the memory has 16 bytes, and there is room for results.
            unsafe { sys::cuMemHostAlloc(&mut pointer, 16, 0) }
        };
        // The null stream would wait for the blocking stream, in every mode.
        for mode in [local, relaxed] {
            capture(blocking, mode, &fill_null, Code::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
        }
        capture(blocking, relaxed, &fill_at_once, Code::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
        capture(stream, relaxed, &fill_null, Code::CUDA_SUCCESS);
        for call in [&query as &dyn Fn() -> sys::CUresult, &wait, &allocate] {
            capture(stream, global, call, unsupported);
            capture(stream, relaxed, call, Code::CUDA_SUCCESS);
        }
        let mut pinned = std::ptr::null_mut();
        // SAFETY: the handles are alive, the memory has 16 bytes, and there is room for results.
        unsafe { sys::cuMemHostAlloc(&mut pinned, 16, 0) }.result().unwrap();
        // SAFETY: the handles are alive, the memory has 16 bytes, and there is room for results.
        capture(stream, global, &|| unsafe { sys::cuMemFreeHost(pinned) }, unsupported);
        // SAFETY: the handles are alive, the memory has 16 bytes, and there is room for results.
        unsafe { sys::cuMemFreeHost(pinned) }.result().unwrap();
        // Waiting for the device is waiting for the capture, in every mode and on every thread.
        capture(stream, relaxed, &synchronize, unsupported);
        let elsewhere = || {
            let context = context.clone();
            let code = std::thread::spawn(move || {
                context.bind_to_thread().unwrap();
                // SAFETY: the handles are alive, the memory has 16 bytes, and there is room for results.
                unsafe { sys::cuCtxSynchronize() }
            });
            code.join().unwrap()
        };
        capture(stream, local, &elsewhere, unsupported);
    });
}
