//! `vm_assist`: how the guest wants certain things done.

use crate::call::{Call, CallResult};
use guest_memory::GuestMemory;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::xen::{VMASST_CMD_DISABLE, VMASST_CMD_ENABLE};

/// Types a 64-bit PV guest may use: 4gb_segments, its notification, writable page tables, pae_extended_cr3,
/// architectural_iopl, runstate_update_flag, m2p_strict.
pub(crate) const VALID: u64 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 32;

/// The hypercall: command, type.
pub(crate) fn vm_assist<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [command, kind, ..] = call.args;
    if kind >= 64 || VALID & 1 << kind == 0 {
        return Err(Errno::EINVAL);
    }
    let word = &call.state.domains.domain(call.domain).assists;
    let bits = match command as u32 {
        VMASST_CMD_ENABLE => word.get() | 1 << kind,
        VMASST_CMD_DISABLE => word.get() & !(1 << kind),
        _ => return Err(Errno::ENOSYS),
    };
    call.reply_after(|tx| {
        tx.set(word, bits);
        Ok(())
    })
}
