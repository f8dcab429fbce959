//! Another state for a vCPU that has one.

use super::layout::TRAPS_AT;
use super::{Parts, Target, finish, parts, set_traps, validate};
use crate::call::Call;
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, Mfn, VcpuSlot};
use pv_cpu::Context;
use vault::{Apply, Durable, Tx};
use xen_abi::Errno;
use xen_abi::arch::VGCF_IN_KERNEL;

/// Gives a vCPU that has a state, and whose registers no CPU holds while `done` has not run, another one: with the same
/// page tables and descriptor tables.
///
/// # Errors
/// `EOPNOTSUPP`: it has other tables; else as [`initialise`].
pub(crate) fn replace_state<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    domain: DomainSlot,
    vcpu: VcpuSlot,
    at: Gva,
    done: impl FnOnce(&mut Tx<'static>),
) -> Result<(), Errno> {
    let state = call.state;
    let (record, owner) = (state.domains.vcpu(vcpu), state.domains.domain(domain));
    let (context, lock) = (state.contexts.context(vcpu), state.domain_locks.of(domain));
    let target = Target { domain, owner, record, context, lock, ends: false, again: true };
    let parts = parts(call, at)?;
    validate(&parts.head, &parts.tail)?;
    if !has_tables(context, &parts) {
        return Err(Errno::EOPNOTSUPP);
    }
    set_traps(call, &target, at.0.checked_add(TRAPS_AT).map(Gva).ok_or(Errno::EFAULT)?)?;
    finish(call, &target, vcpu, &parts, done)
}

/// Whether a vCPU has the page tables and descriptor tables that a context names.
fn has_tables(context: &Context, Parts { head, tail, .. }: &Parts) -> bool {
    let cr3 = |word: &Durable<Mfn>| word.get().0 << 12;
    let user = cr3(&context.root_user);
    let gdt = context.gdt.iter().zip(&tail.gdt_frames).take(tail.gdt_entries.div_ceil(512) as usize);
    tail.control[3] == cr3(&context.root_kernel)
        && tail.control[1] == user
        && (user != 0 || head.flags & VGCF_IN_KERNEL != 0)
        && tail.gdt_entries == context.gdt_entries.get().into()
        && gdt.into_iter().all(|(have, wanted)| have.get().0 == *wanted)
        && tail.ldt_entries == context.ldt_entries.get().into()
        && (tail.ldt_entries == 0 || tail.ldt_base == context.ldt_base.get().0)
}
