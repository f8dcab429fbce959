/* A QEMU plugin by which the lab makes the hypervisor fail from outside: a machine check at the very instruction where
 * a CPU stands, with registers, stack and code as they are. The image takes no part in it.
 *
 * Options: socket=PATH, a unix socket on which the lab listens; text=START-END, the hypervisor's code (hexadecimal);
 * wait=START-END, code in it that only waits, any number of times.
 * The lab sends lines, numbers hexadecimal:
 *
 *   heads PLACE...          where in the file of the machine's RAM each CPU's log head lies
 *   leader PLACE            and the word that names the CPU which leads a recovery
 *   arm DISTANCE WHEN       fail after so many of the hypervisor's instructions (of all CPUs); WHEN says which count:
 *                           any; undo: while the CPU's log holds what to undo; outbox: while it holds what to finish;
 *                           both: while every other CPU is in the hypervisor too
 *   at ADDRESS TIMES        fail when that instruction is about to run for the TIMESth time
 *   ran                     say which instructions ran since `heads`, but in recoveries
 *   nmi ADDRESS             when it is about to run, another CPU fails and leads; its NMI comes there
 *   off                     forget that
 *
 * and hears:
 *
 *   hit CPU ADDRESS HEAD OTHERS    it failed; its log's head; how many other CPUs were in the hypervisor
 *   met CPU ADDRESS                the NMI came there
 *   ran 0 ADDRESS TIMES            an instruction; address 0 ends the list
 *   back CPU INSTRUCTIONS          that CPU runs a guest again, or idles; so many of the hypervisor's until
 *                                  then, of the CPU that took most of them: it itself, or another one while
 *                                  a recovery is led
 *
 * Blocks of code with a PAUSE in them only wait too: they do not count. Those with a HLT count as idle. A string instruction
 * counts once. How a CPU is made to fail stands in inside.h. */
#include "inside.h"
#include "interface.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* The version of the interface that has all that is used here. */
__attribute__((visibility("default"))) int qemu_plugin_version = 3;

#define MOST_CPUS 64
#define MOST_WAITS 16

/* What the plugin keeps of each CPU; inline operations write `where`. */
struct cell {
    uint64_t where;   /* Address of the hypervisor's block that it executes; 0: a guest's, or idle. */
    uint64_t fire_at; /* The number, from 1, of the instruction of this block at which to act; 0: none. */
    uint64_t away;    /* It failed and has not come back. */
};

/* A block of the hypervisor's code. */
struct block {
    uint32_t count;
    bool waits;
    uint64_t address[];
};

enum mode { OFF, DISTANCE, AT, AT_NMI };
enum when { ANY, UNDO, OUTBOX, BOTH };
static const char *const whens[] = { "any", "undo", "outbox", "both" };

static struct qemu_plugin_scoreboard *score;
static struct range {
    uint64_t start, end;
} text, waits[MOST_WAITS];
static unsigned wait_count;
/* How often the instruction at each address of the code ran; of several CPUs at once, one may not be counted. */
static uint32_t *runs;
static int lab = -1;
static const char *ram;
static uint64_t heads[MOST_CPUS], leader;
static unsigned cpus;

static _Atomic int mode, when, mate = -1;
static _Atomic int64_t left;
static _Atomic uint64_t wanted;
/* Instructions of the hypervisor since the failure, of each CPU. */
static uint64_t spent[MOST_CPUS];

static struct cell *cell(unsigned cpu)
{
    return qemu_plugin_scoreboard_find(score, cpu);
}

static plugin_u64 field(size_t offset)
{
    return (plugin_u64){ score, offset };
}

static void tell(const char *kind, unsigned cpu, uint64_t a, uint64_t b, uint64_t c)
{
    char line[128];
    int length = snprintf(line, sizeof(line), "%s %x %llx %llx %llx\n", kind, cpu, (unsigned long long)a,
                          (unsigned long long)b, (unsigned long long)c);

    if (write(lab, line, length) != length)
        perror("fail: the lab is gone");
}

static uint64_t head(unsigned cpu)
{
    return ram && cpu < cpus ? *(const volatile uint64_t *)(ram + heads[cpu]) : 0;
}

static unsigned others_inside(unsigned cpu)
{
    unsigned inside = 0;

    for (unsigned other = 0; other < cpus; other++)
        inside += other != cpu && cell(other)->where != 0;
    return inside;
}

static bool within(const struct range *range, uint64_t address)
{
    return address >= range->start && address < range->end;
}

