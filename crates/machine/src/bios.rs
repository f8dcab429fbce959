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

use core::arch::global_asm;
use core::ptr;

use boot_info::bios;
use ids::Maddr;

use crate::direct;

/// Bytes of the area.
pub const AREA_BYTES: u64 = 0x4000;

const SECTOR: u16 = 0x1000;
const SECTOR_BYTES: u16 = 0x1000;
const SCREEN: u16 = 0x2000;
const EDID: u16 = 0x2200;
const ANSWERS: u16 = 0x2400;
const STACK_TOP: u16 = 0x4000;

/// Ticks of the BIOS's timer (18.2 a second) that one call may take.
const PATIENCE: u16 = 182;

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

// Calls a BIOS interrupt. Leaves flags and registers as the BIOS does, but `ds` and `es`: ours.
global_asm!(
    r#"
    .macro bios_int number
    movw ${patience}, %cs:bios_ticks - bios_code
    int $\number
    pushw %cs
    popw %ds
    pushw %cs
    popw %es
    .endm

    .section .rodata.bios, "a", @progbits
    .balign 16
    .global bios_code, bios_end, bios_base, bios_gdtr, bios_gdt16, bios_gdt16_data, bios_real, bios_far32
    .global bios_far64, bios_disks, bios_monitor, bios_rows, bios_return, bios_stack, bios_cr0, bios_cr3, bios_cr4
    .global bios_efer, bios_old_gdtr, bios_old_idtr

    # From `bios_ask`, with EBX = area, in long mode at the address that is the machine's.
    .code64
bios_code:
    lgdt bios_gdtr(%rip)
    leaq bios_32(%rip), %rax
    pushq $24
    pushq %rax
    lretq

    .code32
bios_32:
    movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl bios_cr0 - bios_code(%ebx), %eax
    andl $0x7ffeffff, %eax          # neither paging nor write protection
    movl %eax, %cr0
    movl $0xc0000080, %ecx
    rdmsr
    andl $~0x100, %eax              # EFER.LME
    wrmsr
    xorl %eax, %eax
    movl %eax, %cr4
    ljmpl *(bios_far16 - bios_code)(%ebx)

    .code16
bios_16:                            # protected mode, segments of 64 KiB that begin at the area
    movw $40, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    lidtl bios_ivt - bios_code
    movl %cr0, %eax
    andb $0xfe, %al
    movl %eax, %cr0
    ljmpw *(bios_real - bios_code)

bios_16_real:
    movw %cs, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl ${stack_top}, %esp
    xorw %ax, %ax
    movw %ax, %fs
    movw %ax, %gs
    xorl %ebp, %ebp
    movl %fs:0x20, %eax             # interrupt 8: the timer
    movl %eax, bios_old_tick - bios_code
    movw $(bios_tick - bios_code), %fs:0x20
    movw %cs, %fs:0x22
    sti

    xorl %ecx, %ecx
    xorl %edx, %edx
    xorl %esi, %esi
    xorl %edi, %edi
    movw $0xec00, %ax               # the system will run in long mode
    movw $2, %bx
    bios_int 0x15

    cmpb $2, bios_disks - bios_code
    je bios_screen

    # Disks: Enhanced Disk Drive specification 3.0, functions 41h and 48h, and function 08h of old.
    movb $1, {stage}
    movw ${disk_list}, bios_slot - bios_code
    movb $0x80, bios_device - bios_code
bios_next_disk:
    movb bios_device - bios_code, %dl
    movw $0x55aa, %bx
    movb $0x41, %ah
    bios_int 0x13
    jc bios_signatures              # there are no more
    cmpw $0xaa55, %bx
    jne bios_disk_done
    movw bios_slot - bios_code, %si
    movb %ah, 1(%si)
    movw %cx, 2(%si)
    movb bios_device - bios_code, %dl
    movb %dl, (%si)
    incb {disk_count}
    addw $8, %si
    movw ${parameter_bytes}, (%si)
    movw $0, 2(%si)
    movb $0x48, %ah
    bios_int 0x13
    xorw %ax, %ax
    movw %ax, %es
    xorw %di, %di
    movb bios_device - bios_code, %dl
    movb $8, %ah
    bios_int 0x13
    movw bios_slot - bios_code, %si # (a move leaves the carry alone)
    jc bios_no_geometry
    movb %ch, %al
    movb %cl, %ah
    shrb $6, %ah
    movw %ax, 4(%si)
    movb %dh, 6(%si)
    andb $0x3f, %cl
    movb %cl, 7(%si)
bios_no_geometry:
    addw ${disk_bytes}, bios_slot - bios_code
bios_disk_done:
    incb bios_device - bios_code
    jz bios_signatures
    cmpb ${most_disks}, {disk_count}
    jb bios_next_disk

    # The first sector of each: a boot record with a signature.
bios_signatures:
    cmpb $1, bios_disks - bios_code
    je bios_screen
    movb $2, {stage}
    movw ${signature_list}, bios_slot - bios_code
    movb $0x80, bios_device - bios_code
bios_next_sector:
    movb bios_device - bios_code, %dl
    movw ${disk_list}, %si
    movb {disk_count}, %cl
    movb $0, %ch
    jcxz bios_read
bios_find_disk:
    cmpb (%si), %dl
    je bios_found_disk
    addw ${disk_bytes}, %si
    loop bios_find_disk
    jmp bios_read
bios_found_disk:                    # a sector must have room
    cmpw ${sector_bytes}, 8 + 24(%si)
    ja bios_sector_done
bios_read:
    movw ${sector}, %bx
    movw $0, 0x1fe(%bx)
    movw $1, %cx
    movb $0, %dh
    movw $0x0201, %ax
    stc
    bios_int 0x13
    sti
    jc bios_screen                  # there are no more
    testb %ah, %ah
    jnz bios_screen
    movw ${sector}, %bx
    cmpw $0xaa55, 0x1fe(%bx)
    jne bios_sector_done
    movw bios_slot - bios_code, %di
    movl 0x1b8(%bx), %eax
    movl %eax, 4(%di)
    movb bios_device - bios_code, %dl
    movb %dl, (%di)
    addw $8, bios_slot - bios_code
    incb {signature_count}
bios_sector_done:
    incb bios_device - bios_code
    jz bios_screen
    cmpb ${most_signatures}, {signature_count}
    jb bios_next_sector

    # The screen: VBE core functions 3.0, VBE/DDC 1.1.
bios_screen:
    movb $3, {stage}
    movw $0x1200, %ax
    movb $0x10, %bl
    bios_int 0x10
    cmpb $0x10, %bl                 # older than EGA
    je bios_keys
    movw $0x1a00, %ax
    bios_int 0x10
    cmpb $0x1a, %al
    jne bios_keys
    movb $1, {vga}
    movb bios_rows - bios_code, %al
    testb %al, %al
    jz bios_monitor_asked
    movw $0x1202, %ax               # 400 lines, with 43 rows 350
    cmpb $43, bios_rows - bios_code
    jne bios_lines
    decb %al
bios_lines:
    movb $0x30, %bl
    bios_int 0x10
    movw $3, %ax                    # 80 columns, colour
    bios_int 0x10
    cmpb $25, bios_rows - bios_code
    je bios_text
    movw $0x1111, %ax               # characters of 14 lines
    cmpb $28, bios_rows - bios_code
    je bios_font
    movw $0x1112, %ax               # of 8
bios_font:
    movb $0, %bl
    bios_int 0x10
bios_text:
    movb bios_rows - bios_code, %al
    movb %al, {rows}
bios_monitor_asked:
    cmpb $1, bios_monitor - bios_code
    je bios_keys
    movb $4, {stage}
    movw ${screen}, %di
    movw $0x4f00, %ax
    bios_int 0x10
    cmpw $0x4f, %ax
    jne bios_keys
    cmpw $0x200, {screen} + 4
    jb bios_keys
    xorw %di, %di
    movw %di, %es
    xorw %bx, %bx
    xorw %cx, %cx
    movw $0x4f15, %ax               # what it can do
    bios_int 0x10
    cmpw $0x4f, %ax
    jne bios_keys
    movw %bx, {ability}
    cmpb $2, bios_monitor - bios_code
    je bios_edid
    testb $3, %bl                   # neither DDC 1 nor 2
    jz bios_keys
    cmpb $5, %bh                    # seconds for a block
    ja bios_keys
bios_edid:
    movw ${edid_at}, %di
    movw $1, %bx
    xorw %cx, %cx
    xorw %dx, %dx
    movw $0x4f15, %ax
    bios_int 0x10

bios_keys:
    movb $5, {stage}
    movw $0x200, %ax
    bios_int 0x16
    movb %al, {keys}
    movb $6, {stage}
    jmp bios_home

bios_tick:                          # interrupt 8: it goes on in the BIOS, unless the call takes too long
    decw %cs:bios_ticks - bios_code
    jz bios_give_up
    ljmpw *%cs:(bios_old_tick - bios_code)
bios_give_up:
    movb $0x20, %al                 # the end of this interrupt
    outb %al, $0x20
    movw %cs, %ax
    movw %ax, %ds
    movw %ax, %ss
    movl ${stack_top}, %esp
    movb $1, {given_up}

bios_home:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %fs
    movl bios_old_tick - bios_code, %eax
    movl %eax, %fs:0x20
    movl bios_base - bios_code, %ebx
    lgdtl bios_gdtr - bios_code
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl *(bios_far32 - bios_code)

    .code32
bios_32_back:
    movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    movl bios_cr4 - bios_code(%ebx), %eax
    movl %eax, %cr4
    movl bios_cr3 - bios_code(%ebx), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl bios_cr0 - bios_code(%ebx), %eax
    movl %eax, %cr0
    ljmpl *(bios_far64 - bios_code)(%ebx)

    .code64
bios_64_back:
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    lgdt bios_old_gdtr(%rip)
    lidt bios_old_idtr(%rip)
    movq bios_stack(%rip), %rsp
    movq bios_return(%rip), %rax
    jmpq *%rax

    .balign 8
bios_gdt:
    .quad 0
    .quad 0x00af9b000000ffff        # 8: 64-bit code, as in the boot loader's world and after
    .quad 0x00cf93000000ffff        # 16: data
    .quad 0x00cf9b000000ffff        # 24: 32-bit code
bios_gdt16:
    .quad 0x00009b000000ffff        # 32: code in the area
bios_gdt16_data:
    .quad 0x000093000000ffff        # 40: data in the area
bios_gdtr:
    .short bios_gdtr - bios_gdt - 1
    .quad bios_gdt - bios_code      # the machine's address is added, as to all that follows
    .short 0
bios_far32:
    .long bios_32_back - bios_code
    .short 24, 0
bios_far64:
    .long bios_64_back - bios_code
    .short 8, 0
bios_base:  .long 0
bios_real:
    .short bios_16_real - bios_code
    .short 0                        # the segment
bios_far16:
    .long bios_16 - bios_code
    .short 32, 0
bios_ivt:
    .short 0x3ff
    .long 0
    .short 0
bios_cr0:       .long 0
bios_cr3:       .long 0
bios_cr4:       .long 0
bios_old_tick:  .long 0
bios_stack:     .quad 0
bios_return:    .quad 0
bios_old_gdtr:  .quad 0, 0
bios_old_idtr:  .quad 0, 0
bios_ticks:     .short 0
bios_slot:      .short 0
bios_device:    .byte 0
bios_disks:     .byte 0
bios_monitor:   .byte 0
bios_rows:      .byte 0
bios_end:

    .section .text.bios, "ax", @progbits
    .global bios_ask
bios_ask:                           # RDI = area
    pushfq
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movl %edi, %ebx
    movq %rsp, bios_stack - bios_code(%rbx)
    leaq bios_asked(%rip), %rax
    movq %rax, bios_return - bios_code(%rbx)
    sgdt bios_old_gdtr - bios_code(%rbx)
    sidt bios_old_idtr - bios_code(%rbx)
    movq %cr0, %rax
    movl %eax, bios_cr0 - bios_code(%rbx)
    movq %cr3, %rax
    movl %eax, bios_cr3 - bios_code(%rbx)
    movq %cr4, %rax
    movl %eax, bios_cr4 - bios_code(%rbx)
    jmpq *%rbx
bios_asked:
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    popfq
    retq
    .text
"#,
    patience = const PATIENCE,
    stack_top = const STACK_TOP,
    sector = const SECTOR,
    sector_bytes = const SECTOR_BYTES,
    screen = const SCREEN,
    edid_at = const EDID,
    stage = const ANSWERS + bios::STAGE,
    given_up = const ANSWERS + bios::GIVEN_UP,
    vga = const ANSWERS + bios::VGA,
    keys = const ANSWERS + bios::KEYS,
    rows = const ANSWERS + bios::ROWS,
    ability = const ANSWERS + bios::ABILITY,
    disk_count = const ANSWERS + bios::DISK_COUNT,
    signature_count = const ANSWERS + bios::SIGNATURE_COUNT,
    disk_list = const ANSWERS + bios::DISKS,
    signature_list = const ANSWERS + bios::SIGNATURES,
    disk_bytes = const bios::DISK_BYTES,
    parameter_bytes = const bios::PARAMETER_BYTES,
    most_disks = const bios::MAX_DISKS,
    most_signatures = const bios::MAX_SIGNATURES,
    options(att_syntax)
);

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
