/* A 32-bit process without a library: system calls by int $0x80 and by the vDSO's entry (syscall or sysenter, as the
 * processor has it), a signal and the return from it. Ends with 0, or with the number of what is wrong. */
#include <stddef.h>
#include <stdint.h>

static long call(long number, long a, long b, long c, long d)
{
    long answer;

    asm volatile("int $0x80" : "=a"(answer) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
    return answer;
}

static void *entry;

/* With six arguments, the sixth of which lies on the stack on the fast way. */
static long fast(long number, long a, long b, long c, long d, long e)
{
    long answer;

    asm volatile("call *%1" : "=a"(answer) : "m"(entry), "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
    return answer;
}

enum { EXIT = 1, WRITE = 4, GETPID = 20, KILL = 37, TRAP = 5, SIGACTION = 174, GETPPID = 64, YIELD = 158, USR1 = 10 };

static volatile int handled;

static void handler(int signal) { handled += signal; }

/* Steps, and where the last one was. */
static volatile int steps;
static volatile uint32_t last;

/* What the kernel passes to a handler of the old kind: struct sigcontext, whose word 14 is EIP. */
struct state { uint32_t words[22]; };

static void stepped(int signal, struct state state)
{
    steps += signal == TRAP;
    last = state.words[14];
}

/* The fast way with flags of the caller's set, which are clear again afterwards. */
#define FAST_WITH(flags, answer)                                                                            \
    asm volatile("pushfl; orl %2, (%%esp); popfl; call *%1; nop; pushfl; andl %3, (%%esp); popfl"            \
                 : "+a"(answer) : "m"(entry), "i"(flags), "i"(~(flags)) : "memory")

/* TF, then NT, AC and DF: the kernel gets the first as it is, and none of them does harm. */
static int check_flags(long pid)
{
    struct { void (*handler)(int, struct state); uint32_t flags; void (*restorer)(void); uint64_t mask; } action = { stepped, 0, NULL, 0 };

    if (call(SIGACTION, TRAP, (long)&action, 0, 8) != 0) {
        return 7;
    }
    for (int i = 0; i < 100; i++) {
        long one = GETPID, two = GETPID, before = steps;

        FAST_WITH(0x100, one);
        /* It is stepped behind the call too: in this page, not in the vDSO's. */
        if (one != pid || steps - before < 6 || last >> 12 == (uint32_t)entry >> 12) {
            return 8;
        }
        before = steps;
        FAST_WITH(0x44400, two);
        if (two != pid || steps != before) {
            return 9;
        }
    }
    return 0;
}

/* Numbers are compared with what they were, and the registers that a system call keeps must be kept. */
static int check(void)
{
    struct { void (*handler)(int); uint32_t flags; void (*restorer)(void); uint64_t mask; } action = { handler, 0, NULL, 0 };
    long pid = call(GETPID, 0, 0, 0, 0);
    long b = 0x11111111, s = 0x22222222, d = 0x33333333;
    long answer = YIELD;

    if (pid <= 0 || !entry) {
        return 1;
    }
    for (int i = 0; i < 10000; i++) {
        if (fast(GETPID, 1, 2, 3, 4, 5) != pid || call(GETPID, 0, 0, 0, 0) != pid) {
            return 2;
        }
    }
    asm volatile("int $0x80" : "+a"(answer), "+b"(b), "+S"(s), "+D"(d) : : "memory");
    if (answer != 0 || b != 0x11111111 || s != 0x22222222 || d != 0x33333333) {
        return 3;
    }
    answer = YIELD;
    asm volatile("call *%4" : "+a"(answer), "+b"(b), "+S"(s), "+D"(d) : "m"(entry) : "ecx", "edx", "memory");
    if (answer != 0 || b != 0x11111111 || s != 0x22222222 || d != 0x33333333) {
        return 4;
    }
    if (fast(SIGACTION, USR1, (long)&action, 0, 8, 0) != 0 || fast(KILL, pid, USR1, 0, 0, 0) != 0 || handled != USR1) {
        return 5;
    }
    if (fast(9999, 0, 0, 0, 0, 0) != -38 || call(9999, 0, 0, 0, 0) != -38) {
        return 6;
    }
    return check_flags(pid);
}

/* The kernel puts the number of arguments at the stack's top, then the lists that end with zero. */
__attribute__((used)) static void begin(uint32_t *stack)
{
    static const char text[] = "32-bit: done\n";
    uint32_t *word = stack + 1 + *stack + 1;
    int wrong;

    while (*word++) {
    }
    for (; word[0]; word += 2) {
        if (word[0] == 32) {
            entry = (void *)word[1];
        }
    }
    wrong = check();
    call(WRITE, 1, (long)text, sizeof(text) - 1, 0);
    call(EXIT, wrong, 0, 0, 0);
}

asm(".globl _start; _start: movl %esp, %eax; andl $-16, %esp; subl $12, %esp; pushl %eax; call begin");
