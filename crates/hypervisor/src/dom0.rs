//! First boot: all memory goes to the frame table, and Dom0 is made from the boot modules.
#![expect(unsafe_code, reason = "reads the boot modules, writes the unpacked kernel")]

use crate::boot_memory::{frames_within, free_range};
use crate::console::log;
use crate::guest::hardware::Hardware;
use crate::sealed::{Sealed, sealed};
use crate::{boot, console, heap, screen};
use alloc::string::String;
use boot_info::{BootFacts, Display, FreeRanges, Module, Range};
use domain::dom0::{self, Dom0Inputs};
use guest_loader::bzimage::{self, Kernel};
use guest_loader::elf_kernel::ElfKernel;
use guest_loader::{LoadError, decompress};
use ids::Maddr;
use machine::{direct, rtc};
use system::{Applier, Clock, System};
use vault::Journal;
use xen_abi::xen::{
    Dom0VgaConsoleInfo, VgaTextMode3, VgaVesaLfb, XEN_VGATYPE_EFI_LFB, XEN_VGATYPE_TEXT_MODE_3,
    XEN_VGATYPE_VESA_LFB,
};
use zerocopy::{FromZeros, IntoBytes};

/// Heap that unpacking a kernel may use, given back afterwards.
const SCRATCH: u64 = 160 << 20;
/// An unpacked kernel is no larger than this.
const MAX_KERNEL: u64 = 512 << 20;

/// Why there is no Dom0: one clear line.
#[derive(Debug)]
pub(crate) enum NoDom0 {
    /// No module at all.
    NoKernel,
    /// The kernel or its plan.
    Load(LoadError),
    /// No room to unpack it (bytes).
    NoRoom { needed: u64, free: u64 },
    /// `dom0_mem` is more than can be given (4 KiB pages).
    TooMuchMemory { asked: u64, available: u64 },
    /// Building it.
    Build(dom0::BuildError),
}

impl core::fmt::Display for NoDom0 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoKernel => f.write_str(
                "no Dom0 kernel: the boot loader passed no module; add a line `module2 /boot/vmlinuz ...`",
            ),
            Self::Load(error) => error.fmt(f),
            Self::NoRoom { needed, free } => write!(
                f,
                "kernel: unpacking it needs {} MiB in one piece, {} MiB are free: give the machine more memory",
                needed >> 20,
                free >> 20
            ),
            Self::TooMuchMemory { asked, available } => write!(
                f,
                "dom0_mem: {} MiB asked for, {} MiB can be given: lower dom0_mem or give the machine more memory",
                asked >> 8,
                available >> 8
            ),
            Self::Build(error) => error.fmt(f),
        }
    }
}

impl From<LoadError> for NoDom0 {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

fn module_bytes(module: &Module) -> &'static [u8] {
    // SAFETY: the boot loader put it into RAM, and nobody writes there before Dom0 runs.
    unsafe { direct::bytes(module.start, module.len as usize) }
}

/// Builds Dom0 from the modules; afterwards the frame table owns all memory.
pub(crate) fn create(system: &'static System<Hardware>) -> Result<(), NoDom0> {
    let record = sealed();
    let [kernel, rest @ ..] = record.facts.modules() else { return Err(NoDom0::NoKernel) };
    let (image, room) = unpack(module_bytes(kernel))?;
    let mut journal = system.journal_beside();
    journal.log().begin();
    start_clock(system, &mut journal);
    give_memory(system, &mut journal, record);
    let done = build(system, &mut journal, image, kernel, rest);
    if done.is_ok() {
        for range in [Some(kernel.range()), room].into_iter().flatten() {
            free_range(system, &mut journal, range);
        }
    }
    journal.log().end();
    done
}

