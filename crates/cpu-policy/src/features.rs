//! CPU features by name, who may see them, and which need which.
//!
//! Numbers, names and visibility are those of the public header arch-x86/cpufeatureset.h (4.17): a word
//! is one CPUID output register, numbered as there, because the toolstack exchanges features that way.
//! Most of the file is that table, which is easier to check in one piece.

mod requirements;
#[cfg(test)]
mod tests;

use crate::cpuid::{Leaf, Vendor};
use requirements::REQUIREMENTS;

/// Words in a feature set (Xen 4.17.7 tells the toolstack 19).
pub const WORDS: usize = 19;

/// One feature: a bit of a feature-set word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    word: u8,
    bit: u8,
}

impl Feature {
    /// Index of the feature-set word.
    pub const fn word(self) -> usize {
        self.word as usize
    }

    /// The bit within the word, as a mask.
    pub const fn mask(self) -> u32 {
        1 << self.bit
    }
}

/// Whether PV guests get a feature that the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visibility {
    /// Unless the toolstack takes it away.
    Default,
    /// Only if the toolstack asks for it.
    OptIn,
    /// Never (or only by a rule of its own).
    Hidden,
}

/// CPU features as the toolstack exchanges them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FeatureSet(pub [u32; WORDS]);

impl FeatureSet {
    /// Whether the feature is in the set.
    pub const fn has(&self, feature: Feature) -> bool {
        self.0[feature.word()] & feature.mask() != 0
    }

    /// Adds or removes a feature.
    pub const fn set(&mut self, feature: Feature, present: bool) {
        if present {
            self.0[feature.word()] |= feature.mask();
        } else {
            self.0[feature.word()] &= !feature.mask();
        }
    }

    /// The features in both sets.
    #[must_use]
    pub fn intersection(mut self, other: &Self) -> Self {
        for (word, theirs) in self.0.iter_mut().zip(other.0) {
            *word &= theirs;
        }
        self
    }

    /// Whether every feature of this set is in the other.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).all(|(ours, theirs)| ours & !theirs == 0)
    }

    /// Takes over the feature words that a CPUID leaf holds; other leaves change nothing.
    pub fn take_leaf(&mut self, leaf: u32, subleaf: u32, value: &Leaf, vendor: Vendor) {
        let words = &mut self.0;
        match (leaf, subleaf) {
            (1, _) => (words[0], words[1]) = (value.edx, value.ecx),
            (7, 0) => (words[5], words[6], words[9]) = (value.ebx, value.ecx, value.edx),
            (7, 1) => {
                (words[10], words[12], words[14], words[15]) = (value.eax, value.ebx, value.ecx, value.edx);
            }
            (7, 2) => words[13] = value.edx,
            (0xd, 1) => words[4] = value.eax,
            (0x8000_0001, _) => {
                // AMD repeats part of 1.EDX there; a feature is kept in one place.
                let repeated = if vendor == Vendor::Amd { COMMON_EDX } else { 0 };
                (words[2], words[3]) = (value.edx & !repeated, value.ecx);
            }
            (0x8000_0007, _) => words[7] = value.edx,
            (0x8000_0008, _) => words[8] = value.ebx,
            (0x8000_0021, _) => (words[11], words[18]) = (value.eax, value.ecx),
            (_, _) => {}
        }
    }

    /// The features that the MSR ARCH_CAPABILITIES holds.
    pub fn set_arch_capabilities(&mut self, value: u64) {
        (self.0[16], self.0[17]) = (value as u32, (value >> 32) as u32);
    }

    /// Removes features whose requirements are missing, until all have theirs.
    #[must_use]
    pub fn with_requirements_met(mut self) -> Self {
        // Each pass that changes something removes at least one feature, so this ends.
        loop {
            let before = self;
            for &(needed, dependents) in REQUIREMENTS {
                if !self.has(needed) {
                    dependents.iter().for_each(|&dependent| self.set(dependent, false));
                }
            }
            if !self.has(Feature::ARCH_CAPS) {
                self.set_arch_capabilities(0);
            }
            if self == before {
                return self;
            }
        }
    }
}

macro_rules! features {
    ($($name:ident = $word:literal, $bit:literal, $visibility:ident;)*) => {
        impl Feature {
            $(
                #[doc = concat!("Word ", $word, ", bit ", $bit, ".")]
                pub const $name: Self = Self { word: $word, bit: $bit };
            )*
        }

        /// Every feature named here, with its visibility.
        const TABLE: &[(Feature, Visibility)] = &[$((Feature::$name, Visibility::$visibility)),*];
    };
}

