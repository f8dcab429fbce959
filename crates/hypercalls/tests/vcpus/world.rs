//! A small machine: Dom0 with three vCPUs and a guest with one, whose addresses are machine addresses.

use boot_info::{BootFacts, ConfigSpace, Cpu, IoApic};
use domain::{Limits, State, Static};
use domains::{Life, VcpuState};
use events::NewDomain;
use guest_memory::{FakeMemory, GuestMemory};
use hypercalls::{Call, Outcome, Reply, dispatch};
use ids::{DomId, DomainSlot, Gva, Maddr, Mfn, VcpuId, VcpuSlot};
use pv_cpu::{Mode, Reg};
use pv_mmu::IoRanges;
use std::sync::LazyLock;
use vault::{Apply, Effect, Ground, Journal, Once, Phase, Puts, kind};
use xen_abi::Errno;
use zerocopy::{Immutable, IntoBytes};

const FRAMES: usize = 128;
const VAULT_BYTES: usize = 8 << 18;
/// Where arguments lie.
pub(crate) const ARGUMENT: u64 = 0x1000;
/// Entries 256 to 271 of root tables.
pub(crate) const SLOTS: [u64; 16] = [0x1063; 16];
/// vCPUs of the domains.
pub(crate) const VCPUS: [u32; 2] = [3, 1];

/// Applies effects; keeps what is only for the composition.
pub(crate) struct Machine {
    state: &'static State,
    memory: &'static FakeMemory,
    vcpu: VcpuSlot,
    fault: bool,
    work: u32,
    pub(crate) kicked: Vec<u32>,
    pub(crate) timers: Vec<u32>,
    routes: Vec<u32>,
}

impl Apply for Machine {
    fn plain_put(&mut self, effect: Effect) -> Option<(&'static vault::Word, u64, u64)> {
        self.state.frames.plain_put(effect.kind, Mfn(effect.a))
    }

    fn put_entries(&mut self, effect: &Effect, puts: &mut Puts<'_, '_>) {
        let (frames, memory) = (&self.state.frames, self.memory);
        pv_mmu::apply_put_entries(frames, memory, self, effect, puts);
        self.work += puts.work();
    }

    fn take_work(&mut self) -> u32 {
        std::mem::take(&mut self.work)
    }

    fn apply(&mut self, effect: &Effect, once: &mut Once<'_, '_>) {
        let frames = &self.state.frames;
        match effect.kind {
            kind::REGISTER => self.state.contexts.context(self.vcpu).registers.set_index(effect.x, effect.b),
            kind::PUT_REF => frames.apply_put_ref(once, Mfn(effect.a)),
            kind::PUT_TYPED => frames.apply_put_typed(once, Mfn(effect.a)),
            kind::VALID => frames.apply_valid(once, Mfn(effect.a), effect.x),
            kind::PTE => self.memory.store64(Maddr(effect.a), effect.b),
            kind::GUEST_STORE if effect.x == 1 => self.memory.store8(Maddr(effect.a), effect.b as u8),
            kind::GUEST_STORE => self.memory.store64(Maddr(effect.a), effect.b),
            kind::COPY_WORD => {
                let word = effect.b.to_le_bytes();
                self.fault |= self.memory.copy_out(Gva(effect.a), &word[..effect.x as usize]).is_err();
            }
            kind::COPY_OUT => {
                let mut bytes = vec![0; effect.b as usize];
                once.read_bytes(effect.x as usize, &mut bytes);
                self.fault |= self.memory.copy_out(Gva(effect.a), &bytes).is_err();
            }
            kind::EVENT => {
                let kicked = &mut self.kicked;
                self.state.events(self.memory).apply(effect, |vcpu| kicked.push(vcpu.0));
            }
            kind::KICK => self.kicked.push(effect.x),
            kind::IRQ_ROUTE => self.routes.push(effect.x),
            kind::TIMER => self.timers.push(effect.x),
            _ => {}
        }
    }

    fn take_fault(&mut self) -> bool {
        std::mem::take(&mut self.fault)
    }
}

pub(crate) struct World {
    vault: Ground,
    pub(crate) state: &'static State,
    pub(crate) memory: &'static FakeMemory,
    pub(crate) now: u64,
    pub(crate) kicked: Vec<u32>,
    pub(crate) timers: Vec<u32>,
    /// Interrupts whose routes were programmed.
    pub(crate) routes: Vec<u32>,
    next_argument: u64,
    /// Pieces of long work in one entry.
    pub(crate) budget: u32,
}

