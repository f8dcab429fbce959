//! Time: guests' clocks and deadlines.

use crate::System;
use crate::crash::domain_shutdown;
use crate::platform::Platform;
use core::sync::atomic::{AtomicU64, Ordering};
use domains::{Life, VcpuState};
use ids::{CpuId, Maddr, VcpuSlot};
use xen_abi::xen::VIRQ_TIMER;

/// Guests' clocks are written anew when they are this old, ns.
const REFRESH: u64 = 1_000_000_000;
/// How long a vCPU may run while others of its CPU wait, ns.
const SLICE: u64 = 10_000_000;
/// vCPUs and CPUs there is room for.
const MAX: usize = 256;

/// TSC to nanoseconds: `((tsc << shift) * multiplier) >> 32`, a negative shift to the right
/// (`vcpu_time_info` of public/xen.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeScale {
    /// 32-bit fraction.
    pub multiplier: u32,
    /// Shift before the multiplication.
    pub shift: i8,
}

impl TimeScale {
    /// The scale of a TSC of `khz`.
    pub const fn new(khz: u64) -> Self {
        let mut rate = khz * 1000;
        let mut shift = 0;
        while rate > 2_000_000_000 {
            rate >>= 1;
            shift -= 1;
        }
        while rate <= 1_000_000_000 && rate != 0 {
            rate <<= 1;
            shift += 1;
        }
        let multiplier = if rate == 0 { 0 } else { (1_000_000_000_u128 << 32) / rate as u128 };
        Self { multiplier: if multiplier > u32::MAX as u128 { u32::MAX } else { multiplier as u32 }, shift }
    }

    /// Nanoseconds of `ticks`.
    pub const fn nanoseconds(self, ticks: u64) -> u64 {
        let shifted =
            if self.shift < 0 { (ticks >> -self.shift) as u128 } else { (ticks as u128) << self.shift };
        ((shifted * self.multiplier as u128) >> 32) as u64
    }
}

/// What CPUs and vCPUs remember about time. Derived.
#[derive(Debug)]
pub struct Clocks {
    /// System time of the last clock update, by vCPU.
    written: [AtomicU64; MAX],
    /// Where it was written.
    place: [AtomicU64; MAX],
    /// System time at which the running vCPU's slice ends, by CPU.
    slice: [AtomicU64; MAX],
}

impl Clocks {
    /// Nothing written, no slice begun.
    pub const fn new() -> Self {
        Self {
            written: [const { AtomicU64::new(0) }; MAX],
            place: [const { AtomicU64::new(0) }; MAX],
            slice: [const { AtomicU64::new(0) }; MAX],
        }
    }
}

impl Default for Clocks {
    fn default() -> Self {
        Self::new()
    }
}

/// `vcpu_time_info` within vcpu_info, and its fields.
mod time_info {
    pub(super) const AT: u64 = 32;
    pub(super) const VERSION: u64 = 0;
    pub(super) const TSC_TIMESTAMP: u64 = 8;
    pub(super) const SYSTEM_TIME: u64 = 16;
    pub(super) const SCALE: u64 = 24;
    pub(super) const TSC_STABLE: u64 = 1;
}

/// Wall clock in shared_info (public/xen.h).
mod wall_clock {
    pub(super) const VERSION: u64 = 3072;
    pub(super) const SECONDS: u64 = 3076;
    pub(super) const NANOSECONDS: u64 = 3080;
    pub(super) const SECONDS_HIGH: u64 = 3084;
}

impl<P: Platform> System<P> {
    /// Writes the vCPU's clock if it is old. A reader that sees an odd version waits; a crash that leaves
    /// one odd is repaired by the next write, which every start makes.
    pub(crate) fn refresh_time(&self, vcpu: VcpuSlot) {
        let now = self.platform.now();
        let Some(info) = self.state.events(self.platform).vcpu_info(vcpu) else { return };
        let index = vcpu.0 as usize;
        let (Some(written), Some(place)) = (self.clocks.written.get(index), self.clocks.place.get(index))
        else {
            return;
        };
        let is_fresh = now.wrapping_sub(written.load(Ordering::Relaxed)) < REFRESH;
        if is_fresh && place.load(Ordering::Relaxed) == info.0 {
            return;
        }
        written.store(now, Ordering::Relaxed);
        place.store(info.0, Ordering::Relaxed);
        let at = |offset| Maddr(info.0 + time_info::AT + offset);
        let (memory, machine) = (self.platform, self.state.machine);
        let version = memory.load32(at(time_info::VERSION)) | 1;
        memory.store32(at(time_info::VERSION), version);
        memory.store64(at(time_info::TSC_TIMESTAMP), machine.tsc_base.get());
        memory.store64(at(time_info::SYSTEM_TIME), 0);
        let flags = if self.state.facts.timing.tsc_invariant { time_info::TSC_STABLE } else { 0 };
        let shift = u64::from(self.scale.shift as u8);
        memory.store64(at(time_info::SCALE), u64::from(self.scale.multiplier) | shift << 32 | flags << 40);
        memory.store32(at(time_info::VERSION), version.wrapping_add(1));
    }

