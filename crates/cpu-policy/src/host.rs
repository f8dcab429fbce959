//! From the host's CPUID to policies.

use crate::cpuid::{EXTENDED, HardwareDomainView, Leaf, MAX_BASIC_LEAF, MAX_EXTENDED_LEAF, Policy, Vendor};
use crate::extended_state::{self, COMPONENTS};
use crate::features::{self, FEATURE_LEAVES, Feature, FeatureSet};

/// Whom a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The hypervisor itself (`host`): what is left of the processor.
    Host,
    /// The most that the toolstack may give a PV guest (`pv_max`), also one that was made elsewhere and comes here.
    Max,
    /// What a PV guest gets unless the toolstack says otherwise (`pv_default`).
    Default,
    /// The hardware domain: the default, plus what a domain that never migrates can have.
    HardwareDomain,
}

/// What the hypervisor does that a policy depends on, and host facts outside CPUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Controls {
    /// MSR_SPEC_CTRL is switched with PV guests, so they may be given it (Intel's IBRSB and what needs it).
    pub spec_ctrl_for_pv: bool,
    /// The prediction barrier (PRED_CMD.IBPB) is carried out for PV guests.
    pub prediction_barrier: bool,
    /// AVX is taken away: its gathers leak what other code loaded, and nothing else helps.
    pub hide_avx: bool,
    /// The host has CPUID faulting and the hypervisor uses it.
    pub cpuid_faulting: bool,
    /// The host's MSR ARCH_CAPABILITIES, 0 where it has none. A host without the register may be given one that says
    /// what else its guests could not know (RSBA).
    pub arch_capabilities: u64,
}

/// The host's features, word by word.
pub fn host_features(host: &impl Fn(u32, u32) -> Leaf, controls: &Controls) -> FeatureSet {
    let leaf0 = host(0, 0);
    let vendor = Vendor::of(&leaf0);
    let feature_subleaves = if leaf0.eax >= 7 { host(7, 0).eax } else { 0 };
    let top = host(EXTENDED, 0).eax;
    let mut set = FeatureSet::default();
    for &(leaf, subleaf) in FEATURE_LEAVES {
        let exists = match leaf {
            EXTENDED.. => (EXTENDED..=0x8000_ffff).contains(&top) && leaf <= top,
            7 => leaf0.eax >= 7 && subleaf <= feature_subleaves,
            _ => leaf <= leaf0.eax,
        };
        if exists {
            set.take_leaf(leaf, subleaf, &host(leaf, subleaf), vendor);
        }
    }
    set.set_arch_capabilities(controls.arch_capabilities);
    set.set(Feature::ARCH_CAPS, set.has(Feature::ARCH_CAPS) || controls.arch_capabilities != 0);
    if !set.has(Feature::XSAVE) {
        set.0[4] = 0;
    }
    set
}

/// A host as far as policies are made of it: read once, for all of them.
#[derive(Debug)]
pub(crate) struct Host {
    features: FeatureSet,
    /// ARCH_CAPS as CPUID has it.
    has_arch_capabilities: bool,
    controls: Controls,
    /// All but features, and what an audience may not see of it.
    data: Policy,
    view: HardwareDomainView,
    max_feature_subleaf: u32,
    /// Extended leaf a.
    virtualisation: Leaf,
}

impl Host {
    /// Reads a host whose CPUID answers as `host(leaf, subleaf)`.
    pub(crate) fn read(host: &impl Fn(u32, u32) -> Leaf, controls: &Controls) -> Self {
        let leaf0 = host(0, 0);
        let vendor = Vendor::of(&leaf0);
        let features = host_features(host, controls);
        let mut data = Policy { vendor, cpuid_faulting: controls.cpuid_faulting, ..Policy::empty() };
        data.basic[0] = Leaf { eax: leaf0.eax.min(MAX_BASIC_LEAF), ..leaf0 };
        // The APIC ID in EBX[31:24] is 0 for PV; the feature registers are kept apart.
        let leaf1 = host(1, 0);
        data.basic[1] = Leaf { eax: leaf1.eax & 0x0fff_0fff, ebx: leaf1.ebx & 0x00ff_ffff, ecx: 0, edx: 0 };
        if vendor == Vendor::Intel {
            data.take_intel_caches(host, leaf0.eax);
        }
        data.take_state_components(host, leaf0.eax);
        data.take_extended(host);
        let view = HardwareDomainView {
            mtrr: features.has(Feature::MTRR),
            eist: features.has(Feature::EIST),
            monitor: features.has(Feature::MONITOR),
            monitor_leaf: if leaf0.eax >= 5 { host(5, 0) } else { Leaf::EMPTY },
        };
        let svm = features.has(Feature::SVM) && data.extended[0].eax >= EXTENDED + 0xa;
        Self {
            has_arch_capabilities: leaf0.eax >= 7 && host(7, 0).edx & Feature::ARCH_CAPS.mask() != 0,
            controls: *controls,
            max_feature_subleaf: if leaf0.eax >= 7 { host(7, 0).eax.min(2) } else { 0 },
            virtualisation: if svm { shown_svm(host(EXTENDED + 0xa, 0)) } else { Leaf::EMPTY },
            features,
            data,
            view,
        }
    }

