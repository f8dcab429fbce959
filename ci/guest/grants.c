/* Dom0 grants pages to itself, maps them, copies through them and gives them up, over and over in several processes;
 * gives frames to itself; and asks for what must be refused. "grants ROUNDS PROCESSES" */
#include "hypercall.h"
#include <sys/wait.h>
#include <xen/grant_table.h>
#include <xen/sys/gntalloc.h>
#include <xen/sys/gntdev.h>

#define COUNT 40U
static int wrong;

static void __attribute__((noreturn)) stop(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t word(uint64_t seed, unsigned page, unsigned at)
{
    return (seed << 40 | (uint64_t)page << 20 | at) * 0x9e3779b97f4a7c15UL;
}

static void fill(uint64_t *pages, uint64_t seed)
{
    for (unsigned at = 0; at < COUNT * 512; at++) {
        pages[at] = word(seed, at / 512, at % 512);
    }
}

static void compare(const char *what, const uint64_t *pages, uint64_t seed)
{
    for (unsigned at = 0; at < COUNT * 512; at++) {
        if (pages[at] != word(seed, at / 512, at % 512)) {
            printf("%s: word %u of page %u is %#lx\n", what, at % 512, at / 512, pages[at]);
            exit(1);
        }
    }
}

/* Maps the grants; `index` gets what ends that. */
static uint64_t *map(int device, const uint32_t *refs, int protection, uint64_t *index)
{
    struct ioctl_gntdev_map_grant_ref *request = calloc(1, sizeof(*request) + COUNT * sizeof(request->refs[0]));
    uint64_t *pages;

    request->count = COUNT;
    for (unsigned page = 0; page < COUNT; page++) {
        request->refs[page].domid = 0;
        request->refs[page].ref = refs[page];
    }
    if (ioctl(device, IOCTL_GNTDEV_MAP_GRANT_REF, request) < 0) {
        stop("map_grant_ref");
    }
    *index = request->index;
    pages = mmap(NULL, COUNT * PAGE, protection, MAP_SHARED, device, (off_t)*index);
    if (pages == MAP_FAILED) {
        stop("mmap of grants");
    }
    free(request);
    return pages;
}

static void unmap(int device, uint64_t *pages, uint64_t index)
{
    struct ioctl_gntdev_unmap_grant_ref request = { .index = index, .count = COUNT };

    if (munmap(pages, COUNT * PAGE) < 0 || ioctl(device, IOCTL_GNTDEV_UNMAP_GRANT_REF, &request) < 0) {
        stop("unmap_grant_ref");
    }
}

/* Copies `len` bytes between a grant and memory of ours. */
static void copy(int device, uint32_t ref, uint16_t offset, void *own, uint16_t len, int to_grant)
{
    struct ioctl_gntdev_grant_copy_segment segment = { .len = len };
    struct ioctl_gntdev_grant_copy request = { .count = 1, .segments = &segment };

    if (to_grant) {
        segment.source.virt = own;
        segment.dest.foreign.ref = ref;
        segment.dest.foreign.offset = offset;
        segment.flags = GNTCOPY_dest_gref;
    } else {
        segment.source.foreign.ref = ref;
        segment.source.foreign.offset = offset;
        segment.dest.virt = own;
        segment.flags = GNTCOPY_source_gref;
    }
    if (ioctl(device, IOCTL_GNTDEV_GRANT_COPY, &request) < 0 || segment.status != GNTST_okay) {
        printf("copy: status %d\n", segment.status);
        exit(1);
    }
}

static void copies(int device, const uint32_t *refs, uint64_t *granted)
{
    static unsigned char own[2 * PAGE];

    for (unsigned round = 0; round < COUNT; round++) {
        unsigned from = round * 97 % 3000, to = round * 61 % 5000, len = 1 + round * 211 % 1090;
        unsigned char *page = (unsigned char *)granted + round * PAGE;

        memset(own, 0x5a, sizeof(own));
        copy(device, refs[round], from, own + to, len, 0);
        if (memcmp(own + to, page + from, len) != 0 || own[to + len] != 0x5a || (to && own[to - 1] != 0x5a)) {
            printf("copy %u differs\n", round);
            exit(1);
        }
        memset(own, (int)round, sizeof(own));
        copy(device, refs[round], from, own + to, len, 1);
        if (memcmp(own + to, page + from, len) != 0) {
            printf("copy %u back differs\n", round);
            exit(1);
        }
    }
}

static void rounds(unsigned count, uint64_t seed)
{
    int giver = open("/dev/xen/gntalloc", O_RDWR | O_CLOEXEC), device = open("/dev/xen/gntdev", O_RDWR | O_CLOEXEC);

    if (giver < 0 || device < 0) {
        stop("/dev/xen/gnt*");
    }
    for (unsigned round = 0; round < count; round++, seed++) {
        struct ioctl_gntalloc_alloc_gref *given = calloc(1, sizeof(*given) + COUNT * 4);
        struct ioctl_gntalloc_dealloc_gref back;
        uint64_t *granted, *mapped, *readable, index, second;
        uint32_t refs[COUNT];

        given->domid = 0;
        given->flags = GNTALLOC_FLAG_WRITABLE;
        given->count = COUNT;
        if (ioctl(giver, IOCTL_GNTALLOC_ALLOC_GREF, given) < 0) {
            stop("alloc_gref");
        }
        memcpy(refs, given->gref_ids, sizeof(refs));
        granted = mmap(NULL, COUNT * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, giver, (off_t)given->index);
        if (granted == MAP_FAILED) {
            stop("mmap of pages");
        }
        fill(granted, seed);
        mapped = map(device, refs, PROT_READ | PROT_WRITE, &index);
        compare("mapped", mapped, seed);
        readable = map(device, refs, PROT_READ, &second);
        fill(mapped, seed + 1000);
        compare("granted", granted, seed + 1000);
        compare("readable", readable, seed + 1000);
        unmap(device, mapped, index);
        compare("still readable", readable, seed + 1000);
        copies(device, refs, granted);
        unmap(device, readable, second);
        back = (struct ioctl_gntalloc_dealloc_gref) { .index = given->index, .count = COUNT };
        if (munmap(granted, COUNT * PAGE) < 0 || ioctl(giver, IOCTL_GNTALLOC_DEALLOC_GREF, &back) < 0) {
            stop("dealloc_gref");
        }
        free(given);
    }
}

static void check(const char *what, long wanted, long got)
{
    if (got != wanted) {
        printf("DIFFERENT %s: %ld, not %ld\n", what, got, wanted);
        wrong++;
    }
}

#define OP(op, element) check(#op, 0, hypercall(__HYPERVISOR_grant_table_op, op, (uint64_t)(element), 1, 0, 0))

static long map_status(uint64_t at, uint32_t flags, uint16_t domain, uint32_t ref)
{
    struct gnttab_map_grant_ref *request = locked_pages(1);
    long status;

    *request = (struct gnttab_map_grant_ref) { .host_addr = at, .flags = flags, .dom = domain, .ref = ref, .status = 99 };
    OP(GNTTABOP_map_grant_ref, request);
    status = request->status;
    munmap(request, PAGE);
    return status;
}

static long unmap_status(uint64_t at, uint32_t handle)
{
    struct gnttab_unmap_grant_ref *request = locked_pages(1);
    long status;

    *request = (struct gnttab_unmap_grant_ref) { .host_addr = at, .handle = handle, .status = 99 };
    OP(GNTTABOP_unmap_grant_ref, request);
    status = request->status;
    munmap(request, PAGE);
    return status;
}

static long copy_status(struct gnttab_copy request)
{
    struct gnttab_copy *list = locked_pages(1);
    long status;

    *list = request;
    list->status = 99;
    OP(GNTTABOP_copy, list);
    status = list->status;
    munmap(list, PAGE);
    return status;
}

static void refusals(void)
{
    uint64_t *page = locked_pages(2);
    uint64_t mfn = machine_frame(guest_frame(page)), other = machine_frame(guest_frame(page + 512));
    struct gnttab_copy own = {
        .source = { .u.gmfn = mfn, .domid = DOMID_SELF, .offset = 16 },
        .dest = { .u.gmfn = other, .domid = DOMID_SELF, .offset = 32 },
        .len = 64,
    };
    struct gnttab_copy request = own;

    check("map without a use", GNTST_bad_gntref, map_status(0, 0, 0, 20000));
    check("map of no domain's", GNTST_bad_domain, map_status(0, GNTMAP_host_map, 0x1234, 8));
    check("map of DOMID_SELF's", GNTST_bad_domain, map_status(0, GNTMAP_host_map, DOMID_SELF, 8));
    check("map of a reference beyond", GNTST_bad_gntref, map_status(0, GNTMAP_host_map, 0, 1U << 30));
    check("unmap of no handle", GNTST_bad_handle, unmap_status((uint64_t)page, 0x7ffffff0));
    check("unmap of the last handle", GNTST_bad_handle, unmap_status((uint64_t)page, UINT32_MAX));
    page[2] = 0x1234567;
    check("copy of our own", GNTST_okay, copy_status(own));
    check("the copy", 0x1234567, (long)page[512 + 4]);
    request.source.offset = 4090;
    check("copy beyond a page", GNTST_bad_copy_arg, copy_status(request));
    request = own;
    request.source.domid = 0;
    check("copy by frame of a domain by number", GNTST_permission_denied, copy_status(request));
    request = own;
    request.flags = GNTCOPY_source_gref;
    request.source.u.ref = 1U << 30;
    check("copy of a reference beyond", GNTST_bad_gntref, copy_status(request));
    request.source.domid = 0x1234;
    check("copy of no domain's", GNTST_bad_domain, copy_status(request));
    request = own;
    request.source.u.gmfn = 0xfffffffffUL;
    check("copy of no frame", GNTST_bad_page, copy_status(request));
    check("an unknown operation", -ENOSYS, hypercall(__HYPERVISOR_grant_table_op, 13, (uint64_t)page, 1, 0, 0));
    check("a negative count", -EINVAL, hypercall(__HYPERVISOR_grant_table_op, 0, (uint64_t)page, 1UL << 31, 0, 0));
    check("bits above the operation", -EINVAL,
          hypercall(__HYPERVISOR_grant_table_op, 1 << 12, (uint64_t)page, 1, 0, 0));
    check("a list nowhere", -EFAULT,
          hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_copy, 0x1000, 1, 0, 0));
    check("nothing", 0, hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_copy, (uint64_t)page, 0, 0, 0));
}

#include "grants-tables.h"
#include "grants-transfer.h"

int main(int count, char **words)
{
    unsigned times = count > 1 ? (unsigned)atoi(words[1]) : 10, processes = count > 2 ? (unsigned)atoi(words[2]) : 2;
    int status;

    open_privcmd();
    refusals();
    transfers();
    for (unsigned process = 0; process < processes; process++) {
        if (fork() == 0) {
            rounds(times, process * 100000UL);
            exit(0);
        }
    }
    while (wait(&status) > 0) {
        wrong += status != 0;
    }
    printf("grants: %u times in %u processes, %d wrong\n", times, processes, wrong);
    return wrong != 0;
}
