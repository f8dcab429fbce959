//! `mmuext_op`: pinning, page-table bases, flushes, the LDT.

use crate::call::{Call, CallResult, Outcome, fault, mmu_errno};
use crate::reply::{MAX_INNER, copy_half};
use crate::va_mapping::{DOMAIN, EVERYTHING, LOCAL};
use domain::State;
use frames::Kind;
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, Maddr, Mfn};
use pv_cpu::{Reg, sync, synchronise};
use pv_mmu::{Mmu, MmuError, Subject};
use vault::{Apply, Effect, Tx, kind};
use xen_abi::Errno;
use xen_abi::xen::{
    MMUEXT_CLEAR_PAGE, MMUEXT_COPY_PAGE, MMUEXT_FLUSH_CACHE, MMUEXT_FLUSH_CACHE_GLOBAL, MMUEXT_INVLPG_ALL,
    MMUEXT_INVLPG_LOCAL, MMUEXT_INVLPG_MULTI, MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR,
    MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L4_TABLE, MMUEXT_SET_LDT, MMUEXT_TLB_FLUSH_ALL, MMUEXT_TLB_FLUSH_LOCAL,
    MMUEXT_TLB_FLUSH_MULTI, MMUEXT_UNPIN_TABLE, MmuextOp, VMASST_TYPE_M2P_STRICT,
};

const PREEMPTED: u64 = 1 << 31;
const OP_BYTES: u64 = 24;

/// The hypercall: operations, count, done-count pointer, foreign domain.
pub(crate) fn mmuext_op<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [ops, count, done_at, foreign, _] = call.args;
    let mut subject = call.subject(foreign as u16)?;
    subject.tables = subject.leaves;
    let before = if count & PREEMPTED != 0 && done_at != 0 {
        call.memory.read::<u32>(Gva(done_at)).map_err(fault)?
    } else {
        0
    };
    let count = (count & 0xffff_ffff) & !PREEMPTED;
    loop {
        let index = call.done();
        let result = if index >= count {
            0
        } else if index == MAX_INNER {
            return Ok(resume(call, ops, count, before, index, done_at));
        } else {
            match one(call, ops, index, subject) {
                Ok(()) => continue,
                Err(Errno::EAGAIN) => return Ok(resume(call, ops, count, before, index, done_at)),
                Err(errno) => errno.to_result(),
            }
        };
        let reply = call.reply;
        call.j.change(|tx| {
            if done_at != 0 {
                copy_half(tx, done_at, before.wrapping_add(index as u32));
            }
            reply.publish(tx, result);
        });
        return Ok(Outcome::Replied);
    }
}

fn resume<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    ops: u64,
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
    call.again_with(&[(Reg::Rdi, ops + done * OP_BYTES), (Reg::Rsi, rest)], |tx| {
        if done_at != 0 {
            copy_half(tx, done_at, count_so_far);
        }
    })
}

fn one<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    ops: u64,
    index: u64,
    subject: Subject,
) -> Result<(), Errno> {
    let at = ops.checked_add(index * OP_BYTES).ok_or(Errno::EFAULT)?;
    let op: MmuextOp = call.memory.read(Gva(at)).map_err(fault)?;
    let mfn = Mfn(op.arg1);
    let mmu = call.state.mmu(call.memory);
    match op.cmd {
        MMUEXT_PIN_L1_TABLE..=MMUEXT_PIN_L4_TABLE => {
            let level = op.cmd - MMUEXT_PIN_L1_TABLE + 1;
            mmu.pin(call.j, mfn, level, subject, |tx| tx.advance(1)).map_err(mmu_errno)
        }
        MMUEXT_UNPIN_TABLE => mmu.unpin(call.j, mfn, subject, |tx| tx.advance(1)).map_err(mmu_errno),
        MMUEXT_NEW_BASEPTR | MMUEXT_NEW_USER_BASEPTR => {
            new_root(call, mfn, op.cmd == MMUEXT_NEW_USER_BASEPTR, subject)
        }
        MMUEXT_TLB_FLUSH_LOCAL => flush(call, LOCAL, EVERYTHING),
        MMUEXT_INVLPG_LOCAL => flush(call, LOCAL, op.arg1),
        MMUEXT_TLB_FLUSH_ALL => flush(call, DOMAIN, EVERYTHING),
        MMUEXT_INVLPG_ALL => flush(call, DOMAIN, op.arg1),
        MMUEXT_TLB_FLUSH_MULTI | MMUEXT_INVLPG_MULTI => {
            // The mask of vCPUs must be there; whom it names does not matter: all are flushed.
            call.memory.read::<u64>(Gva(op.arg2)).map_err(|_| Errno::EINVAL)?;
            flush(call, DOMAIN, if op.cmd == MMUEXT_INVLPG_MULTI { op.arg1 } else { EVERYTHING })
        }
        MMUEXT_FLUSH_CACHE | MMUEXT_FLUSH_CACHE_GLOBAL => {
            if !subject.io {
                return Err(Errno::EACCES);
            }
            // Caches are coherent for everything a PV guest maps but for device writes in flight.
            call.j.change(|tx| tx.publish(Effect { kind: kind::FLUSH, x: DOMAIN, a: EVERYTHING, b: 1 }));
            call.j.change(|tx| tx.advance(1));
            Ok(())
        }
        MMUEXT_SET_LDT => crate::descriptors::set_ldt(call, op.arg1, op.arg2 as u32),
        MMUEXT_CLEAR_PAGE => clear_or_copy(call, mfn, None, subject),
        MMUEXT_COPY_PAGE => clear_or_copy(call, mfn, Some(Mfn(op.arg2)), subject),
        _ => Err(Errno::ENOSYS),
    }
}

