//! Policies of known and of random hosts.

use std::prelude::rust_2024::*;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::features::WORDS;
use crate::listing::MOST_LEAVES;
use crate::test_host::{self, EPYC_CONTROLS, WIDE_CONTROLS};
use crate::xen_leaves::VERSION_4_17;
use crate::{Audience, Controls};

const QUIET: Dynamic =
    Dynamic { via: Via::Faulting, guest_kernel: false, guest_cr4: 0, hypervisor_osxsave: true, xcr0: 7 };

const FORCED: Dynamic = Dynamic { via: Via::ForcedEmulation, guest_kernel: true, ..QUIET };

fn xen() -> XenLeaves {
    XenLeaves {
        version: VERSION_4_17,
        machine_address_bits: 40,
        ns_shift: -1,
        tsc_offset_ns: 1 << 32,
        ..XenLeaves::default()
    }
}

#[test]
fn the_measured_words_of_the_epyc() {
    let policy = test_host::epyc_policy();
    let shown = |number, subleaf| policy.query(number, subleaf, &QUIET, &xen());
    assert_eq!(shown(1, 0).ecx, 0xf6d8_3203);
    assert_eq!(shown(1, 0).edx, 0x1789_c3f5);
    assert_eq!(shown(1, 0).ebx >> 24, 0);
    assert_eq!(shown(7, 0).ebx, 0x0088_0129);
    assert_eq!(shown(7, 0).ecx, 0);
    assert_eq!(shown(0x8000_0001, 0).ecx, 0x63);
    assert_eq!(policy.features().0[2], 0x2850_0800);
    // AMD repeats 1.EDX there, as far as the guest has it.
    assert_eq!(shown(0x8000_0001, 0).edx, 0x2850_0800 | 0x1789_c3f5 & COMMON_EDX);
    assert_eq!(shown(0xd, 0), Leaf { eax: 7, ebx: 0x340, ecx: 0x340, edx: 0 });
    assert_eq!(policy.leaf(0xd, 0).ebx, 0);
    assert_eq!(shown(0xd, 1), Leaf { eax: 5, ..Leaf::EMPTY });
    assert_eq!(shown(0xd, 2), Leaf { eax: 0x100, ebx: 0x240, ecx: 0, edx: 0 });
    for hidden in [Feature::SVM, Feature::PSE, Feature::SEP, Feature::SMEP, Feature::UMIP, Feature::PAGE1GB] {
        assert!(!policy.has(hidden));
    }
    for kept in [Feature::SYSCALL, Feature::NX, Feature::LM, Feature::HYPERVISOR, Feature::IBPB] {
        assert!(policy.has(kept));
    }
    assert_eq!(shown(2, 0), Leaf::EMPTY);
    assert_eq!(shown(6, 0), Leaf::EMPTY);
    assert_eq!(shown(0x8000_000a, 0), Leaf::EMPTY);
    assert_eq!(shown(0x8000_0007, 0), Leaf::EMPTY);
    assert_eq!(shown(0x8000_0008, 0), Leaf { eax: 0x3028, ebx: 0x1000, ecx: 0x2001, edx: 0 });
    assert_eq!(shown(0x8000_0005, 0), test_host::epyc(0x8000_0005, 0));
    assert_eq!(shown(0x8000_0022, 0), Leaf::EMPTY);
    assert_eq!(shown(0xe, 0), Leaf::EMPTY);
}

#[test]
fn osxsave_by_path() {
    let policy = test_host::epyc_policy();
    let osxsave = |dynamic| policy.query(1, 0, &dynamic, &xen()).ecx & Feature::OSXSAVE.mask() != 0;
    assert!(osxsave(FORCED));
    assert!(!osxsave(Dynamic { guest_kernel: false, ..FORCED }));
    assert!(!osxsave(Dynamic { hypervisor_osxsave: false, ..FORCED }));
    assert!(!osxsave(Dynamic { guest_kernel: true, ..QUIET }));
    assert!(osxsave(Dynamic { guest_cr4: 1 << 18, ..QUIET }));
    let mut features = *policy.features();
    features.set(Feature::XSAVE, false);
    let without = policy.with_features(&features, &policy);
    assert_eq!(without.query(1, 0, &FORCED, &xen()).ecx & Feature::OSXSAVE.mask(), 0);
    assert_eq!(without.leaf(0xd, 0), Leaf::EMPTY);
    assert!(!without.has(Feature::AVX));
}

