//! A domain's names for interrupts, and their end.

use super::msix;
use crate::call::{Call, CallResult, Outcome, fault};
use crate::event_channel::{copy_back, hold, reclaim};
use guest_memory::GuestMemory;
use ids::{Gva, Mfn};
use irqs::{Error, MsiSource, Source};
use vault::{Apply, Effect, kind};
use xen_abi::Errno;
use xen_abi::physdev::{
    MAP_PIRQ_TYPE_GSI, MAP_PIRQ_TYPE_MSI, MAP_PIRQ_TYPE_MSI_SEG, MAP_PIRQ_TYPE_MULTI_MSI, PhysdevEoi,
    PhysdevGetFreePirq, PhysdevIrqStatusQuery, PhysdevMapPirq, PhysdevPirqEoiGmfn, PhysdevUnmapPirq,
};

/// The errno of a refused interrupt operation.
pub(crate) fn pirq_errno(e: Error) -> Errno {
    match e {
        Error::NoSuchDomain => Errno::ESRCH,
        Error::Invalid => Errno::EINVAL,
        Error::Exists => Errno::EEXIST,
        Error::Busy => Errno::EBUSY,
        Error::NoSpace => Errno::ENOSPC,
        Error::NoMemory => Errno::ENOMEM,
        Error::OutOfDomain => Errno::EDOM,
        Error::NotSupported => Errno::EOPNOTSUPP,
    }
}

/// APIC identifier of the CPU that gets interrupts nobody asked to move.
pub(crate) fn boot_cpu<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>) -> u32 {
    call.state.facts.cpus().first().map_or(0, |cpu| cpu.apic_id)
}

/// `PHYSDEVOP_irq_status_query`.
pub(super) fn status_query<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, at: Gva) -> CallResult {
    let mut query: PhysdevIrqStatusQuery = call.memory.read(at).map_err(fault)?;
    query.flags = call.state.irqs().status(call.domain, query.irq).map_err(|_| Errno::EINVAL)?;
    call.memory.write(at, &query).map_err(fault)?;
    Ok(Outcome::Value(0))
}

/// `PHYSDEVOP_eoi`: the guest has served an interrupt.
pub(super) fn eoi<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: Gva) -> CallResult {
    let PhysdevEoi { irq: pirq } = call.memory.read(at).map_err(fault)?;
    let (irqs, events, domain) = (call.state.irqs(), call.state.events(call.memory), call.domain);
    call.reply_after(|tx| {
        let done = irqs.eoi(tx, domain, pirq).map_err(|_| Errno::EINVAL)?;
        // Words the guest shares, unmasked once more by a repetition.
        if let Some(port) = done.unmask
            && let Ok(Some(vcpu)) = events.unmask(domain, port)
        {
            tx.publish(Effect { kind: kind::KICK, x: vcpu.0, a: 0, b: 0 });
        }
        Ok(())
    })
}

/// `PHYSDEVOP_map_pirq`: gives a pin or a device's message a name.
pub(super) fn map<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: Gva) -> CallResult {
    let mut map: PhysdevMapPirq = call.memory.read(at).map_err(fault)?;
    let slot = call.domain_slot(map.domid)?;
    call.privileged()?;
    let source = source_of(&map)?;
    let wanted = u32::try_from(map.pirq).ok();
    let table = msix::table(call.state, source);
    if let Some(table) = &table {
        msix::guard(call, table)?;
    }
    let (irqs, dest, reply) = (call.state.irqs(), boot_cpu(call), call.reply);
    call.j.transaction(|tx| {
        let mapped = irqs.map_pirq(tx, slot, source, wanted, dest).map_err(pirq_errno)?;
        if table.is_some_and(|table| !irqs.is_closed(&table)) {
            // Its record went to another device meanwhile.
            return Err(Errno::ERESTART);
        }
        map.pirq = mapped.pirq as i32;
        if !matches!(source, Source::Gsi(_)) {
            map.index = mapped.irq as i32;
        }
        copy_back(tx, at.0, &map)?;
        reply.publish(tx, 0);
        Ok(Outcome::Replied)
    })
}

fn source_of(map: &PhysdevMapPirq) -> Result<Source, Errno> {
    let message = |segment: i32, entry: i32| {
        Ok(MsiSource {
            segment: segment as u16,
            bus: map.bus as u8,
            devfn: map.devfn as u8,
            entry: u16::try_from(entry).map_err(|_| Errno::EINVAL)?,
            table_base: map.table_base,
        })
    };
    // An MSI has one message, whatever the field says; MSI-X entries count from 0.
    let entry = if map.table_base == 0 { 0 } else { map.entry_nr };
    match map.type_ {
        MAP_PIRQ_TYPE_GSI => u32::try_from(map.index).map(Source::Gsi).map_err(|_| Errno::EINVAL),
        MAP_PIRQ_TYPE_MSI => message(0, entry).map(Source::Msi),
        MAP_PIRQ_TYPE_MSI_SEG => message(map.bus >> 16, entry).map(Source::Msi),
        MAP_PIRQ_TYPE_MULTI_MSI => {
            let count = u32::try_from(map.entry_nr).map_err(|_| Errno::EDOM)?;
            Ok(Source::MultiMsi(message(map.bus >> 16, 0)?, count))
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `PHYSDEVOP_unmap_pirq`.
pub(super) fn unmap<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: Gva) -> CallResult {
    let PhysdevUnmapPirq { domid, pirq, .. } = call.memory.read(at).map_err(fault)?;
    let slot = call.domain_slot(domid)?;
    call.privileged()?;
    let pirq = u32::try_from(pirq).map_err(|_| Errno::EINVAL)?;
    let irqs = call.state.irqs();
    call.reply_after(|tx| irqs.unmap_pirq(tx, slot, pirq).map(drop).map_err(pirq_errno))
}

/// `PHYSDEVOP_get_free_pirq`: a name that is free now.
pub(super) fn get_free<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, at: Gva) -> CallResult {
    let mut free: PhysdevGetFreePirq = call.memory.read(at).map_err(fault)?;
    let message = free.type_ != MAP_PIRQ_TYPE_GSI;
    free.pirq = call.state.irqs().get_free_pirq(call.domain, message).map_err(pirq_errno)?;
    call.memory.write(at, &free).map_err(fault)?;
    Ok(Outcome::Value(0))
}

/// `PHYSDEVOP_pirq_eoi_gmfn_v1` and `_v2`: the page in which the guest wants to see what needs an end of
/// interrupt by hypercall; by `v1` that also unmasks the event.
pub(super) fn eoi_page<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: Gva,
    unmasks: bool,
) -> CallResult {
    let PhysdevPirqEoiGmfn { gmfn } = call.memory.read(at).map_err(fault)?;
    let mfn = Mfn(gmfn);
    reclaim(call, mfn)?;
    let (irqs, frames, domain) = (call.state.irqs(), call.state.frames, call.domain);
    call.reply_after(|tx| {
        hold(&frames, tx, domain, mfn)?;
        irqs.set_eoi_page(tx, domain, mfn, unmasks).map_err(pirq_errno)
    })
}
