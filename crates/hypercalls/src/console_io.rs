//! `console_io`: Dom0's bytes to the console and back.

use crate::call::{Call, CallResult, Outcome, fault};
use crate::notice::print;
use crate::reply::{MAX_INNER, copy_bytes};
use guest_memory::GuestMemory;
use ids::Gva;
use pv_cpu::Reg;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::hypercall::CONSOLE_IO;
use xen_abi::xen::{CONSOLEIO_READ, CONSOLEIO_WRITE};

/// Bytes written by one transaction.
const CHUNK: usize = 1024;
/// Revenant's own command ("Reve"), which no stock software gives: why the hypervisor failed last, as text, cut off at
/// `count` bytes; the result is its length, 0 if nothing has failed since boot (docs/recovery.md).
pub(crate) const CONSOLEIO_EPITAPH: u32 = 0x6576_6552;
/// The longest such text.
const EPITAPH: usize = 3072;
/// Bytes read by one call.
const MOST_READ: usize = 128;

/// The hypercall: command, count, buffer.
pub(crate) fn console_io<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [command, count, ..] = call.args;
    call.privileged()?;
    // `count` is an unsigned int.
    let count = u64::from(count as u32);
    match command as u32 {
        // What is read must fit the answer.
        CONSOLEIO_READ if count > i32::MAX as u64 => Err(Errno::E2BIG),
        CONSOLEIO_WRITE => write(call, count),
        CONSOLEIO_READ => read(call, count),
        CONSOLEIO_EPITAPH => {
            let mut text = [0; EPITAPH];
            let length = (call.state.epitaph)(&mut text).min(count as usize);
            call.memory.copy_out(Gva(call.args[2]), &text[..length]).map_err(fault)?;
            Ok(Outcome::Value(length as i64))
        }
        _ => call.unsupported(CONSOLE_IO, command, Errno::ENOSYS),
    }
}

fn write<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, count: u64) -> CallResult {
    let buffer = call.args[2];
    loop {
        let done = call.done() * CHUNK as u64;
        if done >= count {
            return Ok(Outcome::Value(0));
        }
        let at = buffer.checked_add(done).ok_or(Errno::EFAULT)?;
        if call.done() == MAX_INNER || call.j.spend().is_err() {
            return Ok(call.again(&[(Reg::Rsi, count - done), (Reg::Rdx, at)]));
        }
        let mut bytes = [0; CHUNK];
        let bytes = &mut bytes[..(count - done).min(CHUNK as u64) as usize];
        call.memory.copy_in(Gva(at), bytes).map_err(fault)?;
        let (reply, last) = (call.reply, done + bytes.len() as u64 == count);
        call.j.change(|tx| {
            print(tx, bytes);
            if last { reply.publish(tx, 0) } else { tx.advance(1) }
        });
        if last {
            return Ok(Outcome::Replied);
        }
    }
}

fn read<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, count: u64) -> CallResult {
    let input = call.state.console_input;
    if count == 0 || input.waiting() == 0 {
        return Ok(Outcome::Value(0));
    }
    let (reply, buffer) = (call.reply, call.args[2]);
    call.j.change(|tx| {
        let mut bytes = [0; MOST_READ];
        let room = count.min(MOST_READ as u64) as usize;
        let got = input.take(tx, &mut bytes[..room]);
        copy_bytes(tx, buffer, &bytes[..got]);
        reply.publish(tx, got as i64);
    });
    Ok(Outcome::Replied)
}
