//! What can go wrong while a kernel runs, and how it is reported.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::memory::device::MemoryError;
use super::syntax::{Origin, Space};

/// A kernel did something wrong; the launch has stopped there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kernel.
    pub kernel: Arc<str>,
    /// Where it happened, if it happened while a block ran.
    pub place: Option<Box<Place>>,
    /// What happened.
    pub trouble: Box<Trouble>,
}

/// Where a fault happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Block index.
    pub block: [u32; 3],
    /// Warp within the block.
    pub warp: usize,
    /// The instruction, with its PTX text and `.cu` line.
    pub instruction: Origin,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Trouble {
    /// Global memory that is not there, not alive or not written.
    #[error("global {access}, lane {lane}: {error}")]
    Global {
        /// What the lane wanted.
        access: Access,
        /// Lane of the warp.
        lane: usize,
        /// What is wrong with it.
        error: MemoryError,
    },
    /// Past the end of shared or local memory.
    #[error(
        "{space} {access} of {bytes} bytes at {address:#x}, lane {lane}: outside the {size} bytes there are"
    )]
    OutOfBounds {
        /// Which memory.
        space: Space,
        /// What the lane wanted.
        access: Access,
        /// First byte, within the space.
        address: u64,
        /// How many bytes.
        bytes: usize,
        /// Lane of the warp.
        lane: usize,
        /// Bytes of the memory.
        size: usize,
    },
    /// An address that is no multiple of the access size.
    #[error("misaligned {space} {access} of {bytes} bytes at {address:#x}, lane {lane}")]
    Misaligned {
        /// Which memory.
        space: Space,
        /// What the lane wanted.
        access: Access,
        /// First byte, within the space.
        address: u64,
        /// How many bytes.
        bytes: usize,
        /// Lane of the warp.
        lane: usize,
    },
    /// A byte that nothing wrote.
    #[error("uninitialised {space} byte {byte} is read, lane {lane}")]
    Uninitialised {
        /// Which memory.
        space: Space,
        /// The byte, within the space.
        byte: u64,
        /// Lane of the warp.
        lane: usize,
    },
    /// A byte whose copy has not been waited for.
    #[error("shared byte {byte} is touched, lane {lane}, while a copy to it is in flight, begun by {copy}")]
    InFlight {
        /// The byte, within the space.
        byte: usize,
        /// Lane of the warp.
        lane: usize,
        /// The instruction that began the copy.
        copy: Other,
    },
    /// Two warps, no barrier.
    #[error(
        "race: shared byte {byte} is {} here, lane {lane}, and was {} by warp {warp}, with no barrier between, by {other}",
        verb(*writes), verb(*wrote)
    )]
    Race {
        /// The byte, within the space.
        byte: usize,
        /// Lane of the warp.
        lane: usize,
        /// Whether the access at hand writes.
        writes: bool,
        /// The other warp.
        warp: usize,
        /// Whether the other access wrote.
        wrote: bool,
        /// The other instruction.
        other: Other,
    },
    /// Two lanes of one warp, which are two threads since Volta, and no `__syncwarp`.
    #[error(
        "race: shared byte {byte} is {} here, lane {lane}, and was {} by {} of the same warp, with no __syncwarp between, by {other}",
        verb(*writes), verb(*wrote), lane_or_several(*rival)
    )]
    LaneRace {
        /// The byte, within the space.
        byte: usize,
        /// Lane of the warp.
        lane: usize,
        /// Whether the access at hand writes.
        writes: bool,
        /// The other lane, if it was one.
        rival: Option<usize>,
        /// Whether the other access wrote.
        wrote: bool,
        /// The other instruction.
        other: Other,
    },
    /// Two warps touch global memory, in one block or in two, and nothing orders them.
    #[error(
        "race: global memory at {address:#x} is {} here, lane {lane}, and was {} by warp {warp} of block ({}, {}, {}) in the same launch, {}, by {other}",
        verb(*writes), verb(*wrote), block[0], block[1], block[2], missing(*constant)
    )]
    GlobalRace {
        /// The first byte.
        address: u64,
        /// Lane of the warp.
        lane: usize,
        /// Whether the access at hand writes.
        writes: bool,
        /// The other warp's block.
        block: [u32; 3],
        /// The other warp.
        warp: u32,
        /// Whether the other access wrote.
        wrote: bool,
        /// One of the two reads through the constant cache (`ld.global.nc`).
        constant: bool,
        /// The other instruction.
        other: Other,
    },
    /// A warp-wide instruction without some of its lanes.
    #[error("{0}")]
    Collective(String),
    /// Nobody can go on.
    #[error("deadlock: {0}")]
    Deadlock(String),
    /// A barrier is used wrongly.
    #[error("{0}")]
    Barrier(String),
    /// `assert` failed.
    #[error("assertion failed: {0}")]
    Assertion(String),
    /// `__trap()`.
    #[error("trap")]
    Trap,
    /// An operand has a value that the instruction does not allow.
    #[error("{0}")]
    Operand(String),
    /// The block ran for too long.
    #[error("still running after {0} warp instructions of one block: an endless loop?")]
    Endless(u64),
    /// A launch that the device refuses.
    #[error("{0}")]
    Launch(String),
}

