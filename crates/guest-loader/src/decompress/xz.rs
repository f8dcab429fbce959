//! The xz container (tukaani.org/xz/xz-file-format.txt): one stream of blocks, each LZMA2 with or without the x86
//! filter before it.

use super::crc::{crc32, crc64};
use super::lzma2::{Damage, Decoder, Stop};
use super::{too_small, x86_filter};
use crate::LoadError;

const NAME: &str = "xz";
const EARLY: Damage = "ends too early";
const HEADER: Damage = "invalid header";
const UNSUPPORTED: Damage = "unsupported option";
const HEADER_CHECK: Damage = "header checksum mismatch";
const CHECK: Damage = "checksum mismatch";
const INDEX: Damage = "invalid index";

const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const FILTER_X86: u64 = 0x04;
const FILTER_LZMA2: u64 = 0x21;

/// Unpacks the first stream of `payload` into `out`.
pub(super) fn decompress(payload: &[u8], out: &mut [u8]) -> Result<usize, LoadError> {
    let result = stream(payload, out);
    result.map_err(|stop| match stop {
        Stop::Damaged(what) => LoadError::Corrupt(NAME, what),
        Stop::OutputFull => too_small(out),
    })
}

/// How a block's content is checked.
#[derive(Clone, Copy)]
enum Check {
    None,
    Crc32,
    Crc64,
}

impl Check {
    fn from_flags([zero, check]: [u8; 2]) -> Result<Self, Damage> {
        match (zero, check) {
            (0, 0) => Ok(Self::None),
            (0, 1) => Ok(Self::Crc32),
            (0, 4) => Ok(Self::Crc64),
            _ => Err(UNSUPPORTED),
        }
    }

    fn verify(self, bytes: &[u8], reader: &mut Reader<'_>) -> Result<(), Damage> {
        let is_right = match self {
            Self::None => true,
            Self::Crc32 => crc32(bytes) == u32::from_le_bytes(reader.array()?),
            Self::Crc64 => crc64(bytes) == u64::from_le_bytes(reader.array()?),
        };
        if is_right { Ok(()) } else { Err(CHECK) }
    }
}

/// Bytes with a place in them.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..len)).ok_or(EARLY)?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        self.take(N)?.first_chunk().copied().ok_or(EARLY)
    }

    fn byte(&mut self) -> Result<u8, Damage> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A number of up to nine bytes with seven bits each.
    fn number(&mut self) -> Result<u64, Damage> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 { Err(HEADER) } else { Ok(value) };
            }
        }
        Err(HEADER)
    }

    /// Zero bytes up to the next multiple of four.
    fn padding(&mut self) -> Result<(), Damage> {
        while !self.at.is_multiple_of(4) {
            if self.byte()? != 0 {
                return Err("invalid padding");
            }
        }
        Ok(())
    }
}

fn stream(payload: &[u8], out: &mut [u8]) -> Result<usize, Stop> {
    let mut reader = Reader { bytes: payload, at: 0 };
    if reader.array()? != MAGIC {
        return Err(HEADER.into());
    }
    let flags = reader.array::<2>()?;
    if crc32(&flags) != u32::from_le_bytes(reader.array()?) {
        return Err(HEADER_CHECK.into());
    }
    let check = Check::from_flags(flags)?;
    let mut decoder = Decoder::new();
    let mut written = 0;
    let mut sizes = Sizes::NEW;
    while payload.get(reader.at).copied().ok_or(EARLY)? != 0 {
        let start = reader.at;
        let header = block_header(&mut reader)?;
        let rest = payload.get(reader.at..).ok_or(EARLY)?;
        let target = out.get_mut(written..).ok_or(Stop::OutputFull)?;
        let (packed, unpacked) = decoder.run(rest, target)?;
        reader.at += packed;
        let differs = |declared: Option<u64>, len| declared.is_some_and(|declared| declared != len as u64);
        if differs(header.packed, packed) || differs(header.unpacked, unpacked) {
            return Err("block size mismatch".into());
        }
        let block = target.get_mut(..unpacked).ok_or(Stop::OutputFull)?;
        if let Some(filter_start) = header.x86_start {
            x86_filter::undo(block, filter_start);
        }
        let data_end = reader.at;
        reader.padding()?;
        let check_start = reader.at;
        check.verify(block, &mut reader)?;
        sizes.add((data_end - start + (reader.at - check_start)) as u64, unpacked as u64);
        written += unpacked;
    }
    index_and_footer(&mut reader, flags, &sizes)?;
    Ok(written)
}

