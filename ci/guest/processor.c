/* Processor state of user mode that a hypervisor under Linux could lose: debug registers, single steps, segments and
 * their bases, extended state, I/O rights. */
#include "cases.h"

#include <asm/ldt.h>
#include <asm/prctl.h>
#include <stddef.h>
#include <sys/io.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <time.h>

static volatile long watched;

static void __attribute__((noinline)) marked(void) { asm volatile("nop"); }

/* A process to trace: it waits to be told to go on, then works on and ends with 42. */
static pid_t traced(void (*work)(void))
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        work();
        _exit(42);
    }
    waitpid(child, &status, 0);
    return child;
}

static void set_debug(pid_t child, unsigned number, unsigned long value)
{
    if (ptrace(PTRACE_POKEUSER, child, offsetof(struct user, u_debugreg[0]) + 8 * number, value) != 0) {
        fail("debug register %u: %s", number, strerror(errno));
    }
}

/* Lets it go on until it stops or ends; the signal, or minus what it ended with. */
static int go_on(pid_t child, int request)
{
    int status;

    ptrace(request, child, 0, 0);
    waitpid(child, &status, 0);
    return WIFSTOPPED(status) ? WSTOPSIG(status) : -WEXITSTATUS(status);
}

static unsigned long instruction(pid_t child)
{
    struct user_regs_struct registers;

    ptrace(PTRACE_GETREGS, child, 0, &registers);
    return registers.rip;
}

static void three_times(void)
{
    for (int i = 0; i < 3; i++) {
        marked();
        watched = i;
        sched_yield();
    }
}

static void breakpoint(void)
{
    pid_t child = traced(three_times);

    set_debug(child, 0, (unsigned long)marked);
    set_debug(child, 7, 1);
    for (int i = 0; i < 3; i++) {
        if (go_on(child, PTRACE_CONT) != SIGTRAP || instruction(child) != (unsigned long)marked) {
            fail("stop %d at %#lx", i, instruction(child));
        }
        if ((ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, u_debugreg[6]), 0) & 15) != 1) {
            fail("DR6");
        }
    }
    if (go_on(child, PTRACE_CONT) != -42) {
        fail("no end");
    }
}

static void watchpoint(void)
{
    pid_t child = traced(three_times);

    set_debug(child, 2, (unsigned long)&watched);
    set_debug(child, 7, 1 << 4 | 9 << 24);
    for (int i = 0; i < 3; i++) {
        if (go_on(child, PTRACE_CONT) != SIGTRAP || ptrace(PTRACE_PEEKDATA, child, &watched, 0) != i) {
            fail("write %d", i);
        }
    }
    if (go_on(child, PTRACE_CONT) != -42) {
        fail("no end");
    }
}

/* A kernel address would stop the kernel or the hypervisor. */
static void bad_breakpoint(void)
{
    pid_t child = traced(three_times);
    long at = offsetof(struct user, u_debugreg[0]);

    ptrace(PTRACE_POKEUSER, child, at + 56, 0);
    if (ptrace(PTRACE_POKEUSER, child, at, 0xffff830000000000) == 0 && ptrace(PTRACE_POKEUSER, child, at + 56, 1) == 0) {
        fail("a breakpoint in the hypervisor");
    }
    kill(child, SIGKILL);
}

static void calls(void)
{
    for (int i = 0; i < 5; i++) {
        syscall(SYS_getppid);
    }
}

static void single_steps(void)
{
    pid_t child = traced(calls);
    int steps = 0, system_calls = 0, stop;

    while ((stop = go_on(child, PTRACE_SINGLESTEP)) == SIGTRAP && steps < 100000) {
        unsigned long rip = instruction(child);

        system_calls += (ptrace(PTRACE_PEEKTEXT, child, rip, 0) & 0xffff) == 0x050f;
        steps++;
    }
    if (stop != -42 || system_calls != 6 || steps < 30) {
        fail("%d steps, %d system calls, end %d", steps, system_calls, stop);
    }
}

static void call_stops(void)
{
    pid_t child = traced(calls);
    int stops = 0;

    while (go_on(child, PTRACE_SYSCALL) == SIGTRAP) {
        stops++;
    }
    if (stops != 11) {
        fail("%d stops", stops);
    }
}

