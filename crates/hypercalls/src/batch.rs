//! Lists of requests in guest memory, carried out one after the other: `mmu_update`, `mmuext_op`.
//!
//! Both have the arguments list, count, address of a done count, and a domain. Each request is counted in the
//! transaction that carries it out; the last one replies in it too.

use crate::call::{Call, CallResult, Outcome, fault};
use crate::reply::{MAX_INNER, Reply, copy_half};
use guest_memory::GuestMemory;
use ids::{Gva, Mfn};
use pv_cpu::Reg;
use pv_mmu::MmuError;
use vault::{Apply, Tx};
use xen_abi::Errno;

/// Set in the count of a list that is run again for its rest (`MMU_UPDATE_PREEMPTED`): the done count goes on from
/// what the guest's variable holds.
const PREEMPTED: u64 = 1 << 31;

/// A list of requests.
struct Batch {
    list: u64,
    count: u64,
    stride: u64,
    /// Guest address of the done count; 0: nobody asks.
    done_at: u64,
    /// Requests done by earlier runs.
    before: u32,
}

/// One request of a list, or the first of several that one transaction carries out.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    /// Its guest address.
    pub(crate) at: u64,
    /// Requests from it to the end of the list.
    left: u64,
    /// Requests that this run may carry out, from it on.
    room: u64,
    reply: Reply,
    done_at: u64,
    /// The done count before it.
    before: u32,
}

/// What is said about a request that was carried out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// It is counted.
    Counted,
    /// The list has ended with it, and that is the guest's to see.
    Replied,
}

impl Request {
    /// Counts the request as done, in the last transaction that is about it. If the list ends with it, this is the
    /// reply. The answer is for the one who runs the list.
    #[inline]
    pub(crate) fn finish(&self, tx: &mut Tx<'_>) {
        self.finish_several(tx, 1);
    }

    /// The same of `done` requests, from it on.
    #[inline]
    pub(crate) fn finish_several(&self, tx: &mut Tx<'_>, done: u64) -> Said {
        if done == self.left {
            publish_end(tx, self.reply, self.done_at, self.before.wrapping_add(done as u32), 0);
            return Said::Replied;
        }
        tx.advance(done);
        Said::Counted
    }

    /// What [`finish`](Self::finish) has said.
    #[inline]
    pub(crate) fn finished(&self) -> Said {
        if self.left == 1 { Said::Replied } else { Said::Counted }
    }

    /// Counts `done` requests, as [`finish_several`](Self::finish_several) does, unless work that follows from the only
    /// one is still to come (`owes`): then the reply comes after that.
    #[inline]
    pub(crate) fn finish_unless(&self, tx: &mut Tx<'_>, done: u64, owes: bool) -> Said {
        if owes {
            tx.advance(done);
            return Said::Counted;
        }
        self.finish_several(tx, done)
    }

    /// The address of the request `behind` it, of `stride` bytes each, if this run may carry it out as well.
    #[inline]
    pub(crate) fn further(&self, behind: u64, stride: u64) -> Option<Gva> {
        if behind >= self.room { None } else { self.at.checked_add(behind * stride).map(Gva) }
    }
}

/// Runs the list that the arguments of `call` name, of requests of `stride` bytes; `one` carries out one of them.
/// `EAGAIN` from it: the rest is for another run.
#[inline]
pub(crate) fn run<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    stride: u64,
    mut one: impl FnMut(&mut Call<'_, M, A>, &Request) -> Result<Said, Errno>,
) -> CallResult {
    let batch = Batch::named(call, stride)?;
    if call.context.debt.get() != Mfn(0) && settle(call).is_err() {
        let index = call.done();
        return Ok(batch.resume(call, index));
    }
    loop {
        let index = call.done();
        if index >= batch.count {
            return Ok(batch.end(call, index, 0));
        }
        if index == MAX_INNER {
            return Ok(batch.resume(call, index));
        }
        let request = batch.request(index, call.reply).ok_or(Errno::EFAULT);
        match request.and_then(|request| one(call, &request)) {
            Ok(Said::Counted) => {}
            Ok(Said::Replied) => return Ok(Outcome::Replied),
            Err(Errno::EAGAIN) => {
                // With the request counted, if only what follows from it is left.
                let index = call.done();
                return Ok(batch.resume(call, index));
            }
            Err(errno) => return Ok(batch.end(call, index, errno.to_result())),
        }
    }
}

/// What a run that was cut or had no time left still owes: a request of it is counted and not settled.
#[cold]
fn settle<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> Result<(), MmuError> {
    call.state.mmu(call.memory).settle(call.j, &call.context.debt)
}

impl Batch {
    fn named<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, stride: u64) -> Result<Self, Errno> {
        let [list, count, done_at, ..] = call.args;
        let before = if count & PREEMPTED != 0 && done_at != 0 {
            call.memory.read::<u32>(Gva(done_at)).map_err(fault)?
        } else {
            0
        };
        Ok(Self { list, count: count & 0xffff_ffff & !PREEMPTED, stride, done_at, before })
    }

    fn request(&self, index: u64, reply: Reply) -> Option<Request> {
        Some(Request {
            at: self.list.checked_add(index * self.stride)?,
            left: self.count - index,
            room: (self.count - index).min(MAX_INNER - index),
            reply,
            done_at: self.done_at,
            before: self.done(index),
        })
    }

    fn done(&self, index: u64) -> u32 {
        self.before.wrapping_add(index as u32)
    }

    fn end<M: GuestMemory + 'static, A: Apply>(
        &self,
        call: &mut Call<'_, M, A>,
        index: u64,
        result: i64,
    ) -> Outcome {
        let (reply, done_at, done) = (call.reply, self.done_at, self.done(index));
        call.j.change(|tx| publish_end(tx, reply, done_at, done, result));
        Outcome::Replied
    }

    /// Makes the guest run the list again from request `index` on.
    fn resume<M: GuestMemory + 'static, A: Apply>(&self, call: &mut Call<'_, M, A>, index: u64) -> Outcome {
        // With the commit: the guest's variable carries the count from one run to the next, and a repetition of
        // this run reads it again. Tried before, for the repetition has no place for an error.
        let (done_at, done) = (self.done_at, self.done(index));
        let tried = |at| call.memory.read::<u32>(at).and_then(|old| call.memory.write(at, &old));
        if done_at != 0 && tried(Gva(done_at)).is_err() {
            return Outcome::Value(Errno::EFAULT.to_result());
        }
        let rest = (self.count - index) | PREEMPTED;
        call.again_with(&[(Reg::Rdi, self.list + index * self.stride), (Reg::Rsi, rest)], |tx| {
            if done_at != 0 {
                copy_half(tx, done_at, done);
            }
        })
    }
}

#[inline]
fn publish_end(tx: &mut Tx<'_>, reply: Reply, done_at: u64, done: u32, result: i64) {
    if done_at != 0 {
        copy_half(tx, done_at, done);
    }
    reply.publish(tx, result);
}
