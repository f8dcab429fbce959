//! Deadlines are set, stopped, and fire.

use crate::record::WATCHDOGS;
use crate::{Error, State, Timers};
use core::ops::Range;
use ids::{Gva, VcpuSlot};
use vault::{Effect, Tx, kind};

/// `VCPU_SSHOTTMR_future`: refuse a deadline that has passed.
pub const FUTURE_ONLY: u32 = 1;
/// Shortest period of the periodic timer: 1 ms.
pub const MIN_PERIOD: u64 = 1_000_000;
/// Longest period (`STIME_DELTA_MAX` of Xen): 146 years.
pub const MAX_PERIOD: u64 = u64::MAX >> 2;
/// Deadlines later than this mean "never" (292 years) and are kept as this.
const LAST: u64 = i64::MAX as u64;
/// vCPUs removed in a step: each takes fifteen undo entries.
const VCPUS_PER_STEP: usize = 16;

/// What fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fired {
    /// The guest's timer event (`VIRQ_TIMER`) is due: the caller publishes it in the same transaction.
    pub timer: bool,
    /// A poll gave up: the caller ends the waiting in the same transaction.
    pub poll: bool,
    /// A watchdog bit: the caller shuts the domain down in the same transaction.
    pub watchdog: bool,
}

impl<'l> Timers<'l> {
    /// Makes a vCPU known, offline since `now`.
    ///
    /// # Errors
    /// `NoSuchVcpu`: no such slot; `Exists`.
    pub fn create_vcpu(&self, tx: &mut Tx<'l>, slot: VcpuSlot, now: u64) -> Result<(), Error> {
        let vcpu = self.region.vcpus.get(slot.0 as usize).ok_or(Error::NoSuchVcpu)?;
        tx.lock(self.derived.vcpu(slot)?);
        if vcpu.live.get() {
            return Err(Error::Exists);
        }
        vcpu.spent.iter().for_each(|spent| tx.set(spent, 0));
        tx.set(&vcpu.state, State::Offline as u32);
        tx.set(&vcpu.entered, now);
        tx.set(&vcpu.created, now);
        tx.set(&vcpu.live, true);
        Ok(())
    }

    /// `VCPUOP_set_singleshot_timer`: one timer event at `at`, at once if that has passed. The new deadline
    /// takes the place of the old one.
    ///
    /// # Errors
    /// `NoSuchVcpu`; `Past`: with [`FUTURE_ONLY`], if `at` lies before `now`.
    pub fn set_singleshot(
        &self,
        tx: &mut Tx<'l>,
        slot: VcpuSlot,
        at: u64,
        flags: u32,
        now: u64,
    ) -> Result<(), Error> {
        let vcpu = self.region.vcpu(slot)?;
        tx.lock(self.derived.vcpu(slot)?);
        if flags & FUTURE_ONLY != 0 && at < now {
            return Err(Error::Past);
        }
        tx.set(&vcpu.singleshot, at.clamp(1, LAST));
        tx.publish(changed(slot));
        Ok(())
    }

    /// `VCPUOP_stop_singleshot_timer`.
    ///
    /// # Errors
    /// `NoSuchVcpu`.
    pub fn stop_singleshot(&self, tx: &mut Tx<'l>, slot: VcpuSlot) -> Result<(), Error> {
        let vcpu = self.region.vcpu(slot)?;
        tx.lock(self.derived.vcpu(slot)?);
        tx.set(&vcpu.singleshot, 0);
        tx.publish(changed(slot));
        Ok(())
    }

    /// `VCPUOP_set_periodic_timer`: a timer event every `period`, the first one period from `now`.
    ///
    /// # Errors
    /// `NoSuchVcpu`; `Invalid`: below [`MIN_PERIOD`] or above [`MAX_PERIOD`].
    pub fn set_periodic(&self, tx: &mut Tx<'l>, slot: VcpuSlot, period: u64, now: u64) -> Result<(), Error> {
        let vcpu = self.region.vcpu(slot)?;
        if !(MIN_PERIOD..=MAX_PERIOD).contains(&period) {
            return Err(Error::Invalid);
        }
        let first = now.saturating_add(period).min(LAST);
        tx.lock(self.derived.vcpu(slot)?);
        tx.set(&vcpu.period, period);
        tx.set(&vcpu.periodic, first);
        tx.publish(changed(slot));
        Ok(())
    }

    /// `VCPUOP_stop_periodic_timer`.
    ///
    /// # Errors
    /// `NoSuchVcpu`.
    pub fn stop_periodic(&self, tx: &mut Tx<'l>, slot: VcpuSlot) -> Result<(), Error> {
        let vcpu = self.region.vcpu(slot)?;
        tx.lock(self.derived.vcpu(slot)?);
        if vcpu.period.get() != 0 {
            tx.set(&vcpu.period, 0);
            tx.set(&vcpu.periodic, 0);
            tx.publish(changed(slot));
        }
        Ok(())
    }

