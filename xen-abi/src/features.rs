//! Feature bits (`features.h`).

use crate::constants::constants;

constants! {
    /// Bit numbers of the feature map.
    XENFEATS: u32;
    /// Page tables may be written directly.
    XENFEAT_WRITABLE_PAGE_TABLES = 0, "XENFEAT_writable_page_tables";
    /// Descriptor tables may be written directly.
    XENFEAT_WRITABLE_DESCRIPTOR_TABLES = 1, "XENFEAT_writable_descriptor_tables";
    /// The guest has physical addresses of its own.
    XENFEAT_AUTO_TRANSLATED_PHYSMAP = 2, "XENFEAT_auto_translated_physmap";
    /// The guest kernel runs in ring 0.
    XENFEAT_SUPERVISOR_MODE_KERNEL = 3, "XENFEAT_supervisor_mode_kernel";
    /// PAE root tables may lie above 4 GiB.
    XENFEAT_PAE_PGDIR_ABOVE_4GB = 4, "XENFEAT_pae_pgdir_above_4gb";
    /// `MMU_PT_UPDATE_PRESERVE_AD` is understood.
    XENFEAT_MMU_PT_UPDATE_PRESERVE_AD = 5, "XENFEAT_mmu_pt_update_preserve_ad";
    /// High memory assists.
    XENFEAT_HIGHMEM_ASSIST = 6, "XENFEAT_highmem_assist";
    /// Grant mappings take the available PTE bits.
    XENFEAT_GNTTAB_MAP_AVAIL_BITS = 7, "XENFEAT_gnttab_map_avail_bits";
    /// HVM guests may have a callback vector.
    XENFEAT_HVM_CALLBACK_VECTOR = 8, "XENFEAT_hvm_callback_vector";
    /// HVM guests' PV clock is consistent.
    XENFEAT_HVM_SAFE_PVCLOCK = 9, "XENFEAT_hvm_safe_pvclock";
    /// HVM guests may bind physical interrupts.
    XENFEAT_HVM_PIRQS = 10, "XENFEAT_hvm_pirqs";
    /// The domain is, or may be, the initial domain.
    XENFEAT_DOM0 = 11, "XENFEAT_dom0";
    /// `XENMEMF_vnode` is understood.
    XENFEAT_MEMORY_OP_VNODE_SUPPORTED = 13, "XENFEAT_memory_op_vnode_supported";
    /// Arm: SMC calling convention.
    XENFEAT_ARM_SMCCC_SUPPORTED = 14, "XENFEAT_ARM_SMCCC_supported";
    /// Linux: the RSDP may be anywhere.
    XENFEAT_LINUX_RSDP_UNRESTRICTED = 15, "XENFEAT_linux_rsdp_unrestricted";
    /// Frame numbers differ from machine frames.
    XENFEAT_NOT_DIRECT_MAPPED = 16, "XENFEAT_not_direct_mapped";
    /// Frame numbers equal machine frames.
    XENFEAT_DIRECT_MAPPED = 17, "XENFEAT_direct_mapped";
}

constants! {
    /// Extent of the feature map.
    FEATURE_LIMITS: u32;
    /// Words of 32 features.
    XENFEAT_NR_SUBMAPS = 1, "XENFEAT_NR_SUBMAPS";
}
