//! `mmuext_op`: pinning, page-table bases, flushes, the LDT.

use crate::batch::{self, Request, Said};
use crate::call::{Call, CallResult, fault, mmu_errno};
use domain::State;
use frames::Kind;
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, Maddr, Mfn};
use pv_cpu::{sync, synchronise};
use pv_mmu::{Mmu, Subject};
use vault::flush::{self, EVERYTHING};
use vault::{Apply, Preempted, Tx};
use xen_abi::Errno;
use xen_abi::xen::{
    MMUEXT_CLEAR_PAGE, MMUEXT_COPY_PAGE, MMUEXT_FLUSH_CACHE, MMUEXT_FLUSH_CACHE_GLOBAL, MMUEXT_INVLPG_ALL,
    MMUEXT_INVLPG_LOCAL, MMUEXT_INVLPG_MULTI, MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR,
    MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L4_TABLE, MMUEXT_SET_LDT, MMUEXT_TLB_FLUSH_ALL, MMUEXT_TLB_FLUSH_LOCAL,
    MMUEXT_TLB_FLUSH_MULTI, MMUEXT_UNPIN_TABLE, MmuextOp, VMASST_TYPE_M2P_STRICT,
};

const OP_BYTES: u64 = 24;

/// The hypercall: operations, count, done-count pointer, foreign domain.
pub(crate) fn mmuext_op<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let mut subject = call.subject(call.args[3] as u16)?;
    subject.tables = subject.leaves;
    batch::run(call, OP_BYTES, |call, request| one(call, request, subject))
}

fn one<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    this: &Request,
    subject: Subject,
) -> Result<Said, Errno> {
    let op: MmuextOp = call.memory.read(Gva(this.at)).map_err(fault)?;
    let mfn = Mfn(op.arg1);
    let mmu = call.state.mmu(call.memory);
    match op.cmd {
        MMUEXT_PIN_L1_TABLE..=MMUEXT_PIN_L4_TABLE => {
            let level = op.cmd - MMUEXT_PIN_L1_TABLE + 1;
            // Its end has nobody who would unpin it.
            let ending = |slot| call.state.domains.domain(slot).is_ending();
            if subject.tables.slot().is_some_and(ending) {
                return Err(Errno::EINVAL);
            }
            mmu.pin(call.j, mfn, level, subject, |tx| this.finish(tx)).map_err(mmu_errno)?;
        }
        MMUEXT_UNPIN_TABLE => mmu.unpin(call.j, mfn, subject, |tx| this.finish(tx)).map_err(mmu_errno)?,
        MMUEXT_NEW_BASEPTR | MMUEXT_NEW_USER_BASEPTR => {
            return new_root(call, this, mfn, op.cmd == MMUEXT_NEW_USER_BASEPTR, subject);
        }
        MMUEXT_TLB_FLUSH_LOCAL => flush(call, this, false, EVERYTHING),
        MMUEXT_INVLPG_LOCAL => flush(call, this, false, op.arg1),
        MMUEXT_TLB_FLUSH_ALL => flush(call, this, true, EVERYTHING),
        MMUEXT_INVLPG_ALL => flush(call, this, true, op.arg1),
        MMUEXT_TLB_FLUSH_MULTI | MMUEXT_INVLPG_MULTI => {
            // The mask of vCPUs must be there; whom it names does not matter: all are flushed.
            call.memory.read::<u64>(Gva(op.arg2)).map_err(|_| Errno::EINVAL)?;
            let what = if op.cmd == MMUEXT_INVLPG_MULTI { op.arg1 } else { EVERYTHING };
            flush(call, this, true, what);
        }
        MMUEXT_FLUSH_CACHE | MMUEXT_FLUSH_CACHE_GLOBAL => {
            if !subject.io {
                return Err(Errno::EACCES);
            }
            // Caches are coherent for everything a PV guest maps but for device writes in flight.
            call.j.change(|tx| {
                tx.publish(flush::EVERYWHERE);
                this.finish(tx);
            });
        }
        MMUEXT_SET_LDT => {
            let entries = op.arg2 as u32;
            afford(call, 1 + entries / 512)?;
            crate::descriptors::set_ldt(call, this, op.arg1, entries)?;
        }
        MMUEXT_CLEAR_PAGE | MMUEXT_COPY_PAGE => {
            let from = (op.cmd == MMUEXT_COPY_PAGE).then_some(Mfn(op.arg2));
            afford(call, 1)?;
            clear_or_copy(call, this, mfn, from, subject)?;
        }
        _ => return Err(Errno::ENOSYS),
    }
    Ok(this.finished())
}

/// Pays for what is done in one piece; the first of a list is done in any case.
///
/// # Errors
/// `EAGAIN`: there was more than enough before it.
fn afford<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, pieces: u32) -> Result<(), Errno> {
    call.j.check().map_err(|Preempted| Errno::EAGAIN)?;
    call.j.pay(pieces);
    Ok(())
}

fn flush<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    this: &Request,
    all: bool,
    what: u64,
) {
    let domain = call.domain.0;
    call.j.change(|tx| {
        tx.publish(flush::of_domain(domain, all, what));
        this.finish(tx);
    });
}

/// A new root table for the kernel's or the user's mode. Zero for the user: none.
fn new_root<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    this: &Request,
    mfn: Mfn,
    user: bool,
    subject: Subject,
) -> Result<Said, Errno> {
    let (context, mmu) = (call.context, call.state.mmu(call.memory));
    let word = if user { &context.root_user } else { &context.root_kernel };
    let old = word.get();
    if mfn == old {
        // The guest reloads its base to flush the TLB.
        call.j.change(|tx| {
            synchronise(tx, sync::MODE);
            this.finish(tx);
        });
        return Ok(this.finished());
    }
    let (state, domain) = (call.state, call.domain);
    // A pinned table stays one without this reference; another may have to be unvalidated.
    let owes = old != Mfn(0) && !state.frames.frame(old).is_some_and(|frame| frame.usage().is_pinned());
    let install = |tx: &mut Tx<'static>| {
        // Before the root is loaded.
        prepare_root(state, &mmu, tx, domain, mfn, user);
        tx.set(word, mfn);
        if old != Mfn(0) {
            tx.publish(frames::Frames::put_typed(old));
        }
        if owes {
            tx.set(&context.debt, old);
        }
        // The caller is in kernel mode: the user's root is loaded on the way to it.
        if !user {
            synchronise(tx, sync::MODE);
        }
        this.finish_unless(tx, 1, owes);
    };
    if user && mfn == Mfn(0) {
        call.j.change(install);
    } else if !mmu.take_table(call.j, mfn, 4, subject, install) {
        mmu.get_table(call.j, mfn, 4, subject, None, &mut |tx| {
            install(tx);
            Ok(())
        })
        .map_err(mmu_errno)?;
    }
    if !owes {
        return Ok(this.finished());
    }
    mmu.settle(call.j, &context.debt).map_err(mmu_errno)?;
    Ok(Said::Counted)
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
    this: &Request,
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
        this.finish(tx);
        Ok(())
    })
}
