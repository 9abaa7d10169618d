//! What the integration tests share: golden folders, devices, and the one place where closeness is measured.

mod gpu;

use std::collections::BTreeMap;
use std::path::Path;

use engine::Device;
pub use gpu::gpu;
use kernels::Cpu;
use kernels::cpu::Isa;
use safetensors::{Dtype, SafeTensors};

/// A recorded tensor.
#[derive(Clone, Debug)]
pub enum Recorded {
    Real(Vec<f32>, Vec<usize>),
    Integer(Vec<i32>, Vec<usize>),
}

impl Recorded {
    pub fn real(&self) -> &[f32] {
        let Self::Real(values, _) = self else { panic!("integers where real numbers are expected") };
        values
    }

    pub fn integer(&self) -> &[i32] {
        let Self::Integer(values, _) = self else { panic!("real numbers where integers are expected") };
        values
    }

    pub fn shape(&self) -> &[usize] {
        let (Self::Real(_, shape) | Self::Integer(_, shape)) = self;
        shape
    }
}

/// All tensors of a safetensors file.
pub fn recorded(path: &Path) -> BTreeMap<String, Recorded> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let words = |data: &[u8]| data.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]).collect::<Vec<_>>();
    (file.iter())
        .map(|(name, view)| {
            let (words, shape) = (words(view.data()), view.shape().to_vec());
            let tensor = match view.dtype() {
                Dtype::F32 => Recorded::Real(words.into_iter().map(f32::from_le_bytes).collect(), shape),
                Dtype::I32 => Recorded::Integer(words.into_iter().map(i32::from_le_bytes).collect(), shape),
                other => panic!("{name} is {other:?}"),
            };
            (name.to_owned(), tensor)
        })
        .collect()
}

/// Every device of this machine with the name it has in messages: the reference, the CPU with each instruction set, and a GPU,
/// emulated unless a real one is asked for.
pub fn devices() -> Vec<(String, Device)> {
    let cpus = Isa::available().map(|isa| {
        let cpu = Cpu::new(Some(2), Some(isa)).expect("an instruction set that the machine has");
        (format!("cpu {isa:?}"), Device::Cpu(cpu))
    });
    let gpu = gpu().map(|gpu| ("gpu".to_owned(), gpu));
    std::iter::once(("reference".to_owned(), Device::Reference)).chain(cpus).chain(gpu).collect()
}

/// ‖found − expected‖ / ‖expected‖.
pub fn relative_norm(found: &[f64], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len(), "lengths");
    let difference: f64 = found.iter().zip(expected).map(|(f, &e)| (f - f64::from(e)).powi(2)).sum();
    let norm: f64 = expected.iter().map(|&e| f64::from(e).powi(2)).sum();
    assert!(norm > 0.0, "nothing was recorded");
    (difference / norm).sqrt()
}

/// Stops the test if `found` is further from `expected` than `tolerance` in relative norm.
#[track_caller]
pub fn assert_close(found: &[f64], expected: &[f32], tolerance: f64, what: &str) {
    let distance = relative_norm(found, expected);
    let worst = (found.iter().zip(expected).enumerate())
        .max_by(|a, b| (a.1.0 - f64::from(*a.1.1)).abs().total_cmp(&(b.1.0 - f64::from(*b.1.1)).abs()));
    assert!(distance <= tolerance, "{what}: relative norm {distance:.3e} > {tolerance:e}, worst {worst:?}");
}
