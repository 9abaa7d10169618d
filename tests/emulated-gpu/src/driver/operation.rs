//! The work that streams and graphs hold, and how it is done.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::Driver;
use super::border::{HostPointer, in_host_function};
use super::error::{Failure, Result};
use super::event::Event;
use super::graph::Executable;
use super::handles::Handle;
use super::launch::KernelLaunch;
use super::stream::Point;
use crate::blas::matmul::Matmul;
use crate::ptx::DeviceMemory;

/// One piece of work of a stream.
#[derive(Clone)]
pub enum Operation {
    /// Move bytes.
    Copy {
        /// Where to.
        to: Place,
        /// Where from.
        from: Place,
        /// How many.
        bytes: usize,
    },
    /// Write `pattern` over and over.
    Fill {
        /// The first device address.
        address: u64,
        /// One, two or four bytes.
        pattern: Vec<u8>,
        /// How many times.
        count: usize,
    },
    /// Give memory back.
    Free {
        /// The device address it was allocated at.
        address: u64,
    },
    /// Run a kernel.
    Launch(Arc<KernelLaunch>),
    /// Multiply matrices.
    Matmul(Arc<Matmul>),
    /// Call the host.
    HostFunction {
        /// What to call.
        function: extern "C" fn(HostPointer),
        /// What to give it.
        data: HostPointer,
    },
    /// Note that an event is reached.
    Record(Handle<Event>),
    /// Go on only when another stream has got to a point.
    Wait(Point),
    /// Do the work of a graph.
    Graph(Executable),
}

/// One end of a copy.
#[derive(Clone)]
pub enum Place {
    /// Device memory.
    Device(u64),
    /// Host memory, read or written when the copy is done.
    Host(HostPointer),
    /// What host memory held when the copy was submitted: how the driver treats memory that is not pinned.
    Staged(Arc<[u8]>),
}

impl Driver {
    /// Does one operation.
    pub fn perform(&mut self, operation: &Operation) -> Result {
        if self.trace {
            eprintln!("emulated GPU:   {operation}");
        }
        let memory = &mut self.device.memory;
        match operation {
            Operation::Copy { to, from, bytes } => copy(memory, to, from, *bytes),
            Operation::Fill { address, pattern, count } => Ok(memory.fill(*address, pattern, *count)?),
            Operation::Free { address } => Ok(memory.free(*address)?),
            Operation::Launch(launch) => launch.run(memory),
            Operation::Matmul(matmul) => matmul.run(memory),
            Operation::HostFunction { function, data } => {
                in_host_function(|| function(*data));
                Ok(())
            }
            Operation::Record(event) => {
                self.reach_event(*event);
                Ok(())
            }
            Operation::Wait(point) => {
                self.run_until(*point);
                Ok(())
            }
            Operation::Graph(nodes) => self.perform_graph(nodes),
        }
    }
}

fn copy(memory: &mut DeviceMemory, to: &Place, from: &Place, bytes: usize) -> Result {
    match (to, from) {
        (Place::Device(to), Place::Device(from)) => Ok(memory.copy(*to, *from, bytes)?),
        (Place::Device(to), from) => Ok(memory.write(*to, &from.host_bytes(bytes)?)?),
        (Place::Host(to), Place::Device(from)) => to.write(memory.load(*from, bytes)?),
        (to, from) => Err(Failure::not_emulated(format!("a copy from {from} to {to}"))),
    }
}

impl Place {
    fn host_bytes(&self, bytes: usize) -> Result<Cow<'_, [u8]>> {
        match self {
            Self::Host(pointer) => pointer.read(bytes).map(Cow::Owned),
            Self::Staged(staged) => Ok(Cow::Borrowed(staged)),
            Self::Device(_) => Err(Failure::not_emulated("reading device memory as host memory")),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(address) => write!(formatter, "device memory {address:#x}"),
            Self::Host(pointer) => write!(formatter, "host memory {:#x}", pointer.address()),
            Self::Staged(_) => formatter.write_str("host memory as it was at the call"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy { to, from, bytes } => {
                write!(formatter, "a copy of {bytes} bytes from {from} to {to}")
            }
            Self::Fill { address, pattern, count } => {
                write!(formatter, "a fill of {} bytes at {address:#x}", pattern.len() * count)
            }
            Self::Free { address } => write!(formatter, "the free of {address:#x}"),
            Self::Launch(launch) => launch.fmt(formatter),
            Self::Matmul(matmul) => matmul.fmt(formatter),
            Self::HostFunction { .. } => formatter.write_str("a host function"),
            Self::Record(event) => write!(formatter, "the recording of event {event}"),
            Self::Wait(point) => {
                write!(formatter, "the wait for operation {} of stream {}", point.sequence, point.stream)
            }
            Self::Graph(nodes) => write!(formatter, "the launch of a graph of {} nodes", nodes.len()),
        }
    }
}
