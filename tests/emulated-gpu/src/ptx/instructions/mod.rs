//! The instructions that are emulated, one module per family. A family turns an instruction into a closure.

pub mod approximate;
mod atomic;
mod compare;
mod control;
mod convert;
mod copy;
mod exact;
mod float;
mod half;
mod integer;
mod logic;
mod matrix;
pub(super) mod memory;
mod mma;
mod print;
mod warp;

use super::PtxError;
use super::decode::Decoding;
use super::operation::Operation;
use super::types::Type;

/// Runs `$body` with `$t` as the Rust type of an integer type, or of untyped bits.
macro_rules! with_integer {
    ($decoding:expr, $kind:expr, $t:ident => $body:expr) => {
        match $kind {
            Type::Unsigned(16) | Type::Bits(16) => {
                type $t = u16;
                $body
            }
            Type::Signed(16) => {
                type $t = i16;
                $body
            }
            Type::Unsigned(32) | Type::Bits(32) => {
                type $t = u32;
                $body
            }
            Type::Signed(32) => {
                type $t = i32;
                $body
            }
            Type::Unsigned(64) | Type::Bits(64) => {
                type $t = u64;
                $body
            }
            Type::Signed(64) => {
                type $t = i64;
                $body
            }
            _ => Err($decoding.unknown()),
        }
    };
}

/// Runs `$body` with `$t` as the unsigned Rust type of as many bits as the type.
macro_rules! with_bits {
    ($decoding:expr, $kind:expr, $t:ident => $body:expr) => {
        match $kind.bits() {
            16 => {
                type $t = u16;
                $body
            }
            32 => {
                type $t = u32;
                $body
            }
            64 => {
                type $t = u64;
                $body
            }
            _ => Err($decoding.unknown()),
        }
    };
}

use {with_bits, with_integer};

/// The closure of an instruction. This is the list of what is emulated.
pub fn decode(decoding: &mut Decoding) -> Result<Operation, PtxError> {
    match decoding.instruction.opcode {
        "add" | "sub" | "mul" | "mad" | "fma" | "div" | "rem" | "min" | "max" | "abs" | "neg" => {
            arithmetic(decoding)
        }
        "mul24" | "mad24" | "sad" | "dp4a" => integer::decode(decoding),
        "and" | "or" | "xor" | "not" | "cnot" | "lop3" | "shl" | "shr" | "shf" | "bfe" | "bfi" | "bfind"
        | "popc" | "clz" | "brev" | "prmt" => logic::decode(decoding),
        "sqrt" | "rcp" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" | "copysign" => {
            let kind = decoding.kind()?;
            if is_half(kind) { half::decode(decoding, kind) } else { float::decode(decoding, kind) }
        }
        "setp" | "set" | "selp" | "slct" | "testp" => compare::decode(decoding),
        "mov" | "cvt" | "cvta" | "isspacep" => convert::decode(decoding),
        "ld" | "ldu" | "st" | "prefetch" | "prefetchu" | "discard" | "applypriority" => {
            memory::decode(decoding)
        }
        "atom" | "red" => atomic::decode(decoding),
        "cp" => copy::decode(decoding),
        "ldmatrix" | "stmatrix" | "movmatrix" => matrix::decode(decoding),
        "mma" => mma::decode(decoding),
        "shfl" | "vote" | "match" | "redux" | "activemask" | "elect" => warp::decode(decoding),
        "bra" | "brx" | "call" | "ret" | "exit" | "trap" | "bar" | "barrier" | "membar" | "fence"
        | "nanosleep" => control::decode(decoding),
        _ => Err(decoding.unknown()),
    }
}

/// Opcodes that every type shares.
fn arithmetic(decoding: &mut Decoding) -> Result<Operation, PtxError> {
    let types: Vec<Type> =
        decoding.instruction.modifiers.iter().filter_map(|name| Type::parse(name)).collect();
    match types.as_slice() {
        [kind] if is_half(*kind) => {
            let kind = decoding.kind()?;
            half::decode(decoding, kind)
        }
        [kind] if kind.is_float() => {
            let kind = decoding.kind()?;
            float::decode(decoding, kind)
        }
        [_] => integer::decode(decoding),
        _ => Err(decoding.unknown()),
    }
}

fn is_half(kind: Type) -> bool {
    matches!(kind, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2)
}
