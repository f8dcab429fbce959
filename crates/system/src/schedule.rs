//! Who runs where, and which CPU has to look around before it runs a guest again.
//!
//! Each vCPU has a home CPU, which looks after it; who runs of those that want to, and where, is for `sched` to say.
//!
//! State class: derived. After a start nobody is loaded, everybody is looked at once, every CPU looks around.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use ids::{CpuId, DomId, Maddr, VcpuSlot};
use sched::{CpuSet, Queues};
use spin::Mutex;

/// No vCPU.
const NOBODY: u32 = u32::MAX;
/// No time.
pub(crate) const NEVER: u64 = u64::MAX;

/// Why a CPU has to look around.
pub(crate) mod look {
    /// Its timer fired, or its earliest deadline changed.
    pub(crate) const TIMER: u32 = 1;
    /// A vCPU of its was woken, or may not run any more.
    pub(crate) const SCHEDULE: u32 = 2;
    /// The running vCPU gives way to others.
    pub(crate) const YIELD: u32 = 4;
    /// The running vCPU's runstate area waits for its kernel's page tables.
    pub(crate) const AREA: u32 = 8;
    /// Its trace buffer is half full, and Dom0 does not know.
    pub(crate) const TRACE: u32 = 16;
}

/// The schedule.
#[derive(Debug)]
pub struct Schedule {
    /// Who waits for a CPU, and whose turn it is.
    pub(crate) queues: Queues,
    cpus: Box<[Cpu]>,
    vcpus: Box<[Place]>,
}

/// What is known about a CPU.
#[derive(Debug)]
struct Cpu {
    /// Bits of [`look`].
    look: AtomicU32,
    /// Whose registers it holds.
    loaded: AtomicU32,
    /// What its timer is set to. Its own.
    armed: AtomicU64,
    /// vCPUs with something new, to be looked at.
    woken: Mutex<VecDeque<u32>>,
}

/// What is known about a vCPU.
#[derive(Debug)]
struct Place {
    home: AtomicU32,
    /// It stands in a `woken` queue.
    woken: AtomicBool,
    /// Where its clock was written, and whose it is; 0 nowhere.
    clock: AtomicU64,
    /// What its runstate area was last made to show.
    shown: AtomicU64,
}

impl Schedule {
    /// Nobody loaded, everybody woken; all CPUs online, homes in turn.
    pub fn new(cpus: u32, vcpus: u32, region: sched::Region) -> Self {
        let cpus = cpus.max(1);
        let cpu = |number: u32| Cpu {
            look: AtomicU32::new(look::TIMER | look::SCHEDULE),
            loaded: AtomicU32::new(NOBODY),
            // Whatever an earlier life left there.
            armed: AtomicU64::new(0),
            woken: Mutex::new((number..vcpus).step_by(cpus as usize).collect()),
        };
        let place = |slot: u32| Place {
            home: AtomicU32::new(slot % cpus),
            woken: AtomicBool::new(true),
            clock: AtomicU64::new(0),
            shown: AtomicU64::new(NEVER),
        };
        Self {
            queues: Queues::new(region),
            cpus: (0..cpus).map(cpu).collect(),
            vcpus: (0..vcpus).map(place).collect(),
        }
    }

    fn cpu(&self, cpu: CpuId) -> &Cpu {
        &self.cpus[cpu.0 as usize]
    }

    fn place(&self, vcpu: VcpuSlot) -> &Place {
        &self.vcpus[vcpu.0 as usize]
    }

    /// CPUs it schedules for.
    pub fn cpus(&self) -> u32 {
        self.cpus.len() as u32
    }

    /// Whose registers a CPU holds.
    #[inline]
    pub fn loaded(&self, cpu: CpuId) -> Option<VcpuSlot> {
        // Acquire: pairs with `keep`, so that who takes a vCPU over finds it saved.
        let slot = self.cpu(cpu).loaded.load(Ordering::Acquire);
        (slot != NOBODY).then_some(VcpuSlot(slot))
    }

    /// The registers of `vcpu` are in `cpu`, which is its home from now on.
    pub fn keep(&self, cpu: CpuId, vcpu: VcpuSlot) {
        self.cpu(cpu).loaded.store(vcpu.0, Ordering::Release);
        self.place(vcpu).home.store(cpu.0, Ordering::Release);
    }

    /// The registers that `cpu` held are completely in memory, and in `cpu` no more.
    pub(crate) fn let_go(&self, cpu: CpuId) {
        self.cpu(cpu).loaded.store(NOBODY, Ordering::Release);
    }

    /// Whether a CPU holds the registers of `vcpu`.
    pub(crate) fn is_held(&self, vcpu: VcpuSlot) -> bool {
        (0..self.cpus()).any(|cpu| self.loaded(CpuId(cpu)) == Some(vcpu))
    }

