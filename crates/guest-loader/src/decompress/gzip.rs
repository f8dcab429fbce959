//! gzip (RFC 1952) around deflate (RFC 1951).

use super::crc::crc32;
use super::too_small;
use crate::LoadError;
use alloc::boxed::Box;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress as inflate, inflate_flags};

const NAME: &str = "gzip";
/// Flag bits of the header (RFC 1952, 2.3.1).
const FLAG_HEADER_CRC: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;

/// Unpacks the first member of `payload` into `out`.
pub(super) fn decompress(payload: &[u8], out: &mut [u8]) -> Result<usize, LoadError> {
    let body = skip_header(payload).ok_or(LoadError::Corrupt(NAME, "invalid header"))?;
    let mut state = Box::new(DecompressorOxide::new());
    let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, read, written) = inflate(&mut state, body, out, 0, flags);
    match status {
        TINFLStatus::Done => {}
        TINFLStatus::HasMoreOutput => return Err(too_small(out)),
        TINFLStatus::FailedCannotMakeProgress => return Err(LoadError::Corrupt(NAME, "ends too early")),
        _ => return Err(LoadError::Corrupt(NAME, "invalid data")),
    }
    let trailer = body.get(read..).and_then(<[u8]>::first_chunk::<8>);
    let [c0, c1, c2, c3, s0, s1, s2, s3] = *trailer.ok_or(LoadError::Corrupt(NAME, "ends too early"))?;
    let unpacked = out.get(..written).unwrap_or(&[]);
    // The size is stored modulo 2^32.
    if u32::from_le_bytes([s0, s1, s2, s3]) as u64 != written as u64 & 0xffff_ffff {
        return Err(LoadError::Corrupt(NAME, "size mismatch"));
    }
    if u32::from_le_bytes([c0, c1, c2, c3]) != crc32(unpacked) {
        return Err(LoadError::Corrupt(NAME, "checksum mismatch"));
    }
    Ok(written)
}

fn skip_header(payload: &[u8]) -> Option<&[u8]> {
    let [_, _, method, flags, _, _, _, _, _, _] = *payload.first_chunk::<10>()?;
    if method != 8 {
        return None;
    }
    let mut rest = payload.get(10..)?;
    if flags & FLAG_EXTRA != 0 {
        let len = u16::from_le_bytes(*rest.first_chunk::<2>()?);
        rest = rest.get(2 + usize::from(len)..)?;
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            let end = rest.iter().position(|&byte| byte == 0)?;
            rest = rest.get(end + 1..)?;
        }
    }
    if flags & FLAG_HEADER_CRC != 0 {
        rest = rest.get(2..)?;
    }
    Some(rest)
}
