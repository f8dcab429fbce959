//! Restarting and switching off the machine.
#![expect(unsafe_code, reason = "ends everything")]

use x86::dtables::{self, DescriptorTablePointer};

use crate::{control, port};

/// A way to restart, with the letter of Xen's `reboot=` option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `a`: the ACPI reset register.
    Acpi,
    /// `k`: the keyboard controller's pulse.
    Keyboard,
    /// `p`: port 0xcf9.
    Pci,
    /// `P`: port 0xcf9, power cycle.
    PowerCycle,
    /// `t`: a triple fault.
    TripleFault,
}

impl Method {
    /// The method an option value names by its first letter.
    pub const fn from_option(letter: u8) -> Option<Self> {
        Some(match letter {
            b'a' => Self::Acpi,
            b'k' => Self::Keyboard,
            b'p' => Self::Pci,
            b'P' => Self::PowerCycle,
            b't' => Self::TripleFault,
            _ => return None,
        })
    }

    /// All methods worth trying, the wanted one first: what does not work falls through to the next.
    pub const fn from_here(self) -> [Self; 5] {
        [self, Self::Acpi, Self::Keyboard, Self::Pci, Self::TripleFault]
    }
}

/// Where the ACPI reset value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// A port.
    Port(u16),
    /// A device register, at the address it is mapped.
    Memory(u64),
    /// PCI configuration space of bus 0: device, function, offset.
    Pci(u8, u8, u8),
}

const KEYBOARD_STATUS: u16 = 0x64;
const KEYBOARD_DATA: u16 = 0x60;
const KEYBOARD_INPUT_FULL: u8 = 2;
const RESET_CONTROL: u16 = 0xcf9;
const PCI_ADDRESS: u16 = 0xcf8;
const PCI_DATA: u16 = 0xcfc;

/// Restarts the machine: `first`, then the others.
///
/// # Safety
/// `acpi` is the FADT's reset register and value; nobody needs this machine any more.
pub unsafe fn restart(first: Method, acpi: Option<(Register, u8)>) -> ! {
    for method in first.from_here() {
        match method {
            Method::Acpi => {
                if let Some((register, value)) = acpi {
                    // SAFETY: the caller's promise.
                    unsafe { write_register(register, value) };
                }
            }
            Method::Keyboard => keyboard(),
            Method::Pci => reset_control(0x06),
            Method::PowerCycle => reset_control(0x0e),
            Method::TripleFault => triple_fault(),
        }
        pause();
    }
    control::halt()
}

/// Gives the hardware time to act: some tens of milliseconds.
fn pause() {
    for _ in 0..50_000 {
        io_delay();
    }
}

/// About a microsecond.
fn io_delay() {
    // SAFETY: the POST code port takes anything.
    unsafe { port::write_u8(0x80, 0) };
}

/// # Safety
/// As [`restart`].
unsafe fn write_register(register: Register, value: u8) {
    match register {
        // SAFETY: the caller's promise.
        Register::Port(port) => unsafe { port::write_u8(port, value) },
        Register::Memory(va) => {
            let at = core::ptr::with_exposed_provenance_mut::<u8>(va as usize);
            // SAFETY: the caller's promise.
            unsafe { at.write_volatile(value) };
        }
        Register::Pci(device, function, offset) => {
            let address = 0x8000_0000
                | u32::from(device & 31) << 11
                | u32::from(function & 7) << 8
                | u32::from(offset & 0xfc);
            // SAFETY: the caller's promise.
            unsafe { port::write_u32(PCI_ADDRESS, address) };
            // SAFETY: the caller's promise.
            unsafe { port::write_u8(PCI_DATA + u16::from(offset & 3), value) };
        }
    }
}

fn keyboard() {
    for _ in 0..0x1_0000 {
        // SAFETY: reading the keyboard controller's status.
        if (unsafe { port::read_u8(KEYBOARD_STATUS) }) & KEYBOARD_INPUT_FULL == 0 {
            break;
        }
        io_delay();
    }
    // SAFETY: reading the keyboard controller's data.
    let _ = unsafe { port::read_u8(KEYBOARD_DATA) };
    // SAFETY: pulses the reset line, as `restart`'s caller wants.
    unsafe { port::write_u8(KEYBOARD_STATUS, 0xfe) };
}

fn reset_control(value: u8) {
    for value in [value & !4, value] {
        // SAFETY: the chipset's reset control, as `restart`'s caller wants.
        unsafe { port::write_u8(RESET_CONTROL, value) };
        io_delay();
    }
}

fn triple_fault() {
    let empty = DescriptorTablePointer::<u64> { limit: 0, base: core::ptr::null() };
    // SAFETY: the machine restarts, as `restart`'s caller wants.
    unsafe { dtables::lidt(&empty) };
    // SAFETY: as above.
    unsafe { core::arch::asm!("int3") };
}

/// Enters an ACPI sleep state, S5 among them: writes SLP_TYP and SLP_EN as Dom0 found them in AML
/// (`XENPF_enter_acpi_sleep`). Returns if the machine is still there.
///
/// # Safety
/// The ports are the FADT's PM1a and PM1b control blocks, the values complete but for SLP_EN, which this adds.
pub unsafe fn enter_sleep(pm1a: (u16, u16), pm1b: Option<(u16, u16)>) {
    const SLEEP_ENABLE: u16 = 1 << 13;
    for enable in [0, SLEEP_ENABLE] {
        for (port, value) in core::iter::once(pm1a).chain(pm1b) {
            // SAFETY: the caller's promise.
            unsafe { port::write_u16(port, value & !SLEEP_ENABLE | enable) };
        }
    }
    pause();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wanted_method_comes_first() {
        assert_eq!(Method::from_option(b't').map(|m| m.from_here()[0]), Some(Method::TripleFault));
        assert_eq!(Method::from_option(b'x'), None);
    }
}