/// What an instruction wants of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `ld`
    Load,
    /// `st`
    Store,
    /// `atom`, `red`
    Atomic,
    /// The source of `cp.async`.
    CopySource,
}

/// Another instruction that had a part in the trouble. The executor knows its index, the report its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Other {
    /// Index in the kernel's code.
    Index(u32),
    /// Text and line.
    Origin(Origin),
}

impl Trouble {
    /// The same, of another lane: for lanes that only give an address.
    pub(crate) fn with_lane(mut self: Box<Self>, at: usize) -> Box<Trouble> {
        if let Trouble::Global { lane, .. }
        | Trouble::OutOfBounds { lane, .. }
        | Trouble::Misaligned { lane, .. }
        | Trouble::Uninitialised { lane, .. }
        | Trouble::InFlight { lane, .. }
        | Trouble::Race { lane, .. }
        | Trouble::LaneRace { lane, .. } = &mut *self
        {
            *lane = at;
        }
        self
    }

    /// Replaces the index of the other instruction by what `origin` knows of it.
    pub(crate) fn resolve(mut self, origin: impl FnOnce(u32) -> Origin) -> Trouble {
        if let Trouble::InFlight { copy: other, .. }
        | Trouble::Race { other, .. }
        | Trouble::LaneRace { other, .. }
        | Trouble::GlobalRace { other, .. } = &mut self
            && let Other::Index(index) = *other
        {
            *other = Other::Origin(origin(index));
        }
        self
    }
}

fn lane_or_several(lane: Option<usize>) -> String {
    lane.map_or("several lanes".into(), |lane| format!("lane {lane}"))
}

/// What would have made two accesses to global memory sound.
fn missing(constant: bool) -> &'static str {
    if constant {
        "one of the two through the cache for constants (`const __restrict__`): what a kernel writes must not be read so"
    } else {
        "with nothing to order the two: no barrier if in one block, no fence and atomic behind it if in another"
    }
}

fn verb(writes: bool) -> &'static str {
    if writes { "written" } else { "read" }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Load => "load",
            Access::Store => "store",
            Access::Atomic => "atomic",
            Access::CopySource => "source of an asynchronous copy",
        })
    }
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Other::Index(index) => write!(f, "instruction {index}"),
            Other::Origin(origin) => origin.fmt(f),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.text)?;
        match &self.location {
            Some(location) => write!(f, " [{location}]"),
            None => write!(f, " [PTX line {}]", self.line),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel {}", self.kernel)?;
        if let Some(place) = &self.place {
            let Place { block: [x, y, z], warp, instruction } = &**place;
            write!(f, ", block ({x}, {y}, {z}), warp {warp}, {instruction}")?;
        }
        write!(f, ": {}", self.trouble)
    }
}

impl std::error::Error for Fault {}
