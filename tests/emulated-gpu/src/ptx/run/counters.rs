//! What a launch asks of the hardware: instructions by the pipe they take, and traffic of memory as hardware would have it.

use std::collections::HashMap;

use super::super::registers::LANES;

/// The pipes of a multiprocessor, and what else instructions wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Arithmetic in `f32`.
    Float,
    /// Integers, logic, comparisons.
    Integer,
    /// Moves, which the compiler mostly removes.
    Move,
    /// Conversions between formats.
    Convert,
    /// Approximate functions.
    Special,
    /// Arithmetic in `f64`.
    Double,
    /// Packed halves.
    Half,
    /// Loads and stores of global memory, and asynchronous copies from it.
    Global,
    /// Loads and stores of shared memory, those of matrices too.
    Shared,
    /// Local memory and parameters.
    Local,
    /// Atomics.
    Atomic,
    /// Exchange within a warp.
    Warp,
    /// Tensor cores.
    Matrix,
    /// Branches and barriers.
    Control,
}

impl Class {
    /// All of them, in order.
    pub const ALL: [Class; 14] = [
        Class::Float,
        Class::Integer,
        Class::Move,
        Class::Convert,
        Class::Special,
        Class::Double,
        Class::Half,
        Class::Global,
        Class::Shared,
        Class::Local,
        Class::Atomic,
        Class::Warp,
        Class::Matrix,
        Class::Control,
    ];

    /// The class of an instruction.
    pub fn of(opcode: &str, modifiers: &[&str]) -> Class {
        let has = |name: &str| modifiers.contains(&name);
        match opcode {
            "ldmatrix" | "stmatrix" => Class::Shared,
            "ld" | "st" | "ldu" if modifiers.iter().any(|name| name.starts_with("shared")) => Class::Shared,
            "ld" | "st" if has("local") || modifiers.iter().any(|name| name.starts_with("param")) => {
                Class::Local
            }
            "ld" | "st" | "ldu" => Class::Global,
            "cp" if has("commit_group") || has("wait_group") || has("wait_all") => Class::Control,
            "cp" => Class::Global,
            "atom" | "red" => Class::Atomic,
            "mma" => Class::Matrix,
            "shfl" | "vote" | "match" | "redux" | "activemask" | "elect" | "movmatrix" => Class::Warp,
            "bra" | "brx" | "call" | "ret" | "exit" | "bar" | "barrier" | "membar" | "fence" => {
                Class::Control
            }
            "mov" | "cvta" => Class::Move,
            "sqrt" | "rcp" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" => Class::Special,
            _ if has("f64") => Class::Double,
            "cvt" => Class::Convert,
            "div" if has("f32") => Class::Special,
            _ if has("f32") => Class::Float,
            _ if modifiers.iter().any(|name| name.ends_with("16x2") || *name == "f16" || *name == "bf16") => {
                Class::Half
            }
            _ => Class::Integer,
        }
    }
}

/// What lanes want of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// To read it, or to copy from it.
    Load,
    /// To write it.
    Store,
    /// Both at once.
    Atomic,
}

/// Requests of warps to global memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GlobalTraffic {
    /// Of warps.
    pub requests: u64,
    /// Sectors of 32 bytes that they touch.
    pub sectors: u64,
    /// Bytes that lanes want.
    pub bytes: u64,
}

/// Requests of warps to shared memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SharedTraffic {
    /// Of warps.
    pub requests: u64,
    /// Passes through the 32 banks.
    pub wavefronts: u64,
    /// Passes if no two lanes met at a bank.
    pub least: u64,
}

/// What a launch asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    issued: [u64; Class::ALL.len()],
    global: [GlobalTraffic; 3],
    shared: [SharedTraffic; 3],
    /// Multiplications and additions of tensor cores.
    pub matrix_operations: u64,
    /// What was touched at all: read, written.
    touched: [Touched; 2],
}

/// Bytes that were touched, a bit for each: a word for each sector.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Touched {
    pages: HashMap<u64, Box<[u32]>>,
}

const SECTOR: u64 = 32;
const SECTORS_OF_PAGE: u64 = 4096;

impl Touched {
    /// Bytes that do not leave a sector.
    fn insert(&mut self, address: u64, bytes: usize) {
        let sector = address / SECTOR;
        let page = self.pages.entry(sector / SECTORS_OF_PAGE);
        let page = page.or_insert_with(|| vec![0; SECTORS_OF_PAGE as usize].into());
        let bits = u32::MAX >> (32 - bytes as u32) << (address % SECTOR);
        page[(sector % SECTORS_OF_PAGE) as usize] |= bits;
    }

