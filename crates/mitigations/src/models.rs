//! Which models have which defect, where the CPU does not say so itself.

use crate::host::{Host, capability};

/// Intel's small cores whose speculation stops at faults: neither Meltdown nor L1TF.
const SMALL_CORES: [u32; 17] = [
    0x1c, 0x26, 0x27, 0x35, 0x36, // Bonnell, Saltwell
    0x37, 0x4a, 0x4c, 0x4d, 0x5a, 0x5d, 0x75, // Silvermont, Airmont
    0x5c, 0x5f, 0x7a, // Goldmont, Goldmont Plus
    0x86, 0x96, // Tremont
];

/// Knights Landing, Knights Mill.
const KNIGHTS: [u32; 2] = [0x57, 0x85];

/// Cores that keep a longer branch history: Alder Lake and later, with the servers of that age.
const LONG_HISTORY: [u32; 9] = [0x97, 0x9a, 0xb7, 0xba, 0xbf, 0xbe, 0x8f, 0xcf, 0xac];

/// Skylake and later, on which a return may be predicted by the branch target buffer.
const RETURNS_BY_TARGET: [u32; 7] = [0x4e, 0x5e, 0x55, 0x66, 0x8e, 0x9e, 0xa5];

/// Skylake to Tiger Lake: gathers leak.
const GATHERS: [u32; 12] = [0x4e, 0x5e, 0x55, 0x66, 0x8e, 0x9e, 0xa5, 0xa6, 0x6a, 0x6c, 0x7e, 0x8c];

/// Nehalem and Westmere, whose L1 caches look up 44 bits of an address.
const OF_44_BITS: [u32; 7] = [0x1a, 0x1e, 0x1f, 0x25, 0x2c, 0x2e, 0x2f];

/// Sandy Bridge to Kaby Lake, whose L1 caches look up 46.
const OF_46_BITS: [u32; 17] =
    [0x2a, 0x2d, 0x3a, 0x3e, 0x3c, 0x3f, 0x45, 0x46, 0x3d, 0x47, 0x4f, 0x56, 0x4e, 0x5e, 0x55, 0x8e, 0x9e];

/// Small cores whose register file leaks.
const REGISTER_FILE: [u32; 8] = [0x5c, 0x5f, 0x7a, 0x86, 0x96, 0x9c, 0x97, 0x9a];

impl Host {
    fn is_intel_model(&self, models: &[u32]) -> bool {
        self.is_intel() && self.family() == 6 && models.contains(&self.model())
    }

    /// Rogue data cache load: user mode reads what the page tables map for the hypervisor. In doubt: yes.
    pub(crate) fn has_meltdown(&self) -> bool {
        !self.is_amd() && !self.is_capable(capability::RDCL_NO)
    }

    /// L1 terminal fault.
    pub(crate) fn has_l1tf(&self) -> bool {
        self.is_intel()
            && self.family() == 6
            && !self.is_capable(capability::RDCL_NO)
            && !SMALL_CORES.contains(&self.model())
            && !KNIGHTS.contains(&self.model())
    }

    /// Bits of an address that the L1 cache looks up; `None`: as many as there are.
    pub(crate) fn l1_address_bits(&self) -> Option<u8> {
        if self.is_intel_model(&OF_44_BITS) {
            Some(44)
        } else {
            self.is_intel_model(&OF_46_BITS).then_some(46)
        }
    }

    /// Speculation goes on past "device not available": extended state must be switched eagerly.
    pub(crate) fn has_lazy_fp(&self) -> bool {
        self.is_intel() && self.family() == 6 && !SMALL_CORES.contains(&self.model())
    }

    /// Branch history of a guest steers indirect branches of the hypervisor.
    pub(crate) fn has_history_injection(&self) -> bool {
        self.is_intel()
            && self.family() == 6
            && !self.is_capable(capability::BHI_NO)
            && !SMALL_CORES.contains(&self.model())
    }

    /// The long sequence is needed to clear it.
    pub(crate) fn has_long_history(&self) -> bool {
        self.is_intel_model(&LONG_HISTORY)
    }

    /// Retpolines hold.
    pub(crate) fn is_retpoline_safe(&self) -> bool {
        let alternates = self.is_capable(capability::IBRS_ALL) || self.capabilities & 1 << 2 != 0;
        self.is_amd()
            || self.is_intel()
                && self.family() == 6
                && !alternates
                && !self.is_intel_model(&RETURNS_BY_TARGET)
    }

    /// Returns may be predicted by the branch target buffer, and the CPU need not know.
    pub(crate) fn has_returns_by_target(&self) -> bool {
        self.is_intel_model(&RETURNS_BY_TARGET)
    }

    /// Microarchitectural data sampling, fill buffers included, that VERW clears.
    pub(crate) fn leaks_buffers(&self) -> bool {
        let fill_buffers = [capability::SBDR_SSDP_NO, capability::FBSDP_NO, capability::PSDP_NO];
        self.is_intel()
            && (!self.is_capable(capability::MDS_NO)
                || self.is_capable(capability::FB_CLEAR)
                    && !fill_buffers.iter().all(|bit| self.is_capable(*bit)))
    }

    /// The register file leaks, and VERW clears it.
    pub(crate) fn leaks_registers(&self) -> bool {
        self.is_intel_model(&REGISTER_FILE)
            && self.is_capable(capability::RFDS_CLEAR)
            && !self.is_capable(capability::RFDS_NO)
    }

    /// Gathers leak and nothing but taking AVX away helps.
    pub(crate) fn leaks_gathers(&self) -> bool {
        self.is_intel_model(&GATHERS)
            && self.has_avx2()
            && !self.is_capable(capability::GDS_NO)
            && !self.is_capable(capability::GDS_CTRL)
    }

    /// AMD's Zen 1: the divider keeps what it divided.
    pub(crate) fn leaks_quotients(&self) -> bool {
        self.is_amd() && self.family() == 0x17 && self.model() < 0x30
            || self.is_amd() && self.family() == 0x18
    }

    /// AMD's families 15h to 17h: any instruction may be taken for a branch.
    pub(crate) fn confuses_branches(&self) -> bool {
        self.is_amd() && (0x15..=0x18).contains(&self.family()) && !self.has_btc_no()
    }

    /// AMD's Zen 1 to Zen 4: returns can be steered.
    pub(crate) fn has_steered_returns(&self) -> bool {
        self.is_amd() && (0x17..=0x19).contains(&self.family()) && !self.has_srso_no()
    }
}
