//! Starting the other CPUs: a page of real-mode code below 1 MiB, and page tables that show it where it is.
//!
//! The page and its tables stay for good: recovery takes a CPU that does not answer an NMI the same way.
#![expect(unsafe_code, reason = "start-up code in assembly")]

use core::arch::global_asm;
use core::ptr;

use ids::{CpuId, Maddr};

use crate::apic::{Ipi, LocalApic};
use crate::paging::{ADDRESS_MASK, Bits, MapError, PageTables, TableMemory};
use crate::{clock, direct, layout, percpu, port};

// Real mode straight to long mode: CR4.PAE, CR3, EFER.LME and NXE, then CR0.PE and PG at once. Whatever depends on the
// page's address was written into it by `Trampoline::build`.
global_asm!(
    r#"
    .section .rodata.trampoline, "a", @progbits
    .code16
    .balign 16
    .global smp_code
smp_code:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl smp_gdtr - smp_code
    movl $0x20, %eax
    movl %eax, %cr4
    movl smp_root - smp_code, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl $0x80010001, %eax
    movl %eax, %cr0
    ljmpl *(smp_far - smp_code)

    .code64
    .global smp_long
smp_long:
    movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movq smp_stack(%rip), %rsp
    movl smp_cpu(%rip), %edi
    movq smp_final_root(%rip), %rdx
    movq smp_entry(%rip), %rsi
    movq smp_high_address(%rip), %rax
    jmpq *%rax

    .balign 8
smp_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
    .global smp_gdtr, smp_far, smp_root, smp_stack, smp_cpu, smp_final_root, smp_entry, smp_high_address, smp_end
smp_gdtr:
    .short smp_gdtr - smp_gdt - 1
    .long smp_gdt - smp_code
    .short 0
smp_far:
    .long smp_long - smp_code
    .short 8, 0
smp_root:           .long 0
smp_cpu:            .long 0
    .balign 8
smp_stack:          .quad 0
smp_final_root:     .quad 0
smp_entry:          .quad 0
smp_high_address:   .quad 0
smp_end:

    .section .text.smp_high, "ax", @progbits
    .global smp_high
smp_high:
    movq %rdx, %cr3
    xorl %ebp, %ebp
    pushq $0
    movq %rsi, %r11
    jmp __x86_indirect_thunk_r11
    .text
"#,
    options(att_syntax)
);

// SAFETY: labels of the code above; only their addresses are taken, as offsets into what is copied.
unsafe extern "C" {
    static smp_code: u8;
    static smp_gdtr: u8;
    static smp_far: u8;
    static smp_root: u8;
    static smp_cpu: u8;
    static smp_stack: u8;
    static smp_final_root: u8;
    static smp_entry: u8;
    static smp_high_address: u8;
    static smp_end: u8;
    static smp_high: u8;
}

/// What a started CPU runs: gets its number, on its own stack, with the final page tables, boot descriptor tables and
/// no features enabled yet.
pub type Entry = extern "C" fn(CpuId) -> !;

/// The start-up page and its tables. Plain data: part of the sealed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Trampoline {
    page: Maddr,
    /// Tables below 4 GiB to start with.
    root: u32,
    final_root: Maddr,
}

const INIT_DELAY_NS: u64 = 10_000_000;
const STARTUP_DELAY_NS: u64 = 300_000;
const ARRIVAL_NS: u64 = 2_000_000_000;

impl Trampoline {
    /// Builds the tables for code in `page` from `memory`.
    ///
    /// # Safety
    /// `page` is a free frame below 1 MiB in the direct map; `memory` allocates below 4 GiB; `tables` are the final ones,
    /// slots 256 and above complete.
    pub unsafe fn build(
        tables: PageTables,
        memory: &mut impl TableMemory,
        page: Maddr,
    ) -> Result<Self, MapError> {
        let own = PageTables::new(memory)?;
        for slot in layout::FIRST_SLOT..layout::END_SLOT {
            let entry = memory.read(tables.root(), slot);
            memory.write(own.root(), slot, entry);
        }
        let table = own.table(memory, page.0, crate::paging::PageSize::Small)?;
        memory.write(table, (page.0 >> 12) as usize & 511, page.0 | (Bits::PRESENT | Bits::WRITABLE).bits());
        let root = u32::try_from(own.root().0 & ADDRESS_MASK).map_err(|_| MapError::OutOfMemory)?;
        Ok(Self { page, root, final_root: tables.root() })
    }

