//! Collectives through cudarc: ranks of one thread, of several threads and of several processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::env;
use std::ffi::c_char;
use std::sync::Arc;
use std::thread;

use cudarc::driver::sys::CUstreamCaptureMode as Mode;
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DevicePtrMut};
use cudarc::nccl::result::{self, NcclStatus};
use cudarc::nccl::sys::{ncclDataType_t as Type, ncclRedOp_t as Op, ncclUniqueId};
use cudarc::nccl::{Comm, Id, ReduceOp, group_end, group_start};
use emulated_gpu::driver::device::DEVICES;
use support::{CASE, another_process, device, eager_and_late_with, kernel, launch_scale};

const MILLION: usize = 1_000_000;
const TWO: &[(&str, &str)] = &[(DEVICES, "2")];
const THREE: &[(&str, &str)] = &[(DEVICES, "3")];

/// A rank's numbers: of all sizes, so that sums of them are rounded.
fn numbers(rank: usize, n: usize) -> Vec<f32> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(rank as u64 + 1);
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let mantissa = (state >> 40) as f32 / (1 << 24) as f32 - 0.5;
        mantissa * 2f32.powi((state % 13) as i32 - 6)
    };
    (0..n).map(next).collect()
}

/// The sum of all ranks' numbers, in their order.
fn sums(ranks: usize, n: usize) -> Vec<f32> {
    let parts: Vec<_> = (0..ranks).map(|rank| numbers(rank, n)).collect();
    (0..n).map(|i| parts[1..].iter().fold(parts[0][i], |sum, part| sum + part[i])).collect()
}

#[track_caller]
fn assert_same_bits(got: &[f32], wanted: &[f32]) {
    let differs = got.iter().zip(wanted).position(|(got, wanted)| got.to_bits() != wanted.to_bits());
    assert_eq!((got.len(), differs), (wanted.len(), None));
}

/// All-reduces a million numbers three times, in new memory and in place.
fn reduce_a_million(comm: &Comm, stream: &Arc<CudaStream>, ranks: usize) {
    let wanted = sums(ranks, MILLION);
    for _ in 0..2 {
        let mut x = stream.clone_htod(&numbers(comm.rank(), MILLION)).unwrap();
        // SAFETY: the collective writes all of it.
        let mut y = unsafe { stream.alloc::<f32>(MILLION) }.unwrap();
        comm.all_reduce(&x, &mut y, &ReduceOp::Sum).unwrap();
        comm.all_reduce_in_place(&mut x, &ReduceOp::Sum).unwrap();
        assert_same_bits(&stream.clone_dtoh(&y).unwrap(), &wanted);
        assert_same_bits(&stream.clone_dtoh(&x).unwrap(), &wanted);
    }
}

#[test]
fn one_thread_with_two_devices_reduces_a_million_floats() {
    eager_and_late_with("one_thread_with_two_devices_reduces_a_million_floats", TWO, || {
        let streams = [device(0).1, device(1).1];
        let comms = Comm::from_devices(streams.to_vec()).unwrap();
        let wanted = sums(2, MILLION);
        for _ in 0..3 {
            let mut buffers: Vec<CudaSlice<f32>> = streams
                .iter()
                .enumerate()
                .map(|(rank, stream)| stream.clone_htod(&numbers(rank, MILLION)).unwrap())
                .collect();
            group_start().unwrap();
            for (comm, buffer) in comms.iter().zip(&mut buffers) {
                comm.all_reduce_in_place(buffer, &ReduceOp::Sum).unwrap();
            }
            group_end().unwrap();
            for (stream, buffer) in streams.iter().zip(&buffers) {
                assert_same_bits(&stream.clone_dtoh(buffer).unwrap(), &wanted);
            }
        }
    });
}

/// Runs `program` in a thread for each rank.
fn on_ranks(ranks: usize, program: impl Fn(Comm, Arc<CudaStream>) + Sync) {
    let id = Id::new().unwrap();
    thread::scope(|scope| {
        for rank in 0..ranks {
            let program = &program;
            scope.spawn(move || {
                let (_, stream) = device(rank);
                program(Comm::from_rank(stream.clone(), rank, ranks, id).unwrap(), stream);
            });
        }
    });
}

