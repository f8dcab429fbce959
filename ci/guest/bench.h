/* Rows of operations, measured in batches. For each row a line is printed:
 * "LAB-BENCH NAME UNITS OPERATIONS BEST FIRST BATCHES": the units of one operation, the operations of a batch, the
 * number of the batch that this was measured in, that of the row's first, and how many batches the row has. The
 * numbers are those of the plugin (ci/plugin/count.c), which sees every batch; BENCH_FIRST in the environment is the
 * first one's, where another program had some before. */
#ifndef BENCH_H
#define BENCH_H

#include "hypercall.h"

static inline uint64_t ticks(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

/* Tells the plugin where a batch begins and ends. */
#define MARK_BEGIN __asm__ volatile("nopl 0x4c414231(%%rax)" : : : "memory")
#define MARK_END __asm__ volatile("nopl 0x4c414232(%%rax)" : : : "memory")

static inline void die(const char *what)
{
    perror(what);
    exit(1);
}

/* A row: `set_up` makes what `batch` works on and returns 0, or not when the row has no meaning here. */
struct row {
    const char *name;
    int batches;
    int operations; /* in a batch */
    int (*set_up)(void);
    void (*batch)(int operations);
    void (*tear_down)(void);
    int cpus; /* that it needs; 0: one */
};

static inline char *map(size_t pages)
{
    char *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        die("mmap");
    return memory;
}

static inline int privcmd_set_up(void)
{
    privcmd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);
    return privcmd < 0;
}

static inline void privcmd_tear_down(void)
{
    close(privcmd);
}

struct cost {
    double ticks; /* of one operation, -1 if not measured */
    unsigned long first, best;
};

/* The cost of an operation in the cheapest batch. */
static inline struct cost measure(const struct row *row)
{
    static unsigned long batches;
    const char *first = getenv("BENCH_FIRST");

    if (batches == 0 && first)
        batches = strtoul(first, NULL, 10);
    struct cost cost = { -1, batches, batches };

    for (int i = 0; i < row->batches; i++, batches++) {
        uint64_t start = ticks();
        MARK_BEGIN;
        row->batch(row->operations);
        MARK_END;
        uint64_t end = ticks();
        double each = (double)(end - start) / row->operations;

        if (cost.ticks < 0 || each < cost.ticks) {
            cost.ticks = each;
            cost.best = batches;
        }
    }
    return cost;
}

/* Whether this machine has the CPUs for it. */
static inline int possible(const struct row *row)
{
    return sysconf(_SC_NPROCESSORS_ONLN) >= row->cpus;
}

static inline int chosen(int count, char **names, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return 1;
    return count == 0;
}

/* What the command line asks for: rows by name (all, if none), or `names` for the names of those that are possible. */
static inline int bench(const struct row *rows, size_t count, int argc, char **argv)
{
    struct cost *costs = calloc(count, sizeof(*costs));

    if (argc == 2 && strcmp(argv[1], "names") == 0) {
        for (size_t i = 0; i < count; i++)
            if (possible(&rows[i]))
                puts(rows[i].name);
        return 0;
    }
    /* Nothing is printed before the end: the console is no part of what is measured. */
    for (size_t i = 0; i < count; i++) {
        costs[i].ticks = -1;
        if (!chosen(argc - 1, argv + 1, rows[i].name) || !possible(&rows[i]))
            continue;
        if (rows[i].set_up && rows[i].set_up())
            continue;
        costs[i] = measure(&rows[i]);
        if (rows[i].tear_down)
            rows[i].tear_down();
    }
    for (size_t i = 0; i < count; i++)
        if (costs[i].ticks >= 0)
            printf("LAB-BENCH %s %.1f %d %lu %lu %d\n", rows[i].name, costs[i].ticks, rows[i].operations,
                   costs[i].best, costs[i].first, rows[i].batches);
    free(costs);
    return 0;
}

#endif