    /// Writes the code: before every start, for Dom0 may write to low memory.
    fn fill(&self) {
        let base = self.page.0 as u32;
        let len = offset(&raw const smp_end) as usize;
        let to = direct::pointer::<u8>(self.page);
        // SAFETY: the code is shorter than the page, which is ours.
        unsafe { ptr::copy_nonoverlapping(&raw const smp_code, to, len) };
        self.set(&raw const smp_root, self.root);
        self.add(offset(&raw const smp_gdtr) + 2, base);
        self.add(offset(&raw const smp_far), base);
        self.set(&raw const smp_final_root, self.final_root.0);
        self.set(&raw const smp_high_address, (&raw const smp_high).addr() as u64);
    }

    /// The start-up page: code that a CPU runs in the hypervisor's name.
    pub const fn page(&self) -> Maddr {
        self.page
    }

    /// Takes the CPU with identifier `apic_id`, whatever it does, to `entry` as CPU `cpu`, on the stack that ends at
    /// `stack` in its block, and waits until `arrived`. The boot CPU can be taken where there is a BIOS only. One at a
    /// time. False if it does not come; it is then held in the INIT state.
    ///
    /// # Safety
    /// The CPU owns nothing others wait for; its per-CPU block is mapped and that stack free.
    pub unsafe fn start(
        &self,
        apic: LocalApic,
        (cpu, apic_id, stack): (CpuId, u32, u64),
        entry: Entry,
        tsc_khz: u64,
        arrived: impl Fn() -> bool,
    ) -> bool {
        self.fill();
        self.set(&raw const smp_cpu, cpu.0);
        self.set(&raw const smp_stack, percpu::block(cpu) + stack);
        self.set(&raw const smp_entry, entry as usize as u64);
        // The boot CPU goes from INIT to the firmware, which sends it here for this code.
        let old = (cpu == CpuId(0)).then(|| set_warm_start(self.page));
        // SAFETY: the caller's promise.
        unsafe { apic.send(Ipi::Init, apic_id) };
        clock::delay(INIT_DELAY_NS, tsc_khz);
        let came = self.start_up(apic, apic_id, tsc_khz, arrived);
        if let Some(old) = old {
            unset_warm_start(old);
        }
        came
    }

    fn start_up(&self, apic: LocalApic, apic_id: u32, tsc_khz: u64, arrived: impl Fn() -> bool) -> bool {
        for wait in [STARTUP_DELAY_NS, ARRIVAL_NS] {
            // SAFETY: the page holds the start-up code; `start`'s caller's promise.
            unsafe { apic.send(Ipi::Startup((self.page.0 >> 12) as u8), apic_id) };
            if clock::wait_until(wait, tsc_khz, &arrived) {
                return true;
            }
        }
        // SAFETY: as above. It may be anywhere: stop it before the page is used for another.
        unsafe { apic.send(Ipi::Init, apic_id) };
        false
    }

    fn set<T>(&self, symbol: *const u8, value: T) {
        let at = direct::pointer::<u8>(Maddr(self.page.0 + offset(symbol))).cast::<T>();
        // SAFETY: a field of the page, which is ours.
        unsafe { at.write_unaligned(value) };
    }

    fn add(&self, offset: u64, base: u32) {
        let at = direct::pointer::<u8>(Maddr(self.page.0 + offset)).cast::<u32>();
        // SAFETY: a field of the page, which is ours.
        let value = unsafe { at.read_unaligned() };
        // SAFETY: as above.
        unsafe { at.write_unaligned(value + base) };
    }
}

/// Where the BIOS jumps to on a warm start (data area, 40:67: offset and segment), if the battery-backed byte says so.
const WARM_VECTOR: Maddr = Maddr(0x467);
const SHUTDOWN_BYTE: u8 = 0x0f;
/// Jump by the vector, without an end of interrupt.
const JUMP: u8 = 0x0a;

/// Makes the BIOS send a CPU that was reset to `page`; returns what the vector was.
fn set_warm_start(page: Maddr) -> u32 {
    let vector = direct::pointer::<u32>(WARM_VECTOR);
    // SAFETY: RAM, so in the direct map; a word of the BIOS's data area.
    let old = unsafe { vector.read_unaligned() };
    // SAFETY: as above, meant for this.
    unsafe { vector.write_unaligned((page.0 as u32 >> 4) << 16) };
    write_cmos(SHUTDOWN_BYTE, JUMP);
    old
}

fn unset_warm_start(old: u32) {
    write_cmos(SHUTDOWN_BYTE, 0);
    // SAFETY: as in `set_warm_start`.
    unsafe { direct::pointer::<u32>(WARM_VECTOR).write_unaligned(old) };
}

fn write_cmos(index: u8, value: u8) {
    // SAFETY: the index port of the battery-backed memory.
    unsafe { port::write_u8(0x70, index) };
    // SAFETY: its data port.
    unsafe { port::write_u8(0x71, value) };
}

/// Where in the page `symbol` of the code comes to lie.
fn offset(symbol: *const u8) -> u64 {
    (symbol.addr() - (&raw const smp_code).addr()) as u64
}
