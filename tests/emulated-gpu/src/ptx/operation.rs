//! What an instruction is once decoded: a closure over register slots, or a change of control flow.

use std::fmt;

use super::fault::Trouble;
use super::registers::Slot;
use super::run::{Class, Machine};
use super::syntax::Origin;

/// What an instruction does to the lanes of a mask.
pub type Action = Box<dyn Fn(&mut Machine<'_>, u32) -> Result<(), Box<Trouble>> + Send + Sync>;

/// A decoded instruction.
#[derive(Debug)]
pub struct Instruction {
    /// Predicate register, and the value that lets a lane take part.
    pub guard: Option<(Slot, bool)>,
    pub operation: Operation,
    pub origin: Origin,
    /// The pipe it takes, for the counters.
    pub class: Class,
}

/// The ways in which an instruction concerns the lanes of a warp.
pub enum Operation {
    /// Each lane for itself, whenever it comes.
    Lanes(Action),
    /// The lanes named by `members` together: those that come first wait.
    Together { members: Members, action: Action },
    /// `bar.warp.sync`: as `Together`, but the lanes may stand at different instructions.
    WarpBarrier { members: Slot },
    /// A barrier of the block.
    Barrier(Barrier),
    /// Go on elsewhere.
    Branch(usize),
    /// Go on at the target that the register names.
    BranchIndexed { index: Slot, targets: Vec<usize> },
    /// Run a device function.
    Call(Box<Call>),
    /// Back to the caller, or the end of the kernel.
    Return,
    /// The end of the kernel.
    Exit,
}

/// Which lanes a warp-wide instruction waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Members {
    /// `.aligned`: every lane of the warp, none of which may have exited.
    All,
    /// Those of a mask; lanes that have exited are not waited for.
    Mask(Slot),
}

/// `bar.sync`, `bar.arrive`, `bar.red`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier {
    /// Which of the 16 barriers.
    pub index: Slot,
    /// How many threads meet; all of the block without it.
    pub threads: Option<Slot>,
    pub kind: BarrierKind,
}

/// What a barrier does besides counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarrierKind {
    /// Wait for the others.
    Sync,
    /// Go on at once.
    Arrive,
    /// Wait, and combine the predicate of all threads.
    Reduce { reduction: Reduction, target: Slot, predicate: Slot, negated: bool },
}

/// How `bar.red` combines predicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Into a word: how many are true.
    Count,
    /// Into a predicate: whether all are.
    And,
    /// Into a predicate: whether any is.
    Or,
}

/// A call of a device function. Parameters travel through local memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// First instruction of the function.
    pub target: usize,
    /// From the caller's variables to the function's parameters.
    pub arguments: Vec<Transfer>,
    /// From the function's return variable to the caller's.
    pub results: Vec<Transfer>,
}

/// Bytes to copy within local memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    pub from: usize,
    pub to: usize,
    pub size: usize,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Lanes(_) => "Lanes",
            Operation::Together { .. } => "Together",
            Operation::WarpBarrier { .. } => "WarpBarrier",
            Operation::Barrier(_) => "Barrier",
            Operation::Branch(_) => "Branch",
            Operation::BranchIndexed { .. } => "BranchIndexed",
            Operation::Call(_) => "Call",
            Operation::Return => "Return",
            Operation::Exit => "Exit",
        })
    }
}
