//! One collective as a rank calls it: what it is given, and what is checked before it is accepted.

use std::fmt;
use std::sync::Arc;

use super::Objects;
use super::communicator::Communicator;
use super::reduction::{Element, Reduction, reduce};
use crate::driver::Driver;
use crate::driver::error::{CudaError, Failure, Result};
use crate::driver::handles::Handle;
use crate::driver::operation::Step;
use crate::ptx::DeviceMemory;

/// What ranks do together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All get the reduction of all.
    AllReduce,
    /// All get what the root has.
    Broadcast,
    /// The root gets the reduction of all.
    Reduce,
    /// All get what all have, one after another.
    AllGather,
    /// Each gets its share of the reduction of all.
    ReduceScatter,
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::AllReduce, Self::Broadcast, Self::Reduce, Self::AllGather, Self::ReduceScatter];
}

/// What all ranks must say alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// What is done.
    pub kind: Kind,
    /// How many elements, as the call counts them.
    pub count: u64,
    /// Their format.
    pub element: Element,
    /// How they become one, where they do.
    pub reduction: Option<Reduction>,
    /// The rank that gives or gets alone, where there is one.
    pub root: Option<u32>,
}

impl Call {
    /// Bytes of it as it is sent.
    pub const BYTES: usize = 15;
    const NONE: u8 = u8::MAX;
    const NO_ROOT: u32 = u32::MAX;

    /// As it is sent.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = self.kind as u8;
        bytes[1] = self.element as u8;
        bytes[2] = self.reduction.map_or(Self::NONE, |reduction| reduction as u8);
        bytes[3..7].copy_from_slice(&self.root.unwrap_or(Self::NO_ROOT).to_le_bytes());
        bytes[7..].copy_from_slice(&self.count.to_le_bytes());
        bytes
    }

    /// As it was sent.
    pub fn decode(bytes: [u8; Self::BYTES]) -> Option<Self> {
        let root = u32::from_le_bytes([bytes[3], bytes[4], bytes[5], bytes[6]]);
        Some(Self {
            kind: *Kind::ALL.get(usize::from(bytes[0]))?,
            element: Element::new(bytes[1].into()).ok()?,
            reduction: Reduction::new(bytes[2].into()).ok(),
            root: Some(root).filter(|&root| root != Self::NO_ROOT),
            count: u64::from_le_bytes(*bytes.last_chunk()?),
        })
    }

    /// Bytes that a rank of `size` gives, and that it gets.
    fn bytes(&self, rank: usize, size: usize) -> [usize; 2] {
        let one = (self.count as usize).saturating_mul(self.element.size());
        let all = one.saturating_mul(size);
        let at_root = |bytes| if self.root == Some(rank as u32) { bytes } else { 0 };
        match self.kind {
            Kind::AllReduce => [one, one],
            Kind::Broadcast => [at_root(one), one],
            Kind::Reduce => [one, at_root(one)],
            Kind::AllGather => [one, all],
            Kind::ReduceScatter => [all, one],
        }
    }

    /// What a rank gets of the parts of all.
    fn result(&self, parts: &[&[u8]], rank: usize) -> Vec<u8> {
        match (self.kind, self.reduction, self.root) {
            (Kind::Broadcast, _, Some(root)) => parts[root as usize].to_vec(),
            (Kind::Reduce, _, Some(root)) if root as usize != rank => Vec::new(),
            (Kind::ReduceScatter, Some(reduction), _) => {
                let share = parts[0].len() / parts.len();
                let shares: Vec<&[u8]> = parts.iter().map(|part| &part[rank * share..][..share]).collect();
                reduce(&shares, self.element, reduction)
            }
            (_, Some(reduction), _) => reduce(parts, self.element, reduction),
            (_, None, _) => parts.concat(),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, count, element, reduction, root } = self;
        write!(formatter, "{kind:?} of {count} x {element:?}")?;
        if let Some(reduction) = reduction {
            write!(formatter, " by {reduction:?}")?;
        }
        if let Some(root) = root {
            write!(formatter, " with root {root}")?;
        }
        Ok(())
    }
}

/// A collective of one rank.
#[derive(Clone)]
pub struct Collective {
    /// The rank's communicator.
    pub communicator: Handle<Communicator>,
    /// What is called.
    pub call: Call,
    /// The address of what the rank gives.
    pub send: u64,
    /// The address of what it gets.
    pub receive: u64,
    /// How many bytes it gives, and how many it gets.
    pub bytes: [usize; 2],
    /// Which of the communicator's collectives it is, counted from 0; known once a stream has it.
    pub sequence: u64,
}

impl fmt::Display for Collective {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "collective {} of communicator {}, {}", self.sequence, self.communicator, self.call)
    }
}

