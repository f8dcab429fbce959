//! Segment descriptors and selectors of PV guests (AMD64 manual volume 2, sections 4.7 and 4.8).
//!
//! A guest's descriptors stand in the GDT and LDT that the processor uses, so each is checked before it
//! gets there: it must not let anybody into ring 0, and must not be a system descriptor.

use xen_abi::arch::{FLAT_RING3_CS32, FLAT_RING3_CS64};

/// Entries of a GDT that are the guest's own; those above are the hypervisor's.
pub const GUEST_GDT_ENTRIES: u16 = 7168;
/// Entries of the largest LDT.
pub const MAX_LDT_ENTRIES: u16 = 8192;

/// A code or data segment instead of a system descriptor.
const USER: u64 = 1 << 44;
const PRESENT: u64 = 1 << 47;
const DPL: u64 = 0b11 << 45;
const TYPE: u64 = 0b1111 << 40;
const CODE: u64 = 1 << 43;
const CONFORMING: u64 = 1 << 42;

/// The descriptor cannot be made harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// Checks a descriptor and raises its privilege level to 3: the value to store.
///
/// Base, limit, L, D and the accessed bit stay as they are: ring 3 gains nothing by them, and a 64-bit
/// code segment that also has D set faults when it is loaded. The processor sets accessed bits, so the
/// hypervisor's own mapping of the tables has to be writable.
///
/// # Errors
/// A present system descriptor (LDT, TSS, gate) or a conforming code segment.
pub const fn check(descriptor: u64) -> Result<u64, Invalid> {
    if descriptor & PRESENT == 0 {
        // Loading it always faults.
        return Ok(descriptor);
    }
    if descriptor & USER == 0 {
        // Type 0 is reserved in every mode: loading it faults as well.
        return if descriptor & TYPE == 0 { Ok(descriptor) } else { Err(Invalid) };
    }
    if descriptor & CODE != 0 && descriptor & CONFORMING != 0 {
        return Err(Invalid);
    }
    Ok(descriptor | DPL)
}

/// The selector with its privilege level raised to 3.
pub const fn fix_selector(selector: u16) -> u16 {
    selector | 3
}

/// Whether a selector names nothing: GDT entry 0.
pub const fn is_null(selector: u16) -> bool {
    selector & !3 == 0
}

/// Whether a selector stays out of the hypervisor's part of the GDT.
pub const fn is_guest_entry(selector: u16) -> bool {
    const LDT: u16 = 4;
    selector & LDT != 0 || selector >> 3 < GUEST_GDT_ENTRIES
}

/// Whether a guest may name this code selector in a trap table or callback: an entry of its own or one of
/// the flat segments, null excluded.
pub const fn is_code_selector_okay(selector: u16) -> bool {
    let fixed = fix_selector(selector);
    !is_null(selector) && (is_guest_entry(selector) || fixed == FLAT_RING3_CS64 || fixed == FLAT_RING3_CS32)
}

/// Whether a GDT of this many entries leaves the hypervisor's part alone.
pub const fn is_gdt_size_okay(entries: u32) -> bool {
    entries <= GUEST_GDT_ENTRIES as u32
}

/// Whether an LDT at `address` of this many entries can be installed: page-aligned and outside the
/// hypervisor; an empty one may be anywhere.
pub const fn is_ldt_okay(address: u64, entries: u32) -> bool {
    let Some(end) = address.checked_add(entries as u64 * 8) else { return entries == 0 };
    let clear = end <= crate::control::HYPERVISOR_START || address > crate::control::HYPERVISOR_END;
    entries == 0
        || entries <= MAX_LDT_ENTRIES as u32
            && address & 0xfff == 0
            && clear
            && crate::control::is_canonical(address)
}

#[cfg(test)]
mod tests {
    use std::prelude::rust_2024::*;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn linux_descriptors() {
        // __KERNEL_CS, __KERNEL_DS: privilege level 0 becomes 3.
        assert_eq!(check(0x00af_9b00_0000_ffff), Ok(0x00af_fb00_0000_ffff));
        assert_eq!(check(0x00cf_9300_0000_ffff), Ok(0x00cf_f300_0000_ffff));
        // __USER_CS, __USER32_CS, __USER_DS and a TLS entry stay.
        for same in
            [0x00af_fb00_0000_ffff, 0x00cf_fb00_0000_ffff, 0x00cf_f300_0000_ffff, 0x04d0_f312_3456_ffff, 0]
        {
            assert_eq!(check(same), Ok(same));
        }
    }

    #[test]
    fn system_and_conforming_descriptors_are_refused() {
        for kind in 1..16u64 {
            assert_eq!(check(0x0000_e000_0000_0000 | kind << 40), Err(Invalid));
            // Not present: accepted as it is.
            assert_eq!(check(0x0000_6000_0000_0000 | kind << 40), Ok(0x0000_6000_0000_0000 | kind << 40));
        }
        assert_eq!(check(0x00af_fc00_0000_ffff), Err(Invalid));
        assert_eq!(check(0x00af_9e00_0000_ffff), Err(Invalid));
        // The expand-down bit of data is the same bit and harmless.
        assert_eq!(check(0x00cf_f600_0000_ffff), Ok(0x00cf_f600_0000_ffff));
    }

    #[test]
    fn selectors() {
        assert_eq!(fix_selector(0xe030), FLAT_RING3_CS64);
        assert!(is_null(0) && is_null(3) && !is_null(4) && !is_null(8));
        assert!(
            is_guest_entry(0x10)
                && is_guest_entry(0xdfff)
                && is_guest_entry(0xe00c)
                && !is_guest_entry(0xe008)
        );
        assert!(
            is_code_selector_okay(0x10) && is_code_selector_okay(0xe030) && is_code_selector_okay(0xe023)
        );
        assert!(
            !is_code_selector_okay(0xe008) && !is_code_selector_okay(0xe043) && !is_code_selector_okay(2)
        );
        assert!(is_gdt_size_okay(7168) && !is_gdt_size_okay(7169));
        assert!(is_ldt_okay(u64::MAX, 0) && is_ldt_okay(0x1000, 8192) && !is_ldt_okay(0x1000, 8193));
        assert!(
            !is_ldt_okay(0x1008, 1) && !is_ldt_okay(0xffff_8000_0000_0000, 1) && !is_ldt_okay(1 << 47, 1)
        );
        assert!(is_ldt_okay(0xffff_8880_0000_0000, 1) && !is_ldt_okay(0xffff_7fff_ffff_f000, 512));
        assert!(!is_ldt_okay(!0xfff, 8192));
    }

    proptest! {
        #[test]
        fn what_is_stored_is_harmless_and_settled(descriptor: u64) {
            if let Ok(stored) = check(descriptor) {
                prop_assert_eq!(check(stored), Ok(stored));
                prop_assert_eq!(stored & !DPL, descriptor & !DPL);
                let loadable = stored & PRESENT != 0 && stored & USER != 0;
                prop_assert!(!loadable || stored & DPL == DPL);
            }
        }
    }
}
