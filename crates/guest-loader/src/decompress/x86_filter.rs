//! The x86 filter of xz (method 4, xz-file-format.txt 5.3.2), undone in place.
//!
//! The compressor replaced the relative targets of near calls and jumps by absolute ones, which repeat more often. A
//! byte E8 or E9 begins such an instruction if the target's top byte is 00 or FF, unless bytes like it stand just
//! before: then the place of the nearest decides which byte of the target must not look like a sign.

/// Bytes of an instruction: opcode and target.
const INSTRUCTION: usize = 5;

/// Undoes the filter on all of a block's bytes; `start` is the filter's start offset.
pub(super) fn undo(bytes: &mut [u8], start: u32) {
    let mut at = 0;
    // Bit k: an opcode byte that was not converted stands k + 1 bytes before `at`; only three count.
    let mut seen = 0u32;
    while let Some(gap) = bytes.get(at..).and_then(next_opcode) {
        at += gap;
        seen = if gap > 3 { 0 } else { (seen << gap) & 7 };
        let Some(instruction) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<INSTRUCTION>())
        else {
            return;
        };
        if may_convert(seen, instruction) {
            let end = start.wrapping_add(at as u32).wrapping_add(INSTRUCTION as u32);
            let [_, target @ ..] = instruction;
            *target = relative(u32::from_le_bytes(*target), end, seen).to_le_bytes();
            at += INSTRUCTION;
            seen = 0;
        } else {
            at += 1;
            seen = (seen << 1 | 1) & 7;
        }
    }
}

/// Offset of the first E8 or E9.
#[inline]
fn next_opcode(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (words, _) = bytes.as_chunks::<8>();
    let mut offset = 0;
    for word in words {
        // Zero bytes are the opcodes; the lowest marked byte is exact, higher ones need not be.
        let word = (u64::from_le_bytes(*word) & (0xfe * ONES)) ^ (0xe8 * ONES);
        let zeros = word.wrapping_sub(ONES) & !word & (0x80 * ONES);
        if zeros != 0 {
            return Some(offset + (zeros.trailing_zeros() / 8) as usize);
        }
        offset += 8;
    }
    let tail = bytes.get(offset..)?;
    tail.iter().position(|byte| byte & 0xfe == 0xe8).map(|at| offset + at)
}

const fn is_sign(byte: u8) -> bool {
    byte == 0 || byte == 0xff
}

/// Which byte of the target (4 is the top one) the nearest bytes in `seen` point at.
const fn pointed(seen: u32) -> usize {
    match seen {
        0 => 4,
        1 => 3,
        2 | 3 => 2,
        _ => 1,
    }
}

fn may_convert(seen: u32, instruction: &[u8; INSTRUCTION]) -> bool {
    let allowed = match seen {
        0 => true,
        1 | 2 | 4 => !is_sign(instruction[pointed(seen)]),
        _ => false,
    };
    allowed && is_sign(instruction[4])
}

/// The relative target; its top byte is made a sign extension of bit 24.
fn relative(absolute: u32, end: u32, seen: u32) -> u32 {
    let mut target = absolute.wrapping_sub(end);
    if seen != 0 {
        let index = pointed(seen);
        let below = (1u32 << (8 * index)) - 1;
        // The compressor avoided a target whose pointed byte looks like a sign. It settles at once; the bound is for
        // files that no compressor made.
        for _ in 0..4 {
            if !is_sign((target >> (8 * (index - 1))) as u8) {
                break;
            }
            target = (target ^ below).wrapping_sub(end);
        }
    }
    let low = target & 0x01ff_ffff;
    if low & 0x0100_0000 != 0 { low | 0xfe00_0000 } else { low }
}
