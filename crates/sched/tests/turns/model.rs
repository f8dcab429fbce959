//! A machine in virtual time: CPUs that look around as the composition's do, vCPUs that run for ever or now and then.

use ids::{CpuId, DomainSlot, VcpuSlot};
use sched::{CpuSet, Queues, Region, Told, Vcpus, Wish};
use std::cell::Cell;
use vault::{Apply, Arena, Effect, LockWord, Log, Once, Tx};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const S: u64 = 1000 * MS;
const NEVER: u64 = u64::MAX;

/// Nothing but stores of durable words, which the log itself applies.
struct Nothing;

impl Apply for Nothing {
    fn apply(&mut self, effect: &Effect, _: &mut Once<'_, '_>) {
        panic!("effect {}", effect.kind)
    }
}

/// What a vCPU does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Life {
    /// It always wants to run.
    Busy,
    /// It runs for so long, then sleeps for so long, ns.
    Bursts(u64, u64),
    /// It does not exist.
    Down,
}

#[derive(Debug)]
struct Vcpu {
    domain: DomainSlot,
    life: Life,
    runnable: Cell<bool>,
    home: Cell<CpuId>,
    only: Cell<Option<CpuId>>,
    /// ns until it sleeps, when it runs; or when it wakes.
    left: Cell<u64>,
    wakes: Cell<u64>,
    woken: Cell<Option<u64>>,
}

/// What is known of a vCPU after a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Had {
    /// ns that it ran.
    pub(crate) time: u64,
    /// The longest that it waited after waking, ns; and in all.
    pub(crate) latency: u64,
    pub(crate) waited: u64,
    /// How often it got a CPU.
    pub(crate) turns: u64,
}

struct Who {
    vcpus: Vec<Vcpu>,
    held: Vec<Cell<Option<VcpuSlot>>>,
}

impl Vcpus for Who {
    fn can_run(&self, vcpu: VcpuSlot) -> bool {
        self.of(vcpu).runnable.get()
    }
    fn domain(&self, vcpu: VcpuSlot) -> DomainSlot {
        self.of(vcpu).domain
    }
    fn siblings(&self, vcpu: VcpuSlot) -> u32 {
        let domain = self.of(vcpu).domain;
        self.vcpus.iter().filter(|vcpu| vcpu.domain == domain).count() as u32
    }
    fn only(&self, vcpu: VcpuSlot) -> Option<CpuId> {
        self.of(vcpu).only.get()
    }
    fn home(&self, vcpu: VcpuSlot) -> CpuId {
        self.of(vcpu).home.get()
    }
    fn is_held_elsewhere(&self, vcpu: VcpuSlot, cpu: CpuId) -> bool {
        let home = self.home(vcpu);
        home != cpu && self.held[home.0 as usize].get() == Some(vcpu)
    }
    fn take(&self, vcpu: VcpuSlot, cpu: CpuId) {
        self.of(vcpu).home.set(cpu);
    }
}

impl Who {
    fn of(&self, vcpu: VcpuSlot) -> &Vcpu {
        &self.vcpus[vcpu.0 as usize]
    }
}

pub(crate) struct World {
    log: &'static Log,
    pub(crate) region: Region,
    pub(crate) queues: Queues,
    who: Who,
    pub(crate) now: u64,
    /// Who runs on each CPU, and since when it was counted.
    pub(crate) running: Vec<Option<VcpuSlot>>,
    pub(crate) had: Vec<Had>,
    since: Vec<u64>,
    /// Times a CPU looked around.
    pub(crate) looks: u64,
}

