//! The root tables of a vCPU that is being initialised.

use super::Target;
use crate::call::{Call, mmu_restart};
use crate::mmuext::prepare_root;
use frames::{Frames, Owner};
use guest_memory::GuestMemory;
use ids::Mfn;
use pv_mmu::{MmuError, Subject};
use vault::{Apply, Durable, Tx};
use xen_abi::Errno;

/// Takes a reference to a root table for the vCPU; 0 is no table, where there may be `none`.
pub(super) fn set<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    target: &Target,
    word: &'static Durable<Mfn>,
    mfn: Mfn,
    none: bool,
) -> Result<(), Errno> {
    settle(call, target)?;
    if mfn != Mfn(0) && word.get() == mfn {
        // An earlier run of this call took it.
        return Ok(());
    }
    let (state, mmu) = (call.state, call.state.mmu(call.memory));
    let mut install = |tx: &mut Tx<'static>| {
        target.begin(tx).map_err(|_| MmuError::Invalid)?;
        prepare_root(state, &mmu, tx, target.domain, mfn, none);
        replace(tx, target, word, mfn);
        Ok(())
    };
    let done = if none && mfn == Mfn(0) {
        call.j.transaction(install)
    } else {
        let owner = Owner::domain(target.domain);
        let io = call.state.domains.domain(target.domain).privileged.get();
        let subject = Subject { tables: owner, leaves: owner, io };
        mmu.get_table(call.j, mfn, 4, subject, None, &mut install)
    };
    done.map_err(mmu_restart)?;
    settle(call, target)
}

fn replace(tx: &mut Tx<'static>, target: &Target, word: &'static Durable<Mfn>, mfn: Mfn) {
    if word.get() != Mfn(0) {
        tx.publish(Frames::put_typed(word.get()));
        tx.set(&target.context.debt, word.get());
    }
    tx.set(word, mfn);
}

/// Unvalidates the root table that the vCPU had before, in this run or in one that was cut.
pub(super) fn settle<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    target: &Target,
) -> Result<(), Errno> {
    let (debt, mmu) = (&target.context.debt, call.state.mmu(call.memory));
    let table = debt.get();
    if table == Mfn(0) {
        return Ok(());
    }
    mmu.retire(call.j, table).map_err(mmu_restart)?;
    call.j.transaction(|tx| {
        // Once it runs the debt is its own.
        target.begin(tx)?;
        tx.set(debt, Mfn(0));
        Ok(())
    })
}

/// Gives back both.
pub(super) fn release<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    target: &Target,
) -> Result<(), Errno> {
    for word in [&target.context.root_kernel, &target.context.root_user] {
        call.j.transaction(|tx| {
            target.begin(tx)?;
            replace(tx, target, word, Mfn(0));
            Ok(())
        })?;
        match settle(call, target) {
            // What is left is done when somebody needs the frame.
            Ok(()) | Err(Errno::ERESTART) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