impl Driver {
    /// The collective that a call asks for, if its rank can take part in it.
    pub fn collective(
        &self,
        handle: Handle<Communicator>,
        call: Call,
        [send, receive]: [u64; 2],
    ) -> Result<Collective> {
        let communicator = self.nccl.communicators.get(handle)?;
        let (rank, size, device) = (communicator.rank, communicator.size, communicator.device);
        self.intact(device)?;
        if let Some(root) = call.root.filter(|&root| root as usize >= size) {
            return Err(Failure::invalid(format!("root {root} of {size} ranks")));
        }
        let bytes = call.bytes(rank, size);
        for (name, address, bytes) in [("send", send, bytes[0]), ("receive", receive, bytes[1])] {
            let owner = DeviceMemory::device_of(address);
            if bytes > 0 && owner != device && owner < self.devices.len() && address != 0 {
                return Err(Failure::invalid(format!(
                    "the {name} buffer {address:#x} is memory of device {owner}; rank {rank} is device {device}"
                )));
            }
            let room = self.devices[device].memory.allocation(address);
            let room = room.map_or(0, |(base, size)| base + size as u64 - address);
            if room < bytes as u64 {
                return Err(Failure::invalid(format!(
                    "the {name} buffer {address:#x} of rank {rank} has {room} bytes of device memory, {call} needs {bytes}"
                )));
            }
        }
        check_overlap(&call, rank, (send, bytes[0] as u64), (receive, bytes[1] as u64))?;
        Ok(Collective { communicator: handle, call, send, receive, bytes, sequence: 0 })
    }
}

/// Refuses buffers that overlap otherwise than in place: at the rank's own share of the larger one. A side of no bytes is one
/// that the call ignores.
fn check_overlap(call: &Call, rank: usize, send: (u64, u64), receive: (u64, u64)) -> Result {
    let apart =
        send.1 == 0 || receive.1 == 0 || send.0 + send.1 <= receive.0 || receive.0 + receive.1 <= send.0;
    let in_place = match call.kind {
        Kind::AllGather => send.0 == receive.0 + rank as u64 * send.1,
        Kind::ReduceScatter => receive.0 == send.0 + rank as u64 * receive.1,
        Kind::AllReduce | Kind::Broadcast | Kind::Reduce => send.0 == receive.0,
    };
    if apart || in_place {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "send and receive buffers of rank {rank} overlap, and not as in-place calls do"
    )))
}

impl Objects {
    /// The collective with its place among those of its communicator: the order in which streams are given them.
    pub fn number(&mut self, collective: &Collective) -> Result<Arc<Collective>> {
        let sequence = self.communicators.get_mut(collective.communicator)?.count();
        Ok(Arc::new(Collective { sequence, ..collective.clone() }))
    }

    /// Whether another rank has come to a collective.
    pub fn is_waited_for(&self, collective: &Collective) -> bool {
        let communicator = self.communicators.get(collective.communicator);
        communicator.is_ok_and(|communicator| communicator.is_waited_for(collective.sequence))
    }

    /// A stream has got to a collective: gives the rank's part and takes the result, if all parts are there.
    pub fn take_part(&mut self, collective: &Collective, memory: &mut DeviceMemory) -> Result<Step> {
        let Collective { call, send, receive, sequence, bytes: [given, got], .. } = collective;
        let (given, got) = (*given, *got);
        let Ok(communicator) = self.communicators.get_mut(collective.communicator) else {
            eprintln!(
                "emulated GPU: {collective}: the communicator was aborted: what it was to write is lost"
            );
            if got > 0 {
                memory.forget(*receive, got)?;
            }
            return Ok(Step::Done);
        };
        let rank = communicator.rank;
        if !communicator.has_given(*sequence) {
            let part = if given == 0 { [].into() } else { memory.load(*send, given)?.into() };
            communicator.give(*sequence, *call, part);
        }
        let Some(parts) = communicator.parts(*sequence, call)? else { return Ok(Step::Waits) };
        let parts: Vec<&[u8]> = parts.iter().map(|part| &*part.bytes).collect();
        if got > 0 {
            memory.write(*receive, &call.result(&parts, rank))?;
        }
        Ok(Step::Done)
    }

    /// Work on a device has failed: its ranks take no further part.
    pub fn device_failed(&mut self, device: usize) {
        for communicator in self.communicators.iter_mut().filter(|communicator| communicator.device == device)
        {
            communicator.leave("work on its device has failed");
        }
    }
}

/// What a rank calls, from NCCL's numbers; `None` where it has no element, which NCCL takes for no call at all.
pub fn call(
    kind: Kind,
    count: usize,
    element: u32,
    reduction: Option<u32>,
    root: Option<i32>,
) -> Result<Option<Call>> {
    let root = match root {
        Some(root) => Some(u32::try_from(root).map_err(|_| Failure::invalid(format!("root {root}")))?),
        None => None,
    };
    let reduction = reduction.map(Reduction::new).transpose()?;
    let call = Call { kind, count: count as u64, element: Element::new(element)?, reduction, root };
    Ok((count > 0).then_some(call))
}

/// A failure of ranks that do not fit each other.
pub fn mismatch(reason: String) -> Failure {
    Failure::new(CudaError::LaunchFailed, reason)
}
