//! Model-specific registers of a vCPU, as far as they are saved with it.

use super::vcpu_of;
use crate::call::{Call, CallResult, Outcome, fault};
use crate::domctl::pause::{go_on, stopped};
use crate::event_channel::copy_back;
use cpu_policy::msr::{MsrContext, MsrWrite, Stored, write};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, VcpuSlot};
use toolstack_compat::processor::Records;
use toolstack_compat::v4_17::state::{REGISTER_BYTES, encode_registers, given_register, register};
use vault::Apply;
use xen_abi::Errno;
use xen_abi::domctl::{Domctl, DomctlVcpuMsr};

const TSC_AUX: u32 = 0xc000_0103;
/// Those that Xen saves: SPEC_CTRL, MISC_FEATURES_ENABLES, TSC_AUX, masks of breakpoint addresses. But for the third they
/// are 0 or not there.
const SAVED: [u32; 7] = [0x48, 0x140, TSC_AUX, 0xc001_1027, 0xc001_1019, 0xc001_101a, 0xc001_101b];

/// Those that are not 0. Without a list: how many there are at most.
///
/// # Errors
/// `ESRCH`: no such vCPU; `EINVAL`: the caller; `ENOBUFS`: there are more; `EFAULT`; `ERESTART`.
pub(super) fn get<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    mut op: Domctl,
    domain: DomainSlot,
    vcpu: u32,
    list: Records,
) -> CallResult {
    let slot = vcpu_of(call, domain, vcpu).map_err(|_| Errno::ESRCH)?;
    if slot == call.vcpu {
        return Err(Errno::EINVAL);
    }
    if list.at == 0 {
        encode_registers(&mut op, SAVED.len() as u32)?;
        return call.reply_after(|tx| copy_back(tx, at, &op));
    }
    stopped(call, domain, |call| {
        let value = call.state.contexts.context(slot).tsc_aux.get();
        let count = u32::from(value != 0);
        encode_registers(&mut op, count)?;
        let fits = count <= list.count;
        if count != 0 && fits {
            call.memory.write(Gva(list.at), &register(TSC_AUX, value.into())).map_err(fault)?;
        }
        answer(call, at, &op, domain, if fits { Ok(()) } else { Err(Errno::ENOBUFS) })
    })
}

/// Sets those of a list; the first that cannot be is said.
///
/// # Errors
/// `ESRCH`: no such vCPU; `EINVAL`: a register that is not saved, or a value that it cannot have; `EFAULT`; `ERESTART`.
pub(super) fn set<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    mut op: Domctl,
    domain: DomainSlot,
    vcpu: u32,
    list: Records,
) -> CallResult {
    let slot = vcpu_of(call, domain, vcpu).map_err(|_| Errno::ESRCH)?;
    if slot == call.vcpu || list.count as usize > SAVED.len() {
        return Err(Errno::EINVAL);
    }
    stopped(call, domain, |call| {
        let (mut aux, mut refused) = (None, None);
        for index in 0..list.count {
            let place = list.at.wrapping_add(REGISTER_BYTES * u64::from(index));
            let record: DomctlVcpuMsr = call.memory.read(Gva(place)).map_err(fault)?;
            match allowed(call, domain, slot, &record) {
                Some(Stored::TscAux) => aux = Some(record.value as u32),
                Some(_) => {}
                None => {
                    refused = Some(index);
                    break;
                }
            }
        }
        if let Some(aux) = aux {
            let word = &call.state.contexts.context(slot).tsc_aux;
            let lock = call.state.domain_locks.of(domain);
            call.j.change(|tx| {
                tx.lock(lock);
                tx.set(word, aux);
            });
        }
        encode_registers(&mut op, refused.unwrap_or(list.count))?;
        answer(call, at, &op, domain, if refused.is_none() { Ok(()) } else { Err(Errno::EINVAL) })
    })
}

/// What a record that may be set changes.
fn allowed<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    domain: DomainSlot,
    vcpu: VcpuSlot,
    record: &DomctlVcpuMsr,
) -> Option<Stored> {
    let given = given_register(record);
    if given.unknown || !SAVED.contains(&given.index) {
        return None;
    }
    let hardware_domain = call.state.domains.domain(domain).privileged.get();
    let policy = call.state.policies.of(domain, hardware_domain);
    let boot_vcpu = call.state.domains.vcpu(vcpu).id.get().0 == 0;
    let context = MsrContext { policy: &policy, hardware_domain, boot_vcpu, efer: 0, misc_enable: None };
    match write(given.index, given.value, &context) {
        MsrWrite::Set(stored, _) => Some(stored),
        _ => None,
    }
}

/// The argument is copied back, whatever the result, and the domain goes on.
fn answer<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    op: &Domctl,
    domain: DomainSlot,
    result: Result<(), Errno>,
) -> CallResult {
    let (state, reply) = (call.state, call.reply);
    call.j.transaction(|tx| {
        go_on(state, tx, domain);
        copy_back(tx, at, op)?;
        reply.publish(tx, result.map_or_else(Errno::to_result, |()| 0));
        Ok(Outcome::Replied)
    })
}
