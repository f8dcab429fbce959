// A PV kernel that does one thing, which the first letter of its command line says:
//   w  waits for ever          u  an exception without a handler
//   c  says that it crashed    s  an exception without a stack
//   p  powers off              d  sets a watchdog of one second and waits
// Only the public interface is used: ELF notes, start_info, SCHEDOP_*.

#define NOTE(kind, field, value) \
    .pushsection .note.Xen, "", @note; .align 4; .long 4, 2f - 1f, kind; .asciz "Xen"; 1: field value; 2: .align 4; .popsection

NOTE(5, .asciz, "xen-3.0")
NOTE(6, .asciz, "tiny")
NOTE(8, .asciz, "generic")
NOTE(3, .quad, 0xffffffff80000000)
NOTE(4, .quad, 0xffffffff80000000)
NOTE(1, .quad, _start)

SCHED_OP = 29
SHUTDOWN = 2
POLL = 3
WATCHDOG = 6
COMMAND_LINE = 128

.text
.globl _start
_start:
    mov COMMAND_LINE(%rsi), %al
    cmp $'u', %al
    je unhandled
    cmp $'s', %al
    je no_stack
    mov $0, %ebx
    cmp $'p', %al
    je end
    mov $3, %ebx
    cmp $'c', %al
    je end
    cmp $'d', %al
    jne wait
    lea watchdog(%rip), %rsi
    mov $WATCHDOG, %edi
    mov $SCHED_OP, %eax
    syscall
wait:
    lea nothing(%rip), %rsi
    mov $POLL, %edi
    mov $SCHED_OP, %eax
    syscall
    jmp wait
end:
    lea reason(%rip), %rsi
    mov %ebx, (%rsi)
    mov $SHUTDOWN, %edi
    mov $SCHED_OP, %eax
    syscall
    ud2
no_stack:
    xor %esp, %esp
unhandled:
    ud2

.data
reason: .long 0
watchdog: .long 0, 1
.align 8
nothing: .quad 0; .long 0, 0; .quad 0
