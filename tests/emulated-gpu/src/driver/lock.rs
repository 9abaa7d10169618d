//! The driver's lock, and waiting without it.
//!
//! A call holds the lock from its beginning to its end, but for the moments in which it waits for work that other ranks of
//! a communicator take part in: they may be threads of this process, which need the lock to come. What waits is
//! therefore a method of [`Locked`]; what only gets on as far as it can is one of [`Driver`].

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use super::border;
use super::error::Result;
use super::handles::Handle;
use super::stream::{Point, Stream};
use super::{Driver, Schedule};

static DRIVER: LazyLock<Mutex<Driver>> = LazyLock::new(|| Mutex::new(Driver::from_environment()));
/// Told whenever a stream may have got further than it could before.
static NEWS: Condvar = Condvar::new();
/// How many messages of other ranks have come: the one thing that is changed without the driver's lock.
static MESSAGES: Mutex<u64> = Mutex::new(0);
static MESSAGE: Condvar = Condvar::new();
/// How long to wait for news before looking whether a time is up.
const MOMENT: Duration = Duration::from_millis(100);

/// The driver as a call has it.
pub struct Locked(Option<MutexGuard<'static, Driver>>);

impl Deref for Locked {
    type Target = Driver;

    fn deref(&self) -> &Driver {
        self.0.as_ref().expect("taken only within `wait`")
    }
}

impl DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut Driver {
        self.0.as_mut().expect("taken only within `wait`")
    }
}

impl Locked {
    /// The driver of this process, locked.
    pub fn enter() -> Self {
        // A panic under the lock is kept in `border::guarded`, which lets nobody in afterwards.
        Self(Some(DRIVER.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Lets others have the driver until there is news, or for a moment.
    fn wait(&mut self) {
        self.0 = self.0.take().map(|guard| match NEWS.wait_timeout(guard, MOMENT) {
            Ok((guard, _)) => guard,
            Err(poisoned) => poisoned.into_inner().0,
        });
    }

    /// Does a stream's work up to a point. After a failure the rest of the work is dropped, not done.
    pub fn run_until(&mut self, point: Point) {
        while !self.advance(point) {
            self.wait();
        }
    }

    /// Does everything submitted to a stream.
    pub fn finish(&mut self, stream: Handle<Stream>) -> Result {
        let device = self.streams.get(stream)?.device;
        self.run_until(self.now(stream)?);
        self.intact(device)
    }

    /// Does everything submitted to any stream of a device.
    pub fn finish_device(&mut self, device: usize) -> Result {
        for stream in self.streams_of(device) {
            let Ok(point) = self.now(stream) else { continue };
            self.run_until(point);
            self.forget_if_destroyed(stream);
        }
        self.intact(device)
    }
}

/// A message of another rank has come. The work it lets go on is done by a thread that is started for it: whoever brings
/// messages must not wait for the driver, or those who send them with the driver's lock held would wait for each other.
pub fn message() {
    static START: Once = Once::new();
    START.call_once(|| drop(thread::spawn(get_on)));
    *MESSAGES.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    MESSAGE.notify_one();
}

fn get_on() {
    let mut seen = 0;
    loop {
        let mut messages = MESSAGES.lock().unwrap_or_else(PoisonError::into_inner);
        while *messages == seen {
            messages = MESSAGE.wait(messages).unwrap_or_else(PoisonError::into_inner);
        }
        seen = *messages;
        drop(messages);
        // What fails has been reported, and fails whoever waits for it.
        let _ = border::guarded("a message of another rank", |driver| {
            driver.get_on();
            Ok(())
        });
        NEWS.notify_all();
    }
}

impl Driver {
    /// Does what other ranks wait for, and, run eagerly, whatever can be done.
    fn get_on(&mut self) {
        for stream in self.streams.all() {
            match self.schedule {
                Schedule::Eager => drop(self.now(stream).map(|point| self.advance(point))),
                Schedule::Late => self.answer(stream),
            }
        }
    }
}