#[test]
fn three_threads_reduce_a_million_floats() {
    eager_and_late_with("three_threads_reduce_a_million_floats", THREE, || {
        on_ranks(3, |comm, stream| reduce_a_million(&comm, &stream, 3));
    });
}

#[test]
fn two_processes_reduce_a_million_floats() {
    const TEST: &str = "two_processes_reduce_a_million_floats";
    eager_and_late_with(TEST, TWO, || {
        let (rank, id, other) = match env::var(CASE) {
            Ok(id) => (1, id.split(' ').map(|byte| byte.parse().unwrap()).collect(), None),
            Err(_) => {
                let id: Vec<c_char> = Id::new().unwrap().internal().to_vec();
                let text = id.iter().map(c_char::to_string).collect::<Vec<_>>().join(" ");
                (0, id, Some(another_process(TEST, &text).spawn().unwrap()))
            }
        };
        let (_, stream) = device(rank);
        let comm = Comm::from_rank(stream.clone(), rank, 2, Id::uninit(id.try_into().unwrap())).unwrap();
        reduce_a_million(&comm, &stream, 2);
        if let Some(mut other) = other {
            assert!(other.wait().unwrap().success());
        }
    });
}

/// Each process sees one device, its first, as launchers arrange it.
#[test]
fn processes_may_see_different_devices_as_their_first() {
    const TEST: &str = "processes_may_see_different_devices_as_their_first";
    eager_and_late_with(TEST, &[(DEVICES, "2"), ("CUDA_VISIBLE_DEVICES", "0")], || {
        let (rank, id, other) = match env::var(CASE) {
            Ok(id) => (1, id.split(' ').map(|byte| byte.parse().unwrap()).collect(), None),
            Err(_) => {
                let id: Vec<c_char> = Id::new().unwrap().internal().to_vec();
                let text = id.iter().map(c_char::to_string).collect::<Vec<_>>().join(" ");
                let mut other = another_process(TEST, &text);
                (0, id, Some(other.env("CUDA_VISIBLE_DEVICES", "1").spawn().unwrap()))
            }
        };
        let (_, stream) = device(0);
        let comm = Comm::from_rank(stream.clone(), rank, 2, Id::uninit(id.try_into().unwrap())).unwrap();
        let mut x = stream.clone_htod(&[rank as i32 + 1]).unwrap();
        comm.all_reduce_in_place(&mut x, &ReduceOp::Sum).unwrap();
        assert_eq!(stream.clone_dtoh(&x).unwrap(), [3]);
        if let Some(mut other) = other {
            assert!(other.wait().unwrap().success());
        }
    });
}

#[test]
fn every_collective() {
    eager_and_late_with("every_collective", THREE, || {
        assert!(result::get_nccl_version().unwrap() >= 22_000);
        on_ranks(3, |comm, stream| {
            let rank = comm.rank();
            let upload = |values: &[i32]| stream.clone_htod(values).unwrap();
            let mine = upload(&[rank as i32, 10, -(rank as i32)]);
            let mut got = stream.alloc_zeros::<i32>(3).unwrap();
            for (op, wanted) in [
                (ReduceOp::Sum, [3, 30, -3]),
                (ReduceOp::Prod, [0, 1000, 0]),
                (ReduceOp::Max, [2, 10, 0]),
                (ReduceOp::Min, [0, 10, -2]),
                (ReduceOp::Avg, [1, 10, -1]),
            ] {
                comm.all_reduce(&mine, &mut got, &op).unwrap();
                assert_eq!(stream.clone_dtoh(&got).unwrap(), wanted);
            }
            let root = (rank == 1).then_some(&mine);
            comm.broadcast(root, &mut got, 1).unwrap();
            assert_eq!(stream.clone_dtoh(&got).unwrap(), [1, 10, -1]);
            let mut in_place = stream.clone_dtod(&mine).unwrap();
            comm.broadcast_in_place(&mut in_place, 2).unwrap();
            assert_eq!(stream.clone_dtoh(&in_place).unwrap(), [2, 10, -2]);
            comm.reduce(&mine, (rank == 2).then_some(&mut got), &ReduceOp::Sum, 2).unwrap();
            let wanted = if rank == 2 { [3, 30, -3] } else { [1, 10, -1] };
            assert_eq!(stream.clone_dtoh(&got).unwrap(), wanted);

            let mut all = stream.alloc_zeros::<i32>(9).unwrap();
            comm.all_gather(&mine, &mut all).unwrap();
            assert_eq!(stream.clone_dtoh(&all).unwrap(), [0, 10, 0, 1, 10, -1, 2, 10, -2]);
            let hundreds: Vec<i32> = (0..6).map(|i| i + 100 * rank as i32).collect();
            let mut share = stream.alloc_zeros::<i32>(2).unwrap();
            comm.reduce_scatter(&upload(&hundreds), &mut share, &ReduceOp::Sum).unwrap();
            let first = 3 * 2 * rank as i32 + 300;
            assert_eq!(stream.clone_dtoh(&share).unwrap(), [first, first + 3]);

            // Floats of 64 bits, and an average.
            let mut x = stream.clone_htod(&[rank as f64 + 0.5, f64::MAX]).unwrap();
            comm.all_reduce_in_place(&mut x, &ReduceOp::Avg).unwrap();
            let third = 1.0 / 3.0;
            assert_eq!(stream.clone_dtoh(&x).unwrap()[0], 0.5 * third + 1.5 * third + 2.5 * third);
        });
    });
}

