//! An excursion to real mode: asks the BIOS, at first boot, what can be asked nowhere else.
//!
//! The code is copied to an *area* below 1 MiB, which is one real-mode segment:
//!
//! ```text
//! +0x0000  code, its descriptors and variables
//! +0x1000  a sector that the BIOS reads
//! +0x2000  what the screen's BIOS says of itself, then the monitor's EDID
//! +0x2400  the answers (boot_info::BiosFacts reads them)
//! +0x2800  stack
//! ```
//!
//! Registers, `ds` and `es` are taken for lost after each call. Each call has ten seconds by the BIOS's own timer
//! interrupt; one that takes longer is given up, and all that would come after it is not asked. A BIOS that hangs with
//! interrupts off hangs the machine: `no-real-mode` is for those.
#![expect(unsafe_code, reason = "real-mode code in assembly")]

use core::ptr;

use boot_info::bios;
use ids::Maddr;

use crate::direct;

mod real_mode;

use real_mode::{ANSWERS, EDID, SECTOR};

/// Bytes of the area.
pub const AREA_BYTES: u64 = 0x4000;

/// What to ask about disks (`edd=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disks {
    /// Everything.
    All = 0,
    /// Nothing is read from them.
    NoSignatures = 1,
    /// Nothing.
    Nothing = 2,
}

/// Whether to ask for the monitor's EDID (`edid=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Monitor {
    /// If the BIOS says that it can tell soon.
    IfAble = 0,
    /// No.
    Never = 1,
    /// In any case.
    Always = 2,
}

/// What the BIOS is asked, and asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Questions {
    /// About disks.
    pub disks: Disks,
    /// About the monitor.
    pub monitor: Monitor,
    /// A VGA is to show text, this many rows of 80 characters: 25, 28, 43 or 50. 0: it stays as it is.
    pub rows: u8,
}

// SAFETY: labels of the code in `real_mode`; only their addresses are taken.
unsafe extern "C" {
    static bios_code: u8;
    static bios_end: u8;
    static bios_base: u8;
    static bios_gdtr: u8;
    static bios_gdt16: u8;
    static bios_gdt16_data: u8;
    static bios_real: u8;
    static bios_far32: u8;
    static bios_far64: u8;
    static bios_disks: u8;
    static bios_monitor: u8;
    static bios_rows: u8;
    fn bios_ask(area: u64);
}

/// Asks the BIOS, with interrupts on meanwhile, and returns its answers in the layout of [`bios`].
///
/// # Safety
/// 1. The machine has a BIOS, whose memory below 1 MiB and whose interrupt controllers are as it left them.
/// 2. The boot tables are in use: memory below 1 MiB is mapped, executable, where it is and in the direct map.
/// 3. `area` is a multiple of 4 KiB, [`AREA_BYTES`] of RAM below 640 KiB from there on are nobody's.
pub unsafe fn ask(area: Maddr, questions: Questions) -> [u8; bios::BYTES] {
    let Questions { disks, monitor, rows } = questions;
    let base = area.0 as u32;
    // SAFETY: the caller's third promise.
    unsafe { direct::zero(area, AREA_BYTES as usize) };
    let code = direct::pointer::<u8>(area);
    assert!(offset(&raw const bios_end) <= usize::from(SECTOR), "the real-mode code is longer than a page");
    // SAFETY: the code is that short.
    unsafe { ptr::copy_nonoverlapping(&raw const bios_code, code, offset(&raw const bios_end)) };
    let edid = direct::pointer::<u8>(Maddr(area.0 + u64::from(EDID)));
    // SAFETY: in the area.
    unsafe { edid.write_bytes(bios::UNTOUCHED, bios::EDID_BYTES) };
    for (field, to) in [(&raw const bios_gdtr, 2), (&raw const bios_far32, 0), (&raw const bios_far64, 0)] {
        add(area, offset(field) + to, base);
    }
    // A descriptor's base begins at its third byte; the area's has 20 bits.
    add(area, offset(&raw const bios_gdt16) + 2, base);
    add(area, offset(&raw const bios_gdt16_data) + 2, base);
    add(area, offset(&raw const bios_base), base);
    add(area, offset(&raw const bios_real), base << 12);
    add(area, offset(&raw const bios_disks), disks as u32);
    add(area, offset(&raw const bios_monitor), monitor as u32);
    add(area, offset(&raw const bios_rows), rows.into());
    // SAFETY: the caller's promises.
    unsafe { bios_ask(area.0) };
    let mut answers = [0; bios::BYTES];
    let (list, edid_bytes) = answers.split_at_mut(bios::EDID);
    // SAFETY: in the area, and nobody writes there any more.
    list.copy_from_slice(unsafe { direct::bytes(Maddr(area.0 + u64::from(ANSWERS)), bios::EDID) });
    // SAFETY: as above.
    edid_bytes.copy_from_slice(unsafe { direct::bytes(Maddr(area.0 + u64::from(EDID)), bios::EDID_BYTES) });
    answers
}

/// Adds `value` to a word in the area.
fn add(area: Maddr, offset: usize, value: u32) {
    let at = direct::pointer::<u8>(Maddr(area.0 + offset as u64)).cast::<u32>();
    // SAFETY: a variable of the code in the area, which is ours.
    let old = unsafe { at.read_unaligned() };
    // SAFETY: as above.
    unsafe { at.write_unaligned(old.wrapping_add(value)) };
}

/// Where in the area `symbol` of the code comes to lie.
fn offset(symbol: *const u8) -> usize {
    symbol.addr() - (&raw const bios_code).addr()
}
