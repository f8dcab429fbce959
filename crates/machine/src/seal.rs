//! Checksums of pages: against flipped bits, not against malice. Any single damaged word changes the result.
#![expect(unsafe_code, reason = "the CRC instruction")]

use core::arch::asm;
use raw_cpuid::CpuId;

/// Bytes in a page.
pub const PAGE: usize = 0x1000;

/// How pages are summed up. Recovery does it to all of the image, so it takes an instruction a word where it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sum {
    /// By `crc32` (SSE4.2): the CRC-32C of the even words, and above it of the odd ones.
    Crc,
    /// By multiplying.
    Product,
}

impl Sum {
    /// The fastest way that this CPU has.
    pub fn of_this_cpu() -> Self {
        let has_crc = CpuId::new().get_feature_info().is_some_and(|features| features.has_sse42());
        if has_crc { Self::Crc } else { Self::Product }
    }

    /// The checksum of a page.
    pub fn of(self, page: &[u8; PAGE]) -> u64 {
        match self {
            // SAFETY: by `of_this_cpu` the CPU has it.
            Self::Crc => unsafe { crc(page) },
            Self::Product => product(page),
        }
    }
}

/// # Safety
/// The CPU has SSE4.2.
unsafe fn crc(page: &[u8; PAGE]) -> u64 {
    let (mut even, mut odd) = (u64::from(u32::MAX), u64::from(u32::MAX));
    // SAFETY: reads the page in 16 steps of 256 bytes; the caller's promise.
    unsafe {
        asm!(
            "2:",
            ".set revenant_seal_offset, 0",
            ".rept 16",
            "crc32 {even}, qword ptr [{at} + revenant_seal_offset]",
            "crc32 {odd}, qword ptr [{at} + revenant_seal_offset + 8]",
            ".set revenant_seal_offset, revenant_seal_offset + 16",
            ".endr",
            "add {at}, 256",
            "cmp {at}, {end}",
            "jne 2b",
            at = inout(reg) page.as_ptr() => _,
            end = in(reg) page.as_ptr_range().end,
            even = inout(reg) even,
            odd = inout(reg) odd,
            options(nostack, readonly),
        );
    }
    odd << 32 | even
}

/// Each step is a bijection of the state.
fn product(page: &[u8; PAGE]) -> u64 {
    page.as_chunks::<8>().0.iter().fold(0x9e37_79b9_7f4a_7c15, |state, &word| {
        (state ^ u64::from_le_bytes(word)).wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(23)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_breaks_the_seal() {
        let mut page = [0x5a_u8; PAGE];
        for sum in [Sum::Product, Sum::of_this_cpu()] {
            let good = sum.of(&page);
            for bit in 0..PAGE * 8 {
                page[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(sum.of(&page), good, "bit {bit}");
                page[bit / 8] ^= 1 << (bit % 8);
            }
            assert_eq!(sum.of(&page), good);
        }
    }

    /// CRC-32C, a bit at a time.
    fn crc_by_bits(words: impl Iterator<Item = u64>) -> u64 {
        words.fold(u64::from(u32::MAX), |crc, word| {
            (0..64).fold(crc ^ word, |crc, _| crc >> 1 ^ if crc & 1 == 0 { 0 } else { 0x82f6_3b78 })
        })
    }

    #[test]
    fn the_instruction_sums_both_halves() {
        if Sum::of_this_cpu() != Sum::Crc {
            return;
        }
        let mut page = [0; PAGE];
        page.iter_mut().zip(0_u32..).for_each(|(byte, index)| *byte = (index * index >> 3) as u8);
        let words: Vec<u64> = page.as_chunks::<8>().0.iter().map(|&word| u64::from_le_bytes(word)).collect();
        let half = |first| crc_by_bits(words.iter().copied().skip(first).step_by(2));
        assert_eq!(Sum::Crc.of(&page), half(1) << 32 | half(0));
    }
}
