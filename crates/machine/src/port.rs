//! Port I/O.
#![expect(unsafe_code, reason = "in and out instructions")]

/// Reads a byte from `port`.
///
/// # Safety
/// The port belongs to the hypervisor and reading it has no effect on memory safety.
#[inline]
pub unsafe fn read_u8(port: u16) -> u8 {
    // SAFETY: ring 0; the caller's promise.
    unsafe { x86::io::inb(port) }
}

/// Reads two bytes from `port`.
///
/// # Safety
/// As [`read_u8`].
#[inline]
pub unsafe fn read_u16(port: u16) -> u16 {
    // SAFETY: ring 0; the caller's promise.
    unsafe { x86::io::inw(port) }
}

/// Reads four bytes from `port`.
///
/// # Safety
/// As [`read_u8`].
#[inline]
pub unsafe fn read_u32(port: u16) -> u32 {
    // SAFETY: ring 0; the caller's promise.
    unsafe { x86::io::inl(port) }
}

/// Writes a byte to `port`.
///
/// # Safety
/// The port belongs to the hypervisor, and the device does not write memory because of it that is not its own.
#[inline]
pub unsafe fn write_u8(port: u16, value: u8) {
    // SAFETY: ring 0; the caller's promise.
    unsafe { x86::io::outb(port, value) };
}

/// Writes two bytes to `port`.
///
/// # Safety
/// As [`write_u8`].
#[inline]
pub unsafe fn write_u16(port: u16, value: u16) {
    // SAFETY: ring 0; the caller's promise.
    unsafe { x86::io::outw(port, value) };
}

/// Writes four bytes to `port`.
///
/// # Safety
/// As [`write_u8`].
#[inline]
pub unsafe fn write_u32(port: u16, value: u32) {
    // SAFETY: ring 0; the caller's promise.
    unsafe { x86::io::outl(port, value) };
}
