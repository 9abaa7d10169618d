//! The work that streams and graphs hold, and how it is done.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::Driver;
use super::border::{HostPointer, in_host_function};
use super::device::check_presence;
use super::error::{Failure, Result};
use super::event::Event;
use super::graph::{Node, Nodes, order};
use super::handles::Handle;
use super::launch::KernelLaunch;
use super::stream::Point;
use crate::blas::matmul::Matmul;
use crate::nccl::collective::Collective;
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
    Graph(Nodes),
    /// Take part in what all ranks of a communicator do together.
    Collective(Arc<Collective>),
}

/// One operation as it is queued: graphs are unrolled.
pub struct Work {
    /// What to do.
    pub operation: Operation,
    /// Which node of a graph it is.
    pub node: Option<usize>,
}

/// How far an operation got.
pub enum Step {
    /// It is done.
    Done,
    /// It cannot be done yet.
    Waits,
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
    /// Adds the work of an operation, one by one, in the order in which a stream does it.
    pub fn unroll(&mut self, operation: Operation, node: Option<usize>, work: &mut Vec<Work>) -> Result {
        match operation {
            Operation::Graph(nodes) => {
                if self.trace {
                    eprintln!("emulated GPU:   {}", Operation::Graph(nodes.clone()));
                }
                self.unroll_graph(&nodes, work)
            }
            Operation::Collective(collective) => {
                let operation = Operation::Collective(self.nccl.number(&collective)?);
                work.push(Work { operation, node });
                Ok(())
            }
            operation => {
                work.push(Work { operation, node });
                Ok(())
            }
        }
    }

    fn unroll_graph(&mut self, nodes: &[Node], work: &mut Vec<Work>) -> Result {
        for index in order(nodes, self.schedule) {
            self.unroll(nodes[index].operation.clone(), Some(index), work)?;
        }
        Ok(())
    }

    /// Does one operation of a stream of a device, if it can be done yet.
    pub fn perform(&mut self, device: usize, operation: &Operation) -> Result<Step> {
        let memory = &mut self.devices[device].memory;
        match operation {
            Operation::Copy { to, from, bytes } => self.copy(device, to, from, *bytes)?,
            Operation::Fill { address, pattern, count } => memory.fill(*address, pattern, *count)?,
            Operation::Free { address } => memory.free(*address)?,
            Operation::Launch(launch) => {
                check_presence()?;
                launch.run(memory)?;
            }
            Operation::Matmul(matmul) => {
                matmul.run(memory)?;
                self.lag += matmul.lag();
            }
            Operation::HostFunction { function, data } => in_host_function(|| function(*data)),
            Operation::Record(event) => self.reach_event(*event),
            Operation::Wait(point) => {
                return Ok(if self.advance(*point) { Step::Done } else { Step::Waits });
            }
            Operation::Collective(collective) => return self.nccl.take_part(collective, memory),
            Operation::Graph(_) => unreachable!("graphs are unrolled when they are submitted"),
        }
        Ok(Step::Done)
    }

    /// Moves bytes, between devices too, on a stream of `device`.
    fn copy(&mut self, device: usize, to: &Place, from: &Place, bytes: usize) -> Result {
        match (to, from) {
            (Place::Device(to), Place::Device(from)) => {
                let copied = self.memory_at(*from, device).copied(*from, bytes)?;
                Ok(self.memory_at(*to, device).put(*to, &copied)?)
            }
            (Place::Device(to), from) => {
                Ok(self.memory_at(*to, device).write(*to, &from.host_bytes(bytes)?)?)
            }
            (Place::Host(to), Place::Device(from)) => {
                to.write(self.memory_at(*from, device).load(*from, bytes)?)
            }
            (to, from) => Err(Failure::not_emulated(format!("a copy from {from} to {to}"))),
        }
    }

    /// The memory that an address belongs to; that of `device` where there is none.
    pub fn memory_at(&mut self, address: u64, device: usize) -> &mut DeviceMemory {
        let owner = Some(DeviceMemory::device_of(address)).filter(|&owner| owner < self.devices.len());
        &mut self.devices[owner.unwrap_or(device)].memory
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
            Self::Collective(collective) => collective.fmt(formatter),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = self.node {
            write!(formatter, "node {node} of the graph, ")?;
        }
        self.operation.fmt(formatter)
    }
}
