//! PCI configuration space, and a window onto device memory.
#![expect(unsafe_code, reason = "port I/O, device registers")]

use domain::{InBar, Msix};
use ids::{FRAME_SIZE, Maddr};
use machine::paging::{Access, Bits, PageTables, TableMemory};
use machine::{control, layout, port};
use spin::Mutex;

use crate::guest::hardware::Existing;
use crate::sealed::sealed;

/// The window: a page beside the interrupt controllers, whose page table boot has made.
const WINDOW: u64 = layout::MMIO_FREE;
static IN_USE: Mutex<()> = Mutex::new(());

/// Runs `f` with a page of device memory mapped uncached; `None` if there is no room for the window.
pub(crate) fn with_page<T>(page: Maddr, f: impl FnOnce(*mut u32) -> T) -> Option<T> {
    let _own = IN_USE.lock();
    let table = PageTables::at(sealed().root).existing_table(&Existing, WINDOW)?;
    let index = (WINDOW >> 12 & 511) as usize;
    Existing.write(table, index, page.0 & !(FRAME_SIZE - 1) | (Access::Device.bits() | Bits::DIRTY).bits());
    // Other CPUs flush before they use it.
    control::flush_page(WINDOW);
    let result = f(core::ptr::with_exposed_provenance_mut(WINDOW as usize));
    Existing.write(table, index, 0);
    control::flush_page(WINDOW);
    Some(result)
}

/// The address port of configuration mechanism 1.
const ADDRESS_PORT: u16 = 0xcf8;
/// Its data port.
const DATA_PORT: u16 = 0xcfc;
const VENDOR: u16 = 0;
/// Command in the lower half, status in the upper.
pub(crate) const COMMAND: u16 = 4;
const HAS_CAPABILITIES: u32 = 1 << 20;
const CAPABILITIES: u16 = 0x34;
/// The header's kind, one of which has six base address registers.
const HEADER: u16 = 0xc;
const BASE_ADDRESSES: u16 = 0x10;
const LAST_BASE_ADDRESS: u16 = 0x24;
/// Of a base address register (6.2.5.1): ports; 64 bits.
const PORTS: u32 = 1;
const WIDE: u32 = 2 << 1;
const KIND: u32 = 0xf;
/// MSI-X (appendix H), and the number of the last entry in its message control (6.8.2.3).
pub(crate) const MSIX: u8 = 0x11;
pub(crate) const LAST_ENTRY: u32 = 0x7ff;
/// Capabilities that fit the space: a longer list is a loop.
const MAX_CAPABILITIES: usize = 48;

/// All PCI devices, for handlers.
#[derive(Debug)]
pub(crate) struct Devices;

impl domain::PciDevices for Devices {
    fn exists(&self, segment: u16, bus: u8, devfn: u8) -> bool {
        Device::new(segment, bus, devfn).exists()
    }

    fn capability(&self, segment: u16, bus: u8, devfn: u8, id: u8) -> Option<(u16, u32)> {
        let device = Device::new(segment, bus, devfn);
        device.capability(id).map(|at| (at, device.read(at)))
    }

    fn msix(&self, segment: u16, bus: u8, devfn: u8) -> Option<Msix> {
        let device = Device::new(segment, bus, devfn);
        let at = device.capability(MSIX)?;
        let last = device.read(at) >> 16 & LAST_ENTRY;
        Some(Msix {
            entries: last as u16 + 1,
            table: device.in_bar(device.read(at + 4))?,
            pending: device.in_bar(device.read(at + 8))?,
        })
    }
}

/// Writes a register of a device's memory, of `width` bytes at an aligned address.
pub(crate) fn write_device(at: Maddr, width: u32, value: u64) {
    with_page(at, |page| {
        let register = page.wrapping_byte_add(at.offset() as usize);
        match width {
            // SAFETY: within the page, which is a device's and mapped; the guest that drives it wants the write.
            1 => unsafe { register.cast::<u8>().write_volatile(value as u8) },
            // SAFETY: as above, and aligned.
            2 => unsafe { register.cast::<u16>().write_volatile(value as u16) },
            // SAFETY: as above.
            4 => unsafe { register.write_volatile(value as u32) },
            // SAFETY: as above.
            _ => unsafe { register.cast::<u64>().write_volatile(value) },
        }
    });
}

/// A PCI device's configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    segment: u16,
    bus: u8,
    devfn: u8,
}

