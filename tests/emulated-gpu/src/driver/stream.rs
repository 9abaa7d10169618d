//! Streams: queues of work. Run eagerly, work is done before the call that submits it returns; run late, nothing is
//! done before the API promises that it is, so that a missing wait shows.

use std::collections::VecDeque;

use super::border::{Callback, HostPointer, Out, driver_calls};
use super::error::{CudaError, Failure, Result};
use super::event::Event;
use super::graph::Capture;
use super::handles::Handle;
use super::operation::{Operation, Step, Work};
use super::{Driver, Schedule};

/// A queue of work.
#[derive(Default)]
pub struct Stream {
    /// The device it is of.
    pub device: usize,
    /// Whether it waits for the null stream, and the null stream for it.
    blocking: bool,
    queue: VecDeque<Work>,
    submitted: u64,
    completed: u64,
    /// Destroyed streams finish their work, as late as the others.
    destroyed: bool,
    /// Its first operation is being done: it cannot be got on by what that operation waits for.
    busy: bool,
    /// What the stream's work is recorded into, while it is captured.
    pub capture: Option<Capture>,
}

/// A point in a stream: its first `sequence` operations.
#[derive(Clone, Copy)]
pub struct Point {
    /// The stream.
    pub stream: Handle<Stream>,
    /// How many of its operations.
    pub sequence: u64,
}

impl Stream {
    /// Whether it waits for the null stream, and the null stream for it.
    pub fn waits_for_null_stream(&self) -> bool {
        self.blocking
    }

    /// The stream behind the null handle.
    pub fn null(device: usize) -> Self {
        Self { device, blocking: true, ..Self::default() }
    }

    /// Whether there is nothing left to do.
    pub fn is_idle(&self) -> bool {
        self.completed == self.submitted
    }

    /// The last point up to which `wanted` work is queued.
    fn last(&self, handle: Handle<Self>, wanted: impl Fn(&Operation) -> bool) -> Option<Point> {
        let behind = self.queue.iter().rev().position(|work| wanted(&work.operation))?;
        Some(Point { stream: handle, sequence: self.submitted - behind as u64 })
    }
}

impl Driver {
    /// The stream a caller means: the null stream, which has no handle of its own, is that of the current device.
    pub fn stream(&self, handle: Handle<Stream>) -> Result<Handle<Stream>> {
        self.stream_of(handle, self.context())
    }

    /// As [`Driver::stream`], where the null stream is that of `device`.
    pub fn stream_of(&self, handle: Handle<Stream>, device: Result<usize>) -> Result<Handle<Stream>> {
        const LEGACY: u64 = 1;
        const PER_THREAD: u64 = 2;
        match handle.number() {
            0 | LEGACY => Ok(self.devices[device?].null_stream),
            PER_THREAD => Err(Failure::not_emulated("the per-thread default stream")),
            _ if self.streams.get(handle)?.destroyed => {
                Err(Failure::new(CudaError::InvalidHandle, format!("stream {handle} was destroyed")))
            }
            _ => Ok(handle),
        }
    }

    /// The streams of a device.
    pub fn streams_of(&self, device: usize) -> Vec<Handle<Stream>> {
        self.streams.iter().filter(|(_, it)| it.device == device).map(|(stream, _)| stream).collect()
    }

    /// Whether it is a device's null stream.
    pub fn is_null(&self, stream: Handle<Stream>) -> bool {
        self.devices.iter().any(|device| device.null_stream == stream)
    }

    /// Puts work on a stream: into the graph if it is captured, else to be done at once or later.
    pub fn submit(&mut self, stream: Handle<Stream>, operation: Operation) -> Result {
        self.usable()?;
        self.submit_to(self.stream(stream)?, operation)
    }

