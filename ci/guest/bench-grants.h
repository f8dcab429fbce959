/* Rows of grants, which Dom0 gives to itself, and of page-table updates in lists. */
#ifndef BENCH_GRANTS_H
#define BENCH_GRANTS_H

#include "bench.h"
#include <xen/grant_table.h>
#include <xen/sys/gntalloc.h>

#define GRANTS 32
static int giver = -1;
static uint64_t given_index;
static uint32_t grants[GRANTS];
/* Where they are mapped: absent pages behind a present one, so that the page table is there. */
static char *grant_area;
static struct gnttab_map_grant_ref *grant_maps;
static struct gnttab_unmap_grant_ref *grant_unmaps;
static struct gnttab_copy *grant_copies;

static int grants_set_up(void)
{
    struct ioctl_gntalloc_alloc_gref *given = calloc(1, sizeof(*given) + GRANTS * sizeof(uint32_t));

    giver = open("/dev/xen/gntalloc", O_RDWR | O_CLOEXEC);
    if (giver < 0 || privcmd_set_up())
        return 1;
    *given = (struct ioctl_gntalloc_alloc_gref) { .flags = GNTALLOC_FLAG_WRITABLE, .count = GRANTS };
    if (ioctl(giver, IOCTL_GNTALLOC_ALLOC_GREF, given))
        die("alloc_gref");
    memcpy(grants, given->gref_ids, sizeof(grants));
    given_index = given->index;
    free(given);
    grant_area = locked_pages(1 + GRANTS);
    munlock(grant_area, (1 + GRANTS) * PAGE);
    if (madvise(grant_area + PAGE, GRANTS * PAGE, MADV_DONTNEED))
        die("madvise");
    grant_maps = locked_pages(3);
    grant_unmaps = (void *)((char *)grant_maps + PAGE);
    grant_copies = (void *)((char *)grant_maps + 2 * PAGE);
    return 0;
}

static void grants_tear_down(void)
{
    struct ioctl_gntalloc_dealloc_gref taken = { .index = given_index, .count = GRANTS };

    munmap(grant_area, (1 + GRANTS) * PAGE);
    munmap(grant_maps, 3 * PAGE);
    if (ioctl(giver, IOCTL_GNTALLOC_DEALLOC_GREF, &taken))
        die("dealloc_gref");
    close(giver);
    privcmd_tear_down();
}

/* Maps and unmaps grants, `count` of them by a hypercall. */
static void map_grants(int operations, int count)
{
    for (; operations > 0; operations -= count) {
        for (int i = 0; i < count; i++)
            grant_maps[i] = (struct gnttab_map_grant_ref) {
                .host_addr = (uintptr_t)grant_area + (1 + i) * PAGE, .flags = GNTMAP_host_map, .ref = grants[i],
            };
        if (hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, (uintptr_t)grant_maps, count, 0, 0))
            die("map");
        for (int i = 0; i < count; i++) {
            if (grant_maps[i].status != GNTST_okay)
                die("status of a map");
            grant_unmaps[i] = (struct gnttab_unmap_grant_ref) {
                .host_addr = grant_maps[i].host_addr, .handle = grant_maps[i].handle,
            };
        }
        if (hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_unmap_grant_ref, (uintptr_t)grant_unmaps, count, 0, 0))
            die("unmap");
        for (int i = 0; i < count; i++)
            if (grant_unmaps[i].status != GNTST_okay)
                die("status of an unmap");
    }
}

static void grant_map_batch(int operations)
{
    map_grants(operations, 1);
}

static void grant_map_32_batch(int operations)
{
    map_grants(operations, GRANTS);
}

/* Packets from half of the grants to the other half. */
static void grant_copy_batch(int operations)
{
    for (; operations > 0; operations -= GRANTS) {
        for (int i = 0; i < GRANTS; i++)
            grant_copies[i] = (struct gnttab_copy) {
                .source = { .u.ref = grants[i / 2] }, .dest = { .u.ref = grants[GRANTS / 2 + i / 2] },
                .len = 1448, .flags = GNTCOPY_source_gref | GNTCOPY_dest_gref,
            };
        if (hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_copy, (uintptr_t)grant_copies, GRANTS, 0, 0))
            die("copy");
        for (int i = 0; i < GRANTS; i++)
            if (grant_copies[i].status != GNTST_okay)
                die("status of a copy");
    }
}

#define MMU_PAGES 64
static xen_pfn_t mmu_frames[MMU_PAGES];
static char *mmu_pages;

static int mmu_set_up(void)
{
    if (privcmd_set_up())
        return 1;
    mmu_pages = locked_pages(MMU_PAGES);
    for (int i = 0; i < MMU_PAGES; i++)
        mmu_frames[i] = machine_frame(guest_frame(mmu_pages + i * PAGE));
    return 0;
}

static void mmu_tear_down(void)
{
    munmap(mmu_pages, MMU_PAGES * PAGE);
    privcmd_tear_down();
}

/* The kernel maps the machine frames by lists of updates, and takes them away again. */
static void mmu_batch(int operations)
{
    static int errors[MMU_PAGES];

    for (; operations > 0; operations -= MMU_PAGES) {
        char *seen = mmap(NULL, MMU_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, privcmd, 0);
        privcmd_mmapbatch_v2_t request = {
            .num = MMU_PAGES, .dom = DOMID_SELF, .addr = (uintptr_t)seen, .arr = mmu_frames, .err = errors,
        };

        if (seen == MAP_FAILED || ioctl(privcmd, IOCTL_PRIVCMD_MMAPBATCH_V2, &request))
            die("mmapbatch");
        munmap(seen, MMU_PAGES * PAGE);
    }
}

#endif
