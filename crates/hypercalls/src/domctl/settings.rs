//! What the toolstack sets of a domain before it runs.

use crate::call::{Call, CallResult, Outcome};
use domain::{HYPERCALL_PAGE_STUBS, hypercall_stub};
use frames::{Got, Kind, Owner};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Maddr, Mfn};
use toolstack_compat::change::TscInfo;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::domctl::XEN_DOMCTL_SETTSCINFO;
use xen_abi::hypercall::DOMCTL;
use zerocopy::IntoBytes;

/// `TSC_MODE_ALWAYS_EMULATE`, `TSC_MODE_NEVER_EMULATE`.
const EMULATE: u32 = 1;
const NEVER_EMULATE: u32 = 2;

/// Another handle.
pub(super) fn set_handle<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
    handle: &[u8; 16],
) -> CallResult {
    let mut words = [0; 2];
    words.as_mut_bytes().copy_from_slice(handle);
    let (record, lock) = (call.state.domains.domain(slot), call.state.domain_locks.of(slot));
    call.reply_after(|tx| {
        tx.lock(lock);
        record.handle.iter().zip(words).for_each(|(word, value)| tx.set(word, value));
        Ok(())
    })
}

/// The port by which it says that it has suspended; it is not looked at before that.
pub(super) fn subscribe<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
    port: u32,
) -> CallResult {
    let (record, lock) = (call.state.domains.domain(slot), call.state.domain_locks.of(slot));
    call.reply_after(|tx| {
        tx.lock(lock);
        tx.set(&record.suspend_port, port);
        Ok(())
    })
}

/// Fills a frame with hypercall stubs.
///
/// # Errors
/// `EACCES`: it is not the domain's, or may not be written to.
pub(super) fn hypercall_page<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
    mfn: Mfn,
) -> CallResult {
    let (frames, memory) = (call.state.frames, call.memory);
    call.reply_after(|tx| {
        match frames.get_typed(tx, mfn, Owner::domain(slot), Kind::Writable) {
            Ok(Got::Taken) => tx.publish(frames::Frames::put_typed(mfn)),
            _ => return Err(Errno::EACCES),
        }
        // The toolstack asked for these bytes, which tell the domain nothing: they may come before the commit.
        for number in 0..HYPERCALL_PAGE_STUBS {
            let stub = hypercall_stub(number);
            memory.write_machine(Maddr(mfn.maddr().0 + u64::from(number) * stub.len() as u64), &stub);
        }
        Ok(())
    })
}

/// The width of its addresses: that of 64-bit kernels.
///
/// # Errors
/// `EOPNOTSUPP`: 32-bit kernels are not run.
pub(super) fn set_width(bits: u32) -> CallResult {
    match bits {
        64 => Ok(Outcome::Value(0)),
        32 => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::EINVAL),
    }
}

/// How it is to see the TSC, which it always reads itself; and how old it is.
pub(super) fn set_tsc<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
    info: &TscInfo,
) -> CallResult {
    if slot == call.domain || info.mode > NEVER_EMULATE {
        return Err(Errno::EINVAL);
    }
    if info.mode == EMULATE {
        return call.unsupported(DOMCTL, XEN_DOMCTL_SETTSCINFO.into(), Errno::EOPNOTSUPP);
    }
    let (record, lock) = (call.state.domains.domain(slot), call.state.domain_locks.of(slot));
    let began = call.now().wrapping_sub(info.elapsed);
    call.reply_after(|tx| {
        tx.lock(lock);
        let words = [info.mode, info.incarnation.wrapping_add(1), info.khz];
        record.tsc.iter().zip(words).for_each(|(word, value)| tx.set(word, value));
        tx.set(&record.began, began);
        Ok(())
    })
}

/// How it sees the TSC, and its age.
///
/// # Errors
/// `EINVAL`: the caller's own.
pub(super) fn tsc<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    slot: DomainSlot,
) -> Result<TscInfo, Errno> {
    if slot == call.domain {
        return Err(Errno::EINVAL);
    }
    let record = call.state.domains.domain(slot);
    let [mode, incarnation, khz] = record.tsc.each_ref().map(|word| word.get());
    if mode == NEVER_EMULATE {
        return Ok(TscInfo { mode, khz: 0, incarnation, elapsed: 0 });
    }
    let khz = if khz == 0 { call.state.facts.timing.tsc_khz as u32 } else { khz };
    Ok(TscInfo { mode, khz, incarnation, elapsed: call.now().wrapping_sub(record.began.get()) })
}