/// Two CPUs, an I/O APIC with 24 pins, memory-mapped configuration space.
fn facts() -> &'static BootFacts {
    static FACTS: LazyLock<BootFacts> = LazyLock::new(|| {
        let mut facts = BootFacts::EMPTY;
        let madt = &mut facts.acpi.madt;
        for id in [5, 6] {
            madt.cpus.push(Cpu { apic_id: id, acpi_id: id, enabled: true, online_capable: false });
        }
        madt.io_apics.push(IoApic { id: 2, address: Maddr(0xfec0_0000), gsi_base: 0, pins: 24 });
        let space = ConfigSpace { address: Maddr(0xb000_0000), segment: 0, first_bus: 0, last_bus: 255 };
        facts.acpi.config_spaces.push(space);
        facts
    });
    &FACTS
}

/// What every start makes of the vault.
fn compose(vault: Ground) -> &'static State {
    let mut arena = vault.arena();
    let limits = Limits { frames: FRAMES, domains: 4, vcpus: 8, cpus: 2, port_chunks: 16 };
    let locks: &'static Static = Box::leak(Box::new(Static::new()));
    let mut state = State::carve(&mut arena, limits, locks, facts(), IoRanges::new(40), SLOTS).unwrap();
    state.pci = Some(&crate::msix::Devices);
    Box::leak(Box::new(state))
}

impl World {
    pub(crate) fn new() -> Self {
        let vault = Ground::leak(VAULT_BYTES);
        let state = compose(vault);
        let memory = Box::leak(Box::new(FakeMemory::new(FRAMES)));
        let (kicked, timers, routes) = (vec![], vec![], vec![]);
        let next_argument = ARGUMENT;
        let (now, budget) = (1_000_000, 1000);
        let mut world = Self { vault, state, memory, now, kicked, timers, routes, next_argument, budget };
        let (first, end) = (Mfn(16), Mfn(FRAMES as u64));
        world.change(|tx| {
            state.frames.seed_frames(tx, first, end);
        });
        let mut at = first;
        while at < end {
            at = world.change(|tx| Mfn(at.0 + state.frames.seed_block(tx, at, end)));
        }
        let mut first_vcpu = 0;
        for (slot, count) in (0..).zip(VCPUS) {
            world.create(DomainSlot(slot), VcpuSlot(first_vcpu), count);
            first_vcpu += count;
        }
        world
    }

    fn create(&mut self, slot: DomainSlot, first_vcpu: VcpuSlot, count: u32) {
        let state = self.state;
        self.change(|tx| state.frames.set_max_pages(tx, slot, 64));
        let shared = self.frame(slot);
        let events = state.events(self.memory);
        self.change(|tx| {
            let domain = state.domains.domain(slot);
            domain.set_life(tx, Life::Alive);
            tx.set(&domain.id, DomId(slot.0));
            tx.set(&domain.privileged, slot.0 == 0);
            tx.set(&domain.vcpus, count);
            tx.set(&domain.first_vcpu, first_vcpu);
            tx.set(&domain.shared_info, shared);
            let new = NewDomain {
                domid: DomId(slot.0),
                first_vcpu,
                max_vcpus: count,
                max_port: 1023,
                shared_info: shared.maddr(),
            };
            events.create_domain(tx, slot, &new).unwrap();
            if slot.0 == 0 {
                state.irqs().create_domain(tx, slot, state.dom0_pirqs()).unwrap();
                let high = irqs::Polarity::High;
                state.irqs().reserve_gsi(tx, 4, irqs::Trigger::Edge, high, 5).unwrap();
            }
        });
        for id in 0..count {
            self.memory.store8(Maddr(shared.maddr().0 + 64 * u64::from(id) + 1), 1);
            let vcpu = state.domains.vcpu(VcpuSlot(first_vcpu.0 + id));
            let context = state.contexts.context(VcpuSlot(first_vcpu.0 + id));
            self.change(|tx| {
                tx.set(&vcpu.domain, slot);
                tx.set(&vcpu.id, VcpuId(id));
                events.create_vcpu(tx, slot, id).unwrap();
                let place = VcpuSlot(first_vcpu.0 + id);
                state.timers().create_vcpu(tx, place, 0).unwrap();
                if id == 0 {
                    state.timers().set_runstate(tx, place, timers::State::Running, 0).unwrap();
                    tx.set(&vcpu.initialised, true);
                    vcpu.set_state(tx, VcpuState::Runnable);
                    context.set_mode(Mode::Kernel);
                }
            });
        }
    }

