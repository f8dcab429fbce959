//! GDT, TSS and IDT of a CPU, in its per-CPU block. Selectors are the ABI's (public/arch-x86/xen-x86_64.h).
#![expect(unsafe_code, reason = "loads descriptor tables")]

use ids::CpuId;
use x86::bits64::task::TaskStateSegment;
use x86::dtables::{self, DescriptorTablePointer};
use x86::segmentation::{self, SegmentSelector};

use crate::percpu;

/// Ring 0 64-bit code (`__HYPERVISOR_CS64` of Xen's own GDT page).
pub const HYPERVISOR_CS: u16 = 0xe008;
/// Ring 0 data.
pub const HYPERVISOR_DS: u16 = 0xe010;
/// Task state segment; two entries.
pub const TSS_SELECTOR: u16 = 0xe040;
/// A guest's local descriptor table; two entries, empty until one is loaded.
pub const LDT_SELECTOR: u16 = 0xe050;
/// A segment whose limit is the CPU's number, read by LSL.
pub const CPU_NUMBER_SELECTOR: u16 = 0xe063;
/// GDTR limit: through the reserved page (`LAST_RESERVED_GDT_BYTE`).
pub const GDT_LIMIT: u16 = 0xefff;

/// Entries of the own GDT page in use.
pub const GDT_ENTRIES: usize = 13;

/// Interrupt stack numbers as gates carry them.
pub mod ist {
    /// Stay on the current stack, or take RSP0.
    pub const NONE: u8 = 0;
    /// Non-maskable interrupt.
    pub const NMI: u8 = 1;
    /// Double fault.
    pub const DOUBLE_FAULT: u8 = 2;
    /// Machine check.
    pub const MACHINE_CHECK: u8 = 3;
    /// Debug exception.
    pub const DEBUG: u8 = 4;
}

/// A system descriptor: `base`, `limit`, `type` (9 available TSS, 2 LDT), present.
pub const fn system_descriptor(base: u64, limit: u32, kind: u8) -> [u64; 2] {
    let limit = limit as u64;
    let low = (limit & 0xffff)
        | ((base & 0xff_ffff) << 16)
        | ((kind as u64 | 0x80) << 40)
        | (((limit >> 16) & 0xf) << 48)
        | (((base >> 24) & 0xff) << 56);
    [low, base >> 32]
}

/// The hypervisor's own page of `cpu`'s GDT, its entries in use.
pub const fn gdt(cpu: CpuId) -> [u64; GDT_ENTRIES] {
    let tss = system_descriptor(percpu::block(cpu) + percpu::TSS, TSS_BYTES - 1, 9);
    // The accessed bits are set, so that the processor never writes here.
    let mut entries = [0; GDT_ENTRIES];
    entries[1] = 0x00af_9b00_0000_ffff;
    entries[2] = 0x00cf_9300_0000_ffff;
    entries[4] = 0x00cf_fb00_0000_ffff;
    entries[5] = 0x00cf_f300_0000_ffff;
    entries[6] = 0x00af_fb00_0000_ffff;
    entries[8] = tss[0];
    entries[9] = tss[1];
    // Data, ring 3, read-only, byte granular.
    entries[12] = 0x0040_f100_0000_0000 | (cpu.0 as u64 & 0xffff);
    entries
}

const TSS_BYTES: u32 = size_of::<TaskStateSegment>() as u32;

/// `cpu`'s task state segment: RSP0 and the interrupt stacks, no I/O bitmap.
pub fn tss(cpu: CpuId) -> TaskStateSegment {
    let block = percpu::block(cpu);
    let mut tss = TaskStateSegment::new();
    tss.set_rsp(x86::Ring::Ring0, block + percpu::STACK_TOP);
    tss.set_ist(usize::from(ist::NMI) - 1, block + percpu::NMI_STACK_TOP);
    tss.set_ist(usize::from(ist::DOUBLE_FAULT) - 1, block + percpu::DOUBLE_FAULT_STACK_TOP);
    tss.set_ist(usize::from(ist::MACHINE_CHECK) - 1, block + percpu::MACHINE_CHECK_STACK_TOP);
    tss.set_ist(usize::from(ist::DEBUG) - 1, block + percpu::DEBUG_STACK_TOP);
    tss.iomap_base = 0x8000;
    tss
}

