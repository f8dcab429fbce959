//! The checksums of gzip and xz (RFC 1952, section 8; ECMA-182): bits reversed, all ones at both ends.

/// CRC-32, eight bytes at a time.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u64::from(u32::MAX);
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        crc = step(&CRC32, u64::from_le_bytes(*chunk) ^ crc);
    }
    !single(&CRC32, crc, rest) as u32
}

/// CRC-64, eight bytes at a time.
pub(super) fn crc64(bytes: &[u8]) -> u64 {
    let mut crc = u64::MAX;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        crc = step(&CRC64, u64::from_le_bytes(*chunk) ^ crc);
    }
    !single(&CRC64, crc, rest)
}

/// `tables[k][b]`: what byte `b` adds to the checksum `k` bytes later.
type Tables = [[u64; 256]; 8];

static CRC32: Tables = tables(0xedb8_8320);
static CRC64: Tables = tables(0xc96c_5795_d787_0f42);

#[inline(always)]
fn step(tables: &Tables, word: u64) -> u64 {
    let [b0, b1, b2, b3, b4, b5, b6, b7] = word.to_le_bytes().map(usize::from);
    let [t0, t1, t2, t3, t4, t5, t6, t7] = tables;
    t7[b0] ^ t6[b1] ^ t5[b2] ^ t4[b3] ^ t3[b4] ^ t2[b5] ^ t1[b6] ^ t0[b7]
}

fn single(tables: &Tables, crc: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(crc, |crc, &byte| tables[0][usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

const fn tables(polynomial: u64) -> Tables {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { (crc >> 1) ^ polynomial } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut later = 1;
    while later < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[later - 1][byte];
            tables[later][byte] = tables[0][(before & 0xff) as usize] ^ (before >> 8);
            byte += 1;
        }
        later += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::{crc32, crc64};

    #[test]
    fn checksums_of_the_known_check_string() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc64(b"123456789"), 0x995d_c9bb_df19_39fa);
        assert_eq!((crc32(b""), crc64(b"")), (0, 0));
    }
}
