//! Programs made up at random, their streams ordered by events as they must be: run eagerly, late, or captured into a
//! graph, they do what the same steps do one after another.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use cudarc::driver::sys::{self, CUstreamCaptureMode as Mode};
use cudarc::driver::{CudaEvent, CudaSlice, CudaStream};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::{eager_and_late, gpu};

const BUFFERS: usize = 4;
const STREAMS: usize = 3;
const LENGTH: usize = 8;

/// A step of a program, on one of the streams.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Fill a buffer with a byte.
    Fill { stream: usize, buffer: usize, byte: u8 },
    /// Copy the first half of a buffer to the second half of another.
    Copy { stream: usize, from: usize, to: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..STREAMS, 0..BUFFERS, any::<u8>()).prop_map(|(stream, buffer, byte)| Step::Fill {
            stream,
            buffer,
            byte
        }),
        (0..STREAMS, 0..BUFFERS, 1..BUFFERS).prop_map(|(stream, from, by)| Step::Copy {
            stream,
            from,
            to: (from + by) % BUFFERS
        }),
    ]
}

/// What the steps do one after another.
fn expected(steps: &[Step]) -> Vec<Vec<u8>> {
    let mut buffers = vec![vec![0; LENGTH]; BUFFERS];
    for &step in steps {
        match step {
            Step::Fill { buffer, byte, .. } => buffers[buffer].fill(byte),
            Step::Copy { from, to, .. } => {
                let half = buffers[from][..LENGTH / 2].to_vec();
                buffers[to][LENGTH / 2..].copy_from_slice(&half);
            }
        }
    }
    buffers
}

/// Streams and buffers, with the event of each buffer's last use.
struct Program {
    streams: Vec<Arc<CudaStream>>,
    buffers: Vec<CudaSlice<u8>>,
    last_use: Vec<Option<CudaEvent>>,
}

impl Program {
    fn new() -> Self {
        let (context, first) = gpu();
        let buffers = (0..BUFFERS).map(|_| first.alloc_zeros::<u8>(LENGTH).unwrap()).collect();
        first.synchronize().unwrap();
        let others = (1..STREAMS).map(|_| context.new_stream().unwrap());
        let streams = std::iter::once(first).chain(others).collect();
        Self { streams, buffers, last_use: (0..BUFFERS).map(|_| None).collect() }
    }

    /// Does one step after whatever used its buffers last.
    fn submit(&mut self, step: Step) {
        let (stream, used) = match step {
            Step::Fill { stream, buffer, .. } => (stream, vec![buffer]),
            Step::Copy { stream, from, to } => (stream, vec![from, to]),
        };
        let stream = &self.streams[stream];
        for event in used.iter().filter_map(|&buffer| self.last_use[buffer].as_ref()) {
            stream.wait(event).unwrap();
        }
        match step {
            Step::Fill { buffer, byte, .. } => {
                // SAFETY: the buffer has that many bytes.
                unsafe {
                    let address = cudarc::driver::DevicePtr::device_ptr(&self.buffers[buffer], stream).0;
                    sys::cuMemsetD8Async(address, byte, LENGTH, stream.cu_stream()).result().unwrap();
                }
            }
            Step::Copy { from, to, .. } => {
                let [from, to] = self.buffers.get_disjoint_mut([from, to]).unwrap();
                stream.memcpy_dtod(&from.slice(..LENGTH / 2), &mut to.slice_mut(LENGTH / 2..)).unwrap();
            }
        }
        for buffer in used {
            self.last_use[buffer] = Some(stream.record_event(None).unwrap());
        }
    }

    fn assert_is(&self, wanted: &[Vec<u8>]) -> Result<(), TestCaseError> {
        for (buffer, wanted) in self.buffers.iter().zip(wanted) {
            prop_assert_eq!(&self.streams[0].clone_dtoh(buffer).unwrap(), wanted);
        }
        Ok(())
    }
}

fn run(check: impl Fn(&[Step]) -> Result<(), TestCaseError>) {
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let steps = prop::collection::vec(step(), 0..25);
    TestRunner::new(config).run(&steps, |steps| check(&steps)).unwrap();
}

#[test]
fn streams_ordered_by_events() {
    eager_and_late("streams_ordered_by_events", || {
        run(|steps| {
            let mut program = Program::new();
            steps.iter().for_each(|&step| program.submit(step));
            program.streams[0].context().synchronize().unwrap();
            program.assert_is(&expected(steps))
        });
    });
}

#[test]
fn graphs_captured_from_streams_ordered_by_events() {
    eager_and_late("graphs_captured_from_streams_ordered_by_events", || {
        run(|steps| {
            let mut program = Program::new();
            let streams = program.streams.clone();
            let (origin, others) = streams.split_first().unwrap();
            origin.begin_capture(Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
            others.iter().for_each(|other| other.wait(&origin.record_event(None).unwrap()).unwrap());
            steps.iter().for_each(|&step| program.submit(step));
            others.iter().for_each(|other| origin.wait(&other.record_event(None).unwrap()).unwrap());
            let graph = origin.end_capture(sys::CUgraphInstantiate_flags(0)).unwrap().unwrap();
            program.assert_is(&expected(&[]))?;
            for times in 1..=2 {
                graph.launch().unwrap();
                program.assert_is(&expected(&steps.repeat(times)))?;
            }
            Ok(())
        });
    });
}
