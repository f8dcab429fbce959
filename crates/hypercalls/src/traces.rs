//! `XEN_SYSCTL_tbuf_op`: trace buffers, which `xentrace` has made, maps and empties.
//!
//! Buffers get their frames a few in a transaction, after the table's; Dom0 is told where the table is, and may map any
//! of it, when all are there, for good. Where memory runs out what was taken goes back in the same way. The table's
//! words are written before the commit of what they say: nobody reads them yet.

use crate::allocation::{allocating, clear};
use crate::bitmap::get_cpus;
use crate::call::{Call, CallResult};
use crate::event_channel::copy_back;
use frames::{Frames as FrameTable, NoMemory};
use guest_memory::GuestMemory;
use ids::Mfn;
use toolstack_compat::tools::TraceRequest as Request;
use toolstack_compat::v4_17::tools::encode_traces;
use trace_buffers::{Frames, Stage};
use vault::{Apply, Effect, Tx, kind};
use xen_abi::Errno;
use xen_abi::sysctl::Sysctl;

/// Frames that one transaction takes, and gives back.
const BATCH: u32 = 8;

/// Carries a request out and replies.
pub(crate) fn traces<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    op: Sysctl,
    request: Request,
) -> CallResult {
    let traces = &call.state.traces;
    match request {
        Request::Info => {}
        Request::Cpus(map) => {
            let cpus = get_cpus(call, map)?;
            return reply(call, &op, |tx| {
                traces.set_cpus(tx, |cpu| cpus.has(cpu));
                Ok(())
            });
        }
        Request::Events(mask) => {
            return reply(call, &op, |tx| {
                traces.set_mask(tx, mask);
                Ok(())
            });
        }
        Request::Make(frames) => return make(call, &op, frames),
        Request::Note(true) if traces.table().is_none() => return Err(Errno::EINVAL),
        Request::Note(on) => {
            return reply(call, &op, |tx| {
                tx.lock(traces.lock);
                tx.set(&traces.buffers().on, on);
                tx.publish(Effect { kind: kind::TRACING, x: 0, a: 0, b: 0 });
                Ok(())
            });
        }
        Request::Unknown => return Err(Errno::EINVAL),
    }
    reply(call, &op, |_| Ok(()))
}

/// One transaction, and what the caller is told after each request.
fn reply<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    op: &Sysctl,
    change: impl FnOnce(&mut Tx<'static>) -> Result<(), Errno>,
) -> CallResult {
    let (traces, at) = (&call.state.traces, call.args[0]);
    call.reply_after(|tx| {
        change(tx)?;
        let mut op = *op;
        let (table, frames) = traces.table().unwrap_or((Mfn(0), 0));
        encode_traces(&mut op, traces.mask(), table.0, frames << ids::FRAME_SHIFT)?;
        copy_back(tx, at, &op)
    })
}

/// Makes buffers, or goes on making them.
fn make<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    op: &Sysctl,
    wanted: u32,
) -> CallResult {
    let traces = &call.state.traces;
    let buffers = traces.buffers();
    let wanted = Frames::new(traces.cpus(), wanted).each;
    if traces.stage() != Stage::None && buffers.frames.get() != wanted || wanted == 0 {
        return Err(Errno::EINVAL);
    }
    if traces.table().is_some() {
        return Err(Errno::EBUSY);
    }
    if traces.stage() == Stage::None && begin(call, wanted).is_err() {
        return Err(Errno::ENOMEM);
    }
    while traces.stage() == Stage::Growing && buffers.taken.get() < traces.frames().all() {
        if call.j.spend().is_err() {
            return Ok(call.again(&[]));
        }
        if let Err(NoMemory) = grow(call) {
            call.j.change(|tx| {
                tx.lock(traces.lock);
                if traces.stage() == Stage::Growing {
                    tx.set(&buffers.stage, Stage::Shrinking as u8);
                }
            });
        }
    }
    while traces.stage() == Stage::Shrinking {
        if call.j.spend().is_err() {
            return Ok(call.again(&[]));
        }
        shrink(call);
    }
    reply(call, op, |tx| {
        tx.lock(traces.lock);
        if traces.stage() != Stage::Growing || buffers.taken.get() < traces.frames().all() {
            return Err(Errno::ENOMEM);
        }
        // Dom0 may map them from then on.
        tx.publish_set(&buffers.stage, Stage::Ready as u8);
        Ok(())
    })
}

/// Takes the table, if there is memory for everything.
fn begin<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, each: u32) -> Result<(), NoMemory> {
    let (state, memory) = (call.state, call.memory);
    let wanted = Frames::new(state.traces.cpus(), each);
    let order = wanted.table.next_power_of_two().trailing_zeros();
    let heap = state.frames.heap();
    let free = heap.free_frames().saturating_sub(heap.claimed_frames());
    if free < u64::from(wanted.all()) + (1 << order) {
        return Err(NoMemory);
    }
    allocating(call, |tx| {
        let buffers = state.traces.buffers();
        tx.lock(state.traces.lock);
        if state.traces.stage() != Stage::None {
            // Another vCPU was faster.
            return Ok(());
        }
        let table = state.frames.allocate_traces(tx, order, false)?;
        clear(memory, table, 1 << order);
        wanted.write_head(memory, table);
        tx.set(&buffers.frames, each);
        tx.set(&buffers.table, table.0);
        tx.set(&buffers.taken, 0);
        tx.set(&buffers.stage, Stage::Growing as u8);
        Ok(())
    })
}

/// Takes some frames.
fn grow<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> Result<(), NoMemory> {
    let (state, memory) = (call.state, call.memory);
    let (traces, buffers) = (&state.traces, state.traces.buffers());
    allocating(call, |tx| {
        tx.lock(traces.lock);
        if traces.stage() != Stage::Growing {
            return Ok(());
        }
        let (frames, table, from) = (traces.frames(), Mfn(buffers.table.get()), buffers.taken.get());
        let to = frames.all().min(from + BATCH);
        for index in from..to {
            let mfn = state.frames.allocate_traces(tx, 0, true)?;
            clear(memory, mfn, 1);
            memory.store32(frames.place(table, index), mfn.0 as u32);
        }
        tx.set(&buffers.taken, to);
        Ok(())
    })
}

/// Gives some back, in the end the table.
fn shrink<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) {
    let (state, memory) = (call.state, call.memory);
    let (traces, buffers) = (&state.traces, state.traces.buffers());
    call.j.change(|tx| {
        tx.lock(traces.lock);
        if traces.stage() != Stage::Shrinking {
            return;
        }
        let (frames, table, to) = (traces.frames(), Mfn(buffers.table.get()), buffers.taken.get());
        let from = to.saturating_sub(BATCH);
        for index in from..to {
            let mfn = Mfn(memory.load32(frames.place(table, index)).into());
            tx.publish(FrameTable::put_ref(mfn));
        }
        tx.set(&buffers.taken, from);
        if from == 0 {
            let all = u64::from(frames.table.next_power_of_two());
            (table.0..table.0 + all).for_each(|mfn| tx.publish(FrameTable::put_ref(Mfn(mfn))));
            tx.set(&buffers.stage, Stage::None as u8);
        }
    });
}
