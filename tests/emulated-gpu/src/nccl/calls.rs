//! The calls of NCCL.

use std::ffi::c_char;

use super::bootstrap::{Joining, UniqueId};
use super::collective::{Call, Kind, call};
use super::communicator::Communicator;
use super::group::{self, Group};
use super::{VERSION, last_error, nccl_calls, text_of};
use crate::driver::border::{Items, Out, locked};
use crate::driver::error::{Failure, Result};
use crate::driver::handles::Handle;
use crate::driver::operation::Operation;
use crate::driver::stream::Stream;
use crate::driver::{Driver, Locked};

/// Adds a collective to the group of this thread.
fn collective(
    name: &'static str,
    communicator: Handle<Communicator>,
    call: Option<Call>,
    buffers: [u64; 2],
    stream: Handle<Stream>,
) -> Result {
    group::add(name, |group: &mut Group| {
        let added = locked(name, |driver| {
            let device = driver.nccl.communicators.get(communicator)?.device;
            let stream = driver.stream_of(stream, Ok(device))?;
            let of_stream = driver.streams.get(stream)?.device;
            if of_stream != device {
                let reason = format!("a stream of device {of_stream} for a rank on device {device}");
                return Err(Failure::invalid(reason));
            }
            let Some(call) = call else { return Ok(None) };
            Ok(Some((driver.collective(communicator, call, buffers)?, stream)))
        })?;
        group.collectives.extend(added);
        Ok(())
    })
}

impl Driver {
    /// Begins to look for the other ranks, for one on a device of this process.
    fn joining(&self, id: &UniqueId, rank: i32, size: i32, device: usize) -> Result<Joining> {
        self.intact(device)?;
        Joining::new(id, rank, size, device, self.devices[device].physical)
    }

    /// Whether an operation is a collective of a communicator.
    fn is_of(communicator: Handle<Communicator>) -> impl Fn(&Operation) -> bool {
        move |operation| match operation {
            Operation::Collective(collective) => collective.communicator == communicator,
            _ => false,
        }
    }
}

impl Locked {
    /// Waits for all collectives of a communicator.
    fn finish_collectives(&mut self, communicator: Handle<Communicator>) -> Result {
        let device = self.nccl.communicators.get(communicator)?.device;
        for point in self.points(Driver::is_of(communicator)) {
            self.run_until(point);
        }
        self.intact(device)
    }
}

