//! From the boot loader's world to the final address space.
//!
//! Order: console, facts from boot loader and ACPI, CPU features, page tables with direct map, devices and both image
//! copies, per-CPU blocks, new CR3; then interrupt controllers and clocks; then vault, M2P, heap and the sealed record
//! from all of memory; then `start` on CPU 0's own stack.
#![expect(unsafe_code, reason = "owns the machine")]

use boot_info::{BootFacts, Display, Firmware, FreeRanges, Range};
use command_line::Options;
use ids::{CpuId, Maddr};
use machine::image::{self, ImageCopies, Place, SEAL_BYTES, Sections};
use machine::paging::{Access, PageSize, PageTables};
use machine::smp::Trampoline;
use machine::{control, direct, layout, percpu, stack, tables, thunk};
use mitigations::Thunk;
use multiboot2::BootInformation;
use spin::Mutex;

use crate::console::log;
use crate::firmware::{BOOT_MAP_END, BootMap};
use crate::guest::guarded;
use crate::refusal::refuse;
use crate::sealed::Sealed;
use crate::{
    bios, composition, console, cpu, describe, devices, efi, faults, heap, options, requirements, screen,
    start,
};

mod memory;

use memory::BootFrames;
pub(crate) use memory::LARGE_PAGE;

/// Memory nobody has taken yet; derived, and empty once the frame table owns all memory.
pub(crate) static FREE: Mutex<Option<FreeRanges>> = Mutex::new(None);

// SAFETY: the linker script defines them; only their addresses are taken.
unsafe extern "C" {
    static image_start: u8;
    static first_start: u8;
    static first_data_start: u8;
    static text_start: u8;
    static text_end: u8;
    static pristine_start: u8;
    static data_start: u8;
    static data_end: u8;
    static image_end: u8;
}

/// Entered from the boot section on the boot stack, with the boot tables in use.
pub(crate) extern "C" fn rust_start(magic: u32, info: u32, load: u32) -> ! {
    console::init();
    if magic != multiboot2::MAGIC {
        refuse!(
            "boot loader: its magic number is {magic:#x}: start the image with GRUB's multiboot2 command"
        );
    }
    let mut facts = BootFacts::EMPTY;
    let info_range = read_boot_loader(&mut facts, Maddr(u64::from(info)));
    let options = options::read(&facts);
    console::configure(&options);
    log!("Revenant {}, loaded at {load:#x}", env!("CARGO_PKG_VERSION"));
    log!("Command line: {}", facts.command_line());
    options::report(&facts);
    requirements::check_cpu();
    bios::ask(&mut facts, &options, info_range);
    read_firmware(&mut facts);
    screen::open(&facts, &options);
    describe::memory(&facts);
    limit(&mut facts, &options);
    describe::machine(&facts);
    let ram = facts.memory.ram(layout::DIRECT_MAP_SIZE).unwrap_or_else(|_| too_many_ranges());
    let sections = sections();
    let image = Range::new(Maddr(u64::from(load)), sections.end);
    facts.image = image;
    requirements::check_placement(&ram, &facts, image);
    let mut free = unreserved(&ram, &facts, [Range { start: 0, end: 0x10_0000 }, image, info_range]);

    let mitigations = cpu::mitigations(&options);
    // SAFETY: boot owns this CPU.
    let features = unsafe { control::enable_features(mitigations.xpti.dom0) };
    log!("CPU features in use: {features:?}");
    let largest = if features.huge_pages { PageSize::Huge } else { PageSize::Large };
    let mut memory =
        BootFrames { free: &mut free, below: BOOT_MAP_END, total: ram.bytes(), shown: Range::default() };
    let tables = new_tables(&mut memory, &ram, largest);
    // SAFETY: the boot tables are in use; no guest runs.
    unsafe { guarded::install(&mitigations) };
    match mitigations.thunk {
        Thunk::Retpoline => {}
        // SAFETY: as above; no other CPU runs.
        other => unsafe { thunk::jump(other == Thunk::Fence) },
    }
    image::map_loaded(tables, &mut memory, &sections, Maddr(image.start)).expect("no memory for page tables");
    let cpus = facts.cpus().len() as u32; // `limit` sees to it
    let per_cpu = per_cpu_blocks(&mut memory, tables, cpus);
    let isolation = guarded::reserve(&mitigations, cpus, |len| memory.take(len, ids::FRAME_SIZE));
    devices::map(&mut memory, tables, &facts);
    screen::map(&mut memory, tables, &facts, &options);
    // SAFETY: the boot tables are in use; nothing runs that would change the firmware's memory.
    let firmware = unsafe { BootMap::new() };
    let efi = efi::Services::map(tables, &mut memory, &firmware, &facts, &options);
    let page = trampoline_page(&ram, &facts, info_range);
    // SAFETY: a free page; all slots above are filled but those of single large ranges, whose L3 tables exist.
    let trampoline =
        unsafe { Trampoline::build(tables, &mut memory, page) }.expect("no memory for the start-up page");
    // SAFETY: the image is mapped as before, RAM at the direct map; the boot stack is in the image.
    unsafe { control::set_root(tables.root()) };
    screen::moved(&facts);

    facts.apic_mode = devices::apic_mode(&facts);
    devices::start(&mut facts);
    console::set_clock(facts.timing.tsc_khz);
    memory.below = u64::MAX;
    let log = memory.log_ring(&options, cpus);
    let frames = ram.end() / ids::FRAME_SIZE;
    let limits = composition::limits(&ram, cpus);
    let vault_bytes = composition::vault_bytes(&limits, pv_cpu::Extended::bytes(facts.cpu.xsave_bytes));
    let (m2p, vault) = memory.m2p_and_vault(tables, frames * 8, vault_bytes);
    let m2p_end = memory.shown.start;
    let heap = memory.take(composition::heap_bytes(&limits, efi.is_some()), ids::FRAME_SIZE);
    // SAFETY: just taken.
    unsafe { heap::add_permanent(heap) };
    facts.note = memory.note();
    let (facts, facts_seal) = (memory.seal_facts(tables, &facts), facts.seal());
    let chart = memory.take(layout::CHART_BYTES, ids::FRAME_SIZE);
    // SAFETY: just taken.
    unsafe { direct::zero(Maddr(chart.start), chart.len() as usize) };
    memory.map_sealed(tables, layout::CHART, chart);
    let image = second_image(&mut memory, tables, sections, Maddr(image.start));
    let root = tables.root();
    memory.seal(
        tables,
        Sealed {
            facts,
            facts_seal,
            efi,
            options,
            mitigations,
            isolation,
            console: console::port(),
            image,
            root,
            per_cpu,
            cpus,
            trampoline,
            vault,
            m2p,
            m2p_end,
            log,
            heap,
            chart,
            ram,
        },
    );

    *FREE.lock() = Some(free);
    // SAFETY: CPU 0's block was mapped above, its tables written by `per_cpu_blocks`.
    unsafe { tables::load(CpuId(0)) };
    // SAFETY: nobody uses CPU 0's main stack yet.
    unsafe { stack::abandon_for(percpu::block(CpuId(0)) + percpu::STACK_TOP, start::first_boot) }
}