/// An interrupt gate of the IDT (Intel SDM volume 3, 6.14.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Address of the handler.
    pub handler: u64,
    /// Interrupt stack, see [`ist`].
    pub ist: u8,
    /// Lowest privilege that may use it by INT n.
    pub dpl: u8,
}

impl Gate {
    /// The gate's two words.
    pub const fn words(self) -> [u64; 2] {
        let low = (self.handler & 0xffff)
            | ((HYPERVISOR_CS as u64) << 16)
            | ((self.ist as u64 & 7) << 32)
            | ((0x8e | ((self.dpl as u64 & 3) << 5)) << 40)
            | ((self.handler & 0xffff_0000) << 32);
        [low, self.handler >> 32]
    }
}

/// Writes `cpu`'s GDT page and TSS through the direct map; `frames` is the memory behind its block.
///
/// # Safety
/// It is, and `cpu` has not loaded these tables, or is this CPU with interrupts off.
pub unsafe fn write(cpu: CpuId, frames: ids::Maddr) {
    let part = |offset| percpu::frame_of(frames, offset).expect("a part of the block");
    let page = crate::direct::pointer::<[u64; GDT_ENTRIES]>(part(percpu::GDT_OWN_PAGE));
    // SAFETY: within the block's frames; the caller's promise.
    unsafe { page.write_volatile(gdt(cpu)) };
    let segment = crate::direct::pointer::<TaskStateSegment>(part(percpu::TSS));
    // SAFETY: as above.
    unsafe { segment.write_volatile(tss(cpu)) };
}

/// Loads a guest's LDT of `entries` from the window of `cpu`'s block into this CPU; none without entries.
pub fn set_ldt(cpu: CpuId, entries: u32) {
    let descriptor = match entries {
        0 => [0; 2],
        _ => system_descriptor(percpu::block(cpu) + percpu::LDT_WINDOW, entries * 8 - 1, 2),
    };
    load_ldt(cpu, descriptor);
}

/// Makes `selector` of the local table that of a flat data segment of privilege level 3, until the next
/// [`set_ldt`]: the table is laid so that the one descriptor is where the selector says.
pub fn show_flat_at(cpu: CpuId, selector: u16) {
    /// Writable, accessed, present, 4 GiB.
    static FLAT: u64 = 0x00cf_f300_0000_ffff;
    let base = (&raw const FLAT).addr() as u64 - u64::from(selector & !7);
    load_ldt(cpu, system_descriptor(base, 0xffff, 2));
}

/// Loads this CPU's LDTR with a descriptor of the LDT; zero: with null.
fn load_ldt(cpu: CpuId, descriptor: [u64; 2]) {
    let page = percpu::block(cpu) + percpu::GDT_WINDOW + percpu::GDT_OWN_PAGE;
    let index = u64::from((LDT_SELECTOR - 0xe000) >> 3);
    let slot: *mut [u64; 2] = core::ptr::with_exposed_provenance_mut((page + 8 * index) as usize);
    // SAFETY: this CPU's own GDT page, two entries that only LDTR refers to.
    unsafe { slot.write_volatile(descriptor) };
    let selector = if descriptor == [0; 2] { 0 } else { LDT_SELECTOR };
    // SAFETY: null, or the LDT descriptor just written.
    unsafe { dtables::load_ldtr(SegmentSelector::from_raw(selector)) };
}

/// Writes gate `vector` of `cpu`'s IDT, whose frames start at `frames`, through the direct map (the CPU's own view
/// of it is read-only).
///
/// # Safety
/// `frames` is the memory behind `cpu`'s block and `gate.handler` is an interrupt entry point for `vector`.
pub unsafe fn set_gate(frames: ids::Maddr, vector: u8, gate: Gate) {
    let idt = percpu::frame_of(frames, percpu::IDT).expect("the IDT is a part of the block");
    let at = crate::direct::pointer::<[u64; 2]>(ids::Maddr(idt.0 + u64::from(vector) * 16));
    // SAFETY: within the IDT's frame; the caller's promise.
    unsafe { at.write_volatile(gate.words()) };
}

