//! `multicall`: a list of hypercalls, each committed with its result.

use crate::call::{Call, CallResult, Outcome};
use crate::reply::{MAX_OUTER, Reply, outer_progress};
use crate::table::run;
use guest_memory::GuestMemory;
use ids::Gva;
use pv_cpu::Reg;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::xen::MulticallEntry;

const ENTRY_BYTES: u64 = 64;

/// The hypercall: list, count.
pub(crate) fn multicall<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [list, count, ..] = call.args;
    if call.reply != Reply::Register {
        // A multicall inside a multicall.
        return Err(Errno::EINVAL);
    }
    loop {
        let index = outer_progress(call.j.log().head().progress());
        if index >= count {
            return Ok(Outcome::Value(0));
        }
        let at = index.checked_mul(ENTRY_BYTES).and_then(|o| list.checked_add(o)).ok_or(Errno::EFAULT)?;
        if index == MAX_OUTER {
            return Ok(call.again(&[(Reg::Rdi, at), (Reg::Rsi, count - index)]));
        }
        let entry: MulticallEntry = call.memory.read(Gva(at)).map_err(crate::call::fault)?;
        let outcome = one(call, at, &entry);
        if call.j.apply.take_fault() {
            return Err(Errno::EFAULT);
        }
        match outcome {
            Outcome::Replied => {}
            Outcome::Again => {
                return Ok(call.again(&[(Reg::Rdi, at), (Reg::Rsi, count - index)]));
            }
            Outcome::Yield | Outcome::Block | Outcome::Shutdown => {
                let left = count - index - 1;
                if left == 0 {
                    call.j.change(|tx| Reply::Register.publish(tx, 0));
                    return Ok(outcome);
                }
                call.again(&[(Reg::Rdi, at + ENTRY_BYTES), (Reg::Rsi, left)]);
                return Ok(outcome);
            }
            Outcome::Value(_) | Outcome::Crash(_) => return Ok(outcome),
        }
    }
}

/// Runs one entry; afterwards its result is committed.
fn one<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    entry: &MulticallEntry,
) -> Outcome {
    let mut args = [0; 5];
    args.copy_from_slice(&entry.args[..5]);
    let reply = Reply::Entry { at };
    let mut sub = Call {
        state: call.state,
        memory: call.memory,
        j: &mut *call.j,
        domain: call.domain,
        vcpu: call.vcpu,
        context: call.context,
        args,
        info: call.info,
        now: call.now,
        reply,
    };
    match run(&mut sub, entry.op) {
        Outcome::Value(value) => {
            call.j.change(|tx| reply.publish(tx, value));
            Outcome::Replied
        }
        outcome => outcome,
    }
}