    /// One transaction outside of any hypercall.
    pub(crate) fn change<O>(&mut self, f: impl FnOnce(&mut vault::Tx<'static>) -> O) -> O {
        let mut j = self.journal(VcpuSlot(0));
        j.log().begin();
        let answer = j.change(f);
        j.log().end();
        self.routes = std::mem::take(&mut j.apply.routes);
        answer
    }

    /// What recovery does after a crash in an entry of Dom0's first vCPU. Whether the entry had committed.
    pub(crate) fn recover(&mut self) -> bool {
        self.state = compose(self.vault);
        let mut j = self.journal(VcpuSlot(0));
        let committed = match j.log().head().phase() {
            Phase::Idle => true,
            Phase::Undo => {
                j.log().roll_back(&mut j.apply);
                false
            }
            Phase::Outbox => {
                let last = j.log().head().is_last();
                j.log().drain(&mut j.apply);
                last
            }
        };
        j.log().end();
        committed
    }

    fn journal(&self, vcpu: VcpuSlot) -> Journal<Machine> {
        let machine = Machine {
            state: self.state,
            memory: self.memory,
            vcpu,
            fault: false,
            work: 0,
            kicked: vec![],
            timers: vec![],
            routes: vec![],
        };
        Journal::new(&self.state.logs[0], machine, self.budget)
    }

    /// A fresh frame of a domain.
    pub(crate) fn frame(&mut self, slot: DomainSlot) -> Mfn {
        let state = self.state;
        self.change(|tx| state.frames.allocate(tx, slot, 0, 64).unwrap())
    }

    /// General and typed references to a frame.
    pub(crate) fn references(&self, mfn: Mfn) -> (u64, u64) {
        let usage = self.state.frames.frame(mfn).unwrap().usage();
        (usage.refs(), usage.typed())
    }

    /// Puts an argument into guest memory.
    pub(crate) fn argument<T: IntoBytes + Immutable>(&mut self, value: &T) -> u64 {
        let len = (size_of::<T>() as u64).next_multiple_of(8);
        let at = if self.next_argument + len > 0x1_0000 { ARGUMENT } else { self.next_argument };
        self.next_argument = at + len;
        self.memory.write(Gva(at), value).unwrap();
        at
    }

    /// Runs a hypercall of a vCPU as the composition does; what it leaves in RAX and what it came to.
    pub(crate) fn run(&mut self, vcpu: u32, number: u64, args: &[u64]) -> (i64, Outcome) {
        let vcpu = VcpuSlot(vcpu);
        let mut all = [0; 5];
        all[..args.len()].copy_from_slice(args);
        let context = self.state.contexts.context(vcpu);
        context.registers.set(Reg::Rax, u64::MAX / 3);
        let mut j = self.journal(vcpu);
        j.log().begin();
        let mut call = Call {
            state: self.state,
            memory: self.memory,
            j: &mut j,
            domain: self.state.domains.vcpu(vcpu).domain.get(),
            vcpu,
            context,
            args: all,
            clock: &Stopped(self.now),
            cpus: &Idle,
            reply: Reply::Register(&context.registers),
        };
        let outcome = dispatch(&mut call, number);
        j.log().end();
        if let Outcome::Value(value) = outcome {
            context.registers.set(Reg::Rax, value as u64);
        }
        self.kicked = std::mem::take(&mut j.apply.kicked);
        self.timers = std::mem::take(&mut j.apply.timers);
        self.routes = std::mem::take(&mut j.apply.routes);
        let value = if j.apply.take_fault() {
            Errno::EFAULT.to_result()
        } else {
            context.registers.get(Reg::Rax) as i64
        };
        (value, outcome)
    }

    /// As [`run`](Self::run), for Dom0's first vCPU: the result alone.
    pub(crate) fn value(&mut self, number: u64, args: &[u64]) -> i64 {
        self.run(0, number, args).0
    }

    /// Deadlines of a vCPU: single-shot, periodic, poll.
    pub(crate) fn deadlines(&self, vcpu: u32) -> [u64; 3] {
        self.state.timers().deadlines(VcpuSlot(vcpu)).unwrap()
    }

    /// What a vCPU does, since when, and how long it has done what.
    pub(crate) fn runstate(&self, vcpu: u32) -> timers::Runstate {
        self.state.timers().runstate(VcpuSlot(vcpu)).unwrap()
    }

    pub(crate) fn vcpu_state(&self, vcpu: u32) -> VcpuState {
        self.state.domains.vcpu(VcpuSlot(vcpu)).state()
    }

    /// Address of a byte of a vCPU's vcpu_info.
    pub(crate) fn info(&self, vcpu: u32, offset: u64) -> Maddr {
        Maddr(self.state.events(self.memory).vcpu_info(VcpuSlot(vcpu)).unwrap().0 + offset)
    }
}

/// The result of an error.
pub(crate) const fn error(errno: Errno) -> i64 {
    errno.to_result()
}

/// A clock that stands still.
struct Stopped(u64);

/// Nobody runs.
struct Idle;

impl hypercalls::Cpus for Idle {
    fn hold(&self, _vcpu: VcpuSlot) -> bool {
        false
    }

    fn trace(&self, _event: u32, _timed: bool, _words: &[u32]) {}
}

impl hypercalls::Clock for Stopped {
    fn now(&self) -> u64 {
        self.0
    }
}
