//! Random operations of guests and what runs them.

pub(crate) use super::random::Random;
use super::{FRAMES, RAM, World, owner, subject};
use frames::{Frames, Kind};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Maddr, Mfn};
use pv_mmu::{AdBits, EntryWrite, MmuError, Pte};
use vault::{Effect, kind};

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Allocate {
        domain: u16,
        order: u32,
    },
    /// The guest gives a frame back: its allocation reference goes.
    Free {
        mfn: u64,
    },
    /// A guest writes its own page: words at random places.
    Fill {
        domain: u16,
        mfn: u64,
        words: Vec<(u64, u64)>,
    },
    Pin {
        domain: u16,
        mfn: u64,
        level: u32,
    },
    Unpin {
        domain: u16,
        mfn: u64,
    },
    /// `leaves`: whose frames the entry may name.
    Update {
        domain: u16,
        leaves: u16,
        at: u64,
        new: u64,
        keep: bool,
    },
    Leaf {
        domain: u16,
        at: u64,
        new: Option<u64>,
    },
    Base {
        domain: u16,
        mfn: u64,
    },
    DropBase {
        mfn: u64,
    },
    Segments {
        domain: u16,
        mfn: u64,
    },
    DropSegments {
        mfn: u64,
    },
    Settle {
        bits: u32,
    },
    /// What is left of an operation that is counted: the debt.
    Rest,
}

/// What a frame is mostly used as in the streams, so that deep trees come about: a level, or 0.
fn role(mfn: u64) -> u32 {
    [0, 1, 2, 0, 1, 3, 4, 0, 1, 2][(mfn % 10) as usize]
}

fn frame_of_role(r: &mut Random, level: u32) -> u64 {
    let any = r.below(FRAMES as u64 + 2);
    if r.chance(8) {
        return any;
    }
    (0..40).map(|_| RAM + r.below(FRAMES as u64 - RAM)).find(|m| role(*m) == level).unwrap_or(any)
}

/// An entry for a table of `level`.
fn entry(r: &mut Random, level: u32) -> u64 {
    let mfn = frame_of_role(r, level - 1);
    let mut flags = if r.chance(85) { Pte::P } else { 0 };
    for (bit, percent) in
        [(Pte::RW, 60), (Pte::US, 60), (Pte::A, 30), (Pte::D, 20), (Pte::G, 5), (Pte::NX, 20)]
    {
        flags |= if r.chance(percent) { bit } else { 0 };
    }
    if level > 1 && r.chance(2) {
        flags |= Pte::PSE;
    }
    mfn << 12 | flags
}

/// Few places, so that entries meet; some at batch edges and at the hypervisor's slots.
fn place(r: &mut Random) -> u64 {
    [0, 1, 2, 3, 95, 96, 255, 256, 271, 272, 300, 511][r.below(12) as usize]
}

fn entry_at(mfn: u64, index: u64) -> u64 {
    mfn * 4096 + index * 8
}

pub(crate) fn random_op(r: &mut Random) -> Op {
    let domain = r.below(2) as u16;
    let level = [1, 1, 1, 2, 2, 3, 4][r.below(7) as usize];
    let mfn = frame_of_role(r, level);
    match r.below(100) {
        0..14 => Op::Allocate { domain, order: if r.chance(80) { 0 } else { r.below(4) as u32 } },
        14..22 => Op::Free { mfn: RAM + r.below(FRAMES as u64 - RAM) },
        22..38 => {
            let words = (0..r.below(6)).map(|_| (place(r), entry(r, level))).collect();
            Op::Fill { domain, mfn, words }
        }
        38..52 => Op::Pin { domain, mfn, level: if r.chance(90) { level } else { 1 + r.below(4) as u32 } },
        52..60 => Op::Unpin { domain, mfn },
        60..80 => {
            let leaves = if domain == 0 && r.chance(20) { 1 } else { domain };
            let new = if r.chance(25) { 0 } else { entry(r, level) };
            Op::Update {
                domain,
                leaves,
                at: entry_at(mfn % FRAMES as u64, place(r)),
                new,
                keep: r.chance(30),
            }
        }
        80..86 => {
            let new = r.chance(90).then(|| if r.chance(40) { 0 } else { entry(r, 1) });
            Op::Leaf { domain, at: entry_at(frame_of_role(r, 1) % FRAMES as u64, place(r)), new }
        }
        86..90 => Op::Base { domain, mfn: frame_of_role(r, 4) },
        90..93 => Op::DropBase { mfn: frame_of_role(r, 4) },
        93..95 => Op::Segments { domain, mfn: frame_of_role(r, 0) },
        95..97 => Op::DropSegments { mfn: frame_of_role(r, 0) },
        _ => Op::Settle { bits: 16 + r.below(8) as u32 },
    }
}

