//! What a BIOS is asked, early in boot: disks, monitor, keyboard (`machine::bios` makes the calls).
#![expect(unsafe_code, reason = "calls the firmware")]

use boot_info::{BootFacts, Firmware, FreeRanges, Range};
use command_line::{Edd, EdidQuery, Options};
use ids::Maddr;
use machine::bios::{AREA_BYTES, Disks, Monitor, Questions};
use machine::layout;

use crate::boot::unreserved;
use crate::console::log;
use crate::firmware::BootMap;

/// The first page: vectors and data of the BIOS.
pub(crate) const DATA: Range = Range { start: 0, end: 0x1000 };
/// Where the BIOS says how many KiB of memory there are from 0 on.
const BASE_MEMORY: u64 = 0x413;

/// Asks a BIOS what only it knows. Nothing runs and nothing is taken yet, so any free memory below 640 KiB will do.
pub(crate) fn ask(facts: &mut BootFacts, options: &Options, info: Range) {
    if facts.efi_system_table.is_some() || options.no_real_mode {
        return;
    }
    // SAFETY: the boot tables are in use; nothing runs that would change the firmware's memory.
    let firmware = unsafe { BootMap::new() };
    let kib = firmware.bytes(Maddr(BASE_MEMORY), 2).map_or(0, |word| u16::from_le_bytes([word[0], word[1]]));
    let end = (u64::from(kib) << 10).min(0xa_0000);
    let Some(area) = low_memory(facts, info).and_then(|mut low| low.take(AREA_BYTES, 0x1000, end)) else {
        log!("BIOS: not asked, for no memory below 640 KiB is free");
        return;
    };
    let disks = match options.edd {
        Edd::On => Disks::All,
        Edd::SkipMbr => Disks::NoSignatures,
        Edd::Off => Disks::Nothing,
    };
    let monitor = match options.edid {
        EdidQuery::IfAble => Monitor::IfAble,
        EdidQuery::No => Monitor::Never,
        EdidQuery::Force => Monitor::Always,
    };
    // SAFETY: (1) the boot loader passed no EFI, and neither it nor boot touched more; (2) see above; (3) just taken.
    let answers = unsafe { machine::bios::ask(area, Questions { disks, monitor, rows: options.vga.rows }) };
    if let Err(what) = facts.bios.read(&answers) {
        log!("BIOS: no answer about {what} within ten seconds: given up (no-real-mode asks it nothing)");
    }
    describe(facts);
}

fn describe(facts: &BootFacts) {
    let bios = &facts.bios;
    log!("BIOS: {} disks, {} of them with a signature", bios.disks.len(), bios.signatures.len());
    if let Some(edid) = &bios.edid {
        let (capabilities, seconds) = (edid.capabilities, edid.transfer_time);
        log!("BIOS: the monitor's EDID is there (DDC {capabilities:#x}, {seconds} s)");
    }
}

/// Memory that is nobody's while the boot loader's information has not been read to its end.
fn low_memory(facts: &BootFacts, info: Range) -> Option<FreeRanges> {
    let ram = facts.memory.ram(layout::DIRECT_MAP_SIZE).ok()?;
    Some(unreserved(&ram, facts, [DATA, info, Range::default()]))
}
