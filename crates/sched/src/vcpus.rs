//! What the scheduler is told, and what it says.

use ids::{CpuId, DomainSlot, VcpuSlot};

/// What the scheduler is told of vCPUs. Asked with its lock held: answers come from memory alone.
pub trait Vcpus {
    /// Whether it wants a CPU and may have one: it is up, does not wait for an event, and its domain is not paused.
    fn can_run(&self, vcpu: VcpuSlot) -> bool;
    /// Its domain.
    fn domain(&self, vcpu: VcpuSlot) -> DomainSlot;
    /// vCPUs of its domain.
    fn siblings(&self, vcpu: VcpuSlot) -> u32;
    /// The one CPU that it has to run on for the time being (`SCHEDOP_pin_override`).
    fn only(&self, vcpu: VcpuSlot) -> Option<CpuId>;
    /// The CPU that looks after it: it runs there, did so last, or is to.
    fn home(&self, vcpu: VcpuSlot) -> CpuId;
    /// Whether another CPU than this one still has its registers.
    fn is_held_elsewhere(&self, vcpu: VcpuSlot, cpu: CpuId) -> bool;
    /// From now on `cpu` looks after it.
    fn take(&self, vcpu: VcpuSlot, cpu: CpuId);
}

/// What a CPU that chooses knows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish {
    /// Whom it holds, if that may run on.
    pub current: Option<VcpuSlot>,
    /// That one gives way to others.
    pub yields: bool,
}

/// A CPU that is to be told that somebody waits for whom it would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It was idle: it is to choose.
    Idle(CpuId),
    /// Its turn ends earlier than it knows: it is to set its timer.
    Sooner(CpuId),
}