    /// A poll for events (`SCHEDOP_poll`) begins; it gives up at `at`, never if 0.
    ///
    /// # Errors
    /// `NoSuchVcpu`.
    pub fn set_poll(&self, tx: &mut Tx<'l>, slot: VcpuSlot, at: u64) -> Result<(), Error> {
        let vcpu = self.region.vcpu(slot)?;
        tx.lock(self.derived.vcpu(slot)?);
        if vcpu.poll.get() != at.min(LAST) {
            tx.set(&vcpu.poll, at.min(LAST));
            tx.publish(changed(slot));
        }
        Ok(())
    }

    /// A poll is over: its deadline goes.
    ///
    /// # Errors
    /// `NoSuchVcpu`.
    pub fn stop_poll(&self, tx: &mut Tx<'l>, slot: VcpuSlot) -> Result<(), Error> {
        self.set_poll(tx, slot, 0)
    }

    /// A watchdog of the domain whose vCPU 0 is in `slot` bites at `at`, never if 0.
    ///
    /// # Errors
    /// `NoSuchVcpu`; `Invalid`: no such watchdog.
    pub fn set_watchdog(&self, tx: &mut Tx<'l>, slot: VcpuSlot, index: usize, at: u64) -> Result<(), Error> {
        let vcpu = self.region.vcpu(slot)?;
        let word = vcpu.watchdogs.get(index).ok_or(Error::Invalid)?;
        tx.lock(self.derived.vcpu(slot)?);
        tx.set(word, at.min(LAST));
        tx.publish(changed(slot));
        Ok(())
    }

    /// When the watchdogs of that domain bite; 0 for those not in use.
    ///
    /// # Errors
    /// `NoSuchVcpu`.
    pub fn watchdogs(&self, slot: VcpuSlot) -> Result<[u64; WATCHDOGS], Error> {
        Ok(self.region.vcpu(slot)?.watchdogs.each_ref().map(|word| word.get()))
    }

    /// When the single-shot timer, the periodic timer and the poll of a vCPU are due; 0 for never.
    ///
    /// # Errors
    /// `NoSuchVcpu`.
    pub fn deadlines(&self, slot: VcpuSlot) -> Result<[u64; 3], Error> {
        let vcpu = self.region.vcpu(slot)?;
        Ok([&vcpu.singleshot, &vcpu.periodic, &vcpu.poll].map(|word| word.get()))
    }

    /// Takes what is due of a vCPU's deadlines at `now`. Periods that were missed fire once.
    ///
    /// # Errors
    /// `NoSuchVcpu`.
    pub fn fire(&self, tx: &mut Tx<'l>, slot: VcpuSlot, now: u64) -> Result<Fired, Error> {
        let vcpu = self.region.vcpu(slot)?;
        tx.lock(self.derived.vcpu(slot)?);
        let due = |at: u64| at != 0 && at <= now;
        let mut fired = Fired::default();
        if due(vcpu.singleshot.get()) {
            tx.set(&vcpu.singleshot, 0);
            fired.timer = true;
        }
        if due(vcpu.periodic.get()) {
            let period = vcpu.period.get().max(MIN_PERIOD);
            let missed = (now - vcpu.periodic.get()) / period;
            let next = vcpu.periodic.get().saturating_add(period.saturating_mul(missed + 1));
            // One beyond the end of time is none.
            tx.set(&vcpu.periodic, if next <= LAST { next } else { 0 });
            if next > LAST {
                tx.set(&vcpu.period, 0);
            }
            fired.timer = true;
        }
        if due(vcpu.poll.get()) {
            tx.set(&vcpu.poll, 0);
            fired.poll = true;
        }
        for word in &vcpu.watchdogs {
            if due(word.get()) {
                tx.set(word, 0);
                fired.watchdog = true;
            }
        }
        // Also when nothing was due: a queue that lags behind learns it.
        tx.publish(changed(slot));
        Ok(fired)
    }

    /// One step of a domain's end: forgets up to 16 of its vCPUs but for the times they ran, which the toolstack may ask for
    /// as long as the domain is known. Repeat it, one transaction each, until it answers `true`.
    ///
    /// # Errors
    /// None that a domain can cause.
    pub fn teardown_step(&self, tx: &mut Tx<'l>, vcpus: Range<u32>) -> Result<bool, Error> {
        let live = |slot: &VcpuSlot| self.region.vcpu(*slot).is_ok();
        let mut left = vcpus.map(VcpuSlot).filter(live);
        for slot in left.by_ref().take(VCPUS_PER_STEP) {
            self.forget(tx, slot)?;
        }
        Ok(left.next().is_none())
    }

    fn forget(&self, tx: &mut Tx<'l>, slot: VcpuSlot) -> Result<(), Error> {
        let vcpu = self.region.vcpu(slot)?;
        tx.lock(self.derived.vcpu(slot)?);
        let times = [&vcpu.singleshot, &vcpu.period, &vcpu.periodic, &vcpu.poll];
        times.into_iter().chain(&vcpu.watchdogs).for_each(|word| tx.set(word, 0));
        tx.set(&vcpu.area, Gva(0));
        tx.set(&vcpu.state, State::Offline as u32);
        tx.set(&vcpu.live, false);
        tx.publish(changed(slot));
        Ok(())
    }
}

/// The effect that brings a vCPU's place in its queue up to date.
const fn changed(slot: VcpuSlot) -> Effect {
    Effect { kind: kind::TIMER, x: slot.0, a: 0, b: 0 }
}
