//! `multicall`: a list of hypercalls, each committed with its result.

use crate::call::{Call, CallResult, Outcome};
use crate::reply::{MAX_OUTER, RESULT, Reply, outer_progress};
use crate::table::run;
use domains::{Life, VcpuState};
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
    loop {
        // Asked here, so that a crash behind the commit of an entry does not hide it. Within an entry it is for that to
        // say so first.
        if call.done() == 0 && call.j.apply.take_fault() {
            return Err(Errno::EFAULT);
        }
        let index = outer_progress(call.j.log().head().progress());
        if let Some(why) = has_stopped(call).filter(|_| index > 0) {
            // A crash came between the commit of the entry that stopped this vCPU and the end of this run.
            return Ok(stop(call, list, count, index, why));
        }
        if index >= count {
            return Ok(Outcome::Value(0));
        }
        let at = index.checked_mul(ENTRY_BYTES).and_then(|o| list.checked_add(o)).ok_or(Errno::EFAULT)?;
        if index == MAX_OUTER {
            return Ok(call.again(&[(Reg::Rdi, at), (Reg::Rsi, count - index)]));
        }
        let entry: MulticallEntry = call.memory.read(Gva(at)).map_err(crate::call::fault)?;
        let outcome = one(call, at, &entry);
        match outcome {
            Outcome::Replied => {}
            Outcome::Again => {
                return Ok(call.again(&[(Reg::Rdi, at), (Reg::Rsi, count - index)]));
            }
            Outcome::Yield | Outcome::Block | Outcome::Shutdown => {
                return Ok(stop(call, list, count, index + 1, outcome));
            }
            Outcome::Value(_) | Outcome::Crash(_) => return Ok(outcome),
        }
    }
}

/// Whether the caller no longer runs, as an entry of its list may have asked.
fn has_stopped<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>) -> Option<Outcome> {
    let domains = &call.state.domains;
    if domains.domain(call.domain).life() != Life::Alive {
        Some(Outcome::Shutdown)
    } else if domains.vcpu(call.vcpu).state() != VcpuState::Runnable {
        Some(Outcome::Block)
    } else {
        None
    }
}

/// Ends this run before entry `index`: the rest comes when the vCPU runs again.
fn stop<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    list: u64,
    count: u64,
    index: u64,
    why: Outcome,
) -> Outcome {
    if index >= count {
        let reply = call.reply;
        call.j.change(|tx| reply.publish(tx, 0));
    } else {
        let at = list.wrapping_add(index * ENTRY_BYTES);
        call.again(&[(Reg::Rdi, at), (Reg::Rsi, count - index)]);
    }
    why
}

/// Runs one entry, in the place of the list's own call; afterwards its result is committed.
fn one<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    entry: &MulticallEntry,
) -> Outcome {
    call.told().hypercall(entry.op, &entry.args, true);
    let [a, b, c, d, e, _] = entry.args;
    call.args = [a, b, c, d, e];
    // Most results are 0, and most entries have had one before: it need not be an effect then.
    let zero = entry.result == 0 || call.memory.write(Gva(at + RESULT), &0_u64).is_ok();
    let reply = Reply::Entry { at, zero };
    let list = core::mem::replace(&mut call.reply, reply);
    let mut outcome = run(call, entry.op);
    if let Outcome::Value(value) = outcome {
        call.j.change(|tx| reply.publish(tx, value));
        outcome = Outcome::Replied;
    }
    call.reply = list;
    outcome
}
