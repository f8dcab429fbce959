//! A list of elements, each with a status.

use crate::call::{Call, CallResult, Outcome};
use crate::reply::{Reply, copy_bytes};
use guest_memory::GuestMemory;
use ids::Gva;
use pv_cpu::Reg;
use vault::{Apply, Tx};
use xen_abi::Errno;

/// Elements carried out before the guest's call is run again for the rest; a multiple of what
/// [`unmap`](super::unmap) does between two flushes.
const AT_ONCE: u64 = 512;

/// One element, or the first of several that one transaction carries out.
#[derive(Clone, Copy)]
pub(super) struct Element {
    /// Its guest address.
    pub(super) at: u64,
    /// The list ends with it.
    pub(super) is_last: bool,
    /// Its place in this run.
    pub(super) index: u64,
    /// Elements from it to the end of the list.
    left: u64,
    reply: Reply,
}

impl Element {
    /// Counts it; the last one replies.
    #[inline]
    pub(super) fn finish(&self, tx: &mut Tx<'_>) {
        self.finish_several(tx, 1);
    }

    /// Counts `done` elements from it on; the last of the list replies. Says whether the list has ended.
    #[inline]
    pub(super) fn finish_several(&self, tx: &mut Tx<'_>, done: u64) -> bool {
        if done == self.left {
            self.reply.publish(tx, 0);
        } else {
            tx.advance(done);
        }
        done == self.left
    }

    /// Elements from it on that one transaction may carry out, where `most` are its bounds.
    pub(super) fn room(&self, most: u64) -> u64 {
        self.left.min(most).min(AT_ONCE - self.index)
    }

    /// Whether the list ends behind `done` elements from it on.
    pub(super) fn ends_behind(&self, done: u64) -> bool {
        done == self.left
    }

    /// Replies to a list that has ended.
    pub(super) fn reply(&self, tx: &mut Tx<'_>) {
        self.reply.publish(tx, 0);
    }

    /// Publishes its status, `offset` bytes from its start.
    pub(super) fn tell(&self, tx: &mut Tx<'_>, offset: usize, status: i16) {
        copy_bytes(tx, self.at.wrapping_add(offset as u64), &status.to_le_bytes());
    }
}

/// Writes an answer before the commit: a repetition writes it again, and who looks at it before the hypercall ends is
/// promised nothing. False: it could not be written; then it is an effect, which makes that the result of the call.
#[inline(always)]
pub(super) fn tell_now<M: GuestMemory>(memory: &M, tx: &mut Tx<'_>, at: u64, answer: &[u8]) -> bool {
    let told = memory.copy_out(Gva(at), answer).is_ok();
    if !told {
        copy_bytes(tx, at, answer);
    }
    told
}

/// How a list goes on.
pub(super) enum Next {
    /// With this element.
    One(Element),
    /// It has ended, or this run of it.
    End(Outcome),
}

/// The first element of the list `at` that is not counted yet.
///
/// # Errors
/// `EFAULT`: its address is none, or the status of the one before could not be written.
#[inline]
pub(super) fn next<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    count: u64,
    size: usize,
) -> Result<Next, Errno> {
    let index = call.done();
    // The status of the element before could not be told: the list ends there.
    if index > 0 && call.j.apply.take_fault() {
        return Err(Errno::EFAULT);
    }
    if index >= count {
        return Ok(Next::End(Outcome::Value(0)));
    }
    let at = at.checked_add(index * size as u64).ok_or(Errno::EFAULT)?;
    if index == AT_ONCE {
        return Ok(Next::End(call.again(&[(Reg::Rsi, at), (Reg::Rdx, count - index)])));
    }
    let left = count - index;
    Ok(Next::One(Element { at, is_last: left == 1, index, left, reply: call.reply }))
}

/// Carries out a list by `one`, which counts the element in its last transaction.
#[inline]
pub(super) fn each<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    count: u64,
    size: usize,
    mut one: impl FnMut(&mut Call<'_, M, A>, &Element) -> Result<(), Errno>,
) -> CallResult {
    loop {
        match next(call, at, count, size)? {
            Next::End(outcome) => return Ok(outcome),
            Next::One(element) => {
                one(call, &element)?;
                if element.is_last {
                    return Ok(Outcome::Replied);
                }
            }
        }
    }
}

/// Counts an element that came to nothing.
pub(super) fn refuse<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    element: &Element,
    offset: usize,
    status: i16,
) {
    call.j.change(|tx| {
        element.tell(tx, offset, status);
        element.finish(tx);
    });
}
