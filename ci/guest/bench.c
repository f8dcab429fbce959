// Long file: one program, the rows of one table.
/* Measures what operations cost a program: bench [ROW...], or names the rows that this machine can have: bench names. For each it prints
 * a line (bench.h).
 *
 * The unit is the TSC's. In QEMU with -icount shift=0 the TSC counts one for each instruction (and idle time in
 * nanoseconds), so the figures repeat. Each row runs in short batches, shorter than the kernel's tick, and the
 * cheapest batch counts: the one without a tick, an RCU callback or a first use in it. */
#include "bench.h"
#include "bench-disk.h"
#include "bench-events.h"
#include "bench-grants.h"
#include <linux/membarrier.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>

#include <xen/version.h>

/* No hypervisor has this hypercall; Linux passes numbers up to 63 on. */
#define NO_SUCH_HYPERCALL 63

/* --- The processor and the kernel --- */

/* As many instructions as there are operations: shows that the TSC counts instructions. */
static void count_batch(int operations)
{
    unsigned long left = operations / 2;

    __asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(left) : : "cc");
}

static void getpid_batch(int operations)
{
    while (operations--)
        syscall(SYS_getpid);
}

static void clock_batch(int operations)
{
    struct timespec now;

    while (operations--)
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
}

static void yield_batch(int operations)
{
    while (operations--)
        sched_yield();
}

static char *area;
/* The pages of one page table: a batch of faults fills a whole one, which has its share in the cost. */
#define TABLE_PAGES 512
#define AREA_PAGES (21 * TABLE_PAGES)

/* Without huge pages, so that all platforms have the same faults. */
static int fault_set_up(void)
{
    area = map(AREA_PAGES);
    madvise(area, AREA_PAGES * PAGE, MADV_NOHUGEPAGE);
    return 0;
}

static void fault_tear_down(void)
{
    munmap(area, AREA_PAGES * PAGE);
}

/* Each batch takes pages that were not touched before. */
static void fault_batch(int operations)
{
    static size_t next;

    while (operations--)
        ((volatile char *)area)[next++ * PAGE] = 1;
}

/* A page between two of other rights, so that its mapping never merges with others. */
static int mprotect_set_up(void)
{
    area = map(3);
    mprotect(area, PAGE, PROT_NONE);
    mprotect(area + 2 * PAGE, PAGE, PROT_NONE);
    return 0;
}

static void mprotect_tear_down(void)
{
    munmap(area, 3 * PAGE);
}

static void mprotect_batch(int operations)
{
    while (operations--) {
        mprotect(area + PAGE, PAGE, PROT_READ);
        mprotect(area + PAGE, PAGE, PROT_READ | PROT_WRITE);
        ((volatile char *)area)[PAGE] = 1;
    }
}

static void mmap_batch(int operations)
{
    while (operations--) {
        char *memory = map(4);

        for (int i = 0; i < 4; i++)
            ((volatile char *)memory)[i * PAGE] = 1;
        munmap(memory, 4 * PAGE);
    }
}

static void wait_for(pid_t child)
{
    int status;

    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        die("child");
}

static void fork_batch(int operations)
{
    while (operations--) {
        pid_t child = fork();

        if (child == 0)
            _exit(0);
        wait_for(child);
    }
}

static void exec_batch(int operations)
{
    static char *arguments[] = { "bench", "nothing", NULL };

    while (operations--) {
        pid_t child = vfork();

        if (child == 0) {
            execv("/proc/self/exe", arguments);
            _exit(127);
        }
        wait_for(child);
    }
}

/* An invalid instruction, which a handler steps over. */
static void step_over(int signal, siginfo_t *information, void *context)
{
    (void)signal;
    (void)information;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

static int signal_set_up(void)
{
    struct sigaction action = { .sa_sigaction = step_over, .sa_flags = SA_SIGINFO };

    return sigaction(SIGILL, &action, NULL);
}

static void signal_batch(int operations)
{
    while (operations--)
        __asm__ volatile("ud2");
}

/* --- Two processes --- */

static pid_t partner;
static int there[2], back[2];

static void schedule_as(int policy, int priority)
{
    struct sched_param parameter = { .sched_priority = priority };

    if (sched_setscheduler(0, policy, &parameter))
        die("sched_setscheduler");
}

/* From here on this process runs on that CPU; -1: on any. */
static void pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (cpu < 0 || i == cpu)
            CPU_SET(i, &set);
    if (sched_setaffinity(0, sizeof(set), &set))
        die("sched_setaffinity");
}

