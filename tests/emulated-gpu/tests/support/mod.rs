//! What the tests of the emulated GPU share: a context with kernels, and programs run in processes of their own.
#![allow(dead_code, reason = "each test uses some of it")]

pub mod approximate;
pub mod lt;
pub mod operand;

use std::env;
use std::process::{Command, Output};
use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, DevicePtrMut, LaunchConfig,
    PushKernelArg,
};
use cudarc::nvrtc::{CompileOptions, Ptx, compile_ptx_with_opts};
use emulated_gpu::driver::STREAMS;
use emulated_gpu::setup;

/// Marks a process that was started to run one program.
const CHILD: &str = "EMULATED_GPU_TEST_CHILD";

/// As [`eager_and_late`], or once on the machine's own GPU where that is asked for.
pub fn on_any_gpu(test: &str, program: impl FnOnce()) {
    if setup::real() { program() } else { eager_and_late(test, program) }
}

/// Runs `program` in a process of its own for each schedule and wants it to succeed. `test` is the name of the test
/// that calls.
pub fn eager_and_late(test: &str, program: impl FnOnce()) {
    eager_and_late_with(test, &[], program);
}

/// As [`eager_and_late`], with other variables.
pub fn eager_and_late_with(test: &str, variables: Variables, program: impl FnOnce()) {
    run(test, program, |run_child| {
        for schedule in ["eager", "late"] {
            let output = run_child(schedule, variables);
            assert!(output.status.success(), "run {schedule}:\n{}", text(&output));
        }
    });
}

/// Tells a process of its own which of several cases it is for.
pub const CASE: &str = "EMULATED_GPU_TEST_CASE";

/// Environment variables and their values.
type Variables<'a> = &'a [(&'a str, &'a str)];

/// Whether this is a process that was started to run one program.
pub fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

/// Runs `program` in a process of its own, eagerly and with other variables, and wants it to succeed.
pub fn eager_with(test: &str, variables: Variables, program: impl FnOnce()) {
    output_with(test, variables, program);
}

/// As [`eager_with`]; gives what the program wrote, unless this is that program.
pub fn output_with(test: &str, variables: Variables, program: impl FnOnce()) -> Option<String> {
    let mut written = None;
    run(test, program, |run_child| {
        let output = run_child("eager", variables);
        assert!(output.status.success(), "run with {variables:?}:\n{}", text(&output));
        written = Some(text(&output));
    });
    written
}

/// Runs a program with a bug in it in a process of its own and wants it to fail with each of `reports` on stderr.
pub fn bug(test: &str, schedule: &str, reports: &[&str], program: impl FnOnce()) {
    bug_in(test, schedule, &[], reports, program);
}

/// As [`bug`], eagerly and with other variables.
pub fn bug_with(test: &str, variables: Variables, reports: &[&str], program: impl FnOnce()) {
    bug_in(test, "eager", variables, reports, program);
}

fn bug_in(test: &str, schedule: &str, variables: Variables, reports: &[&str], program: impl FnOnce()) {
    run(test, program, |run_child| {
        let output = run_child(schedule, variables);
        let text = text(&output);
        assert!(!output.status.success(), "the bug was not noticed:\n{text}");
        for report in reports {
            assert!(text.contains(report), "no `{report}` in:\n{text}");
        }
    });
}

fn run(test: &str, program: impl FnOnce(), check: impl FnOnce(&dyn Fn(&str, Variables) -> Output)) {
    if setup::real() || !setup::available() {
        return;
    }
    if env::var_os(CHILD).is_some() {
        return program();
    }
    check(&|schedule, variables| {
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(CHILD, "1")
            .env(STREAMS, schedule)
            .envs(variables.iter().copied())
            .env("RUST_BACKTRACE", "0") // finding the lines takes longer than the program
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .unwrap();
        assert!(text(&output).contains("running 1 test"), "no test is called `{test}`");
        output
    });
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Starts the test that this process runs once more, as another process of the same program, which finds `case` in
/// [`CASE`].
pub fn another_process(test: &str, case: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CASE, case);
    command
}

/// A context with a stream of its own, ordered by hand as the engine does it.
pub fn gpu() -> (Arc<CudaContext>, Arc<CudaStream>) {
    device(0)
}

/// As [`gpu`], on one of several devices.
pub fn device(ordinal: usize) -> (Arc<CudaContext>, Arc<CudaStream>) {
    let context = CudaContext::new(ordinal).unwrap();
    // SAFETY: the tests order their streams themselves; that is what they are about.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().unwrap();
    (context, stream)
}

/// PTX with line information.
pub fn compile(source: &str) -> Ptx {
    let options = CompileOptions {
        arch: Some("compute_90"),
        options: vec!["--generate-line-info".into()],
        name: Some("test.cu".into()),
        ..CompileOptions::default()
    };
    compile_ptx_with_opts(source, options).unwrap()
}

/// The kernels of `kernels.cu`.
pub fn kernels(context: &Arc<CudaContext>) -> Arc<CudaModule> {
    context.load_module(compile(include_str!("kernels.cu"))).unwrap()
}

/// A kernel of `kernels.cu`.
pub fn kernel(context: &Arc<CudaContext>, name: &str) -> CudaFunction {
    kernels(context).load_function(name).unwrap()
}

/// Blocks of `threads` to cover `n` elements.
pub fn cover(n: usize, threads: u32) -> LaunchConfig {
    LaunchConfig {
        grid_dim: ((n as u32).div_ceil(threads), 1, 1),
        block_dim: (threads, 1, 1),
        shared_mem_bytes: 0,
    }
}

/// y = factor · x, for the first `n` elements.
pub fn launch_scale<Y: DevicePtrMut<f32>>(
    stream: &Arc<CudaStream>,
    scale: &CudaFunction,
    y: &mut Y,
    x: &CudaSlice<f32>,
    factor: f32,
    n: usize,
) {
    let (y, x, n) = (y.device_ptr_mut(stream).0, x.device_ptr(stream).0, n as i32);
    let mut launch = stream.launch_builder(scale);
    launch.arg(&y).arg(&x).arg(&factor).arg(&n);
    // SAFETY: the arguments are those of `scale`.
    unsafe { launch.launch(cover(n as usize, 256)) }.unwrap();
}

/// Numbers that are all different.
pub fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i as f32).mul_add(0.37, -20.0)).collect()
}

/// Each value times `factor`, rounded as on the GPU.
pub fn scaled(values: &[f32], factor: f32) -> Vec<f32> {
    values.iter().map(|value| value * factor).collect()
}
