//! Wrong uses of NCCL, planted one by one. On hardware most of them hang, or write past the end of buffers; here each is
//! reported, with the ranks named.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::env;
use std::ffi::{CStr, c_char, c_void};
use std::process::exit;
use std::ptr;
use std::sync::{Arc, Barrier};
use std::thread;

use cudarc::driver::sys::CUstreamCaptureMode as Mode;
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr};
use cudarc::nccl::result::{self, NcclError};
use cudarc::nccl::sys::{self, ncclDataType_t as Type, ncclRedOp_t as Op, ncclResult_t as Status};
use emulated_gpu::driver::STREAMS;
use emulated_gpu::driver::device::DEVICES;
use emulated_gpu::nccl::TIMEOUT;
use support::{CASE, another_process, bug_with, device, eager_and_late_with, kernel, launch_scale};

const TWO: &[(&str, &str)] = &[(DEVICES, "2")];
const N: usize = 100;

/// Runs a program with a bug in it, for each schedule, on two devices.
fn bug(test: &str, reports: &[&str], program: impl Fn()) {
    for schedule in ["eager", "late"] {
        bug_with(test, &[(DEVICES, "2"), (STREAMS, schedule)], reports, &program);
    }
}

/// As [`bug`], where ranks wait for others no longer than half a second.
fn time_out(test: &str, reports: &[&str], program: impl Fn()) {
    for schedule in ["eager", "late"] {
        bug_with(test, &[(DEVICES, "2"), (STREAMS, schedule), (TIMEOUT, "0.5")], reports, &program);
    }
}

/// A rank with its stream and a hundred numbers.
struct Rank {
    number: usize,
    comm: sys::ncclComm_t,
    stream: Arc<CudaStream>,
    x: CudaSlice<f32>,
}

/// A collective that may be wrong.
#[derive(Clone, Copy)]
struct Wrong {
    count: usize,
    element: Type,
    op: Op,
}

const RIGHT: Wrong = Wrong { count: N, element: Type::ncclFloat32, op: Op::ncclSum };

impl Rank {
    fn new(number: usize, id: sys::ncclUniqueId) -> Self {
        let (_, stream) = device(number);
        let mut comm = ptr::null_mut();
        // SAFETY: there is room for the handle.
        unsafe { result::comm_init_rank(&mut comm, 2, id, number as i32) }.unwrap();
        let x = stream.clone_htod(&[1f32; N]).unwrap();
        Self { number, comm, stream, x }
    }

    fn address(&self) -> *mut c_void {
        self.x.device_ptr(&self.stream).0 as *mut c_void
    }

    fn queue(&self) -> sys::cudaStream_t {
        self.stream.cu_stream().cast()
    }

    fn call(&self, wrong: Wrong) -> Result<(), Status> {
        self.reduce(self.address(), self.address(), wrong, self.queue())
    }

    fn reduce(
        &self,
        from: *mut c_void,
        to: *mut c_void,
        wrong: Wrong,
        stream: sys::cudaStream_t,
    ) -> Result<(), Status> {
        let Wrong { count, element, op } = wrong;
        // SAFETY: whatever is wrong is refused or reported.
        status(unsafe { result::all_reduce(from, to, count, element, op, self.comm, stream) })
    }

    fn broadcast(&self, root: i32) -> Result<(), Status> {
        let (at, to) = (self.address(), self.address());
        // SAFETY: the address has so many elements.
        status(unsafe { result::broadcast(at, to, N, Type::ncclFloat32, root, self.comm, self.queue()) })
    }

    fn wait(&self) {
        self.stream.synchronize().unwrap();
    }

    fn async_error(&self) -> Status {
        let mut error = Status::ncclSuccess;
        // SAFETY: the handle is alive, and there is room for the answer.
        unsafe { sys::ncclCommGetAsyncError(self.comm, &mut error) }.result().unwrap();
        error
    }
}

fn status<T>(outcome: Result<T, NcclError>) -> Result<(), Status> {
    outcome.map(drop).map_err(|error| error.0)
}

/// Runs `program` in a thread for each of two ranks.
fn on_two(program: impl Fn(Rank) + Sync) {
    let id = result::get_uniqueid().unwrap();
    thread::scope(|scope| {
        for number in 0..2 {
            let program = &program;
            scope.spawn(move || program(Rank::new(number, id)));
        }
    });
}

