//! `set_gdt`, `MMUEXT_SET_LDT`, `update_descriptor`.

use crate::batch::Request;
use crate::call::{Call, CallResult, Outcome, fault, mmu_errno, mmu_restart};
use cpu_policy::descriptor;
use frames::{Frames, Owner};
use guest_memory::GuestMemory;
use ids::{Gva, Maddr, Mfn};
use pv_cpu::{sync, synchronise};
use pv_mmu::walk;
use vault::{Apply, Tx};
use xen_abi::Errno;

/// Entries before the hypervisor's own (`FIRST_RESERVED_GDT_ENTRY`).
pub(crate) const MAX_GDT_ENTRIES: u64 = 14 * 512;
const MAX_LDT_ENTRIES: u32 = 8192;

pub(crate) fn check(raw: u64) -> Option<u64> {
    descriptor::check(raw).ok()
}

/// The hypercall: list of frames, entries.
pub(crate) fn set_gdt<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [list, entries, ..] = call.args;
    if entries > MAX_GDT_ENTRIES {
        return Err(Errno::EINVAL);
    }
    let count = entries.div_ceil(512) as usize;
    let mut frames = [Mfn(0); 14];
    for (index, frame) in frames[..count].iter_mut().enumerate() {
        let at = list.checked_add(8 * index as u64).ok_or(Errno::EFAULT)?;
        *frame = Mfn(call.memory.read::<u64>(Gva(at)).map_err(fault)?);
    }
    let (context, reply) = (call.context, call.reply);
    let mmu = call.state.mmu(call.memory);
    let mut install = |tx: &mut Tx<'static>| {
        replace(tx, &context.gdt, &frames[..count]);
        tx.set(&context.gdt_entries, entries as u32);
        synchronise(tx, sync::GDT);
        reply.publish(tx, 0);
    };
    let owner = Owner::domain(call.domain);
    let done = mmu.get_descriptors(call.j, &frames[..count], owner, &check, &mut install);
    call.restartable(done.map(|()| Outcome::Replied).map_err(mmu_restart))
}

/// Puts the new frames in the context and drops the references to the old ones.
pub(crate) fn replace(tx: &mut Tx<'static>, words: &'static [vault::Durable<Mfn>], frames: &[Mfn]) {
    for (index, word) in words.iter().enumerate() {
        let (old, new) = (word.get(), frames.get(index).copied().unwrap_or(Mfn(0)));
        if old != Mfn(0) {
            tx.publish(Frames::put_typed(old));
        }
        if old != new {
            tx.set(word, new);
        }
    }
}

/// `MMUEXT_SET_LDT`: linear base, entries. The pages must be mapped by now.
pub(crate) fn set_ldt<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    this: &Request,
    base: u64,
    entries: u32,
) -> Result<(), Errno> {
    if entries > MAX_LDT_ENTRIES || base & 0xfff != 0 && entries > 0 {
        return Err(Errno::EINVAL);
    }
    let context = call.context;
    let (frames, count) = ldt_frames(call.memory, context.root_kernel.get(), base, entries)?;
    let mmu = call.state.mmu(call.memory);
    let mut install = |tx: &mut Tx<'static>| {
        replace(tx, &context.ldt, &frames[..count]);
        tx.set(&context.ldt_base, Gva(base));
        tx.set(&context.ldt_entries, entries);
        synchronise(tx, sync::LDT);
        this.finish(tx);
    };
    let owner = Owner::domain(call.domain);
    mmu.get_descriptors(call.j, &frames[..count], owner, &check, &mut install).map_err(mmu_errno)
}

/// The frames of an LDT of at most [`MAX_LDT_ENTRIES`], and how many, as `root` maps them now.
pub(crate) fn ldt_frames<M: GuestMemory>(
    memory: &M,
    root: Mfn,
    base: u64,
    entries: u32,
) -> Result<([Mfn; 16], usize), Errno> {
    let count = (entries as usize).div_ceil(512);
    let mut frames = [Mfn(0); 16];
    for (index, frame) in frames.get_mut(..count).ok_or(Errno::EINVAL)?.iter_mut().enumerate() {
        let va = base.checked_add(4096 * index as u64).ok_or(Errno::EINVAL)?;
        let mapping = walk(memory, root, Gva(va)).ok_or(Errno::EINVAL)?;
        if !mapping.pte.is_present() {
            return Err(Errno::EINVAL);
        }
        *frame = mapping.pte.mfn();
    }
    Ok((frames, count))
}

/// The hypercall: machine address, descriptor.
pub(crate) fn update_descriptor<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [at, raw, ..] = call.args;
    if at & 7 != 0 {
        return Err(Errno::EINVAL);
    }
    let fixed = check(raw).ok_or(Errno::EINVAL)?;
    let reply = call.reply;
    let mmu = call.state.mmu(call.memory);
    let owner = Owner::domain(call.domain);
    let done = mmu.update_descriptor(call.j, Maddr(at), fixed, owner, &mut |tx| reply.publish(tx, 0));
    call.restartable(done.map(|()| Outcome::Replied).map_err(mmu_restart))
}