    /// As [`Driver::submit`], whatever device is current.
    pub fn submit_to(&mut self, stream: Handle<Stream>, operation: Operation) -> Result {
        self.intact(self.streams.get(stream)?.device)?;
        self.refuse_implicit_wait(stream)?;
        if self.streams.get(stream)?.capture.is_some() {
            return self.capture_operation(stream, operation);
        }
        self.order_with_null_stream(stream)?;
        self.push(stream, operation)
    }

    /// The point after everything submitted to a stream so far.
    pub fn now(&self, stream: Handle<Stream>) -> Result<Point> {
        Ok(Point { stream, sequence: self.streams.get(stream)?.submitted })
    }

    /// Whether all work before a point is done. A stream that is gone has done all its work.
    pub fn reached(&self, point: Point) -> bool {
        self.streams.get(point.stream).map_or(true, |stream| stream.completed >= point.sequence)
    }

    /// Does a stream's work up to a point, as far as can be without waiting for other ranks; whether it got there. After a
    /// failure the rest of the work is dropped, not done.
    pub fn advance(&mut self, point: Point) -> bool {
        while !self.reached(point) {
            if !self.run_one(point.stream) {
                return false;
            }
        }
        true
    }

    /// The answer to a poll: ready, or not yet. Polling gets a late stream on by one operation, so that loops end.
    pub fn poll(&mut self, point: Point) -> Result {
        if !self.reached(point) {
            self.run_one(point.stream);
            return Err(Failure::new(CudaError::NotReady, "there is work left to do"));
        }
        self.usable().map(drop)
    }

    /// Does a late stream's work up to what other ranks wait for: a device gets on by itself.
    pub fn answer(&mut self, handle: Handle<Stream>) {
        let nccl = &self.nccl;
        let wanted = |operation: &Operation| match operation {
            Operation::Collective(collective) => nccl.is_waited_for(collective),
            _ => false,
        };
        if let Ok(Some(point)) = self.streams.get(handle).map(|stream| stream.last(handle, wanted)) {
            self.advance(point);
        }
    }

    /// The points up to which streams hold work that `wanted` tells.
    pub fn points(&self, wanted: impl Fn(&Operation) -> bool) -> Vec<Point> {
        self.streams.iter().filter_map(|(handle, stream)| stream.last(handle, &wanted)).collect()
    }

    /// A stream that was destroyed and has done its work is gone.
    pub fn forget_if_destroyed(&mut self, stream: Handle<Stream>) {
        self.streams.retain(|it, state| it != stream || !(state.destroyed && state.is_idle()));
    }

    fn push(&mut self, handle: Handle<Stream>, operation: Operation) -> Result {
        let mut work = Vec::new();
        self.unroll(operation, None, &mut work)?;
        let stream = self.streams.get_mut(handle)?;
        let device = stream.device;
        stream.submitted += work.len() as u64;
        stream.queue.extend(work);
        match self.schedule {
            Schedule::Eager => drop(self.advance(self.now(handle)?)),
            Schedule::Late => self.answer(handle),
        }
        self.intact(device)
    }

    /// Does the first operation of a stream; whether there was one that could be done.
    fn run_one(&mut self, handle: Handle<Stream>) -> bool {
        let Ok(stream) = self.streams.get_mut(handle) else { return false };
        if stream.busy {
            return false;
        }
        let Some(work) = stream.queue.pop_front() else { return false };
        let device = stream.device;
        stream.busy = true;
        let step = match self.devices[device].failed {
            Some(_) => Step::Done,
            None => self.perform(device, &work.operation).unwrap_or_else(|failure| {
                eprintln!("emulated GPU: {work} failed: {failure}");
                self.devices[device].failed = Some(failure.code);
                self.nccl.device_failed(device);
                Step::Done
            }),
        };
        if self.trace && matches!(step, Step::Done) {
            eprintln!("emulated GPU:   {work}");
        }
        if let Ok(stream) = self.streams.get_mut(handle) {
            stream.busy = false;
            match step {
                Step::Done => stream.completed += 1,
                Step::Waits => stream.queue.push_front(work),
            }
        }
        matches!(step, Step::Done)
    }

