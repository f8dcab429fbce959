//! Frames for guests: only when no processor can still translate to them.

use crate::call::Call;
use guest_memory::GuestMemory;
use ids::Mfn;
use vault::{Apply, Tx, flush};

/// Runs `f` as one transaction, which allocates frames and clears them. Before that every CPU forgets its
/// translations if frames became free since it last did; if one becomes free meanwhile, all is done again.
///
/// # Errors
/// Whatever `f` returns; then nothing has changed.
pub(crate) fn allocating<M: GuestMemory + 'static, A: Apply, O, E>(
    call: &mut Call<'_, M, A>,
    mut f: impl FnMut(&mut Tx<'static>) -> Result<O, E>,
) -> Result<O, E> {
    let frames = call.state.frames;
    loop {
        if !frames.are_forgotten() {
            let gone = frames.gone();
            call.j.change(|tx| tx.publish(flush::EVERYWHERE));
            frames.note_forgotten(gone);
        }
        let done = call.j.transaction(|tx| {
            let done = f(tx).map_err(Some)?;
            // Exact now: the heap's lock is held since the allocation.
            if frames.are_forgotten() { Ok(done) } else { Err(None) }
        });
        match done {
            Ok(done) => return Ok(done),
            Err(Some(e)) => return Err(e),
            Err(None) => {}
        }
    }
}

/// Clears frames that were just allocated.
pub(crate) fn clear<M: GuestMemory>(memory: &M, first: Mfn, count: u64) {
    for mfn in first.0..first.0 + count {
        memory.clear_frame(Mfn(mfn).maddr());
    }
}
