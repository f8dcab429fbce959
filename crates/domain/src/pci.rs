//! What handlers need of the machine's PCI devices.

/// The devices, looked at when asked: they may come and go.
pub trait PciDevices: Sync + core::fmt::Debug {
    /// Whether there is one.
    fn exists(&self, segment: u16, bus: u8, devfn: u8) -> bool;
    /// Whether it has an MSI-X table.
    fn has_msix(&self, segment: u16, bus: u8, devfn: u8) -> bool;
}
