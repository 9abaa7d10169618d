//! The scalar types of PTX.

/// A scalar type: how many bits, and how an instruction reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// One bit.
    Predicate,
    /// Untyped bits: 8, 16, 32 or 64.
    Bits(u8),
    /// Unsigned integer: 8, 16, 32 or 64 bits.
    Unsigned(u8),
    /// Two's complement integer: 8, 16, 32 or 64 bits.
    Signed(u8),
    /// IEEE half precision.
    F16,
    /// Two halves in 32 bits.
    F16x2,
    /// The upper half of an `f32`.
    Bf16,
    /// Two `bf16` in 32 bits.
    Bf16x2,
    /// `f32` with a mantissa of 10 bits, held in 32.
    Tf32,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
}

impl Type {
    /// The type named by a modifier such as `u32`, if it is one.
    pub fn parse(name: &str) -> Option<Type> {
        Some(match name {
            "pred" => Type::Predicate,
            "b8" => Type::Bits(8),
            "b16" => Type::Bits(16),
            "b32" => Type::Bits(32),
            "b64" => Type::Bits(64),
            "u8" => Type::Unsigned(8),
            "u16" => Type::Unsigned(16),
            "u32" => Type::Unsigned(32),
            "u64" => Type::Unsigned(64),
            "s8" => Type::Signed(8),
            "s16" => Type::Signed(16),
            "s32" => Type::Signed(32),
            "s64" => Type::Signed(64),
            "f16" => Type::F16,
            "f16x2" => Type::F16x2,
            "bf16" => Type::Bf16,
            "bf16x2" => Type::Bf16x2,
            "tf32" => Type::Tf32,
            "f32" => Type::F32,
            "f64" => Type::F64,
            _ => return None,
        })
    }

    /// Bits of a value; 1 for a predicate.
    pub fn bits(self) -> u32 {
        match self {
            Type::Predicate => 1,
            Type::Bits(bits) | Type::Unsigned(bits) | Type::Signed(bits) => u32::from(bits),
            Type::F16 | Type::Bf16 => 16,
            Type::F16x2 | Type::Bf16x2 | Type::Tf32 | Type::F32 => 32,
            Type::F64 => 64,
        }
    }

    /// Bytes in memory.
    pub fn bytes(self) -> usize {
        self.bits().div_ceil(8) as usize
    }

    /// Whether arithmetic on it is floating point.
    pub fn is_float(self) -> bool {
        !matches!(self, Type::Predicate | Type::Bits(_) | Type::Unsigned(_) | Type::Signed(_))
    }
}
