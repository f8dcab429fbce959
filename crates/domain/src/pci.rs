//! What handlers need of the machine's PCI devices.

/// The devices, looked at when asked: they may come and go.
pub trait PciDevices: Sync + core::fmt::Debug {
    /// Whether there is one.
    fn exists(&self, segment: u16, bus: u8, devfn: u8) -> bool;
    /// Where its capability `id` begins, and the first double word there.
    fn capability(&self, segment: u16, bus: u8, devfn: u8, id: u8) -> Option<(u16, u32)>;
}
