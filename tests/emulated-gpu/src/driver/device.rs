//! The devices: what they say of themselves, and the state they hold. All are alike; streams, events, modules and
//! allocations belong to one of them.

use std::env;
use std::path::PathBuf;
use std::sync::LazyLock;

use super::Driver;
use super::border::{Out, driver_calls};
use super::error::{CudaError, Failure, Result};
use super::handles::Handle;
use super::occupancy::REGISTERS;
use super::stream::Stream;
use crate::ptx::DeviceMemory;

/// Most threads of a block.
pub const MAX_THREADS_PER_BLOCK: u32 = 1024;
/// Largest block in x, y and z.
pub const MAX_BLOCK: [u32; 3] = [1024, 1024, 64];
/// Largest grid in x, y and z.
pub const MAX_GRID: [u32; 3] = [i32::MAX as u32, 65535, 65535];
/// Shared memory a kernel may use without asking, in bytes.
pub const SHARED_MEMORY: u32 = 48 << 10;
/// The version of CUDA that the driver speaks, `13.0` by default; `stub` for a library that is none, but for linking.
pub const DRIVER: &str = "EMULATED_GPU_DRIVER";
const STUB: &str = "stub";
/// A path: once something is there, the next kernel finds the device lost.
pub const LOST: &str = "EMULATED_GPU_LOST_WHEN";
/// A path: once something is there, devices have no memory left, for buffers, for the code of kernels, for graphs.
pub const FULL: &str = "EMULATED_GPU_FULL_WHEN";

/// How many graphs a device has room for; any number if it is not set.
pub const GRAPHS: &str = "EMULATED_GPU_GRAPHS";

/// How many devices the machine has; 1 by default.
pub const DEVICES: &str = "EMULATED_GPU_DEVICES";
/// Most devices of a machine: as many as addresses tell apart ([`DeviceMemory::device_of`]), and more than any has.
const MOST_DEVICES: usize = 64;
/// Which of the machine's devices this process sees, by number and in this order, as for NVIDIA's driver.
const VISIBLE_DEVICES: &str = "CUDA_VISIBLE_DEVICES";
/// Sets the compute capability of the devices, and with it its limits: `8.0`, `8.6`, `8.9`, `9.0` (default), `10.0`, `12.0`.
pub const CAPABILITY: &str = "EMULATED_GPU_CAPABILITY";

/// What devices differ in. NVIDIA, "CUDA C++ Programming Guide", technical specifications per compute capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Compute capability, as 10 · major + minor.
    pub capability: u32,
    /// Shared memory a kernel may ask for, in bytes.
    pub shared_opt_in: u32,
    /// Shared memory of a multiprocessor, in bytes.
    pub shared_of_multiprocessor: u32,
    /// Shared memory the system takes from each block, in bytes.
    pub shared_reserved: u32,
    /// Threads a multiprocessor holds.
    pub threads_of_multiprocessor: u32,
    /// Blocks a multiprocessor holds.
    pub blocks_of_multiprocessor: u32,
    /// Multiprocessors of a well-known device of that capability.
    pub multiprocessors: u32,
    /// Its L2 cache, in bytes.
    pub cache: u32,
}

impl Limits {
    /// Those of a compute capability, if it is known.
    pub fn of(capability: u32) -> Option<Self> {
        // KiB a block may ask for, threads and blocks of a multiprocessor, multiprocessors, MiB of L2 cache.
        let (shared, threads, blocks, multiprocessors, cache) = match capability {
            80 => (163, 2048, 32, 108, 40),   // A100
            86 => (99, 1536, 16, 84, 6),      // A40
            89 => (99, 1536, 24, 142, 96),    // L40S
            90 => (227, 2048, 32, 132, 50),   // H100
            100 => (227, 2048, 32, 148, 126), // B200
            120 => (99, 1536, 24, 170, 96),   // RTX 5090
            _ => return None,
        };
        Some(Self {
            capability,
            shared_opt_in: shared << 10,
            shared_of_multiprocessor: (shared + 1) << 10,
            shared_reserved: 1 << 10,
            threads_of_multiprocessor: threads,
            blocks_of_multiprocessor: blocks,
            multiprocessors,
            cache: cache << 20,
        })
    }

