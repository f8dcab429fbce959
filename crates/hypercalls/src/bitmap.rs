//! Bitmaps in the caller's memory.

use crate::call::{Call, fault};
use guest_memory::GuestMemory;
use ids::Gva;
use toolstack_compat::control::Bitmap;
use vault::Apply;
use xen_abi::Errno;

/// Bytes that are written at most: far more than there can be CPUs or NUMA nodes for.
const MOST: u32 = 4096;
/// Bytes written at once.
const PIECE: u32 = 64;

/// Says of each CPU that there is that it is meant.
pub(crate) fn all_cpus<M, A>(call: &Call<'_, M, A>) -> impl Fn(u32) -> bool + use<M, A> {
    let cpus = call.state.facts.cpus().len() as u32;
    move |cpu| cpu < cpus
}

/// Writes a bitmap of what `has` says.
///
/// # Errors
/// `EFAULT`.
pub(crate) fn put_bitmap<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    to: Bitmap,
    has: impl Fn(u32) -> bool,
) -> Result<(), Errno> {
    let bytes = to.bits.div_ceil(8).min(MOST);
    for start in (0..bytes).step_by(PIECE as usize) {
        let mut piece = [0; PIECE as usize];
        let piece = &mut piece[..(bytes - start).min(PIECE) as usize];
        for (byte, first) in piece.iter_mut().zip((start * 8..).step_by(8)) {
            *byte = (0..8)
                .filter(|bit| first + bit < to.bits && has(first + bit))
                .fold(0, |byte, bit| byte | 1 << bit);
        }
        call.memory.copy_out(Gva(to.bytes.wrapping_add(start.into())), piece).map_err(fault)?;
    }
    Ok(())
}