/// Copies what the boot loader says; nothing of its memory is referenced afterwards.
fn read_boot_loader(facts: &mut BootFacts, info: Maddr) -> Range {
    let header = direct::pointer::<multiboot2::BootInformationHeader>(info);
    // SAFETY: the boot loader passed this address with the right magic; nobody writes there.
    let info = unsafe { BootInformation::load(header) }
        .unwrap_or_else(|error| refuse!("boot loader: its information is corrupt ({error:?}): update it"));
    if let Err(error) = facts.read_multiboot(&info) {
        refuse!("boot loader: {error}");
    }
    let start = header.addr() as u64 - layout::DIRECT_MAP;
    Range::new(Maddr(start), info.total_size() as u64)
}

/// Reads the firmware's tables, and what the boot CPU says of itself.
fn read_firmware(facts: &mut BootFacts) {
    // SAFETY: the boot tables are in use; nothing runs that would change the firmware's memory.
    let firmware = unsafe { BootMap::new() };
    if let Err(error) = facts.acpi.read(&firmware, facts.root_pointer, facts.efi_system_table) {
        refuse!("firmware: {error}: switch ACPI on in the machine's settings, or update the firmware");
    }
    if let Some(system_table) = facts.efi_system_table {
        facts.efi.read(&firmware, system_table);
    }
    complete_display(facts, &firmware);
    facts.cpu = cpu::facts();
    let boot_cpu = devices::boot_apic_id();
    if !facts.order_cpus(boot_cpu) {
        refuse!("firmware: ACPI does not list the boot CPU (APIC {boot_cpu}) as usable: update the firmware");
    }
}

/// What `mem=`, `maxcpus=` and `nosmp` take away.
fn limit(facts: &mut BootFacts, options: &Options) {
    if let Some(end) = options.mem {
        facts.memory.limit_ram(end);
        log!("mem={} KiB: RAM above is ignored", end >> 10);
    }
    let listed = facts.cpus().len();
    let most = if options.nosmp { 1 } else { options.maxcpus.filter(|&cpus| cpus > 0).unwrap_or(u32::MAX) };
    facts.limit_cpus(most.min(percpu::MAX_CPUS) as usize);
    if facts.cpus().len() < listed {
        log!("{} of {listed} CPUs are used", facts.cpus().len());
    }
}

