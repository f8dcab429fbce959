//! Registers of two policies, one for each vendor.

use std::prelude::rust_2024::*;

use proptest::prelude::*;

use super::*;
use crate::test_host;

const REAL_EFER: u64 = 0x1d01;

fn with<T>(policy: &Policy, ask: impl Fn(&MsrContext<'_>) -> T) -> T {
    ask(&MsrContext {
        policy,
        hardware_domain: true,
        boot_vcpu: true,
        efer: REAL_EFER,
        misc_enable: Some(0x85_0089),
    })
}

#[test]
fn amd_reads() {
    let policy = test_host::epyc_policy();
    for (index, expected) in [
        (0xc000_0100, MsrRead::Context(Stored::FsBase)),
        (0xc000_0101, MsrRead::Context(Stored::GsBase)),
        (0xc000_0102, MsrRead::Context(Stored::UserGsBase)),
        (0xc000_0103, MsrRead::Context(Stored::TscAux)),
        (0xc000_0080, MsrRead::Value(0xd01)),
        (0x10, MsrRead::TimeStampCounter),
        (0x1b, MsrRead::Value(0xfee0_0900)),
        (0x8b, MsrRead::Hardware),
        (0x277, MsrRead::Value(0x0000_0501_0007_0406)),
        (0x179, MsrRead::Value(2)),
        (0x17a, MsrRead::Value(0)),
        (0x400, MsrRead::Value(u64::MAX)),
        (0x405, MsrRead::Value(0)),
        (0xc001_0004, MsrRead::Value(0)),
        (0xc001_1029, MsrRead::Value(2)),
        (0xc001_0015, MsrRead::Value(0)),
        (0x4000_0000, MsrRead::Value(0)),
        (0x48, MsrRead::Fault),
        (0x49, MsrRead::Fault),
        (0x10a, MsrRead::Fault),
        (0x10b, MsrRead::Fault),
        (0x1a0, MsrRead::Value(0x81_1809)),
        (0x408, MsrRead::Value(0)),
        (0x345, MsrRead::Value(0)),
        (0x198, MsrRead::Fault),
        (0xcd, MsrRead::Fault),
        (0x3a, MsrRead::Fault),
        (0xc001_0061, MsrRead::Value(0)),
        (0xc001_0111, MsrRead::Fault),
        (0xc001_0112, MsrRead::Value(0)),
        (0xc001_020b, MsrRead::Value(0)),
        (0xc000_0081, MsrRead::Fault),
        (0x174, MsrRead::Fault),
        (0x830, MsrRead::Fault),
        (0xc001_1020, MsrRead::Fault),
        (0xc001_1028, MsrRead::Fault),
        (0xfe, MsrRead::Fault),
    ] {
        assert_eq!(with(&policy, |context| read(index, context)), expected, "{index:#x}");
    }
}

#[test]
fn amd_writes() {
    let policy = test_host::epyc_policy();
    for (index, value, expected) in [
        (0xc000_0101, 0xffff_ffff_8300_0000, MsrWrite::Set(Stored::GsBase, 0xffff_ffff_8300_0000)),
        (0xc000_0101, 1 << 47, MsrWrite::Fault),
        (0xc000_0103, 1, MsrWrite::Set(Stored::TscAux, 1)),
        (0xc000_0103, 1 << 32, MsrWrite::Fault),
        (0xc000_0080, 0xd01, MsrWrite::Ignore),
        (0xc000_0080, REAL_EFER, MsrWrite::Fault),
        (0x1b, 0xfee0_0900, MsrWrite::Fault),
        (0x277, PAT_VALUE, MsrWrite::Fault),
        (0x8b, 0, MsrWrite::Fault),
        (0x400, 5, MsrWrite::Ignore),
        (0x401, 0, MsrWrite::Ignore),
        (0x401, 1, MsrWrite::Fault),
        (0x49, 1, MsrWrite::PredictionBarrier),
        (0x49, 0, MsrWrite::Ignore),
        (0x49, 2, MsrWrite::Fault),
        (0x48, 0, MsrWrite::Fault),
        (0x4000_0000, 0x1234_5000, MsrWrite::HypercallPage(0x12345)),
        (0x4000_0000, 0x1234_5001, MsrWrite::Fault),
        (0xc001_001f, 7, MsrWrite::Ignore),
        (0xc001_0015, 7, MsrWrite::Ignore),
        (0xc001_0062, 7, MsrWrite::Ignore),
        (0xc001_0200, 7, MsrWrite::Ignore),
        (0xc001_001a, 7, MsrWrite::Fault),
        (0x199, 7, MsrWrite::Fault),
        (0xc000_0082, 7, MsrWrite::Fault),
    ] {
        assert_eq!(with(&policy, |context| write(index, value, context)), expected, "{index:#x}");
    }
}

#[test]
fn an_ordinary_domain_is_not_told_where_memory_is() {
    let policy = test_host::epyc_policy();
    let context = MsrContext {
        policy: &policy,
        hardware_domain: false,
        boot_vcpu: true,
        efer: REAL_EFER,
        misc_enable: Some(0),
    };
    for index in [0xc001_0010, 0xc001_0016, 0xc001_001a, 0xc001_001d, 0xc001_0112] {
        assert_eq!(read(index, &context), MsrRead::Fault, "{index:#x}");
    }
    for index in [0xc001_0015, 0xc001_0061, 0xc001_0004, 0xc001_001f] {
        assert_eq!(read(index, &context), MsrRead::Value(0), "{index:#x}");
    }
}

#[test]
fn intel_differs() {
    let policy = test_host::wide_policy();
    let seen = |index| with(&policy, |context| read(index, context));
    assert_eq!(seen(0x48), MsrRead::Context(Stored::SpecCtrl));
    assert_eq!(seen(0x1a0), MsrRead::Value(0x81_1809));
    assert_eq!(seen(0x179), MsrRead::Value(0x0100_0c02));
    for index in [0x198, 0x19c, 0xc1, 0x189, 0x30b, 0x38f, 0xc001_001f] {
        assert_eq!(seen(index), MsrRead::Value(0), "{index:#x}");
    }
    assert_eq!(seen(0x3a), MsrRead::Value(1));
    assert_eq!(seen(0xce), MsrRead::Value(1 << 31));
    assert_eq!(seen(0x10a), MsrRead::Value(policy.arch_capabilities()));
    assert_eq!(seen(0xc001_1029), MsrRead::Fault);
    let set = |index, value| with(&policy, |context| write(index, value, context));
    assert_eq!(set(0x48, 7), MsrWrite::Set(Stored::SpecCtrl, 7));
    assert_eq!(set(0x48, 8), MsrWrite::Fault);
    assert_eq!(set(0x8b, 0), MsrWrite::Ignore);
    assert_eq!(set(0x140, 1), MsrWrite::Set(Stored::MiscFeaturesEnables, 1));
    assert_eq!(set(0x1a0, 0x81_1809), MsrWrite::Ignore);
    assert_eq!(set(0x1a0, 0), MsrWrite::Ignore);
    assert_eq!(
        (set(0xc1, 5), set(0x199, 5), set(0xe8, 0)),
        (MsrWrite::Ignore, MsrWrite::Ignore, MsrWrite::Ignore)
    );
    assert_eq!((set(0x198, 0), set(0x19c, 0)), (MsrWrite::Fault, MsrWrite::Fault));
}

proptest! {
    #[test]
    fn bases_are_canonical(index in prop_oneof![any::<u32>(), 0xc000_0080..0xc000_0110u32], value: u64) {
        let policy = test_host::epyc_policy();
        with(&policy, |context| read(index, context));
        if let MsrWrite::Set(Stored::FsBase | Stored::GsBase | Stored::UserGsBase, base) =
            with(&policy, |context| write(index, value, context))
        {
            prop_assert!(is_canonical(base));
        }
    }
}
