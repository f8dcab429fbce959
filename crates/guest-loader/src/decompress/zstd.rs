//! Zstandard (RFC 8878).

use super::{MAX_WINDOW, too_small};
use crate::LoadError;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::io::Read;

const NAME: &str = "zstd";
/// Bytes unpacked between two copies to the output.
const STEP: usize = 1 << 20;

/// Unpacks the first frame of `payload` into `out`.
pub(super) fn decompress(payload: &[u8], out: &mut [u8]) -> Result<usize, LoadError> {
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