#[test]
fn a_rank_never_comes_to_the_communicator() {
    let reports = ["ncclCommInitRank", "rank 0 waits for ranks 1, 2 of 3", "within 0.5 s", TIMEOUT];
    time_out("a_rank_never_comes_to_the_communicator", &reports, || {
        let (_context, mut comm) = (device(0), ptr::null_mut());
        // SAFETY: there is room for the handle.
        unsafe { result::comm_init_rank(&mut comm, 3, result::get_uniqueid().unwrap(), 0) }.unwrap();
    });
}

#[test]
fn a_rank_never_comes_to_a_collective() {
    let reports = [
        "collective 0 of communicator",
        "AllReduce of 100 x Float32 by Sum failed: CUDA_ERROR_LAUNCH_TIMEOUT: rank 1 of 2 did not come within 0.5 s",
        "said by NCCL: ncclRemoteError",
    ];
    time_out("a_rank_never_comes_to_a_collective", &reports, || {
        let (_contexts, mut comms) = ([device(0), device(1)], [ptr::null_mut(); 2]);
        // SAFETY: there is room for two handles.
        unsafe { result::comm_init_all(comms.as_mut_ptr(), 2, ptr::null()) }.unwrap();
        let (_, stream) = device(0);
        let x = stream.clone_htod(&[1f32; N]).unwrap();
        let rank = Rank { number: 0, comm: comms[0], stream, x };
        rank.call(RIGHT).unwrap();
        let failed = rank.stream.synchronize().is_err();
        eprintln!("said by NCCL: {:?}", rank.async_error());
        exit(failed.into());
    });
}

#[test]
fn a_process_ends_before_it_comes() {
    const TEST: &str = "a_process_ends_before_it_comes";
    bug(TEST, &["rank 1 of 2 takes no further part: its process has ended"], || {
        if let Ok(id) = env::var(CASE) {
            let id: Vec<c_char> = id.split(' ').map(|byte| byte.parse().unwrap()).collect();
            Rank::new(1, sys::ncclUniqueId { internal: id.try_into().unwrap() });
            exit(0);
        }
        let id = result::get_uniqueid().unwrap();
        let text = id.internal.iter().map(c_char::to_string).collect::<Vec<_>>().join(" ");
        let mut other = another_process(TEST, &text).spawn().unwrap();
        let rank = Rank::new(0, id);
        assert!(other.wait().unwrap().success());
        rank.call(RIGHT).unwrap();
        rank.wait();
    });
}

/// Each of these is what the second rank calls while the first calls rightly.
#[test]
fn ranks_that_do_not_fit_each_other() {
    const TEST: &str = "ranks_that_do_not_fit_each_other";
    let wrong = [
        (Wrong { count: 99, ..RIGHT }, "AllReduce of 99 x Float32 by Sum"),
        (Wrong { element: Type::ncclInt32, ..RIGHT }, "AllReduce of 100 x Int32 by Sum"),
        (Wrong { op: Op::ncclMax, ..RIGHT }, "AllReduce of 100 x Float32 by Max"),
    ];
    for (case, (_, report)) in wrong.iter().enumerate() {
        let (case, report) = (case.to_string(), format!("rank 1 calls {report}"));
        let reports = ["rank 0 calls AllReduce of 100 x Float32 by Sum", &report];
        bug_with(TEST, &[(DEVICES, "2"), (CASE, &case)], &reports, || {
            let case: usize = env::var(CASE).unwrap().parse().unwrap();
            on_two(|rank| {
                rank.call(if rank.number == 0 { RIGHT } else { wrong[case].0 }).unwrap();
                rank.wait();
            });
        });
    }
}

#[test]
fn roots_that_do_not_fit_each_other() {
    let reports = [
        "rank 0 calls Broadcast of 100 x Float32 with root 0",
        "rank 1 calls Broadcast of 100 x Float32 with root 1",
    ];
    bug("roots_that_do_not_fit_each_other", &reports, || {
        on_two(|rank| {
            rank.broadcast(rank.number as i32).unwrap();
            rank.wait();
        });
    });
}

#[test]
fn a_rank_aborts_before_it_comes() {
    bug(
        "a_rank_aborts_before_it_comes",
        &["rank 1 of 2 takes no further part: it aborted the communicator"],
        || {
            on_two(|rank| {
                if rank.number == 1 {
                    // SAFETY: the handle is alive, and not used again.
                    unsafe { result::comm_abort(rank.comm) }.unwrap();
                    return;
                }
                rank.call(RIGHT).unwrap();
                rank.wait();
            });
        },
    );
}

