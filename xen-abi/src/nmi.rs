//! NMI operations and reasons (`nmi.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Sub-operations of `nmi_op`.
    NMI_OPS: u32;
    /// Registers a handler: [`XennmiCallback`].
    XENNMI_REGISTER_CALLBACK = 0, "XENNMI_register_callback";
    /// Unregisters it.
    XENNMI_UNREGISTER_CALLBACK = 1, "XENNMI_unregister_callback";
}

constants! {
    /// Bits of [`ArchSharedInfo::nmi_reason`](crate::xen::ArchSharedInfo::nmi_reason).
    NMI_REASONS: u64;
    /// I/O channel check.
    XEN_NMIREASON_IO_ERROR = 1, "XEN_NMIREASON_io_error";
    /// PCI SERR.
    XEN_NMIREASON_PCI_SERR = 2, "XEN_NMIREASON_pci_serr";
    /// Unknown reason.
    XEN_NMIREASON_UNKNOWN = 4, "XEN_NMIREASON_unknown";
}

/// Argument of `XENNMI_register_callback`. C name: `xennmi_callback_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XennmiCallback {
    /// Handler.
    pub handler_address: u64,
    /// Padding.
    pub _pad: u64,
}

const_assert_eq!(size_of::<XennmiCallback>(), 16);
