//! Which domain and vCPU slots live, and in what state of life.
//!
//! There is no domain structure: every crate keeps its own records, indexed by the slots named here.
//! State class: durable; derived from it is nothing.
#![no_std]
#![forbid(unsafe_code)]

mod slots;

pub use slots::{NewDomain, NoSlot};

use core::sync::atomic::{Ordering, fence};
use ids::{DomId, DomainSlot, Gva, Mfn, VcpuId, VcpuSlot};
use vault::{Arena, Durable, GuestOwned, LockWord, Tx, record};

/// vCPUs a domain may have (Xen's limit for PV is 8192; this one bounds the regions).
pub const MAX_VCPUS_PER_DOMAIN: u32 = 128;

record! {
    /// One domain slot.
    ///
    /// Lock: [`Locks::of`] the slot; the control interface's own while the domain is being built.
    /// Rebuild: nothing is derived.
    pub struct Domain {
        /// Whether the slot is in use: a [`Life`].
        life: Durable<u8>,
        /// Whether it is the privileged one (Dom0, the hardware domain).
        pub privileged: Durable<bool>,
        /// Its number.
        pub id: Durable<DomId>,
        /// vCPUs it has.
        pub vcpus: Durable<u32>,
        /// Slot of its vCPU 0; the others follow.
        pub first_vcpu: Durable<VcpuSlot>,
        /// vCPU slots that are its own: the vCPUs it may have.
        pub most_vcpus: Durable<u32>,
        /// How often the toolstack has paused it and not let it go on.
        pub pauses: Durable<u32>,
        /// How it sees the TSC (`TSC_MODE_*`), how often it was moved, and the frequency it began with, kHz; 0: this
        /// machine's.
        pub tsc: [Durable<u32>; 3],
        /// System time at which it began, ns; one that was moved may have begun before this machine did.
        pub began: Durable<u64>,
        /// A pause is under way: its vCPUs are leaving their CPUs.
        pub halting: Durable<bool>,
        /// Frame of its shared_info page.
        pub shared_info: Durable<Mfn>,
        /// VMASST bits it enabled.
        pub assists: Durable<u64>,
        /// Reason of its shutdown (`SHUTDOWN_*`) plus one; 0 while it has none.
        pub shutdown: Durable<u32>,
        /// Its port by which it says that it has suspended, to whom the port leads and in place of `VIRQ_DOM_EXC`
        /// (`XEN_DOMCTL_subscribe`); 0: none. State class: durable.
        pub suspend_port: Durable<u32>,
        /// Hypervisor failures that came in the middle of its vCPUs' entries, in all.
        pub charged: GuestOwned<u32>,
        /// Its handle (a UUID, as 16 bytes in memory order); zero for Dom0.
        pub handle: [Durable<u64>; 2],
    }
}

record! {
    /// Where the next domain's number is looked for.
    ///
    /// Lock: [`Locks::control`]. Rebuild: nothing is derived.
    pub struct Numbers {
        /// The number given out last.
        pub(crate) last: Durable<DomId>,
        spare: Durable<u16>,
        /// Domains that are [`Life::Dead`] or [`Life::Gone`].
        pub(crate) dead: Durable<u32>,
    }
}

record! {
    /// One vCPU slot.
    ///
    /// Lock: [`Locks::of`] its domain for `state` and `initialised`, and for all while it is down; the
    /// rest is its own CPU's while it runs. Rebuild: `system::Schedule` looks at every vCPU anew.
    pub struct Vcpu {
        /// Whether it runs, waits or is down: a [`VcpuState`].
        state: Durable<u8>,
        /// Whether it has a context (`VCPUOP_initialise`).
        pub initialised: Durable<bool>,
        /// Its domain.
        pub domain: Durable<DomainSlot>,
        /// Its number in the domain.
        pub id: Durable<VcpuId>,
        /// Guest address of its secondary time area; 0 for none.
        pub time_area: Durable<Gva>,
        /// The one port it polls; 0 for several.
        pub poll_port: Durable<u32>,
        /// An NMI waits for it (`VCPUOP_send_nmi`). Lock: as `state`.
        pub nmi_pending: Durable<bool>,
        /// The CPU that it has to run on for the time being, plus one (`SCHEDOP_pin_override`); 0: any. Lock: as `state`.
        pub pin: Durable<u32>,
    }
}

/// Where a domain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// The slot is free.
    Free,
    /// Alive.
    Alive,
    /// Shut down or crashed; its records are kept for the toolstack.
    Shutdown,
    /// Being destroyed, step by step.
    Dying,
    /// Destroyed; others still hold frames of its.
    Dead,
    /// Nothing is left of it, and its number is nobody's; a CPU may still be at work with its slot.
    Gone,
}

/// Where a vCPU stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VcpuState {
    /// Not up.
    Down,
    /// Wants a CPU or has one.
    Runnable,
    /// Waits for an event.
    Blocked,
    /// Waits for certain ports or a time (`SCHEDOP_poll`).
    Polling,
}

impl Domain {
    /// Where it stands.
    pub fn life(&self) -> Life {
        match self.life.get() {
            0 => Life::Free,
            1 => Life::Alive,
            2 => Life::Shutdown,
            3 => Life::Dying,
            4 => Life::Dead,
            _ => Life::Gone,
        }
    }

