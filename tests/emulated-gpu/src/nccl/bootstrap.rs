//! How the ranks of a communicator find each other. A unique id is a name. Each rank listens at a socket whose name is
//! made of the id's and its number, in Linux's abstract namespace: nothing is left behind in the file system. It connects
//! to the ranks before it and is connected to by those behind it; each tells the other who it is.

use std::io::{self, ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::communicator::{Communicator, ranks};
use super::message::Greeting;
use super::{TIMEOUT, timeout};
use crate::driver::error::{CudaError, Failure, Result};

/// `ncclUniqueId`
#[derive(Clone, Copy)]
#[repr(C)]
pub struct UniqueId([u8; Self::BYTES]);

impl UniqueId {
    const BYTES: usize = 128;
    /// What every id begins with; the name follows, and zeros.
    const MARK: &[u8] = b"emulated NCCL ";

    /// One that no other process of this machine makes.
    pub fn unused() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("{}-{time:x}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut bytes = [0; Self::BYTES];
        for (place, &byte) in bytes.iter_mut().zip(Self::MARK.iter().chain(name.as_bytes())) {
            *place = byte;
        }
        Self(bytes)
    }

    fn name(&self) -> Result<String> {
        let name =
            self.0.strip_prefix(Self::MARK).map(|rest| rest.split(|&byte| byte == 0).next().unwrap_or(rest));
        name.and_then(|name| str::from_utf8(name).ok())
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| {
                Failure::invalid("the unique id does not come from ncclGetUniqueId, or was cut on its way")
            })
    }
}

/// A rank that is looking for the others.
pub struct Joining {
    name: String,
    device: usize,
    own: Greeting,
    listener: UnixListener,
    links: Vec<Link>,
}

/// How far a rank is connected with another.
enum Link {
    /// Not at all, or it is the rank itself.
    None,
    /// It has been greeted and has not answered.
    Greeted(UnixStream),
    /// It is known.
    Known(UnixStream),
}

impl Joining {
    /// Begins to listen. `gpu` is the machine's number of `device`.
    pub fn new(id: &UniqueId, rank: i32, size: i32, device: usize, gpu: usize) -> Result<Self> {
        if size < 1 || rank < 0 || rank >= size {
            return Err(Failure::invalid(format!("rank {rank} of {size}")));
        }
        let name = id.name()?;
        let own = Greeting { rank: rank as u32, size: size as u32, gpu: gpu as u32 };
        let listener = address(&name, own.rank).and_then(|address| UnixListener::bind_addr(&address));
        let listener = listener.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        let listener = listener.map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => not_permitted(format!("rank {rank} of this unique id is taken already")),
            _ => Failure::new(CudaError::Unknown, format!("the socket of rank {rank}: {error}")),
        })?;
        Ok(Self { name, device, own, listener, links: (0..size).map(|_| Link::None).collect() })
    }

    /// Connects with whoever is there, waiting for nobody; whether there was anybody.
    fn connect(&mut self) -> Result<bool> {
        let mut progress = false;
        for other in 0..self.own.rank {
            if let Link::None = self.links[other as usize]
                && let Ok(link) =
                    address(&self.name, other).and_then(|address| UnixStream::connect_addr(&address))
            {
                self.greet(&link, other)?;
                link.set_nonblocking(true).map_err(|error| broken(other, &error))?;
                self.links[other as usize] = Link::Greeted(link);
                progress = true;
            }
        }
        while let Ok((mut link, _)) = self.listener.accept() {
            // Whoever connects greets at once.
            let mut greeting = [0; Greeting::BYTES];
            let heard = link.set_nonblocking(false).and_then(|()| link.read_exact(&mut greeting));
            if heard.is_ok() {
                let other = Greeting::decode(greeting);
                self.greet(&link, other.rank)?;
                self.check(other)?;
                self.links[other.rank as usize] = Link::Known(link);
                progress = true;
            }
        }
        for other in 0..self.links.len() {
            let Link::Greeted(link) = &mut self.links[other] else { continue };
            let mut greeting = [0; Greeting::BYTES];
            match link.read(&mut greeting) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(Greeting::BYTES) => {
                    let link = link.try_clone().and_then(|link| link.set_nonblocking(false).map(|()| link));
                    self.check(Greeting::decode(greeting))?;
                    self.links[other] = Link::Known(link.map_err(|error| broken(other as u32, &error))?);
                    progress = true;
                }
                Ok(_) => return Err(left(other)),
                Err(error) => return Err(broken(other as u32, &error)),
            }
        }
        Ok(progress)
    }

    fn greet(&self, mut link: &UnixStream, other: u32) -> Result {
        link.write_all(&self.own.encode()).map_err(|error| broken(other, &error))
    }

    fn check(&self, other: Greeting) -> Result {
        let Greeting { rank, size, gpu } = self.own;
        if other.size != size || other.rank >= size {
            return Err(not_permitted(format!(
                "rank {rank} was told of {size} ranks, rank {} of {}",
                other.rank, other.size
            )));
        }
        if other.gpu == gpu {
            return Err(not_permitted(format!(
                "ranks {rank} and {} are both on device {gpu}: each needs one of its own",
                other.rank
            )));
        }
        Ok(())
    }

    fn missing(&self) -> Vec<usize> {
        let here =
            |other: usize| other == self.own.rank as usize || matches!(self.links[other], Link::Known(_));
        (0..self.links.len()).filter(|&other| !here(other)).collect()
    }

    fn joined(self) -> Result<Communicator> {
        let known = |link| match link {
            Link::Known(link) => Some(link),
            Link::None | Link::Greeted(_) => None,
        };
        let links = self.links.into_iter().map(known).collect();
        Communicator::new(self.device, self.own.rank as usize, links, self.listener)
    }
}

/// Connects each of several ranks of this thread with all others. Needs no lock of the driver: others may be threads of
/// this process.
pub fn join(mut joining: Vec<Joining>) -> Result<Vec<Communicator>> {
    const PAUSE: Duration = Duration::from_millis(1);
    // Since when nobody has come.
    let mut quiet = Instant::now();
    loop {
        for one in &mut joining {
            if one.connect()? {
                quiet = Instant::now();
            }
        }
        let Some((one, missing)) =
            joining.iter().map(|one| (one, one.missing())).find(|(_, missing)| !missing.is_empty())
        else {
            return joining.into_iter().map(Joining::joined).collect();
        };
        if quiet.elapsed() > timeout() {
            let reason = format!(
                "rank {} waits for {} of {}, which did not come to ncclCommInitRank within {} s ({TIMEOUT})",
                one.own.rank,
                ranks(&missing),
                one.own.size,
                timeout().as_secs_f64()
            );
            return Err(Failure::new(CudaError::LaunchTimeout, reason));
        }
        thread::sleep(PAUSE);
    }
}

fn address(name: &str, rank: u32) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("emulated-nccl-{name}-{rank}"))
}

fn not_permitted(reason: String) -> Failure {
    Failure::new(CudaError::NotPermitted, reason)
}

fn left(rank: usize) -> Failure {
    Failure::new(CudaError::LaunchTimeout, format!("rank {rank} left while the communicator was being made"))
}

fn broken(rank: u32, error: &io::Error) -> Failure {
    Failure::new(CudaError::LaunchTimeout, format!("the socket to rank {rank}: {error}"))
}
