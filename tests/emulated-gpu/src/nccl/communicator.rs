//! A rank of a communicator: its sockets to the others, and what has come from them.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use super::collective::{Call, mismatch};
use super::message::{Message, Part};
use super::{INVALID_USAGE, REMOTE_ERROR, SUCCESS, Status, TIMEOUT, timeout};
use crate::driver::error::{CudaError, Failure, Result};
use crate::driver::lock;

/// One rank of a communicator.
pub struct Communicator {
    /// The device that the rank is.
    pub device: usize,
    /// Its number.
    pub rank: usize,
    /// How many ranks there are.
    pub size: usize,
    /// To each other rank; none at its own place.
    links: Vec<Option<UnixStream>>,
    inbox: Arc<Mutex<Inbox>>,
    /// How many collectives streams were given.
    counted: u64,
    /// What `ncclCommGetAsyncError` answers.
    failed: Status,
    /// Whether the others know that it takes no further part.
    left: bool,
    /// Keeps the rank's name taken.
    _listener: UnixListener,
}

/// What has come, the rank's own parts too.
struct Inbox {
    rank: usize,
    meetings: BTreeMap<u64, Meeting>,
    /// For each rank that takes no further part, why.
    gone: Vec<Option<String>>,
}

/// A collective that is not done yet.
struct Meeting {
    /// By rank.
    parts: Vec<Option<Part>>,
    /// Since when this rank has been waiting.
    since: Option<Instant>,
}

impl Inbox {
    fn meeting(&mut self, sequence: u64) -> &mut Meeting {
        let size = self.gone.len();
        self.meetings.entry(sequence).or_insert_with(|| Meeting { parts: vec![None; size], since: None })
    }
}

impl Communicator {
    /// A rank that is connected with all others.
    pub fn new(
        device: usize,
        rank: usize,
        links: Vec<Option<UnixStream>>,
        listener: UnixListener,
    ) -> Result<Self> {
        let size = links.len();
        let inbox = Arc::new(Mutex::new(Inbox { rank, meetings: BTreeMap::new(), gone: vec![None; size] }));
        for (from, link) in links.iter().enumerate() {
            let Some(link) = link else { continue };
            // Who takes nothing in is noticed as one who gives nothing.
            let link =
                link.set_write_timeout(Some(timeout())).and_then(|()| link.try_clone()).map_err(|error| {
                    Failure::new(CudaError::Unknown, format!("the socket to rank {from}: {error}"))
                })?;
            let inbox = inbox.clone();
            thread::spawn(move || receive(&link, from, &inbox));
        }
        let (counted, failed, left) = (0, SUCCESS, false);
        Ok(Self { device, rank, size, links, inbox, counted, failed, left, _listener: listener })
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a stream's next collective.
    pub fn count(&mut self) -> u64 {
        self.counted += 1;
        self.counted - 1
    }

    /// What has failed since, if anything has.
    pub fn failed(&self) -> Status {
        self.failed
    }

    /// Whether another rank has come to a collective.
    pub fn is_waited_for(&self, sequence: u64) -> bool {
        let inbox = self.inbox();
        let meeting = inbox.meetings.get(&sequence);
        meeting.is_some_and(|meeting| meeting.parts.iter().any(Option::is_some))
    }

    /// Whether the rank has given its part of a collective.
    pub fn has_given(&self, sequence: u64) -> bool {
        self.inbox().meetings.get(&sequence).is_some_and(|meeting| meeting.parts[self.rank].is_some())
    }

    /// Gives the rank's part to all.
    pub fn give(&self, sequence: u64, call: Call, bytes: Arc<[u8]>) {
        let part = Part { call, bytes };
        let message = Message::Part { sequence, part: part.clone() };
        self.send(&message);
        let mut inbox = self.inbox();
        let meeting = inbox.meeting(sequence);
        meeting.parts[self.rank] = Some(part);
        meeting.since = Some(Instant::now());
    }

    /// The parts of all ranks, once they are there. Fails where they do not fit, or one will not come.
    pub fn parts(&mut self, sequence: u64, call: &Call) -> Result<Option<Vec<Part>>> {
        let outcome = self.inbox().parts(sequence, call);
        outcome.map_err(|(status, failure)| {
            self.failed = status;
            self.leave(&failure.reason);
            failure
        })
    }

    /// Tells the others that the rank takes no further part.
    pub fn leave(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.left, true) {
            self.send(&Message::Leaving(reason.to_owned()));
        }
    }

    /// A rank that is gone has ended its receiving ends; that is noticed where its part is missed.
    fn send(&self, message: &Message) {
        for link in self.links.iter().flatten() {
            let _ = message.send(link);
        }
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        for link in self.links.iter().flatten() {
            let _ = link.shutdown(Shutdown::Both);
        }
    }
}

impl Inbox {
    fn parts(&mut self, sequence: u64, call: &Call) -> Result<Option<Vec<Part>>, (Status, Failure)> {
        let rank = self.rank;
        let Self { gone, .. } = self;
        let Some(meeting) = self.meetings.get_mut(&sequence) else { return Ok(None) };
        for (other, part) in meeting.parts.iter().enumerate() {
            if let Some(part) = part
                && part.call != *call
            {
                let reason = format!("rank {rank} calls {call}, rank {other} calls {}", part.call);
                return Err((INVALID_USAGE, mismatch(reason)));
            }
        }
        let missing: Vec<usize> =
            (0..meeting.parts.len()).filter(|&other| meeting.parts[other].is_none()).collect();
        if missing.is_empty() {
            let meeting = self.meetings.remove(&sequence);
            return Ok(meeting.map(|meeting| meeting.parts.into_iter().flatten().collect()));
        }
        if let Some((other, reason)) = missing.iter().find_map(|&other| Some((other, gone[other].as_ref()?)))
        {
            let reason = format!("rank {other} of {} takes no further part: {reason}", gone.len());
            return Err((REMOTE_ERROR, mismatch(reason)));
        }
        if meeting.since.is_some_and(|since| since.elapsed() > timeout()) {
            let reason = format!(
                "{} of {} did not come within {} s ({TIMEOUT}); a thread that calls for several ranks needs \
                 ncclGroupStart and ncclGroupEnd around the calls",
                ranks(&missing),
                gone.len(),
                timeout().as_secs_f64()
            );
            return Err((REMOTE_ERROR, Failure::new(CudaError::LaunchTimeout, reason)));
        }
        Ok(None)
    }
}

/// Several ranks, as a sentence names them.
pub fn ranks(numbers: &[usize]) -> String {
    let names: Vec<String> = numbers.iter().map(usize::to_string).collect();
    format!("rank{} {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))
}

/// Takes in what a rank sends, until it is gone. Never waits for the driver: see [`lock::message`].
fn receive(link: &UnixStream, from: usize, inbox: &Mutex<Inbox>) {
    loop {
        let message = Message::receive(link);
        let ended = message.is_none();
        {
            let mut inbox = inbox.lock().unwrap_or_else(PoisonError::into_inner);
            match message {
                Some(Message::Part { sequence, part }) => {
                    inbox.meeting(sequence).parts[from] = Some(part);
                }
                Some(Message::Leaving(reason)) => inbox.gone[from] = Some(reason),
                None => {
                    inbox.gone[from].get_or_insert_with(|| "its process has ended".into());
                }
            }
        }
        lock::message();
        if ended {
            return;
        }
    }
}