fn too_many_ranges() -> ! {
    refuse!("firmware: its memory map is too fragmented: update the firmware")
}
/// On BIOS machines without a frame buffer the screen is in text mode, and the BIOS knows the cursor (data area 0x40).
fn complete_display(facts: &mut BootFacts, firmware: &impl Firmware) {
    let byte = |at| firmware.bytes(Maddr(at), 1).map_or(0, |bytes| u16::from(bytes[0]));
    if facts.bios.vga == Some(false) && !matches!(facts.display, Display::Pixels { .. }) {
        facts.display = Display::None;
        return;
    }
    let (columns, rows) = match facts.display {
        _ if facts.bios.rows != 0 => (80, facts.bios.rows.into()),
        Display::Text { columns, rows, .. } => (columns, rows),
        Display::None if facts.efi_system_table.is_none() => (80, 25),
        _ => return,
    };
    let font_height = if (8..=32).contains(&byte(0x485)) { byte(0x485) } else { 16 };
    facts.display =
        Display::Text { columns, rows, font_height, cursor_x: byte(0x450), cursor_y: byte(0x451) };
}

/// A page below 1 MiB for the start-up code: not the first (the BIOS's), not a module's.
fn trampoline_page(ram: &FreeRanges, facts: &BootFacts, info: Range) -> Maddr {
    let mut low = unreserved(ram, facts, [bios::DATA, info, Range::default()]);
    low.take(ids::FRAME_SIZE, ids::FRAME_SIZE, 0xa_0000).unwrap_or_else(|| {
        refuse!("memory: no free page below 640 KiB to start CPUs with: update the firmware")
    })
}

/// `ram` without the modules and what is `taken`, in whole frames.
pub(crate) fn unreserved(ram: &FreeRanges, facts: &BootFacts, taken: [Range; 3]) -> FreeRanges {
    let mut free = ram.clone();
    for range in facts.modules().iter().map(|module| module.range()).chain(taken) {
        let frames = Range { start: range.start & !0xfff, end: (range.end + 0xfff) & !0xfff };
        free.remove(frames).unwrap_or_else(|_| too_many_ranges());
    }
    free
}

fn sections() -> Sections {
    let offset = |symbol: *const u8| (symbol.addr() - (&raw const image_start).addr()) as u64;
    Sections {
        first: offset(&raw const first_start),
        first_data: offset(&raw const first_data_start),
        text: offset(&raw const text_start),
        text_end: offset(&raw const text_end),
        pristine: offset(&raw const pristine_start),
        data: offset(&raw const data_start),
        data_end: offset(&raw const data_end),
        end: offset(&raw const image_end),
    }
}

fn new_tables(memory: &mut BootFrames<'_>, ram: &FreeRanges, largest: PageSize) -> PageTables {
    let tables = PageTables::new(memory).expect("no memory for page tables");
    let slots = [layout::M2P, layout::PER_CPU, layout::VAULT, layout::MMIO, layout::DIRECT_MAP];
    tables
        .populate_slots(memory, slots.map(layout::l4_index).into_iter())
        .expect("no memory for page tables");
    for range in ram.iter() {
        let va = layout::DIRECT_MAP + range.start;
        tables.map(memory, va, Maddr(range.start), range.len(), Access::Write, largest).expect("direct map");
    }
    tables
}

/// Makes the second copy of the image: of its code and constants as much as there is room for where Dom0 may read.
fn second_image(
    memory: &mut BootFrames<'_>,
    tables: PageTables,
    sections: Sections,
    load: Maddr,
) -> ImageCopies {
    let seals = Maddr(memory.take_constant(SEAL_BYTES).start);
    let code = memory.take_constant(sections.sealed_bytes().min(memory.shown.len()));
    let split = sections.text + code.len();
    let rest = Maddr(memory.take(sections.end - split, ids::FRAME_SIZE).start);
    let place = Place { code: Maddr(code.start), split, rest };
    // SAFETY: the boot loader put us at `load`, and these tables are in use; the other places were just taken.
    let copies = unsafe { ImageCopies::build(tables, memory, sections, load, place, seals) };
    copies.expect("no memory for the second image")
}

/// Maps the blocks and writes each CPU's GDT, TSS and exception gates.
fn per_cpu_blocks(memory: &mut BootFrames<'_>, tables: PageTables, cpus: u32) -> Range {
    let frames = memory.take(percpu::BYTES * u64::from(cpus), ids::FRAME_SIZE);
    // SAFETY: just taken.
    unsafe { direct::zero(Maddr(frames.start), frames.len() as usize) };
    for cpu in 0..cpus {
        let own = Maddr(frames.start + percpu::BYTES * u64::from(cpu));
        percpu::map(tables, memory, CpuId(cpu), own).expect("no memory for a per-CPU block");
        // SAFETY: the memory behind that CPU's block; no CPU uses it yet.
        unsafe { tables::write(CpuId(cpu), own) };
        // SAFETY: as above.
        unsafe { faults::set_gates(own) };
    }
    frames
}
