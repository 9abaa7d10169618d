//! Groups: calls between `ncclGroupStart` and `ncclGroupEnd` of a thread count as one. Without them a thread that calls
//! for several ranks would wait in the first call for what it does in the second. A call outside is a group of its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem;

use super::bootstrap::{Joining, join};
use super::collective::Collective;
use super::communicator::Communicator;
use crate::driver::border::{Out, locked};
use crate::driver::error::{CudaError, Failure, Result};
use crate::driver::graph::Graph;
use crate::driver::handles::Handle;
use crate::driver::operation::Operation;
use crate::driver::stream::Stream;
use crate::driver::{Driver, Locked};

/// What a thread's group has gathered.
#[derive(Default)]
pub struct Group {
    depth: u32,
    /// Ranks to connect, and where the caller wants their handles.
    pub joining: Vec<(Joining, Out<Handle<Communicator>>)>,
    /// Collectives, and the streams they are for.
    pub collectives: Vec<(Collective, Handle<Stream>)>,
    /// The first call that was refused: then nothing of the group is done.
    failure: Option<Failure>,
}

thread_local! {
    static GROUP: RefCell<Group> = RefCell::default();
}

/// Begins a group, or one within it, which ends with it.
pub fn start() {
    GROUP.with_borrow_mut(|group| group.depth += 1);
}

/// Ends a group and does what it gathered.
pub fn end(call: &'static str) -> Result {
    let gathered = GROUP.with_borrow_mut(|group| match group.depth {
        0 => Err(Failure::new(CudaError::NotPermitted, "no group was started on this thread")),
        1 => Ok(Some(mem::take(group))),
        _ => {
            group.depth -= 1;
            Ok(None)
        }
    })?;
    let Some(Group { joining, collectives, failure, .. }) = gathered else { return Ok(()) };
    if let Some(failure) = failure {
        return Err(failure);
    }
    let (joining, places): (Vec<_>, Vec<_>) = joining.into_iter().unzip();
    let joined = join(joining)?;
    locked(call, |driver| {
        for (communicator, place) in joined.into_iter().zip(places) {
            place.set(driver.nccl.communicators.insert(communicator))?;
        }
        submit(driver, collectives)
    })
}

/// Adds to the group of this thread, or to one of its own.
pub fn add(call: &'static str, to: impl FnOnce(&mut Group) -> Result) -> Result {
    start();
    let added = GROUP.with_borrow_mut(|group| {
        to(group).inspect_err(|failure| {
            group.failure.get_or_insert_with(|| failure.clone());
        })
    });
    let ended = end(call);
    added.and(ended)
}

fn submit(driver: &mut Locked, collectives: Vec<(Collective, Handle<Stream>)>) -> Result {
    driver.check_captures(&collectives)?;
    for (collective, stream) in collectives {
        driver.submit_to(stream, Operation::Collective(collective.into()))?;
    }
    Ok(())
}

impl Driver {
    /// Refuses a group in which a communicator has streams that are captured, and others that are not, or into another
    /// graph.
    fn check_captures(&self, collectives: &[(Collective, Handle<Stream>)]) -> Result {
        let mut graphs: HashMap<u64, Option<Handle<Graph>>> = HashMap::new();
        for (collective, stream) in collectives {
            let graph = self.captured_point(*stream)?.map(|capture| capture.graph);
            if *graphs.entry(collective.communicator.number()).or_insert(graph) != graph {
                return Err(Failure::new(
                    CudaError::NotPermitted,
                    "the streams of a communicator in a group must all be captured into one graph, or none",
                ));
            }
        }
        Ok(())
    }
}