#[test]
fn a_failure_of_one_device_is_told_to_the_others() {
    let reports = ["never written", "rank 1 of 2 takes no further part: work on its device has failed"];
    bug("a_failure_of_one_device_is_told_to_the_others", &reports, || {
        on_two(|rank| {
            if rank.number == 1 {
                // SAFETY: not written before it is read: that is the bug.
                let x = unsafe { rank.stream.alloc::<f32>(1) }.unwrap();
                rank.stream.clone_dtoh(&x).unwrap_err();
                return;
            }
            rank.call(RIGHT).unwrap();
            rank.wait();
        });
    });
}

#[test]
fn a_rank_aborts_what_it_has_not_waited_for() {
    let reports = ["the communicator was aborted: what it was to write is lost", "never written"];
    bug("a_rank_aborts_what_it_has_not_waited_for", &reports, || {
        let ends = Barrier::new(2);
        on_two(|rank| {
            if rank.number == 0 {
                rank.call(RIGHT).unwrap();
                // SAFETY: the handle is alive, and not used again.
                unsafe { result::comm_abort(rank.comm) }.unwrap();
                let read = rank.stream.clone_dtoh(&rank.x);
                exit(read.is_err().into());
            }
            ends.wait();
        });
    });
}

/// A stream that does not wait for the one with the collective.
#[test]
fn a_missing_wait_behind_a_collective() {
    let variables = [(DEVICES, "2"), (STREAMS, "late")];
    let reports = ["kernel scale", "test.cu:", "never written"];
    bug_with("a_missing_wait_behind_a_collective", &variables, &reports, || {
        let streams = [device(0).1, device(1).1];
        let mut comms = [ptr::null_mut(); 2];
        // SAFETY: there is room for two handles; the buffers have `N` elements.
        let results = unsafe {
            result::comm_init_all(comms.as_mut_ptr(), 2, ptr::null()).unwrap();
            result::group_start().unwrap();
            let results: Vec<CudaSlice<f32>> = streams
                .iter()
                .zip(comms)
                .map(|(stream, comm)| {
                    let (x, y) = (stream.clone_htod(&[1f32; N]).unwrap(), stream.alloc::<f32>(N).unwrap());
                    let (from, to) = (x.leak() as *const _, y.device_ptr(stream).0 as *mut _);
                    let queue = stream.cu_stream().cast();
                    result::all_reduce(from, to, N, Type::ncclFloat32, Op::ncclSum, comm, queue).unwrap();
                    y
                })
                .collect();
            result::group_end().unwrap();
            results
        };
        let context = streams[0].context();
        let side = context.new_stream().unwrap();
        let (scale, mut z) = (kernel(context, "scale"), side.alloc_zeros::<f32>(N).unwrap());
        launch_scale(&side, &scale, &mut z, &results[0], 1.0, N);
        side.synchronize().unwrap();
    });
}

/// Calls that are refused at once, and spoil nothing.
#[test]
fn calls_that_are_refused() {
    eager_and_late_with("calls_that_are_refused", TWO, || {
        let foreign = device(1).1.clone_htod(&[0f32; N]).unwrap().leak();
        on_two(|rank| {
            if rank.number == 0 {
                refused(&rank, foreign as *mut c_void);
            }
            // All is well.
            rank.call(RIGHT).unwrap();
            assert_eq!(rank.stream.clone_dtoh(&rank.x).unwrap(), [2.0; N]);
            assert_eq!(rank.async_error(), Status::ncclSuccess);
        });
    });
}

