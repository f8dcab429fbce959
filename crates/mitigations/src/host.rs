//! What a CPU says of itself.

/// Who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// Intel.
    Intel,
    /// AMD, and Hygon, whose first family is AMD's Zen.
    Amd,
    /// Another.
    Other,
}

/// The words that decide. All zero: a CPU that says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Who made it.
    pub vendor: Vendor,
    /// Leaf 1 EAX.
    pub signature: u32,
    /// Leaf 7 EBX.
    pub leaf7_ebx: u32,
    /// Leaf 7 EDX.
    pub leaf7_edx: u32,
    /// Leaf 7, subleaf 2, EDX.
    pub leaf7_2_edx: u32,
    /// Leaf 0x80000008 EBX.
    pub extended8_ebx: u32,
    /// Leaf 0x80000021 EAX.
    pub extended21_eax: u32,
    /// IA32_ARCH_CAPABILITIES (0x10a), 0 where there is none.
    pub capabilities: u64,
    /// Width of physical addresses, bits.
    pub address_bits: u8,
    /// Two threads share a core.
    pub threads: bool,
}

impl Host {
    /// A CPU that says nothing.
    pub const UNKNOWN: Self = Self {
        vendor: Vendor::Other,
        signature: 0,
        leaf7_ebx: 0,
        leaf7_edx: 0,
        leaf7_2_edx: 0,
        extended8_ebx: 0,
        extended21_eax: 0,
        capabilities: 0,
        address_bits: 36,
        threads: false,
    };

    /// Family, the extended one added.
    pub const fn family(&self) -> u32 {
        let family = self.signature >> 8 & 0xf;
        if family == 0xf { family + (self.signature >> 20 & 0xff) } else { family }
    }

    /// Model, the extended one above.
    pub const fn model(&self) -> u32 {
        self.signature >> 4 & 0xf | self.signature >> 12 & 0xf0
    }

    /// Stepping.
    pub const fn stepping(&self) -> u32 {
        self.signature & 0xf
    }

    pub(crate) const fn is_intel(&self) -> bool {
        matches!(self.vendor, Vendor::Intel)
    }

    pub(crate) const fn is_amd(&self) -> bool {
        matches!(self.vendor, Vendor::Amd)
    }

    /// Supervisor-mode execution prevention.
    pub(crate) const fn has_smep(&self) -> bool {
        self.leaf7_ebx & 1 << 7 != 0
    }

    /// AVX2, whose gathers leak.
    pub(crate) const fn has_avx2(&self) -> bool {
        self.leaf7_ebx & 1 << 5 != 0
    }

    /// SPEC_CTRL.IBRS and PRED_CMD.IBPB.
    pub(crate) const fn has_ibrs(&self) -> bool {
        self.leaf7_edx & 1 << 26 != 0 || self.extended8_ebx & 1 << 14 != 0
    }

    /// PRED_CMD.IBPB.
    pub(crate) const fn has_ibpb(&self) -> bool {
        self.leaf7_edx & 1 << 26 != 0 || self.extended8_ebx & 1 << 12 != 0
    }

    /// SPEC_CTRL.STIBP.
    pub(crate) const fn has_stibp(&self) -> bool {
        self.leaf7_edx & 1 << 27 != 0 || self.extended8_ebx & 1 << 15 != 0
    }

    /// SPEC_CTRL.SSBD.
    pub(crate) const fn has_ssbd(&self) -> bool {
        self.leaf7_edx & 1 << 31 != 0 || self.extended8_ebx & 1 << 24 != 0
    }

    /// SPEC_CTRL.PSFD, AMD's.
    pub(crate) const fn has_psfd(&self) -> bool {
        self.extended8_ebx & 1 << 28 != 0
    }

    /// VERW clears buffers.
    pub(crate) const fn has_md_clear(&self) -> bool {
        self.leaf7_edx & 1 << 10 != 0
    }

    /// MCU_OPT_CTRL.RNGDS_MITG_DIS.
    pub(crate) const fn has_srbds_control(&self) -> bool {
        self.leaf7_edx & 1 << 9 != 0
    }

    /// IA32_FLUSH_CMD.
    pub(crate) const fn has_l1d_flush(&self) -> bool {
        self.leaf7_edx & 1 << 28 != 0
    }

    /// SPEC_CTRL.BHI_DIS_S.
    pub(crate) const fn has_bhi_control(&self) -> bool {
        self.leaf7_2_edx & 1 << 4 != 0
    }

    /// AMD: IBRS may stay on.
    pub(crate) const fn has_ibrs_always(&self) -> bool {
        self.extended8_ebx & 1 << 16 != 0 || self.extended21_eax & 1 << 8 != 0
    }

    /// AMD: STIBP should stay on.
    pub(crate) const fn has_stibp_always(&self) -> bool {
        self.extended8_ebx & 1 << 17 != 0
    }

    /// AMD: not vulnerable to branch type confusion.
    pub(crate) const fn has_btc_no(&self) -> bool {
        self.extended8_ebx & 1 << 29 != 0
    }

    /// AMD: IBPB clears the return stack.
    pub(crate) const fn has_ibpb_ret(&self) -> bool {
        self.extended8_ebx & 1 << 30 != 0
    }

    /// AMD: not vulnerable to speculative return stack overflow; or not between user and kernel mode.
    pub(crate) const fn has_srso_no(&self) -> bool {
        self.extended21_eax & (1 << 29 | 1 << 30) != 0
    }

    /// A bit of IA32_ARCH_CAPABILITIES.
    pub(crate) const fn is_capable(&self, bit: u32) -> bool {
        self.capabilities & 1 << bit != 0
    }
}

/// Bits of IA32_ARCH_CAPABILITIES (Intel SDM volume 4).
pub(crate) mod capability {
    pub(crate) const RDCL_NO: u32 = 0;
    pub(crate) const IBRS_ALL: u32 = 1;
    pub(crate) const MDS_NO: u32 = 5;
    pub(crate) const SBDR_SSDP_NO: u32 = 13;
    pub(crate) const FBSDP_NO: u32 = 14;
    pub(crate) const PSDP_NO: u32 = 15;
    pub(crate) const FB_CLEAR: u32 = 17;
    pub(crate) const BHI_NO: u32 = 20;
    pub(crate) const GDS_CTRL: u32 = 25;
    pub(crate) const GDS_NO: u32 = 26;
    pub(crate) const RFDS_NO: u32 = 27;
    pub(crate) const RFDS_CLEAR: u32 = 28;
}