fn flush<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    scope: u32,
    what: u64,
) -> Result<(), Errno> {
    call.j.change(|tx| {
        tx.publish(Effect { kind: kind::FLUSH, x: scope, a: what, b: 0 });
        tx.advance(1);
    });
    Ok(())
}

/// A new root table for the kernel's or the user's mode. Zero for the user: none.
fn new_root<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    mfn: Mfn,
    user: bool,
    subject: Subject,
) -> Result<(), Errno> {
    let context = call.context;
    let word = if user { &context.root_user } else { &context.root_kernel };
    let old = word.get();
    let (state, mmu) = (call.state, call.state.mmu(call.memory));
    let domain = call.domain;
    let install = |tx: &mut Tx<'static>| {
        // Before the root is loaded.
        prepare_root(state, &mmu, tx, domain, mfn, user);
        tx.set(word, mfn);
        if old != Mfn(0) {
            tx.publish(frames::Frames::put_typed(old));
        }
        synchronise(tx, sync::MODE);
        tx.advance(1);
    };
    if mfn == old {
        // The guest reloads its base to flush the TLB.
        call.j.change(|tx| {
            synchronise(tx, sync::MODE);
            tx.publish(Effect { kind: kind::FLUSH, x: LOCAL, a: EVERYTHING, b: 0 });
            tx.advance(1);
        });
        return Ok(());
    }
    if user && mfn == Mfn(0) {
        call.j.change(install);
    } else {
        mmu.get_table(call.j, mfn, 4, subject, None, &mut |tx| {
            install(tx);
            Ok(())
        })
        .map_err(mmu_errno)?;
    }
    match mmu.retire(call.j, old) {
        Ok(()) | Err(MmuError::Preempted) => Ok(()),
        Err(e) => Err(mmu_errno(e)),
    }
}

/// Makes a root table, whose lock is held, what the kernel or (`user`) processes of a domain may use. 0 is no table.
pub(crate) fn prepare_root<M: GuestMemory>(
    state: &State,
    mmu: &Mmu<'_, M>,
    tx: &mut Tx<'static>,
    domain: DomainSlot,
    root: Mfn,
    user: bool,
) {
    let strict = || state.domains.domain(domain).assists.get() & 1 << VMASST_TYPE_M2P_STRICT != 0;
    match (root, user) {
        (Mfn(0), _) => {}
        (_, false) => mmu.show_m2p(tx, root),
        (_, true) if strict() => mmu.hide_m2p(tx, root),
        (_, true) => {}
    }
}

fn clear_or_copy<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    to: Mfn,
    from: Option<Mfn>,
    subject: Subject,
) -> Result<(), Errno> {
    let (frames, memory) = (call.state.frames, call.memory);
    call.state.mmu(memory).make_plain(call.j, to, subject.leaves).map_err(mmu_errno)?;
    call.j.transaction(|tx| {
        if let Some(from) = from {
            frames.get_ref(tx, from, subject.leaves).map_err(|_| Errno::EINVAL)?;
            tx.publish(frames::Frames::put_ref(from));
        }
        match frames.get_typed(tx, to, subject.leaves, Kind::Writable) {
            Ok(frames::Got::Taken) => {}
            _ => return Err(Errno::EINVAL),
        }
        // The guest asked for these bytes: writing them before the commit shows it nothing it may not see.
        match from {
            None => memory.clear_frame(to.maddr()),
            Some(from) => {
                for offset in (0..ids::FRAME_SIZE).step_by(8) {
                    let word = memory.load64(Maddr(from.maddr().0 + offset));
                    memory.store64(Maddr(to.maddr().0 + offset), word);
                }
            }
        }
        tx.publish(frames::Frames::put_typed(to));
        tx.advance(1);
        Ok(())
    })
}