    /// What the environment asks for; a mistaken setting stops the process, for nobody wants the default instead.
    pub fn from_environment() -> Self {
        let setting = std::env::var(CAPABILITY).unwrap_or_default();
        let text = if setting.is_empty() { "9.0" } else { &setting };
        let number = text.split_once('.').and_then(|(major, minor)| {
            Some(10 * major.parse::<u32>().ok()? + minor.parse::<u32>().ok().filter(|&minor| minor < 10)?)
        });
        number.and_then(Self::of).unwrap_or_else(|| {
            eprintln!("emulated GPU: {CAPABILITY}={setting}: expected 8.0, 8.6, 8.9, 9.0, 10.0 or 12.0");
            std::process::abort()
        })
    }
}

/// The version of CUDA that the driver speaks: 13000 is 13.0, 0 that of a stub. A mistaken setting stops the process.
pub fn driver_version() -> i32 {
    static VERSION: LazyLock<i32> = LazyLock::new(|| {
        let setting = env::var(DRIVER).unwrap_or_default();
        if setting == STUB {
            return 0;
        }
        let text = if setting.is_empty() { "13.0" } else { &setting };
        let version = text.split_once('.').and_then(|(major, minor)| {
            Some(
                1000 * major.parse::<i32>().ok()?
                    + 10 * minor.parse::<i32>().ok().filter(|minor| *minor < 10)?,
            )
        });
        version.unwrap_or_else(|| {
            eprintln!("emulated GPU: {DRIVER}={setting}: expected a version, as in 12.4");
            std::process::abort()
        })
    });
    *VERSION
}

/// Refuses work on a device that is to be lost by now.
pub fn check_presence() -> Result {
    static PATH: LazyLock<Option<PathBuf>> = LazyLock::new(|| env::var_os(LOST).map(PathBuf::from));
    match &*PATH {
        Some(path) if path.exists() => {
            Err(Failure::new(CudaError::LaunchFailed, format!("the device is lost ({LOST})")))
        }
        _ => Ok(()),
    }
}

/// Whether nothing is to be had of a device's memory any more.
pub fn is_full() -> bool {
    static PATH: LazyLock<Option<PathBuf>> = LazyLock::new(|| env::var_os(FULL).map(PathBuf::from));
    PATH.as_ref().is_some_and(|path| path.exists())
}

/// Refuses what needs memory of a device that has none left.
pub fn check_room() -> Result {
    match is_full() {
        true => Err(Failure::new(CudaError::OutOfMemory, format!("the device has no memory left ({FULL})"))),
        false => Ok(()),
    }
}

/// Refuses a graph on a device that has room for no more than there are.
pub fn check_room_for_graph(there: usize) -> Result {
    static SETTING: LazyLock<String> = LazyLock::new(|| env::var(GRAPHS).unwrap_or_default());
    let most = match SETTING.as_str() {
        "" => return Ok(()),
        number => number
            .parse::<usize>()
            .map_err(|_| Failure::invalid(format!("{GRAPHS} is `{number}`: a number of graphs")))?,
    };
    match there < most {
        true => Ok(()),
        false => {
            let reason = format!("there is no room for more than {most} graphs ({GRAPHS})");
            Err(Failure::new(CudaError::OutOfMemory, reason))
        }
    }
}

/// One device with its primary context.
pub struct Device {
    /// Which of the machine's devices it is, whatever its number in this process.
    pub physical: usize,
    /// All device memory.
    pub memory: DeviceMemory,
    /// The stream behind the null handle.
    pub null_stream: Handle<Stream>,
    /// The first failure of work on the device. Like a real context, the device does nothing more after it.
    pub failed: Option<CudaError>,
    /// How often the primary context is retained.
    pub retained: usize,
}

/// The machine's devices that this process sees; a mistaken setting stops the process.
pub fn visible_devices() -> Vec<usize> {
    let setting = env::var(DEVICES).unwrap_or_default();
    let text = if setting.is_empty() { "1" } else { &setting };
    let Some(count) = text.parse().ok().filter(|&count| count <= MOST_DEVICES) else {
        eprintln!("emulated GPU: {DEVICES}={setting}: expected a number up to {MOST_DEVICES}");
        std::process::abort()
    };
    match env::var(VISIBLE_DEVICES) {
        Ok(list) => seen(count, &list),
        Err(_) => (0..count).collect(),
    }
}

/// Those of `count` devices that a list names, up to the first entry that names none.
fn seen(count: usize, list: &str) -> Vec<usize> {
    let numbers = list.split(',').map(|entry| entry.trim().parse().ok().filter(|&number| number < count));
    numbers.take_while(Option::is_some).flatten().collect()
}

impl Driver {
    /// The index of a device; refuses ordinals that do not exist.
    pub fn check_device(&self, device: i32) -> Result<usize> {
        let count = self.devices.len();
        usize::try_from(device).ok().filter(|&device| device < count).ok_or_else(|| {
            let reason = format!("device {device}: there are {count}, the first is 0 ({DEVICES})");
            Failure::new(CudaError::InvalidDevice, reason)
        })
    }
}

