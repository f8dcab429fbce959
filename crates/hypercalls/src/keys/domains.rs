//! Keys about domains: what they are, their event channels, their grants.

use super::report::Report;
use crate::domain_info::{live, runstate};
use domains::{Life, VcpuState};
use events::Status;
use guest_memory::GuestMemory;
use ids::{CpuId, DomainSlot, VcpuSlot};
use sched::CpuSet;
use vault::Apply;
use xen_abi::xen::VIRQ_DEBUG;

/// What there is to know of each domain and vCPU. Each vCPU hears `VIRQ_DEBUG`, at which its kernel may print more.
pub(super) fn domains<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>) {
    let state = report.state();
    for slot in live(state) {
        let (domain, list) = (state.domains.domain(slot), state.frames.list(slot));
        let life = match domain.life() {
            Life::Alive => "alive",
            Life::Shutdown => "shut down",
            _ => "ending",
        };
        let id = domain.id.get().0;
        report.line(format_args!(
            "General information for domain {id}: {life}, {} pauses",
            domain.pauses.get()
        ));
        report.line(format_args!("    {} frames of at most {}", list.pages(), list.max_pages()));
        let [low, high] = domain.handle.each_ref().map(|word| word.get().swap_bytes());
        report.line(format_args!("    handle {low:016x}{high:016x}, vm_assist {:#x}", domain.assists.get()));
        let (pool, weight) = (state.sched.pool_id(state.sched.pool_of(slot)), state.sched.weight(slot));
        report.line(format_args!("    CPU pool {pool}, weight {weight}, cap {}%", state.sched.cap(slot)));
        report.line(format_args!("VCPU information and callbacks for domain {id}:"));
        for vcpu in state.domains.vcpus_of(slot) {
            one_vcpu(report, vcpu);
        }
    }
}

fn one_vcpu<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>, vcpu: VcpuSlot) {
    let state = report.state();
    let (record, events) = (state.domains.vcpu(vcpu), state.events(report.call.memory));
    let standing = match record.state() {
        VcpuState::Down => "down",
        VcpuState::Blocked => "blocked",
        VcpuState::Polling => "polling",
        _ => "up",
    };
    let holds = if report.call.cpus.hold(vcpu) { 'T' } else { 'F' };
    let home = state.timers().home(vcpu).0;
    let number = record.id.get().0;
    report.line(format_args!(
        "    VCPU{number}: CPU{home} [has={holds}] {standing}, upcall {:?}",
        events.upcall_state(vcpu)
    ));
    let (hard, soft) = (state.sched.hard(vcpu), state.sched.soft(vcpu));
    report.line(format_args!("    hard affinity {}, soft affinity {}", Cpus(&hard), Cpus(&soft)));
    if let Ok(spent) = runstate(report.call, vcpu) {
        let spent = spent.until(report.call.now());
        report.line(format_args!(
            "    ran {} ms, waited {} ms",
            spent.spent[0] / 1_000_000,
            spent.spent[1] / 1_000_000
        ));
    }
    if let Some(event) = events.virq_event(vcpu, VIRQ_DEBUG) {
        report.call.j.change(|tx| tx.publish(event));
    }
}

/// A set of CPUs, as `all` or a list.
pub(super) struct Cpus<'a>(pub(super) &'a CpuSet);

impl core::fmt::Display for Cpus<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if *self.0 == CpuSet::ALL {
            return f.write_str("{all}");
        }
        f.write_str("{")?;
        for (place, CpuId(cpu)) in self.0.iter().enumerate() {
            write!(f, "{}{cpu}", if place == 0 { "" } else { "," })?;
        }
        f.write_str("}")
    }
}

/// The event channels in use: pending, and what each is bound to.
pub(super) fn ports<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>) {
    let state = report.state();
    for slot in live(state) {
        let events = state.events(report.call.memory);
        report.line(format_args!("Event channel information for domain {}:", report.id(slot)));
        let mut port = 1;
        while let Ok((status, vcpu)) = events.status(slot, port) {
            let pending = u8::from(events.is_pending(slot, port).unwrap_or(false));
            match status {
                Status::Closed => {}
                Status::Unbound { domain } => {
                    report.line(format_args!("    {port:4} [{pending}]: v={vcpu} unbound d={}", domain.0));
                }
                Status::Interdomain { domain, port: peer } => {
                    report.line(format_args!(
                        "    {port:4} [{pending}]: v={vcpu} interdomain d={} p={peer}",
                        domain.0
                    ));
                }
                Status::Pirq(pirq) => {
                    report.line(format_args!("    {port:4} [{pending}]: v={vcpu} pirq {pirq}"))
                }
                Status::Virq(virq) => {
                    report.line(format_args!("    {port:4} [{pending}]: v={vcpu} virq {virq}"))
                }
                Status::Ipi => report.line(format_args!("    {port:4} [{pending}]: v={vcpu} ipi")),
            }
            port += 1;
        }
    }
}

/// Each domain's grant table, and who maps what of it.
pub(super) fn grants<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>) {
    let state = report.state();
    for slot in live(state) {
        one_table(report, slot);
    }
    for mapped in state.grants.mappings() {
        let (granter, mapper) = (report.id(mapped.granter), report.id(mapped.mapper));
        let access = if mapped.usage.writes() { "rw" } else { "ro" };
        report.line(format_args!(
            "    d{granter} ref {:#x} frame {:#x} is mapped by d{mapper} ({access}) as {}",
            mapped.gref, mapped.frame.0, mapped.handle
        ));
    }
}

fn one_table<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>, slot: DomainSlot) {
    let (grants, id) = (report.state().grants, report.id(slot));
    let (version, count, limits) = (grants.version(slot), grants.count(slot), grants.limits(slot));
    report.line(format_args!(
        "grant-table for remote d{id} (v{version}): {count} frames ({} max)",
        limits.frames
    ));
}
