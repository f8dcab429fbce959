//! Zstandard (RFC 8878).

use super::{MAX_WINDOW, too_small};
use crate::LoadError;
use alloc::vec::Vec;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::io::Read;

const NAME: &str = "zstd";
/// Bytes unpacked between two copies to the output.
const STEP: usize = 1 << 20;
/// Most bytes that one block unpacks to.
const MAX_BLOCK: usize = 128 << 10;
/// Room for the decoder's tables and block buffers.
const TABLES: usize = 1 << 20;

/// Unpacks the first frame of `payload` into `out`.
pub(super) fn decompress(payload: &[u8], out: &mut [u8]) -> Result<usize, LoadError> {
    ensure_memory(payload, out.len())?;
    let mut input = payload;
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(MAX_WINDOW);
    decoder.init(&mut input).map_err(|error| refuse(&error))?;
    let mut written = 0;
    loop {
        let finished = decoder
            .decode_blocks(&mut input, BlockDecodingStrategy::UptoBytes(STEP))
            .map_err(|error| refuse(&error))?;
        while decoder.can_collect() > 0 {
            let rest = out.get_mut(written..).unwrap_or(&mut []);
            match decoder.read(rest) {
                Ok(0) => return Err(too_small(out)),
                Ok(len) => written += len,
                Err(_) => return Err(LoadError::Corrupt(NAME, "invalid data")),
            }
        }
        if finished {
            break;
        }
    }
    match (decoder.get_checksum_from_data(), decoder.get_calculated_checksum()) {
        (Some(stored), Some(found)) if stored != found => Err(LoadError::Corrupt(NAME, "checksum mismatch")),
        _ => Ok(written),
    }
}

/// Whether the heap has room for the decoder's buffer, which it allocates infallibly: a power of two, and while it
/// grows the one before as well.
fn ensure_memory(payload: &[u8], out_len: usize) -> Result<(), LoadError> {
    let kept = window(payload).unwrap_or(out_len).min(out_len).saturating_add(STEP + MAX_BLOCK);
    let too_large = |needed| LoadError::WindowTooLarge { needed, limit: MAX_WINDOW };
    let buffer = kept.checked_next_power_of_two().ok_or(too_large(u64::MAX))?;
    let needed = buffer.saturating_add(buffer / 2).saturating_add(TABLES);
    let mut probe = Vec::<u8>::new();
    let result = probe.try_reserve_exact(needed);
    core::hint::black_box(&probe); // or the compiler may leave the allocation out
    result.map_err(|_| LoadError::NoWorkingMemory { needed: needed as u64 })
}

/// The window that the frame header asks for (RFC 8878, 3.1.1.1.2); `None` if it is the content's size.
fn window(payload: &[u8]) -> Option<usize> {
    const SINGLE_SEGMENT: u8 = 1 << 5;
    let [_, _, _, _, descriptor, window] = *payload.first_chunk::<6>()?;
    if descriptor & SINGLE_SEGMENT != 0 {
        return None;
    }
    let base = 1usize << (10 + (window >> 3));
    Some(base + base / 8 * usize::from(window & 7))
}

fn refuse(error: &FrameDecoderError) -> LoadError {
    match error {
        FrameDecoderError::WindowSizeTooBig { requested, .. } => {
            LoadError::WindowTooLarge { needed: *requested, limit: MAX_WINDOW }
        }
        FrameDecoderError::ReadFrameHeaderError(_) => LoadError::Corrupt(NAME, "invalid frame header"),
        FrameDecoderError::FailedToReadBlockHeader(_) => LoadError::Corrupt(NAME, "invalid block header"),
        FrameDecoderError::FailedToReadChecksum(_) => LoadError::Corrupt(NAME, "ends too early"),
        _ => LoadError::Corrupt(NAME, "invalid data"),
    }
}