impl Device {
    pub(crate) const fn new(segment: u16, bus: u8, devfn: u8) -> Self {
        Self { segment, bus, devfn }
    }

    /// Whether there is one.
    fn exists(self) -> bool {
        self.read(VENDOR) as u16 != u16::MAX || self.is_virtual()
    }

    /// Whether it is a virtual function (Single root I/O virtualization and sharing specification 1.1, 3.4.1): without
    /// a vendor, base addresses or memory decoding of its own.
    pub(crate) fn is_virtual(self) -> bool {
        self.read(VENDOR) == u32::MAX && self.read(COMMAND) != u32::MAX
    }

    /// Where its capability `id` begins.
    pub(crate) fn capability(self, id: u8) -> Option<u16> {
        if !self.exists() || self.read(COMMAND) & HAS_CAPABILITIES == 0 {
            return None;
        }
        let mut at = (self.read(CAPABILITIES) & 0xfc) as u16;
        for _ in 0..MAX_CAPABILITIES {
            if at < 0x40 {
                return None;
            }
            let header = self.read(at);
            if header as u8 == id {
                return Some(at);
            }
            at = (header >> 8 & 0xfc) as u16;
        }
        None
    }

    /// The place that a double word of the MSI-X capability names: register in bits 0 to 2, offset in the rest.
    fn in_bar(self, place: u32) -> Option<InBar> {
        let register = BASE_ADDRESSES + 4 * (place & 7) as u16;
        if register > LAST_BASE_ADDRESS || self.read(HEADER) >> 16 & 0x7f != 0 {
            return None;
        }
        let low = self.read(register);
        let wide = low & (PORTS | KIND & !8) == WIDE && register < LAST_BASE_ADDRESS;
        let high = if wide { u64::from(self.read(register + 4)) << 32 } else { 0 };
        let address = high | u64::from(low & !KIND);
        let base = (low & PORTS == 0 && address != 0).then_some(Maddr(address));
        Some(InBar { register, wide, base, offset: place & !7 })
    }

    /// The double word at `offset`; all ones where there is no device.
    pub(crate) fn read(self, offset: u16) -> u32 {
        if let Some(page) = self.page() {
            let read = |page: *mut u32| {
                // SAFETY: a register of the device's own page, mapped.
                unsafe { page.wrapping_add(usize::from(offset / 4)).read_volatile() }
            };
            return with_page(page, read).unwrap_or(u32::MAX);
        }
        // SAFETY: configuration reads of capabilities have no effect.
        self.by_ports(offset, || unsafe { port::read_u32(DATA_PORT) }).unwrap_or(u32::MAX)
    }

    /// Writes the double word at `offset`.
    pub(crate) fn write(self, offset: u16, value: u32) {
        if let Some(page) = self.page() {
            with_page(page, |page| {
                // SAFETY: as in `read`; the caller writes message registers only.
                unsafe { page.wrapping_add(usize::from(offset / 4)).write_volatile(value) };
            });
            return;
        }
        // SAFETY: as above.
        self.by_ports(offset, || unsafe { port::write_u32(DATA_PORT, value) });
    }

    /// Its page of memory-mapped configuration space, if the firmware tells of one.
    fn page(self) -> Option<Maddr> {
        let spaces = sealed().facts.acpi.config_spaces.iter();
        spaces
            .filter(|space| space.segment == self.segment)
            .find_map(|space| space.page(self.bus, self.devfn))
    }

    /// Configuration mechanism 1 (PCI local bus specification 3.0, 3.2.2.3.2). The address port is Dom0's:
    /// it gets back what it wrote there. A CPU of Dom0 between its own two accesses at this instant may miss;
    /// machines with memory-mapped configuration space do not come here.
    fn by_ports<T>(self, offset: u16, access: impl FnOnce() -> T) -> Option<T> {
        if self.segment != 0 {
            return None;
        }
        let _own = IN_USE.lock();
        let address =
            1 << 31 | u32::from(self.bus) << 16 | u32::from(self.devfn) << 8 | u32::from(offset & 0xfc);
        // SAFETY: the standard port; reading it has no effect.
        let before = unsafe { port::read_u32(ADDRESS_PORT) };
        // SAFETY: selects a register, no more.
        unsafe { port::write_u32(ADDRESS_PORT, address) };
        let result = access();
        // SAFETY: as above.
        unsafe { port::write_u32(ADDRESS_PORT, before) };
        Some(result)
    }
}
