//! Putting the composition together: by first boot over an empty vault, by every later start over what
//! is there.
#![expect(unsafe_code, reason = "claims the vault, loads this CPU's entry points")]

use alloc::boxed::Box;

use crate::boot::{self, LARGE_PAGE};
use crate::console::{self, log};
use crate::guest::hardware::{Alarm, Existing, Hardware};
use crate::guest::{access, guarded, run, stubs, swift};
use crate::sealed::{Sealed, sealed};
use crate::{chart, devices, efi, epitaph, fpu_areas, heap, pci_config};
use boot_info::{FreeRanges, Range};
use command_line::XenVersion;
use cpu_policy::cpuid::{Leaf, Vendor};
use cpu_policy::xen_leaves::{VERSION_4_17, VERSION_4_20, XenLeaves};
use cpu_policy::{Controls, SystemPolicies};
use domain::{Host, Limits, Release, State, Static};
use frames::Frame;
use ids::{CpuId, DomainSlot, Maddr, Mfn};
use machine::image::Copy;
use machine::paging::PageTables;
use machine::tables::{self, Gate, ist};
use machine::{control, cpuid, direct, layout, percpu};
use mitigations::Plan;
use pv_mmu::{IoRanges, IoRule};
use system::{Schedule, System, own_vector};
use timers::TimeScale;
use vault::Arena;
use xen_abi::arch::FLAT_RING3_CS32;

const _: () = assert!(sched::MAX_CPUS == percpu::MAX_CPUS, "sets of CPUs hold all");
/// Domain slots.
const DOMAINS: usize = 64;
/// Most vCPU slots.
const VCPUS: u64 = 256;
/// Most chunks of 64 event channel ports.
const PORT_CHUNKS: u64 = 2048;

/// What the vault has room for. Slots go by the machine's memory, lest small machines keep records that nobody can use:
/// for each vCPU there are 24 MiB, for each 64 ports 8.
pub(crate) fn limits(ram: &FreeRanges, cpus: u32) -> Limits {
    let mib = ram.bytes() >> 20;
    Limits {
        frames: (ram.end() / ids::FRAME_SIZE) as usize,
        domains: DOMAINS,
        vcpus: (mib / 24).clamp(64, VCPUS) as usize,
        cpus: cpus as usize,
        port_chunks: (mib / 8).clamp(192, PORT_CHUNKS) as usize,
    }
}

/// Bytes that the vault's regions need at least: the frame table's.
fn least_vault_bytes(limits: &Limits) -> u64 {
    (limits.frames * size_of::<Frame>()) as u64
}

/// Bytes that the vault's regions need at least, and at most, with `extended` bytes for each vCPU's extended state. First
/// boot gives back what they leave of the most.
pub(crate) fn vault_bytes(limits: &Limits, extended: usize) -> (u64, u64) {
    /// Of one CPU, domain, vCPU and chunk, rounded up well; and what does not depend on their numbers.
    const CPU: usize = 24 << 10;
    const DOMAIN: usize = 16 << 10;
    const VCPU: usize = 8 << 10;
    const CHUNK: usize = 1088;
    const REST: usize = 256 << 10;
    let vcpus = limits.vcpus * (VCPU + extended);
    let tracks = grants::tracks_of(limits.frames) * size_of::<grants::Track>();
    let records = tracks + limits.cpus * CPU + limits.domains * DOMAIN + vcpus + limits.port_chunks * CHUNK;
    let least = least_vault_bytes(limits);
    (least, least + (records + REST) as u64)
}

/// First boot writes the chart, and gives back what it and the regions leave of their memory. No other CPU runs.
fn give_back(record: &Sealed, arena: &Arena) {
    let rest = vault_rest(record, arena);
    unmap_and_free(record, vault_address(record.vault) + (rest.start - record.vault.start), rest);
    let rest = chart::write(record, arena);
    unmap_and_free(record, layout::CHART + (rest.start - record.chart.start), rest);
    control::flush_tlb();
}

