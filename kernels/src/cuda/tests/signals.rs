//! Signals while NVRTC compiles.

use std::sync::mpsc::channel;
use std::thread;

use emulated_gpu::process::{Variables, writes};

use super::super::compile::Source;
use super::super::signals::{end_of_a_compiling_process, handler};
use super::Cuda;

/// NVRTC itself compiles, whatever it has compiled before.
const ANEW: Variables<'_> = &[("EMULATED_GPU_CACHE", "off")];

extern "C" fn informed(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// Installs a handler as signal-hook's, which is told of what caused the signal, and says where it is: a function may be in several
/// places of a program.
fn install(signal: libc::c_int) -> usize {
    let mut own = handler(signal);
    own.sa_sigaction = informed as *const () as usize;
    own.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    // SAFETY: the function does nothing.
    assert_eq!(unsafe { libc::sigaction(signal, &own, std::ptr::null_mut()) }, 0);
    own.sa_sigaction
}

/// Compiles something that takes a while to read, whatever lies on the disk.
fn compile() {
    let text: String =
        (0..200).map(|i| format!("KERNEL(nothing_{i}, 32)(float* x) {{ x[0] = {i}; }}\n")).collect();
    let source = Source { name: "long", text: &text, defines: Vec::new(), capability: (9, 0) };
    source.compiled().expect("it compiles");
}

/// In a process of its own, whose handlers these are.
fn alone(test: &str, program: impl FnOnce()) {
    let test = format!("cuda::tests::signals::{test}");
    let on_a_gpu = || {
        let _gpu = Cuda::new(0).expect("an emulated GPU"); // loads NVRTC
        program();
    };
    writes(&test, ANEW, |_| (), on_a_gpu);
}

#[test]
fn handlers_are_as_before_once_a_program_is_compiled() {
    alone("handlers_are_as_before_once_a_program_is_compiled", || {
        let signals = [libc::SIGINT, libc::SIGTERM, libc::SIGXFSZ];
        let places = signals.map(install);
        compile();
        for (signal, place) in signals.into_iter().zip(places) {
            let now = handler(signal);
            assert_eq!(now.sa_sigaction, place, "signal {signal}");
            assert_eq!(now.sa_flags & libc::SA_SIGINFO, libc::SA_SIGINFO, "signal {signal}");
        }
    });
}

/// As soon as NVRTC has taken a signal, it comes: the process ends as it was said, not as NVRTC does, with code 4.
#[test]
fn a_signal_that_nvrtc_took_ends_the_process_as_was_said() {
    fn end() -> ! {
        // SAFETY: ends the process, nothing else.
        unsafe { libc::_exit(0) }
    }
    alone("a_signal_that_nvrtc_took_ends_the_process_as_was_said", || {
        end_of_a_compiling_process(end);
        let place = install(libc::SIGTERM);
        let (done, is_done) = channel();
        let asker = thread::spawn(move || {
            while is_done.try_recv().is_err() {
                if handler(libc::SIGTERM).sa_sigaction != place {
                    // SAFETY: the process is this one.
                    unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
                    loop {
                        thread::park();
                    }
                }
            }
        });
        compile();
        done.send(()).expect("it listens");
        asker.join().expect("it ends");
        panic!("NVRTC did not take the signal, or nobody saw it");
    });
}