/// The kernel as an ELF file: in its module, or unpacked into memory of its own.
fn unpack(file: &'static [u8]) -> Result<(&'static [u8], Option<Range>), NoDom0> {
    let payload = match bzimage::payload(file)? {
        Kernel::Elf(elf) => return Ok((elf, None)),
        Kernel::Payload(payload) => payload,
    };
    let hint = decompress::decompressed_size_hint(payload).map_or(0, u64::from);
    let format = decompress::format(payload)?;
    let size = if hint == 0 || hint > MAX_KERNEL { MAX_KERNEL } else { hint };
    log!("Unpacking Dom0's kernel: {format:?}, {} to {} KiB", payload.len() >> 10, size >> 10);
    let room = take(size)?;
    let scratch = take(SCRATCH).or_else(|_| take(SCRATCH / 8))?;
    // SAFETY: just taken.
    unsafe { heap::open_scratch(scratch) };
    // SAFETY: just taken, nobody else's until `free_range`.
    let out = unsafe {
        core::slice::from_raw_parts_mut(direct::pointer::<u8>(Maddr(room.start)), room.len() as usize)
    };
    let result = decompress::decompress_into(payload, out);
    match heap::close_scratch() {
        Ok(range) => give_back(range),
        Err(alive) => log!("{alive} blocks of unpacking memory are still in use: kept"),
    }
    let length = result?;
    // SAFETY: as above; only read from now on.
    Ok((unsafe { direct::bytes(Maddr(room.start), length) }, Some(room)))
}

fn take(bytes: u64) -> Result<Range, NoDom0> {
    let bytes = bytes.next_multiple_of(ids::FRAME_SIZE);
    let mut free = boot::FREE.lock();
    let start = free.as_mut().and_then(|free| free.take(bytes, ids::FRAME_SIZE, u64::MAX));
    let free = free.as_ref().map_or(0, |free| free.bytes());
    start.map(|start| Range::new(start, bytes)).ok_or(NoDom0::NoRoom { needed: bytes, free })
}

fn give_back(range: Range) {
    if let Some(free) = boot::FREE.lock().as_mut()
        && free.insert(range).is_err()
    {
        log!("{} KiB of boot memory are lost to fragmentation", range.len() >> 10);
    }
}

/// The wall clock is the battery's.
fn start_clock(system: &'static System<Hardware>, journal: &mut Journal<Applier<Hardware>>) {
    let (machine, timers) = (system.state.machine, system.state.timers());
    let century = sealed().facts.acpi.fadt.map_or(0, |fadt| fadt.century);
    let now = system.platform.now();
    let seconds = rtc::now(century).unwrap_or(0).max(now / 1_000_000_000 + 1);
    let done = journal.transaction(|tx| {
        tx.set(&machine.booted, true);
        timers.set_wall_clock(tx, seconds, 0, now)
    });
    done.expect("it is later than 1970");
}

/// Free memory goes to the heap, what the hypervisor keeps is marked as its own. Memory below 1 MiB stays
/// the firmware's: Dom0 may map it.
fn give_memory(system: &'static System<Hardware>, journal: &mut Journal<Applier<Hardware>>, record: &Sealed) {
    let free = boot::FREE.lock().take().unwrap_or_default();
    let mut kept: FreeRanges = record.ram.clone();
    let low = Range { start: 0, end: 0x10_0000 };
    for range in free.iter().chain([low]) {
        kept.remove(range).expect("free memory is RAM");
    }
    for range in kept.iter() {
        let (mut at, end) = frames_within(range);
        while at.0 < end.0 {
            at.0 += journal.change(|tx| system.state.frames.reserve_frames(tx, at, end));
        }
    }
    for range in free.iter() {
        free_range(system, journal, range);
    }
}