fn unmap_and_free(record: &Sealed, first: u64, rest: Range) {
    let tables = PageTables::at(record.root);
    for va in (first..first + rest.len()).step_by(ids::FRAME_SIZE as usize) {
        assert!(tables.unmap_page(&mut Existing, va).is_some(), "ends are mapped in small pages");
    }
    let given = boot::FREE.lock().as_mut().is_none_or(|free| free.insert(rest).is_ok());
    if !given {
        log!("{} KiB of boot memory are lost to fragmentation", rest.len() >> 10);
    }
}

/// The memory behind the regions.
fn vault_rest(record: &Sealed, arena: &Arena) -> Range {
    let end = record.vault.end;
    Range { start: (end - arena.left() as u64).next_multiple_of(ids::FRAME_SIZE).min(end), end }
}

/// The vault's memory as long as the regions are.
pub(crate) fn vault_memory(record: &Sealed, arena: &Arena) -> Range {
    Range { start: record.vault.start, end: vault_rest(record, arena).start }
}

/// Where the vault is mapped: in large pages, as far as they go, so at the same place in one as its memory has.
pub(crate) fn vault_address(memory: Range) -> u64 {
    layout::VAULT + memory.start % LARGE_PAGE
}

static LOCKS: Static = Static::new();

/// The composition over the vault; `State` and all else derived is on the heap, for the life of this
/// image copy.
pub(crate) fn compose() -> &'static System<Hardware> {
    let record = sealed();
    guarded::start();
    // SAFETY: (1) boot mapped the vault for the regions alone; (2) it was zeroed, and every start carves
    // the same regions in the same order.
    let mut arena = unsafe { Arena::new(vault_address(record.vault) as usize, record.vault.len() as usize) };
    let limits = limits(&record.ram, record.cpus);
    let vcpus = limits.vcpus;
    let mut state =
        State::carve(&mut arena, limits, &LOCKS, record.facts, io_ranges(record), root_slots(record))
            .expect("the vault is large enough for all regions");
    if !state.machine.booted.get() {
        give_back(record, &arena);
        state.table_locks.devices.start();
    }
    state.efi = efi::services();
    state.epitaph = epitaph::text;
    let asked = &record.options.grant_tables;
    state.grants.defaults = grants::Limits {
        frames: asked.max_frames.clamp(grants::INITIAL_FRAMES, grants::MAX_FRAMES),
        maptrack_frames: asked.max_maptrack_frames,
        version: asked.max_version,
    };
    state.grants.transfers = asked.transfers;
    state.pci = Some(&pci_config::Devices);
    state.policies.system = Box::leak(Box::new(policies(&record.mitigations)));
    state.host = Host {
        ram_frames: record.ram.bytes() / ids::FRAME_SIZE,
        log_levels: [record.options.loglvl, record.options.guest_loglvl],
        last_frame: (record.ram.end() / ids::FRAME_SIZE).saturating_sub(1),
        release: match record.options.xen_version {
            XenVersion::V4_17 => Release::V4_17,
            XenVersion::V4_20 => Release::V4_20,
        },
        log: Some(&console::Reader),
    };
    let schedule = Schedule::new(record.cpus, vcpus as u32, state.sched);
    let state: &'static State = Box::leak(Box::new(state));
    fpu_areas::install(&state.extended);
    let scale = TimeScale::from_khz(record.facts.timing.tsc_khz).expect("boot measured the clock");
    let alarm = Alarm::new(record.facts.timing);
    let platform: &'static Hardware = Box::leak(Box::new(Hardware { scale, alarm }));
    let system = System { platform, state, leaves: leaves(record, scale), schedule, scale };
    let system: &'static System<Hardware> = Box::leak(Box::new(system));
    run::install(system);
    system
}

