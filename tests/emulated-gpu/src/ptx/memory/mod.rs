//! The memories of the machine, each with a shadow that knows more than the bytes do.

mod bitmap;
pub mod device;
pub mod local;
pub mod order;
pub mod races;
pub mod shared;

/// What new memory holds: NaN in every float format.
pub const POISON: u8 = 0xff;

/// Generic addresses from here on mean kernel parameters.
pub const PARAMETER_WINDOW: u64 = 1 << 61;
/// Generic addresses from here on mean shared memory.
pub const SHARED_WINDOW: u64 = 1 << 62;
/// Generic addresses from here on mean local memory.
pub const LOCAL_WINDOW: u64 = 1 << 63;