/// How one try of an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    Done,
    Refused(MmuError),
    Preempted,
    /// It is counted, and the debt is left.
    Owing,
}

impl From<Result<(), MmuError>> for Tried {
    fn from(result: Result<(), MmuError>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(MmuError::Preempted) => Self::Preempted,
            Err(e) => Self::Refused(e),
        }
    }
}

/// Tries that a repeated operation may take.
pub(crate) const MAX_TRIES: u32 = 3000;

impl World {
    /// One try of an operation, within an entry that the caller begins and ends.
    pub(crate) fn attempt(&self, cpu: usize, op: &Op, budget: u32) -> Tried {
        let known = &self.known;
        let (mmu, mut j) = self.parts(cpu, budget);
        let frames = mmu.frames;
        let usage = |mfn: u64| frames.frame(Mfn(mfn)).map(|f| f.usage());
        let debt = &self.debts[cpu].table;
        if mmu.settle(&mut j, debt).is_err() {
            return Tried::Preempted;
        }
        match *op {
            Op::Rest => Tried::Done,
            Op::Allocate { domain, order } => {
                let got = j.transaction(|tx| {
                    tx.advance(1);
                    let mfn = frames.allocate(tx, DomainSlot(domain), order, 64)?;
                    for i in 0..1 << order {
                        tx.publish(Effect { kind: kind::M2P, x: 0, a: mfn.0 + i, b: u64::from(domain) });
                    }
                    Ok::<_, frames::NoMemory>(mfn)
                });
                got.map_or(Tried::Refused(MmuError::Invalid), |_| Tried::Done)
            }
            Op::Free { mfn } => {
                if known.refs.get(&mfn).copied().unwrap_or(0) == 0 {
                    return Tried::Refused(MmuError::Invalid);
                }
                // As a composition does: a table that nobody uses goes first, for its entries' sake.
                if let Err(MmuError::Preempted) = mmu.reclaim(&mut j, Mfn(mfn)) {
                    return Tried::Preempted;
                }
                j.change(|tx| {
                    tx.advance(1);
                    tx.publish(Frames::put_ref(Mfn(mfn)));
                });
                Tried::Done
            }
            Op::Fill { domain, mfn, ref words } => {
                let free = usage(mfn).is_some_and(|u| {
                    let plain = u.kind() == Kind::Writable || u.typed() == 0;
                    u.owner() == owner(domain)
                        && plain
                        && !u.is_in_work()
                        && (u.kind().level().is_none() || !u.is_validated())
                });
                if free {
                    for (index, value) in words {
                        mmu.memory.store64(Maddr(entry_at(mfn, *index)), *value);
                    }
                }
                j.change(|tx| tx.advance(1));
                Tried::Done
            }
            Op::Pin { domain, mfn, level } => {
                mmu.pin(&mut j, Mfn(mfn), level, subject(domain), |tx| tx.advance(1)).into()
            }
            Op::Unpin { domain, mfn } => {
                mmu.unpin(&mut j, Mfn(mfn), subject(domain), |tx| tx.advance(1)).into()
            }
            Op::Update { domain, leaves, at, new, keep } => {
                let mut subject = subject(domain);
                subject.leaves = owner(leaves);
                let ad = if keep { AdBits::Preserve } else { AdBits::Replace };
                let write = EntryWrite { at: Maddr(at), new: Pte(new), ad };
                mmu.update(&mut j, write, subject, debt, |_| None, |tx, _, _| tx.advance(1)).into()
            }
            Op::Leaf { domain, at, new } => {
                let mut rewrite = |_| new;
                let mut done = |tx: &mut vault::Tx<'static>| tx.advance(1);
                mmu.update_leaf(&mut j, Maddr(at), AdBits::Exact, subject(domain), &mut rewrite, &mut done)
                    .into()
            }
            Op::Base { domain, mfn } => {
                let mut then = |tx: &mut vault::Tx<'static>| {
                    tx.advance(1);
                    Ok(())
                };
                mmu.get_table(&mut j, Mfn(mfn), 4, subject(domain), None, &mut then).into()
            }
            Op::DropBase { mfn } => {
                if known.typed.get(&mfn).copied().unwrap_or(0) == 0
                    || usage(mfn).is_none_or(|u| u.kind() != Kind::L4)
                {
                    return Tried::Refused(MmuError::Invalid);
                }
                j.change(|tx| {
                    tx.advance(1);
                    mmu.put_table(tx, Mfn(mfn));
                });
                Tried::Done
            }
            Op::Segments { domain, mfn } => {
                mmu.get_descriptors(&mut j, &[Mfn(mfn)], owner(domain), &Some, &mut |tx| tx.advance(1)).into()
            }
            Op::DropSegments { mfn } => {
                if known.typed.get(&mfn).copied().unwrap_or(0) == 0
                    || usage(mfn).is_none_or(|u| u.kind() != Kind::Descriptors)
                {
                    return Tried::Refused(MmuError::Invalid);
                }
                j.change(|tx| {
                    tx.advance(1);
                    tx.publish(Frames::put_typed(Mfn(mfn)));
                });
                Tried::Done
            }
            Op::Settle { bits } => {
                j.change(|tx| {
                    tx.advance(1);
                    frames.settle(tx, bits)
                });
                Tried::Done
            }
        }
    }

    /// The test's own books after an operation's last commit.
    pub(crate) fn book(&mut self, op: &Op, before: &[Option<frames::Owner>]) {
        match *op {
            Op::Allocate { domain, .. } => {
                for mfn in 0..FRAMES as u64 {
                    let now = self.frames.frame(Mfn(mfn)).map(|f| f.usage().owner());
                    if before[mfn as usize] == Some(frames::Owner::FREE) && now == Some(owner(domain)) {
                        self.known.owner.insert(mfn, DomainSlot(domain));
                        self.known.refs.insert(mfn, 1);
                    }
                }
            }
            Op::Free { mfn } => drop(self.known.refs.remove(&mfn)),
            Op::Base { mfn, .. } | Op::Segments { mfn, .. } => *self.known.typed.entry(mfn).or_default() += 1,
            Op::DropBase { mfn } | Op::DropSegments { mfn } => {
                if let Some(n) = self.known.typed.get_mut(&mfn) {
                    *n -= 1;
                }
            }
            _ => {}
        }
    }

    pub(crate) fn owners(&self) -> Vec<Option<frames::Owner>> {
        (0..FRAMES as u64).map(|m| self.frames.frame(Mfn(m)).map(|f| f.usage().owner())).collect()
    }

    /// The table that the entry of a live higher table names which an operation is to change.
    pub(crate) fn table_below(&self, op: &Op) -> Option<u64> {
        let Op::Update { at, .. } = *op else { return None };
        let usage = self.frames.frame(Mfn(at >> 12))?.usage();
        let entry = self.memory.load64(Maddr(at));
        let named = usage.is_validated() && usage.kind().level() > Some(1) && entry & Pte::P != 0;
        named.then_some(entry >> 12 & 0xff_ffff)
    }

    pub(crate) fn is_dormant(&self, mfn: u64) -> bool {
        self.frames.frame(Mfn(mfn)).is_some_and(|f| f.usage().is_validated() && f.usage().typed() == 0)
    }

    /// One entry of a guest: a try, and the books. Says how it ended.
    pub(crate) fn enter(&mut self, cpu: usize, op: &Op, budget: u32) -> Tried {
        let before = self.owners();
        self.logs[cpu].begin();
        let tried = self.attempt(cpu, op, budget);
        let counted = self.logs[cpu].head().progress() > 0;
        if counted {
            self.book(op, &before);
        }
        self.logs[cpu].end();
        if counted && tried == Tried::Preempted { Tried::Owing } else { tried }
    }

    /// An operation as a guest runs it: entered again until it is over.
    pub(crate) fn run(&mut self, cpu: usize, op: &Op, budget: u32) -> Tried {
        let mut op = op;
        for _ in 0..MAX_TRIES {
            match self.enter(cpu, op, budget) {
                Tried::Preempted => {}
                Tried::Owing => op = &Op::Rest,
                over => return over,
            }
        }
        panic!("no end of {op:?} with budget {budget}");
    }

    /// Gives everything up and says what is left: nothing, if no count leaked.
    pub(crate) fn tear_down(&mut self) -> Result<(), String> {
        for mfn in RAM..FRAMES as u64 {
            for domain in 0..2 {
                self.run(0, &Op::Unpin { domain, mfn }, 100);
            }
            while self.run(0, &Op::DropBase { mfn }, 100) == Tried::Done {}
            while self.run(0, &Op::DropSegments { mfn }, 100) == Tried::Done {}
        }
        for _ in 0..8 {
            for mfn in RAM..FRAMES as u64 {
                let (mmu, mut j) = self.parts(0, 100);
                j.log().begin();
                let usage = mmu.frames.frame(Mfn(mfn)).map(|f| f.usage());
                if usage.is_some_and(|u| u.is_in_work() || u.typed() == 0) {
                    mmu.reclaim(&mut j, Mfn(mfn)).map_err(|e| format!("{e:?} at the end of {mfn:#x}"))?;
                }
                j.log().end();
            }
        }
        for mfn in RAM..FRAMES as u64 {
            self.run(0, &Op::Free { mfn }, 100);
        }
        self.audit()?;
        let free = self.frames.heap().free_frames();
        if free == FRAMES as u64 - RAM { Ok(()) } else { Err(format!("{free} frames are free at the end")) }
    }
}
