//! ELF notes of owner "Xen" (`elfnote.h`).

use crate::constants::constants;

constants! {
    /// Note types.
    ELFNOTES: u32;
    /// String of old-style information.
    XEN_ELFNOTE_INFO = 0, "XEN_ELFNOTE_INFO";
    /// Linear address of the entry point.
    XEN_ELFNOTE_ENTRY = 1, "XEN_ELFNOTE_ENTRY";
    /// Linear address of the hypercall page.
    XEN_ELFNOTE_HYPERCALL_PAGE = 2, "XEN_ELFNOTE_HYPERCALL_PAGE";
    /// Linear address of physical 0.
    XEN_ELFNOTE_VIRT_BASE = 3, "XEN_ELFNOTE_VIRT_BASE";
    /// Offset of the ELF physical addresses.
    XEN_ELFNOTE_PADDR_OFFSET = 4, "XEN_ELFNOTE_PADDR_OFFSET";
    /// Version of the ABI wanted.
    XEN_ELFNOTE_XEN_VERSION = 5, "XEN_ELFNOTE_XEN_VERSION";
    /// Name of the guest.
    XEN_ELFNOTE_GUEST_OS = 6, "XEN_ELFNOTE_GUEST_OS";
    /// Version of the guest.
    XEN_ELFNOTE_GUEST_VERSION = 7, "XEN_ELFNOTE_GUEST_VERSION";
    /// Loader wanted.
    XEN_ELFNOTE_LOADER = 8, "XEN_ELFNOTE_LOADER";
    /// Use of PAE.
    XEN_ELFNOTE_PAE_MODE = 9, "XEN_ELFNOTE_PAE_MODE";
    /// Features required and supported, as text.
    XEN_ELFNOTE_FEATURES = 10, "XEN_ELFNOTE_FEATURES";
    /// Load the symbol table the BSD way.
    XEN_ELFNOTE_BSD_SYMTAB = 11, "XEN_ELFNOTE_BSD_SYMTAB";
    /// Lowest address the hypervisor may use.
    XEN_ELFNOTE_HV_START_LOW = 12, "XEN_ELFNOTE_HV_START_LOW";
    /// Mask and value telling valid L1 entries.
    XEN_ELFNOTE_L1_MFN_VALID = 13, "XEN_ELFNOTE_L1_MFN_VALID";
    /// Suspend may be cancelled.
    XEN_ELFNOTE_SUSPEND_CANCEL = 14, "XEN_ELFNOTE_SUSPEND_CANCEL";
    /// Linear address for the initial P2M.
    XEN_ELFNOTE_INIT_P2M = 15, "XEN_ELFNOTE_INIT_P2M";
    /// The module may stay unmapped.
    XEN_ELFNOTE_MOD_START_PFN = 16, "XEN_ELFNOTE_MOD_START_PFN";
    /// Features supported, as a bitmap.
    XEN_ELFNOTE_SUPPORTED_FEATURES = 17, "XEN_ELFNOTE_SUPPORTED_FEATURES";
    /// Physical address of the PVH entry point.
    XEN_ELFNOTE_PHYS32_ENTRY = 18, "XEN_ELFNOTE_PHYS32_ENTRY";
    /// Largest note type of a kernel.
    XEN_ELFNOTE_MAX = 18, "XEN_ELFNOTE_MAX";
    /// Crash information of the hypervisor.
    XEN_ELFNOTE_CRASH_INFO = 0x100_0001, "XEN_ELFNOTE_CRASH_INFO";
    /// Crash registers of the hypervisor.
    XEN_ELFNOTE_CRASH_REGS = 0x100_0002, "XEN_ELFNOTE_CRASH_REGS";
    /// Domain dump: the notes begin.
    XEN_ELFNOTE_DUMPCORE_NONE = 0x200_0000, "XEN_ELFNOTE_DUMPCORE_NONE";
    /// Domain dump: header.
    XEN_ELFNOTE_DUMPCORE_HEADER = 0x200_0001, "XEN_ELFNOTE_DUMPCORE_HEADER";
    /// Domain dump: version of the hypervisor.
    XEN_ELFNOTE_DUMPCORE_XEN_VERSION = 0x200_0002, "XEN_ELFNOTE_DUMPCORE_XEN_VERSION";
    /// Domain dump: version of the format.
    XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION = 0x200_0003, "XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION";
}
