//! Reserved GDT entries, flat selectors and segment bases.

use crate::constants::constants;

constants! {
    /// Where the hypervisor's part of every GDT begins.
    RESERVED_GDT: usize;
    /// First reserved page of the GDT.
    FIRST_RESERVED_GDT_PAGE = 14, "FIRST_RESERVED_GDT_PAGE";
    /// First reserved byte.
    FIRST_RESERVED_GDT_BYTE = 57344, "FIRST_RESERVED_GDT_BYTE";
    /// First reserved entry.
    FIRST_RESERVED_GDT_ENTRY = 7168, "FIRST_RESERVED_GDT_ENTRY";
}

constants! {
    /// Selectors of the flat segments that every guest has.
    FLAT_SELECTORS: u16;
    /// 32-bit code.
    FLAT_RING3_CS32 = 0xe023, "FLAT_RING3_CS32";
    /// 64-bit code.
    FLAT_RING3_CS64 = 0xe033, "FLAT_RING3_CS64";
    /// 32-bit data.
    FLAT_RING3_DS32 = 0xe02b, "FLAT_RING3_DS32";
    /// 64-bit data (the null selector).
    FLAT_RING3_DS64 = 0, "FLAT_RING3_DS64";
    /// 32-bit stack.
    FLAT_RING3_SS32 = 0xe02b, "FLAT_RING3_SS32";
    /// 64-bit stack.
    FLAT_RING3_SS64 = 0xe02b, "FLAT_RING3_SS64";
    /// 64-bit data of a guest kernel.
    FLAT_KERNEL_DS64 = 0, "FLAT_KERNEL_DS64";
    /// 32-bit data of a guest kernel.
    FLAT_KERNEL_DS32 = 0xe02b, "FLAT_KERNEL_DS32";
    /// Data of a guest kernel.
    FLAT_KERNEL_DS = 0, "FLAT_KERNEL_DS";
    /// 64-bit code of a guest kernel.
    FLAT_KERNEL_CS64 = 0xe033, "FLAT_KERNEL_CS64";
    /// 32-bit code of a guest kernel.
    FLAT_KERNEL_CS32 = 0xe023, "FLAT_KERNEL_CS32";
    /// Code of a guest kernel.
    FLAT_KERNEL_CS = 0xe033, "FLAT_KERNEL_CS";
    /// 64-bit stack of a guest kernel.
    FLAT_KERNEL_SS64 = 0xe02b, "FLAT_KERNEL_SS64";
    /// 32-bit stack of a guest kernel.
    FLAT_KERNEL_SS32 = 0xe02b, "FLAT_KERNEL_SS32";
    /// Stack of a guest kernel.
    FLAT_KERNEL_SS = 0xe02b, "FLAT_KERNEL_SS";
    /// 64-bit data of guest user mode.
    FLAT_USER_DS64 = 0, "FLAT_USER_DS64";
    /// 32-bit data of guest user mode.
    FLAT_USER_DS32 = 0xe02b, "FLAT_USER_DS32";
    /// Data of guest user mode.
    FLAT_USER_DS = 0, "FLAT_USER_DS";
    /// 64-bit code of guest user mode.
    FLAT_USER_CS64 = 0xe033, "FLAT_USER_CS64";
    /// 32-bit code of guest user mode.
    FLAT_USER_CS32 = 0xe023, "FLAT_USER_CS32";
    /// Code of guest user mode.
    FLAT_USER_CS = 0xe033, "FLAT_USER_CS";
    /// 64-bit stack of guest user mode.
    FLAT_USER_SS64 = 0xe02b, "FLAT_USER_SS64";
    /// 32-bit stack of guest user mode.
    FLAT_USER_SS32 = 0xe02b, "FLAT_USER_SS32";
    /// Stack of guest user mode.
    FLAT_USER_SS = 0xe02b, "FLAT_USER_SS";
}

constants! {
    /// First argument of `set_segment_base`.
    SEGBASES: u32;
    /// FS base.
    SEGBASE_FS = 0, "SEGBASE_FS";
    /// GS base of user mode.
    SEGBASE_GS_USER = 1, "SEGBASE_GS_USER";
    /// GS base of kernel mode.
    SEGBASE_GS_KERNEL = 2, "SEGBASE_GS_KERNEL";
    /// GS selector of user mode.
    SEGBASE_GS_USER_SEL = 3, "SEGBASE_GS_USER_SEL";
}
