//! The CPUID policy of a PV domain and what each query shows of it.

#[cfg(test)]
mod tests;

use crate::extended_state;
use crate::features::{COMMON_EDX, Feature, FeatureSet, WORDS};
use crate::xen_leaves::{self, XenLeaves};

/// Highest basic leaf that guests are shown.
pub const MAX_BASIC_LEAF: u32 = 0xd;
/// Highest extended leaf that guests are shown.
pub const MAX_EXTENDED_LEAF: u32 = 0x8000_0021;
/// First extended leaf.
pub const EXTENDED: u32 = 0x8000_0000;
/// The subleaf of leaves that have none, as the toolstack writes it (`XEN_CPUID_NO_SUBLEAF`).
pub const NO_SUBLEAF: u32 = 0xffff_ffff;

/// CR4.OSXSAVE.
const CR4_OSXSAVE: u64 = 1 << 18;

/// The four output registers of one CPUID query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Leaf {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

impl Leaf {
    /// All registers zero: what a query beyond the policy shows.
    pub const EMPTY: Self = Self { eax: 0, ebx: 0, ecx: 0, edx: 0 };
}

/// Maker of the processor, as far as the policy differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Vendor {
    /// GenuineIntel.
    Intel,
    /// AuthenticAMD and HygonGenuine.
    Amd,
    /// Any other.
    #[default]
    Other,
}

impl Vendor {
    /// The maker that leaf 0 names.
    pub fn of(leaf0: &Leaf) -> Self {
        let Leaf { ebx, ecx, edx, .. } = leaf0;
        match (&ebx.to_le_bytes(), &edx.to_le_bytes(), &ecx.to_le_bytes()) {
            (b"Genu", b"ineI", b"ntel") => Self::Intel,
            (b"Auth", b"enti", b"cAMD") | (b"Hygo", b"nGen", b"uine") => Self::Amd,
            _ => Self::Other,
        }
    }
}

/// How the guest's CPUID reached the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The forced-emulation prefix (#UD).
    ForcedEmulation,
    /// CPUID faulting (#GP).
    Faulting,
}

/// State of the asking vCPU that shows through CPUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dynamic {
    /// How the query came.
    pub via: Via,
    /// Whether the guest is in kernel mode.
    pub guest_kernel: bool,
    /// The CR4 that the guest set.
    pub guest_cr4: u64,
    /// Whether the hypervisor itself runs with CR4.OSXSAVE.
    pub hypervisor_osxsave: bool,
    /// The vCPU's XCR0.
    pub xcr0: u64,
}

/// What one domain is shown. Plain data; made by [`Policy::for_pv`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(crate) vendor: Vendor,
    pub(crate) features: FeatureSet,
    /// Leaves 0 to d; 4, 7 and d stand below. Feature words are in `features` alone.
    pub(crate) basic: [Leaf; 14],
    /// Leaf 4 by subleaf (Intel).
    pub(crate) caches: [Leaf; 6],
    /// Highest subleaf of leaf 7.
    pub(crate) max_feature_subleaf: u32,
    /// Size, offset and alignment of each extended-state component from 2 on.
    pub(crate) state_components: [Leaf; extended_state::COMPONENTS],
    /// Extended leaves 80000000 to 80000021.
    pub(crate) extended: [Leaf; 0x22],
    /// Host bits that a hardware domain's kernel is shown (see [`Policy::query`]).
    pub(crate) hardware_domain: HardwareDomainView,
    /// Whether CPUID faulting can be offered (PLATFORM_INFO bit 31).
    pub(crate) cpuid_faulting: bool,
    /// Highest of the hypervisor's own leaves, from 40000000 and from 40000100 on, as the toolstack gave it; 0: as many as
    /// there are.
    pub(crate) hypervisor_limits: [u32; 2],
}

/// Host features that leak to the hardware domain's kernel: it prepares power management for the
/// hypervisor and looks for them to know what there is to prepare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct HardwareDomainView {
    pub(crate) mtrr: bool,
    pub(crate) eist: bool,
    pub(crate) monitor: bool,
    /// Leaf 5, which describes MONITOR.
    pub(crate) monitor_leaf: Leaf,
}

impl HardwareDomainView {
    /// Shows nothing.
    const NOTHING: Self = Self { mtrr: false, eist: false, monitor: false, monitor_leaf: Leaf::EMPTY };
}

impl Policy {
    /// Shows nothing.
    pub(crate) const fn empty() -> Self {
        Self {
            vendor: Vendor::Other,
            features: FeatureSet([0; WORDS]),
            basic: [Leaf::EMPTY; 14],
            caches: [Leaf::EMPTY; 6],
            max_feature_subleaf: 0,
            state_components: [Leaf::EMPTY; extended_state::COMPONENTS],
            extended: [Leaf::EMPTY; 0x22],
            hardware_domain: HardwareDomainView::NOTHING,
            cpuid_faulting: false,
            hypervisor_limits: [0; 2],
        }
    }

    /// The features the domain has.
    pub fn features(&self) -> &FeatureSet {
        &self.features
    }

    /// Whether the domain has a feature.
    pub fn has(&self, feature: Feature) -> bool {
        self.features.has(feature)
    }

    /// Maker of the processor.
    pub fn vendor(&self) -> Vendor {
        self.vendor
    }

    /// XCR0 bits the domain may set; 0 without XSAVE.
    pub fn xcr0_mask(&self) -> u64 {
        extended_state::mask(&self.features, &self.state_components)
    }