/// A device attribute: those that a kernel's launch depends on.
fn attribute(limits: &Limits, number: u32) -> Option<u32> {
    Some(match number {
        1 => MAX_THREADS_PER_BLOCK,
        2..=4 => MAX_BLOCK[number as usize - 2],
        5..=7 => MAX_GRID[number as usize - 5],
        8 => SHARED_MEMORY,
        9 => 64 << 10,        // constant memory
        10 => 32,             // lanes of a warp
        12 | 82 => REGISTERS, // of a block, of a multiprocessor
        13 => 1_980_000,      // clock, kHz
        16 => limits.multiprocessors,
        18 => 0,         // integrated
        31 => 1,         // concurrent kernels
        36 => 2_619_000, // memory clock, kHz
        37 => 5120,      // memory bus, bits
        38 => limits.cache,
        39 => limits.threads_of_multiprocessor,
        40 => 3, // copy engines
        41 => 1, // unified addressing
        75 => limits.capability / 10,
        76 => limits.capability % 10,
        78 => 1, // stream priorities
        81 => limits.shared_of_multiprocessor,
        83 | 88 | 89 => 0, // managed memory, access to pageable memory
        95 => 0,           // cooperative launch
        97 => limits.shared_opt_in,
        106 => limits.blocks_of_multiprocessor,
        111 => limits.shared_reserved,
        115 => 1, // memory pools
        _ => return None,
    })
}

driver_calls! {
    /// Starts the driver.
    fn cuInit(_driver, flags: u32) {
        if flags != 0 {
            return Err(Failure::invalid("cuInit takes no flags"));
        }
        Ok(())
    }

    /// The version of CUDA.
    fn cuDriverGetVersion(_driver, version: Out<i32>) {
        if driver_version() == 0 {
            return Err(Failure::new(CudaError::StubLibrary, format!("this is a stub ({DRIVER}={STUB})")));
        }
        version.set(driver_version())
    }

    /// How many devices there are.
    fn cuDeviceGetCount(driver, count: Out<i32>) {
        count.set(driver.devices.len() as i32)
    }

    /// Whether kernels of a device may touch memory of another: no. Copies between them need no such access.
    fn cuDeviceCanAccessPeer(driver, access: Out<i32>, device: i32, peer: i32) {
        driver.check_device(device)?;
        driver.check_device(peer)?;
        access.set(0)
    }

    /// The device of an ordinal.
    fn cuDeviceGet(driver, device: Out<i32>, ordinal: i32) {
        driver.check_device(ordinal)?;
        device.set(ordinal)
    }

    /// The name of a device.
    fn cuDeviceGetName(driver, name: Out<u8>, length: i32, device: i32) {
        const NAME: &[u8] = b"Emulated GPU\0";
        driver.check_device(device)?;
        if (length as usize) < NAME.len() {
            return Err(Failure::invalid(format!("no room for a name in {length} bytes")));
        }
        name.set_all(NAME)
    }

    /// The identity of a device.
    fn cuDeviceGetUuid_v2(driver, uuid: Out<[u8; 16]>, device: i32) {
        let device = driver.check_device(device)?;
        let mut name = *b"emulated gpu 000";
        name[14..].copy_from_slice(format!("{:02}", driver.devices[device].physical).as_bytes());
        uuid.set(name)
    }

    /// The memory of a device, in bytes.
    fn cuDeviceTotalMem_v2(driver, bytes: Out<usize>, device: i32) {
        let device = driver.check_device(device)?;
        bytes.set(driver.devices[device].memory.capacity())
    }

    /// An attribute of a device.
    fn cuDeviceGetAttribute(driver, value: Out<u32>, number: u32, device: i32) {
        driver.check_device(device)?;
        value.set(attribute(&driver.limits, number).ok_or_else(|| Failure::not_emulated(format!("device attribute {number}")))?)
    }

    /// NVRTC asks for the driver's private tables when it finds one; there are none.
    fn cuGetExportTable(_driver, table: Out<u64>, _id: u64) {
        table.set_if_wanted(0);
        Err(Failure::new(CudaError::NotFound, "there are no private tables"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_devices_ends_at_the_first_that_is_none() {
        assert_eq!(seen(4, "2, 0"), [2, 0]);
        assert_eq!(seen(4, "1,4,0"), [1]);
        assert_eq!(seen(4, ""), [0; 0]);
        assert_eq!(seen(2, "-1"), [0; 0]);
    }
}
