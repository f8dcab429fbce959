//! From time-stamp counts to nanoseconds and back, as the ABI's vcpu_time_info computes it.
//!
//! System time is the time-stamp counter's: it is 0 where that is. A boot fact gives the rate; a microreboot
//! neither changes nor measures it.

/// Nanoseconds per count, as `mul / 2^32 * 2^shift` (public/xen.h, `vcpu_time_info`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeScale {
    /// Multiplier: a fraction of 2^32, at least one half.
    pub mul_frac: u32,
    /// Binary shift of the count before the multiplication.
    pub shift: i8,
}

impl TimeScale {
    /// The scale of a counter running at `khz`; `None` for 0 or more than 100 GHz.
    pub fn from_khz(khz: u64) -> Option<Self> {
        if khz == 0 || khz > 100_000_000 {
            return None;
        }
        // Nanoseconds per count with 96 fractional bits, of which the upper 32 significant ones are kept.
        let ratio = (1_000_000u128 << 96) / u128::from(khz);
        let bits = 128 - ratio.leading_zeros() as i32;
        let rounded = ((ratio >> (bits - 33)) + 1) >> 1;
        let (mul, bits) = if rounded >> 32 != 0 { (rounded >> 1, bits + 1) } else { (rounded, bits) };
        Some(Self { mul_frac: u32::try_from(mul).ok()?, shift: i8::try_from(bits - 96).ok()? })
    }

    /// Nanoseconds in `count` counts, rounded down as a guest does it; monotonic, saturating.
    #[inline]
    pub fn to_ns(self, count: u64) -> u64 {
        let scale = u128::from(self.mul_frac);
        if self.shift <= 0 {
            let shifted = count >> u32::from(self.shift.unsigned_abs()).min(63);
            return ((u128::from(shifted) * scale) >> 32) as u64;
        }
        let shifted = u128::from(count) << u32::from(self.shift.unsigned_abs()).min(31);
        saturate((shifted * scale) >> 32)
    }

    /// The least count whose [`to_ns`](Self::to_ns) is at least `ns`: where to arm a deadline. Monotonic,
    /// saturating.
    pub fn to_count(self, ns: u64) -> u64 {
        let units = (u128::from(ns) << 32).div_ceil(u128::from(self.mul_frac.max(1)));
        let shift = u32::from(self.shift.unsigned_abs());
        if self.shift < 0 {
            if shift >= units.leading_zeros() { u64::MAX } else { saturate(units << shift) }
        } else {
            saturate(units.div_ceil(1u128 << shift.min(31)))
        }
    }
}

fn saturate(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
