//! A small machine: two domains, two CPUs' logs, memory, and the composition's `Apply`.

pub(crate) mod ops;
mod random;

use crate::audit::{Auditor, Known};
use frames::{Frames, Locks, Owner};
use guest_memory::{FakeMemory, GuestMemory};
use ids::{DomainSlot, Maddr, Mfn};
use pv_mmu::{AdBits, IoRanges, IoRule, Mmu, Subject, TableLocks, apply_pte, apply_put_entries, restore_pte};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use vault::{Apply, Durable, Effect, Ground, Journal, Log, Once, Phase, Puts, kind};

/// Frames of the machine: the first are device memory, then some of the hypervisor's, then RAM.
pub(crate) const FRAMES: usize = 72;
pub(crate) const IO_END: u64 = 6;
pub(crate) const RAM: u64 = 8;
pub(crate) const DOMAINS: u16 = 2;
pub(crate) const CPUS: usize = 2;
const IO_RULES: (u64, u64) = (3, 4);
const VAULT_BYTES: usize = 48 << 10;

/// A mistake in applying effects, to see that the tests notice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mutation {
    /// Kind of the effect.
    pub(crate) kind: u32,
    /// Applied twice rather than not at all.
    pub(crate) twice: bool,
}

/// Everything a crash leaves in place, with handles that a restart makes anew.
pub(crate) struct World {
    ground: Ground,
    pub(crate) memory: FakeMemory,
    m2p: Vec<AtomicU64>,
    pub(crate) frames: Frames,
    pub(crate) logs: &'static [Log],
    pub(crate) debts: &'static [Debt],
    locks: &'static TableLocks,
    io: IoRanges,
    slots: [u64; 16],
    pub(crate) known: Known,
    pub(crate) mutation: Mutation,
    /// Which effect of the mutation's kind from now on, among those that matter, it strikes: at 1.
    pub(crate) strikes: AtomicU32,
}

/// What [`World::save`] keeps.
#[derive(Clone)]
pub(crate) struct Saved {
    words: Vec<u64>,
    memory: Vec<u64>,
    m2p: Vec<u64>,
    known: Known,
}

vault::record! {
    /// What a vCPU owes. Lock: none, its own CPU's. Rebuild: nothing.
    pub(crate) struct Debt {
        pub(crate) table: Durable<Mfn>,
    }
}

fn carve(ground: Ground) -> (Frames, &'static [Log], &'static [Debt]) {
    let mut arena = ground.arena();
    let logs = arena.carve(CPUS).expect("room for logs");
    let debts = arena.carve(CPUS).expect("room for debts");
    let locks = Box::leak(Box::new(Locks::new()));
    (Frames::carve(&mut arena, FRAMES, DOMAINS.into(), locks).expect("room for frames"), logs, debts)
}

pub(crate) fn owner(domain: u16) -> Owner {
    Owner::domain(DomainSlot(domain))
}

pub(crate) fn subject(domain: u16) -> Subject {
    Subject { tables: owner(domain), leaves: owner(domain), io: domain == 0 }
}

impl World {
    /// All RAM free.
    pub(crate) fn new() -> Self {
        let ground = Ground::leak(VAULT_BYTES);
        let (frames, logs, debts) = carve(ground);
        let mut io = IoRanges::new(40);
        assert!(io.add(Mfn(IO_RULES.0), Mfn(IO_RULES.0), IoRule::ReadOnly));
        assert!(io.add(Mfn(IO_RULES.1), Mfn(IO_RULES.1), IoRule::Forbidden));
        let mut world = Self {
            ground,
            memory: FakeMemory::new(FRAMES),
            m2p: (0..FRAMES).map(|_| AtomicU64::new(u64::MAX)).collect(),
            frames,
            logs,
            debts,
            locks: Box::leak(Box::new(TableLocks::new())),
            io,
            slots: std::array::from_fn(|i| 0xdead_0000_0000 + i as u64 * 0x1000 + 1),
            known: Known::default(),
            mutation: Mutation::default(),
            strikes: AtomicU32::new(0),
        };
        world.boot();
        world
    }

