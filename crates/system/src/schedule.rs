//! Who runs where, and which CPU has to look around before it runs a guest again.
//!
//! Each vCPU has a home CPU, which runs its runnable vCPUs in turn. A CPU without any takes one over from another
//! CPU where it waits for its turn, unless the domain's vCPUs are pinned.
//!
//! State class: derived. After a start nobody is loaded, everybody is looked at once, every CPU looks around.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use ids::{CpuId, VcpuSlot};
use spin::Mutex;

/// No vCPU.
const NOBODY: u32 = u32::MAX;
/// How long a vCPU runs while others wait for its CPU, ns.
const SLICE: u64 = 10_000_000;
/// How long it runs at least before one that was just woken gets its turn, ns.
const SHORT_SLICE: u64 = 1_000_000;
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
}

/// The schedule.
#[derive(Debug)]
pub struct Schedule {
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
    /// It runs guests, or may.
    online: AtomicBool,
    /// It waits for something to do, and nobody has called it yet.
    idle: AtomicBool,
    /// What its timer is set to. Its own.
    armed: AtomicU64,
    /// When the running vCPU's turn began. Its own.
    since: AtomicU64,
    /// When that turn ends if others wait. Its own.
    slice: AtomicU64,
    queue: Mutex<Queue>,
}

/// Its vCPUs with something new: to be looked at, or waiting for their turn.
#[derive(Debug, Default)]
struct Queue {
    woken: VecDeque<u32>,
    ready: VecDeque<u32>,
}

/// What is known about a vCPU.
#[derive(Debug)]
struct Place {
    home: AtomicU32,
    /// It stands in a `woken` queue.
    woken: AtomicBool,
    /// It stands in its home's `ready` queue.
    ready: AtomicBool,
    /// Where its clock was written; 0 nowhere.
    clock: AtomicU64,
    /// What its runstate area was last made to show.
    shown: AtomicU64,
}

