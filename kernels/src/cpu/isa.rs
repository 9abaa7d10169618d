//! Instruction sets: which there are, which this machine has, which one to use.

use std::fmt;
use std::str::FromStr;

use super::CpuError;

/// Name of the environment variable that overrides the choice: `scalar`, `avx2`, `avx512` or `avx512bf16`.
pub const ISA_VARIABLE: &str = "ALBERT_ISA";

/// An instruction set that the kernels are compiled for, from the slowest to the fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust, on any machine; the compiler vectorises it as far as the target allows.
    Scalar,
    /// AVX2 and FMA: 8 lanes.
    Avx2,
    /// AVX-512 F, BW, DQ and VL: 16 lanes.
    Avx512,
    /// The same with products of pairs of bf16 (AVX512-BF16): in f32 the same bits.
    Avx512Bf16,
}

impl Isa {
    /// All of them, from the slowest to the fastest.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Avx512Bf16];

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => Self::Avx512.is_available() && is_x86_feature_detected!("avx512bf16"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 | Self::Avx512Bf16 => false,
        }
    }

    /// Those that this machine has, from the slowest to the fastest: what a test goes through.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// What `ALBERT_ISA` asks for or, if it is not set, the fastest that this machine has.
    ///
    /// # Errors
    /// [`CpuError::UnknownIsa`] if the variable names none. Whether the machine has it is for [`super::Cpu::new`] to say.
    pub fn chosen() -> Result<Self, CpuError> {
        match std::env::var_os(ISA_VARIABLE) {
            Some(name) => name.to_string_lossy().parse(),
            None => Ok(Self::available().last().unwrap_or(Self::Scalar)),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
        })
    }
}

impl FromStr for Isa {
    type Err = CpuError;
    fn from_str(name: &str) -> Result<Self, CpuError> {
        Self::ALL
            .into_iter()
            .find(|isa| isa.to_string() == name)
            .ok_or_else(|| CpuError::UnknownIsa { name: name.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip() {
        for isa in Isa::ALL {
            assert_eq!(isa.to_string().parse::<Isa>().ok(), Some(isa));
        }
        assert!(matches!("sse".parse::<Isa>(), Err(CpuError::UnknownIsa { name }) if name == "sse"));
    }

    #[test]
    fn plain_rust_is_always_there_and_slowest() {
        assert_eq!(Isa::available().next(), Some(Isa::Scalar));
    }
}