impl World {
    /// CPUs; the vCPUs by domain slot and life.
    pub(crate) fn new(cpus: u32, vcpus: &[(u16, Life)]) -> Self {
        let lock = Box::leak(Box::new(LockWord::new()));
        let mut arena = Arena::leak(1 << 19);
        let log = &arena.carve::<Log>(1).unwrap()[0];
        let region = Region::carve(&mut arena, cpus as usize, 64, vcpus.len(), lock).unwrap();
        let vcpu = |(index, (domain, life)): (usize, &(u16, Life))| Vcpu {
            domain: DomainSlot(*domain),
            life: *life,
            runnable: Cell::new(!matches!(life, Life::Down)),
            home: Cell::new(CpuId(index as u32 % cpus)),
            only: Cell::new(None),
            left: Cell::new(if let Life::Bursts(run, _) = life { *run } else { NEVER }),
            wakes: Cell::new(NEVER),
            woken: Cell::new(None),
        };
        let none = |_| Cell::new(None);
        Self {
            log,
            region,
            queues: Queues::new(region),
            who: Who {
                vcpus: vcpus.iter().enumerate().map(vcpu).collect(),
                held: (0..cpus).map(none).collect(),
            },
            now: 1,
            running: vec![None; cpus as usize],
            had: vec![Had::default(); vcpus.len()],
            since: vec![0; cpus as usize],
            looks: 0,
        }
    }