    /// Writes the durable wall clock to every domain's shared_info.
    pub fn write_wall_clock(&self) {
        let machine = self.state.machine;
        for domain in self.state.domains.domains {
            let info = domain.shared_info.get();
            if info == ids::Mfn(0) {
                continue;
            }
            let at = |offset| Maddr(info.maddr().0 + offset);
            let version = self.platform.load32(at(wall_clock::VERSION)) | 1;
            let seconds = machine.wall_seconds.get();
            self.platform.store32(at(wall_clock::VERSION), version);
            self.platform.store32(at(wall_clock::SECONDS), seconds as u32);
            self.platform.store32(at(wall_clock::NANOSECONDS), machine.wall_nanoseconds.get());
            self.platform.store32(at(wall_clock::SECONDS_HIGH), (seconds >> 32) as u32);
            self.platform.store32(at(wall_clock::VERSION), version.wrapping_add(1));
        }
    }

    /// Raises the timer event of each vCPU of this CPU whose deadline has passed: once.
    pub(crate) fn expire_timers(&'static self, cpu: CpuId) {
        let now = self.platform.now();
        for vcpu in self.own_vcpus(cpu) {
            let record = self.state.domains.vcpu(vcpu);
            let due = |deadline: u64| deadline != 0 && deadline <= now;
            if due(record.deadline.get()) {
                let mut journal = self.journal(vcpu);
                journal.log().begin();
                journal.change(|tx| {
                    tx.set(&record.deadline, 0);
                    if let Some(event) = self.state.events(self.platform).virq_event(vcpu, VIRQ_TIMER) {
                        tx.publish(event);
                    }
                    tx.last();
                });
            }
            if due(record.poll_until.get()) && record.state() == VcpuState::Polling {
                self.wake(vcpu);
            }
            if self.watchdogs(vcpu).any(due) {
                self.shut_down(vcpu, domain_shutdown::WATCHDOG);
            }
        }
    }

    /// Deadlines of the watchdogs that `vcpu`'s CPU looks after: those of its domain if it is the first vCPU.
    fn watchdogs(&self, vcpu: VcpuSlot) -> impl Iterator<Item = u64> + use<P> {
        let record = self.state.domains.vcpu(vcpu);
        let domain = self.state.domains.domain(record.domain.get());
        let first = record.initialised.get() && record.id.get().0 == 0 && domain.life() == Life::Alive;
        domain.watchdogs.iter().filter(move |_| first).map(|word| word.get())
    }

    /// The running vCPU gives up the rest of its slice.
    pub(crate) fn end_slice(&self) {
        let cpu = self.platform.cpu();
        self.clocks.slice[cpu.0 as usize].store(1, Ordering::Relaxed);
        self.schedule.look_around(cpu);
    }

    /// Sets this CPU's timer to the earliest deadline.
    pub(crate) fn arm(&self, cpu: CpuId) {
        let mut earliest = u64::MAX;
        let mut runnable = 0;
        for vcpu in self.own_vcpus(cpu) {
            let record = self.state.domains.vcpu(vcpu);
            let own = [record.deadline.get(), record.poll_until.get()];
            for deadline in own.into_iter().chain(self.watchdogs(vcpu)) {
                if deadline != 0 {
                    earliest = earliest.min(deadline);
                }
            }
            runnable += u32::from(record.state() == VcpuState::Runnable);
        }
        if runnable > 1 {
            let end = self.platform.now() + SLICE;
            self.clocks.slice[cpu.0 as usize].store(end, Ordering::Relaxed);
            earliest = earliest.min(end);
        }
        self.platform.arm_timer(earliest);
    }

    /// Whether the running vCPU has had its slice.
    pub(crate) fn time_is_up(&self, cpu: CpuId) -> bool {
        let end = self.clocks.slice[cpu.0 as usize].load(Ordering::Relaxed);
        end != 0 && self.platform.now() >= end
    }

    /// Whether a `SCHEDOP_poll` has come to its end: a polled port pending, or its time.
    pub(crate) fn poll_is_over(&self, vcpu: VcpuSlot) -> bool {
        let record = self.state.domains.vcpu(vcpu);
        let until = record.poll_until.get();
        if until != 0 && until <= self.platform.now() {
            return true;
        }
        let port = record.poll_port.get();
        let domain = record.domain.get();
        let events = self.state.events(self.platform);
        // More than one port: any event ends the wait, and the guest looks for itself.
        port == 0 || events.is_pending(domain, port) != Ok(false)
    }

    /// The vCPUs whose home is `cpu`.
    pub(crate) fn own_vcpus(&self, cpu: CpuId) -> impl Iterator<Item = VcpuSlot> + use<P> {
        let total = self.state.domains.vcpus.len() as u32;
        (cpu.0..total.min(MAX as u32)).step_by(self.schedule.cpus() as usize).map(VcpuSlot)
    }
}