/* Whether instructions count in this state. */
static bool fits(unsigned cpu)
{
    switch (when) {
    case UNDO:
        return (head(cpu) & 3) == 1 && (head(cpu) >> 3 & 0x1fff) != 0;
    case OUTBOX:
        return (head(cpu) & 3) > 1;
    case BOTH:
        return cpus > 1 && others_inside(cpu) == cpus - 1;
    default:
        return true;
    }
}

/* Whether some CPU leads a recovery. */
static bool recovering(void)
{
    return ram && *(const volatile uint32_t *)(ram + leader) != 0;
}

/* A block of the hypervisor's begins. */
static void at_block(unsigned cpu, void *which)
{
    const struct block *block = which;
    struct cell *own = cell(cpu);

    if (block->waits)
        return;
    if (own->away || recovering())
        spent[cpu] += block->count;
    else
        for (uint32_t i = 0; i < block->count; i++)
            runs[block->address[i] - text.start]++;
    own->fire_at = 0;
    if (mate == (int)cpu) {
        own->fire_at = 1;
    } else if (mode == DISTANCE && fits(cpu)) {
        int64_t before = atomic_fetch_sub(&left, block->count);

        if (before > 0 && before <= block->count)
            own->fire_at = before;
    } else if (mode == AT || mode == AT_NMI) {
        for (uint32_t i = 0; i < block->count; i++)
            if (block->address[i] == wanted && (mode == AT_NMI || atomic_fetch_sub(&left, 1) == 1))
                own->fire_at = i + 1;
    }
}

static void fail_here(unsigned cpu, uint64_t address, uintptr_t from)
{
    cell(cpu)->away = 1;
    memset(spent, 0, sizeof(spent));
    tell("hit", cpu, address, head(cpu), others_inside(cpu));
    take_machine_check(cpu, from);
}

/* Lets another CPU fail while this one stands still; true once that one leads a recovery. */
static bool another_leads(unsigned cpu)
{
    unsigned other = (cpu + 1) % cpus;
    mate = other;
    for (int tries = 0; tries < 2000 && !recovering(); tries++)
        usleep(50);
    int expected = other;
    atomic_compare_exchange_strong(&mate, &expected, -1);
    return recovering();
}

static void at_instruction(unsigned cpu, void *which)
{
    uintptr_t from = (uintptr_t)__builtin_extract_return_addr(__builtin_return_address(0));
    uint64_t address = (uint64_t)(uintptr_t)which;
    struct cell *own = cell(cpu);
    int was = mode, expected = cpu;

    own->fire_at = 0;
    if (atomic_compare_exchange_strong(&mate, &expected, -1))
        fail_here(cpu, address, from);
    if (was == DISTANCE && !fits(cpu)) {
        /* The state has just passed: the next instruction in it. */
        left = 1;
        return;
    }
    if (was == OFF || !atomic_compare_exchange_strong(&mode, &was, OFF))
        return;
    if (was != AT_NMI)
        fail_here(cpu, address, from);
    if (!another_leads(cpu)) {
        mode = AT_NMI;
        return;
    }
    tell("met", cpu, address, 0, 0);
    take_nmi(cpu, from);
}

/* A CPU that failed runs a guest again, or idles. */
static void at_return(unsigned cpu, void *nothing)
{
    uint64_t most = 0;

    for (unsigned other = 0; other < MOST_CPUS; other++)
        most = spent[other] > most ? spent[other] : most;
    (void)nothing;
    cell(cpu)->away = 0;
    tell("back", cpu, most, 0, 0);
}

static void translated(plugin_id id, struct qemu_plugin_tb *tb)
{
    size_t count = qemu_plugin_tb_n_insns(tb);
    uint64_t start = qemu_plugin_tb_vaddr(tb);
    bool own = within(&text, start), idles = false;
    struct block *block = own ? calloc(1, sizeof(*block) + count * sizeof(uint64_t)) : NULL;

    for (size_t i = 0; block && i < count; i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(tb, i);
        uint8_t code[2];

        block->address[i] = qemu_plugin_insn_vaddr(instruction);
        if (qemu_plugin_insn_data(instruction, code, 2) == 2)
            block->waits |= code[0] == 0xf3 && code[1] == 0x90;
        idles |= code[0] == 0xf4;
    }
    qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, PLUGIN_STORE, field(offsetof(struct cell, where)),
                                                      block && !idles ? start : 0);
    if (!block || idles)
        qemu_plugin_register_vcpu_tb_exec_cond_cb(tb, at_return, PLUGIN_NO_REGISTERS, PLUGIN_DIFFERS,
                                                  field(offsetof(struct cell, away)), 0, NULL);
    if (!block)
        return;
    block->count = count;
    block->waits |= idles;
    for (unsigned i = 0; i < wait_count; i++)
        block->waits |= within(&waits[i], start);
    qemu_plugin_register_vcpu_tb_exec_cb(tb, at_block, PLUGIN_NO_REGISTERS, block);
    for (size_t i = 0; i < count && !block->waits; i++)
        qemu_plugin_register_vcpu_insn_exec_cond_cb(
            qemu_plugin_tb_get_insn(tb, i), at_instruction, PLUGIN_CHANGES_REGISTERS, PLUGIN_EQUAL,
            field(offsetof(struct cell, fire_at)), i + 1, (void *)(uintptr_t)block->address[i]);
    (void)id;
}

