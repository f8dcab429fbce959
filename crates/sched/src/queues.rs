//! Who waits, who runs, and who is next.

use crate::budget::Budget;
use crate::cpu_set::{CpuSet, WORDS};
use crate::found::Found;
use crate::pay::price;
use crate::turn::{NEVER, Turn, length};
use crate::{Region, Told, Vcpus, Wish};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use ids::{CpuId, VcpuSlot};
use spin::{Mutex, MutexGuard};

/// What a vCPU is thought to have paid more where it had better not run, and where it did not run last, ns of its time.
const STRANGER: u64 = 5_000_000;
const MOVED: u64 = 1_000_000;

/// The queues of all CPUs. State class: derived; after a start nobody waits and nobody has paid.
#[derive(Debug)]
pub struct Queues {
    pub(crate) region: Region,
    /// CPUs that run guests.
    pub(crate) online: [AtomicU64; WORDS],
    /// They are one: nobody can go elsewhere, and nobody else is to be told.
    pub(crate) is_only: AtomicBool,
    inner: Mutex<Inner>,
    /// How many wait.
    waiting: AtomicU32,
    cpus: Box<[Words]>,
}

/// What is asked of a CPU without the lock.
#[derive(Debug)]
pub(crate) struct Words {
    /// When its turn ends. Written with the lock held.
    until: AtomicU64,
    /// Who runs, or [`NOBODY`]. Written by the CPU itself.
    running: AtomicU32,
    /// It waits for something to do, and nobody has called it yet.
    pub(crate) idle: AtomicBool,
}

/// No vCPU.
const NOBODY: u32 = u32::MAX;

#[derive(Debug)]
struct Inner {
    /// Who waits, in the order in which they came.
    waiting: Vec<VcpuSlot>,
    units: Box<[Unit]>,
    turns: Box<[Turn]>,
    budgets: Box<[Budget]>,
}

/// A vCPU.
#[derive(Debug, Clone, Copy, Default)]
struct Unit {
    /// What it has paid.
    paid: u128,
    /// It is among those who wait.
    waits: bool,
}

impl Queues {
    /// Nobody waits, all CPUs of the region are online.
    pub fn new(region: Region) -> Self {
        let cpus = region.cpus.len();
        let words = || Words {
            until: AtomicU64::new(NEVER),
            running: AtomicU32::new(NOBODY),
            idle: AtomicBool::new(false),
        };
        Self {
            region,
            online: region.cpus().0.map(AtomicU64::new),
            is_only: AtomicBool::new(region.cpus().len() == 1),
            inner: Mutex::new(Inner {
                waiting: Vec::with_capacity(region.vcpus.len()),
                units: region.vcpus.iter().map(|_| Unit::default()).collect(),
                turns: region.cpus.iter().map(|_| Turn::default()).collect(),
                budgets: region.shares.iter().map(|_| Budget::default()).collect(),
            }),
            waiting: AtomicU32::new(0),
            cpus: (0..cpus).map(|_| words()).collect(),
        }
    }

    pub(crate) fn words(&self, cpu: CpuId) -> &Words {
        &self.cpus[cpu.0 as usize]
    }

    /// Whether the turn on this CPU is over.
    #[inline]
    pub fn is_over(&self, cpu: CpuId, now: u64) -> bool {
        now >= self.turn_ends(cpu)
    }

    /// Whether `current` runs on this CPU and its turn is not over: there is nothing to choose.
    #[inline]
    pub fn goes_on(&self, cpu: CpuId, current: VcpuSlot, now: u64) -> bool {
        self.words(cpu).running.load(Ordering::Relaxed) == current.0 && !self.is_over(cpu, now)
    }

    /// When the present turn on this CPU ends, or somebody gets a budget who would run here; `u64::MAX`: never.
    #[inline]
    pub fn turn_ends(&self, cpu: CpuId) -> u64 {
        self.words(cpu).until.load(Ordering::Relaxed)
    }

    /// Ends every turn: shares or places have changed.
    pub fn end_turns(&self) {
        let _inner = self.inner.lock();
        self.cpus.iter().for_each(|words| words.until.store(0, Ordering::Relaxed));
    }

