//! What can be wrong with PTX text.

use thiserror::Error;

/// Why a module cannot be loaded. Every variant names the line of the PTX text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PtxError {
    /// The text is not PTX.
    #[error("PTX line {line}: expected {expected}, found `{found}`")]
    Syntax {
        /// Line of the PTX text, from 1.
        line: u32,
        /// What would have been right.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// PTX that this emulator has no model for; add it to `src/ptx/instructions` (see the README).
    #[error("PTX line {line}: {what} is not emulated: `{text}`")]
    Unsupported {
        /// Line of the PTX text, from 1.
        line: u32,
        /// The instruction, modifier or directive.
        what: String,
        /// The statement that uses it.
        text: String,
    },
    /// An instruction or declaration that breaks PTX's own rules.
    #[error("PTX line {line}: {reason}: `{text}`")]
    Invalid {
        /// Line of the PTX text, from 1.
        line: u32,
        /// Which rule.
        reason: String,
        /// The statement.
        text: String,
    },
}
