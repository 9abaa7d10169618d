//! Streams: queues of work. Run eagerly, work is done before the call that submits it returns; run late, nothing is
//! done before the API promises that it is, so that a missing wait shows.

use std::collections::VecDeque;

use super::border::{Callback, HostPointer, Out, driver_calls};
use super::error::{CudaError, Failure, Result};
use super::event::Event;
use super::graph::Capture;
use super::handles::Handle;
use super::operation::Operation;
use super::{Driver, Schedule};

/// A queue of work.
#[derive(Default)]
pub struct Stream {
    /// Whether it waits for the null stream, and the null stream for it.
    blocking: bool,
    queue: VecDeque<Operation>,
    submitted: u64,
    completed: u64,
    /// Destroyed streams finish their work, as late as the others.
    destroyed: bool,
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
    pub fn null() -> Self {
        Self { blocking: true, ..Self::default() }
    }
}

impl Driver {
    /// The stream a caller means: the null stream has no handle of its own.
    pub fn stream(&self, handle: Handle<Stream>) -> Result<Handle<Stream>> {
        const LEGACY: u64 = 1;
        const PER_THREAD: u64 = 2;
        match handle.number() {
            0 | LEGACY => Ok(self.device.null_stream),
            PER_THREAD => Err(Failure::not_emulated("the per-thread default stream")),
            _ if self.streams.get(handle)?.destroyed => {
                Err(Failure::new(CudaError::InvalidHandle, format!("stream {handle} was destroyed")))
            }
            _ => Ok(handle),
        }
    }

    /// Puts work on a stream: into the graph if it is captured, else to be done at once or later.
    pub fn submit(&mut self, stream: Handle<Stream>, operation: Operation) -> Result {
        self.usable()?;
        let stream = self.stream(stream)?;
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

    /// Does a stream's work up to a point. After a failure the rest of the work is dropped, not done.
    pub fn run_until(&mut self, point: Point) {
        while !self.reached(point) && self.run_one(point.stream) {}
    }

    /// Does everything submitted to a stream.
    pub fn finish(&mut self, stream: Handle<Stream>) -> Result {
        self.run_until(self.now(stream)?);
        self.usable()
    }

    /// Does everything submitted to any stream.
    pub fn finish_all(&mut self) -> Result {
        for stream in self.streams.all() {
            self.run_until(self.now(stream)?);
            if self.streams.get(stream)?.destroyed {
                self.streams.remove(stream)?;
            }
        }
        self.usable()
    }

    /// The answer to a poll: ready, or not yet. Polling gets a late stream on by one operation, so that loops end.
    pub fn poll(&mut self, point: Point) -> Result {
        if !self.reached(point) {
            self.run_one(point.stream);
            return Err(Failure::new(CudaError::NotReady, "there is work left to do"));
        }
        self.usable()
    }

    fn push(&mut self, handle: Handle<Stream>, operation: Operation) -> Result {
        let stream = self.streams.get_mut(handle)?;
        stream.queue.push_back(operation);
        stream.submitted += 1;
        match self.schedule {
            Schedule::Eager => self.finish(handle),
            Schedule::Late => Ok(()),
        }
    }

    /// Does the first operation of a stream; whether there was one.
    fn run_one(&mut self, handle: Handle<Stream>) -> bool {
        let Some(operation) = self.streams.get_mut(handle).ok().and_then(|stream| stream.queue.pop_front())
        else {
            return false;
        };
        if self.device.failed.is_none()
            && let Err(failure) = self.perform(&operation)
        {
            eprintln!("emulated GPU: {operation} failed: {failure}");
            self.device.failed = Some(failure.code);
        }
        if let Ok(stream) = self.streams.get_mut(handle) {
            stream.completed += 1;
        }
        true
    }

    /// The null stream waits for all blocking streams, and they wait for it.
    fn order_with_null_stream(&mut self, stream: Handle<Stream>) -> Result {
        let null = self.device.null_stream;
        let others: Vec<_> = if stream == null {
            self.streams
                .iter()
                .filter(|(other, it)| *other != null && it.blocking)
                .map(|(other, _)| other)
                .collect()
        } else if self.streams.get(stream)?.blocking {
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
        self.context()?;
        if flags & !NON_BLOCKING != 0 {
            return Err(Failure::invalid(format!("stream flags {flags:#x}")));
        }
        Ok(self.streams.insert(Stream { blocking: flags & NON_BLOCKING == 0, ..Stream::default() }))
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
        if stream == driver.device.null_stream {
            return Err(Failure::new(CudaError::InvalidHandle, "the null stream cannot be destroyed"));
        }
        driver.refuse_while_capturing(stream, "destroying it")?;
        let idle = driver.reached(driver.now(stream)?);
        driver.streams.get_mut(stream)?.destroyed = true;
        if idle {
            driver.streams.remove(stream)?;
        }
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
        driver.poll(driver.now(stream)?)
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