#[test]
fn sizes_follow_xcr0() {
    let policy = test_host::wide_policy();
    let shown = |subleaf, xcr0| policy.query(0xd, subleaf, &Dynamic { xcr0, ..QUIET }, &xen());
    assert_eq!(shown(0, 3), Leaf { eax: 0xe7, ebx: 0x240, ecx: 0xa80, edx: 0 });
    assert_eq!(shown(0, 7).ebx, 0x340);
    assert_eq!(shown(0, 0xe7).ebx, 0xa80);
    assert_eq!(shown(1, 0xe7), Leaf { eax: 7, ebx: 0x240 + 0x100 + 0x40 + 0x200 + 0x400, ecx: 0, edx: 0 });
    assert_eq!(shown(3, 7), Leaf::EMPTY);
    assert_eq!(shown(9, 7), Leaf::EMPTY);
    assert_eq!(shown(u32::MAX, u64::MAX), Leaf::EMPTY);
}

#[test]
fn an_intel_host_with_everything() {
    let policy = test_host::wide_policy();
    assert_eq!(policy.leaf(0, 0).eax, 0xd);
    assert_eq!(policy.leaf(4, 0).eax, 0x7c00_4121);
    assert_eq!(policy.leaf(4, 4), Leaf::EMPTY);
    assert_eq!(policy.leaf(5, 0), Leaf::EMPTY);
    assert_eq!(policy.leaf(0x14, 0), Leaf::EMPTY);
    assert_eq!(policy.leaf(0x8000_0006, 0), Leaf { ecx: 0x0100_6040, ..Leaf::EMPTY });
    assert_eq!(policy.leaf(0x8000_0008, 0).eax, 0x302e);
    assert!(policy.has(Feature::SEP) && policy.has(Feature::STIBP) && !policy.has(Feature::PKU));
    assert!(!policy.has(Feature::ITSC));
    assert_eq!(policy.arch_capabilities(), 0x2b & !(1 << 3));
    // Without SPEC_CTRL switching nothing that needs it is offered.
    let controls = Controls { spec_ctrl_for_pv: false, ..WIDE_CONTROLS };
    let policy = Policy::for_pv(&test_host::wide, Audience::Default, &controls);
    assert!(![Feature::IBRSB, Feature::STIBP, Feature::SSBD].into_iter().any(|feature| policy.has(feature)));
}

#[test]
fn what_leaks_to_the_hardware_domain() {
    let policy = Policy::for_pv(&test_host::wide, Audience::HardwareDomain, &WIDE_CONTROLS);
    assert!(policy.has(Feature::ITSC));
    let ecx = |dynamic| policy.query(1, 0, &dynamic, &xen()).ecx;
    let native = Dynamic { guest_kernel: true, ..QUIET };
    assert_eq!(ecx(FORCED) & (Feature::EIST.mask() | Feature::MONITOR.mask()), Feature::EIST.mask());
    assert_ne!(ecx(native) & Feature::MONITOR.mask(), 0);
    assert_eq!(ecx(QUIET) & (Feature::EIST.mask() | Feature::MONITOR.mask()), 0);
    assert_ne!(policy.query(1, 0, &FORCED, &xen()).edx & Feature::MTRR.mask(), 0);
    assert_eq!(policy.query(5, 0, &native, &xen()), test_host::wide(5, 0));
    assert_eq!(policy.query(5, 0, &FORCED, &xen()), Leaf::EMPTY);
}

#[test]
fn the_hypervisor_s_own_leaves() {
    let policy = test_host::epyc_policy();
    let shown = |number: u32, subleaf| policy.query(0x4000_0000 + number, subleaf, &FORCED, &xen());
    assert_eq!(shown(0, 0), Leaf { eax: 0x4000_0005, ebx: 0x566e_6558, ecx: 0x6558_4d4d, edx: 0x4d4d_566e });
    assert_eq!(shown(1, 0).eax, 0x0004_0011);
    assert_eq!(shown(2, 0), Leaf { eax: 1, ebx: 0x4000_0000, ecx: 1, edx: 0 });
    assert_eq!(shown(3, 1), Leaf { eax: 0, ebx: 1, ecx: 0, edx: u32::MAX });
    assert_eq!(shown(4, 0), Leaf::EMPTY);
    assert_eq!(shown(5, 0).ebx, 40);
    assert_eq!(shown(0x100, 0), Leaf::EMPTY);
}

