/* Exceptions of user mode, each with the signal that Linux makes of it, and returns to user mode that cannot be made. */
#include "cases.h"

#include <setjmp.h>
#include <ucontext.h>

static sigjmp_buf back;
static volatile siginfo_t seen;
static volatile long count;

static void note(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    seen = *info;
    siglongjmp(back, 1);
}

/* Runs an instruction that faults and checks what the handler is told. */
#define FAULTS(wanted, code, address, instruction, ...)                                             \
    do {                                                                                            \
        handle(wanted, note);                                                                       \
        if (sigsetjmp(back, 1) == 0) {                                                              \
            asm volatile(instruction : : __VA_ARGS__ : "memory", "rax", "rcx", "rdx", "cc");        \
            fail("no fault");                                                                       \
        }                                                                                           \
        if (seen.si_code != (code) || seen.si_addr != (void *)(address)) {                          \
            fail("code %d at %p, wanted %d at %p", seen.si_code, seen.si_addr, code, (void *)(address)); \
        }                                                                                           \
    } while (0)

static void null_read(void) { FAULTS(SIGSEGV, SEGV_MAPERR, 0x10, "movq (%0), %%rax", "r"(0x10UL)); }
static void null_write(void) { FAULTS(SIGSEGV, SEGV_MAPERR, 0x18, "movq %%rax, (%0)", "r"(0x18UL)); }
static void kernel_read(void)
{
    FAULTS(SIGSEGV, SEGV_MAPERR, 0xffff888000000000, "movq (%0), %%rax", "r"(0xffff888000000000UL));
}
static void hypervisor_read(void)
{
    FAULTS(SIGSEGV, SEGV_MAPERR, 0xffff830000000000, "movq (%0), %%rax", "r"(0xffff830000000000UL));
}
static void hypervisor_write(void)
{
    FAULTS(SIGSEGV, SEGV_MAPERR, 0xffff82d040200000, "movq %%rax, (%0)", "r"(0xffff82d040200000UL));
}
/* The kernel's root table shows it, that of processes does not. */
static void table_read(void)
{
    FAULTS(SIGSEGV, SEGV_MAPERR, 0xffff800000000000, "movq (%0), %%rax", "r"(0xffff800000000000UL));
}
static void not_canonical(void) { FAULTS(SIGSEGV, SI_KERNEL, 0, "movq (%0), %%rax", "r"(1UL << 62)); }
static void read_only(void)
{
    char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    FAULTS(SIGSEGV, SEGV_ACCERR, page + 5, "movb %%al, (%0)", "r"(page + 5));
}
static void no_execute(void)
{
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    page[0] = (char)0xc3;
    FAULTS(SIGSEGV, SEGV_ACCERR, page, "call *%0", "r"(page));
}
static void vsyscall(void) { asm volatile("call *%0" : : "r"(0xffffffffff600000UL) : "memory"); }

static void divide(void) { asm volatile("xorl %%ecx, %%ecx; divl %%ecx" : : : "rax", "rcx", "rdx"); }
static void undefined(void) { asm volatile("ud2"); }
static void breakpoint(void) { asm volatile("int3"); }
static void long_breakpoint(void) { asm volatile(".byte 0xcd, 3"); }
static void ice(void) { asm volatile(".byte 0xf1"); }
static void overflow(void) { asm volatile("int $4"); }
static void vector_13(void) { asm volatile("int $13"); }
static void vector_14(void) { asm volatile("int $14"); }
static void vector_2(void) { asm volatile("int $2"); }
static void vector_8(void) { asm volatile("int $8"); }
static void vector_18(void) { asm volatile("int $18"); }
static void vector_32(void) { asm volatile("int $32"); }
static void vector_255(void) { asm volatile("int $255"); }
static void halt(void) { asm volatile("hlt"); }
static void mask(void) { asm volatile("cli"); }
static void read_cr0(void) { asm volatile("movq %%cr0, %%rax" : : : "rax"); }
static void write_cr3(void) { asm volatile("movq %%rax, %%cr3" : : : "rax"); }
static void read_msr(void) { asm volatile("rdmsr" : : "c"(0xc0000080) : "rax", "rdx"); }
static void write_msr(void) { asm volatile("wrmsr" : : "c"(0xc0000101), "a"(0), "d"(0)); }
static void invalidate(void) { asm volatile("invlpg (%0)" : : "r"(&count)); }
static void swap_gs(void) { asm volatile("swapgs"); }
static void load_tr(void) { asm volatile("ltr %%ax" : : "a"(0xe040)); }
static void load_gdt(void) { asm volatile("lgdt (%0)" : : "r"(&count)); }
static void return_from_interrupt(void) { asm volatile("sysretq"); }
static void hypercall_from_user(void)
{
    long answer = 4711;

    /* In user mode this is no hypercall but a system call that does not exist. */
    asm volatile("syscall" : "+a"(answer) : : "rcx", "r11", "memory");
    if (answer != -ENOSYS) {
        fail("answer %ld", answer);
    }
}
static void count_trap(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    (void)context;
    count++;
}

