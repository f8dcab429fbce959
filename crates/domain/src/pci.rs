//! What handlers need of the machine's PCI devices.

use ids::Maddr;

/// The devices, looked at when asked: they may come and go.
pub trait PciDevices: Sync + core::fmt::Debug {
    /// Whether there is one.
    fn exists(&self, segment: u16, bus: u8, devfn: u8) -> bool;
    /// Where its capability `id` begins, and the first double word there.
    fn capability(&self, segment: u16, bus: u8, devfn: u8, id: u8) -> Option<(u16, u32)>;
    /// Its MSI-X table, if it has one.
    fn msix(&self, segment: u16, bus: u8, devfn: u8) -> Option<Msix>;
}

/// What a device's MSI-X capability and base address registers say (PCI local bus specification 3.0, 6.8.2, 6.2.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Msix {
    /// Entries, 1 to 2048.
    pub entries: u16,
    /// The table.
    pub table: InBar,
    /// The pending bits.
    pub pending: InBar,
}

/// A place in the memory behind a base address register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InBar {
    /// Offset of the register in configuration space.
    pub register: u16,
    /// The register has 64 bits.
    pub wide: bool,
    /// What the register holds; `None`: no address of memory (a virtual function has its addresses elsewhere).
    pub base: Option<Maddr>,
    /// Bytes from there.
    pub offset: u32,
}

impl InBar {
    /// The place as a machine address.
    pub fn address(&self) -> Option<Maddr> {
        self.base?.0.checked_add(self.offset.into()).map(Maddr)
    }
}
