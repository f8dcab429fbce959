//! Hypervisor CPUID leaves (`arch-x86/cpuid.h`).

use crate::constants::constants;

constants! {
    /// Leaves; 100h higher for each step when Viridian leaves come first.
    XEN_CPUID_LEAVES: u32;
    /// Largest leaf and signature.
    XEN_CPUID_FIRST_LEAF = 0x4000_0000, "XEN_CPUID_FIRST_LEAF";
    /// Version in EAX: major << 16 | minor.
    XEN_CPUID_VERSION_LEAF = 0x4000_0001, "XEN_CPUID_LEAF(1)";
    /// Hypercall pages, their MSR, features.
    XEN_CPUID_HYPERCALL_LEAF = 0x4000_0002, "XEN_CPUID_LEAF(2)";
    /// TSC mode and scaling.
    XEN_CPUID_TIME_LEAF = 0x4000_0003, "XEN_CPUID_LEAF(3)";
    /// HVM features.
    XEN_CPUID_HVM_LEAF = 0x4000_0004, "XEN_CPUID_LEAF(4)";
    /// PV features.
    XEN_CPUID_PV_LEAF = 0x4000_0005, "XEN_CPUID_LEAF(5)";
}

constants! {
    /// Values and fields of the leaves.
    XEN_CPUID_VALUES: u32;
    /// "XenV".
    XEN_CPUID_SIGNATURE_EBX = 0x566e_6558, "XEN_CPUID_SIGNATURE_EBX";
    /// "MMXe".
    XEN_CPUID_SIGNATURE_ECX = 0x6558_4d4d, "XEN_CPUID_SIGNATURE_ECX";
    /// "nVMM".
    XEN_CPUID_SIGNATURE_EDX = 0x4d4d_566e, "XEN_CPUID_SIGNATURE_EDX";
    /// Leaf 2 ECX: `MMU_PT_UPDATE_PRESERVE_AD` is understood.
    XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD = 1, "XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD";
    /// Leaf 5 EBX: width of machine addresses.
    XEN_CPUID_MACHINE_ADDRESS_WIDTH_MASK = 0xff, "XEN_CPUID_MACHINE_ADDRESS_WIDTH_MASK";
    /// Largest leaf, relative to the first.
    XEN_CPUID_MAX_NUM_LEAVES = 5, "XEN_CPUID_MAX_NUM_LEAVES";
}

constants! {
    /// Bits of leaf 4 EAX.
    XEN_HVM_CPUID_FEATURES: u32;
    /// APIC register accesses are virtualised.
    XEN_HVM_CPUID_APIC_ACCESS_VIRT = 1, "XEN_HVM_CPUID_APIC_ACCESS_VIRT";
    /// x2APIC accesses are virtualised.
    XEN_HVM_CPUID_X2APIC_VIRT = 2, "XEN_HVM_CPUID_X2APIC_VIRT";
    /// Foreign and grant mappings have IOMMU entries.
    XEN_HVM_CPUID_IOMMU_MAPPINGS = 4, "XEN_HVM_CPUID_IOMMU_MAPPINGS";
    /// EBX is the vCPU number.
    XEN_HVM_CPUID_VCPU_ID_PRESENT = 8, "XEN_HVM_CPUID_VCPU_ID_PRESENT";
    /// ECX is the domain number.
    XEN_HVM_CPUID_DOMID_PRESENT = 16, "XEN_HVM_CPUID_DOMID_PRESENT";
    /// Extended destination ids are understood.
    XEN_HVM_CPUID_EXT_DEST_ID = 32, "XEN_HVM_CPUID_EXT_DEST_ID";
    /// Per-vCPU upcall vectors work without an EOI.
    XEN_HVM_CPUID_UPCALL_VECTOR = 64, "XEN_HVM_CPUID_UPCALL_VECTOR";
}

/// Bytes before a `cpuid` instruction that have it emulated for a PV guest (`arch-x86/xen.h`): `ud2`, "xen".
pub const XEN_EMULATE_PREFIX: [u8; 5] = [0x0f, 0x0b, b'x', b'e', b'n'];
