//! What Dom0 writes to PCI configuration space, through the ports or memory: its own business, but for the messages of
//! devices that the hypervisor programs.
//!
//! While a device has messages in use, their registers are the hypervisor's: Dom0 switches the capability on and off,
//! and masks what is not masked already. Nor does its MSI-X table move then.

use crate::System;
use crate::platform::Platform;
use domain::PciDevices;

/// The data ports of configuration mechanism 1 (PCI local bus specification 3.0, 3.2.2.3.2), and its address port.
const DATA: core::ops::RangeInclusive<u16> = 0xcfc..=0xcff;
const ADDRESS: u16 = 0xcf8;
/// Registers that matter: base addresses, and capabilities.
const ADDRESSES: core::ops::Range<u32> = 0x10..0x28;
const FIRST_CAPABILITY: u32 = 0x40;
/// What a base address register for memory says of itself.
const KIND_OF_MEMORY: u32 = 0xf;
/// Capabilities (appendix H), and bits of their message control (6.8.1, 6.8.2).
const MSI: u8 = 0x05;
const MSIX: u8 = 0x11;
const SEVERAL_MESSAGES: u32 = 7 << 4;
const WIDE: u32 = 1 << 7;
const MASKABLE: u32 = 1 << 8;
/// Bytes of an MSI-X capability.
const MSIX_BYTES: u16 = 12;

/// A place in configuration space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Register {
    /// PCI segment.
    pub(crate) segment: u16,
    /// Bus.
    pub(crate) bus: u8,
    /// Device and function.
    pub(crate) devfn: u8,
    /// Byte.
    pub(crate) offset: u16,
}

/// The base address register behind which an MSI-X table lies, and what it is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Base {
    register: u16,
    wide: bool,
    address: u64,
}

impl Base {
    /// As [`InUse::filter`]: a device that was reset gets its address back.
    fn filter(self, offset: u16, width: u32, value: u32) -> Option<u32> {
        let end = self.register + if self.wide { 8 } else { 4 };
        if offset >= end || u32::from(offset) + width <= self.register.into() {
            return Some(value);
        }
        let same = if offset == self.register {
            (value ^ self.address as u32) & !KIND_OF_MEMORY == 0
        } else {
            offset == self.register + 4 && u64::from(value) == self.address >> 32
        };
        (same && width == 4).then_some(value)
    }
}

/// A capability with a message in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InUse {
    /// MSI: its message control, and whether the hypervisor has masked the message.
    Msi { at: u16, control: u32, masked: bool },
    /// MSI-X; where the table lies, if that is known.
    MsiX { at: u16, base: Option<Base> },
}

impl InUse {
    /// What of a write of `width` bytes at `offset` reaches the device; `None`: nothing.
    fn filter(self, offset: u16, width: u32, value: u32) -> Option<u32> {
        let (at, end) = match self {
            Self::MsiX { at, base } => {
                if let Some(base) = base {
                    base.filter(offset, width, value)?;
                }
                (at, at + MSIX_BYTES)
            }
            Self::Msi { at, control, .. } => {
                (at, mask_at(at, control) + if maskable(control) { 4 } else { 0 })
            }
        };
        if offset >= end || u32::from(offset) + width <= at.into() {
            return Some(value);
        }
        match self {
            Self::MsiX { at, .. } if (offset, width) == (at + 2, 2) => Some(value),
            // One message is programmed.
            Self::Msi { at, .. } if (offset, width) == (at + 2, 2) => Some(value & !SEVERAL_MESSAGES),
            Self::Msi { at, control, masked }
                if maskable(control) && (offset, width) == (mask_at(at, control), 4) =>
            {
                Some(value | u32::from(masked))
            }
            _ => None,
        }
    }
}

fn maskable(control: u32) -> bool {
    control & MASKABLE != 0
}

/// Where the mask bits are, or would be: behind the data.
fn mask_at(at: u16, control: u32) -> u16 {
    at + if control & WIDE != 0 { 0x10 } else { 0xc }
}

impl<P: Platform> System<P> {
    /// What of Dom0's write to a port reaches the machine; `None`: nothing.
    pub(crate) fn filter_port(&self, port: u16, width: u32, value: u32) -> Option<u32> {
        if !DATA.contains(&port) {
            return Some(value);
        }
        let address = self.platform.port_in(ADDRESS, 4);
        if address >> 31 == 0 {
            return Some(value);
        }
        let offset = (address & 0xfc) as u16 + (port - DATA.start());
        let (bus, devfn) = ((address >> 16) as u8, (address >> 8) as u8);
        self.filter_config(Register { segment: 0, bus, devfn, offset }, width, value)
    }

