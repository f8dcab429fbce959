//! `set_trap_table`, `callback_op`, `set_callbacks`: where the guest's kernel is entered.

use crate::call::{Call, CallResult, Outcome, fault};
use cpu_policy::control::is_canonical;
use guest_memory::GuestMemory;
use ids::Gva;
use pv_cpu::Context;
use vault::{Apply, Tx};
use xen_abi::Errno;
use xen_abi::arch::{FLAT_KERNEL_CS, TrapInfo};
use xen_abi::callback::{
    CALLBACKF_MASK_EVENTS, CALLBACKOP_REGISTER, CALLBACKOP_UNREGISTER, CALLBACKTYPE_EVENT,
    CALLBACKTYPE_FAILSAFE, CALLBACKTYPE_NMI, CALLBACKTYPE_SYSCALL, CALLBACKTYPE_SYSCALL32,
    CALLBACKTYPE_SYSENTER, CallbackRegister, CallbackUnregister,
};
use xen_abi::nmi::{XENNMI_REGISTER_CALLBACK, XENNMI_UNREGISTER_CALLBACK, XennmiCallback};

const TRAP_BYTES: u64 = 16;

/// The hypercall: table (ended by a zero address), or 0 to reset all.
pub(crate) fn set_trap_table<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [table, ..] = call.args;
    let context = call.context;
    if table == 0 {
        for half in [0..128, 128..256] {
            call.j.change(|tx| half.for_each(|v| tx.set(&context.traps[v].address, Gva(0))));
        }
        return Ok(Outcome::Value(0));
    }
    // Each entry is one transaction; running the list again sets the same again.
    for index in 0..=256 {
        let at = table.checked_add(TRAP_BYTES * index).ok_or(Errno::EFAULT)?;
        let info: TrapInfo = call.memory.read(Gva(at)).map_err(fault)?;
        if info.address == 0 {
            return Ok(Outcome::Value(0));
        }
        if index == 256 || !is_canonical(info.address) {
            return Err(Errno::EINVAL);
        }
        call.j.change(|tx| set_trap(tx, context, &info));
    }
    Ok(Outcome::Value(0))
}

fn set_trap(tx: &mut Tx<'static>, context: &'static Context, info: &TrapInfo) {
    let trap = &context.traps[usize::from(info.vector)];
    tx.set(&trap.cs, info.cs | 3);
    tx.set(&trap.flags, info.flags);
    tx.set(&trap.address, Gva(info.address));
}

/// The hypercall: command, argument.
pub(crate) fn callback_op<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [command, argument, ..] = call.args;
    match command as u32 {
        CALLBACKOP_REGISTER => {
            let request: CallbackRegister = call.memory.read(Gva(argument)).map_err(fault)?;
            if !is_canonical(request.address) {
                return Err(Errno::EINVAL);
            }
            register(call, request.type_, request.flags & CALLBACKF_MASK_EVENTS != 0, request.address)
        }
        CALLBACKOP_UNREGISTER => {
            let request: CallbackUnregister = call.memory.read(Gva(argument)).map_err(fault)?;
            match request.type_ {
                CALLBACKTYPE_EVENT
                | CALLBACKTYPE_FAILSAFE
                | CALLBACKTYPE_SYSCALL
                | CALLBACKTYPE_SYSCALL32 => Err(Errno::EINVAL),
                kind => register(call, kind, false, 0),
            }
        }
        _ => Err(Errno::ENOSYS),
    }
}

fn register<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    kind: u16,
    mask: bool,
    address: u64,
) -> CallResult {
    match kind {
        CALLBACKTYPE_EVENT
        | CALLBACKTYPE_FAILSAFE
        | CALLBACKTYPE_SYSCALL
        | CALLBACKTYPE_NMI
        | CALLBACKTYPE_SYSENTER
        | CALLBACKTYPE_SYSCALL32 => {}
        _ => return Err(Errno::ENOSYS),
    }
    if kind == CALLBACKTYPE_NMI {
        return set_nmi_handler(call, address);
    }
    let callback = &call.context.callbacks[usize::from(kind)];
    call.reply_after(|tx| {
        tx.set(&callback.address, Gva(address));
        tx.set(&callback.mask, mask);
        Ok(())
    })
}

/// The handler of NMIs: an entry of the trap table like any other; 0 for none.
fn set_nmi_handler<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    address: u64,
) -> CallResult {
    /// Its vector.
    const NMI: usize = 2;
    let trap = &call.context.traps[NMI];
    call.reply_after(|tx| {
        tx.set(&trap.address, Gva(address));
        tx.set(&trap.cs, if address == 0 { 0 } else { FLAT_KERNEL_CS });
        tx.set(&trap.flags, 0);
        Ok(())
    })
}

/// `nmi_op`: command, argument.
pub(crate) fn nmi_op<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [command, argument, ..] = call.args;
    match command as u32 {
        XENNMI_REGISTER_CALLBACK => {
            let request: XennmiCallback = call.memory.read(Gva(argument)).map_err(fault)?;
            if !is_canonical(request.handler_address) {
                return Err(Errno::EINVAL);
            }
            set_nmi_handler(call, request.handler_address)
        }
        XENNMI_UNREGISTER_CALLBACK => set_nmi_handler(call, 0),
        _ => Err(Errno::ENOSYS),
    }
}

/// The old form: event, failsafe and syscall addresses.
pub(crate) fn set_callbacks<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [event, failsafe, syscall, ..] = call.args;
    if ![event, failsafe, syscall].into_iter().all(is_canonical) {
        return Err(Errno::EINVAL);
    }
    let context = call.context;
    call.reply_after(|tx| {
        for (kind, address) in [event, failsafe, syscall].into_iter().enumerate() {
            tx.set(&context.callbacks[kind].address, Gva(address));
            tx.set(&context.callbacks[kind].mask, false);
        }
        Ok(())
    })
}
