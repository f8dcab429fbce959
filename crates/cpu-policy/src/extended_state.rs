//! XSAVE state: which components a PV guest may enable, and how large they are (leaf d).

use crate::cpuid::Leaf;
use crate::features::{Feature, FeatureSet};

/// Components 0 to 9 (x87, SSE, AVX, two of MPX, three of AVX-512, one not for XCR0, protection keys). No PV guest gets
/// MPX and protection keys.
pub(crate) const COMPONENTS: usize = 10;

const X87_SSE: u64 = 0b11;
pub(crate) const AVX: u64 = 1 << 2;
const MPX: u64 = 0b11 << 3;
const PKU: u64 = 1 << 9;
/// Opmask, upper halves of the low ZMM registers, high ZMM registers: useless without each other.
pub(crate) const AVX512: u64 = 0b111 << 5;

/// Bytes of the legacy area and the header, which every image has.
const HEADER_END: u32 = 512 + 64;

fn component_bits(components: &[Leaf; COMPONENTS]) -> u64 {
    components
        .iter()
        .zip(0..)
        .filter(|(leaf, _)| leaf.eax != 0)
        .fold(X87_SSE, |mask, (_, bit)| mask | 1 << bit)
}

/// XCR0 bits that the features allow and the host has.
pub(crate) fn mask(features: &FeatureSet, components: &[Leaf; COMPONENTS]) -> u64 {
    if !features.has(Feature::XSAVE) {
        return 0;
    }
    let host = component_bits(components);
    let avx = if features.has(Feature::AVX) { AVX & host } else { 0 };
    let avx512 = features.has(Feature::AVX512F) && avx != 0 && host & AVX512 == AVX512;
    let avx512 = if avx512 { AVX512 } else { 0 };
    let mpx = if features.has(Feature::MPX) { MPX & host } else { 0 };
    let pku = if features.has(Feature::PKU) { PKU & host } else { 0 };
    X87_SSE | avx | avx512 | mpx | pku
}

/// Whether a value of XCR0 has each component with those it needs.
pub(crate) fn is_consistent(xcr0: u64) -> bool {
    const SSE: u64 = 2;
    let all_or_none = |group: u64| xcr0 & group == 0 || xcr0 & group == group;
    xcr0 & 1 != 0
        && (xcr0 & AVX == 0 || xcr0 & SSE != 0)
        && (xcr0 & AVX512 == 0 || xcr0 & AVX != 0)
        && all_or_none(AVX512)
        && all_or_none(MPX)
}

fn enabled(components: &[Leaf; COMPONENTS], xcr0: u64) -> impl Iterator<Item = &Leaf> {
    let set = move |bit: u32| bit >= 2 && xcr0 >> bit & 1 == 1;
    components.iter().zip(0..).filter(move |&(_, bit)| set(bit)).map(|(leaf, _)| leaf)
}

/// Bytes that XSAVE writes with these components enabled.
pub(crate) fn plain_size(components: &[Leaf; COMPONENTS], xcr0: u64) -> u32 {
    let end = |leaf: &Leaf| leaf.eax.saturating_add(leaf.ebx);
    enabled(components, xcr0).map(end).fold(HEADER_END, u32::max)
}

/// Bytes that XSAVEC writes with these components enabled.
pub(crate) fn compacted_size(components: &[Leaf; COMPONENTS], xcr0: u64) -> u32 {
    enabled(components, xcr0).fold(HEADER_END, |end, leaf| {
        let start = if leaf.ecx & 2 == 0 { end } else { end.saturating_add(63) & !63 };
        start.saturating_add(leaf.eax)
    })
}

/// A subleaf of leaf d. EBX of the first two follows the vCPU's XCR0 and is left 0 here.
pub(crate) fn leaf(features: &FeatureSet, components: &[Leaf; COMPONENTS], subleaf: u32) -> Leaf {
    let allowed = mask(features, components);
    let size = plain_size(components, allowed);
    match subleaf {
        _ if allowed == 0 => Leaf::EMPTY,
        // The allowed bits all lie in the low half.
        0 => Leaf { eax: allowed as u32, ebx: 0, ecx: size, edx: 0 },
        1 => Leaf { eax: features.0[Feature::XSAVES.word()], ..Leaf::EMPTY },
        2..10 if allowed >> subleaf & 1 == 1 => components.get(subleaf as usize).copied().unwrap_or_default(),
        _ => Leaf::EMPTY,
    }
}