    /// A policy made of it.
    pub(crate) fn policy(&self, audience: Audience) -> Policy {
        let mut policy = Policy {
            features: match audience {
                Audience::Host => self.own_features(),
                _ => self.pv_features(audience),
            },
            // Some guests have more of leaf 7 than they need, and may come here.
            max_feature_subleaf: if audience == Audience::Max { 2 } else { self.max_feature_subleaf },
            ..self.data
        };
        match audience {
            Audience::Host => policy.extended[0xa] = self.virtualisation,
            Audience::HardwareDomain => policy.hardware_domain = self.view,
            _ => {}
        }
        if audience != Audience::Host {
            policy.drop_unusable_state();
        }
        policy
    }

    /// What the hypervisor uses, as Xen would say it.
    fn own_features(&self) -> FeatureSet {
        let mut set = self.features;
        for dynamic in [Feature::OSXSAVE, Feature::OSPKE] {
            set.set(dynamic, false);
        }
        // SYSENTER does not exist in 64-bit mode there.
        set.set(Feature::SEP, set.has(Feature::SEP) && self.data.vendor != Vendor::Amd);
        set.set(Feature::CLWB, set.has(Feature::CLWB) && !self.has_slow_clwb());
        set.set(Feature::AVX, set.has(Feature::AVX) && !self.controls.hide_avx);
        set = set.with_requirements_met();
        // The register is the hypervisor's to make up.
        set.set(Feature::ARCH_CAPS, self.has_arch_capabilities);
        set
    }

    /// Skylake servers (Cascade and Cooper Lake too): the repair of their gathers has made CLWB slow.
    fn has_slow_clwb(&self) -> bool {
        let signature = self.data.basic[1].eax;
        self.data.vendor == Vendor::Intel && signature & 0x0fff_0ff0 == 0x0005_0650
    }

    /// The features of a PV policy.
    fn pv_features(&self, audience: Audience) -> FeatureSet {
        let (host, vendor, controls) = (&self.features, self.data.vendor, &self.controls);
        let visible = if audience == Audience::Max { features::pv_max() } else { features::pv_default() };
        let mut set = host.intersection(&visible);
        set.set(Feature::HYPERVISOR, true);
        // SYSENTER does not exist in 64-bit mode there, and PV kernels are 64-bit.
        set.set(Feature::SEP, set.has(Feature::SEP) && vendor != Vendor::Amd);
        if host.has(Feature::RTM_ALWAYS_ABORT) {
            set.set(Feature::RTM, false);
        }
        if audience == Audience::HardwareDomain {
            set.set(Feature::ITSC, host.has(Feature::ITSC));
        }
        let spec_ctrl = controls.spec_ctrl_for_pv && host.has(Feature::IBRSB);
        set.set(Feature::IBRSB, spec_ctrl);
        // Without hyper-threading STIBP does nothing; offering it always keeps guests able to move.
        set.set(Feature::STIBP, spec_ctrl);
        set.set(Feature::AVX, set.has(Feature::AVX) && !controls.hide_avx);
        let barrier = host.has(Feature::IBPB) || host.has(Feature::IBRSB);
        set.set(Feature::IBPB, barrier && controls.prediction_barrier);
        // A defect, not a feature: no guest need be spared it.
        set.set(Feature::RSBA, host.has(Feature::RSBA));
        if !host.has(Feature::ARCH_CAPS) || controls.arch_capabilities == 0 {
            set.set(Feature::ARCH_CAPS, false);
            set.0[16..18].fill(0);
        }
        match audience {
            Audience::Max => promise(&mut set, vendor),
            _ => set.set(Feature::CLWB, set.has(Feature::CLWB) && !self.has_slow_clwb()),
        }
        set.with_requirements_met()
    }
}

/// Bits that any guest can bear, whatever the host: they say what else there is in the pool of machines that it might
/// move in, or (topology) what the toolstack made up.
pub(crate) fn promise(set: &mut FeatureSet, vendor: Vendor) {
    const ANYWHERE: &[Feature] = &[Feature::HTT, Feature::CMP_LEGACY, Feature::X2APIC];
    const INTEL: &[Feature] = &[
        Feature::ARCH_CAPS,
        Feature::RSBA,
        Feature::RRSBA,
        Feature::MD_CLEAR,
        Feature::FB_CLEAR,
        Feature::RFDS_CLEAR,
    ];
    let more = match vendor {
        Vendor::Intel => INTEL,
        Vendor::Amd => &[Feature::VERW_CLEAR],
        Vendor::Other => &[],
    };
    ANYWHERE.iter().chain(more).for_each(|feature| set.set(*feature, true));
    if vendor == Vendor::Intel && set.has(Feature::RTM) {
        set.set(Feature::RTM_ALWAYS_ABORT, true);
    }
}

