//! The firmware's memory while the boot tables show the first 4 GiB.
#![expect(unsafe_code, reason = "memory named by the firmware")]

use boot_info::Firmware;
use ids::Maddr;
use machine::direct;

/// What the boot tables show.
pub(crate) const BOOT_MAP_END: u64 = 4 << 30;

/// Access through the boot tables' direct map.
#[derive(Debug)]
pub(crate) struct BootMap(());

impl BootMap {
    /// Use of the boot tables.
    ///
    /// # Safety
    /// They are in use, and nobody changes what is read, while this lives.
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

impl Firmware for BootMap {
    fn bytes(&self, maddr: Maddr, len: usize) -> Option<&[u8]> {
        let end = maddr.0.checked_add(u64::try_from(len).ok()?)?;
        if maddr.0 == 0 || end > BOOT_MAP_END {
            return None;
        }
        // SAFETY: in the boot tables' map; `new` promised the rest. A hole reads as ones.
        Some(unsafe { direct::bytes(maddr, len) })
    }
}
