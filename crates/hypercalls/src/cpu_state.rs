//! Processor state by hypercall: kernel stack, segment bases, debug registers, FPU.

use crate::call::{Call, CallResult, Outcome};
use cpu_policy::control::is_canonical;
use guest_memory::GuestMemory;
use pv_cpu::{sync, synchronise};
use vault::{Apply, Effect, kind};
use xen_abi::Errno;
use xen_abi::arch::{SEGBASE_FS, SEGBASE_GS_KERNEL, SEGBASE_GS_USER, SEGBASE_GS_USER_SEL};

/// `stack_switch`: selector, stack pointer of the kernel.
pub(crate) fn stack_switch<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [ss, sp, ..] = call.args;
    let context = call.context;
    call.reply_after(|tx| {
        tx.set(&context.kernel_ss, ss & 0xffff | 3);
        tx.set(&context.kernel_sp, sp);
        Ok(())
    })
}

/// `set_segment_base`: which, base (or the selector for `SEGBASE_GS_USER_SEL`).
pub(crate) fn set_segment_base<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [which, base, ..] = call.args;
    let which = which as u32;
    match which {
        SEGBASE_FS | SEGBASE_GS_USER | SEGBASE_GS_KERNEL if !is_canonical(base) => return Err(Errno::EINVAL),
        SEGBASE_FS | SEGBASE_GS_USER | SEGBASE_GS_KERNEL | SEGBASE_GS_USER_SEL => {}
        _ => return Err(Errno::EINVAL),
    }
    call.reply_after(|tx| {
        tx.publish(Effect { kind: kind::SEGMENT_BASE, x: which, a: 0, b: base });
        Ok(())
    })
}

/// `set_debugreg`: number, value.
pub(crate) fn set_debugreg<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [number, value, ..] = call.args;
    let refused = |_| Errno::EPERM;
    let value = match number {
        0..=3 => cpu_policy::control::write_breakpoint(value).map_err(refused)?,
        6 => cpu_policy::control::write_dr6(value),
        7 => cpu_policy::control::write_dr7(value, call.context.cr4.get()).map_err(refused)?.value,
        _ => return Err(Errno::ENODEV),
    };
    let word = call.context.debug.get(number as usize).ok_or(Errno::EINVAL)?;
    call.reply_after(|tx| {
        tx.set(word, value);
        synchronise(tx, sync::DEBUG);
        Ok(())
    })
}

/// `get_debugreg`: number.
pub(crate) fn get_debugreg<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [number, ..] = call.args;
    match number {
        0..=3 | 6 | 7 => Ok(Outcome::Value(call.context.debug[number as usize].get() as i64)),
        _ => Err(Errno::ENODEV),
    }
}

/// `fpu_taskswitch`: set or clear CR0.TS.
pub(crate) fn fpu_taskswitch<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let set = call.args[0] != 0;
    let context = call.context;
    call.reply_after(|tx| {
        tx.set(&context.task_switched, set);
        synchronise(tx, sync::CONTROL);
        Ok(())
    })
}