/// Loads `cpu`'s GDT, TSS and IDT into this CPU, its own segments, and null FS, GS and LDT. May be repeated, as after
/// INIT: the TSS's busy bit is cleared first.
///
/// # Safety
/// This CPU is `cpu`; [`write()`] was called; the tables in use map the block.
pub unsafe fn load(cpu: CpuId) {
    let block = percpu::block(cpu) as usize;
    let gdt = DescriptorTablePointer::<u64> {
        limit: GDT_LIMIT,
        base: core::ptr::with_exposed_provenance(block + percpu::GDT_WINDOW as usize),
    };
    let idt = DescriptorTablePointer::<u64> {
        limit: 0xfff,
        base: core::ptr::with_exposed_provenance(block + percpu::IDT as usize),
    };
    // SAFETY: ring 0; the caller's promise.
    unsafe { dtables::lgdt(&gdt) };
    // SAFETY: `gdt` describes a flat 64-bit ring 0 code segment there.
    unsafe { segmentation::load_cs(SegmentSelector::from_raw(HYPERVISOR_CS)) };
    let data = SegmentSelector::from_raw(HYPERVISOR_DS);
    // SAFETY: a flat ring 0 data segment.
    unsafe { segmentation::load_ss(data) };
    // SAFETY: as above.
    unsafe { segmentation::load_ds(data) };
    // SAFETY: as above.
    unsafe { segmentation::load_es(data) };
    let null = SegmentSelector::from_raw(0);
    // SAFETY: nothing here uses FS.
    unsafe { segmentation::load_fs(null) };
    // SAFETY: nothing here uses GS.
    unsafe { segmentation::load_gs(null) };
    // SAFETY: 256 gates; those never set are not present and fault as such.
    unsafe { dtables::lidt(&idt) };
    // SAFETY: null means no LDT.
    unsafe { dtables::load_ldtr(null) };
    let own =
        core::ptr::with_exposed_provenance_mut::<[u64; GDT_ENTRIES]>(block + percpu::GDT_OWN_PAGE as usize);
    // SAFETY: this CPU's own page, mapped writable; the same bytes but for the busy bit (and a guest's LDT, unloaded).
    unsafe { own.write_volatile(self::gdt(cpu)) };
    // SAFETY: an available TSS is there.
    unsafe { x86::task::load_tr(SegmentSelector::from_raw(TSS_SELECTOR)) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use xen_abi::arch::{FLAT_RING3_CS32, FLAT_RING3_CS64};

    #[test]
    fn descriptors_hold_what_the_manual_says() {
        let [low, high] = Gate { handler: 0x1122_3344_5566_7788, ist: 3, dpl: 3 }.words();
        assert_eq!((low, high), (0x5566_ee03_e008_7788, 0x1122_3344));
        let [low, high] = system_descriptor(0xffff_8180_0002_1000, 0x67, 9);
        assert_eq!((low, high), (0x0000_8902_1000_0067, 0xffff_8180));
    }

    #[test]
    fn the_gdt_has_every_selector_of_the_abi() {
        let entries = gdt(CpuId(5));
        let at = |selector: u16| entries[usize::from((selector - 0xe000) >> 3)];
        for (selector, dpl, long) in
            [(HYPERVISOR_CS, 0, true), (FLAT_RING3_CS32, 3, false), (FLAT_RING3_CS64, 3, true)]
        {
            assert_eq!(((at(selector) >> 45) & 3, (at(selector) >> 53) & 1 == 1), (dpl, long));
        }
        assert_eq!(at(CPU_NUMBER_SELECTOR) & 0xffff, 5);
        assert_eq!(at(LDT_SELECTOR), 0);
    }
}