#[test]
fn leaves_are_listed_in_order_and_once() {
    for policy in [test_host::epyc_policy(), test_host::wide_policy()] {
        let mut listed = Vec::new();
        let all: Result<(), ()> = policy.each_leaf(|leaf, subleaf, value| {
            let asked = if subleaf == NO_SUBLEAF { 0 } else { subleaf };
            assert_eq!(value, policy.leaf(leaf, asked));
            listed.push((leaf, subleaf));
            Ok(())
        });
        assert_eq!(all, Ok(()));
        assert!(listed.is_sorted() && listed.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(listed.len() <= MOST_LEAVES as usize);
        for always in
            [(4, 0), (0xb, 0), (0xd, 0), (0xd, 1), (0x4000_0000, NO_SUBLEAF), (0x4000_0100, NO_SUBLEAF)]
        {
            assert!(listed.contains(&always), "{always:x?}");
        }
    }
}

#[test]
fn a_list_ends_where_its_reader_wants() {
    let mut left = 5;
    let ended = test_host::epyc_policy().each_leaf(|leaf, _, _| {
        left -= 1;
        if left == 0 { Err(leaf) } else { Ok(()) }
    });
    assert_eq!((ended, left), (Err(4), 0));
}

/// A host that answers at random, but the same each time, with plausible limits.
fn random_host(seed: u64, amd: bool) -> impl Fn(u32, u32) -> Leaf {
    move |number, subleaf| {
        let mut state = seed ^ u64::from(number) << 32 ^ u64::from(subleaf);
        let mut next = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 32) as u32
        };
        let known = if amd { test_host::epyc(0, 0) } else { test_host::wide(0, 0) };
        let leaf = Leaf { eax: next(), ebx: next(), ecx: next(), edx: next() };
        match number {
            0 => Leaf { eax: leaf.eax % 0x20, ..known },
            0x8000_0000 if !seed.is_multiple_of(5) => Leaf { eax: 0x8000_0000 | (leaf.eax % 0x40), ..leaf },
            _ => leaf,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_policy_is_a_subset_of_its_host(seed: u64, amd: bool, spec: bool, barrier: bool, arch: u64) {
        let host = random_host(seed, amd);
        let controls = Controls { spec_ctrl_for_pv: spec, prediction_barrier: barrier, arch_capabilities: arch, ..EPYC_CONTROLS };
        let mut real = crate::host::host_features(&host, &controls);
        // Made up by the hypervisor, which carries them out.
        for (feature, granted) in [(Feature::HYPERVISOR, true), (Feature::STIBP, spec), (Feature::IBPB, barrier)] {
            real.set(feature, real.has(feature) || granted);
        }
        let [max, default, hardware] = [Audience::Max, Audience::Default, Audience::HardwareDomain]
            .map(|audience| Policy::for_pv(&host, audience, &controls));
        prop_assert!(default.features().is_subset(&real));
        let mut promised = real;
        crate::host::promise(&mut promised, max.vendor());
        prop_assert!(max.features().is_subset(&promised));
        prop_assert!(default.features().is_subset(max.features()));
        prop_assert!(default.features().is_subset(hardware.features()));
        prop_assert_eq!(default.features().with_requirements_met(), *default.features());
        prop_assert_eq!(default.with_features(default.features(), &max), default);
        prop_assert_eq!(default.has(Feature::AVX), default.xcr0_mask() & 4 != 0);
        prop_assert_eq!(default.has(Feature::AVX512F), default.xcr0_mask() & 0xe0 != 0);
        prop_assert_eq!(default.xcr0_mask() & !u64::from(host(0xd, 0).eax) & !3, 0);
    }

    #[test]
    fn every_query_has_an_answer(
        seed: u64, amd: bool, leaf in prop_oneof![any::<u32>(), 0..32u32, 0x8000_0000..0x8000_0040u32, 0x4000_0000..0x4000_0010u32],
        subleaf in prop_oneof![any::<u32>(), 0..70u32], xcr0: u64, cr4: u64, words: [u32; WORDS],
    ) {
        let policy = Policy::for_pv(&random_host(seed, amd), Audience::HardwareDomain, &WIDE_CONTROLS);
        let policy = policy.with_features(&FeatureSet(words), &policy);
        policy.query(leaf, subleaf, &Dynamic { xcr0, guest_cr4: cr4, ..FORCED }, &xen());
        let mut count = 0;
        let all: Result<(), ()> = policy.each_leaf(|_, _, _| { count += 1; Ok(()) });
        prop_assert!(all.is_ok() && count <= MOST_LEAVES);
    }
}

#[test]
fn avx_can_be_taken_away_with_all_that_needs_it() {
    let controls = Controls { hide_avx: true, ..WIDE_CONTROLS };
    let policy = Policy::for_pv(&test_host::wide, Audience::HardwareDomain, &controls);
    for feature in [Feature::AVX, Feature::AVX2, Feature::FMA, Feature::AVX512F] {
        assert!(!policy.has(feature), "{feature:?}");
    }
    assert!(policy.has(Feature::SSE4_2));
}
