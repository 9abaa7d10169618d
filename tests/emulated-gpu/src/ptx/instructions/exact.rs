//! Rounding that hardware floating point of the host does not do: towards zero, up, down, to odd.

/// IEEE rounding modes of PTX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// `.rn`: to nearest, ties to even.
    Nearest,
    /// `.rz`
    Zero,
    /// `.rm`
    Down,
    /// `.rp`
    Up,
}

/// A real number, as the `f64` nearest to it and the sign of what is missing.
#[derive(Debug, Clone, Copy)]
pub struct Exact {
    nearest: f64,
    missing: f64,
}

impl Exact {
    /// A number that `f64` holds.
    pub fn new(value: f64) -> Exact {
        Exact { nearest: value, missing: 0.0 }
    }

    /// `a + b`
    pub fn sum(a: f64, b: f64) -> Exact {
        let nearest = a + b;
        // Knuth's two-sum: the rounding error of a sum is a float.
        let b_part = nearest - a;
        let missing = (a - (nearest - b_part)) + (b - b_part);
        Exact { nearest, missing }
    }

    /// `a * b + c`, whose product fits `f64`: of 26 bits each at most.
    pub fn product_sum(a: f64, b: f64, c: f64) -> Exact {
        Exact::sum(a * b, c)
    }

    /// `a / b`
    pub fn quotient(a: f64, b: f64) -> Exact {
        let nearest = a / b;
        Exact { nearest, missing: (-nearest).mul_add(b, a) * b.signum() }
    }

    /// The square root of `a`.
    pub fn root(a: f64) -> Exact {
        let nearest = a.sqrt();
        Exact { nearest, missing: (-nearest).mul_add(nearest, a) }
    }

    /// Rounded to `f64`.
    pub fn nearest(self) -> f64 {
        self.nearest
    }

    /// The neighbour with an odd last bit, unless the value is exact: rounding it again rounds the real number.
    fn odd(self) -> f64 {
        let Exact { nearest, missing } = self;
        let exact = missing == 0.0 || !missing.is_finite() || !nearest.is_finite();
        match nearest {
            _ if exact || nearest.to_bits() & 1 == 1 => nearest,
            _ if missing > 0.0 => nearest.next_up(),
            _ => nearest.next_down(),
        }
    }

    /// Rounded to `f32`.
    pub fn round(self, rounding: Rounding) -> f32 {
        let exact = self.odd();
        let nearest = exact as f32;
        if nearest.is_nan() || exact.is_infinite() {
            return nearest;
        }
        let too_high = f64::from(nearest) > exact;
        let too_low = f64::from(nearest) < exact;
        match rounding {
            Rounding::Down if too_high => nearest.next_down(),
            Rounding::Up if too_low => nearest.next_up(),
            Rounding::Zero if too_high && exact > 0.0 => nearest.next_down(),
            Rounding::Zero if too_low && exact < 0.0 => nearest.next_up(),
            _ => nearest,
        }
    }

    /// The `f32` that rounds to 16 bits as the number itself would.
    pub fn round_to_odd(self) -> f32 {
        let zero = self.round(Rounding::Zero);
        if f64::from(zero) == self.odd() || !zero.is_finite() {
            return zero;
        }
        f32::from_bits(zero.to_bits() | 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directed_rounding_brackets_the_exact_result() {
        let third = Exact::quotient(1.0, 3.0);
        assert_eq!(third.round(Rounding::Down).next_up(), third.round(Rounding::Up));
        assert_eq!(third.round(Rounding::Zero), third.round(Rounding::Down));
        assert_eq!(third.round(Rounding::Nearest), 1.0 / 3.0);
        let negative = Exact::quotient(-1.0, 3.0);
        assert_eq!(negative.round(Rounding::Zero), -third.round(Rounding::Zero));
        assert_eq!(negative.round(Rounding::Up), -third.round(Rounding::Down));
        assert_eq!(Exact::new(4.0).round(Rounding::Down), 4.0);
        assert_eq!(Exact::new(1e300).round(Rounding::Zero), f32::MAX);
        assert_eq!(Exact::new(1e300).round(Rounding::Nearest), f32::INFINITY);
        assert_eq!(Exact::root(2.0).round(Rounding::Up), 2_f32.sqrt().next_up());
    }

    #[test]
    fn a_sum_is_rounded_once() {
        // 1 + 2^-24 is a tie in f32; anything more decides it.
        let (tie, more) = (2_f64.powi(-24), 2_f64.powi(-80));
        assert_eq!(Exact::sum(1.0 + tie, 0.0).round(Rounding::Nearest), 1.0);
        assert_eq!(Exact::sum(1.0 + tie, more).round(Rounding::Nearest), 1_f32.next_up());
        assert_eq!(Exact::sum(1.0 + tie, -more).round(Rounding::Nearest), 1.0);
        assert_eq!(Exact::sum(1.0, more).round_to_odd(), 1_f32.next_up());
        for (a, b, c) in [(1.1_f32, 2.3_f32, -2.53_f32), (1e-20, 3e-20, 1.0), (16777217.0, 3.0, 1e-9)] {
            let exact = Exact::product_sum(a.into(), b.into(), c.into());
            assert_eq!(exact.round(Rounding::Nearest), a.mul_add(b, c));
        }
    }
}
