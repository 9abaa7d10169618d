//! The CUDA driver over host memory: the calls of `cuda.h` that this project makes, one file per area.
//!
//! All state is one [`Driver`] behind one lock ([`lock`]). Handles are numbers ([`handles`]), so nothing a caller passes is
//! followed before it is checked. What a call refuses, and what work on a stream does wrong, is written to stderr.

pub mod border;
pub mod context;
pub mod device;
pub mod error;
pub mod event;
pub mod graph;
pub mod handles;
pub mod launch;
pub mod lock;
pub mod memory;
pub mod module;
pub mod occupancy;
pub mod operation;
pub mod stream;

use std::env;
use std::sync::Arc;
use std::time::Duration;

use device::{Device, Limits};
use event::Event;
use graph::{Executable, Graph};
use handles::Handles;
pub use lock::Locked;
use memory::PinnedMemory;
use module::{Function, LoadedModule};
use stream::Stream;

use crate::ptx::DeviceMemory;
use crate::{blas, nccl};

/// Set to `late` to have streams run as late as the API allows; `eager` is the default.
pub const STREAMS: &str = "EMULATED_GPU_STREAMS";
/// The size of the device's memory in MiB; 4096 by default.
pub const MEMORY: &str = "EMULATED_GPU_MEMORY";
/// Set to `1` to have every call and every operation written to stderr.
pub const TRACE: &str = "EMULATED_GPU_TRACE";

/// When the work of streams is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Before the submitting call returns.
    Eager,
    /// When the API promises that it is done, and not before.
    Late,
}

/// The whole state of the emulated GPUs.
pub struct Driver {
    /// The devices that this process sees.
    pub devices: Vec<Device>,
    /// What each of them can do.
    pub limits: Limits,
    /// When the work of streams is done.
    pub schedule: Schedule,
    /// Whether calls and operations are written to stderr.
    pub trace: bool,
    /// Pinned host memory.
    pub pinned: PinnedMemory,
    /// The streams, the null stream among them.
    pub streams: Handles<Stream>,
    /// The events.
    pub events: Handles<Event>,
    /// The modules.
    pub modules: Handles<Arc<LoadedModule>>,
    /// The kernels that callers asked modules for.
    pub functions: Handles<Function>,
    /// The graphs, those being captured among them.
    pub graphs: Handles<Graph>,
    /// The graphs ready to launch.
    pub executables: Handles<Executable>,
    /// How much longer than here its work has taken on the device that is emulated.
    pub lag: Duration,
    /// What cuBLAS and cuBLASLt hold.
    pub blas: blas::Objects,
    /// What NCCL holds.
    pub nccl: nccl::Objects,
}

impl Driver {
    /// The settings are read once; a mistaken one stops the process, for nobody wants the default instead.
    fn from_environment() -> Self {
        let setting = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let schedule = match setting(STREAMS).as_deref() {
            None | Some("eager") => Schedule::Eager,
            Some("late") => Schedule::Late,
            Some(other) => refuse(STREAMS, other, "`eager` or `late`"),
        };
        let mebibytes = match setting(MEMORY) {
            None => 4096,
            Some(text) => text.parse().unwrap_or_else(|_| refuse(MEMORY, &text, "a number of MiB")),
        };
        let mut streams = Handles::new("stream", 0x5EA);
        let devices = device::visible_devices().into_iter().enumerate().map(|(index, physical)| Device {
            physical,
            memory: DeviceMemory::of_device(index, usize::saturating_mul(mebibytes, 1 << 20)),
            null_stream: streams.insert(Stream::null(index)),
            failed: None,
            retained: 0,
        });
        Self {
            devices: devices.collect(),
            limits: Limits::from_environment(),
            schedule,
            trace: setting(TRACE).is_some_and(|value| value != "0"),
            pinned: PinnedMemory::default(),
            streams,
            events: Handles::new("event", 0xE7E),
            modules: Handles::new("module", 0x30D),
            functions: Handles::new("function", 0xF0C),
            graphs: Handles::new("graph", 0x6AF),
            executables: Handles::new("executable graph", 0x6AE),
            lag: Duration::ZERO,
            blas: blas::Objects::default(),
            nccl: nccl::Objects::default(),
        }
    }

    /// Ends the context of a device: what it holds is gone, and a failure with it. Every address and handle is stale now.
    pub fn reset(&mut self, device: usize) {
        let Device { failed, memory, null_stream, .. } = &mut self.devices[device];
        *failed = None;
        memory.free_all();
        let null_stream = *null_stream;
        self.streams.retain(|stream, it| it.device != device || stream == null_stream);
        self.events.retain(|_, event| event.device != device);
        self.functions.retain(|_, function| function.module.device != device);
        self.modules.retain(|_, module| module.device != device);
        self.graphs.retain(|_, graph| graph.device != device);
        self.executables.retain(|_, executable| executable.device != device);
    }
}

fn refuse(name: &str, value: &str, expected: &str) -> ! {
    eprintln!("emulated GPU: {name}={value}: expected {expected}");
    std::process::abort()
}