struct BlockHeader {
    packed: Option<u64>,
    unpacked: Option<u64>,
    /// Start offset of the x86 filter, if it was applied.
    x86_start: Option<u32>,
}

fn block_header(reader: &mut Reader<'_>) -> Result<BlockHeader, Damage> {
    let size = reader.bytes.get(reader.at).copied().ok_or(EARLY)?;
    let bytes = reader.take((usize::from(size) + 1) * 4)?;
    let (content, stored) = bytes.split_last_chunk::<4>().ok_or(HEADER)?;
    if crc32(content) != u32::from_le_bytes(*stored) {
        return Err(HEADER_CHECK);
    }
    let mut fields = Reader { bytes: content, at: 1 };
    let flags = fields.byte()?;
    if flags & 0x3c != 0 {
        return Err(UNSUPPORTED);
    }
    let mut size_if = |bit: u8| if flags & bit != 0 { fields.number().map(Some) } else { Ok(None) };
    let (packed, unpacked) = (size_if(0x40)?, size_if(0x80)?);
    let x86_start = match flags & 3 {
        0 => None,
        1 => Some(x86_properties(&mut fields)?),
        _ => return Err(UNSUPPORTED),
    };
    // The dictionary's size says nothing here: the dictionary is all of the output.
    if fields.number()? != FILTER_LZMA2 || fields.number()? != 1 || fields.byte()? > 40 {
        return Err(UNSUPPORTED);
    }
    if content.get(fields.at..).unwrap_or(&[]).iter().any(|&byte| byte != 0) {
        return Err(UNSUPPORTED);
    }
    Ok(BlockHeader { packed, unpacked, x86_start })
}

fn x86_properties(fields: &mut Reader<'_>) -> Result<u32, Damage> {
    if fields.number()? != FILTER_X86 {
        return Err(UNSUPPORTED);
    }
    match fields.number()? {
        0 => Ok(0),
        4 => fields.array().map(u32::from_le_bytes),
        _ => Err(UNSUPPORTED),
    }
}

/// The blocks' sizes, folded: the index must list the same.
#[derive(PartialEq, Eq)]
struct Sizes {
    count: u64,
    fold: u64,
}

impl Sizes {
    const NEW: Self = Self { count: 0, fold: 0 };

    fn add(&mut self, unpadded: u64, unpacked: u64) {
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15; // odd, so that no size is lost
        self.count = self.count.wrapping_add(1);
        for size in [unpadded, unpacked] {
            self.fold = self.fold.wrapping_mul(FACTOR).wrapping_add(size);
        }
    }
}

fn index_and_footer(reader: &mut Reader<'_>, stream_flags: [u8; 2], sizes: &Sizes) -> Result<(), Damage> {
    let start = reader.at;
    reader.byte()?; // the indicator, 0
    let count = reader.number()?;
    if count != sizes.count {
        return Err(INDEX);
    }
    let mut listed = Sizes::NEW;
    for _ in 0..count {
        let unpadded = reader.number()?;
        listed.add(unpadded, reader.number()?);
    }
    if listed != *sizes {
        return Err(INDEX);
    }
    reader.padding()?;
    let index = reader.bytes.get(start..reader.at).ok_or(EARLY)?;
    if crc32(index) != u32::from_le_bytes(reader.array()?) {
        return Err(INDEX);
    }
    let index_len = reader.at - start;
    let stored = u32::from_le_bytes(reader.array()?);
    let fields = reader.array::<6>()?;
    let [b0, b1, b2, b3, flags @ ..] = fields;
    let backward = (u64::from(u32::from_le_bytes([b0, b1, b2, b3])) + 1) * 4;
    if crc32(&fields) != stored
        || backward != index_len as u64
        || flags != stream_flags
        || reader.array()? != *b"YZ"
    {
        return Err("invalid footer");
    }
    Ok(())
}