/* The trap flag over ordinary instructions and over a system call. */
static void trap_flag(void)
{
    long answer;

    handle(SIGTRAP, count_trap);
    asm volatile("pushfq; orl $0x100, (%%rsp); popfq; nop; nop; movl $39, %%eax; syscall; nop; pushfq; andl $~0x100, (%%rsp); popfq"
                 : "=a"(answer) : : "rcx", "r11", "memory", "cc");
    if (answer != getpid() || count < 7 || count > 10) {
        fail("getpid %ld, %ld traps", answer, count);
    }
}

static void (*spoil)(greg_t *registers);

static void spoil_frame(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    spoil(((ucontext_t *)context)->uc_mcontext.gregs);
}

/* Returns from a signal with registers that no return can have. */
static void bad_return(void (*how)(greg_t *))
{
    spoil = how;
    handle(SIGUSR1, spoil_frame);
    raise(SIGUSR1);
}

/* cs, gs, fs, ss from the lowest 16 bits up. */
static void selectors(greg_t *r, uint64_t cs, uint64_t ss) { r[REG_CSGSFS] = (r[REG_CSGSFS] & 0x0000ffffffff0000) | cs | ss << 48; }
static void ss_missing(greg_t *r) { selectors(r, 0x33, 0x1237); }
static void ss_null(greg_t *r) { selectors(r, 0x33, 0); }
static void ss_code(greg_t *r) { selectors(r, 0x33, 0x33); }
static void ss_ldt(greg_t *r) { selectors(r, 0x33, 0x7); }
static void ss_hypervisor(greg_t *r) { selectors(r, 0x33, 0xe010); }
static void cs_missing(greg_t *r) { selectors(r, 0x1237, 0x2b); }
static void cs_null(greg_t *r) { selectors(r, 0, 0x2b); }
static void cs_data(greg_t *r) { selectors(r, 0x2b, 0x2b); }
static void cs_ldt(greg_t *r) { selectors(r, 0x7, 0x2b); }
static void cs_hypervisor(greg_t *r) { selectors(r, 0xe008, 0x2b); }
static void cs_beyond(greg_t *r) { selectors(r, 0xffff, 0x2b); }
static void rip_not_canonical(greg_t *r) { r[REG_RIP] = 1L << 62; }
static void rip_in_kernel(greg_t *r) { r[REG_RIP] = (greg_t)0xffffffff81000000; }
static void rip_in_hypervisor(greg_t *r) { r[REG_RIP] = (greg_t)0xffff82d040200000; }
static void rsp_not_canonical(greg_t *r) { r[REG_RSP] = 1L << 62; }
static void flags_all(greg_t *r) { r[REG_EFL] = -1 & ~0x500; }
/* Xen 4.17 hands it to Linux, which does not survive that: `traps peer` leaves it out. */
static void flag_direction(greg_t *r) { r[REG_EFL] |= 0x400; }

