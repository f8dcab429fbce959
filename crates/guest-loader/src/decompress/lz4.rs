//! The legacy lz4 frame (lz4_Frame_format.md, "Legacy frame"): a magic, then blocks of up to 8 MiB, each
//! with its packed length before it. The frame has no end mark.

use super::too_small;
use crate::LoadError;
use lz4_flex::block::{DecompressError, decompress_into as unpack_block};

const NAME: &str = "lz4";
const MAGIC: u32 = 0x184c_2102;
/// Most bytes a block unpacks to.
const BLOCK: usize = 8 << 20;
/// The unpacked size that the kernel build appends.
const SIZE_SUFFIX: usize = 4;

/// Unpacks all blocks of `payload` into `out`.
pub(super) fn decompress(payload: &[u8], out: &mut [u8]) -> Result<usize, LoadError> {
    let early = LoadError::Corrupt(NAME, "ends too early");
    let mut input = payload.get(4..).ok_or(early)?;
    let mut written = 0usize;
    while !input.is_empty() && input.len() != SIZE_SUFFIX {
        let (word, rest) = input.split_first_chunk::<4>().ok_or(early)?;
        let packed_len = u32::from_le_bytes(*word);
        if packed_len == MAGIC {
            input = rest; // another frame follows
            continue;
        }
        let packed_len = usize::try_from(packed_len).map_err(|_| early)?;
        let (packed, rest) = rest.split_at_checked(packed_len).ok_or(early)?;
        let available = out.len().saturating_sub(written).min(BLOCK);
        let target = out.get_mut(written..written.saturating_add(available)).unwrap_or(&mut []);
        written += unpack_block(packed, target).map_err(|error| match error {
            DecompressError::OutputTooSmall { .. } if available < BLOCK => too_small(out),
            _ => LoadError::Corrupt(NAME, "invalid data"),
        })?;
        input = rest;
    }
    Ok(written)
}
