//! Which features need which.

use super::Feature;

/// Features that make no sense, or cannot be managed, without the first one.
pub(super) const REQUIREMENTS: &[(Feature, &[Feature])] = &[
    (Feature::FPU, &[Feature::MMX, Feature::RSTR_FP_ERR_PTRS]),
    (Feature::APIC, &[Feature::X2APIC]),
    (Feature::MMX, &[Feature::MMXEXT, Feature::AMD_3DNOW]),
    (Feature::AMD_3DNOW, &[Feature::AMD_3DNOWEXT]),
    (Feature::FXSR, &[Feature::FFXSR, Feature::SSE]),
    (Feature::SSE, &[Feature::SSE2, Feature::MISALIGNSSE]),
    (
        Feature::SSE2,
        &[Feature::SSE3, Feature::LM, Feature::AESNI, Feature::PCLMULQDQ, Feature::SHA, Feature::GFNI],
    ),
    (Feature::SSE3, &[Feature::SSSE3, Feature::SSE4A]),
    (Feature::SSSE3, &[Feature::SSE4_1]),
    (Feature::SSE4_1, &[Feature::SSE4_2]),
    (Feature::PAE, &[Feature::LM, Feature::NX]),
    (Feature::LM, &[Feature::CX16, Feature::LAHF_LM]),
    (Feature::TSC, &[Feature::RDTSCP, Feature::ITSC]),
    (Feature::PCLMULQDQ, &[Feature::VPCLMULQDQ]),
    (Feature::AESNI, &[Feature::VAES]),
    (
        Feature::XSAVE,
        &[Feature::XSAVEOPT, Feature::XSAVEC, Feature::XGETBV1, Feature::XSAVES, Feature::AVX, Feature::MPX],
    ),
    (Feature::XSAVE, &[Feature::PKU]),
    (Feature::XSAVEC, &[Feature::XSAVES]),
    (Feature::AVX, &[Feature::FMA, Feature::FMA4, Feature::XOP, Feature::F16C, Feature::AVX2]),
    (Feature::AVX2, &[Feature::AVX512F, Feature::VAES, Feature::VPCLMULQDQ, Feature::AVX_VNNI]),
    (
        Feature::AVX512F,
        &[
            Feature::AVX512DQ,
            Feature::AVX512_IFMA,
            Feature::AVX512PF,
            Feature::AVX512ER,
            Feature::AVX512CD,
            Feature::AVX512BW,
            Feature::AVX512VL,
            Feature::AVX512_VNNI,
            Feature::AVX512_VPOPCNTDQ,
            Feature::AVX512_4VNNIW,
            Feature::AVX512_4FMAPS,
            Feature::AVX512_VP2INTERSECT,
        ],
    ),
    (
        Feature::AVX512BW,
        &[Feature::AVX512_VBMI, Feature::AVX512_VBMI2, Feature::AVX512_BITALG, Feature::AVX512_BF16],
    ),
    (Feature::RTM, &[Feature::TSXLDTRK]),
    (Feature::EIBRS, &[Feature::RRSBA]),
    (Feature::IBRSB, &[Feature::STIBP, Feature::SSBD, Feature::INTEL_PSFD, Feature::EIBRS]),
    (Feature::IBPB, &[Feature::IBPB_RET, Feature::SBPB, Feature::IBPB_BRTYPE]),
];