    /// What of Dom0's write to configuration space reaches the device; `None`: nothing.
    pub(crate) fn filter_config(&self, register: Register, width: u32, value: u32) -> Option<u32> {
        let start = u32::from(register.offset);
        let matters =
            start + width > FIRST_CAPABILITY || start < ADDRESSES.end && start + width > ADDRESSES.start;
        let Some(pci) = self.state.pci.filter(|_| matters) else { return Some(value) };
        let in_use = self.in_use(pci, register).into_iter().flatten();
        in_use.into_iter().try_fold(value, |value, c| c.filter(register.offset, width, value))
    }

    /// The capabilities of a device that have messages in use.
    fn in_use(&self, pci: &dyn PciDevices, device: Register) -> [Option<InUse>; 2] {
        let Register { segment, bus, devfn, .. } = device;
        let irqs = self.state.irqs();
        let mut found = [None; 2];
        for irq in 0..self.state.irqs.len() {
            let Some(route) = irqs.route(irq) else { continue };
            let Some(source) = route.msi else { continue };
            if (source.segment, source.bus, source.devfn) != (segment, bus, devfn) {
                continue;
            }
            if source.table_base != 0 {
                found[1] = found[1].or_else(|| {
                    let at = pci.capability(segment, bus, devfn, MSIX)?.0;
                    Some(InUse::MsiX { at, base: self.base(pci, device) })
                });
            } else if let Some((at, header)) = pci.capability(segment, bus, devfn, MSI) {
                found[0] = Some(InUse::Msi { at, control: header >> 16, masked: route.masked });
            }
        }
        found
    }

    /// The register behind which the table of a device with messages in use lies.
    fn base(&self, pci: &dyn PciDevices, device: Register) -> Option<Base> {
        let Register { segment, bus, devfn, .. } = device;
        let table = self.state.irqs().table_of(segment, bus, devfn)?;
        let place = pci.msix(segment, bus, devfn)?.table;
        let address = table.at.0.checked_sub(place.offset.into())?;
        Some(Base { register: place.register, wide: place.wide, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_msix_only_the_control_word_is_written() {
        let c = InUse::MsiX { at: 0x60, base: None };
        assert_eq!(c.filter(0x62, 2, 0xc000), Some(0xc000));
        for (offset, width) in [(0x60, 4), (0x61, 1), (0x62, 4), (0x63, 1), (0x64, 4), (0x6b, 1), (0x5f, 2)] {
            assert_eq!(c.filter(offset, width, 1), None, "{offset:#x} {width}");
        }
        assert_eq!([c.filter(0x5c, 4, 7), c.filter(0x6c, 4, 7)], [Some(7); 2]);
    }

    #[test]
    fn a_table_in_use_stays_where_it_is() {
        let base = |wide| Base { register: 0x18, wide, address: 0x1_feb0_0000 };
        let c = |wide| InUse::MsiX { at: 0x60, base: Some(base(wide)) };
        assert_eq!(c(true).filter(0x18, 4, 0xfeb0_0000), Some(0xfeb0_0000), "the same again");
        assert_eq!(c(true).filter(0x18, 4, 0xfeb0_0004), Some(0xfeb0_0004));
        assert_eq!(c(true).filter(0x1c, 4, 1), Some(1));
        for (offset, width, value) in [
            (0x18, 4, !0),
            (0x18, 4, 0),
            (0x1c, 4, 0),
            (0x18, 2, 0),
            (0x1a, 2, 0xfeb0),
            (0x1f, 1, 0),
            (0x16, 4, 0),
        ] {
            assert_eq!(c(true).filter(offset, width, value), None, "{offset:#x} {width}");
        }
        for (offset, wide) in [(0x14, true), (0x20, true), (0x1c, false)] {
            assert_eq!(c(wide).filter(offset, 4, !0), Some(!0), "another register");
        }
    }

    #[test]
    fn of_msi_the_message_is_the_hypervisors() {
        let c = InUse::Msi { at: 0x50, control: WIDE | MASKABLE, masked: true };
        assert_eq!(c.filter(0x52, 2, 0x71), Some(1), "on, with one message");
        for (offset, width) in [(0x50, 4), (0x54, 4), (0x58, 4), (0x5c, 2), (0x5e, 2), (0x60, 1), (0x62, 2)] {
            assert_eq!(c.filter(offset, width, 0x30), None, "{offset:#x} {width}");
        }
        assert_eq!((c.filter(0x60, 4, 0), c.filter(0x64, 4, 0)), (Some(1), Some(0)));
        let narrow = InUse::Msi { at: 0x50, control: 0, masked: true };
        assert_eq!((narrow.filter(0x58, 2, 1), narrow.filter(0x5c, 4, 1)), (None, Some(1)));
    }
}