fn refused(rank: &Rank, foreign: *mut c_void) {
    let (own, queue) = (rank.address(), rank.queue());
    let invalid = Err(Status::ncclInvalidArgument);
    let mut host = [0f32; N];
    assert_eq!(rank.reduce(foreign, own, RIGHT, queue), invalid);
    assert!(last_error().contains("is memory of device 1; rank 0 is device 0"), "{}", last_error());
    assert_eq!(rank.reduce(own, foreign, RIGHT, queue), invalid);
    assert_eq!(rank.reduce(ptr::null_mut(), own, RIGHT, queue), invalid);
    assert_eq!(rank.reduce(own, host.as_mut_ptr().cast(), RIGHT, queue), invalid, "host memory");
    assert_eq!(rank.call(Wrong { count: N + 1, ..RIGHT }), invalid);
    assert!(last_error().contains("has 400 bytes of device memory"), "{}", last_error());
    assert_eq!(
        rank.reduce(own, own.wrapping_byte_add(4), Wrong { count: 50, ..RIGHT }, queue),
        invalid,
        "overlap"
    );
    assert_eq!(rank.call(Wrong { element: Type::ncclFloat8e4m3, ..RIGHT }), invalid);
    assert_eq!(rank.call(Wrong { op: Op::ncclNumOps, ..RIGHT }), invalid);
    assert_eq!(rank.broadcast(2), invalid);
    assert_eq!(rank.broadcast(-1), invalid);
    let other = device(1).1;
    assert_eq!(rank.reduce(own, own, RIGHT, other.cu_stream().cast()), invalid, "a stream of device 1");
    device(0);
    // SAFETY: refused.
    assert!(unsafe { result::comm_count(ptr::null_mut()) }.is_err());
    assert_eq!(status(result::group_end()), Err(Status::ncclInvalidUsage), "no group was started");

    // Nothing of a group is done if one of its calls is refused.
    result::group_start().unwrap();
    rank.call(RIGHT).unwrap();
    assert_eq!(rank.broadcast(2), invalid);
    assert_eq!(status(result::group_end()), invalid);

    let captured = rank.stream.context().new_stream().unwrap();
    captured.begin_capture(Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
    result::group_start().unwrap();
    rank.call(RIGHT).unwrap();
    rank.reduce(own, own, RIGHT, captured.cu_stream().cast()).unwrap();
    assert_eq!(
        status(result::group_end()),
        Err(Status::ncclInvalidUsage),
        "one stream is captured, one is not"
    );
    captured.end_capture(cudarc::driver::sys::CUgraphInstantiate_flags(0)).unwrap();
}

fn last_error() -> String {
    // SAFETY: the text is there for good.
    unsafe { CStr::from_ptr(sys::ncclGetLastError(ptr::null_mut())) }.to_str().unwrap().to_owned()
}

/// Communicators that cannot be made.
#[test]
fn communicators_that_are_refused() {
    eager_and_late_with("communicators_that_are_refused", TWO, || {
        let _contexts = [device(0), device(1)];
        let id = || result::get_uniqueid().unwrap();
        let make = |size: i32, id: sys::ncclUniqueId, rank: i32| {
            let mut comm = ptr::null_mut();
            // SAFETY: there is room for the handle.
            status(unsafe { result::comm_init_rank(&mut comm, size, id, rank) })
        };
        let (argument, usage) = (Err(Status::ncclInvalidArgument), Err(Status::ncclInvalidUsage));
        for (size, rank) in [(2, 2), (2, -1), (0, 0)] {
            assert_eq!(make(size, id(), rank), argument);
        }
        assert_eq!(
            make(1, sys::ncclUniqueId { internal: [0; 128] }, 0),
            argument,
            "not from ncclGetUniqueId"
        );
        let taken = id();
        make(1, taken, 0).unwrap();
        assert_eq!(make(1, taken, 0), usage, "the rank is there already");

        let mut comms = [ptr::null_mut(); 3];
        let mut all = |count: i32, devices: &[i32]| {
            // SAFETY: there is room for three handles, and as many devices as are said.
            status(unsafe { result::comm_init_all(comms.as_mut_ptr(), count, devices.as_ptr()) })
        };
        assert_eq!(all(2, &[1, 1]), argument);
        assert!(all(2, &[0, 2]).is_err(), "there is no device 2");
        assert_eq!(all(0, &[]), argument);
        all(2, &[1, 0]).unwrap();
        // SAFETY: the handle is alive.
        assert_eq!(unsafe { result::comm_cu_device(comms[0]) }.unwrap(), 1);

        // Ranks of one group that were told different things, or have one device.
        let group = |sizes: [i32; 2], devices: [usize; 2]| {
            let (id, mut comms) = (id(), [ptr::null_mut(); 2]);
            result::group_start().unwrap();
            for (rank, comm) in comms.iter_mut().enumerate() {
                device(devices[rank]);
                // SAFETY: there is room for the handle until the group ends.
                unsafe { result::comm_init_rank(comm, sizes[rank], id, rank as i32) }.unwrap();
            }
            status(result::group_end())
        };
        assert_eq!(group([2, 3], [0, 1]), usage);
        assert!(last_error().contains("was told of 2 ranks"), "{}", last_error());
        assert_eq!(group([2, 2], [0, 0]), usage);
        assert!(last_error().contains("are both on device 0"), "{}", last_error());
        group([2, 2], [0, 1]).unwrap();
    });
}