/// Halves, and the calls that cudarc's safe layer has no types for.
#[test]
fn bf16_and_calls_in_place() {
    eager_and_late_with("bf16_and_calls_in_place", TWO, || {
        let id = result::get_uniqueid().unwrap();
        thread::scope(|scope| {
            for rank in 0..2 {
                scope.spawn(move || in_place(id, rank));
            }
        });
    });
}

fn in_place(id: ncclUniqueId, rank: usize) {
    use half::bf16;
    let (_, stream) = device(rank);
    let mut comm = std::ptr::null_mut();
    let halves = [1.0, 0.5 + rank as f32].map(|value| bf16::from_f32(value).to_bits());
    let mut x = stream.clone_htod(&[halves[0], halves[1], 0, 0]).unwrap();
    let address = x.device_ptr_mut(&stream).0;
    let own = address + 4 * rank as u64;
    // SAFETY: the addresses have as many elements as the calls say, and the handles are alive.
    unsafe {
        result::comm_init_rank(&mut comm, 2, id, rank as i32).unwrap();
        assert_eq!(result::comm_count(comm).unwrap(), 2);
        assert_eq!(result::comm_user_rank(comm).unwrap(), rank as i32);
        assert_eq!(result::comm_cu_device(comm).unwrap(), rank as i32);
        let stream = stream.cu_stream().cast();
        let (at, to) = (address as *const _, address as *mut _);
        result::all_reduce(at, to, 2, Type::ncclBfloat16, Op::ncclSum, comm, stream).unwrap();
        // Each rank's share is at its own place already.
        cudarc::driver::result::memcpy_dtod_async(own, address, 4, stream.cast()).unwrap();
        result::all_gather(own as *const _, to, 2, Type::ncclBfloat16, comm, stream).unwrap();
        result::reduce_scatter(at, own as *mut _, 2, Type::ncclBfloat16, Op::ncclMax, comm, stream).unwrap();
        assert!(matches!(
            // No elements are no call: the other rank need not make it.
            if rank == 0 {
                result::all_reduce(at, to, 0, Type::ncclBfloat16, Op::ncclSum, comm, stream).unwrap()
            } else {
                NcclStatus::Success
            },
            NcclStatus::Success
        ));
        result::comm_finalize(comm).unwrap();
        result::comm_destroy(comm).unwrap();
        assert!(result::comm_destroy(comm).is_err(), "it is gone");
    }
    let values: Vec<f32> =
        stream.clone_dtoh(&x).unwrap().into_iter().map(|bits| bf16::from_bits(bits).to_f32()).collect();
    assert_eq!(values, [2.0, 2.0, 2.0, 2.0]);
}

