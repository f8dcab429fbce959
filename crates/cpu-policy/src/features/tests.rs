//! The table against the public header, and the closure of requirements.

use std::prelude::rust_2024::*;

use proptest::prelude::*;

use super::*;

/// Visibility masks as the header's comments state them.
fn masks_of(header: &str) -> (FeatureSet, FeatureSet) {
    let (mut default, mut max) = (FeatureSet::default(), FeatureSet::default());
    for line in header.lines().filter_map(|line| line.strip_prefix("XEN_CPUFEATURE(")) {
        let (_, rest) = line.split_once(',').expect("name, value");
        let (value, comment) = rest.split_once(')').expect("value)");
        let (word, bit) = value.split_once("*32+").expect("word*32+bit");
        let index: usize =
            word.trim().parse::<usize>().expect("word") * 32 + bit.trim().parse::<usize>().expect("bit");
        let attributes = comment.trim_start().strip_prefix("/*").expect("comment");
        let attributes = attributes.split(' ').next().unwrap_or("");
        let bit = 1 << (index % 32);
        if attributes.contains('A') {
            default.0[index / 32] |= bit;
        }
        if attributes.contains(['A', 'a']) {
            max.0[index / 32] |= bit;
        }
    }
    (default, max)
}

#[test]
fn the_table_is_the_header_s() {
    // Debian's libxen-dev; a machine without it has nothing to compare with.
    if let Ok(header) = std::fs::read_to_string("/usr/include/xen/arch-x86/cpufeatureset.h") {
        let (default, max) = masks_of(&header);
        assert_eq!(pv_default(), default);
        assert_eq!(pv_max(), max);
    }
}

#[test]
fn avx_falls_with_xsave() {
    let mut set = pv_max();
    set.set(Feature::XSAVE, false);
    let set = set.with_requirements_met();
    for gone in [Feature::AVX, Feature::AVX2, Feature::AVX512F, Feature::AVX512_BF16, Feature::XGETBV1] {
        assert!(!set.has(gone));
    }
    assert!(set.has(Feature::SSE4_2) && set.has(Feature::BMI2));
}

proptest! {
    #[test]
    fn requirements_only_remove_and_settle(words in any::<[u32; WORDS]>()) {
        let set = FeatureSet(words);
        let met = set.with_requirements_met();
        prop_assert!(met.is_subset(&set));
        prop_assert_eq!(met.with_requirements_met(), met);
        prop_assert_eq!(met.intersection(&met), met);
    }
}
