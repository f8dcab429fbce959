//! `mmu_update`: page-table entries and machine-to-physical entries, in batches.

use crate::call::{Call, CallResult, Outcome, fault, mmu_errno};
use crate::reply::{MAX_INNER, copy_half};
use guest_memory::GuestMemory;
use ids::{Gva, Maddr, Mfn};
use pv_cpu::Reg;
use pv_mmu::{AdBits, MmuError, Pte, Subject};
use vault::{Apply, Effect, Tx, kind};
use xen_abi::Errno;
use xen_abi::xen::{
    MMU_MACHPHYS_UPDATE, MMU_NORMAL_PT_UPDATE, MMU_PT_UPDATE_NO_TRANSLATE, MMU_PT_UPDATE_PRESERVE_AD,
    MmuUpdate,
};

/// Set in the count of a batch that is run again for its rest: the done count goes on from what the
/// guest's variable holds.
const PREEMPTED: u64 = 1 << 31;
const UPDATE_BYTES: u64 = 16;

/// The hypercall: requests, count, done-count pointer, foreign domain.
pub(crate) fn mmu_update<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [requests, count, done_at, foreign, _] = call.args;
    // Bits above 15: a table owner other than the caller, plus one, which only a stub domain's model uses.
    if let Some(owner) = ((foreign as u32 >> 16) as u16).checked_sub(1)
        && call.domain_slot(owner)? != call.domain
    {
        return Err(Errno::EPERM);
    }
    let subject = call.subject(foreign as u16)?;
    let before = if count & PREEMPTED != 0 && done_at != 0 {
        call.memory.read::<u32>(Gva(done_at)).map_err(fault)?
    } else {
        0
    };
    let count = (count & 0xffff_ffff) & !PREEMPTED;
    loop {
        let index = call.done();
        if index >= count {
            return complete(call, before, index, done_at, 0);
        }
        if index == MAX_INNER {
            return Ok(resume(call, requests, count, before, index, done_at));
        }
        match one(call, requests, index, subject) {
            Ok(()) => {}
            Err(Errno::EAGAIN) => return Ok(resume(call, requests, count, before, index, done_at)),
            Err(errno) => return complete(call, before, index, done_at, errno.to_result()),
        }
    }
}

fn one<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    requests: u64,
    index: u64,
    subject: Subject,
) -> Result<(), Errno> {
    let at = requests.checked_add(index * UPDATE_BYTES).ok_or(Errno::EFAULT)?;
    let request: MmuUpdate = call.memory.read(Gva(at)).map_err(fault)?;
    let address = Maddr(request.ptr & !7);
    let mmu = call.state.mmu(call.memory);
    let mut step = |tx: &mut Tx<'static>| tx.advance(1);
    let result = match request.ptr & 3 {
        command if command == MMU_NORMAL_PT_UPDATE || command == MMU_PT_UPDATE_NO_TRANSLATE => {
            mmu.update(call.j, address, Pte(request.val), AdBits::Replace, subject, &mut step)
        }
        command if command == MMU_PT_UPDATE_PRESERVE_AD => {
            mmu.update(call.j, address, Pte(request.val), AdBits::Preserve, subject, &mut step)
        }
        command if command == MMU_MACHPHYS_UPDATE => {
            let mfn = Mfn(request.ptr >> 12);
            call.j.transaction(|tx| {
                call.state.frames.get_ref(tx, mfn, subject.leaves)?;
                tx.publish(Effect { kind: kind::M2P, x: 0, a: mfn.0, b: request.val });
                tx.publish(frames::Frames::put_ref(mfn));
                tx.advance(1);
                Ok(())
            })
        }
        _ => Err(MmuError::Invalid),
    };
    result.map_err(mmu_errno)
}

fn complete<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    before: u32,
    done: u64,
    done_at: u64,
    result: i64,
) -> CallResult {
    let reply = call.reply;
    call.j.change(|tx| {
        if done_at != 0 {
            copy_half(tx, done_at, before.wrapping_add(done as u32));
        }
        reply.publish(tx, result);
    });
    Ok(Outcome::Replied)
}

fn resume<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    requests: u64,
    count: u64,
    before: u32,
    done: u64,
    done_at: u64,
) -> Outcome {
    // With the commit: the guest's variable carries the count from one run to the next, and a repetition of
    // this run reads it again. Tried before, for the repetition has no place for an error.
    let count_so_far = before.wrapping_add(done as u32);
    let tried = |at| call.memory.read::<u32>(at).and_then(|old| call.memory.write(at, &old));
    if done_at != 0 && tried(Gva(done_at)).is_err() {
        return Outcome::Value(Errno::EFAULT.to_result());
    }
    let rest = (count - done) | PREEMPTED;
    call.again_with(&[(Reg::Rdi, requests + done * UPDATE_BYTES), (Reg::Rsi, rest)], |tx| {
        if done_at != 0 {
            copy_half(tx, done_at, count_so_far);
        }
    })
}
