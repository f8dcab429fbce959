//! Control, extended control and debug registers of a PV guest.
//!
//! Bit names and reserved bits: AMD64 manual volume 2, sections 3.1, 11.5.2 and 13.1.

use crate::cpuid::Policy;
use crate::features::Feature;
use crate::{GeneralProtection, extended_state};

/// CR0.TS, the only bit of CR0 that a PV guest can change.
pub const CR0_TS: u64 = 1 << 3;
/// CR4.TSD: RDTSC faults outside the kernel.
pub const CR4_TSD: u64 = 1 << 2;
/// CR4.DE: I/O breakpoints; DR4 and DR5 no longer alias.
pub const CR4_DE: u64 = 1 << 3;
/// CR4.FSGSBASE.
pub const CR4_FSGSBASE: u64 = 1 << 16;
/// CR4.OSXSAVE.
pub const CR4_OSXSAVE: u64 = 1 << 18;
/// Bits of CR4 that are a PV guest's own.
pub const CR4_GUEST: u64 = CR4_TSD | CR4_DE | CR4_FSGSBASE | CR4_OSXSAVE;

/// First address that belongs to the hypervisor (slot 256 of a guest's top page table).
pub const HYPERVISOR_START: u64 = 0xffff_8000_0000_0000;
/// Last address that belongs to the hypervisor (slot 271).
pub const HYPERVISOR_END: u64 = 0xffff_87ff_ffff_ffff;

/// Whether an address has bits 63:47 equal, as four-level paging needs.
pub const fn is_canonical(address: u64) -> bool {
    matches!(address >> 47, 0 | 0x1_ffff)
}

/// Checks a guest's write to CR0, which reads as `current`: the new TS.
///
/// # Errors
/// The write changes another bit.
pub const fn write_cr0(current: u64, value: u64) -> Result<bool, GeneralProtection> {
    if (current ^ value) & !CR0_TS == 0 { Ok(value & CR0_TS != 0) } else { Err(GeneralProtection) }
}

/// The CR4 a guest has after writing `value`: its own bits as far as its policy has the features, the
/// others as the hypervisor shows them (`shown`). As on Xen no value faults.
pub fn write_cr4(shown: u64, value: u64, policy: &Policy) -> u64 {
    let own = [
        (CR4_TSD, Feature::TSC),
        (CR4_DE, Feature::DE),
        (CR4_FSGSBASE, Feature::FSGSBASE),
        (CR4_OSXSAVE, Feature::XSAVE),
    ];
    let allowed =
        own.iter().filter(|&&(_, feature)| policy.has(feature)).fold(0, |mask, (bit, _)| mask | bit);
    shown & !CR4_GUEST | value & allowed
}

/// Checks a guest's XSETBV: the new XCR0.
///
/// # Errors
/// Another register than 0, a bit outside the policy, x87 off, or a component without those it needs.
pub fn write_xcr(index: u32, value: u64, policy: &Policy) -> Result<u64, GeneralProtection> {
    if index == 0 && value & !policy.xcr0_mask() == 0 && extended_state::is_consistent(value) {
        Ok(value)
    } else {
        Err(GeneralProtection)
    }
}

/// Checks a breakpoint address (DR0 to DR3).
///
/// # Errors
/// Not canonical, or in the hypervisor's range: a guest must not stop the hypervisor.
pub const fn write_breakpoint(value: u64) -> Result<u64, GeneralProtection> {
    let ours = HYPERVISOR_START <= value && value <= HYPERVISOR_END;
    if is_canonical(value) && !ours { Ok(value) } else { Err(GeneralProtection) }
}

/// DR6 after a guest writes `value`: reserved bits read as the processor has them, no value faults.
pub const fn write_dr6(value: u64) -> u64 {
    const ONES: u64 = 0xffff_0ff0;
    const ZEROS: u64 = 0xffff_ffff_0000_1000;
    (value | ONES) & !ZEROS
}

/// A DR7 that may be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dr7 {
    /// The value to load and to show.
    pub value: u64,
    /// Whether a breakpoint is enabled.
    pub active: bool,
    /// Whether an enabled breakpoint is one on I/O, which the hypervisor must match itself for emulated
    /// port accesses.
    pub io: bool,
}

/// Checks a guest's write to DR7.
///
/// # Errors
/// General detect, or an enabled I/O breakpoint while the guest's CR4.DE is clear.
pub fn write_dr7(value: u64, guest_cr4: u64) -> Result<Dr7, GeneralProtection> {
    const ONES: u64 = 1 << 10;
    /// Bits 11, 12, 14, 15 and the upper half.
    const ZEROS: u64 = 0xffff_ffff_0000_d800;
    const GENERAL_DETECT: u64 = 1 << 13;
    const ON_IO: u64 = 0b10;
    let value = (value | ONES) & !ZEROS;
    let enabled = |slot: u32| value >> (2 * slot) & 0b11 != 0;
    let io = (0..4).any(|slot| enabled(slot) && value >> (16 + 4 * slot) & 0b11 == ON_IO);
    if value & GENERAL_DETECT != 0 || io && guest_cr4 & CR4_DE == 0 {
        return Err(GeneralProtection);
    }
    Ok(Dr7 { value, active: (0..4).any(enabled), io })
}

