//! The domain's and its vCPUs' records, shared_info and event channels.

use super::{BuildError, Builder, Dom0Inputs, SLOT, VCPU0, max_pages};
use crate::{State, clear_shared_info};
use domains::{Life, MAX_VCPUS_PER_DOMAIN};
use events::{MAX_PORTS, NewDomain};
use guest_memory::GuestMemory;
use ids::{CpuId, DomId, VcpuId, VcpuSlot};
use irqs::{Polarity, Trigger};
use vault::{Apply, Effect, kind};

/// The pin of an ISA interrupt, and how it signals: edge and active high unless the firmware says else.
fn isa_line(facts: &boot_info::BootFacts, line: u8) -> (u32, Trigger, Polarity) {
    let overrides = &facts.acpi.madt.overrides;
    let Some(found) = overrides.iter().find(|o| o.source == line) else {
        return (line.into(), Trigger::Edge, Polarity::High);
    };
    let trigger = match found.trigger {
        boot_info::Trigger::Level => Trigger::Level,
        boot_info::Trigger::Edge | boot_info::Trigger::Bus => Trigger::Edge,
    };
    let polarity = match found.polarity {
        boot_info::Polarity::Low => Polarity::Low,
        boot_info::Polarity::High | boot_info::Polarity::Bus => Polarity::High,
    };
    (found.gsi, trigger, polarity)
}

/// vCPUs that one transaction makes.
const BATCH: u32 = 8;

/// Whether the slots are there and free.
pub(super) fn check(state: &State, inputs: &Dom0Inputs<'_>) -> Result<(), BuildError> {
    let slots = u32::try_from(state.domains.vcpus.len()).unwrap_or(u32::MAX);
    let limit = MAX_VCPUS_PER_DOMAIN.min(slots);
    if !(1..=limit).contains(&inputs.vcpus) {
        return Err(BuildError::Vcpus { asked: inputs.vcpus, limit });
    }
    if state.domains.domain(SLOT).life() != Life::Free {
        return Err(BuildError::Defect("its slot is in use"));
    }
    Ok(())
}

impl<M: GuestMemory + 'static, A: Apply> Builder<'_, M, A> {
    /// The domain with its shared_info page. It is not alive yet.
    pub(super) fn create_domain(&mut self) -> Result<(), BuildError> {
        let state = self.state;
        let (vcpus, pages) = (self.inputs.vcpus, self.inputs.pages);
        let shared_info = self
            .j
            .transaction(|tx| {
                state.frames.set_max_pages(tx, SLOT, max_pages(pages));
                let mfn = state.frames.allocate_shared(tx, SLOT)?;
                tx.publish(Effect { kind: kind::M2P, x: 0, a: mfn.0, b: u64::MAX });
                let domain = state.domains.domain(SLOT);
                tx.set(&domain.privileged, true);
                tx.set(&domain.id, DomId(0));
                tx.set(&domain.vcpus, vcpus);
                tx.set(&domain.most_vcpus, vcpus);
                tx.set(&domain.first_vcpu, VCPU0);
                tx.set(&domain.shared_info, mfn);
                Ok(mfn.maddr())
            })
            .map_err(|frames::NoMemory| BuildError::NotEnoughFree { needed: 1, free: 0 })?;
        clear_shared_info(self.memory, shared_info);
        let new = NewDomain {
            domid: DomId(0),
            first_vcpu: VCPU0,
            max_vcpus: vcpus,
            max_port: MAX_PORTS,
            shared_info,
        };
        let events = state.events(self.memory);
        self.j
            .transaction(|tx| events.create_domain(tx, SLOT, &new))
            .map_err(|_| BuildError::Defect("its event channels are refused"))?;
        self.create_interrupts()
    }

    /// Its names for interrupts; the console's own pin is nobody's.
    fn create_interrupts(&mut self) -> Result<(), BuildError> {
        let (state, irqs) = (self.state, self.state.irqs());
        let console = self.inputs.console_line.map(|line| isa_line(state.facts, line));
        let dest = state.facts.cpus().first().map_or(0, |cpu| cpu.apic_id);
        self.j
            .transaction(|tx| {
                irqs.create_domain(tx, SLOT, state.dom0_pirqs())?;
                let Some((pin, trigger, polarity)) = console else { return Ok(()) };
                match irqs.reserve_gsi(tx, pin, trigger, polarity, dest) {
                    // A machine without that pin has nothing to keep it from.
                    Ok(()) | Err(irqs::Error::Invalid) => Ok(()),
                    Err(e) => Err(e),
                }
            })
            .map_err(|_: irqs::Error| BuildError::Defect("its interrupts are refused"))
    }

    /// The vCPUs, all down.
    pub(super) fn create_vcpus(&mut self) -> Result<(), BuildError> {
        const VCPU_REFUSED: BuildError = BuildError::Defect("the records of a vCPU are refused");
        let (events, timers) = (self.state.events(self.memory), self.state.timers());
        let vcpus = self.inputs.vcpus;
        for first in (0..vcpus).step_by(BATCH as usize) {
            self.j.transaction(|tx| {
                for id in first..vcpus.min(first + BATCH) {
                    self.state.domains.create_vcpu(tx, SLOT, VcpuId(id));
                    events.create_vcpu(tx, SLOT, id).map_err(|_| VCPU_REFUSED)?;
                    let slot = VcpuSlot(VCPU0.0 + id);
                    if self.inputs.pinned {
                        let cpus = (self.state.facts.cpus().len() as u32).max(1);
                        self.state.sched.bind(tx, slot, &[CpuId(id % cpus)].into_iter().collect());
                    }
                    timers.create_vcpu(tx, slot, self.inputs.now).map_err(|_| VCPU_REFUSED)?;
                }
                Ok::<(), BuildError>(())
            })?;
        }
        Ok(())
    }
}
