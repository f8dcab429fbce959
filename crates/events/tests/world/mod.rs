//! A small machine for the tests: two-vCPU domains, guests that consume their events as Linux does, and
//! operations as values, so that a run can be crashed and continued.

mod guest;

use events::{Counts, Derived, Error, Events, NewDomain, Region, Status, Step, audit, rebuild};
use guest_memory::{FakeMemory, Fault, GuestMemory};
use ids::{DomId, DomainSlot, Gva, Maddr, Mfn, VcpuSlot};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use vault::{Apply, Arena, Effect, Log, Once, Phase, Word, kind, record, step};

pub(crate) const DOMAINS: u16 = 3;
pub(crate) const VCPUS: u32 = 2;
const FRAMES_EACH: u64 = 8;

record! {
    /// References dropped. Lock: none. Rebuild: nothing.
    pub(crate) struct Dropped { count: Word }
}

/// Fake memory whose every write is a step a crash can come before.
#[derive(Debug)]
pub(crate) struct Memory(pub(crate) FakeMemory);

impl GuestMemory for Memory {
    fn load64(&self, at: Maddr) -> u64 {
        self.0.load64(at)
    }
    fn store64(&self, at: Maddr, value: u64) {
        step::point();
        self.0.store64(at, value);
    }
    fn exchange64(&self, at: Maddr, old: u64, new: u64) -> Result<(), u64> {
        step::point();
        self.0.exchange64(at, old, new)
    }
    fn exchange32(&self, at: Maddr, old: u32, new: u32) -> Result<(), u32> {
        step::point();
        self.0.exchange32(at, old, new)
    }
    fn load32(&self, at: Maddr) -> u32 {
        self.0.load32(at)
    }
    fn store32(&self, at: Maddr, value: u32) {
        step::point();
        self.0.store32(at, value);
    }
    fn load8(&self, at: Maddr) -> u8 {
        self.0.load8(at)
    }
    fn store8(&self, at: Maddr, value: u8) {
        step::point();
        self.0.store8(at, value);
    }
    fn copy_in(&self, from: Gva, out: &mut [u8]) -> Result<(), Fault> {
        self.0.copy_in(from, out)
    }
    fn copy_out(&self, to: Gva, bytes: &[u8]) -> Result<(), Fault> {
        self.0.copy_out(to, bytes)
    }
}

/// What the tests do, as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, clippy::allow_attributes, reason = "each test binary uses some")]
pub(crate) enum Op {
    AllocUnbound(u16, u16),
    BindInterdomain(u16, u16, u32),
    BindVirq(u16, u32, u32),
    BindIpi(u16, u32),
    BindPirq(u16, u32),
    Close(u16, u32),
    Send(u16, u32),
    Unmask(u16, u32),
    Mask(u16, u32),
    BindVcpu(u16, u32, u32),
    SetPriority(u16, u32, u32),
    InitControl(u16, u32),
    ExpandArray(u16),
    SetVcpuInfo(u16, u32),
    Virq(u16, u32, u32),
    ResetStep(u16),
    TeardownStep(u16),
    Create(u16),
    CreateVcpu(u16, u32),
    Consume(u16, u32),
}

/// What an operation answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Value(u32),
    Error(Error),
    Consumed(BTreeSet<u32>),
}

/// A guest's own memory of its queues.
#[derive(Clone, Copy, Default, Debug)]
struct Guest {
    heads: [u32; 16],
}

pub(crate) struct World {
    pub(crate) log: &'static Log,
    pub(crate) region: Region,
    pub(crate) derived: &'static Derived,
    pub(crate) mem: &'static Memory,
    dropped: &'static Dropped,
    guests: Vec<Guest>,
    pub(crate) kicked: BTreeSet<u32>,
    /// Another CPU raises this port before and after each effect on events.
    pub(crate) rival: Option<(DomainSlot, u32)>,
}

pub(crate) struct Effects<'w> {
    events: Events<'static, Memory>,
    dropped: &'static Dropped,
    kicked: &'w mut BTreeSet<u32>,
    rival: Option<(DomainSlot, u32)>,
}

impl Effects<'_> {
    fn rival_raises(&mut self) {
        let kicked = self.rival.and_then(|(slot, port)| self.events.raise(slot, port));
        self.kicked.extend(kicked.map(|slot| slot.0));
    }
}

impl Apply for Effects<'_> {
    fn apply(&mut self, effect: &Effect, once: &mut Once<'_, '_>) {
        match effect.kind {
            kind::EVENT => {
                self.rival_raises();
                self.events.apply(effect, |slot| self.kicked.extend([slot.0]));
                self.rival_raises();
            }
            kind::KICK => self.kicked.extend([effect.x]),
            kind::GUEST_STORE if effect.x == 8 => self.events.mem.store64(Maddr(effect.a), effect.b),
            kind::GUEST_STORE => self.events.mem.store8(Maddr(effect.a), effect.b as u8),
            kind::PUT_REF | kind::PUT_TYPED => {
                let count = self.dropped.count.get();
                assert!(once.exchange(&self.dropped.count, count, count + 1));
            }
            other => panic!("effect {other}"),
        }
    }
}

