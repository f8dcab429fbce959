//! From the host's CPUID to a policy.

use crate::cpuid::{EXTENDED, HardwareDomainView, Leaf, MAX_BASIC_LEAF, MAX_EXTENDED_LEAF, Policy, Vendor};
use crate::extended_state::{self, COMPONENTS};
use crate::features::{self, FEATURE_LEAVES, Feature, FeatureSet};

/// Whom a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The most that the toolstack may give a PV guest (`pv_max`).
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
    let [c0, c1, c2, c3, c4, c5, c6, c7] = controls.arch_capabilities.to_le_bytes();
    set.0[16] = u32::from_le_bytes([c0, c1, c2, c3]);
    set.0[17] = u32::from_le_bytes([c4, c5, c6, c7]);
    set.set(Feature::ARCH_CAPS, set.has(Feature::ARCH_CAPS) || controls.arch_capabilities != 0);
    if !set.has(Feature::XSAVE) {
        set.0[4] = 0;
    }
    set
}

/// The features of a PV policy on this host.
fn pv_features(host: &FeatureSet, vendor: Vendor, audience: Audience, controls: &Controls) -> FeatureSet {
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
    set.with_requirements_met()
}

impl Policy {
    /// The policy of a PV domain on a host whose CPUID answers as `host(leaf, subleaf)`.
    pub fn for_pv(host: &impl Fn(u32, u32) -> Leaf, audience: Audience, controls: &Controls) -> Self {
        let leaf0 = host(0, 0);
        let vendor = Vendor::of(&leaf0);
        let host_set = host_features(host, controls);
        let mut policy = Self {
            vendor,
            features: pv_features(&host_set, vendor, audience, controls),
            cpuid_faulting: controls.cpuid_faulting,
            ..Self::empty()
        };
        policy.basic[0] = Leaf { eax: leaf0.eax.min(MAX_BASIC_LEAF), ..leaf0 };
        // The APIC ID in EBX[31:24] is 0 for PV; the feature registers are kept apart.
        let leaf1 = host(1, 0);
        policy.basic[1] = Leaf { eax: leaf1.eax, ebx: leaf1.ebx & 0x00ff_ffff, ecx: 0, edx: 0 };
        if leaf0.eax >= 7 {
            policy.max_feature_subleaf = host(7, 0).eax.min(2);
        }
        if vendor == Vendor::Intel {
            policy.take_intel_caches(host, leaf0.eax);
        }
        policy.take_state_components(host, leaf0.eax);
        policy.take_extended(host);
        if audience == Audience::HardwareDomain {
            policy.hardware_domain = HardwareDomainView {
                mtrr: host_set.has(Feature::MTRR),
                eist: host_set.has(Feature::EIST),
                monitor: host_set.has(Feature::MONITOR),
                monitor_leaf: if leaf0.eax >= 5 { host(5, 0) } else { Leaf::EMPTY },
            };
        }
        policy
    }

    /// Leaves 2 and 4; the counts of threads and cores that share a cache describe the host's topology,
    /// which is not the guest's.
    fn take_intel_caches(&mut self, host: &impl Fn(u32, u32) -> Leaf, max: u32) {
        const CACHE_TYPE: u32 = 0x1f;
        const SHARING: u32 = 0xffff_c000;
        if max >= 2 {
            self.basic[2] = host(2, 0);
        }
        if max >= 4 {
            for (slot, subleaf) in self.caches.iter_mut().zip(0..) {
                let leaf = host(4, subleaf);
                if leaf.eax & CACHE_TYPE == 0 {
                    break;
                }
                *slot = Leaf { eax: leaf.eax & !SHARING, ..leaf };
            }
        }
    }

    fn take_state_components(&mut self, host: &impl Fn(u32, u32) -> Leaf, max: u32) {
        if max < 0xd || !self.has(Feature::XSAVE) {
            self.features.set(Feature::XSAVE, false);
            self.features = self.features.with_requirements_met();
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
        // An instruction set whose registers cannot be enabled is none.
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
                1 if amd => Leaf { ecx: 0, edx: 0, ..leaf },
                // The brand string.
                2..=4 => leaf,
                // Caches and TLBs.
                5 | 0x19 | 0x1a if amd => leaf,
                6 if amd => leaf,
                6 => Leaf { ecx: leaf.ecx, ..nothing },
                8 => Self::address_sizes(&leaf, amd),
                _ => nothing,
            };
        }
    }

    /// Leaf 80000008: physical width as the host's, linear width 48 (PV guests have four levels).
    fn address_sizes(leaf: &Leaf, amd: bool) -> Leaf {
        const CORES_AND_ID_SIZE: u32 = 0xf0ff;
        let eax = leaf.eax & 0xff | 48 << 8;
        Leaf { eax, ecx: if amd { leaf.ecx & CORES_AND_ID_SIZE } else { 0 }, ..Leaf::EMPTY }
    }
}
