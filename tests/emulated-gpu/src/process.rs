//! Tests that run in processes of their own: the variables of the emulated GPU are read once for each process, and work
//! that fails spoils the context of the whole process, as on a device.

use std::env;
use std::process::{Command, Output};

use crate::driver::STREAMS;
use crate::ptx::SEED;
use crate::setup;

/// Marks a process that was started to run one program.
const CHILD: &str = "EMULATED_GPU_TEST_CHILD";
/// Begins the line that says what a program found.
const RESULT: &str = "the program's result: ";

/// Environment variables and their values.
pub type Variables<'a> = &'a [(&'a str, &'a str)];

/// What a kernel must give the same bits under: work done at once and as late as promised, and three orders of blocks.
pub const SCHEDULES: [Variables<'static>; 3] = [
    &[(STREAMS, "eager"), (SEED, "0")],
    &[(STREAMS, "late"), (SEED, "1")],
    &[(STREAMS, "eager"), (SEED, "2")],
];

/// Runs `program` once for each of `schedules`, in a process of its own, and wants it to give the same every time. `test` is the name
/// of the test that calls. A real GPU has schedules of its own and runs it as often.
///
/// # Panics
/// If a process fails, or gives something else than the first.
pub fn same_under(test: &str, schedules: &[Variables<'_>], program: impl FnOnce() -> String) {
    if !setup::available() {
        return;
    }
    if env::var_os(CHILD).is_some() {
        println!("{RESULT}{}", program());
        return;
    }
    let results = schedules.iter().map(|variables| (variables, result(test, variables)));
    let results: Vec<_> = results.collect();
    for (variables, found) in &results {
        assert_eq!(found, &results[0].1, "under {variables:?}, and under {:?}", results[0].0);
    }
}

/// What the program of `test` gives under `variables`.
fn result(test: &str, variables: Variables<'_>) -> String {
    let text = output(test, variables, true);
    let found = text.lines().find_map(|line| line.split_once(RESULT));
    found.unwrap_or_else(|| panic!("`{test}` gave nothing under {variables:?}:\n{text}")).1.to_owned()
}

/// Runs a program in a process of its own and wants it to fail with each of `reports` in what it writes.
///
/// # Panics
/// If it does not.
pub fn fails(test: &str, variables: Variables<'_>, reports: &[&str], program: impl FnOnce()) {
    if setup::real() || !setup::available() {
        return;
    }
    if env::var_os(CHILD).is_some() {
        return program();
    }
    let text = output(test, variables, false);
    for report in reports {
        assert!(text.contains(report), "no `{report}` in:\n{text}");
    }
}

/// Runs a program in a process of its own, which must not fail, and has `look` look at what it writes.
///
/// # Panics
/// If it fails.
pub fn writes(test: &str, variables: Variables<'_>, look: impl FnOnce(&str), program: impl FnOnce()) {
    if setup::real() || !setup::available() {
        return;
    }
    if env::var_os(CHILD).is_some() {
        return program();
    }
    look(&output(test, variables, true));
}

fn output(test: &str, variables: Variables<'_>, succeeds: bool) -> String {
    let executable = env::current_exe().expect("a test has an executable");
    let mut command = Command::new(executable);
    if !setup::real() {
        // What a program keeps of its kernels is not the user's; of kernels compiled elsewhere no registers are known.
        command.env_remove("LD_LIBRARY_PATH").env("XDG_CACHE_HOME", "/dev/null");
    }
    let output: Output = command
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .envs(variables.iter().copied())
        .env("RUST_BACKTRACE", "0") // finding the lines takes longer than the program
        .output()
        .expect("a test can be started once more");
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(text.contains("running 1 test"), "no test is called `{test}`");
    assert_eq!(output.status.success(), succeeds, "{test} under {variables:?}:\n{text}");
    text
}
