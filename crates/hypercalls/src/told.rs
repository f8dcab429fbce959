//! Events for trace buffers: one test while none are noted.

use crate::call::Cpus;
use core::fmt;
use domain::State;
use ids::{DomainSlot, VcpuSlot};
use timers::State as Runstate;
use xen_abi::trace::TRC_SCHED_RUNSTATE_CHANGE;

/// Words of an event that come after its domain and vCPU, at most.
const MOST_MORE: usize = 4;

/// Notes events of this CPU. What is undone after it was noted, for a call is refused or run again, stays noted.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    /// All state.
    pub state: &'static State,
    /// The CPUs.
    pub cpus: &'a dyn Cpus,
}

impl fmt::Debug for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Told({:?})", self.state.traces)
    }
}

impl Told<'_> {
    /// An event with these words.
    #[inline(always)]
    pub fn event(&self, event: u32, words: &[u32]) {
        if self.state.traces.is_on() {
            self.tell(event, words);
        }
    }

    /// A hypercall, by itself or one of a multicall.
    #[inline(always)]
    pub fn hypercall(&self, number: u64, arguments: &[u64], in_multicall: bool) {
        if self.state.traces.is_on() {
            self.tell_hypercall(number, arguments, in_multicall);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_hypercall(&self, number: u64, arguments: &[u64], in_multicall: bool) {
        let (event, words, length) = trace_buffers::hypercall(number, arguments, in_multicall);
        self.cpus.trace(event, true, &words[..length]);
    }

    /// An event about a domain.
    #[inline(always)]
    pub fn domain(&self, event: u32, slot: DomainSlot) {
        if self.state.traces.is_on() {
            self.tell(event, &[self.number(slot)]);
        }
    }

    /// An event about a vCPU: its domain, its number, these words.
    #[inline(always)]
    pub fn vcpu(&self, event: u32, vcpu: VcpuSlot, words: &[u32]) {
        if self.state.traces.is_on() {
            self.about(event, vcpu, words);
        }
    }

    /// A vCPU enters a state: before it does.
    #[inline(always)]
    pub fn runstate(&self, vcpu: VcpuSlot, to: Runstate) {
        if self.state.traces.is_on() {
            self.change(vcpu, to);
        }
    }

    #[cold]
    #[inline(never)]
    fn number(&self, slot: DomainSlot) -> u32 {
        self.state.domains.domain(slot).id.get().0.into()
    }

    #[cold]
    #[inline(never)]
    fn tell(&self, event: u32, words: &[u32]) {
        self.cpus.trace(event, true, words);
    }

    /// Domain and number.
    #[cold]
    pub fn names(&self, vcpu: VcpuSlot) -> [u32; 2] {
        let record = self.state.domains.vcpu(vcpu);
        [self.number(record.domain.get()), record.id.get().0]
    }

    #[cold]
    #[inline(never)]
    fn about(&self, event: u32, vcpu: VcpuSlot, words: &[u32]) {
        let mut told = [0; 2 + MOST_MORE];
        told[..2].copy_from_slice(&self.names(vcpu));
        let more = words.len().min(MOST_MORE);
        told[2..2 + more].copy_from_slice(&words[..more]);
        self.cpus.trace(event, true, &told[..2 + more]);
    }

    #[cold]
    #[inline(never)]
    fn change(&self, vcpu: VcpuSlot, to: Runstate) {
        let Ok(present) = self.state.timers().runstate(vcpu) else { return };
        let states = (present.state & 3) << 8 | (to as u32 & 3) << 4;
        let [domain, number] = self.names(vcpu);
        self.cpus.trace(TRC_SCHED_RUNSTATE_CHANGE | states, true, &[number & 0xffff | domain << 16]);
    }
}
