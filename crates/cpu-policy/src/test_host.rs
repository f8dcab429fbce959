//! Two hosts to compute policies from: the EPYC model on which Xen's own policy was measured, and an Intel
//! server with AVX-512.

use crate::{Audience, Controls, Leaf, Policy};

const fn leaf(eax: u32, ebx: u32, ecx: u32, edx: u32) -> Leaf {
    Leaf { eax, ebx, ecx, edx }
}

/// QEMU's EPYC under TCG with two CPUs: features, not every cache leaf.
pub(crate) fn epyc(number: u32, subleaf: u32) -> Leaf {
    match (number, subleaf) {
        (0, _) => leaf(0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65),
        (1, _) => leaf(0x0080_0f12, 0x0102_0800, 0xfed8_3203, 0x178b_fbff),
        (2, _) => leaf(1, 2, 3, 4),
        (6, _) => leaf(4, 0, 0, 0),
        (7, 0) => leaf(0, 0x0088_01a9, 0x4, 0),
        (0xd, 0) => leaf(7, 0x340, 0x340, 0),
        (0xd, 1) => leaf(5, 0x340, 0, 0),
        (0xd, 2) => leaf(0x100, 0x240, 0, 0),
        (0x8000_0000, _) => leaf(0x8000_0021, 0x6874_7541, 0x444d_4163, 0x6974_6e65),
        (0x8000_0001, _) => leaf(0x0080_0f12, 0, 0x77, 0x2dd3_fbff),
        (0x8000_0002..=0x8000_0004, _) => leaf(0x2044_4d41, 0x4359_5045, 0, number),
        (0x8000_0005, _) => leaf(0x01ff_01ff, 0x01ff_01ff, 0x4002_0140, 0x4002_0140),
        (0x8000_0007, _) => leaf(9, 9, 9, 0x100),
        (0x8000_0008, _) => leaf(0x0000_3028, 0x1000, 0x2001, 7),
        (0x8000_000a, _) => leaf(1, 0x10, 0, 1),
        _ => Leaf::EMPTY,
    }
}

/// An Intel host with every feature bit set, and the state components of AVX-512, MPX and PKU.
pub(crate) fn wide(number: u32, subleaf: u32) -> Leaf {
    const ALL: u32 = u32::MAX;
    match (number, subleaf) {
        (0, _) => leaf(0x1f, 0x756e_6547, 0x6c65_746e, 0x4965_6e69),
        (1, _) => leaf(0x000a_0671, 0x0102_0800, ALL, ALL),
        (2, _) => leaf(0x00fe_ff01, 0xf0, 0, 0),
        (4, 0..4) => leaf(0x7c00_4121, 0x02c0_003f, 0x3f, 0),
        (5, _) => leaf(0x40, 0x40, 3, 0x20),
        (7, 0) => leaf(2, ALL, ALL, ALL & !(1 << 11)),
        (7, 1..=2) => leaf(ALL, ALL, ALL, ALL),
        (0xd, 0) => leaf(0x2ff, 0xa88, 0xa88, 0),
        (0xd, 1) => leaf(0xf, 0x988, 0x1900, 0),
        (0xd, 2) => leaf(0x100, 0x240, 0, 0),
        (0xd, 3) => leaf(0x40, 0x3c0, 0, 0),
        (0xd, 4) => leaf(0x40, 0x400, 0, 0),
        (0xd, 5) => leaf(0x40, 0x440, 0, 0),
        (0xd, 6) => leaf(0x200, 0x480, 0, 0),
        (0xd, 7) => leaf(0x400, 0x680, 0, 0),
        (0xd, 9) => leaf(0x8, 0xa80, 0, 0),
        (0xb | 0x1f, _) => leaf(1, 2, 0x100, 3),
        (0x14, _) => leaf(1, 0xf, 7, 0),
        (0x8000_0000, _) => leaf(0x8000_0008, 0, 0, 0),
        (0x8000_0001, _) => leaf(7, 7, ALL, ALL),
        (0x8000_0006, _) => leaf(1, 2, 0x0100_6040, 4),
        (0x8000_0007, _) => leaf(0, 0, 0, 0x100),
        (0x8000_0008, _) => leaf(0x392e, 0, 0, 0),
        _ => Leaf::EMPTY,
    }
}

pub(crate) const EPYC_CONTROLS: Controls = Controls {
    hide_avx: false,
    spec_ctrl_for_pv: false,
    prediction_barrier: true,
    cpuid_faulting: false,
    arch_capabilities: 0,
};

pub(crate) const WIDE_CONTROLS: Controls = Controls {
    hide_avx: false,
    spec_ctrl_for_pv: true,
    prediction_barrier: true,
    cpuid_faulting: true,
    arch_capabilities: 0x2b,
};

pub(crate) fn epyc_policy() -> Policy {
    Policy::for_pv(&epyc, Audience::Default, &EPYC_CONTROLS)
}

pub(crate) fn wide_policy() -> Policy {
    Policy::for_pv(&wide, Audience::Default, &WIDE_CONTROLS)
}
