//! The operations ALBERT needs, forward and backward, as mathematics (f64) and as fast code (SIMD).