/// Leaf 8000000a as Xen says it of a host: what needs the hardware's help (nested paging, LBR, next RIP, decode assists,
/// pause filters) as far as it is there, and what never does (clean bits, TSC rate).
fn shown_svm(leaf: Leaf) -> Leaf {
    Leaf { edx: leaf.edx & 0x48b | 0x30, ..leaf }
}

impl Policy {
    /// The policy of a PV domain on a host whose CPUID answers as `host(leaf, subleaf)`.
    pub fn for_pv(host: &impl Fn(u32, u32) -> Leaf, audience: Audience, controls: &Controls) -> Self {
        Host::read(host, controls).policy(audience)
    }

    /// Leaves 2 and 4.
    fn take_intel_caches(&mut self, host: &impl Fn(u32, u32) -> Leaf, max: u32) {
        if max >= 2 {
            // One query says all.
            let leaf = host(2, 0);
            self.basic[2] = Leaf { eax: leaf.eax & !0xff | 1, ..leaf };
        }
        if max >= 4 {
            for (slot, subleaf) in self.caches.iter_mut().zip(0..) {
                *slot = host(4, subleaf);
            }
            self.settle_caches();
        }
    }

    fn take_state_components(&mut self, host: &impl Fn(u32, u32) -> Leaf, max: u32) {
        if max < 0xd || host(1, 0).ecx & Feature::XSAVE.mask() == 0 {
            return;
        }
        let offered = host(0xd, 0).eax;
        for (slot, bit) in self.state_components.iter_mut().zip(0..COMPONENTS as u32).skip(2) {
            if offered >> bit & 1 == 1 {
                let leaf = host(0xd, bit);
                // Components of XCR0 only: supervisor state (ECX bit 0) is not for PV guests.
                if leaf.ecx & 1 == 0 {
                    *slot = Leaf { ecx: leaf.ecx & 2, edx: 0, ..leaf };
                }
            }
        }
    }

    /// Drops features whose registers cannot be enabled: XSAVE without its leaf, instruction sets without their state.
    fn drop_unusable_state(&mut self) {
        if self.basic[0].eax < 0xd {
            self.features.set(Feature::XSAVE, false);
        }
        self.features = self.features.with_requirements_met();
        let enabled = extended_state::mask(&self.features, &self.state_components);
        for (feature, bit) in
            [(Feature::AVX, extended_state::AVX), (Feature::AVX512F, extended_state::AVX512)]
        {
            self.features.set(feature, self.features.has(feature) && enabled & bit != 0);
        }
        self.features = self.features.with_requirements_met();
    }

    fn take_extended(&mut self, host: &impl Fn(u32, u32) -> Leaf) {
        let top = host(EXTENDED, 0);
        let amd = self.vendor == Vendor::Amd;
        let limit = if amd { MAX_EXTENDED_LEAF } else { EXTENDED + 8 };
        let max = top.eax.min(limit);
        if !(EXTENDED..=limit).contains(&max) {
            return;
        }
        let nothing = Leaf::EMPTY;
        for (slot, number) in self.extended.iter_mut().zip(0..=max - EXTENDED) {
            let leaf = host(EXTENDED + number, 0);
            *slot = match number {
                0 => Leaf { eax: max, ..if amd { top } else { nothing } },
                1 if amd => Leaf { eax: leaf.eax & 0x0fff_0fff, ebx: leaf.ebx & 0xff00_ffff, ecx: 0, edx: 0 },
                // The brand string.
                2..=4 => leaf,
                // Caches and TLBs, hints.
                5 | 0x1a if amd => leaf,
                6 if amd => leaf,
                6 => Leaf { ecx: leaf.ecx, ..nothing },
                8 => Self::address_sizes(&leaf, amd),
                _ => nothing,
            };
        }
    }

    /// Leaf 80000008: physical width as the host's, linear width 48 (PV guests have four levels).
    fn address_sizes(leaf: &Leaf, amd: bool) -> Leaf {
        const CORES_AND_ID_SIZE: u32 = 0x0003_f0ff;
        let eax = leaf.eax & 0xff | 48 << 8;
        Leaf { eax, ecx: if amd { leaf.ecx & CORES_AND_ID_SIZE } else { 0 }, ..Leaf::EMPTY }
    }

    /// Caches up to the first that there is not, without reserved bits.
    pub(crate) fn settle_caches(&mut self) {
        const RESERVED: u32 = 0x3c00;
        let is_cache = |leaf: &Leaf| matches!(leaf.eax & 0x1f, 1..=3);
        let count = self.caches.iter().take_while(|leaf| is_cache(leaf)).count();
        for leaf in &mut self.caches[..count] {
            (leaf.eax, leaf.edx) = (leaf.eax & !RESERVED, leaf.edx & 7);
        }
        self.caches[count..].fill(Leaf::EMPTY);
    }
}
