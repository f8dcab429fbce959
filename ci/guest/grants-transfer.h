/* Dom0 gives frames to itself by GNTTABOP_transfer: frames of its allowance that its kernel does not know. */
#ifndef GRANTS_TRANSFER_H
#define GRANTS_TRANSFER_H

#include <xen/memory.h>

#define WANTED 0x7fff0UL
#define ACCEPTS(domain) (GTF_accept_transfer | (uint64_t)(domain) << 16 | WANTED << 32)

/* A frame more (or, as it was, one less); 0 if there is none. */
static uint64_t reservation(unsigned op, uint64_t frame)
{
    uint64_t *page = locked_pages(1);
    struct xen_memory_reservation *request = (void *)(page + 8);

    page[0] = frame;
    *request = (struct xen_memory_reservation) { .nr_extents = 1, .domid = DOMID_SELF };
    set_xen_guest_handle(request->extent_start, page);
    frame = hypercall(__HYPERVISOR_memory_op, op, (uint64_t)request, 0, 0, 0) == 1 ? page[0] : 0;
    munmap(page, PAGE);
    return frame;
}

static long balloon(const char *name, long kilobytes)
{
    char path[80];
    FILE *file;

    snprintf(path, sizeof(path), "/sys/devices/system/xen_memory/xen_memory0/%s", name);
    file = fopen(path, kilobytes ? "w" : "r");
    if (file == NULL || (kilobytes ? fprintf(file, "%ld", kilobytes) : fscanf(file, "%ld", &kilobytes)) < 1) {
        stop(path);
    }
    fclose(file);
    return kilobytes;
}

/* Dom0's kernel gives up some of its memory, so that there is room for frames of ours. */
static long make_room(void)
{
    long target = balloon("target_kb", 0);

    if (balloon("info/current_kb", 0) < target) {
        target = balloon("info/current_kb", 0);
    }
    balloon("target_kb", target - 1024);
    for (int tenths = 0; tenths < 300 && balloon("info/current_kb", 0) > target - 512; tenths++) {
        usleep(100000);
    }
    return target;
}

static long give(uint64_t frame, uint16_t domain, uint32_t ref)
{
    struct gnttab_transfer *request = locked_pages(1);
    long status;

    *request = (struct gnttab_transfer) { .mfn = frame, .domid = domain, .ref = ref, .status = 99 };
    OP(GNTTABOP_transfer, request);
    status = request->status;
    munmap(request, PAGE);
    return status;
}

/* The page with an entry of Dom0's table. */
static volatile uint64_t *table_page(uint32_t ref)
{
    struct gnttab_setup_table *setup = locked_pages(1);
    struct gnttab_query_size *size = (void *)(setup + 1);
    uint64_t *list = (uint64_t *)setup + 64;
    int error = 0;
    privcmd_mmapbatch_v2_t request = { .num = 1, .dom = DOMID_SELF, .err = &error };
    void *seen = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, privcmd, 0);

    size->dom = DOMID_SELF;
    OP(GNTTABOP_query_size, size);
    *setup = (struct gnttab_setup_table) { .dom = DOMID_SELF, .nr_frames = size->nr_frames };
    set_xen_guest_handle(setup->frame_list, list);
    OP(GNTTABOP_setup_table, setup);
    check("setup_table", GNTST_okay, setup->status);
    request.addr = (uintptr_t)seen;
    request.arr = (void *)(list + ref / 512);
    if (seen == MAP_FAILED || ioctl(privcmd, IOCTL_PRIVCMD_MMAPBATCH_V2, &request) < 0 || error) {
        stop("mmap of the table");
    }
    munmap(setup, PAGE);
    return seen;
}

static void give_and_take(volatile uint64_t *entry, uint32_t ref)
{
    uint64_t kept = *entry, *page = locked_pages(1), frame;

    check("transfer of a page in use", GNTST_bad_page, give(machine_frame(guest_frame(page)), 0, ref));
    check("transfer of no frame", GNTST_bad_page, give(0xfffffffffUL, 0, ref));
    check("transfer of no frame to no domain", GNTST_bad_page, give(0xfffffffffUL, 0x1234, ref));
    frame = reservation(XENMEM_increase_reservation, 0);
    check("transfer to no domain", GNTST_bad_domain, give(frame, 0x1234, ref));
    check("transfer of what is lost", GNTST_bad_page, give(frame, 0x1234, ref));
    check("transfer to DOMID_SELF", GNTST_bad_domain, give(reservation(XENMEM_increase_reservation, 0), DOMID_SELF, ref));
    frame = reservation(XENMEM_increase_reservation, 0);
    check("transfer to an entry that grants", GNTST_general_error, give(frame, 0, ref));
    check("transfer of what is lost", GNTST_bad_page, give(frame, 0, ref));
    frame = reservation(XENMEM_increase_reservation, 0);
    check("transfer to an entry beyond", GNTST_general_error, give(frame, 0, 1U << 30));
    *entry = ACCEPTS(5);
    frame = reservation(XENMEM_increase_reservation, 0);
    check("transfer to what accepts another's", GNTST_general_error, give(frame, 0, ref));
    check("the entry", (long)ACCEPTS(5), (long)*entry);
    frame = reservation(XENMEM_increase_reservation, 0);
    for (int time = 0; time < 3; time++) {
        *entry = ACCEPTS(0);
        check("transfer", GNTST_okay, give(frame, 0, ref));
        check("the entry", (long)(GTF_accept_transfer | GTF_transfer_committed | GTF_transfer_completed | frame << 32),
              (long)*entry);
    }
    check("transfer to a complete entry", GNTST_general_error, give(frame, 0, ref));
    check("the frame is gone", 0, (long)reservation(XENMEM_decrease_reservation, frame));
    frame = reservation(XENMEM_increase_reservation, 0);
    *entry = ACCEPTS(0);
    check("transfer", GNTST_okay, give(frame, 0, ref));
    check("the frame is ours", (long)frame, (long)reservation(XENMEM_decrease_reservation, frame));
    *entry = kept;
    munmap(page, PAGE);
}

static void transfers(void)
{
    int giver = open("/dev/xen/gntalloc", O_RDWR | O_CLOEXEC);
    struct ioctl_gntalloc_alloc_gref given = { .flags = GNTALLOC_FLAG_WRITABLE, .count = 1 };
    struct ioctl_gntalloc_dealloc_gref back;
    long target = make_room();
    volatile uint64_t *table;

    if (giver < 0 || ioctl(giver, IOCTL_GNTALLOC_ALLOC_GREF, &given) < 0) {
        stop("alloc_gref");
    }
    table = table_page(given.gref_ids[0]);
    give_and_take(table + given.gref_ids[0] % 512, given.gref_ids[0]);
    munmap((void *)table, PAGE);
    table_calls(given.gref_ids[0]);
    back = (struct ioctl_gntalloc_dealloc_gref) { .index = given.index, .count = 1 };
    ioctl(giver, IOCTL_GNTALLOC_DEALLOC_GREF, &back);
    close(giver);
    balloon("target_kb", target);
}

#endif
