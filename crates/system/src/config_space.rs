//! What Dom0 writes to PCI configuration space through the ports: its own business, but for the messages of devices
//! that the hypervisor programs.
//!
//! While a device has messages in use, their registers are the hypervisor's: Dom0 switches the capability on and off,
//! and masks what is not masked already. Configuration space that is mapped to memory is not looked at.

use crate::System;
use crate::platform::Platform;
use domain::PciDevices;

/// The data ports of configuration mechanism 1 (PCI local bus specification 3.0, 3.2.2.3.2), and its address port.
const DATA: core::ops::RangeInclusive<u16> = 0xcfc..=0xcff;
const ADDRESS: u16 = 0xcf8;
/// Before it there are no capabilities.
const FIRST_CAPABILITY: u16 = 0x40;
/// Capabilities (appendix H), and bits of their message control (6.8.1, 6.8.2).
const MSI: u8 = 0x05;
const MSIX: u8 = 0x11;
const SEVERAL_MESSAGES: u32 = 7 << 4;
const WIDE: u32 = 1 << 7;
const MASKABLE: u32 = 1 << 8;
/// Bytes of an MSI-X capability.
const MSIX_BYTES: u16 = 12;

/// A capability with a message in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InUse {
    /// MSI: its message control, and whether the hypervisor has masked the message.
    Msi { at: u16, control: u32, masked: bool },
    /// MSI-X.
    MsiX { at: u16 },
}

impl InUse {
    /// What of a write of `width` bytes at `offset` reaches the device; `None`: nothing.
    fn filter(self, offset: u16, width: u32, value: u32) -> Option<u32> {
        let (at, end) = match self {
            Self::MsiX { at } => (at, at + MSIX_BYTES),
            Self::Msi { at, control, .. } => {
                (at, mask_at(at, control) + if maskable(control) { 4 } else { 0 })
            }
        };
        if offset >= end || u32::from(offset) + width <= at.into() {
            return Some(value);
        }
        match self {
            Self::MsiX { at } if (offset, width) == (at + 2, 2) => Some(value),
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
        let Some(pci) = self.state.pci.filter(|_| DATA.contains(&port)) else { return Some(value) };
        let address = self.platform.port_in(ADDRESS, 4);
        let offset = (address & 0xfc) as u16 + (port - DATA.start());
        if address >> 31 == 0 || u32::from(offset) + width <= FIRST_CAPABILITY.into() {
            return Some(value);
        }
        let device = ((address >> 16) as u8, (address >> 8) as u8);
        self.in_use(pci, device).into_iter().flatten().try_fold(value, |v, c| c.filter(offset, width, v))
    }

    /// The capabilities of a device of segment 0 that have messages in use.
    fn in_use(&self, pci: &dyn PciDevices, (bus, devfn): (u8, u8)) -> [Option<InUse>; 2] {
        let irqs = self.state.irqs();
        let mut found = [None; 2];
        for irq in 0..self.state.irqs.len() {
            let Some(route) = irqs.route(irq) else { continue };
            let Some(source) = route.msi else { continue };
            if (source.segment, source.bus, source.devfn) != (0, bus, devfn) {
                continue;
            }
            if source.table_base != 0 {
                found[1] =
                    found[1].or_else(|| Some(InUse::MsiX { at: pci.capability(0, bus, devfn, MSIX)?.0 }));
            } else if let Some((at, header)) = pci.capability(0, bus, devfn, MSI) {
                found[0] = Some(InUse::Msi { at, control: header >> 16, masked: route.masked });
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_msix_only_the_control_word_is_written() {
        let c = InUse::MsiX { at: 0x60 };
        assert_eq!(c.filter(0x62, 2, 0xc000), Some(0xc000));
        for (offset, width) in [(0x60, 4), (0x61, 1), (0x62, 4), (0x63, 1), (0x64, 4), (0x6b, 1), (0x5f, 2)] {
            assert_eq!(c.filter(offset, width, 1), None, "{offset:#x} {width}");
        }
        assert_eq!([c.filter(0x5c, 4, 7), c.filter(0x6c, 4, 7)], [Some(7); 2]);
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
