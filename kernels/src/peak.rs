//! What a device can do at most: the figures that every kernel's speed is judged against.

/// Measured limits of a device, all of it together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// Operations per second of products of f32; a multiply-add counts as two.
    pub flops_per_second: f64,
    /// The same of products of bf16, added up in f32.
    pub bf16_flops_per_second: f64,
    /// Bytes per second of copying memory that no cache holds; a byte copied counts as two, one read and one written.
    pub copy_bytes_per_second: f64,
}

impl Peak {
    /// The larger of two measurements, figure by figure: what disturbs can only lower one.
    pub fn larger(self, other: Self) -> Self {
        Self {
            flops_per_second: self.flops_per_second.max(other.flops_per_second),
            bf16_flops_per_second: self.bf16_flops_per_second.max(other.bf16_flops_per_second),
            copy_bytes_per_second: self.copy_bytes_per_second.max(other.copy_bytes_per_second),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Peak;

    #[test]
    fn the_larger_of_each_figure_counts() {
        let peak = |flops_per_second, bf16_flops_per_second, copy_bytes_per_second| Peak {
            flops_per_second,
            bf16_flops_per_second,
            copy_bytes_per_second,
        };
        assert_eq!(peak(2.0, 1.0, 5.0).larger(peak(1.0, 3.0, 4.0)), peak(2.0, 3.0, 5.0));
    }
}