    fn boot(&mut self) {
        let frames = self.frames;
        self.logs[0].begin();
        let mut j = self.journal(0, 10);
        j.change(|tx| {
            frames.reserve_frames(tx, Mfn(IO_END), Mfn(RAM));
            frames.seed_frames(tx, Mfn(RAM), Mfn(FRAMES as u64));
        });
        let mut at = RAM;
        while at < FRAMES as u64 {
            at += j.change(|tx| frames.seed_block(tx, Mfn(at), Mfn(FRAMES as u64)));
        }
        j.change(|tx| (0..DOMAINS).for_each(|d| frames.set_max_pages(tx, DomainSlot(d), 40)));
        self.logs[0].end();
        self.known.kept = (IO_END..RAM).collect();
        for mfn in IO_END..RAM {
            self.known.refs.insert(mfn, 1);
        }
    }

    fn effects(&self, again: bool) -> Effects<'_> {
        Effects {
            frames: self.frames,
            memory: &self.memory,
            m2p: &self.m2p,
            mutation: self.mutation,
            strikes: &self.strikes,
            again,
            work: 0,
        }
    }

    fn journal(&self, cpu: usize, budget: u32) -> Journal<Effects<'_>> {
        Journal::new(&self.logs[cpu], self.effects(false), budget)
    }

    /// The logic and a journal of `cpu`.
    pub(crate) fn parts(&self, cpu: usize, budget: u32) -> (Mmu<'_, FakeMemory>, Journal<Effects<'_>>) {
        let mmu = Mmu {
            frames: &self.frames,
            memory: &self.memory,
            locks: self.locks,
            io: &self.io,
            hypervisor_slots: &self.slots,
        };
        (mmu, self.journal(cpu, budget))
    }

    pub(crate) fn audit(&mut self) -> Result<(), String> {
        let mut auditor = Auditor {
            frames: self.frames,
            memory: &self.memory,
            hypervisor_slots: &self.slots,
            io_rules: IO_RULES,
            m2p: &self.m2p.iter().map(|w| w.load(Ordering::Relaxed)).collect::<Vec<_>>(),
            known: &mut self.known,
        };
        audit::check_frames(self.frames, DOMAINS, &mut auditor)
    }

    /// What a restart does: new handles and locks over what was left, then back or forward. All logs roll
    /// back before any goes forward, and consequences that were cut short come before anything else.
    pub(crate) fn restart(&mut self) {
        (self.frames, self.logs, self.debts) = carve(self.ground);
        self.locks = Box::leak(Box::new(TableLocks::new()));
        for log in self.logs {
            log.roll_back(&mut self.effects(true));
        }
        let mut order: Vec<usize> = (0..CPUS).collect();
        order.sort_by_key(|cpu| self.logs[*cpu].head().chained() == 0);
        for cpu in order {
            let log = &self.logs[cpu];
            log.drain(&mut self.effects(true));
        }
    }

    /// References by frame, without those of pins and of work in progress: work that was
    /// begun is no harm.
    pub(crate) fn counts(&self) -> Vec<(u64, u64)> {
        let usages = (0..FRAMES as u64).filter_map(|m| self.frames.frame(Mfn(m))).map(|f| f.usage());
        usages
            .map(|u| (u.refs(), u.typed().wrapping_sub(u64::from(u.is_in_work() || u.is_pinned()))))
            .collect()
    }

    /// A mistake of recovery: the newest undo entry of a CPU is forgotten. Returns whether there was one.
    pub(crate) fn forget_undo(&self, cpu: usize) -> bool {
        let head = self.logs[cpu].head();
        if head.phase() != Phase::Undo || head.undo() == 0 {
            return false;
        }
        let at = (std::ptr::from_ref(&self.logs[cpu]) as usize - self.ground.words().as_ptr() as usize) / 8;
        // The head is the log's first word, its undo count starts at bit 3.
        self.ground.words()[at].fetch_sub(1 << 3, Ordering::Relaxed);
        assert_eq!(self.logs[cpu].head().undo() + 1, head.undo());
        true
    }

    pub(crate) fn save(&self) -> Saved {
        Saved {
            words: self.ground.words().iter().map(|w| w.load(Ordering::Relaxed)).collect(),
            memory: self.memory_words(),
            m2p: self.m2p_words(),
            known: self.known.clone(),
        }
    }

    pub(crate) fn restore(&mut self, saved: &Saved) {
        for (word, value) in self.ground.words().iter().zip(&saved.words) {
            word.store(*value, Ordering::Relaxed);
        }
        for (i, value) in saved.memory.iter().enumerate() {
            let at = Maddr(i as u64 * 8);
            if self.memory.load64(at) != *value {
                self.memory.store64(at, *value);
            }
        }
        for (word, value) in self.m2p.iter().zip(&saved.m2p) {
            word.store(*value, Ordering::Relaxed);
        }
        self.known = saved.known.clone();
        // Locks are derived: a crash left some held.
        (self.frames, self.logs, self.debts) = carve(self.ground);
        self.locks = Box::leak(Box::new(TableLocks::new()));
    }

    fn m2p_words(&self) -> Vec<u64> {
        self.m2p.iter().map(|w| w.load(Ordering::Relaxed)).collect()
    }

    fn memory_words(&self) -> Vec<u64> {
        (0..FRAMES as u64 * 512).map(|i| self.memory.load64(Maddr(i * 8))).collect()
    }

    /// What a run with a crash and one without must have in common.
    pub(crate) fn outcome(&self) -> (Vec<String>, Vec<u64>, Vec<u64>, u64) {
        let usages = (0..FRAMES as u64).filter_map(|m| self.frames.frame(Mfn(m)));
        // The kind of a page that is used as nothing is a memory: a repetition may have mapped it once more.
        let usages = usages.map(|f| match f.usage() {
            u if u.typed() == 0 && !u.is_validated() => format!("{:?} refs {}", u.owner(), u.refs()),
            u => format!("{u:?} cursor {}", u.cursor()),
        });
        let usages = usages.collect();
        (usages, self.memory_words(), self.m2p_words(), self.frames.heap().free_frames())
    }
}

