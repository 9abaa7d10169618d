//! Kernel launches: what the driver checks before it accepts one, and how it is run.

use std::fmt;
use std::sync::Arc;

use super::Driver;
use super::border::{HostPointer, In, Items, driver_calls};
use super::device::{MAX_BLOCK, MAX_GRID, MAX_THREADS_PER_BLOCK};
use super::error::{CudaError, Failure, Result};
use super::handles::Handle;
use super::module::{Function, LoadedModule};
use super::occupancy::{self, REGISTERS};
use super::operation::Operation;
use super::stream::Stream;
use crate::compiler::Resources;
use crate::performance::{self, Launched, Summary};
use crate::ptx::{self, DeviceMemory};

/// An accepted launch, with a copy of its arguments.
pub struct KernelLaunch {
    module: Arc<LoadedModule>,
    kernel: String,
    grid: [u32; 3],
    block: [u32; 3],
    dynamic_shared: u32,
    parameters: Vec<u8>,
    /// What the compiler says of the kernel, and how many blocks of this shape a multiprocessor holds.
    resources: Option<Resources>,
    resident_blocks: u32,
}

/// Grid, block and dynamic shared memory: the head of `CUlaunchConfig`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Shape {
    grid: [u32; 3],
    block: [u32; 3],
    dynamic_shared: u32,
}

/// `CUlaunchConfig`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct LaunchConfig {
    shape: Shape,
    stream: Handle<Stream>,
    attributes: Items<LaunchAttribute>,
    attribute_count: u32,
}

/// `CUlaunchAttribute`: a number and a union of 64 bytes.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct LaunchAttribute {
    number: u32,
    padding: u32,
    value: [u32; 16],
}

/// The array `extra` of a launch: names and values in turn.
const END: u64 = 0;
const BUFFER_POINTER: u64 = 1;
const BUFFER_SIZE: u64 = 2;

impl KernelLaunch {
    /// Runs every block of the kernel.
    pub fn run(&self, memory: &mut DeviceMemory) -> Result {
        let launch = ptx::Launch {
            grid: self.grid,
            block: self.block,
            dynamic_shared: self.dynamic_shared,
            parameters: &self.parameters,
            globals: &self.module.globals,
            counted: performance::counting(),
            ..ptx::Launch::new(self.module.kernel(&self.kernel))
        };
        let statistics = ptx::run(&launch, memory)?;
        print!("{}", statistics.printed);
        if let Some(counters) = &statistics.counters {
            let spills = self.resources.map_or(0, |it| it.spill_loads + it.spill_stores);
            performance::record(Launched {
                kernel: self.kernel.clone(),
                launches: 1,
                blocks: statistics.blocks,
                threads: self.block.iter().map(|&extent| u64::from(extent)).product(),
                registers: self.resources.map(|it| it.registers.into()),
                spills: spills.into(),
                resident_blocks: self.resident_blocks.into(),
                summary: Summary::from(counters),
            });
        }
        Ok(())
    }
}

impl fmt::Display for KernelLaunch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, grid, block, dynamic_shared, .. } = self;
        write!(formatter, "kernel {kernel} on grid {grid:?}, block {block:?}")?;
        if *dynamic_shared > 0 {
            write!(formatter, " and {dynamic_shared} bytes of dynamic shared memory")?;
        }
        Ok(())
    }
}

impl Function {
    /// Refuses what the driver refuses before a kernel runs.
    fn check_shape(&self, shape: &Shape) -> Result {
        let Shape { grid, block, dynamic_shared } = *shape;
        let refuse = |what: String| Err(Failure::invalid(format!("kernel {}: {what}", self.name)));
        for axis in 0..3 {
            if grid[axis] == 0
                || grid[axis] > MAX_GRID[axis]
                || block[axis] == 0
                || block[axis] > MAX_BLOCK[axis]
            {
                let what = format!(
                    "grid {grid:?} and block {block:?}; at least 1, at most {MAX_GRID:?} and {MAX_BLOCK:?}"
                );
                return refuse(what);
            }
        }
        let threads: u32 = block.iter().product();
        let most = self.kernel().max_threads;
        if threads > MAX_THREADS_PER_BLOCK.min(most) {
            return refuse(format!("{threads} threads a block; it was compiled for {most}"));
        }
        if threads > self.most_threads() {
            let registers = self.resources().map_or(0, |resources| resources.registers);
            let reason = format!(
                "kernel {}: {threads} threads of {registers} registers each are more than the {REGISTERS} registers of a \
                 block: __launch_bounds__ makes the compiler use fewer",
                self.name
            );
            return Err(Failure::new(CudaError::LaunchOutOfResources, reason));
        }
        if dynamic_shared > self.dynamic_shared_limit {
            let what = format!(
                "{dynamic_shared} bytes of dynamic shared memory; the limit set by cuFuncSetAttribute is {}",
                self.dynamic_shared_limit
            );
            return refuse(what);
        }
        Ok(())
    }

