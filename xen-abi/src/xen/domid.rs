//! Reserved domain numbers (`xen.h`).

use crate::constants::constants;

constants! {
    /// Domain numbers with a meaning of their own.
    DOMIDS: u16;
    /// First number that is no ordinary domain's.
    DOMID_FIRST_RESERVED = 0x7ff0, "DOMID_FIRST_RESERVED";
    /// The caller itself.
    DOMID_SELF = 0x7ff0, "DOMID_SELF";
    /// Owner of I/O memory, as a foreign domain of page-table updates.
    DOMID_IO = 0x7ff1, "DOMID_IO";
    /// Owner of the hypervisor's pages shared with privileged guests.
    DOMID_XEN = 0x7ff2, "DOMID_XEN";
    /// Owner of copy-on-write shared pages.
    DOMID_COW = 0x7ff3, "DOMID_COW";
    /// Nobody: pages of unknown owner.
    DOMID_INVALID = 0x7ff4, "DOMID_INVALID";
    /// The idle domain.
    DOMID_IDLE = 0x7fff, "DOMID_IDLE";
    /// Bits that a domain number may have.
    DOMID_MASK = 0x7fff, "DOMID_MASK";
}
