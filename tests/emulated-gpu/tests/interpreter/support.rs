//! Compiles a `.cu` file of `kernels/` and runs its kernels on memory of its own.

use std::fs;
use std::path::Path;

use bytemuck::{AnyBitPattern, NoUninit, Zeroable};
use cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use emulated_gpu::performance::Summary;
use emulated_gpu::ptx::{Approximations, DeviceMemory, Fault, Launch, Module, Statistics, run};
use emulated_gpu::setup;

/// The text of a file in `kernels/`.
pub fn text(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A `.cu` text with `device.cuh` put in place of its include; both keep their names and lines in reports.
pub fn joined(file: &str, kernels: &str, header: &str) -> String {
    let header = header.replace("#pragma once", "");
    let include = "#include \"device.cuh\"";
    let (before, after) = kernels.split_once(include).expect("every kernel file includes device.cuh");
    let line = before.lines().count() + 2;
    format!(
        "{before}#line 1 \"device.cuh\"\n{header}\n#line {line} \"{file}\"\n{}",
        after.trim_start_matches('\n')
    )
}

/// PTX with line information.
pub fn compile(file: &str, source: String) -> String {
    let options = CompileOptions {
        arch: Some("compute_90"),
        options: vec!["--generate-line-info".into()],
        name: Some(file.into()),
        ..CompileOptions::default()
    };
    compile_ptx_with_opts(source, options).unwrap_or_else(|error| panic!("{file}: {error:?}")).to_src()
}

/// A module with its globals in memory.
pub struct Gpu {
    pub memory: DeviceMemory,
    module: Module,
    globals: Vec<u64>,
    /// The order of blocks and atomics: natural, for reports name what comes first.
    pub seed: u64,
}

impl Gpu {
    /// With the kernels of a file, or `None` where NVRTC is not to be had.
    pub fn of(file: &str) -> Option<Gpu> {
        Gpu::of_with(file, Approximations::from_environment())
    }

    /// As [`Gpu::of`], with approximations that err as given.
    pub fn of_with(file: &str, approximations: Approximations) -> Option<Gpu> {
        let ptx = || compile(file, joined(file, &text(file), &text("device.cuh")));
        setup::available().then(|| Gpu::new(&ptx(), approximations))
    }

    /// Runs a check with the kernels of a file, where NVRTC is to be had.
    pub fn check(file: &str, check: impl FnOnce(&mut Gpu) -> Result<(), Fault>) {
        if let Some(mut gpu) = Gpu::of(file) {
            check(&mut gpu).unwrap_or_else(|fault| panic!("{fault}"));
        }
    }

    /// With the kernels of a PTX text.
    pub fn with(ptx: &str) -> Gpu {
        Gpu::new(ptx, Approximations::from_environment())
    }

    fn new(ptx: &str, approximations: Approximations) -> Gpu {
        let module = Module::parse_with(ptx, approximations).unwrap_or_else(|error| panic!("{error}"));
        let mut memory = DeviceMemory::new(1 << 30);
        let globals: Vec<u64> =
            module.globals().iter().map(|global| memory.alloc(global.size).unwrap()).collect();
        for (global, &address) in module.globals().iter().zip(&globals) {
            memory.write(address, &global.contents(&globals)).unwrap();
        }
        Gpu { memory, module, globals, seed: 0 }
    }

    /// New memory that nothing has written.
    pub fn alloc<T>(&mut self, count: usize) -> u64 {
        self.memory.alloc(count * size_of::<T>()).unwrap()
    }

    /// New memory that holds `values`.
    pub fn upload<T: NoUninit>(&mut self, values: &[T]) -> u64 {
        let address = self.alloc::<T>(values.len());
        self.memory.write(address, bytemuck::cast_slice(values)).unwrap();
        address
    }

    /// `count` values at an address, all of which must have been written.
    pub fn download<T: AnyBitPattern + NoUninit + Zeroable>(&self, address: u64, count: usize) -> Vec<T> {
        let mut values = vec![T::zeroed(); count];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut values);
        bytes.copy_from_slice(self.memory.load(address, bytes.len()).unwrap());
        values
    }

    /// Runs a kernel.
    pub fn launch(
        &mut self,
        kernel: &str,
        grid: [u32; 3],
        threads: u32,
        dynamic_shared: u32,
        arguments: &Arguments,
    ) -> Result<Statistics, Fault> {
        self.run(kernel, (grid, threads, dynamic_shared), arguments, false)
    }

    /// Runs a kernel and says what it asked of the hardware.
    pub fn count(
        &mut self,
        kernel: &str,
        grid: [u32; 3],
        threads: u32,
        dynamic_shared: u32,
        arguments: &Arguments,
    ) -> Result<Summary, Fault> {
        let statistics = self.run(kernel, (grid, threads, dynamic_shared), arguments, true)?;
        Ok(Summary::from(&statistics.counters.expect("it was to be counted")))
    }

    fn run(
        &mut self,
        kernel: &str,
        (grid, threads, dynamic_shared): ([u32; 3], u32, u32),
        arguments: &Arguments,
        counted: bool,
    ) -> Result<Statistics, Fault> {
        let kernel = self.module.kernel(kernel).unwrap_or_else(|| panic!("no kernel `{kernel}`"));
        let launch = Launch {
            grid,
            block: [threads, 1, 1],
            dynamic_shared,
            parameters: &arguments.0,
            globals: &self.globals,
            instruction_limit: 1 << 22,
            counted,
            seed: self.seed,
            ..Launch::new(kernel)
        };
        run(&launch, &mut self.memory)
    }
}

/// Parameters of a kernel, laid out as C does.
#[derive(Default)]
pub struct Arguments(Vec<u8>);

impl Arguments {
    pub fn with<T: NoUninit>(mut self, value: T) -> Arguments {
        self.0.resize(self.0.len().next_multiple_of(align_of::<T>()), 0);
        self.0.extend_from_slice(bytemuck::bytes_of(&value));
        self
    }
}

/// Parameters from values.
macro_rules! arguments {
    ($($value:expr),* $(,)?) => {
        $crate::support::Arguments::default()$(.with($value))*
    };
}

pub(crate) use arguments;

/// Numbers that look random: SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// Between -1 and 1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }
}

/// Every value within its tolerance; names the worst one otherwise.
#[track_caller]
pub fn assert_close(what: &str, values: impl IntoIterator<Item = (f64, f64, f64)>) {
    for (index, (got, want, tolerance)) in values.into_iter().enumerate() {
        let close = (got - want).abs() <= tolerance;
        assert!(close, "{what}[{index}]: {got} instead of {want}, tolerance {tolerance:e}");
    }
}
