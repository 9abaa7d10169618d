//! What happens where the system refuses what the standard library cannot do without, and panics for: random numbers, with which
//! hash tables begin, and a thread's second stack. A script would take that for a fault of the program.

use std::io::Write;
use std::panic;

use train::exit::ExitCode;
use train::run::signals::end_at_once;

use crate::allocation::REMEDIES;

/// How the standard library's message begins, what is told in its place, and how the program ends.
const REFUSALS: [(&str, &str, &str, ExitCode); 2] = [
    (
        "failed to generate random data",
        "the system gives no random numbers (getrandom is refused)",
        "allow that call where a filter of system calls (seccomp) forbids it; what was saved is safe",
        ExitCode::Device,
    ),
    ("failed to allocate an alternative stack", "not enough memory for a thread", REMEDIES, ExitCode::Memory),
];

/// From now on a refusal is told, with what to do, and ends the program with a code of its own. Nothing is lost that a kill at
/// that moment would not lose.
pub fn report() {
    let otherwise = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let message = panic.payload_as_str().unwrap_or_default();
        let Some((_, what, help, code)) = REFUSALS.iter().find(|(begin, ..)| message.starts_with(begin))
        else {
            return otherwise(panic);
        };
        let _ = writeln!(std::io::stderr(), "error: {what}\n  help: {help}");
        // Other threads may be at work.
        end_at_once(*code);
    }));
}