    /// Whether its vCPUs may have CPUs.
    pub fn may_run(&self) -> bool {
        self.life() == Life::Alive && self.pauses.get() == 0 && !self.halting.get()
    }

    /// Whether there is such a domain for those who ask.
    pub fn is_known(&self) -> bool {
        !matches!(self.life(), Life::Free | Life::Gone)
    }

    /// Whether nothing but its end can become of it.
    pub fn is_ending(&self) -> bool {
        matches!(self.life(), Life::Dying | Life::Dead | Life::Gone)
    }

    /// Changes where it stands.
    pub fn set_life(&self, tx: &mut Tx<'_>, life: Life) {
        tx.set(&self.life, life as u8);
    }
}

impl Vcpu {
    /// Where it stands.
    pub fn state(&self) -> VcpuState {
        match self.state.get() {
            0 => VcpuState::Down,
            1 => VcpuState::Runnable,
            2 => VcpuState::Blocked,
            _ => VcpuState::Polling,
        }
    }

    /// Changes where it stands.
    pub fn set_state(&self, tx: &mut Tx<'_>, state: VcpuState) {
        tx.set(&self.state, state as u8);
    }
}

/// Locks of domain slots: derived, all free after a start. Nothing but the delivery lock of event channels, the locks of
/// `timers` and those of `cpu-policy` is locked under one.
#[derive(Debug)]
pub struct Locks {
    slots: [LockWord; 64],
    /// Of which slots are in use, for whom; before a slot's.
    pub control: LockWord,
}

impl Locks {
    /// Free locks.
    pub const fn new() -> Self {
        Self { slots: [const { LockWord::new() }; 64], control: LockWord::new() }
    }

    /// The lock of a slot.
    pub fn of(&self, slot: DomainSlot) -> &LockWord {
        &self.slots[usize::from(slot.0) % self.slots.len()]
    }
}

impl Default for Locks {
    fn default() -> Self {
        Self::new()
    }
}

/// All slots.
#[derive(Clone, Copy)]
pub struct Region {
    /// Domain slots.
    pub domains: &'static [Domain],
    /// vCPU slots.
    pub vcpus: &'static [Vcpu],
    /// Numbers for new domains.
    pub(crate) numbers: &'static Numbers,
}

impl core::fmt::Debug for Region {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Region({} domains, {} vCPUs)", self.domains.len(), self.vcpus.len())
    }
}

impl Region {
    /// Carves the slots. `None` when the arena is too small, or no domain or more than 65,535 are asked for.
    pub fn carve(arena: &mut Arena, domains: usize, vcpus: usize) -> Option<Self> {
        u16::try_from(domains).ok().filter(|domains| *domains > 0)?;
        let numbers = arena.carve(1)?.first()?;
        Some(Self { domains: arena.carve(domains)?, vcpus: arena.carve(vcpus)?, numbers })
    }

    /// The record of a slot.
    pub fn domain(&self, slot: DomainSlot) -> &'static Domain {
        &self.domains[usize::from(slot.0)]
    }

    /// The record of a vCPU slot.
    pub fn vcpu(&self, slot: VcpuSlot) -> &'static Vcpu {
        &self.vcpus[slot.0 as usize]
    }

    /// The slot of a domain's vCPU, if it has such a vCPU.
    pub fn vcpu_of(&self, domain: DomainSlot, id: VcpuId) -> Option<VcpuSlot> {
        let record = self.domain(domain);
        (id.0 < record.vcpus.get()).then(|| VcpuSlot(record.first_vcpu.get().0 + id.0))
    }

    /// Slots of a domain's vCPUs.
    pub fn vcpus_of(&self, domain: DomainSlot) -> impl Iterator<Item = VcpuSlot> + Clone + use<> {
        let record = self.domain(domain);
        let first = record.first_vcpu.get().0;
        (first..first + record.vcpus.get().min(MAX_VCPUS_PER_DOMAIN)).map(VcpuSlot)
    }

    /// The slot of the domain with this number. It is no other domain's while the log of the CPU that asks stays open
    /// ([`remove`](Self::remove)). Not inlined: it is asked in many places.
    #[inline(never)]
    pub fn by_id(&self, id: DomId) -> Option<DomainSlot> {
        // Whoever gives a slot up says so first and looks at the logs then; here it is the other way round.
        fence(Ordering::SeqCst);
        let home = self.home(id);
        if self.is_at(home, id) { Some(home) } else { self.search(id) }
    }

    /// A domain whose number came upon a slot that another one had.
    #[cold]
    #[inline(never)]
    fn search(&self, id: DomId) -> Option<DomainSlot> {
        self.slots_from(id).find(|slot| self.is_at(*slot, id))
    }

    #[inline(always)]
    fn is_at(&self, slot: DomainSlot, id: DomId) -> bool {
        let record = self.domain(slot);
        record.is_known() && record.id.get() == id
    }

    /// The slot where a domain is looked for first: by the remainder of its number, so that it is mostly found at once,
    /// however many domains there are.
    #[inline(always)]
    fn home(&self, id: DomId) -> DomainSlot {
        DomainSlot(id.0 % self.domains.len() as u16)
    }

    /// All slots, in the order in which one is looked for that the domain with this number has or may get.
    pub(crate) fn slots_from(&self, id: DomId) -> impl Iterator<Item = DomainSlot> + use<> {
        let home = self.home(id).0;
        (home..self.domains.len() as u16).chain(0..home).map(DomainSlot)
    }
}
