//! The end of a domain's life, by itself, by the toolstack or by the hypervisor.

use domain::State;
use domains::{Domain, Life};
use guest_memory::GuestMemory;
use ids::DomainSlot;
use vault::{Effect, Tx, kind};
use xen_abi::sched::SHUTDOWN_SUSPEND;
use xen_abi::xen::VIRQ_DOM_EXC;

/// Makes the CPUs of a domain's vCPUs look around.
pub(crate) fn kick_all(state: &'static State, tx: &mut Tx<'static>, slot: DomainSlot) {
    for vcpu in state.domains.vcpus_of(slot) {
        tx.publish(Effect { kind: kind::KICK, x: vcpu.0, a: 0, b: 0 });
    }
}

/// Ends a domain for `reason` (`SHUTDOWN_*`), unless it noted another one before
/// (`SCHEDOP_shutdown_code`); one that has ended already stays as it is. Its vCPUs leave their CPUs and Dom0
/// is told. What Dom0's own end means for the machine is the composition's matter.
pub fn shut_down<M: GuestMemory>(
    state: &'static State,
    memory: &'static M,
    tx: &mut Tx<'static>,
    slot: DomainSlot,
    reason: u32,
) {
    let domain = state.domains.domain(slot);
    tx.lock(state.domain_locks.of(slot));
    if domain.life() != Life::Alive {
        return;
    }
    if domain.shutdown.get() == 0 {
        tx.set(&domain.shutdown, (reason & 0xff) + 1);
    }
    domain.set_life(tx, Life::Shutdown);
    kick_all(state, tx, slot);
    tell(state, memory, tx, slot, domain);
}

/// Dom0 is told that a domain has ended; who subscribed to its suspending is told of that in its place.
fn tell<M: GuestMemory>(
    state: &'static State,
    memory: &'static M,
    tx: &mut Tx<'static>,
    slot: DomainSlot,
    domain: &Domain,
) {
    let (events, port) = (state.events(memory), domain.suspend_port.get());
    if domain.shutdown.get() == SHUTDOWN_SUSPEND + 1 && port != 0 {
        // As on Xen it is the domain's own affair if that is no port of its by now.
        let _ = events.send(tx, slot, port);
    } else if !domain.privileged.get()
        && let Some(event) = events.global_virq_event(VIRQ_DOM_EXC)
    {
        tx.publish(event);
    }
}