/// A stream goes on behind a collective, and only there; kernels of both devices feed it.
#[test]
fn collectives_are_ordered_with_the_work_of_their_streams() {
    eager_and_late_with("collectives_are_ordered_with_the_work_of_their_streams", TWO, || {
        on_ranks(2, |comm, stream| {
            let context = stream.context();
            let scale = kernel(context, "scale");
            let n = 5000;
            let values = numbers(7, n);
            let x = stream.clone_htod(&values).unwrap();
            let mut y = stream.alloc_zeros::<f32>(n).unwrap();
            let side = context.new_stream().unwrap();
            for _ in 0..3 {
                launch_scale(&stream, &scale, &mut y, &x, comm.rank() as f32 + 1.0, n);
                comm.all_reduce_in_place(&mut y, &ReduceOp::Sum).unwrap();
                side.wait(&stream.record_event(None).unwrap()).unwrap();
                let mut z = side.alloc_zeros::<f32>(n).unwrap();
                launch_scale(&side, &scale, &mut z, &y, 1.0, n);
                let wanted: Vec<f32> = values.iter().map(|value| value * 1.0 + value * 2.0).collect();
                assert_same_bits(&side.clone_dtoh(&z).unwrap(), &wanted);
            }
        });
    });
}

/// One rank calls, and only then lets the other call: no call waits for another rank.
#[test]
fn calls_do_not_wait_for_other_ranks() {
    eager_and_late_with("calls_do_not_wait_for_other_ranks", TWO, || {
        let barrier = std::sync::Barrier::new(2);
        on_ranks(2, |comm, stream| {
            let mut x = stream.clone_htod(&[1f32; 1000]).unwrap();
            if comm.rank() == 1 {
                barrier.wait();
            }
            comm.all_reduce_in_place(&mut x, &ReduceOp::Sum).unwrap();
            comm.all_reduce_in_place(&mut x, &ReduceOp::Sum).unwrap();
            if comm.rank() == 0 {
                barrier.wait();
            }
            // The device gets on by itself: the first rank does not wait for its stream before the second has.
            if comm.rank() == 1 {
                assert_eq!(stream.clone_dtoh(&x).unwrap(), [4.0; 1000]);
            }
            barrier.wait();
            let done = stream.record_event(None).unwrap();
            let begin = std::time::Instant::now();
            while !done.is_complete() {
                assert!(begin.elapsed() < std::time::Duration::from_secs(300), "the device never got on");
            }
            assert_eq!(stream.clone_dtoh(&x).unwrap(), [4.0; 1000]);
        });
    });
}

#[test]
fn collectives_are_captured_and_launched_again() {
    eager_and_late_with("collectives_are_captured_and_launched_again", TWO, || {
        on_ranks(2, |comm, stream| {
            let scale = kernel(stream.context(), "scale");
            let mut x = stream.clone_htod(&[1f32; 300]).unwrap();
            let mut y = stream.alloc_zeros::<f32>(300).unwrap();
            stream.begin_capture(Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
            launch_scale(&stream, &scale, &mut y, &x, comm.rank() as f32 + 1.0, 300);
            comm.all_reduce(&y, &mut x, &ReduceOp::Sum).unwrap();
            let graph =
                stream.end_capture(cudarc::driver::sys::CUgraphInstantiate_flags(0)).unwrap().unwrap();
            assert_eq!(stream.clone_dtoh(&x).unwrap(), [1.0; 300], "capturing does nothing");
            for power in 1..=3 {
                graph.launch().unwrap();
                // Collectives of graphs and others take turns.
                comm.all_reduce_in_place(&mut y, &ReduceOp::Max).unwrap();
                assert_eq!(stream.clone_dtoh(&x).unwrap(), [3f32.powi(power); 300]);
            }
            assert_eq!(stream.clone_dtoh(&y).unwrap(), [18.0; 300]);
        });
    });
}

#[test]
fn a_communicator_of_one() {
    eager_and_late_with("a_communicator_of_one", &[], || {
        let (_, stream) = device(0);
        let comm = Comm::from_rank(stream.clone(), 0, 1, Id::new().unwrap()).unwrap();
        let x = stream.clone_htod(&[1.5f32, 2.5]).unwrap();
        let mut y = stream.alloc_zeros::<f32>(2).unwrap();
        comm.all_reduce(&x, &mut y, &ReduceOp::Avg).unwrap();
        assert_eq!(stream.clone_dtoh(&y).unwrap(), [1.5, 2.5]);
        assert_ne!(x.device_ptr(&stream).0, 0);
    });
}
