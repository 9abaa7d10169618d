//! What goes wrong on a GPU is an error that says so, once, and nothing is done after it.

use emulated_gpu::process::same_under;
use emulated_gpu::setup;

use super::{Blocks, Cuda, Global, Program, Unavailable, arguments};
use crate::backend::Backend;
use crate::memory::{DeviceError, Memory};
use crate::precision::F32;

/// In a process of its own: what is done here spoils it.
fn alone(test: &str, program: impl FnOnce(&Cuda)) {
    if setup::real() {
        return;
    }
    same_under(&format!("cuda::tests::{test}"), &[&[]], || {
        program(&Cuda::new(0).expect("an emulated GPU"));
        String::new()
    });
}

const PROGRAM: Program<'static> = Program::new(
    "planted",
    "KERNEL(add_one, 256)(float* x, int length) { if (thread_of_grid() < length) x[thread_of_grid()] += 1; }",
);

fn add_one(gpu: &Cuda, x: &mut super::Buffer, length: i32) {
    gpu.launch::<F32>(
        PROGRAM,
        "add_one",
        Blocks::of_threads(length as usize),
        &arguments![Global::slice_mut::<f32>(x), length],
    );
}

fn first(gpu: &Cuda, x: &super::Buffer) -> f32 {
    let mut value = [7_f32];
    gpu.download(x, 0, bytemuck::cast_slice_mut(&mut value));
    value[0]
}

#[test]
fn a_device_that_fails_says_where_and_does_nothing_more() {
    alone("a_device_that_fails_says_where_and_does_nothing_more", |gpu| {
        let mut x = gpu.allocate(400).expect("memory");
        add_one(gpu, &mut x, 100);
        assert_eq!((first(gpu, &x), gpu.status()), (1.0, Ok(())));
        add_one(gpu, &mut x, 101);
        let failure = gpu.finish().expect_err("a kernel that writes outside of its memory");
        assert!(
            matches!(&failure, DeviceError::Failed { error, .. } if error.contains("CUDA_ERROR")),
            "{failure}"
        );
        assert_eq!(gpu.allocate(4).err(), Some(failure.clone()));
        add_one(gpu, &mut x, 100);
        assert_eq!((first(gpu, &x), gpu.status()), (7.0, Err(failure)), "nothing is copied after a failure");
    });
}

#[test]
fn a_kernel_that_does_not_compile_is_an_error_with_the_compilers_words() {
    alone("a_kernel_that_does_not_compile_is_an_error_with_the_compilers_words", |gpu| {
        let program = Program::new("broken", "KERNEL(nothing, 256)() { this is no code }");
        gpu.launch::<F32>(program, "nothing", Blocks::of_threads(1), &arguments![]);
        let failure = gpu.status().expect_err("no code");
        assert!(
            matches!(&failure, DeviceError::Compile { program, log } if program == "broken" && log.contains("error")),
            "{failure}"
        );
    });
}

#[test]
fn memory_that_there_is_not_is_refused_and_nothing_else_fails() {
    alone("memory_that_there_is_not_is_refused_and_nothing_else_fails", |gpu| {
        let refused = gpu.allocate(1 << 40).err();
        assert!(
            matches!(refused, Some(DeviceError::OutOfDeviceMemory { bytes, .. }) if bytes == 1 << 40),
            "{refused:?}"
        );
        let mut x = gpu.allocate(4).expect("memory");
        add_one(gpu, &mut x, 1);
        assert_eq!((first(gpu, &x), gpu.status()), (1.0, Ok(())));
    });
}

#[test]
fn a_gpu_that_there_is_not_is_refused() {
    alone("a_gpu_that_there_is_not_is_refused", |_| {
        assert_eq!(Cuda::new(3).err(), Some(Unavailable::NoSuchDevice { ordinal: 3, count: 1 }));
    });
}

/// What waits for the device cannot be recorded: that is no failure, and the calls can still be made.
#[test]
fn what_cannot_be_recorded_is_no_failure() {
    alone("what_cannot_be_recorded_is_no_failure", |gpu| {
        let mut x = gpu.allocate(400).expect("memory");
        add_one(gpu, &mut x, 100);
        let recording = gpu.record(|| {
            add_one(gpu, &mut x, 100);
            first(gpu, &x);
        });
        assert!(recording.is_none() && gpu.status().is_ok());
        assert!(gpu.record(|| add_one(gpu, &mut x, 100)).is_none(), "it is not tried again");
        add_one(gpu, &mut x, 100);
        assert_eq!((first(gpu, &x), gpu.status()), (2.0, Ok(())));
    });
}

/// What is recorded is done when it is repeated, and not before.
#[test]
fn recorded_calls_are_made_again() {
    alone("recorded_calls_are_made_again", |gpu| {
        let mut x = gpu.allocate(400).expect("memory");
        add_one(gpu, &mut x, 100);
        let recording = gpu.record(|| {
            add_one(gpu, &mut x, 100);
            add_one(gpu, &mut x, 100);
        });
        let recording = recording.expect("a recording");
        assert_eq!(first(gpu, &x), 1.0);
        gpu.replay(&recording);
        gpu.replay(&recording);
        assert_eq!((first(gpu, &x), gpu.status()), (5.0, Ok(())));
    });
}