pub(crate) struct Crash;

/// Crashes this thread at durable step `at`, counted from 1.
pub(crate) fn crash_at(at: u64) {
    let mut seen = 0;
    step::arm(move || {
        seen += 1;
        if seen == at {
            std::panic::panic_any(Crash);
        }
    });
}

#[allow(dead_code, clippy::allow_attributes, reason = "each test binary uses some")]
impl World {
    pub(crate) fn new() -> Self {
        let mut arena = Arena::leak(1 << 17);
        let log = &arena.carve::<Log>(1).unwrap()[0];
        let counts = Counts { domains: 3, vcpus: 8, chunks: 24 };
        let region = Region::carve(&mut arena, counts).unwrap();
        let dropped = &arena.carve::<Dropped>(1).unwrap()[0];
        let mem = Box::leak(Box::new(Memory(FakeMemory::new((FRAMES_EACH * 3) as usize + 1))));
        let derived = Box::leak(Box::new(rebuild(&region)));
        let mut world = Self {
            log,
            region,
            derived,
            mem,
            dropped,
            guests: vec![Guest::default(); 8],
            kicked: BTreeSet::new(),
            rival: None,
        };
        for slot in 0..DOMAINS {
            assert_eq!(world.run(Op::Create(slot)), Answer::Value(0));
            for vcpu in 0..VCPUS {
                assert_eq!(world.run(Op::CreateVcpu(slot, vcpu)), Answer::Value(0));
            }
        }
        world
    }

