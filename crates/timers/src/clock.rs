//! The wall clock: UTC at system time 0.

use crate::{Error, Timers};
use vault::Tx;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// UTC at system time 0, as shared_info shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallClock {
    /// Seconds since 1970.
    pub seconds: u64,
    /// And nanoseconds.
    pub nanoseconds: u32,
}

impl WallClock {
    /// The same clock for a domain whose time is `offset` seconds off (`XEN_DOMCTL_settimeoffset`).
    pub const fn with_offset(self, offset: i64) -> Self {
        Self { seconds: self.seconds.saturating_add_signed(offset), ..self }
    }
}

impl<'l> Timers<'l> {
    /// `XENPF_settime64`: UTC was `seconds` and `nanoseconds` at `system_time`. The caller shows it to all domains.
    ///
    /// # Errors
    /// `Invalid`: system time began before 1970.
    pub fn set_wall_clock(
        &self,
        tx: &mut Tx<'l>,
        seconds: u64,
        nanoseconds: u32,
        system_time: u64,
    ) -> Result<(), Error> {
        let utc = u128::from(seconds) * u128::from(NS_PER_SECOND) + u128::from(nanoseconds);
        let boot = utc.checked_sub(u128::from(system_time)).ok_or(Error::Invalid)?;
        tx.lock(&self.derived.clock);
        let whole = u64::try_from(boot / u128::from(NS_PER_SECOND)).map_err(|_| Error::Invalid)?;
        tx.set(&self.region.clock.seconds, whole);
        tx.set(&self.region.clock.nanoseconds, (boot % u128::from(NS_PER_SECOND)) as u32);
        Ok(())
    }

    /// The wall clock.
    pub fn wall_clock(&self) -> WallClock {
        let clock = self.region.clock;
        WallClock { seconds: clock.seconds.get(), nanoseconds: clock.nanoseconds.get() }
    }
}