/// The debug register that a MOV names: 4 and 5 are 6 and 7 unless CR4.DE is set.
///
/// # Errors
/// `None`: the guest gets #UD.
pub const fn debug_register(number: u8, guest_cr4: u64) -> Option<u8> {
    match number {
        0..=3 | 6 | 7 => Some(number),
        4 | 5 if guest_cr4 & CR4_DE == 0 => Some(number + 2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::prelude::rust_2024::*;

    use proptest::prelude::*;

    use super::*;
    use crate::test_host;

    #[test]
    fn cr0_lets_only_ts_through() {
        let shown = 0x8005_0033;
        assert_eq!(write_cr0(shown, shown | CR0_TS), Ok(true));
        assert_eq!(write_cr0(shown | CR0_TS, shown), Ok(false));
        assert_eq!(write_cr0(shown, shown & !1), Err(GeneralProtection));
        assert_eq!(write_cr0(shown, shown | 1 << 30), Err(GeneralProtection));
    }

    #[test]
    fn cr4_keeps_what_is_not_the_guest_s() {
        let policy = test_host::epyc_policy();
        assert_eq!(
            write_cr4(0x6a0, CR4_OSXSAVE | CR4_FSGSBASE | 1 << 20, &policy),
            0x6a0 | CR4_OSXSAVE | CR4_FSGSBASE
        );
        assert_eq!(write_cr4(0x6a0, 0, &policy), 0x6a0);
    }

    #[test]
    fn xcr0_of_linux() {
        let policy = test_host::epyc_policy();
        assert_eq!(policy.xcr0_mask(), 7);
        assert_eq!(write_xcr(0, 7, &policy), Ok(7));
        assert_eq!(write_xcr(0, 1, &policy), Ok(1));
        for (index, bad) in [(0, 0), (0, 2), (0, 5), (0, 0xf), (0, 0xe7), (1, 7)] {
            assert_eq!(write_xcr(index, bad, &policy), Err(GeneralProtection));
        }
        let wide = test_host::wide_policy();
        assert_eq!(wide.xcr0_mask(), 0xe7);
        assert_eq!(write_xcr(0, 0xe7, &wide), Ok(0xe7));
        assert_eq!(write_xcr(0, 0xe3, &wide), Err(GeneralProtection));
        assert_eq!(write_xcr(0, 0x67, &wide), Err(GeneralProtection));
    }

    #[test]
    fn debug_registers() {
        for good in [0, 0x7fff_ffff_ffff, 0xffff_8800_0000_0000, u64::MAX] {
            assert_eq!(write_breakpoint(good), Ok(good));
        }
        for bad in [0x8000_0000_0000, HYPERVISOR_START, HYPERVISOR_END, 0xffff_82d0_4020_0000] {
            assert_eq!(write_breakpoint(bad), Err(GeneralProtection));
        }
        assert_eq!(write_dr6(0), 0xffff_0ff0);
        assert_eq!(write_dr6(u64::MAX), 0xffff_efff);
        assert_eq!(write_dr7(0, 0), Ok(Dr7 { value: 0x400, active: false, io: false }));
        assert_eq!(write_dr7(0xd_0402, 0), Ok(Dr7 { value: 0xd_0402, active: true, io: false }));
        assert_eq!(write_dr7(0x2_0001, 0), Err(GeneralProtection));
        assert_eq!(write_dr7(0x2_0001, CR4_DE), Ok(Dr7 { value: 0x2_0401, active: true, io: true }));
        // Not enabled: harmless.
        assert_eq!(write_dr7(0x2_0000, 0), Ok(Dr7 { value: 0x2_0400, active: false, io: false }));
        assert_eq!(write_dr7(1 << 13, CR4_DE), Err(GeneralProtection));
        assert_eq!(
            [4, 5, 6, 7, 8].map(|number| debug_register(number, 0)),
            [Some(6), Some(7), Some(6), Some(7), None]
        );
        assert_eq!(debug_register(4, CR4_DE), None);
    }

    proptest! {
        #[test]
        fn fixing_twice_changes_nothing(value: u64, shown: u64) {
            let policy = test_host::epyc_policy();
            let cr4 = write_cr4(shown, value, &policy);
            prop_assert_eq!(write_cr4(shown, cr4, &policy), cr4);
            prop_assert_eq!(write_dr6(write_dr6(value)), write_dr6(value));
            if let Ok(dr7) = write_dr7(value, CR4_DE) {
                prop_assert_eq!(write_dr7(dr7.value, CR4_DE), Ok(dr7));
            }
            if let Ok(xcr0) = write_xcr(0, value, &policy) {
                prop_assert_eq!(xcr0 & !7, 0);
            }
        }
    }
}
