//! The counters of a launch as plain numbers, and what a test may want of them.

use std::fmt;

use crate::ptx::{Class, Counters, GlobalTraffic, Request, SharedTraffic};

use super::roofline::{H100, Rates};

/// What a launch, or all launches of a kernel, asked of the hardware.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Warp instructions, in the order of [`Class::ALL`].
    pub issued: [u64; Class::ALL.len()],
    /// Requests of warps to global memory: loads, stores, atomics.
    pub global: [GlobalTraffic; 3],
    /// Requests of warps to shared memory: loads, stores, atomics.
    pub shared: [SharedTraffic; 3],
    /// Multiplications and additions of tensor cores.
    pub matrix_operations: u64,
    /// Distinct bytes of global memory that were read, and that were written.
    pub distinct_bytes: [u64; 2],
    /// Bytes of the distinct sectors of 32 that were read, and written.
    pub compulsory_bytes: [u64; 2],
}

impl From<&Counters> for Summary {
    fn from(counters: &Counters) -> Summary {
        let requests = [Request::Load, Request::Store, Request::Atomic];
        Summary {
            issued: Class::ALL.map(|class| counters.issued(class)),
            global: requests.map(|request| counters.of_global(request)),
            shared: requests.map(|request| counters.of_shared(request)),
            matrix_operations: counters.matrix_operations,
            distinct_bytes: counters.distinct_bytes(),
            compulsory_bytes: counters.compulsory_bytes(),
        }
    }
}

impl Summary {
    /// All numbers, in a fixed order.
    fn numbers(&mut self) -> Vec<&mut u64> {
        let global = self.global.iter_mut().flat_map(|it| [&mut it.requests, &mut it.sectors, &mut it.bytes]);
        let shared =
            self.shared.iter_mut().flat_map(|it| [&mut it.requests, &mut it.wavefronts, &mut it.least]);
        self.issued
            .iter_mut()
            .chain(global)
            .chain(shared)
            .chain([&mut self.matrix_operations])
            .chain(&mut self.distinct_bytes)
            .chain(&mut self.compulsory_bytes)
            .collect()
    }

    /// Adds what another launch asked for; what both touched counts twice.
    pub fn add(&mut self, other: &Summary) {
        let mut other = other.clone();
        self.numbers().into_iter().zip(other.numbers()).for_each(|(sum, value)| *sum += *value);
    }

    /// The same, of so many launches alike.
    #[must_use]
    pub fn times(&self, count: u64) -> Summary {
        let mut all = self.clone();
        all.numbers().into_iter().for_each(|number| *number *= count);
        all
    }

    /// Warp instructions of all classes.
    pub fn instructions(&self) -> u64 {
        self.issued.iter().sum()
    }
}

/// A launch that was counted, and what the compiler says of its kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launched {
    /// The kernel's name.
    pub kernel: String,
    /// How many launches this is the sum of.
    pub launches: u64,
    /// Blocks, of all of them.
    pub blocks: u64,
    /// Threads of a block.
    pub threads: u64,
    /// Registers of a thread, where they are known.
    pub registers: Option<u64>,
    /// Bytes that a thread stores and loads because registers ran out.
    pub spills: u64,
    /// Blocks that a multiprocessor holds at a time.
    pub resident_blocks: u64,
    /// What was asked for.
    pub summary: Summary,
}

impl Launched {
    /// As a line of text.
    pub(super) fn to_line(&self) -> String {
        let mut summary = self.summary.clone();
        let registers = self.registers.map_or("-".into(), |registers| registers.to_string());
        let mut line = format!(
            "{}\t{}\t{}\t{}\t{registers}\t{}\t{}",
            self.kernel, self.launches, self.blocks, self.threads, self.spills, self.resident_blocks
        );
        for number in summary.numbers() {
            line += &format!("\t{number}");
        }
        line
    }

    /// From a line of text.
    pub(super) fn from_line(line: &str) -> Option<Launched> {
        let mut fields = line.split('\t');
        let kernel = fields.next()?.to_owned();
        let mut launched = Launched { kernel, ..Launched::default() };
        launched.launches = fields.next()?.parse().ok()?;
        launched.blocks = fields.next()?.parse().ok()?;
        launched.threads = fields.next()?.parse().ok()?;
        launched.registers = fields.next()?.parse().ok();
        launched.spills = fields.next()?.parse().ok()?;
        launched.resident_blocks = fields.next()?.parse().ok()?;
        for number in launched.summary.numbers() {
            *number = fields.next()?.parse().ok()?;
        }
        fields.next().is_none().then_some(launched)
    }

    /// Every request to shared memory takes no more passes through the banks than its size asks for.
    #[track_caller]
    pub fn assert_no_bank_conflicts(&self) {
        for (name, traffic) in ["loads", "stores", "atomics"].iter().zip(self.summary.shared) {
            let SharedTraffic { requests, wavefronts, least } = traffic;
            assert!(
                wavefronts == least,
                "{}: {requests} shared {name} take {wavefronts} passes through the banks, {least} without conflicts",
                self.kernel
            );
        }
    }

