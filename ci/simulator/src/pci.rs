//! Two devices with MSI-X: one whose base address register says where its table is, one of which the guest says it.

use crate::world::DEVICES;
use domain::{InBar, Msix, PciDevices};
use ids::{Maddr, Mfn};

/// The first device; its neighbour is the other.
pub(crate) const FIRST: u8 = 0x18;
/// The first one's memory: a table over two pages, its pending bits in the fourth. The other's begins here or later.
pub(crate) const MEMORY: Maddr = Mfn(DEVICES.start).maddr();

#[derive(Debug)]
pub(crate) struct Devices;

impl PciDevices for Devices {
    fn exists(&self, _: u16, _: u8, _: u8) -> bool {
        true
    }
    fn capability(&self, _: u16, _: u8, _: u8, _: u8) -> Option<(u16, u32)> {
        Some((0x40, 0x8001_0011))
    }
    fn msix(&self, _: u16, _: u8, devfn: u8) -> Option<Msix> {
        let base = (devfn == FIRST).then_some(MEMORY);
        let part = |offset| InBar { register: 0x10, wide: false, base, offset };
        Some(Msix { entries: 2, table: part(0xff0), pending: part(0x3000) })
    }
}