/* Makes a second process; 0 there. Both are in a class where a waker runs on and a yield always switches, so that
 * who runs when is the same everywhere. */
static pid_t start_partner(void)
{
    schedule_as(SCHED_FIFO, 1);
    partner = fork();
    if (partner < 0)
        die("fork");
    return partner;
}

static void partner_tear_down(void)
{
    /* First: the partner would not let a process of a lower class run. */
    kill(partner, 9);
    waitpid(partner, NULL, 0);
    schedule_as(SCHED_OTHER, 0);
    pin(-1);
}

/* The partner answers each byte; `apart`: on the second CPU. */
static int answer(int apart)
{
    char byte;

    if (pipe(there) || pipe(back))
        die("pipe");
    if (apart)
        pin(0);
    if (start_partner() == 0) {
        if (apart)
            pin(1);
        while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
            ;
        _exit(1);
    }
    return 0;
}

static int pipe_set_up(void)
{
    return answer(0);
}

/* Each write wakes a CPU that is idle. */
static int wake_set_up(void)
{
    return answer(1);
}

static void pipe_batch(int operations)
{
    char byte = 0;

    while (operations--)
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            die("ping-pong");
}

/* The partner yields too, so a yield of ours is two switches. */
static int switch_set_up(void)
{
    if (start_partner() == 0)
        for (;;)
            sched_yield();
    return 0;
}

static void switch_batch(int operations)
{
    for (; operations > 0; operations -= 2)
        sched_yield();
}

/* --- Two CPUs --- */

static volatile int spinning;

/* Other CPUs have their turn at a PAUSE. */
static int spin(void *unused)
{
    (void)unused;
    pin(1);
    spinning = 1;
    for (;;)
        __asm__ volatile("pause");
    return 0;
}

/* A second process with this one's memory, that runs on the second CPU all the time. */
static int spinner_set_up(void)
{
    static char stack[4 * PAGE] __attribute__((aligned(16)));

    pin(0);
    spinning = 0;
    partner = clone(spin, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
    if (partner < 0)
        die("clone");
    while (!spinning)
        __asm__ volatile("pause");
    return 0;
}

static int ipi_set_up(void)
{
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) || spinner_set_up();
}

/* The kernel interrupts the CPUs on which this memory is in use, and waits until they have answered. */
static void ipi_batch(int operations)
{
    while (operations--)
        if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
            die("membarrier");
}

static int shootdown_set_up(void)
{
    return mprotect_set_up() || spinner_set_up();
}

static void shootdown_tear_down(void)
{
    partner_tear_down();
    mprotect_tear_down();
}

/* --- Hypercalls and events --- */

static uint32_t near_port;

static void hypercalls(int operations, privcmd_hypercall_t call, long want)
{
    while (operations--) {
        long got = ioctl(privcmd, IOCTL_PRIVCMD_HYPERCALL, &call);

        if (want < 0 ? got >= 0 : got < 0)
            die("hypercall");
    }
}

static void version_batch(int operations)
{
    hypercalls(operations, (privcmd_hypercall_t){ .op = __HYPERVISOR_xen_version }, 0);
}

static void enosys_batch(int operations)
{
    hypercalls(operations, (privcmd_hypercall_t){ .op = NO_SUCH_HYPERCALL }, -1);
}

/* An ioctl that reaches privcmd and goes no further. */
static void no_hypercall_batch(int operations)
{
    while (operations--)
        if (ioctl(privcmd, _IOC(_IOC_NONE, 'P', 255, 0), NULL) >= 0)
            die("ioctl");
}

/* A channel whose two ends are ours. */
static int events_set_up(void)
{
    struct ioctl_evtchn_bind_unbound_port unbound = { .remote_domain = 0 };
    int port;

    if (open_events())
        return 1;
    port = ioctl(events, IOCTL_EVTCHN_BIND_UNBOUND_PORT, &unbound);
    if (port < 0)
        die("unbound port");
    near_port = port;
    bind_to(0, near_port);
    return 0;
}

static void events_tear_down(void)
{
    close(events);
}

/* Nobody reads, so the far end stays masked after the first event: the hypercall alone. */
static void send_batch(int operations)
{
    while (operations--)
        notify(near_port);
}

/* Send, upcall, read, unmask. */
static void event_batch(int operations)
{
    while (operations--) {
        notify(near_port);
        receive();
    }
}