impl Schedule {
    /// Nobody loaded, everybody woken; all CPUs online, homes in turn.
    pub fn new(cpus: u32, vcpus: u32) -> Self {
        let cpus = cpus.max(1);
        let cpu = |number: u32| Cpu {
            look: AtomicU32::new(look::TIMER | look::SCHEDULE),
            loaded: AtomicU32::new(NOBODY),
            online: AtomicBool::new(true),
            idle: AtomicBool::new(false),
            // Whatever an earlier life left there.
            armed: AtomicU64::new(0),
            since: AtomicU64::new(0),
            slice: AtomicU64::new(NEVER),
            queue: Mutex::new(Queue {
                woken: (number..vcpus).step_by(cpus as usize).collect(),
                ready: VecDeque::new(),
            }),
        };
        let place = |slot: u32| Place {
            home: AtomicU32::new(slot % cpus),
            woken: AtomicBool::new(true),
            ready: AtomicBool::new(false),
            clock: AtomicU64::new(0),
            shown: AtomicU64::new(NEVER),
        };
        Self { cpus: (0..cpus).map(cpu).collect(), vcpus: (0..vcpus).map(place).collect() }
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

    /// The registers of `vcpu`, completely in memory, are in `cpu` no more; its home is `to` from now on.
    pub(crate) fn let_go(&self, cpu: CpuId, vcpu: VcpuSlot, to: CpuId) {
        // The slot may get another vCPU, in the same place.
        self.place(vcpu).clock.store(0, Ordering::Relaxed);
        self.place(vcpu).shown.store(NEVER, Ordering::Relaxed);
        self.cpu(cpu).loaded.store(NOBODY, Ordering::Release);
        self.move_home(vcpu, to);
    }

    /// Whether a CPU holds the registers of `vcpu`.
    pub(crate) fn is_held(&self, vcpu: VcpuSlot) -> bool {
        (0..self.cpus()).any(|cpu| self.loaded(CpuId(cpu)) == Some(vcpu))
    }

    /// A vCPU that nobody holds and that waits for no turn gets another home.
    pub(crate) fn move_home(&self, vcpu: VcpuSlot, to: CpuId) {
        self.place(vcpu).home.store(to.0, Ordering::Release);
    }

    /// Whether a CPU runs guests.
    pub(crate) fn is_online(&self, cpu: CpuId) -> bool {
        self.cpus.get(cpu.0 as usize).is_some_and(|cpu| cpu.online.load(Ordering::Acquire))
    }

    /// A vCPU's home.
    pub fn home(&self, vcpu: VcpuSlot) -> CpuId {
        self.vcpus.get(vcpu.0 as usize).map_or(CpuId(0), |p| CpuId(p.home.load(Ordering::Acquire)))
    }

    /// CPUs that are not `online` run nobody: the vCPUs whose home they were get another one, in turn.
    /// CPU 0 always is.
    pub fn set_online(&self, online: impl Fn(CpuId) -> bool) {
        for (cpu, number) in self.cpus.iter().zip(0..) {
            cpu.online.store(number == 0 || online(CpuId(number)), Ordering::Release);
        }
        let up = || (0..).zip(&self.cpus).filter(|(_, cpu)| cpu.online.load(Ordering::Acquire));
        let mut turn = up().map(|(number, _)| number).cycle();
        for slot in (0..self.vcpus.len() as u32).map(VcpuSlot) {
            if !self.cpu(self.home(slot)).online.load(Ordering::Acquire)
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
            self.cpu(home).queue.lock().woken.push_back(vcpu.0);
        }
        self.disturb(home, look::SCHEDULE);
        home
    }

    /// The next vCPU to be looked at.
    pub(crate) fn next_woken(&self, cpu: CpuId) -> Option<VcpuSlot> {
        let slot = VcpuSlot(self.cpu(cpu).queue.lock().woken.pop_front()?);
        self.place(slot).woken.swap(false, Ordering::AcqRel);
        Some(slot)
    }

    /// A vCPU of this CPU that it does not hold waits for its turn. It was woken just now: whoever runs makes
    /// way soon. False: another CPU has taken it over meanwhile, and runs it or is about to.
    #[must_use]
    pub(crate) fn make_ready(&self, cpu: CpuId, vcpu: VcpuSlot, now: u64) -> bool {
        let own = self.cpu(cpu);
        let mut queue = own.queue.lock();
        // Under the lock, which `take_over` holds while it changes the home.
        if self.home(vcpu) != cpu {
            return false;
        }
        if !self.place(vcpu).ready.swap(true, Ordering::Relaxed) {
            queue.ready.push_back(vcpu.0);
        }
        let soon = own.since.load(Ordering::Relaxed).saturating_add(SHORT_SLICE).max(now);
        own.slice.store(own.slice.load(Ordering::Relaxed).min(soon), Ordering::Relaxed);
        true
    }

    /// Whether nobody waits for a turn on this CPU.
    pub(crate) fn is_alone(&self, cpu: CpuId) -> bool {
        self.cpu(cpu).queue.lock().ready.is_empty()
    }

    /// Whether somebody waits for whom `wanted` holds.
    pub(crate) fn has_ready(&self, cpu: CpuId, wanted: impl Fn(VcpuSlot) -> bool) -> bool {
        self.cpu(cpu).queue.lock().ready.iter().any(|slot| wanted(VcpuSlot(*slot)))
    }

    /// Whether the turn on this CPU is over.
    pub(crate) fn is_over(&self, cpu: CpuId, now: u64) -> bool {
        now >= self.cpu(cpu).slice.load(Ordering::Relaxed)
    }

    /// Chooses who runs next: `current` (whom the CPU holds and who can run) until its turn is over, then those
    /// who wait, first come, first served. The turn begins anew if it passes on, or comes back to `current`.
    pub(crate) fn choose(
        &self,
        cpu: CpuId,
        current: Option<VcpuSlot>,
        over: bool,
        now: u64,
        can_run: impl Fn(VcpuSlot) -> bool,
    ) -> Option<VcpuSlot> {
        let own = self.cpu(cpu);
        if current.is_some() && !over {
            return current;
        }
        let mut queue = own.queue.lock();
        let mut next = None;
        while let Some(slot) = queue.ready.pop_front().map(VcpuSlot) {
            self.place(slot).ready.store(false, Ordering::Relaxed);
            if can_run(slot) {
                next = Some(slot);
                break;
            }
        }
        if let (Some(_), Some(old)) = (next, current) {
            self.place(old).ready.store(true, Ordering::Relaxed);
            queue.ready.push_back(old.0);
        }
        let end = if queue.ready.is_empty() { NEVER } else { now.saturating_add(SLICE) };
        own.since.store(now, Ordering::Relaxed);
        own.slice.store(end, Ordering::Relaxed);
        next.or(current)
    }

    /// When the present turn on this CPU ends; never if nobody waits.
    pub(crate) fn turn_ends(&self, cpu: CpuId) -> u64 {
        if self.is_alone(cpu) { NEVER } else { self.cpu(cpu).slice.load(Ordering::Relaxed) }
    }

    /// Says whether this CPU waits for something to do.
    pub(crate) fn set_idle(&self, cpu: CpuId, idle: bool) {
        let word = &self.cpu(cpu).idle;
        if word.load(Ordering::Relaxed) != idle {
            word.store(idle, Ordering::SeqCst);
        }
    }

    /// An idle CPU, which is none any more.
    pub(crate) fn call_idle(&self) -> Option<CpuId> {
        let called = |cpu: &Cpu| cpu.online.load(Ordering::Acquire) && cpu.idle.swap(false, Ordering::SeqCst);
        let found = self.cpus.iter().position(called)?;
        let found = CpuId(found as u32);
        self.disturb(found, look::SCHEDULE);
        Some(found)
    }

    /// Takes over a vCPU that waits for its turn elsewhere, is completely in memory and `may_move`.
    pub(crate) fn take_over(&self, cpu: CpuId, may_move: impl Fn(VcpuSlot) -> bool) -> Option<VcpuSlot> {
        for number in (0..self.cpus()).map(CpuId).filter(|number| *number != cpu) {
            let mut queue = self.cpu(number).queue.lock();
            // Its own CPU puts it there before it lets go of it.
            let held = self.loaded(number);
            let found = queue.ready.iter().position(|slot| {
                let slot = VcpuSlot(*slot);
                held != Some(slot) && may_move(slot)
            });
            if let Some(slot) = found.and_then(|index| queue.ready.remove(index)).map(VcpuSlot) {
                let place = self.place(slot);
                place.ready.store(false, Ordering::Relaxed);
                // Under the old home's lock: it does not look for it in its queue again.
                place.home.store(cpu.0, Ordering::Release);
                return Some(slot);
            }
        }
        None
    }

    /// Begins a turn of a vCPU that was taken over.
    pub(crate) fn begin_turn(&self, cpu: CpuId, now: u64) {
        self.cpu(cpu).since.store(now, Ordering::Relaxed);
        self.cpu(cpu).slice.store(NEVER, Ordering::Relaxed);
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

    /// Whether a vCPU's clock has to be written at `at`, for it was written elsewhere or not in this life.
    pub(crate) fn new_clock(&self, vcpu: VcpuSlot, at: u64) -> bool {
        let clock = &self.place(vcpu).clock;
        let new = clock.load(Ordering::Relaxed) != at;
        if new {
            clock.store(at, Ordering::Relaxed);
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