    fn bytes(&self) -> u64 {
        self.pages.values().flat_map(|page| page.iter()).map(|bits| u64::from(bits.count_ones())).sum()
    }

    fn sectors(&self) -> u64 {
        self.pages.values().flat_map(|page| page.iter()).filter(|&&bits| bits != 0).count() as u64
    }
}

impl Counters {
    /// Instructions of a class that warps were given.
    pub fn issued(&self, class: Class) -> u64 {
        self.issued[class as usize]
    }

    /// Requests to global memory of a kind.
    pub fn of_global(&self, request: Request) -> GlobalTraffic {
        self.global[request as usize]
    }

    /// Requests to shared memory of a kind.
    pub fn of_shared(&self, request: Request) -> SharedTraffic {
        self.shared[request as usize]
    }

    /// Distinct bytes of global memory that were read, and that were written.
    pub fn distinct_bytes(&self) -> [u64; 2] {
        self.touched.each_ref().map(Touched::bytes)
    }

    /// Bytes of the distinct sectors that were read, and of those that were written: what must come from memory, and go
    /// there.
    pub fn compulsory_bytes(&self) -> [u64; 2] {
        self.touched.each_ref().map(|touched| touched.sectors() * SECTOR)
    }

    /// A warp is given an instruction.
    pub(super) fn issue(&mut self, class: Class) {
        self.issued[class as usize] += 1;
    }

    /// A request to global memory: `width` bytes for each lane of `mask`, aligned to their number.
    pub(super) fn global(&mut self, request: Request, addresses: &[u64; LANES], mask: u32, width: usize) {
        let mut sectors = [0; LANES];
        let mut count = 0;
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 == 1) {
            // Up to 16 bytes, but for atomics of vectors, in one sector.
            let address = addresses[lane];
            sectors[count] = address / SECTOR;
            count += 1;
            if request != Request::Store {
                self.touched[0].insert(address, width);
            }
            if request != Request::Load {
                self.touched[1].insert(address, width);
            }
        }
        if count == 0 {
            return;
        }
        let sectors = &mut sectors[..count];
        sectors.sort_unstable();
        let distinct = 1 + sectors.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let traffic = &mut self.global[request as usize];
        traffic.requests += 1;
        traffic.sectors += distinct as u64;
        traffic.bytes += (count * width) as u64;
    }

    /// A request to shared memory. Lanes are served 128 bytes' worth at a time; in each such phase a bank gives one word.
    pub(super) fn shared(&mut self, request: Request, addresses: [u64; LANES], mask: u32, width: usize) {
        let traffic = &mut self.shared[request as usize];
        traffic.requests += 1;
        let lanes_of_phase = LANES.min(128 / width.max(4));
        for first in (0..LANES).step_by(lanes_of_phase) {
            let mut words = [0; LANES];
            let mut count = 0;
            for lane in (first..first + lanes_of_phase).filter(|lane| mask >> lane & 1 == 1) {
                for word in addresses[lane] / 4..addresses[lane].saturating_add(width as u64 - 1) / 4 + 1 {
                    words[count % LANES] = word;
                    count += 1;
                }
            }
            if count == 0 {
                continue;
            }
            let words = &mut words[..count.min(LANES)];
            words.sort_unstable();
            let mut banks = [0_u64; 32];
            for (index, word) in words.iter().enumerate() {
                let again = index > 0 && words[index - 1] == *word;
                banks[(word % 32) as usize] += u64::from(!again);
            }
            traffic.wavefronts += banks.into_iter().max().unwrap_or(0);
            traffic.least += 1;
        }
    }

    /// A tensor core instruction.
    pub fn matrix(&mut self, operations: u64) {
        self.matrix_operations += operations;
    }

    /// Adds what another launch asked for.
    pub fn add(&mut self, other: &Counters) {
        self.issued.iter_mut().zip(other.issued).for_each(|(sum, value)| *sum += value);
        for (sum, value) in self.global.iter_mut().zip(other.global) {
            sum.requests += value.requests;
            sum.sectors += value.sectors;
            sum.bytes += value.bytes;
        }
        for (sum, value) in self.shared.iter_mut().zip(other.shared) {
            sum.requests += value.requests;
            sum.wavefronts += value.wavefronts;
            sum.least += value.least;
        }
        self.matrix_operations += other.matrix_operations;
        for (sum, touched) in self.touched.iter_mut().zip(&other.touched) {
            for (&number, page) in &touched.pages {
                let sums = sum.pages.entry(number).or_insert_with(|| vec![0; page.len()].into());
                sums.iter_mut().zip(page).for_each(|(sum, bits)| *sum |= bits);
            }
        }
    }
}
