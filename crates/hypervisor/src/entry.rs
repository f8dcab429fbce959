//! The first instructions: from the boot loader's 32-bit protected mode to Rust in the high half.
//!
//! Multiboot2 enters at `boot_entry` with EAX = magic and EBX = machine address of the information structure,
//! paging off, no stack. The code is position independent (the loader may move the image in 2 MiB steps): it finds
//! its own address, maps the first 4 GiB of memory at 0 and at the direct map and the image at its link address,
//! and enters long mode. These *boot tables* serve until `boot` has built the final ones.
//!
//! ```text
//! boot_tables  +0x0000 L4: [0] = [262] = low L3, [261] = image L3
//!              +0x1000 low L3: [0..4] -> four L2
//!              +0x2000 .. 0x5000 low L2: 4 GiB in 2 MiB pages
//!              +0x6000 image L3: [321] -> image L2
//!              +0x7000 image L2: 16 MiB from the load address
//! ```
#![expect(unsafe_code, reason = "defines the entry symbol in assembly")]

use core::arch::global_asm;

global_asm!(
    r#"
    .section .boot, "awx", @progbits
    .balign 8
multiboot_header:
    .long 0xe85250d6, 0, multiboot_header_end - multiboot_header
    .long -(0xe85250d6 + (multiboot_header_end - multiboot_header))
    .short 6, 0                     # modules page aligned
    .long 8
    .short 10, 0                    # relocatable: lowest 2 MiB boundary from 2 MiB on
    .long 24, 0x200000, 0xffffffff, 0x200000, 1
    .short 4, 1                     # optional: a text screen can be used
    .long 12, 2, 0
    .short 5, 1                     # optional: a frame buffer of any size can be used
    .long 20, 0, 0, 0, 0
    .short 0, 0
    .long 8
multiboot_header_end:

    .balign 8
boot_gdt:
    .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff     # null, 64-bit code, data
boot_gdtr:
    .short . - boot_gdt - 1
    .quad 0

    .code32
    .global boot_entry
boot_entry:
    cli
    cld
    movl %eax, %esi
    leal 8(%ebx), %esp              # the reserved word of the information structure serves as a one-word stack
    call boot_here
boot_here:
    popl %ebp
    subl $(boot_here - multiboot_header), %ebp        # EBP = machine address of the image

    cmpl $0x36d76289, %esi
    jne boot_refuse_loader
    movl $0x80000001, %eax
    movl %ebx, %edi
    cpuid
    movl %edi, %ebx
    testl $(1 << 29), %edx          # long mode
    jz boot_refuse_cpu

    leal boot_tables_offset(%ebp), %edi
    leal 0x1003(%edi), %eax
    movl %eax, (%edi)               # L4[0]
    movl %eax, 262*8(%edi)          # L4[262]
    leal 0x6003(%edi), %eax
    movl %eax, 261*8(%edi)          # L4[261]
    leal 0x7003(%edi), %eax
    movl %eax, 0x6000 + 321*8(%edi)
    leal 0x2003(%edi), %eax
    xorl %ecx, %ecx
boot_fill_l3:
    movl %eax, 0x1000(%edi, %ecx, 8)
    addl $0x1000, %eax
    incl %ecx
    cmpl $4, %ecx
    jb boot_fill_l3
    movl $0x83, %eax                # present, writable, 2 MiB
    xorl %ecx, %ecx
boot_fill_l2:
    movl %eax, 0x2000(%edi, %ecx, 8)
    addl $0x200000, %eax
    incl %ecx
    cmpl $2048, %ecx
    jb boot_fill_l2
    leal 0x83(%ebp), %eax
    xorl %ecx, %ecx
boot_fill_image:
    movl %eax, 0x7000(%edi, %ecx, 8)
    addl $0x200000, %eax
    incl %ecx
    cmpl $8, %ecx
    jb boot_fill_image

    movl %cr4, %eax
    orl $0x20, %eax                 # PAE
    movl %eax, %cr4
    movl %edi, %cr3
    movl $0xc0000080, %ecx          # EFER.LME
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80010001, %eax           # PG, WP, PE
    movl %eax, %cr0

    leal boot_stack_top_offset(%ebp), %esp
    leal boot_gdt - multiboot_header(%ebp), %eax
    movl %eax, boot_gdtr + 2 - multiboot_header(%ebp)
    lgdt boot_gdtr - multiboot_header(%ebp)
    leal boot_long - multiboot_header(%ebp), %eax
    pushl $8
    pushl %eax
    lretl

boot_refuse_loader:
    leal boot_not_multiboot2 - multiboot_header(%ebp), %esi
    jmp boot_refuse
boot_refuse_cpu:
    leal boot_no_long_mode - multiboot_header(%ebp), %esi
boot_refuse:                        # print the text at ESI on COM1 and on a text screen, and stop
    movl $0xb8000, %edi
boot_refuse_next:
    lodsb
    testb %al, %al
    jz boot_stop
    movb %al, %bl
    movb %al, (%edi)
    movb $0x4f, 1(%edi)
    addl $2, %edi
    movl $0x10000, %ecx
    movw $0x3fd, %dx
boot_refuse_wait:                   # until the port takes a byte, but not for ever
    inb %dx, %al
    testb $0x20, %al
    loopz boot_refuse_wait
    movb %bl, %al
    movw $0x3f8, %dx
    outb %al, %dx
    jmp boot_refuse_next
boot_stop:
    hlt
    jmp boot_stop

boot_not_multiboot2:
    .asciz "(XEN) Cannot boot: boot loader: not Multiboot2: start the image with GRUB's multiboot2 command\r\n"
boot_no_long_mode:
    .asciz "(XEN) Cannot boot: CPU: it lacks long mode (lm): use an x86-64 CPU\r\n"

    .code64
boot_long:
    movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movabsq $boot_high, %rax
    jmpq *%rax

    .section .text.boot_high, "ax", @progbits
boot_high:
    movl %esi, %r12d
    leaq boot_stack_top(%rip), %rsp
    leaq data_start(%rip), %rsi     # keep what .data held before anything ran
    leaq pristine_start(%rip), %rdi
    leaq data_end(%rip), %rcx
    subq %rsi, %rcx
    rep movsb
    movl %r12d, %edi
    movl %ebx, %esi
    movl %ebp, %edx
    xorl %ebp, %ebp
    pushq $0
    jmp {start}

    .section .bss.boot, "aw", @nobits
    .balign 4096
    .global boot_tables, boot_stack, boot_stack_top
boot_tables:
    .skip 8 * 4096
boot_stack:
    .skip 65536
boot_stack_top:
    .text
"#,
    start = sym crate::boot::rust_start,
    options(att_syntax)
);