    /// The arguments as the kernel sees them, gathered from one pointer for each.
    fn gather(&self, arguments: &Items<HostPointer>) -> Result<Vec<u8>> {
        let kernel = self.kernel();
        let mut buffer = vec![0; kernel.parameter_bytes()];
        for (index, parameter) in kernel.parameters.iter().enumerate() {
            let bytes = arguments.get(index)?.read(parameter.size).map_err(|failure| {
                Failure::new(
                    failure.code,
                    format!("argument {index} of kernel {}: {}", self.name, failure.reason),
                )
            })?;
            buffer[parameter.offset..][..parameter.size].copy_from_slice(&bytes);
        }
        Ok(buffer)
    }

    /// The arguments as the kernel sees them, laid out by the caller.
    fn unpack(&self, extra: &Items<HostPointer>) -> Result<Vec<u8>> {
        let (mut buffer, mut bytes) = (None, None);
        for index in (0..).step_by(2) {
            match extra.get(index)?.address() {
                END => break,
                BUFFER_POINTER => buffer = Some(extra.get(index + 1)?),
                BUFFER_SIZE => bytes = Some(extra.get(index + 1)?.read_usize()?),
                other => return Err(Failure::not_emulated(format!("launch parameter {other}"))),
            }
        }
        let (Some(buffer), Some(bytes)) = (buffer, bytes) else {
            return Err(Failure::invalid("arguments in `extra` need a buffer and its size"));
        };
        let expected = self.kernel().parameter_bytes();
        if bytes != expected {
            let reason = format!("kernel {} takes {expected} bytes of arguments, not {bytes}", self.name);
            return Err(Failure::invalid(reason));
        }
        buffer.read(bytes)
    }
}

impl Driver {
    fn launch(
        &mut self,
        function: Handle<Function>,
        shape: &Shape,
        stream: Handle<Stream>,
        arguments: &Items<HostPointer>,
        extra: &Items<HostPointer>,
    ) -> Result {
        let device = self.usable()?;
        let stream = self.stream(stream)?;
        let function = self.functions.get(function)?;
        let (of_stream, of_function) = (self.streams.get(stream)?.device, function.module.device);
        if [of_stream, of_function] != [device; 2] {
            return Err(Failure::new(
                CudaError::InvalidHandle,
                format!(
                    "kernel {} is of device {of_function}, the stream of device {of_stream}, the current context of \
                     device {device}",
                    function.name
                ),
            ));
        }
        function.check_shape(shape)?;
        let parameters = match (arguments.is_null(), extra.is_null()) {
            (false, false) => {
                return Err(Failure::invalid("arguments come one way, not two"));
            }
            (true, false) => function.unpack(extra)?,
            (_, true) => function.gather(arguments)?,
        };
        let launch = KernelLaunch {
            module: function.module.clone(),
            kernel: function.name.clone(),
            grid: shape.grid,
            block: shape.block,
            dynamic_shared: shape.dynamic_shared,
            parameters,
            resources: function.resources(),
            resident_blocks: occupancy::resident_blocks(
                &self.limits,
                function.resources().map(|resources| resources.registers),
                shape.block.iter().product(),
                function.kernel().static_shared as u32 + shape.dynamic_shared,
            ),
        };
        self.submit_to(stream, Operation::Launch(Arc::new(launch)))
    }
}

/// Refuses launch attributes that would change what a kernel may do.
fn check_attribute(attribute: LaunchAttribute) -> Result {
    const IGNORE: u32 = 0;
    const CLUSTER_DIMENSION: u32 = 4;
    const PROGRAMMATIC_STREAM_SERIALIZATION: u32 = 6;
    const PRIORITY: u32 = 8;
    match attribute.number {
        // A launch that may overlap the one before it may also follow it.
        IGNORE | PRIORITY | PROGRAMMATIC_STREAM_SERIALIZATION => Ok(()),
        CLUSTER_DIMENSION if attribute.value[..3] == [1, 1, 1] => Ok(()),
        other => Err(Failure::not_emulated(format!("launch attribute {other}"))),
    }
}

driver_calls! {
    /// Launches a kernel.
    fn cuLaunchKernel(
        driver,
        function: Handle<Function>,
        grid_x: u32,
        grid_y: u32,
        grid_z: u32,
        block_x: u32,
        block_y: u32,
        block_z: u32,
        dynamic_shared: u32,
        stream: Handle<Stream>,
        arguments: Items<HostPointer>,
        extra: Items<HostPointer>,
    ) {
        let grid = [grid_x, grid_y, grid_z];
        let block = [block_x, block_y, block_z];
        driver.launch(function, &Shape { grid, block, dynamic_shared }, stream, &arguments, &extra)
    }

    /// Launches a kernel with attributes.
    fn cuLaunchKernelEx(
        driver,
        config: In<LaunchConfig>,
        function: Handle<Function>,
        arguments: Items<HostPointer>,
        extra: Items<HostPointer>,
    ) {
        let config = config.get()?;
        for index in 0..config.attribute_count as usize {
            check_attribute(config.attributes.get(index)?)?;
        }
        driver.launch(function, &config.shape, config.stream, &arguments, &extra)
    }
}