/* Descriptors of our own, on both ends of a table of 64 KiB, so that it has many frames. */
static void local_descriptors(void)
{
    static uint32_t data[2] = { 0x1111, 0x2222 };
    uint32_t *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

    memcpy(low, data, sizeof(data));
    for (unsigned round = 0; round < 100; round++) {
        unsigned entry = round % 2 ? 8191 - round : round;
        struct user_desc d = { .entry_number = entry, .base_addr = (uintptr_t)low, .limit = 7, .seg_32bit = 1, .useable = 1 };
        uint32_t first, second;

        if (syscall(SYS_modify_ldt, 1, &d, sizeof(d)) != 0) {
            fail("entry %u: %s", entry, strerror(errno));
        }
        sched_yield();
        asm volatile("movw %w2, %%gs; movl %%gs:0, %0; movl %%gs:4, %1" : "=&r"(first), "=r"(second) : "r"(entry << 3 | 7));
        if (first != 0x1111 || second != 0x2222) {
            fail("entry %u: %#x %#x", entry, first, second);
        }
    }
    asm volatile("movw %w0, %%gs" : : "r"(0));
}

/* A descriptor of the LDT that is gone: the register is null, and its use faults. */
static void lost_descriptor(void)
{
    struct user_desc d = { .entry_number = 3, .limit = 0xfffff, .seg_32bit = 1, .limit_in_pages = 1, .useable = 1 };
    struct user_desc none = { .entry_number = 3, .read_exec_only = 1, .seg_not_present = 1 };
    uint32_t selector;

    syscall(SYS_modify_ldt, 1, &d, sizeof(d));
    asm volatile("movw %w0, %%gs" : : "r"(3 << 3 | 7));
    syscall(SYS_modify_ldt, 1, &none, sizeof(none));
    for (int i = 0; i < 5; i++) {
        sched_yield();
    }
    asm volatile("movl %%gs, %0" : "=r"(selector));
    if (selector == (3 << 3 | 7)) {
        asm volatile("movw %w0, %%gs" : : "r"(selector));
    }
    raise(SIGSEGV);
}

