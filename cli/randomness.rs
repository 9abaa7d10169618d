//! What happens where the system gives no random numbers: the hash tables of the standard library begin with some, and panic
//! where `getrandom` is refused, as under a filter of system calls. A script would take that for a fault of the program.

use std::io::Write;
use std::panic;

use train::exit::ExitCode;

/// What the standard library says then.
const REFUSED: &str = "failed to generate random data";

/// From now on a refusal is told, with what to do, and ends with the code for what this machine does not have. Nothing is lost
/// that a kill at that moment would not lose.
pub fn tell_of_refusals() {
    let otherwise = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(REFUSED) {
            return otherwise(panic);
        }
        let _ = writeln!(
            std::io::stderr(),
            "error: the system gives no random numbers (getrandom is refused)\n  help: allow that call where a filter of \
             system calls (seccomp) forbids it; what was saved is safe"
        );
        std::process::exit(ExitCode::Device.code().into());
    }));
}