/// What Dom0 may not map: local and I/O APICs and the interrupt message window; configuration space it may read, its
/// writes are looked at. All memory below 1 MiB is the firmware's, which Linux searches: also the page there that
/// starts CPUs.
fn io_ranges(record: &Sealed) -> IoRanges {
    let facts = &record.facts;
    let mut ranges = IoRanges::new(u32::from(facts.cpu.physical_bits));
    let mut add = |first: u64, last: u64, rule: IoRule| {
        let added = ranges.add(Mfn(first >> 12), Mfn(last >> 12), rule);
        assert!(added, "room for the machine's own devices");
    };
    add(0xfee0_0000, 0xfeef_ffff, IoRule::Forbidden);
    add(facts.acpi.madt.local_apic.0, facts.acpi.madt.local_apic.0, IoRule::Forbidden);
    for io_apic in &facts.acpi.madt.io_apics {
        add(io_apic.address.0, io_apic.address.0, IoRule::Forbidden);
    }
    for bytes in facts.acpi.config_spaces.iter().map(boot_info::ConfigSpace::range) {
        add(bytes.start, bytes.end.saturating_sub(1), IoRule::ReadOnly);
    }
    ranges.show(Mfn(record.m2p.start >> 12), Mfn(record.m2p.end.saturating_sub(1) >> 12));
    ranges
}

/// Entries 256 to 271 of the hypervisor's own root table.
fn root_slots(record: &Sealed) -> [u64; 16] {
    let mut slots = [0; 16];
    for (index, slot) in slots.iter_mut().enumerate() {
        let at = record.root.0 + 8 * (layout::FIRST_SLOT + index) as u64;
        // SAFETY: the root table is RAM of ours.
        *slot = unsafe { direct::read_word(Maddr(at)) };
    }
    slots
}

fn policies(plan: &Plan) -> SystemPolicies {
    let controls = Controls {
        hide_avx: plan.hide_avx,
        prediction_barrier: plan.has_barrier,
        arch_capabilities: plan.capabilities,
        ..Controls::default()
    };
    SystemPolicies::new(host_leaf, &controls)
}

fn host_leaf(leaf: u32, subleaf: u32) -> Leaf {
    let answer = cpuid::cpuid!(leaf, subleaf);
    Leaf { eax: answer.eax, ebx: answer.ebx, ecx: answer.ecx, edx: answer.edx }
}

/// Whether `sysenter` works in long mode: on AMD's processors it is an invalid instruction there.
fn has_sysenter() -> bool {
    const SEP: u32 = 1 << 11;
    Vendor::of(&host_leaf(0, 0)) != Vendor::Amd && host_leaf(1, 0).edx & SEP != 0
}

fn leaves(record: &Sealed, scale: TimeScale) -> XenLeaves {
    let khz = record.facts.timing.tsc_khz as u32;
    XenLeaves {
        version: match record.options.xen_version {
            XenVersion::V4_17 => VERSION_4_17,
            XenVersion::V4_20 => VERSION_4_20,
        },
        virtual_tsc: false,
        host_tsc_safe: record.facts.timing.tsc_invariant,
        rdtscp: true,
        tsc_mode: 2,
        tsc_khz: khz,
        incarnation: 0,
        tsc_offset_ns: 0,
        ns_multiplier: scale.mul_frac,
        ns_shift: scale.shift,
        cpu_khz: khz,
        machine_address_bits: record.facts.cpu.physical_bits,
    }
}

/// `syscall` clears these flags: TF, IF, DF, NT, AC.
const SYSCALL_MASK: u64 = 1 << 8 | 1 << 9 | 1 << 10 | 1 << 14 | 1 << 18;