    /// The null stream waits for all blocking streams, and they wait for it.
    fn order_with_null_stream(&mut self, stream: Handle<Stream>) -> Result {
        let Stream { device, blocking, .. } = *self.streams.get(stream)?;
        let null = self.devices[device].null_stream;
        let others: Vec<_> = if stream == null {
            self.streams
                .iter()
                .filter(|(other, it)| *other != null && it.device == device && it.blocking)
                .map(|(other, _)| other)
                .collect()
        } else if blocking {
            vec![null]
        } else {
            return Ok(());
        };
        for other in others {
            let point = self.now(other)?;
            if !self.reached(point) {
                self.push(stream, Operation::Wait(point))?;
            }
        }
        Ok(())
    }

    fn create_stream(&mut self, flags: u32) -> Result<Handle<Stream>> {
        const NON_BLOCKING: u32 = 1;
        let device = self.context()?;
        if flags & !NON_BLOCKING != 0 {
            return Err(Failure::invalid(format!("stream flags {flags:#x}")));
        }
        Ok(self.streams.insert(Stream { device, blocking: flags & NON_BLOCKING == 0, ..Stream::default() }))
    }
}

driver_calls! {
    /// Creates a stream.
    fn cuStreamCreate(driver, stream: Out<Handle<Stream>>, flags: u32) {
        stream.set(driver.create_stream(flags)?)
    }

    /// Creates a stream; priorities order nothing here.
    fn cuStreamCreateWithPriority(driver, stream: Out<Handle<Stream>>, flags: u32, _priority: i32) {
        stream.set(driver.create_stream(flags)?)
    }

    /// The range of priorities, lowest first.
    fn cuCtxGetStreamPriorityRange(driver, least: Out<i32>, greatest: Out<i32>) {
        driver.context()?;
        least.set_if_wanted(0);
        greatest.set_if_wanted(-5);
        Ok(())
    }

    /// Ends a stream once its work is done.
    fn cuStreamDestroy_v2(driver, stream: Handle<Stream>) {
        let stream = driver.stream(stream)?;
        if driver.is_null(stream) {
            return Err(Failure::new(CudaError::InvalidHandle, "the null stream cannot be destroyed"));
        }
        driver.refuse_while_capturing(stream, "destroying it")?;
        driver.streams.get_mut(stream)?.destroyed = true;
        driver.forget_if_destroyed(stream);
        Ok(())
    }

    /// Waits for a stream's work.
    fn cuStreamSynchronize(driver, stream: Handle<Stream>) {
        driver.context()?;
        let stream = driver.stream(stream)?;
        driver.refuse_while_capturing(stream, "waiting for it")?;
        driver.refuse_implicit_wait(stream)?;
        driver.finish(stream)
    }

    /// Asks whether a stream's work is done.
    fn cuStreamQuery(driver, stream: Handle<Stream>) {
        driver.context()?;
        let stream = driver.stream(stream)?;
        driver.refuse_while_capturing(stream, "asking whether it is done")?;
        driver.refuse_implicit_wait(stream)?;
        let point = driver.now(stream)?;
        driver.poll(point)
    }

    /// Makes a stream wait for an event as it is recorded now; later recordings do not count.
    fn cuStreamWaitEvent(driver, stream: Handle<Stream>, event: Handle<Event>, flags: u32) {
        driver.usable()?;
        if flags != 0 {
            return Err(Failure::not_emulated(format!("wait flags {flags:#x}")));
        }
        let stream = driver.stream(stream)?;
        driver.refuse_implicit_wait(stream)?;
        driver.wait_for_event(stream, event)
    }

    /// Calls a host function when the stream gets there.
    fn cuLaunchHostFunc(driver, stream: Handle<Stream>, function: Callback, data: HostPointer) {
        let function = function.get()?;
        driver.submit(stream, Operation::HostFunction { function, data })
    }
}
