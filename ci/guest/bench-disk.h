/* A disk read and written by the MiB, past the kernel's cache. */
#ifndef BENCH_DISK_H
#define BENCH_DISK_H

#include "bench.h"

#define DISK_CHUNK (1UL << 20)
#define DISK_PAGES (DISK_CHUNK / PAGE)
/* Odd, and not small: pages side by side are touched long after each other. */
#define DISK_STRIDE 101
static int disk = -1;
static char *disk_area;

/* The kernel makes one piece of pages that lie side by side in memory, and its work is by the piece. How many do, free
 * memory decides, not what is below the kernel: the order in which these are touched sees that hardly any do. */
static int disk_set_up(const char *name, int how)
{
    disk = open(name, how | O_DIRECT);
    if (disk < 0)
        return 1;
    disk_area = map(DISK_PAGES);
    madvise(disk_area, DISK_CHUNK, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < DISK_PAGES; i++)
        disk_area[i * DISK_STRIDE % DISK_PAGES * PAGE] = 1;
    return 0;
}

static void disk_tear_down(void)
{
    munmap(disk_area, DISK_CHUNK);
    close(disk);
}

/* One operation is one MiB. */
static void disk_read_batch(int operations)
{
    while (operations--)
        if (pread(disk, disk_area, DISK_CHUNK, 0) != (ssize_t)DISK_CHUNK)
            die("read");
}

static inline void disk_write_batch(int operations)
{
    while (operations--)
        if (pwrite(disk, disk_area, DISK_CHUNK, 0) != (ssize_t)DISK_CHUNK)
            die("write");
}

#endif
