//! Events: points in streams, to wait for and to take the time at.

use std::time::Instant;

use super::Driver;
use super::border::{Out, driver_calls};
use super::error::{CudaError, Failure, Result};
use super::graph::CapturedPoint;
use super::handles::Handle;
use super::operation::Operation;
use super::stream::{Point, Stream};

/// What an event stands for.
#[derive(Default)]
pub struct Event {
    /// The device it is of.
    pub device: usize,
    timing: bool,
    recorded: Recorded,
    reached_at: Option<Instant>,
}

/// The latest recording of an event.
#[derive(Clone, Default)]
enum Recorded {
    /// None: waiting for it is waiting for nothing.
    #[default]
    Never,
    /// In a stream.
    At(Point),
    /// In a stream that was being captured.
    Captured(CapturedPoint),
}

impl Driver {
    fn record_event(&mut self, handle: Handle<Event>, stream: Handle<Stream>) -> Result {
        self.usable()?;
        let stream = self.stream(stream)?;
        let (of_stream, of_event) = (self.streams.get(stream)?.device, self.events.get(handle)?.device);
        if of_stream != of_event {
            return Err(Failure::new(
                CudaError::InvalidHandle,
                format!(
                    "an event of device {of_event} cannot be recorded in a stream of device {of_stream}; waiting for it \
                     there is allowed"
                ),
            ));
        }
        if let Some(point) = self.captured_point(stream)? {
            self.events.get_mut(handle)?.recorded = Recorded::Captured(point);
            return Ok(());
        }
        let event = self.events.get_mut(handle)?;
        event.reached_at = None;
        event.recorded = Recorded::Never;
        self.submit(stream, Operation::Record(handle))?;
        let point = self.now(stream)?;
        self.events.get_mut(handle)?.recorded = Recorded::At(point);
        Ok(())
    }

    /// The stream got to a recording of the event.
    pub fn reach_event(&mut self, event: Handle<Event>) {
        let now = Instant::now() + self.lag;
        // The event may have been destroyed since; its streams go on.
        if let Ok(event) = self.events.get_mut(event) {
            event.reached_at = Some(now);
        }
    }

    /// Makes later work of `stream` wait for the latest recording of an event.
    pub fn wait_for_event(&mut self, stream: Handle<Stream>, event: Handle<Event>) -> Result {
        match self.events.get(event)?.recorded.clone() {
            Recorded::Captured(point) => self.join_capture(stream, point),
            Recorded::At(_) if self.streams.get(stream)?.capture.is_some() => {
                self.invalidate_capture(stream);
                Err(Failure::new(
                    CudaError::StreamCaptureIsolation,
                    "a stream being captured cannot wait for an event recorded outside the capture",
                ))
            }
            Recorded::At(point) if !self.reached(point) => self.submit(stream, Operation::Wait(point)),
            Recorded::At(_) | Recorded::Never => Ok(()),
        }
    }

    fn event_point(&self, event: Handle<Event>) -> Result<Option<Point>> {
        match &self.events.get(event)?.recorded {
            Recorded::Never => Ok(None),
            Recorded::At(point) => Ok(Some(*point)),
            Recorded::Captured(_) => Err(Failure::new(
                CudaError::CapturedEvent,
                "the event was recorded in a capture: it is a place in a graph, not a time",
            )),
        }
    }

    fn event_time(&self, handle: Handle<Event>) -> Result<Instant> {
        let event = self.events.get(handle)?;
        if !event.timing {
            return Err(Failure::new(CudaError::InvalidHandle, "the event was created without timing"));
        }
        match self.event_point(handle)? {
            None => Err(Failure::new(CudaError::InvalidHandle, "the event was never recorded")),
            Some(point) if !self.reached(point) => Err(Failure::new(CudaError::NotReady, "not reached yet")),
            Some(_) => event.reached_at.ok_or_else(|| Failure::new(CudaError::NotReady, "not reached yet")),
        }
    }

    fn milliseconds(&self, start: Handle<Event>, end: Handle<Event>) -> Result<f32> {
        let (start, end) = (self.event_time(start)?, self.event_time(end)?);
        let later = end.checked_duration_since(start);
        let seconds = later.map_or_else(|| -(start - end).as_secs_f32(), |time| time.as_secs_f32());
        Ok(seconds * 1e3)
    }
}

driver_calls! {
    /// Creates an event.
    fn cuEventCreate(driver, event: Out<Handle<Event>>, flags: u32) {
        const BLOCKING_SYNC: u32 = 1;
        const DISABLE_TIMING: u32 = 2;
        let device = driver.context()?;
        if flags & !(BLOCKING_SYNC | DISABLE_TIMING) != 0 {
            return Err(Failure::not_emulated(format!("event flags {flags:#x}")));
        }
        event.set(driver.events.insert(Event { device, timing: flags & DISABLE_TIMING == 0, ..Event::default() }))
    }

    /// Ends an event; streams already waiting for it still do.
    fn cuEventDestroy_v2(driver, event: Handle<Event>) {
        driver.events.remove(event).map(drop)
    }

    /// Makes the event stand for all work submitted to the stream so far.
    fn cuEventRecord(driver, event: Handle<Event>, stream: Handle<Stream>) {
        driver.record_event(event, stream)
    }

    /// Asks whether the event's work is done.
    fn cuEventQuery(driver, event: Handle<Event>) {
        driver.context()?;
        driver.refuse_unsafe_while_capturing("asking for an event")?;
        match driver.event_point(event)? {
            Some(point) => driver.poll(point),
            None => Ok(()),
        }
    }

    /// Waits for the event's work.
    fn cuEventSynchronize(driver, event: Handle<Event>) {
        driver.context()?;
        let point = driver.event_point(event)?;
        driver.refuse_unsafe_while_capturing("waiting for an event")?;
        if let Some(point) = point {
            driver.run_until(point);
        }
        driver.usable().map(drop)
    }

    /// Milliseconds from one event to another, by the name that drivers before CUDA 12.8 have.
    fn cuEventElapsedTime(driver, milliseconds: Out<f32>, start: Handle<Event>, end: Handle<Event>) {
        milliseconds.set(driver.milliseconds(start, end)?)
    }

    /// The same by the name of today.
    fn cuEventElapsedTime_v2(driver, milliseconds: Out<f32>, start: Handle<Event>, end: Handle<Event>) {
        milliseconds.set(driver.milliseconds(start, end)?)
    }
}