    /// A vCPU gets another home: with the lock of [`Queues`].
    pub(crate) fn set_home(&self, vcpu: VcpuSlot, to: CpuId) {
        self.place(vcpu).home.store(to.0, Ordering::Release);
    }

    /// A vCPU's home.
    pub fn home(&self, vcpu: VcpuSlot) -> CpuId {
        self.vcpus.get(vcpu.0 as usize).map_or(CpuId(0), |p| CpuId(p.home.load(Ordering::Acquire)))
    }

    /// CPUs that are not `online` run nobody: the vCPUs whose home they were get another one, in turn.
    /// CPU 0 always is.
    pub fn set_online(&self, online: impl Fn(CpuId) -> bool) {
        let up: CpuSet = (0..self.cpus()).map(CpuId).filter(|cpu| cpu.0 == 0 || online(*cpu)).collect();
        self.queues.set_online(up);
        let mut turn = up.iter().map(|cpu| cpu.0).collect::<alloc::vec::Vec<_>>().into_iter().cycle();
        for slot in (0..self.vcpus.len() as u32).map(VcpuSlot) {
            if !up.has(self.home(slot))
                && let Some(number) = turn.next()
            {
                self.place(slot).home.store(number, Ordering::Release);
                self.place(slot).woken.store(false, Ordering::Release);
                self.wake(slot);
            }
        }
    }

    /// What a CPU has to look at; 0: it goes on with the vCPU it holds.
    #[inline(always)]
    pub(crate) fn look(&self, cpu: CpuId) -> u32 {
        self.cpu(cpu).look.load(Ordering::Acquire)
    }

    /// The word of [`look`](Self::look), for entry code; 0: nothing.
    pub fn look_word(&self, cpu: CpuId) -> &AtomicU32 {
        &self.cpu(cpu).look
    }

    /// Takes what a CPU has to look at.
    pub(crate) fn take_look(&self, cpu: CpuId) -> u32 {
        self.cpu(cpu).look.swap(0, Ordering::AcqRel)
    }

    /// A CPU has to look around. Who does this to another one kicks it.
    pub(crate) fn disturb(&self, cpu: CpuId, why: u32) {
        if let Some(cpu) = self.cpus.get(cpu.0 as usize) {
            cpu.look.fetch_or(why, Ordering::AcqRel);
        }
    }

    /// Puts a vCPU before its home CPU to be looked at. Returns that CPU.
    pub(crate) fn wake(&self, vcpu: VcpuSlot) -> CpuId {
        let home = self.home(vcpu);
        let Some(place) = self.vcpus.get(vcpu.0 as usize) else { return home };
        // Release: pairs with the exchange in `next_woken`; what it was woken for is in memory.
        if !place.woken.swap(true, Ordering::AcqRel) {
            self.cpu(home).woken.lock().push_back(vcpu.0);
        }
        self.disturb(home, look::SCHEDULE);
        home
    }

    /// The next vCPU to be looked at.
    pub(crate) fn next_woken(&self, cpu: CpuId) -> Option<VcpuSlot> {
        let slot = VcpuSlot(self.cpu(cpu).woken.lock().pop_front()?);
        self.place(slot).woken.swap(false, Ordering::AcqRel);
        Some(slot)
    }

    /// Notes what this CPU's timer is to be set to; whether that is new.
    pub(crate) fn arm(&self, cpu: CpuId, at: u64) -> bool {
        let armed = &self.cpu(cpu).armed;
        let new = armed.load(Ordering::Relaxed) != at;
        if new {
            armed.store(at, Ordering::Relaxed);
        }
        new
    }

    /// This CPU's timer has fired: whatever it is to be set to next is new, also never, for the platform may
    /// fire earlier than asked (the watchdog wants an interrupt now and then).
    pub(crate) fn fired(&self, cpu: CpuId) {
        self.cpu(cpu).armed.store(0, Ordering::Relaxed);
        self.disturb(cpu, look::TIMER);
    }

    /// Whether a vCPU's clock has to be written at `at`, for it was written elsewhere or not in this life, or the slot
    /// was another domain's.
    pub(crate) fn new_clock(&self, vcpu: VcpuSlot, domain: DomId, at: Maddr) -> bool {
        let clock = &self.place(vcpu).clock;
        // Addresses have 52 bits, and numbers of domains that have the slot one after another differ in the lower 12.
        let wanted = at.0 ^ u64::from(domain.0) << 52;
        let new = clock.load(Ordering::Relaxed) != wanted;
        if new {
            clock.store(wanted, Ordering::Relaxed);
        }
        new
    }

    /// Whether its runstate area does not show what `mark` stands for.
    pub(crate) fn is_stale(&self, vcpu: VcpuSlot, mark: u64) -> bool {
        self.place(vcpu).shown.load(Ordering::Relaxed) != mark
    }

    /// Its runstate area shows what `mark` stands for.
    pub(crate) fn set_shown(&self, vcpu: VcpuSlot, mark: u64) {
        self.place(vcpu).shown.store(mark, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