fn build(
    system: &'static System<Hardware>,
    journal: &mut Journal<Applier<Hardware>>,
    image: &[u8],
    kernel: &Module,
    rest: &[Module],
) -> Result<(), NoDom0> {
    let facts = &sealed().facts;
    let elf = ElfKernel::parse(image)?;
    let notes = elf.notes()?;
    notes.check_dom0()?;
    let options = &sealed().options;
    let heap = system.state.frames.heap();
    let initrd = rest.first().filter(|module| module.len > 0);
    let initrd_frames = initrd.map_or(0, |module| module.len.div_ceil(ids::FRAME_SIZE));
    let available = heap.free_frames() + initrd_frames;
    let total = sealed().ram.bytes() / ids::FRAME_SIZE;
    let console = console_info(facts);
    let command_line = dom0_command_line(facts.module_command_line(kernel), facts.command_line());
    let asked = options.dom0_mem;
    if let Some(pages) = asked.exact_beyond(total, available) {
        return Err(NoDom0::TooMuchMemory { asked: pages, available });
    }
    let inputs = Dom0Inputs {
        kernel: &elf,
        notes: &notes,
        initrd: initrd.map(|module| dom0::Module { first: module.start.mfn(), len: module.len }),
        command_line: command_line.as_bytes(),
        pages: asked.pages(total, available),
        vcpus: options.dom0_max_vcpus.count(sealed().cpus),
        pinned: options.dom0_vcpus_pin,
        now: system.platform.now(),
        console_line: console::port().and_then(|port| port.line),
        console_info: console.as_ref().map_or(&[], |info| info.as_bytes()),
    };
    dom0::build(system.state, system.platform, journal, &inputs, &mut |line| log!("{line}"))
        .map(|_| ())
        .map_err(NoDom0::Build)
}

/// What follows " -- " on the hypervisor's own line goes to Dom0's.
fn dom0_command_line(module: &str, own: &str) -> String {
    let mut line = String::from(module);
    let extra = command_line::parse(own.as_bytes()).dom0_extra;
    if let Some(extra) = core::str::from_utf8(extra).ok().filter(|extra| !extra.is_empty()) {
        line.push(' ');
        line.push_str(extra);
    }
    line
}

/// `dom0_vga_console_info` (public/xen.h) for the screen.
fn console_info(facts: &BootFacts) -> Option<Dom0VgaConsoleInfo> {
    let mut info = Dom0VgaConsoleInfo::new_zeroed();
    match facts.display {
        Display::None => return None,
        Display::Text { columns, rows, font_height, cursor_x, cursor_y } => {
            let (cursor_x, cursor_y) = screen::cursor().unwrap_or((cursor_x, cursor_y));
            info.video_type = XEN_VGATYPE_TEXT_MODE_3;
            let text = VgaTextMode3 { font_height, cursor_x, cursor_y, rows, columns };
            info.u.as_mut_bytes()[..size_of_val(&text)].copy_from_slice(text.as_bytes());
        }
        Display::Pixels { address, pitch, width, height, bits, red, green, blue } => {
            let efi = facts.efi_system_table.is_some();
            info.video_type = if efi { XEN_VGATYPE_EFI_LFB } else { XEN_VGATYPE_VESA_LFB };
            let used = red.1.saturating_add(green.1).saturating_add(blue.1);
            let pixels = VgaVesaLfb {
                width,
                height,
                bytes_per_line: u16::try_from(pitch).ok()?,
                bits_per_pixel: bits.into(),
                lfb_base: address as u32,
                lfb_size: u64::from(pitch).checked_mul(height.into())?.div_ceil(1 << 16) as u32,
                red_pos: red.0,
                red_size: red.1,
                green_pos: green.0,
                green_size: green.1,
                blue_pos: blue.0,
                blue_size: blue.1,
                rsvd_pos: if bits > used { used } else { 0 },
                rsvd_size: bits.saturating_sub(used),
                gbl_caps: 0,
                mode_attrs: 0,
                pad: 0,
                ext_lfb_base: (address >> 32) as u32,
            };
            info.u.as_mut_bytes().copy_from_slice(pixels.as_bytes());
        }
    }
    Some(info)
}