nccl_calls! {
    /// The version of NCCL.
    fn ncclGetVersion(_call, version: Out<i32>) {
        version.set(VERSION)
    }

    /// A name under which ranks find each other.
    fn ncclGetUniqueId(_call, id: Out<UniqueId>) {
        id.set(UniqueId::unused())
    }

    /// Makes the device of the current context a rank of a communicator; waits for all others.
    fn ncclCommInitRank(call, communicator: Out<Handle<Communicator>>, size: i32, id: UniqueId, rank: i32) {
        communicator.set(Handle::NULL)?;
        group::add(call, |group| {
            let joining = locked(call, |driver| driver.joining(&id, rank, size, driver.usable()?))?;
            group.joining.push((joining, communicator));
            Ok(())
        })
    }

    /// Makes several devices of this process the ranks of a communicator.
    fn ncclCommInitAll(call, communicators: Out<Handle<Communicator>>, size: i32, devices: Items<i32>) {
        communicators.set(Handle::NULL)?;
        let id = UniqueId::unused();
        group::add(call, |group| {
            if size < 1 {
                return Err(Failure::invalid(format!("a communicator of {size} ranks")));
            }
            let mut used = Vec::new();
            for rank in 0..size {
                let device = if devices.is_null() { rank } else { devices.get(rank as usize)? };
                if used.contains(&device) {
                    return Err(Failure::invalid(format!("device {device} is named twice")));
                }
                used.push(device);
                let joining = locked(call, |driver| driver.joining(&id, rank, size, driver.check_device(device)?))?;
                group.joining.push((joining, communicators.nth(rank as usize)));
            }
            Ok(())
        })
    }

    /// Waits for the rank's collectives.
    fn ncclCommFinalize(call, communicator: Handle<Communicator>) {
        locked(call, |driver| driver.finish_collectives(communicator))
    }

    /// Ends a rank once its collectives are done.
    fn ncclCommDestroy(call, communicator: Handle<Communicator>) {
        locked(call, |driver| {
            let finished = driver.finish_collectives(communicator);
            driver.nccl.communicators.remove(communicator)?.leave("it destroyed the communicator");
            finished
        })
    }

    /// Ends a rank at once: what its collectives were to write is lost.
    fn ncclCommAbort(call, communicator: Handle<Communicator>) {
        locked(call, |driver| {
            driver.nccl.communicators.remove(communicator)?.leave("it aborted the communicator");
            Ok(())
        })
    }

    /// What has failed since the last call, if anything has.
    fn ncclCommGetAsyncError(call, communicator: Handle<Communicator>, error: Out<u32>) {
        locked(call, |driver| error.set(driver.nccl.communicators.get(communicator)?.failed()))
    }

    /// How many ranks there are.
    fn ncclCommCount(call, communicator: Handle<Communicator>, count: Out<i32>) {
        locked(call, |driver| count.set(driver.nccl.communicators.get(communicator)?.size as i32))
    }

    /// The device of the rank.
    fn ncclCommCuDevice(call, communicator: Handle<Communicator>, device: Out<i32>) {
        locked(call, |driver| device.set(driver.nccl.communicators.get(communicator)?.device as i32))
    }

    /// The number of the rank.
    fn ncclCommUserRank(call, communicator: Handle<Communicator>, rank: Out<i32>) {
        locked(call, |driver| rank.set(driver.nccl.communicators.get(communicator)?.rank as i32))
    }

    /// Begins a group.
    fn ncclGroupStart(_call) {
        group::start();
        Ok(())
    }

    /// Ends a group and does its calls.
    fn ncclGroupEnd(call) {
        group::end(call)
    }

    /// All ranks get the reduction of all.
    fn ncclAllReduce(
        name,
        send: u64, receive: u64, count: usize, element: u32, reduction: u32,
        communicator: Handle<Communicator>, stream: Handle<Stream>,
    ) {
        let call = call(Kind::AllReduce, count, element, Some(reduction), None)?;
        collective(name, communicator, call, [send, receive], stream)
    }

    /// All ranks get what the root has.
    fn ncclBroadcast(
        name,
        send: u64, receive: u64, count: usize, element: u32, root: i32,
        communicator: Handle<Communicator>, stream: Handle<Stream>,
    ) {
        let call = call(Kind::Broadcast, count, element, None, Some(root))?;
        collective(name, communicator, call, [send, receive], stream)
    }

    /// The root gets the reduction of all.
    fn ncclReduce(
        name,
        send: u64, receive: u64, count: usize, element: u32, reduction: u32, root: i32,
        communicator: Handle<Communicator>, stream: Handle<Stream>,
    ) {
        let call = call(Kind::Reduce, count, element, Some(reduction), Some(root))?;
        collective(name, communicator, call, [send, receive], stream)
    }

    /// All ranks get what all have, in the order of ranks. `count` is what one has.
    fn ncclAllGather(
        name,
        send: u64, receive: u64, count: usize, element: u32,
        communicator: Handle<Communicator>, stream: Handle<Stream>,
    ) {
        let call = call(Kind::AllGather, count, element, None, None)?;
        collective(name, communicator, call, [send, receive], stream)
    }

    /// Each rank gets its share of the reduction of all. `count` is what one gets.
    fn ncclReduceScatter(
        name,
        send: u64, receive: u64, count: usize, element: u32, reduction: u32,
        communicator: Handle<Communicator>, stream: Handle<Stream>,
    ) {
        let call = call(Kind::ReduceScatter, count, element, Some(reduction), None)?;
        collective(name, communicator, call, [send, receive], stream)
    }
}

/// What a result code means.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name is NCCL's")]
pub extern "C" fn ncclGetErrorString(status: u32) -> *const c_char {
    text_of(status).as_ptr()
}

/// The reason of the last call or collective that failed, in any thread.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name is NCCL's")]
pub extern "C" fn ncclGetLastError(_communicator: Handle<Communicator>) -> *const c_char {
    last_error().as_ptr()
}