/// Makes this CPU enter through the guest stubs: gates, syscall registers, timer vector.
pub(crate) fn load_entry_points() {
    let record = sealed();
    let cpu = crate::guest::hardware::this_cpu();
    let frames = Maddr(record.per_cpu.start + percpu::BYTES * u64::from(cpu.0));
    guarded::load_cells(cpu);
    guarded::load_registers();
    let [vectors, call64, call32, sysenter] = if guarded::is_on() {
        [
            &raw const guarded::revenant_guarded_vectors,
            &raw const guarded::revenant_guarded_syscall64,
            &raw const guarded::revenant_guarded_syscall32,
            &raw const guarded::revenant_guarded_sysenter,
        ]
    } else {
        [
            &raw const stubs::revenant_vectors,
            &raw const stubs::revenant_syscall64,
            &raw const stubs::revenant_syscall32,
            &raw const stubs::revenant_sysenter,
        ]
    };
    let vectors = vectors.addr() as u64;
    for vector in 0..=255_u8 {
        let (stack, dpl) = match vector {
            1 => (ist::DEBUG, 0),
            2 => (ist::NMI, 0),
            8 => (ist::DOUBLE_FAULT, 0),
            18 => (ist::MACHINE_CHECK, 0),
            3 | 4 | 0x80 => (ist::NONE, 3),
            _ => (ist::NONE, 0),
        };
        let gate = Gate { handler: vectors + u64::from(vector) * stubs::VECTOR_STRIDE, ist: stack, dpl };
        // SAFETY: the stub of that vector; this CPU has interrupts off.
        unsafe { tables::set_gate(frames, vector, gate) };
    }
    let entry = |table: *const u8| table.addr() as u64 + u64::from(cpu.0) * stubs::SYSCALL_STRIDE;
    let registers = [
        (x86::msr::IA32_STAR, u64::from(tables::HYPERVISOR_CS) << 32 | u64::from(FLAT_RING3_CS32) << 48),
        (x86::msr::IA32_LSTAR, entry(call64)),
        (x86::msr::IA32_CSTAR, entry(call32)),
        (x86::msr::IA32_FMASK, SYSCALL_MASK),
    ];
    for (register, value) in registers {
        // SAFETY: part of x86-64; the entry points are this CPU's own.
        unsafe { control::write_msr(register, value) };
    }
    load_sysenter(cpu, sysenter);
    let apic = devices::local_apic(record.facts);
    // This CPU's timer stops; its next way to a guest sets it.
    if Alarm::new(record.facts.timing).by_stamp {
        apic.set_deadline_vector(own_vector::TIMER);
        apic.set_deadline(0);
    } else {
        apic.set_timer_vector(own_vector::TIMER);
    }
    access::set_smap(control::detect().smap);
    if let Some(system) = run::installed() {
        swift::watch(system.schedule.look_word(cpu));
    }
}

/// Bytes of the heap's permanent memory: for what the composition derives from the vault, and for lists and variables of
/// the firmware that hypercalls hold meanwhile.
pub(crate) fn heap_bytes(limits: &Limits, has_efi: bool) -> u64 {
    /// Of one CPU and vCPU, rounded up well; what does not depend on their numbers; a variable of the firmware.
    const CPU: usize = 4 << 10;
    const VCPU: usize = 256;
    const REST: usize = 80 << 10;
    const VARIABLE: usize = 64 << 10;
    let variable = if has_efi { VARIABLE } else { 0 };
    (limits.cpus * CPU + limits.vcpus * VCPU + REST + variable) as u64
}

/// Says who has the memory.
pub(crate) fn report(system: &System<Hardware>) {
    let (state, record) = (system.state, sealed());
    let frames = &state.frames;
    let free = frames.heap().free_frames();
    log!("{} MiB free for domains", (free * ids::FRAME_SIZE) >> 20);
    let own = state.host.ram_frames.saturating_sub(free + frames.list(DomainSlot(0)).pages());
    let table = least_vault_bytes(&limits(&record.ram, record.cpus));
    let [shown, _] = record.image.runs(Copy::B);
    log!(
        "The hypervisor keeps {} KiB: frame table {}, M2P {}, image {}, heap {} ({} in use)",
        (own * ids::FRAME_SIZE) >> 10,
        table >> 10,
        record.m2p.len() >> 10,
        (2 * record.image.bytes() - shown.1) >> 10,
        record.heap.len() >> 10,
        heap::used() >> 10
    );
}

/// Makes `sysenter` enter at `stub`, where the instruction works. Stack selector and selectors of `sysexit`, which is not
/// used, follow from the code selector.
fn load_sysenter(cpu: CpuId, stub: *const u8) {
    if !has_sysenter() {
        return;
    }
    let block = percpu::block(cpu);
    let stack = block + if guarded::is_on() { percpu::ENTRY_TOP } else { stubs::FRAME_CELL };
    let registers = [
        (x86::msr::IA32_SYSENTER_CS, tables::HYPERVISOR_CS.into()),
        (x86::msr::IA32_SYSENTER_ESP, stack),
        (x86::msr::IA32_SYSENTER_EIP, stub.addr() as u64),
    ];
    for (register, value) in registers {
        // SAFETY: CPUID says that it is there; the stub expects this stack, which is this CPU's own.
        unsafe { control::write_msr(register, value) };
    }
}
