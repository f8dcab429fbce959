//! Unpacking a kernel payload: the compression is told by its magic.
//!
//! The kernel build ends every payload with the unpacked size (u32, little-endian): gzip has it as its own
//! trailer, to the other formats it is appended.

mod crc;
mod gzip;
mod lz4;
mod lzma2;
mod range_coder;
mod x86_filter;
mod xz;
mod zstd;

use crate::LoadError;

/// The largest zstd window (bytes) that a payload may ask for: that of kernels, which are compressed with -22 --ultra. No
/// more of it than the unpacked size is really touched.
pub const MAX_WINDOW: u64 = 128 << 20;

/// A compression that kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// xz with the x86 filter (Debian 12).
    Xz,
    /// Zstandard (Debian 13).
    Zstd,
    /// gzip.
    Gzip,
    /// The legacy lz4 frame.
    Lz4,
}

/// Tells the compression of `payload`.
///
/// # Errors
/// The magic is that of a compression which is not supported, or none that is known.
pub fn format(payload: &[u8]) -> Result<Format, LoadError> {
    match *payload {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Ok(Format::Xz),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Format::Zstd),
        [0x1f, 0x8b | 0x9e, ..] => Ok(Format::Gzip),
        [0x02, 0x21, 0x4c, 0x18, ..] => Ok(Format::Lz4),
        [b'B', b'Z', b'h', ..] => Err(LoadError::UnsupportedCompression("bzip2")),
        [0x5d, 0, 0, ..] => Err(LoadError::UnsupportedCompression("lzma")),
        [0x89, b'L', b'Z', b'O', ..] => Err(LoadError::UnsupportedCompression("lzo")),
        [a, b, c, d, ..] => Err(LoadError::UnknownCompression([a, b, c, d])),
        _ => Err(LoadError::Corrupt("unknown", "less than four bytes")),
    }
}

/// The unpacked size in bytes that the kernel build wrote at the payload's end. A hint: the file may lie, so
/// compare it with the memory at hand before use, and let [`decompress_into`] find out.
pub fn decompressed_size_hint(payload: &[u8]) -> Option<u32> {
    payload.last_chunk::<4>().map(|size| u32::from_le_bytes(*size))
}

/// Unpacks `payload` into the start of `out` and returns the unpacked length in bytes. What `out` holds behind
/// that length, and after an error, is unspecified.
///
/// gzip, lz4 and xz unpack in place. zstd allocates its window on the heap, one and a half of what it rounds up to
/// (96 MiB for Debian 13): a heap without that room is an error.
///
/// # Errors
/// The compression is not supported, the payload is damaged, `out` or the heap is too small.
pub fn decompress_into(payload: &[u8], out: &mut [u8]) -> Result<usize, LoadError> {
    match format(payload)? {
        Format::Xz => xz::decompress(payload, out),
        Format::Zstd => zstd::decompress(payload, out),
        Format::Gzip => gzip::decompress(payload, out),
        Format::Lz4 => lz4::decompress(payload, out),
    }
}

/// The error for an `out` that is too small.
fn too_small(out: &[u8]) -> LoadError {
    LoadError::OutputTooSmall { available: out.len() as u64 }
}