    pub(crate) fn change<O>(&self, change: impl FnOnce(&Region, &mut Tx<'static>) -> O) -> O {
        self.log.begin();
        let done = self.log.transaction(&mut Nothing, |tx| {
            tx.advance(1);
            Ok::<_, ()>(change(&self.region, tx))
        });
        self.log.end();
        done.unwrap()
    }

    pub(crate) fn weigh(&self, domain: u16, weight: u16, cap: u16) {
        self.change(|region, tx| region.set_share(tx, DomainSlot(domain), weight, cap));
    }

    pub(crate) fn bind(&self, vcpu: u32, hard: &[u32], soft: &[u32]) {
        let set = |cpus: &[u32]| cpus.iter().map(|cpu| CpuId(*cpu)).collect::<CpuSet>();
        let domain = self.who.vcpus[vcpu as usize].domain;
        let (hard, soft) = (Some(set(hard)), Some(set(soft)));
        let done = self
            .change(|region, tx| region.set_affinity(tx, (VcpuSlot(vcpu), domain), hard, soft, &CpuSet::ALL));
        assert_eq!(done, Ok(()));
    }

    pub(crate) fn may_run(&self, vcpu: u32, cpu: u32) -> bool {
        self.queues.may_run(VcpuSlot(vcpu), CpuId(cpu), &self.who)
    }

    /// Everybody is looked at, as after a start or a change.
    pub(crate) fn look_at_all(&mut self) {
        self.queues.end_turns();
        for cpu in 0..self.running.len() as u32 {
            self.count(cpu as usize);
        }
        for vcpu in 0..self.who.vcpus.len() as u32 {
            self.look_at(VcpuSlot(vcpu));
        }
        (0..self.running.len() as u32).for_each(|cpu| self.look(CpuId(cpu)));
    }

    /// Its home looks at a vCPU.
    fn look_at(&mut self, vcpu: VcpuSlot) {
        let home = self.who.home(vcpu);
        let held = self.who.held[home.0 as usize].get() == Some(vcpu);
        let to = if self.queues.may_run(vcpu, home, &self.who) {
            self.queues.better_home(vcpu, home, &self.who)
        } else {
            self.queues.new_home(vcpu, &self.who)
        };
        match to.filter(|to| *to != home) {
            Some(to) => {
                let let_go = || {
                    if held {
                        self.who.held[home.0 as usize].set(None);
                    }
                };
                assert!(self.queues.move_home(vcpu, [home, to], &self.who, let_go));
                if held {
                    self.count(home.0 as usize);
                    self.running[home.0 as usize] = None;
                    self.look(home);
                }
                self.look_at(vcpu);
                self.look(to);
            }
            None if !held && self.who.can_run(vcpu) => {
                assert!(self.queues.make_ready(home, vcpu, self.now, &self.who));
            }
            None => {}
        }
    }

    /// A CPU looks around.
    pub(crate) fn look(&mut self, cpu: CpuId) {
        self.looks += 1;
        let index = cpu.0 as usize;
        self.count(index);
        self.queues.set_idle(cpu, false);
        let current = self.who.held[index].get().filter(|vcpu| self.who.can_run(*vcpu));
        let wish = Wish { current, yields: false };
        let goes_on = current.filter(|vcpu| self.queues.goes_on(cpu, *vcpu, self.now));
        let next = goes_on.or_else(|| self.queues.choose(cpu, wish, self.now, &self.who));
        if next.is_none() {
            self.queues.set_idle(cpu, true);
        }
        if let Some(vcpu) = next {
            assert!(self.may_run(vcpu.0, cpu.0), "{vcpu:?} on {cpu:?}");
            assert!(!self.running.iter().enumerate().any(|(i, r)| i != index && *r == Some(vcpu)), "twice");
            self.who.held[index].set(next);
            if self.running[index] != next {
                self.had[vcpu.0 as usize].turns += 1;
            }
            if let Some(woken) = self.who.of(vcpu).woken.take() {
                let had = &mut self.had[vcpu.0 as usize];
                had.latency = had.latency.max(self.now - woken);
                had.waited += self.now - woken;
            }
        }
        self.running[index] = next;
        match self.queues.tell(cpu, self.now, &self.who) {
            Some(Told::Idle(other) | Told::Sooner(other)) if other != cpu => self.look(other),
            _ => {}
        }
    }

    /// Counts the time of who runs up to now.
    fn count(&mut self, cpu: usize) {
        let ns = self.now - std::mem::replace(&mut self.since[cpu], self.now);
        if let Some(vcpu) = self.running[cpu] {
            self.had[vcpu.0 as usize].time += ns;
            let left = &self.who.of(vcpu).left;
            if left.get() != NEVER {
                left.set(left.get().saturating_sub(ns));
            }
        }
    }

    /// When something happens on a CPU: its turn ends, or who runs there falls asleep.
    fn next_of(&self, cpu: usize) -> u64 {
        let sleeps = self.running[cpu].map_or(NEVER, |vcpu| {
            let left = self.who.of(vcpu).left.get();
            self.since[cpu].saturating_add(left)
        });
        sleeps.min(self.queues.turn_ends(CpuId(cpu as u32)).max(self.now))
    }

    /// Goes on for so long.
    pub(crate) fn run(&mut self, ns: u64) {
        let end = self.now + ns;
        loop {
            let cpus = (0..self.running.len()).map(|cpu| self.next_of(cpu));
            let wakes = self.who.vcpus.iter().map(|vcpu| vcpu.wakes.get());
            let next = cpus.chain(wakes).min().unwrap_or(NEVER);
            self.now = next.min(end);
            (0..self.running.len()).for_each(|cpu| self.count(cpu));
            if next > end {
                return;
            }
            for cpu in 0..self.running.len() {
                self.event(cpu);
            }
            for index in 0..self.who.vcpus.len() as u32 {
                self.wake(VcpuSlot(index));
            }
        }
    }

    fn event(&mut self, cpu: usize) {
        if let Some(vcpu) = self.running[cpu].filter(|vcpu| self.who.of(*vcpu).left.get() == 0) {
            let one = self.who.of(vcpu);
            let Life::Bursts(run, sleep) = one.life else { unreachable!("only those sleep") };
            one.runnable.set(false);
            one.left.set(run);
            one.wakes.set(self.now + sleep);
            self.look(CpuId(cpu as u32));
        } else if self.queues.is_over(CpuId(cpu as u32), self.now) {
            self.look(CpuId(cpu as u32));
        }
    }

    fn wake(&mut self, vcpu: VcpuSlot) {
        let one = self.who.of(vcpu);
        if one.wakes.get() > self.now {
            return;
        }
        one.wakes.set(NEVER);
        one.runnable.set(true);
        one.woken.set(Some(self.now));
        self.look_at(vcpu);
        let home = self.who.home(vcpu);
        self.look(home);
    }

    /// ns that the vCPUs of a domain ran.
    pub(crate) fn time_of(&self, domain: u16) -> u64 {
        let own = self.who.vcpus.iter().zip(&self.had).filter(|(vcpu, _)| vcpu.domain.0 == domain);
        own.map(|(_, had)| had.time).sum()
    }
}

impl World {
    /// vCPUs that want to run and do not.
    pub(crate) fn waiting(&self) -> Vec<u32> {
        let all = 0..self.who.vcpus.len() as u32;
        all.filter(|vcpu| self.who.can_run(VcpuSlot(*vcpu)) && !self.running.contains(&Some(VcpuSlot(*vcpu))))
            .collect()
    }
}