/* Maps the machine's RAM, which is a memory file among QEMU's. */
static void map_ram(void)
{
    DIR *folder = opendir("/proc/self/fd");

    for (struct dirent *entry; folder && !ram && (entry = readdir(folder));) {
        char target[128];
        ssize_t length = readlinkat(dirfd(folder), entry->d_name, target, sizeof(target) - 1);
        struct stat file;

        target[length > 0 ? length : 0] = 0;
        if (!strncmp(target, "/memfd:memory-backend", 21) && !fstat(atoi(entry->d_name), &file)) {
            void *at = mmap(NULL, file.st_size, PROT_READ, MAP_SHARED, atoi(entry->d_name), 0);

            ram = at == MAP_FAILED ? NULL : at;
        }
    }
    if (folder)
        closedir(folder);
}

static void obey(char *line)
{
    char *words[MOST_CPUS + 1];
    int count = 0;

    for (char *word = strtok(line, " \n"); word && count <= MOST_CPUS; word = strtok(NULL, " \n"))
        words[count++] = word;
    if (count == 0)
        return;
    uint64_t first = count > 1 ? strtoull(words[1], NULL, 16) : 0;
    mode = OFF;
    if (!strcmp(words[0], "heads")) {
        map_ram();
        for (int i = 1; i < count; i++)
            heads[i - 1] = strtoull(words[i], NULL, 16);
        cpus = count - 1;
        for (uint64_t i = 0; i < text.end - text.start; i++)
            runs[i] = 0;
    } else if (!strcmp(words[0], "leader")) {
        leader = first;
    } else if (!strcmp(words[0], "arm") && count > 2) {
        for (unsigned i = 0; i < sizeof(whens) / sizeof(*whens); i++)
            if (!strcmp(words[2], whens[i]))
                when = i;
        left = first;
        mode = DISTANCE;
    } else if (!strcmp(words[0], "ran")) {
        for (uint64_t i = 0; i < text.end - text.start; i++)
            if (runs[i])
                tell("ran", 0, text.start + i, runs[i], 0);
        tell("ran", 0, 0, 0, 0);
    } else if (!strcmp(words[0], "at") && count > 2) {
        wanted = first;
        left = strtoull(words[2], NULL, 16);
        mode = AT;
    } else if (!strcmp(words[0], "nmi")) {
        wanted = first;
        mode = AT_NMI;
    }
}

static void *listen_to_lab(void *nothing)
{
    FILE *lines = fdopen(dup(lab), "r");
    char line[2048];

    while (lines && fgets(line, sizeof(line), lines))
        obey(line);
    return nothing;
}

/* In a thread that takes no signals, as QEMU's own: one that it handles would end a read. */
static bool start_listening(void)
{
    pthread_t thread;
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = !pthread_create(&thread, NULL, listen_to_lab, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static struct range range_of(const char *words)
{
    char *end;
    uint64_t start = strtoull(words, &end, 16);

    return (struct range){ start, *end ? strtoull(end + 1, NULL, 16) : start };
}

static bool connect_to(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    lab = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return lab >= 0 && !connect(lab, (struct sockaddr *)&address, sizeof(address));
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    if (!find_functions() || !measure()) {
        fprintf(stderr, "fail: this QEMU keeps its functions to itself: it was built without modules\n");
        return -1;
    }
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "socket=", 7) == 0 && !connect_to(argv[i] + 7)) {
            perror("fail: the lab's socket");
            return -1;
        }
        if (strncmp(argv[i], "text=", 5) == 0)
            text = range_of(argv[i] + 5);
        if (strncmp(argv[i], "wait=", 5) == 0 && wait_count < MOST_WAITS)
            waits[wait_count++] = range_of(argv[i] + 5);
    }
    runs = calloc(text.end - text.start + 1, sizeof(*runs));
    if (lab < 0 || text.end == text.start || !runs || !start_listening()) {
        fprintf(stderr, "fail: the options socket=PATH and text=START-END are needed\n");
        return -1;
    }
    score = qemu_plugin_scoreboard_new(sizeof(struct cell));
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