    /// Bytes of an image of the extended state in XSAVE's plain format, with these components.
    pub fn extended_bytes(&self, components: u64) -> u32 {
        extended_state::plain_size(&self.state_components, components)
    }

    /// The MSR ARCH_CAPABILITIES as the domain sees it.
    pub fn arch_capabilities(&self) -> u64 {
        u64::from(self.features.0[17]) << 32 | u64::from(self.features.0[16])
    }

    /// Whether the domain may turn CPUID faulting on for itself.
    pub fn cpuid_faulting(&self) -> bool {
        self.cpuid_faulting
    }

    /// The leaf as policy, independent of any vCPU: what the toolstack exchanges.
    pub fn leaf(&self, leaf: u32, subleaf: u32) -> Leaf {
        match leaf {
            0..=MAX_BASIC_LEAF if leaf <= self.basic[0].eax => self.basic_leaf(leaf, subleaf),
            EXTENDED..=MAX_EXTENDED_LEAF if leaf <= self.extended[0].eax => self.extended_leaf(leaf),
            _ => Leaf::EMPTY,
        }
    }

    fn basic_leaf(&self, leaf: u32, subleaf: u32) -> Leaf {
        let words = &self.features.0;
        let index = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        match (leaf, subleaf) {
            (1, _) => Leaf { ecx: words[1], edx: words[0], ..self.basic[1] },
            (4, _) => self.caches.get(index(subleaf)).copied().unwrap_or_default(),
            (7, _) if subleaf > self.max_feature_subleaf => Leaf::EMPTY,
            (7, 0) => Leaf { eax: self.max_feature_subleaf, ebx: words[5], ecx: words[6], edx: words[9] },
            (7, 1) => Leaf { eax: words[10], ebx: words[12], ecx: words[14], edx: words[15] },
            (7, 2) => Leaf { edx: words[13], ..Leaf::EMPTY },
            (7, _) => Leaf::EMPTY,
            (0xd, _) => extended_state::leaf(&self.features, &self.state_components, subleaf),
            (_, _) => self.basic.get(index(leaf)).copied().unwrap_or_default(),
        }
    }

    fn extended_leaf(&self, leaf: u32) -> Leaf {
        let words = &self.features.0;
        let stored = self.extended.get((leaf - EXTENDED) as usize).copied().unwrap_or_default();
        match leaf - EXTENDED {
            1 => {
                let mirrored = if self.vendor == Vendor::Amd { words[0] & COMMON_EDX } else { 0 };
                Leaf { ecx: words[3], edx: words[2] | mirrored, ..stored }
            }
            7 => Leaf { edx: words[7], ..stored },
            8 => Leaf { ebx: words[8], ..stored },
            0x21 => Leaf { eax: words[11], ecx: words[18], ..stored },
            _ => stored,
        }
    }

    /// What a vCPU sees: the policy, the hypervisor's leaves, and the bits that follow its own state.
    ///
    /// OSXSAVE is not what the manuals say: Linux asks through the forced-emulation prefix before it has
    /// set CR4.OSXSAVE, and drops XSAVE unless the bit reads 1 by then. So from guest kernel mode that path
    /// shows whether the *hypervisor* has it on; everybody else sees the guest's own CR4.
    pub fn query(&self, leaf: u32, subleaf: u32, dynamic: &Dynamic, xen: &XenLeaves) -> Leaf {
        if xen_leaves::RANGE.contains(&leaf) {
            return xen.leaf(leaf, subleaf, self.hypervisor_limits[0]);
        }
        let mut shown = self.leaf(leaf, subleaf);
        match leaf {
            1 => self.show_dynamic_features(&mut shown, dynamic),
            5 if self.sees_monitor(dynamic) => shown = self.hardware_domain.monitor_leaf,
            0xd if self.has(Feature::XSAVE) => match subleaf {
                0 => shown.ebx = extended_state::plain_size(&self.state_components, dynamic.xcr0),
                1 if self.has(Feature::XSAVEC) => {
                    shown.ebx = extended_state::compacted_size(&self.state_components, dynamic.xcr0);
                }
                _ => {}
            },
            _ => {}
        }
        shown
    }

    fn show_dynamic_features(&self, shown: &mut Leaf, dynamic: &Dynamic) {
        let own = dynamic.guest_cr4 & CR4_OSXSAVE != 0;
        let forced =
            dynamic.via == Via::ForcedEmulation && dynamic.guest_kernel && dynamic.hypervisor_osxsave;
        if self.has(Feature::XSAVE) && (own || forced) {
            shown.ecx |= Feature::OSXSAVE.mask();
        }
        if dynamic.guest_kernel {
            let view = &self.hardware_domain;
            shown.edx |= if view.mtrr { Feature::MTRR.mask() } else { 0 };
            shown.ecx |= if view.eist { Feature::EIST.mask() } else { 0 };
        }
        if self.sees_monitor(dynamic) {
            shown.ecx |= Feature::MONITOR.mask();
        }
    }

    /// A PV kernel cannot use MONITOR, so it must not find it where it asks the hypervisor; but a hardware
    /// domain looks at the *native* CPUID to decide whether to pass on the deep C-states.
    fn sees_monitor(&self, dynamic: &Dynamic) -> bool {
        self.hardware_domain.monitor && dynamic.guest_kernel && dynamic.via == Via::Faulting
    }

    /// The policy with features the toolstack chose: those asked for, as far as `max` (the domain's
    /// maximum policy) has them and their requirements are met.
    #[must_use]
    pub fn with_features(mut self, wanted: &FeatureSet, max: &Self) -> Self {
        self.features = wanted.intersection(&max.features).with_requirements_met();
        self
    }
}