#define BAD(name) static void bad_##name(void) { bad_return(name); }
BAD(ss_missing) BAD(ss_code) BAD(ss_ldt) BAD(ss_hypervisor) BAD(ss_null)
BAD(cs_missing) BAD(cs_null) BAD(cs_data) BAD(cs_ldt) BAD(cs_hypervisor) BAD(cs_beyond)
BAD(rip_not_canonical) BAD(rip_in_kernel) BAD(rip_in_hypervisor) BAD(rsp_not_canonical) BAD(flags_all) BAD(flag_direction)

static const struct { const char *name; int signal; void (*run)(void); } cases[] = {
    { "read of null", 0, null_read },
    { "write to null", 0, null_write },
    { "read of the kernel", 0, kernel_read },
    { "read of the hypervisor", 0, hypervisor_read },
    { "write to the hypervisor", 0, hypervisor_write },
    { "read of the machine-to-physical table", 0, table_read },
    { "address that is not canonical", 0, not_canonical },
    { "write to a read-only page", 0, read_only },
    { "execution of data", 0, no_execute },
    { "vsyscall page", SIGSEGV, vsyscall },
    { "division by zero", SIGFPE, divide },
    { "undefined instruction", SIGILL, undefined },
    { "int3", SIGTRAP, breakpoint },
    { "int $3", SIGTRAP, long_breakpoint },
    { "icebp", SIGTRAP, ice },
    { "int $4", SIGSEGV, overflow },
    { "int $2", SIGSEGV, vector_2 },
    { "int $8", SIGSEGV, vector_8 },
    { "int $13", SIGSEGV, vector_13 },
    { "int $14", SIGSEGV, vector_14 },
    { "int $18", SIGSEGV, vector_18 },
    { "int $32", SIGSEGV, vector_32 },
    { "int $255", SIGSEGV, vector_255 },
    { "hlt", SIGSEGV, halt },
    { "cli", SIGSEGV, mask },
    { "read of CR0", SIGSEGV, read_cr0 },
    { "write of CR3", SIGSEGV, write_cr3 },
    { "rdmsr", SIGSEGV, read_msr },
    { "wrmsr", SIGSEGV, write_msr },
    { "invlpg", SIGSEGV, invalidate },
    { "swapgs", SIGSEGV, swap_gs },
    { "ltr", SIGSEGV, load_tr },
    { "lgdt", SIGSEGV, load_gdt },
    { "sysret", SIGSEGV, return_from_interrupt },
    { "hypercall from user mode", 0, hypercall_from_user },
    { "trap flag over a system call", 0, trap_flag },
    { "return: ss not in the GDT", SIGSEGV, bad_ss_missing },
    { "return: ss null", SIGSEGV, bad_ss_null },
    { "return: ss of code", SIGSEGV, bad_ss_code },
    { "return: ss in no LDT", SIGSEGV, bad_ss_ldt },
    { "return: ss of the hypervisor", SIGSEGV, bad_ss_hypervisor },
    { "return: cs not in the GDT", SIGSEGV, bad_cs_missing },
    { "return: cs null", SIGSEGV, bad_cs_null },
    { "return: cs of data", SIGSEGV, bad_cs_data },
    { "return: cs in no LDT", SIGSEGV, bad_cs_ldt },
    { "return: cs of the hypervisor", SIGSEGV, bad_cs_hypervisor },
    { "return: cs beyond the GDT", SIGSEGV, bad_cs_beyond },
    { "return: rip not canonical", SIGSEGV, bad_rip_not_canonical },
    { "return: rip in the kernel", SIGSEGV, bad_rip_in_kernel },
    { "return: rip in the hypervisor", SIGSEGV, bad_rip_in_hypervisor },
    { "return: rsp not canonical", EITHER, bad_rsp_not_canonical },
    { "return: all flags but the direction", 0, bad_flags_all },
    { "return: the direction flag", 0, bad_flag_direction },
};

int main(int argc, char **argv)
{
    (void)argv;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        if (argc > 1 && cases[i].run == bad_flag_direction) {
            continue;
        }
        expect(cases[i].name, cases[i].signal, cases[i].run);
    }
    printf("%zu traps, %d failed\n", sizeof(cases) / sizeof(*cases), failed);
    return failed != 0;
}