/* A far jump to a 32-bit code segment of the LDT and back. */
static void local_code(void)
{
    struct user_desc d = { .entry_number = 0, .limit = 0xfffff, .contents = 2, .limit_in_pages = 1, .seg_32bit = 1, .useable = 1 };
    static const unsigned char code[] = { 0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xcb }; /* getpid by int 0x80, far return */
    unsigned char *low = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    struct { uint32_t offset; uint16_t selector; } far = { (uintptr_t)low, 7 };
    uint32_t answer;

    memcpy(low, code, sizeof(code));
    syscall(SYS_modify_ldt, 1, &d, sizeof(d));
    asm volatile("movq %%rsp, %%rbx; movq %2, %%rsp; lcall *(%1); movq %%rbx, %%rsp"
                 : "=a"(answer) : "r"(&far), "r"(low + 8192) : "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "memory");
    if (answer != (uint32_t)getpid()) {
        fail("getpid %u", answer);
    }
}

static void int80(void)
{
    long answer = 20;

    asm volatile("int $0x80" : "+a"(answer) : : "r8", "r9", "r10", "r11", "memory");
    if (answer != getpid()) {
        fail("getpid %ld", answer);
    }
}

/* Bases of FS and GS, many processes each with its own. */
static void bases(void)
{
    for (int process = 0; process < 8; process++) {
        if (fork() != 0) {
            continue;
        }
        for (unsigned long i = 1; i < 1000; i++) {
            unsigned long base = i << 12 | (unsigned long)process << 40, seen = 0;

            syscall(SYS_arch_prctl, ARCH_SET_GS, base);
            if (i % 8 == 0) {
                sched_yield();
            }
            syscall(SYS_arch_prctl, ARCH_GET_GS, &seen);
            if (seen != base) {
                fail("GS base %#lx, wanted %#lx", seen, base);
            }
        }
        _exit(0);
    }
    for (int status, process = 0; process < 8; process++) {
        wait(&status);
        if (status != 0) {
            fail("status %#x", status);
        }
    }
}

/* All of the vector registers and the control words, many processes each with its own values. */
static void vectors(void)
{
    if (!__builtin_cpu_supports("avx")) {
        printf("no AVX\n");
    }
    for (int process = 0; process < 8; process++) {
        if (fork() != 0) {
            continue;
        }
        static uint64_t in[64], out[64];
        uint32_t csr = 0x1f80 | (process & 3) << 13, csr_seen;
        uint16_t word = 0x37f & ~(process & 3), word_seen;

        for (unsigned i = 0; i < 64; i++) {
            in[i] = 0x0101010101010101UL * (unsigned)(process + 1) + i;
        }
        asm volatile("ldmxcsr %0; fldcw %1; fninit; fldcw %1; fldpi" : : "m"(csr), "m"(word));
#define EACH(op, a, b, c, d) op(a) op(b) op(c) op(d)
#define ALL(op) EACH(op, 0, 1, 2, 3) EACH(op, 4, 5, 6, 7) EACH(op, 8, 9, 10, 11) EACH(op, 12, 13, 14, 15)
#define LOAD(n) "vmovdqu " #n "*32(%0), %%ymm" #n ";"
#define STORE(n) "vmovdqu %%ymm" #n ", " #n "*32(%0);"
        if (__builtin_cpu_supports("avx")) {
            for (int i = 0; i < 200; i++) {
                long answer;

                asm volatile(ALL(LOAD) "movl $24, %%eax; syscall; movl $0x4000, %%edx; 1: decl %%edx; jnz 1b; movq %3, %0;" ALL(STORE)
                             : "+r"((const void *){ in }), "=&a"(answer), "=m"(out) : "r"(out) : "rcx", "r11", "rdx", "memory");
                if (memcmp(in, out, sizeof(in)) != 0) {
                    fail("vector registers of process %d, round %d", process, i);
                }
            }
        }
        asm volatile("stmxcsr %0; fnstcw %1" : "=m"(csr_seen), "=m"(word_seen));
        double pi;
        asm volatile("fstpl %0" : "=m"(pi));
        if (csr_seen != csr || word_seen != word || pi != 3.14159265358979323846) {
            fail("control words %#x %#x, pi %f", csr_seen, word_seen, pi);
        }
        _exit(0);
    }
    for (int status, process = 0; process < 8; process++) {
        wait(&status);
        if (status != 0) {
            fail("status %#x", status);
        }
    }
}

static void port_without_right(void) { outb(0, 0x80); }
static void port_by_map(void)
{
    if (ioperm(0x80, 1, 1) != 0) {
        fail("ioperm: %s", strerror(errno));
    }
    outb(0, 0x80);
    sched_yield();
    inb(0x80);
}
static void other_port(void)
{
    ioperm(0x80, 1, 1);
    inb(0x81);
}
static void port_by_level(void)
{
    if (iopl(3) != 0) {
        fail("iopl: %s", strerror(errno));
    }
    outb(0, 0x80);
    sched_yield();
    inb(0x70);
    inw(0x80);
}
static void right_given_back(void)
{
    iopl(3);
    iopl(0);
    outb(0, 0x80);
}
static void interrupts_by_level(void)
{
    iopl(3);
    asm volatile("cli");
}

/* Time goes on, the same for all clocks, through the vDSO or a system call. */
static void clocks(void)
{
    struct timespec before = { 0 }, now, called;

    for (int i = 0; i < 50000; i++) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec < before.tv_sec || (now.tv_sec == before.tv_sec && now.tv_nsec < before.tv_nsec)) {
            fail("time went back");
        }
        before = now;
    }
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &called);
    if (called.tv_sec - now.tv_sec > 1 || called.tv_sec < now.tv_sec) {
        fail("the clocks differ");
    }
}

int main(int argc, char **argv)
{
    (void)argv;
    setvbuf(stdout, NULL, _IONBF, 0);
    expect("hardware breakpoint", 0, breakpoint);
    expect("hardware watchpoint", 0, watchpoint);
    expect("breakpoint in the hypervisor", 0, bad_breakpoint);
    expect("single steps over system calls", 0, single_steps);
    expect("stops at system calls", 0, call_stops);
    expect("data segments of an LDT", 0, local_descriptors);
    expect("a segment that is gone", SIGSEGV, lost_descriptor);
    expect("32-bit code of an LDT", 0, local_code);
    expect("int $0x80", 0, int80);
    expect("bases of GS", 0, bases);
    expect("vector registers", 0, vectors);
    expect("clocks", 0, clocks);
    if (argc == 1) {
        expect("a port without a right", SIGSEGV, port_without_right);
        expect("a port by ioperm", 0, port_by_map);
        expect("another port", SIGSEGV, other_port);
        expect("ports by iopl", 0, port_by_level);
        expect("iopl given back", SIGSEGV, right_given_back);
        /* Linux skips it, with a warning. */
        expect("cli by iopl", 0, interrupts_by_level);
    }
    printf("processor: %d failed\n", failed);
    return failed != 0;
}