    pub(crate) fn events(&self) -> Events<'static, Memory> {
        Events::new(self.region, self.derived, self.mem)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.count.get()
    }

    pub(crate) fn frame(slot: u16, index: u64) -> Mfn {
        Mfn(1 + u64::from(slot) * FRAMES_EACH + index)
    }

    fn effects(&mut self) -> Effects<'_> {
        let (events, rival) = (self.events(), self.rival);
        Effects { events, dropped: self.dropped, kicked: &mut self.kicked, rival }
    }

    /// Runs one transaction.
    pub(crate) fn tx(
        &mut self,
        f: impl FnOnce(&Events<'static, Memory>, &mut vault::Tx<'static>) -> Result<u32, Error>,
    ) -> Answer {
        let events = self.events();
        let log = self.log;
        log.begin();
        let result = log.transaction(&mut self.effects(), |tx| {
            tx.advance(1);
            f(&events, tx)
        });
        log.end();
        result.map_or_else(Answer::Error, Answer::Value)
    }

    /// Runs an operation to its end.
    pub(crate) fn run(&mut self, op: Op) -> Answer {
        self.prepare(op);
        let answer = self.attempt(op);
        self.settled(op, &answer);
        answer
    }

    /// The guest zeroes the frames it is going to give.
    fn prepare(&mut self, op: Op) {
        match op {
            Op::InitControl(a, _) if !self.fifo(a) => {
                self.mem.0.clear_frame(Self::frame(a, 1).maddr());
                self.mem.0.clear_frame(Self::frame(a, 2).maddr());
                self.guests[usize::from(a) * 2] = Guest::default();
                self.guests[usize::from(a) * 2 + 1] = Guest::default();
            }
            _ => {}
        }
    }

    /// The guest remembers what was answered.
    fn settled(&mut self, op: Op, answer: &Answer) {
        if !matches!(answer, Answer::Value(_)) {
            return;
        }
        match op {
            Op::InitControl(a, _) => self.note(a, 1),
            Op::ExpandArray(a) => self.note(a, 2),
            Op::ResetStep(a) | Op::TeardownStep(a) if *answer == Answer::Value(0) => {
                self.mem.0.store64(Self::frame(a, 7).maddr(), 0);
            }
            _ => {}
        }
    }

    fn attempt(&mut self, op: Op) -> Answer {
        let d = DomainSlot;
        match op {
            Op::AllocUnbound(a, r) => self.tx(|e, tx| e.alloc_unbound(tx, d(a), DomId(r + 100))),
            Op::BindInterdomain(a, r, p) => self.tx(|e, tx| e.bind_interdomain(tx, d(a), d(r), p)),
            Op::BindVirq(a, virq, v) => self.tx(|e, tx| e.bind_virq(tx, d(a), virq, v)),
            Op::BindIpi(a, v) => self.tx(|e, tx| e.bind_ipi(tx, d(a), v)),
            Op::BindPirq(a, p) => self.tx(|e, tx| e.bind_pirq(tx, d(a), p)),
            Op::Close(a, p) => self.tx(|e, tx| e.close(tx, d(a), p).map(|c| c.pirq.unwrap_or(0))),
            Op::Send(a, p) => self.tx(|e, tx| e.send(tx, d(a), p).map(|()| 0)),
            Op::BindVcpu(a, p, v) => self.tx(|e, tx| e.bind_vcpu(tx, d(a), p, v).map(|()| 0)),
            Op::SetPriority(a, p, n) => self.tx(|e, tx| e.set_priority(tx, d(a), p, n).map(|()| 0)),
            Op::InitControl(a, v) => {
                let offset = 128 * v;
                self.tx(|e, tx| e.init_control(tx, d(a), v, Self::frame(a, 1), offset).map(|()| 0))
            }
            Op::ExpandArray(a) => self.tx(|e, tx| e.expand_array(tx, d(a), Self::frame(a, 2)).map(|()| 0)),
            Op::SetVcpuInfo(a, v) => {
                self.tx(|e, tx| e.set_vcpu_info(tx, d(a), v, Self::frame(a, 3), 0x3c0 - 64 * v).map(|()| 0))
            }
            Op::Virq(a, v, virq) => self.tx(|e, tx| {
                let effect = e.virq_event(VcpuSlot(u32::from(a) * VCPUS + v), virq);
                effect.into_iter().for_each(|effect| tx.publish(effect));
                Ok(u32::from(effect.is_some()))
            }),
            Op::ResetStep(a) => self.tx(|e, tx| e.reset_step(tx, d(a)).map(step_number)),
            Op::TeardownStep(a) => self.tx(|e, tx| e.teardown_step(tx, d(a)).map(step_number)),
            Op::Create(a) => self.tx(|e, tx| create(e, tx, a)),
            Op::CreateVcpu(a, v) => self.tx(|e, tx| e.create_vcpu(tx, d(a), v).map(|()| 0)),
            Op::Unmask(a, p) => match self.events().unmask(d(a), p) {
                Ok(kick) => {
                    self.kicked.extend(kick.map(|slot| slot.0));
                    Answer::Value(0)
                }
                Err(error) => Answer::Error(error),
            },
            Op::Mask(a, p) => self.mask(a, p),
            Op::Consume(a, v) => Answer::Consumed(self.consume(a, v)),
        }
    }

    /// What recovery does: forget what is derived, rebuild, roll back, repair, roll forward, wake all.
    pub(crate) fn recover(&mut self) {
        self.derived = Box::leak(Box::new(rebuild(&self.region)));
        let log = self.log;
        log.roll_back(&mut self.effects());
        for vcpu in 0..8 {
            self.events().repair_fifo(VcpuSlot(vcpu));
            self.kicked.insert(vcpu);
        }
        log.drain(&mut self.effects());
    }

    /// Runs an operation with a crash at step `at` and one at step `again` of the recovery. Returns whether it
    /// crashed, and the answer (`u32::MAX` where it was lost); `None`: it was undone.
    pub(crate) fn run_crashing(&mut self, op: Op, at: u64, again: u64) -> (bool, Option<Answer>) {
        crash_at(at);
        let result = catch_unwind(AssertUnwindSafe(|| self.run(op)));
        step::disarm();
        if let Ok(answer) = result {
            return (false, Some(answer));
        }
        crash_at(again);
        let twice = catch_unwind(AssertUnwindSafe(|| self.recover())).is_err();
        step::disarm();
        if twice {
            self.recover();
        }
        assert_ne!(self.log.head().phase(), Phase::Outbox);
        let committed = self.log.head().phase() == Phase::Undo && self.log.head().progress() == 1;
        self.log.end();
        assert_eq!(audit(&self.region), Ok(()), "after a crash of {op:?} at {at}");
        let answer = committed.then_some(Answer::Value(u32::MAX));
        answer.iter().for_each(|answer| self.settled(op, answer));
        (true, answer)
    }

    /// All that durable records say, by the public interface.
    pub(crate) fn snapshot(&self) -> Vec<Result<(Status, u32), Error>> {
        (0..DOMAINS)
            .flat_map(|slot| (0..200).map(move |port| (slot, port)))
            .map(|(slot, port)| self.events().status(DomainSlot(slot), port))
            .collect()
    }
}

fn step_number(step: Step) -> u32 {
    match step {
        Step::Done => 0,
        Step::More => 1,
        Step::Pirq(pirq) => 1000 + pirq,
    }
}

fn create(e: &Events<'static, Memory>, tx: &mut vault::Tx<'static>, slot: u16) -> Result<u32, Error> {
    let new = NewDomain {
        domid: DomId(slot + 100),
        first_vcpu: VcpuSlot(u32::from(slot) * VCPUS),
        max_vcpus: VCPUS,
        max_port: 159,
        shared_info: World::frame(slot, 0).maddr(),
    };
    e.create_domain(tx, DomainSlot(slot), &new)?;
    Ok(0)
}
