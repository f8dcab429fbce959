//! The hypercall page of a PV guest: 128 stubs of 32 bytes, one for each number.

/// Stubs in the page.
pub const HYPERCALL_PAGE_STUBS: u32 = 128;
const STUB_BYTES: usize = 32;
/// `iret` (public/xen.h).
const IRET: u32 = xen_abi::hypercall::IRET as u32;

/// The stub of hypercall `number`: a function that keeps all registers but rax, or, for `iret`, one that does
/// not return and completes the frame on the stack (`struct iret_context`, public/arch-x86/xen-x86_64.h).
pub fn stub(number: u32) -> [u8; STUB_BYTES] {
    const INT3: u8 = 0xcc;
    let [a, b, c, d] = number.to_le_bytes();
    let mut stub = [INT3; STUB_BYTES];
    if number == IRET {
        // push rcx; push r11; push rax; mov eax, 23; syscall
        stub[..11].copy_from_slice(&[0x51, 0x41, 0x53, 0x50, 0xb8, a, b, c, d, 0x0f, 0x05]);
    } else {
        // push rcx; push r11; mov eax, number; syscall; pop r11; pop rcx; ret
        stub[..14].copy_from_slice(&[0x51, 0x41, 0x53, 0xb8, a, b, c, d, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3]);
    }
    stub
}

#[cfg(test)]
mod tests {
    use super::stub;

    #[test]
    fn stubs_call_their_number() {
        assert_eq!(stub(29)[3..10], [0xb8, 29, 0, 0, 0, 0x0f, 0x05]);
        assert_eq!(stub(29)[13..15], [0xc3, 0xcc]);
        assert_eq!(stub(23)[4..12], [0xb8, 23, 0, 0, 0, 0x0f, 0x05, 0xcc]);
    }
}