    /// Loads and stores of global memory touch at most `factor` times the sectors that the bytes wanted would fill.
    #[track_caller]
    pub fn assert_sectors(&self, factor: f64) {
        for (name, traffic) in ["loads", "stores", "atomics"].iter().zip(self.summary.global) {
            let GlobalTraffic { requests, sectors, bytes } = traffic;
            let ideal = bytes as f64 / 32.0;
            assert!(
                sectors as f64 <= factor * ideal,
                "{}: {requests} global {name} of {bytes} bytes touch {sectors} sectors, {ideal} would hold them",
                self.kernel
            );
        }
    }

    /// Reads and writes no more distinct bytes than given, each times 1.05.
    #[track_caller]
    pub fn assert_distinct_bytes(&self, [read, written]: [u64; 2]) {
        let [reads, writes] = self.summary.distinct_bytes;
        assert!(
            reads as f64 <= 1.05 * read as f64 && writes as f64 <= 1.05 * written as f64,
            "{}: reads {reads} and writes {writes} distinct bytes instead of {read} and {written}",
            self.kernel
        );
    }

    /// Needs at most so many registers, and spills none.
    #[track_caller]
    pub fn assert_resources(&self, registers: u64) {
        let Some(needed) = self.registers else {
            panic!("{}: its registers are not known, for NVRTC did not make its PTX here", self.kernel);
        };
        assert!(
            needed <= registers && self.spills == 0,
            "{}: {needed} registers instead of {registers}, {} bytes of spills",
            self.kernel,
            self.spills
        );
    }

    /// The least time on an H100, in seconds, and what takes it.
    pub fn least_time(&self) -> (f64, &'static str) {
        let bound = Rates::bounds(&H100, &self.summary).into_iter().next();
        bound.map_or((0.0, "nothing"), |bound| (bound.seconds, bound.resource))
    }
}

/// A line of the table: counts, then the largest bounds in microseconds.
impl fmt::Display for Launched {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Launched { kernel, launches, blocks, threads, spills, resident_blocks, summary, .. } = self;
        let registers = self.registers.map_or("?".into(), |registers| registers.to_string());
        let sectors: u64 = summary.global.iter().map(|it| it.sectors).sum();
        let ideal: u64 = summary.global.iter().map(|it| it.bytes).sum::<u64>().div_ceil(32);
        let wavefronts: u64 = summary.shared.iter().map(|it| it.wavefronts).sum();
        let least: u64 = summary.shared.iter().map(|it| it.least).sum();
        let ratio = |a: u64, b: u64| if b == 0 { 1.0 } else { a as f64 / b as f64 };
        write!(
            formatter,
            "{kernel:<28} {launches:>5} {blocks:>7} {threads:>4} {registers:>3} {spills:>4} {resident_blocks:>2} {:>10} {:>9} {:>5.2} {:>9} {:>5.2} {:>9.1}",
            summary.instructions(),
            sectors,
            ratio(sectors, ideal),
            wavefronts,
            ratio(wavefronts, least),
            summary.matrix_operations as f64 / 1e6,
        )?;
        for bound in Rates::bounds(&H100, summary).iter().take(3) {
            write!(formatter, "  {} {:.2}", bound.resource, bound.seconds * 1e6)?;
        }
        Ok(())
    }
}

impl Launched {
    /// The head of a table of launches.
    pub fn table_head() -> String {
        format!(
            "{:<28} {:>5} {:>7} {:>4} {:>3} {:>4} {:>2} {:>10} {:>9} {:>5} {:>9} {:>5} {:>9}  the largest bounds on an H100, in us",
            "kernel",
            "times",
            "blocks",
            "thr.",
            "reg",
            "spil",
            "SM",
            "warp instr",
            "sectors",
            "/best",
            "wavefr.",
            "/best",
            "mma MFLOP"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back() {
        let mut launched =
            Launched { kernel: "k".into(), launches: 1, registers: Some(7), ..Launched::default() };
        launched.summary.numbers().into_iter().enumerate().for_each(|(index, number)| *number = index as u64);
        assert_eq!(Launched::from_line(&launched.to_line()), Some(launched.clone()));
        launched.registers = None;
        assert_eq!(Launched::from_line(&launched.to_line()), Some(launched.clone()));
        assert_eq!(Launched::from_line("k\t1\t2"), None);
        assert_eq!(launched.summary.times(2).instructions(), 2 * launched.summary.instructions());
    }

    #[test]
    #[should_panic(expected = "take 8 passes through the banks, 4 without conflicts")]
    fn bank_conflicts_are_named() {
        let mut launched = Launched::default();
        launched.summary.shared[0] = SharedTraffic { requests: 4, wavefronts: 8, least: 4 };
        launched.assert_no_bank_conflicts();
    }

    #[test]
    #[should_panic(expected = "touch 8 sectors, 4 would hold them")]
    fn wasted_sectors_are_named() {
        let mut launched = Launched::default();
        launched.summary.global[1] = GlobalTraffic { requests: 1, sectors: 8, bytes: 128 };
        launched.assert_sectors(1.05);
    }

    #[test]
    #[should_panic(expected = "90 registers instead of 80, 16 bytes of spills")]
    fn too_many_registers_are_named() {
        Launched { registers: Some(90), spills: 16, ..Launched::default() }.assert_resources(80);
    }
}
