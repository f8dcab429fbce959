//! Bitmaps in the caller's memory.

use crate::call::{Call, fault};
use crate::event_channel::copy_back;
use guest_memory::GuestMemory;
use ids::Gva;
use sched::CpuSet;
use toolstack_compat::control::Bitmap;
use vault::{Apply, Tx};
use xen_abi::Errno;
use zerocopy::IntoBytes;

/// Bytes that are written at most: far more than there can be CPUs or NUMA nodes for.
const MOST: u32 = 4096;
/// Bytes written at once.
const PIECE: u32 = 64;

/// Writes a bitmap of CPUs when a transaction has committed: over one that a repetition of the call reads again.
///
/// # Errors
/// `ENOMEM`: no room to keep it.
pub(crate) fn reply_cpus(tx: &mut Tx<'_>, to: Bitmap, set: &CpuSet) -> Result<(), Errno> {
    let mut words = *set.words();
    let bits = to.bits.min(sched::MAX_CPUS);
    for (word, first) in words.iter_mut().zip((0..).step_by(64)) {
        *word &= match bits.saturating_sub(first) {
            0 => 0,
            some @ 1..64 => (1 << some) - 1,
            _ => u64::MAX,
        };
    }
    copy_back(tx, to.bytes, &words.as_bytes()[..bits.div_ceil(8) as usize])
}

/// Clears what a bitmap has beyond all CPUs.
///
/// # Errors
/// `EFAULT`.
pub(crate) fn clear_rest<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    map: Bitmap,
) -> Result<(), Errno> {
    let beyond = map.bits.saturating_sub(sched::MAX_CPUS);
    let bytes = map.bytes.wrapping_add(u64::from(sched::MAX_CPUS / 8));
    put_bitmap(call, Bitmap { bytes, bits: beyond }, |_| false)
}

/// Reads the first bits of a bitmap; those that it does not have are clear.
///
/// # Errors
/// `EFAULT`.
pub(crate) fn get_bits<M: GuestMemory + 'static, A: Apply, const WORDS: usize>(
    call: &Call<'_, M, A>,
    from: Bitmap,
) -> Result<[u64; WORDS], Errno> {
    let mut words = [0_u64; WORDS];
    let bytes = words.as_mut_bytes();
    let wanted = (from.bits.div_ceil(8) as usize).min(bytes.len());
    call.memory.copy_in(Gva(from.bytes), &mut bytes[..wanted]).map_err(fault)?;
    if let Some(last) = bytes[..wanted].last_mut()
        && wanted as u64 * 8 > from.bits.into()
    {
        *last &= (1 << (from.bits % 8)) - 1;
    }
    Ok(words)
}

/// Reads a bitmap of CPUs.
///
/// # Errors
/// `EFAULT`.
pub(crate) fn get_cpus<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    from: Bitmap,
) -> Result<CpuSet, Errno> {
    // As many bytes as there are CPUs for.
    let cpus = call.state.facts.cpus().len() as u32;
    get_bits(call, Bitmap { bits: from.bits.min(cpus), ..from }).map(CpuSet::from_words)
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