/* The partner answers each event of the far end through a channel of its own. */
static int event_pair_set_up(void)
{
    if (events_set_up())
        return 1;
    if (pipe(there) || pipe(back))
        die("pipe");
    if (start_partner() == 0) {
        uint32_t theirs;

        /* A file of its own, so that each process reads its own events. */
        if (read(there[0], &theirs, sizeof(theirs)) != sizeof(theirs))
            _exit(1);
        open_events();
        uint32_t ours = bind_to(0, theirs);

        if (write(back[1], &ours, sizeof(ours)) != sizeof(ours))
            _exit(1);
        for (;;) {
            receive();
            notify(ours);
        }
    }
    struct ioctl_evtchn_bind_unbound_port unbound = { .remote_domain = 0 };
    uint32_t answer;

    near_port = ioctl(events, IOCTL_EVTCHN_BIND_UNBOUND_PORT, &unbound);
    if (write(there[1], &near_port, sizeof(near_port)) != sizeof(near_port))
        die("pipe");
    if (read(back[0], &answer, sizeof(answer)) != sizeof(answer))
        die("pipe");
    return 0;
}

static void event_pair_tear_down(void)
{
    partner_tear_down();
    events_tear_down();
}

/* --- Time and devices --- */

/* Without the 50 us by which Linux may be late for the sake of others. */
static int sleep_set_up(void)
{
    return prctl(PR_SET_TIMERSLACK, 1);
}

static void sleep_batch(int operations)
{
    struct timespec pause = { .tv_nsec = 100000 };

    while (operations--)
        nanosleep(&pause, NULL);
}

static int vda_set_up(void)
{
    return disk_set_up("/dev/vda", O_RDONLY);
}

static const struct row rows[] = {
    { "instructions", 5, 1000, NULL, count_batch, NULL },
    { "getpid", 10, 200, NULL, getpid_batch, NULL },
    { "clock_gettime", 10, 200, NULL, clock_batch, NULL },
    { "sched_yield", 10, 200, NULL, yield_batch, NULL },
    { "page_fault", 20, TABLE_PAGES, fault_set_up, fault_batch, fault_tear_down },
    { "mprotect", 10, 32, mprotect_set_up, mprotect_batch, mprotect_tear_down },
    { "mmap", 20, 8, NULL, mmap_batch, NULL },
    { "fork", 20, 1, NULL, fork_batch, NULL },
    { "exec", 20, 1, NULL, exec_batch, NULL },
    { "signal", 10, 100, signal_set_up, signal_batch, NULL },
    { "pipe", 10, 32, pipe_set_up, pipe_batch, partner_tear_down },
    { "switch", 10, 128, switch_set_up, switch_batch, partner_tear_down },
    { "privcmd", 10, 100, privcmd_set_up, no_hypercall_batch, privcmd_tear_down },
    { "xen_version", 10, 100, privcmd_set_up, version_batch, privcmd_tear_down },
    { "enosys", 10, 100, privcmd_set_up, enosys_batch, privcmd_tear_down },
    { "event_send", 10, 100, events_set_up, send_batch, events_tear_down },
    { "event_round_trip", 10, 32, events_set_up, event_batch, events_tear_down },
    { "event_ping_pong", 10, 16, event_pair_set_up, event_batch, event_pair_tear_down },
    { "grant_map", 10, 64, grants_set_up, grant_map_batch, grants_tear_down },
    { "grant_map_32", 10, 64, grants_set_up, grant_map_32_batch, grants_tear_down },
    { "grant_copy_32", 10, 64, grants_set_up, grant_copy_batch, grants_tear_down },
    { "mmu_batch", 10, MMU_PAGES, mmu_set_up, mmu_batch, mmu_tear_down },
    { "nanosleep", 20, 4, sleep_set_up, sleep_batch, NULL },
    { "disk_read", 20, 1, vda_set_up, disk_read_batch, disk_tear_down },
    { "ipi", 10, 32, ipi_set_up, ipi_batch, partner_tear_down, 2 },
    { "shootdown", 10, 32, shootdown_set_up, mprotect_batch, shootdown_tear_down, 2 },
    { "wake", 10, 16, wake_set_up, pipe_batch, partner_tear_down, 2 },
};

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "nothing") == 0)
        return 0;
    return bench(rows, sizeof(rows) / sizeof(rows[0]), argc, argv);
}