    /// Whether nobody waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0
    }

    /// Says whether this CPU waits for something to do.
    pub fn set_idle(&self, cpu: CpuId, idle: bool) {
        let word = &self.words(cpu).idle;
        if word.load(Ordering::Relaxed) != idle {
            word.store(idle, Ordering::SeqCst);
        }
    }

    /// A vCPU that wants a CPU and that nobody runs waits for one, looked after by `cpu`. False: another CPU has taken
    /// it over meanwhile, and runs it or is about to.
    #[must_use]
    pub fn make_ready(&self, cpu: CpuId, vcpu: VcpuSlot, now: u64, who: &impl Vcpus) -> bool {
        let mut inner = self.inner.lock();
        // Under the lock, with which homes change of those who wait.
        if who.home(vcpu) != cpu {
            return false;
        }
        let weight = self.region.weight(who.domain(vcpu));
        let unit = &mut inner.units[vcpu.0 as usize];
        if unit.waits {
            return true;
        }
        let paid = unit.paid;
        inner.units[vcpu.0 as usize].paid = inner.turn(cpu).counts(paid, weight);
        self.push(&mut inner, vcpu);
        if let Some(end) = self.end_for(&inner, cpu, vcpu, who) {
            self.shorten(cpu, end, now);
        }
        true
    }

    /// A vCPU that `from` looks after, completely in memory, gets another home, which is to look at it: it waits no
    /// more. `first` runs with the lock held. False: another CPU has taken it over meanwhile.
    #[must_use]
    pub fn move_home(
        &self,
        vcpu: VcpuSlot,
        [from, to]: [CpuId; 2],
        who: &impl Vcpus,
        first: impl FnOnce(),
    ) -> bool {
        let mut inner = self.inner.lock();
        let here = who.home(vcpu) == from;
        if here {
            first();
            self.pull(&mut inner, |other| other == vcpu);
            who.take(vcpu, to);
        }
        here
    }

    fn push(&self, inner: &mut MutexGuard<'_, Inner>, vcpu: VcpuSlot) {
        inner.units[vcpu.0 as usize].waits = true;
        inner.waiting.push(vcpu);
        self.waiting.store(inner.waiting.len() as u32, Ordering::SeqCst);
    }

    fn pull(&self, inner: &mut MutexGuard<'_, Inner>, leave: impl Fn(VcpuSlot) -> bool) {
        let Inner { waiting, units, .. } = &mut **inner;
        waiting.retain(|vcpu| {
            let stays = !leave(*vcpu);
            units[vcpu.0 as usize].waits &= stays;
            stays
        });
        self.waiting.store(inner.waiting.len() as u32, Ordering::SeqCst);
    }

    /// When the turn of who runs on `cpu` would end, for a rival.
    fn end_for(&self, inner: &Inner, cpu: CpuId, rival: VcpuSlot, who: &impl Vcpus) -> Option<u64> {
        let turn = inner.turn(cpu);
        let domain = who.domain(turn.running?);
        let weight = self.region.weight(domain);
        let paid = turn.counts(inner.units[turn.running?.0 as usize].paid, weight);
        let shortest = self.region.shortest_turn(self.region.pool_of(domain));
        let length = length(paid, weight, inner.units[rival.0 as usize].paid, shortest);
        Some(turn.since.saturating_add(length))
    }

    /// Ends the turn on `cpu` at `end` or now, for somebody who waits. Whether that is earlier. With the lock held.
    fn shorten(&self, cpu: CpuId, end: u64, now: u64) -> bool {
        let (end, until) = (end.max(now), &self.words(cpu).until);
        let sooner = end < until.load(Ordering::Relaxed);
        if sooner {
            until.store(end, Ordering::Relaxed);
        }
        sooner
    }

    /// Charges the present turn of a CPU.
    fn pay(&self, inner: &mut Inner, cpu: CpuId, now: u64, who: &impl Vcpus) {
        let turn = &mut inner.turns[cpu.0 as usize];
        let Some(vcpu) = turn.running else { return };
        let ns = now.saturating_sub(turn.since);
        turn.since = turn.since.max(now);
        let domain = who.domain(vcpu);
        let unit = &mut inner.units[vcpu.0 as usize];
        unit.paid = unit.paid.saturating_add(price(ns, self.region.weight(domain)));
        let budget = &mut inner.budgets[usize::from(domain.0)];
        if self.region.cap(domain) != 0 {
            budget.refresh(&self.region, domain, now);
            budget.take(ns);
        }
    }

    /// Chooses who runs on a CPU next, and begins the turn: of those who want it, who has paid least.
    pub fn choose(&self, cpu: CpuId, wish: Wish, now: u64, who: &impl Vcpus) -> Option<VcpuSlot> {
        let next = self.choose_locked(cpu, wish, now, who);
        // The only durable word, this CPU's own: without the lock.
        self.region.note_idle(cpu, next.is_none(), now);
        next
    }

    #[inline(always)]
    fn choose_locked(&self, cpu: CpuId, wish: Wish, now: u64, who: &impl Vcpus) -> Option<VcpuSlot> {
        let mut inner = self.inner.lock();
        let inner = &mut inner;
        let has_no_cap = |vcpu: Option<VcpuSlot>| vcpu.is_none_or(|vcpu| self.has_no_cap(inner, vcpu, who));
        let running = inner.turn(cpu).running;
        if inner.waiting.is_empty()
            && has_no_cap(wish.current)
            && (running == wish.current || has_no_cap(running))
        {
            // Nothing is paid: what nobody else wanted costs nothing.
            self.begin_alone(inner, cpu, wish.current, now);
            return wish.current;
        }
        self.pay(inner, cpu, now, who);
        self.pull(inner, |vcpu| !who.can_run(vcpu));
        // One without a budget waits, though its CPU still holds it.
        let current = wish.current.filter(|vcpu| !inner.units[vcpu.0 as usize].waits);
        let found = self.find(inner, cpu, Wish { current, ..wish }, now, who);
        self.raise(inner, cpu, &found);
        let next = found.best.map(|best| best.0);
        let alone = found.rival.is_none() && next == current;
        for vcpu in next.into_iter().chain(current).filter(|_| !alone) {
            let weight = self.region.weight(who.domain(vcpu));
            let paid = inner.units[vcpu.0 as usize].paid;
            inner.units[vcpu.0 as usize].paid = inner.turn(cpu).counts(paid, weight);
        }
        if next != current {
            self.pull(inner, |vcpu| next == Some(vcpu));
            current.into_iter().for_each(|vcpu| self.push(inner, vcpu));
        }
        next.into_iter().filter(|vcpu| who.home(*vcpu) != cpu).for_each(|vcpu| who.take(vcpu, cpu));
        self.begin(inner, cpu, &found, now, who);
        next
    }

    fn has_no_cap(&self, inner: &Inner, vcpu: VcpuSlot, who: &impl Vcpus) -> bool {
        let domain = who.domain(vcpu);
        self.region.cap(domain) == 0 && inner.budgets[usize::from(domain.0)].is_none()
    }

    /// Begins a turn without an end: nobody else wants a CPU. Most choices are of this kind.
    fn begin_alone(&self, inner: &mut Inner, cpu: CpuId, current: Option<VcpuSlot>, now: u64) {
        let turn = &mut inner.turns[cpu.0 as usize];
        (turn.running, turn.since) = (current, now);
        let words = self.words(cpu);
        words.running.store(current.map_or(NOBODY, |vcpu| vcpu.0), Ordering::Relaxed);
        words.until.store(NEVER, Ordering::Relaxed);
    }

    /// Looks for who has paid least, of those who want a CPU and may have it.
    fn find(&self, inner: &mut Inner, cpu: CpuId, wish: Wish, now: u64, who: &impl Vcpus) -> Found {
        let mut found = Found::default();
        let Inner { waiting, units, budgets, .. } = inner;
        let last = wish.current.filter(|_| wish.yields);
        let first = wish.current.filter(|_| !wish.yields);
        for vcpu in first.into_iter().chain(waiting.iter().copied()).chain(last) {
            let is_current = wish.current == Some(vcpu);
            if !is_current && (!self.may_run(vcpu, cpu, who) || who.is_held_elsewhere(vcpu, cpu)) {
                continue;
            }
            let domain = who.domain(vcpu);
            let budget = &mut budgets[usize::from(domain.0)];
            budget.refresh(&self.region, domain, now);
            if !budget.has_some() {
                let back = budget.comes_back();
                found.budget = Some(found.budget.map_or(back, |at| at.min(back)));
                continue;
            }
            let paid = units[vcpu.0 as usize].paid;
            let thought = match (is_current, wish.yields) {
                (true, true) => u128::MAX,
                (true, false) => paid,
                _ => paid.saturating_add(self.distance(vcpu, cpu, who)),
            };
            found.offer(vcpu, thought, paid);
        }
        found
    }

    /// What a vCPU is thought to have paid more, because of where it comes from.
    fn distance(&self, vcpu: VcpuSlot, cpu: CpuId, who: &impl Vcpus) -> u128 {
        let stranger = if self.region.is_soft(vcpu, cpu) { 0 } else { STRANGER };
        let moved = if who.home(vcpu) == cpu { 0 } else { MOVED };
        match stranger + moved {
            0 => 0,
            ns => price(ns, self.region.weight(who.domain(vcpu))),
        }
    }

    /// The level of a CPU follows the least that one of those has paid who want it; of one alone, if it had to wait.
    fn raise(&self, inner: &mut Inner, cpu: CpuId, found: &Found) {
        let Some((vcpu, _, paid)) = found.best else { return };
        let waited = inner.units[vcpu.0 as usize].waits;
        let level = &mut inner.turns[cpu.0 as usize].level;
        match found.rival {
            Some(rival) => *level = (*level).max(paid.min(rival)),
            None if waited => *level = (*level).max(paid),
            None => {}
        }
    }

    fn begin(&self, inner: &mut Inner, cpu: CpuId, found: &Found, now: u64, who: &impl Vcpus) {
        let turn = &mut inner.turns[cpu.0 as usize];
        turn.running = found.best.map(|best| best.0);
        turn.since = now;
        let Words { until, running, .. } = self.words(cpu);
        running.store(turn.running.map_or(NOBODY, |vcpu| vcpu.0), Ordering::Relaxed);
        let back = found.budget.unwrap_or(NEVER);
        let Some(vcpu) = turn.running else { return until.store(back, Ordering::Relaxed) };
        let domain = who.domain(vcpu);
        let (weight, pool) = (self.region.weight(domain), self.region.pool_of(domain));
        let paid = inner.units[vcpu.0 as usize].paid;
        let turn = found
            .rival
            .map_or(u64::MAX, |rival| length(paid, weight, rival, self.region.shortest_turn(pool)));
        let budget = inner.budgets[usize::from(domain.0)].longest(who.siblings(vcpu));
        until.store(now.saturating_add(turn.min(budget)).min(back), Ordering::Relaxed);
    }

    /// While somebody waits: an idle CPU that would do for one of them, which is called, or the CPU that gives way to
    /// the one that has paid least soonest. For after each choice, when the registers of who waits are in memory. The only
    /// CPU has nobody to tell: who comes shortens its turn, and each choice knows of all who wait.
    pub fn tell(&self, cpu: CpuId, now: u64, who: &impl Vcpus) -> Option<Told> {
        if self.is_empty() || self.is_only() {
            return None;
        }
        let mut inner = self.inner.lock();
        let mut least: Option<(VcpuSlot, CpuSet)> = None;
        for index in 0..inner.waiting.len() {
            let vcpu = inner.waiting[index];
            let domain = who.domain(vcpu);
            let budget = &mut inner.budgets[usize::from(domain.0)];
            budget.refresh(&self.region, domain, now);
            if !budget.has_some() || !who.can_run(vcpu) {
                continue;
            }
            let places = self.places(vcpu, who);
            if let Some(idle) = self.call_idle(vcpu, &places, who) {
                return Some(Told::Idle(idle));
            }
            let paid = |vcpu: VcpuSlot| inner.units[vcpu.0 as usize].paid;
            if least.is_none_or(|(least, _)| paid(vcpu) < paid(least)) {
                least = Some((vcpu, places));
            }
        }
        let (least, places) = least?;
        let end = |cpu: CpuId| self.end_for(&inner, cpu, least, who).map(|end| (end, cpu));
        let (end, other) = places.iter().filter_map(end).min_by_key(|(end, at)| (*end, *at != cpu))?;
        self.shorten(other, end, now).then_some(Told::Sooner(other))
    }
}

impl Inner {
    fn turn(&self, cpu: CpuId) -> &Turn {
        &self.turns[cpu.0 as usize]
    }
}