/// Applies effects as a composition does.
pub(crate) struct Effects<'w> {
    frames: Frames,
    memory: &'w FakeMemory,
    m2p: &'w [AtomicU64],
    mutation: Mutation,
    strikes: &'w AtomicU32,
    again: bool,
    work: u32,
}

impl Effects<'_> {
    /// Whether the mutation of this effect makes a difference at all.
    fn matters(&self, e: &Effect) -> bool {
        let usage = self.frames.frame(Mfn(e.a)).map(|f| f.usage());
        match e.kind {
            kind::PUT_REF if self.mutation.twice => usage.is_some_and(|u| u.refs() > 1),
            kind::PUT_TYPED if self.mutation.twice => usage.is_some_and(|u| u.typed() > 1),
            kind::PTE => {
                let held = |entry: u64| if entry & 1 == 0 { 0 } else { entry & 0x000f_ffff_ffff_f003 };
                held(self.memory.load64(Maddr(e.a))) != held(e.b)
            }
            kind::M2P => self.m2p[e.a as usize].load(Ordering::Relaxed) != e.b,
            _ => true,
        }
    }

    fn once(&mut self, e: &Effect, once: &mut Once<'_, '_>) {
        match e.kind {
            kind::PUT_REF => self.frames.apply_put_ref(once, Mfn(e.a)),
            kind::PUT_TYPED => self.frames.apply_put_typed(once, Mfn(e.a)),
            kind::VALID => self.frames.apply_valid(once, Mfn(e.a), e.x),
            kind::PTE => {
                let ad = if e.x == 1 { AdBits::Preserve } else { AdBits::Replace };
                apply_pte(self.memory, Maddr(e.a), e.b, ad, self.again);
            }
            kind::GUEST_STORE => self.memory.store64(Maddr(e.a), e.b),
            kind::M2P => self.m2p[e.a as usize].store(e.b, Ordering::Relaxed),
            kind::FLUSH => {}
            other => panic!("effect {other}"),
        }
    }
}

impl Apply for Effects<'_> {
    fn put_entries(&mut self, effect: &Effect, puts: &mut Puts<'_, '_>) {
        let (frames, memory) = (self.frames, self.memory);
        apply_put_entries(&frames, memory, self, effect, puts);
        self.work += puts.work();
    }

    fn take_work(&mut self) -> u32 {
        std::mem::take(&mut self.work)
    }

    fn restore_entry(&mut self, maddr: u64, old: u64) {
        restore_pte(self.memory, maddr, old);
    }

    fn apply(&mut self, e: &Effect, once: &mut Once<'_, '_>) {
        let left = self.strikes.load(Ordering::Relaxed);
        if left > 0 && self.mutation.kind == e.kind && self.matters(e) {
            self.strikes.store(left - 1, Ordering::Relaxed);
            if left == 1 {
                if !self.mutation.twice {
                    return;
                }
                self.once(e, once);
            }
        }
        self.once(e, once);
    }
}
