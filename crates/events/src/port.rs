//! A port: one word, so that it is read whole without a lock.

use crate::layout::DEFAULT_PRIORITY;
use core::sync::atomic::{AtomicU64, Ordering};
use vault::zerocopy::FromZeros;

/// What a port is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing: it can be allocated.
    Free,
    /// Not for guests.
    Reserved,
    /// Waits for the named domain to connect.
    Unbound,
    /// Connected to another port.
    Interdomain,
    /// A physical interrupt.
    Pirq,
    /// A virtual interrupt.
    Virq,
    /// A vCPU's own doorbell.
    Ipi,
}

/// A port's binding.
///
/// | bits | field |
/// |---|---|
/// | 0..3 | state |
/// | 3 | the hypervisor consumes the events |
/// | 4..8 | FIFO priority |
/// | 8..24 | vCPU number to notify |
/// | 24..48 | remote port, PIRQ or VIRQ |
/// | 48..64 | interdomain: the remote domain's slot; unbound: the domain identifier allowed to connect |
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PortWord(pub(crate) u64);

vault::plain!(PortWord: u64);

impl PortWord {
    pub(crate) const FREE: PortWord = PortWord(0);
    /// Largest number that `peer` can hold.
    pub(crate) const MAX_PEER: u32 = (1 << 24) - 1;

    pub(crate) const fn new(state: State, vcpu: u16, peer: u32, domain: u16) -> Self {
        let word = state as u64 | (DEFAULT_PRIORITY as u64) << 4 | (vcpu as u64) << 8;
        PortWord(word | ((peer & Self::MAX_PEER) as u64) << 24 | (domain as u64) << 48)
    }

    /// What it is bound to.
    pub const fn state(self) -> State {
        match self.0 & 7 {
            0 => State::Free,
            2 => State::Unbound,
            3 => State::Interdomain,
            4 => State::Pirq,
            5 => State::Virq,
            6 => State::Ipi,
            _ => State::Reserved,
        }
    }

    /// Whether the hypervisor itself consumes the events.
    pub const fn is_consumed_here(self) -> bool {
        self.0 & 8 != 0
    }

    /// FIFO priority, 0 (highest) to 15.
    pub const fn priority(self) -> u8 {
        (self.0 >> 4 & 15) as u8
    }

    /// Number of the vCPU to notify.
    pub const fn vcpu(self) -> u16 {
        (self.0 >> 8) as u16
    }

    /// Remote port, PIRQ or VIRQ.
    pub const fn peer(self) -> u32 {
        (self.0 >> 24) as u32 & Self::MAX_PEER
    }

    /// The remote domain's slot (interdomain) or identifier (unbound).
    pub const fn domain(self) -> u16 {
        (self.0 >> 48) as u16
    }

    pub(crate) const fn with_priority(self, priority: u8) -> Self {
        PortWord(self.0 & !0xf0 | (priority as u64 & 15) << 4)
    }

    pub(crate) const fn with_vcpu(self, vcpu: u16) -> Self {
        PortWord(self.0 & !0xff_ff00 | (vcpu as u64) << 8)
    }

    pub(crate) const fn consumed_here(self) -> Self {
        PortWord(self.0 | 8)
    }

    /// The same port, rebound: vCPU, priority and consumer stay.
    pub(crate) const fn rebound(self, state: State, peer: u32, domain: u16) -> Self {
        let kept = self.0 & 0xff_fff8;
        PortWord(kept | state as u64 | ((peer & Self::MAX_PEER) as u64) << 24 | (domain as u64) << 48)
    }
}

impl core::fmt::Debug for PortWord {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "{:?}(v{} p{} {:#x}@{:#x})",
            self.state(),
            self.vcpu(),
            self.priority(),
            self.peer(),
            self.domain()
        )
    }
}

/// A word that outlives a microreboot outside the journal, because it follows words a guest shares with us:
/// undoing it would part the two. Written under the delivery lock; each has a named repair.
#[derive(FromZeros)]
#[zerocopy(crate = "vault::zerocopy")]
#[repr(transparent)]
pub struct Traced(AtomicU64);

impl Traced {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn put(&self, bits: u64) {
        vault::step::point();
        // Release: pairs with `get`; what the word announces was stored before it.
        self.0.store(bits, Ordering::Release);
    }
}

impl core::fmt::Debug for Traced {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}", self.get())
    }
}