features! {
// CPUID 1.EDX
FPU = 0, 0, Default;
VME = 0, 1, Hidden;
DE = 0, 2, Default;
PSE = 0, 3, Hidden;
TSC = 0, 4, Default;
MSR = 0, 5, Default;
PAE = 0, 6, Default;
MCE = 0, 7, Default;
CX8 = 0, 8, Default;
APIC = 0, 9, Default;
SEP = 0, 11, Default;
MTRR = 0, 12, Hidden;
PGE = 0, 13, Hidden;
MCA = 0, 14, Default;
CMOV = 0, 15, Default;
PAT = 0, 16, Default;
PSE36 = 0, 17, Hidden;
CLFLUSH = 0, 19, Default;
ACPI = 0, 22, Default;
MMX = 0, 23, Default;
FXSR = 0, 24, Default;
SSE = 0, 25, Default;
SSE2 = 0, 26, Default;
SS = 0, 27, Default;
HTT = 0, 28, Default;
// CPUID 1.ECX
SSE3 = 1, 0, Default;
PCLMULQDQ = 1, 1, Default;
MONITOR = 1, 3, Hidden;
VMX = 1, 5, Hidden;
EIST = 1, 7, Hidden;
SSSE3 = 1, 9, Default;
FMA = 1, 12, Default;
CX16 = 1, 13, Default;
PCID = 1, 17, Hidden;
SSE4_1 = 1, 19, Default;
SSE4_2 = 1, 20, Default;
X2APIC = 1, 21, Hidden;
MOVBE = 1, 22, Default;
POPCNT = 1, 23, Default;
TSC_DEADLINE = 1, 24, Hidden;
AESNI = 1, 25, Default;
XSAVE = 1, 26, Default;
OSXSAVE = 1, 27, Hidden;
AVX = 1, 28, Default;
F16C = 1, 29, Default;
RDRAND = 1, 30, Default;
HYPERVISOR = 1, 31, Default;
// CPUID 80000001.EDX
SYSCALL = 2, 11, Default;
NX = 2, 20, Default;
MMXEXT = 2, 22, Default;
FFXSR = 2, 25, Default;
PAGE1GB = 2, 26, Hidden;
RDTSCP = 2, 27, Default;
LM = 2, 29, Default;
AMD_3DNOWEXT = 2, 30, Default;
AMD_3DNOW = 2, 31, Default;
// CPUID 80000001.ECX
LAHF_LM = 3, 0, Default;
CMP_LEGACY = 3, 1, Default;
SVM = 3, 2, Hidden;
ABM = 3, 5, Default;
SSE4A = 3, 6, Default;
MISALIGNSSE = 3, 7, Default;
AMD_3DNOWPREFETCH = 3, 8, Default;
XOP = 3, 11, Default;
LWP = 3, 15, Hidden;
FMA4 = 3, 16, Default;
TBM = 3, 21, Default;
DBEXT = 3, 26, Default;
// CPUID d.1.EAX
XSAVEOPT = 4, 0, Default;
XSAVEC = 4, 1, Default;
XGETBV1 = 4, 2, Default;
XSAVES = 4, 3, Hidden;
// CPUID 7.0.EBX
FSGSBASE = 5, 0, Default;
TSC_ADJUST = 5, 1, Hidden;
BMI1 = 5, 3, Default;
HLE = 5, 4, OptIn;
AVX2 = 5, 5, Default;
SMEP = 5, 7, Hidden;
BMI2 = 5, 8, Default;
ERMS = 5, 9, Default;
INVPCID = 5, 10, Hidden;
RTM = 5, 11, Default;
MPX = 5, 14, Hidden;
AVX512F = 5, 16, Default;
AVX512DQ = 5, 17, Default;
RDSEED = 5, 18, Default;
ADX = 5, 19, Default;
SMAP = 5, 20, Hidden;
AVX512_IFMA = 5, 21, Default;
CLFLUSHOPT = 5, 23, Default;
CLWB = 5, 24, Default;
AVX512PF = 5, 26, Default;
AVX512ER = 5, 27, Default;
AVX512CD = 5, 28, Default;
SHA = 5, 29, Default;
AVX512BW = 5, 30, Default;
AVX512VL = 5, 31, Default;
// CPUID 7.0.ECX
PREFETCHWT1 = 6, 0, Default;
AVX512_VBMI = 6, 1, Default;
UMIP = 6, 2, Hidden;
PKU = 6, 3, Hidden;
OSPKE = 6, 4, Hidden;
AVX512_VBMI2 = 6, 6, Default;
GFNI = 6, 8, Default;
VAES = 6, 9, Default;
VPCLMULQDQ = 6, 10, Default;
AVX512_VNNI = 6, 11, Default;
AVX512_BITALG = 6, 12, Default;
AVX512_VPOPCNTDQ = 6, 14, Default;
RDPID = 6, 22, Default;
CLDEMOTE = 6, 25, Default;
MOVDIRI = 6, 27, OptIn;
MOVDIR64B = 6, 28, OptIn;
// CPUID 80000007.EDX
ITSC = 7, 8, OptIn;
// CPUID 80000008.EBX
CLZERO = 8, 0, Default;
RSTR_FP_ERR_PTRS = 8, 2, Default;
IBPB = 8, 12, Default;
IBRS = 8, 14, Hidden;
SSB_NO = 8, 26, Default;
BTC_NO = 8, 29, Default;
IBPB_RET = 8, 30, Default;
// CPUID 7.0.EDX
AVX512_4VNNIW = 9, 2, Default;
AVX512_4FMAPS = 9, 3, Default;
FSRM = 9, 4, Default;
AVX512_VP2INTERSECT = 9, 8, OptIn;
MD_CLEAR = 9, 10, Default;
RTM_ALWAYS_ABORT = 9, 11, Hidden;
SERIALIZE = 9, 14, Default;
TSXLDTRK = 9, 16, OptIn;
IBRSB = 9, 26, Default;
STIBP = 9, 27, Default;
ARCH_CAPS = 9, 29, Default;
SSBD = 9, 31, Default;
// CPUID 7.1.EAX
AVX_VNNI = 10, 4, Default;
AVX512_BF16 = 10, 5, Default;
FZRM = 10, 10, Default;
FSRS = 10, 11, Default;
FSRCS = 10, 12, Default;
// CPUID 80000021.EAX
LFENCE_DISPATCH = 11, 2, Default;
VERW_CLEAR = 11, 5, Default;
NSCB = 11, 6, Default;
SBPB = 11, 27, Default;
IBPB_BRTYPE = 11, 28, Default;
SRSO_NO = 11, 29, Default;
SRSO_US_NO = 11, 30, Default;
// CPUID 7.1.EBX
// CPUID 7.2.EDX
INTEL_PSFD = 13, 0, Default;
MCDT_NO = 13, 5, Default;
// CPUID 7.1.ECX
// CPUID 7.1.EDX
// ARCH_CAPABILITIES bits 31:0
RDCL_NO = 16, 0, Default;
EIBRS = 16, 1, Default;
RSBA = 16, 2, Hidden;
INTEL_SSB_NO = 16, 4, Default;
MDS_NO = 16, 5, Default;
IF_PSCHANGE_MC_NO = 16, 6, Default;
TAA_NO = 16, 8, Default;
SBDR_SSDP_NO = 16, 13, Default;
FBSDP_NO = 16, 14, Default;
PSDP_NO = 16, 15, Default;
FB_CLEAR = 16, 17, Default;
RRSBA = 16, 19, Hidden;
BHI_NO = 16, 20, Default;
PBRSB_NO = 16, 24, Default;
GDS_NO = 16, 26, Default;
RFDS_NO = 16, 27, Default;
RFDS_CLEAR = 16, 28, Default;
// ARCH_CAPABILITIES bits 63:32
ITS_NO = 17, 30, Default;
// CPUID 80000021.ECX
TSA_SQ_NO = 18, 1, Default;
TSA_L1_NO = 18, 2, Default;}

/// Bits of 80000001.EDX that mirror 1.EDX on AMD processors (AMD64 manual volume 3, appendix E.4.2).
pub const COMMON_EDX: u32 = 0x0183_f3ff;

/// The leaves and subleaves that [`FeatureSet::take_leaf`] reads.
pub const FEATURE_LEAVES: &[(u32, u32)] = &[
    (1, 0),
    (7, 0),
    (7, 1),
    (7, 2),
    (0xd, 1),
    (0x8000_0001, 0),
    (0x8000_0007, 0),
    (0x8000_0008, 0),
    (0x8000_0021, 0),
];

fn visible(accepted: impl Fn(Visibility) -> bool) -> FeatureSet {
    let mut set = FeatureSet::default();
    for &(feature, visibility) in TABLE {
        set.set(feature, accepted(visibility));
    }
    set
}

/// The features that PV guests get by default, were the host to have them all.
pub fn pv_default() -> FeatureSet {
    visible(|visibility| visibility == Visibility::Default)
}

/// The features that PV guests can be given.
pub fn pv_max() -> FeatureSet {
    visible(|visibility| visibility != Visibility::Hidden)
}
