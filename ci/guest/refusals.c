/* Long file: one table. Hypercalls that must be refused, each with the errno that Xen 4.17 answers.
 * "refusals" checks all and prints those that differ; "refusals -v" prints all. */
#include "hypercall.h"
#include "verdict.h"

#define SELF 0x7ff0UL
#define NO_DOMAIN 0x1234UL
/* Pointers that a guest may not name. */
#define IN_M2P 0xffff800000000000UL
#define IN_HYPERVISOR 0xffff82d040200000UL
#define IN_DIRECT_MAP 0xffff830000000000UL
#define LAST_OF_HYPERVISOR 0xffff87fffffffff8UL
#define NOT_CANONICAL 0x0000900000000000UL
#define UNMAPPED 0x0000000000001000UL
/* Machine frames: beyond all RAM, an I/O APIC's, the local APICs'. */
#define BEYOND 0xfffffffffUL
#define IO_APIC 0xfec00UL
#define LOCAL_APIC 0xfee00UL

/* Filled by main. */
static uint64_t own_page, own_mfn, table_mfn, xen_mfn;
static uint64_t *buffer;

struct update { uint64_t ptr, val; };
struct mmuext { uint32_t cmd, pad; uint64_t arg1, arg2; };

#define CALL(what, wanted, op, ...) check(what, wanted, call5(op, (uint64_t[5]) { __VA_ARGS__ }))

static long call5(uint64_t op, const uint64_t *a)
{
    return hypercall(op, a[0], a[1], a[2], a[3], a[4]);
}

/* One mmu_update of one entry. */
static long update(uint64_t ptr, uint64_t val, uint64_t domain)
{
    struct update *u = (void *)buffer;

    *u = (struct update) { ptr, val };
    return hypercall(__HYPERVISOR_mmu_update, (uint64_t)u, 1, 0, domain, 0);
}

static long extended(uint32_t cmd, uint64_t arg1, uint64_t arg2, uint64_t domain)
{
    struct mmuext *op = (void *)buffer;

    *op = (struct mmuext) { cmd, 0, arg1, arg2 };
    return hypercall(__HYPERVISOR_mmuext_op, (uint64_t)op, 1, 0, domain, 0);
}

/* A memory_op with five words of arguments. */
static long memory(uint64_t cmd, uint64_t a, uint64_t b, uint64_t c)
{
    buffer[0] = a;
    buffer[1] = b;
    buffer[2] = c;
    buffer[3] = buffer[4] = 0;
    return hypercall(__HYPERVISOR_memory_op, cmd, (uint64_t)buffer, 0, 0, 0);
}

/* An operation whose argument structure is these words. */
static long words(uint64_t op, uint64_t cmd, uint64_t a, uint64_t b, uint64_t c)
{
    buffer[0] = a;
    buffer[1] = b;
    buffer[2] = c;
    memset(buffer + 3, 0, 64);
    return hypercall(op, cmd, (uint64_t)buffer, 0, 0, 0);
}

static void mmu_updates(void)
{
    const uint64_t rw = 0x67;

    CALL("mmu_update: list in the M2P", -EFAULT, 1, IN_M2P, 1, 0, SELF);
    CALL("mmu_update: list in the image", -EFAULT, 1, IN_HYPERVISOR, 1, 0, SELF);
    CALL("mmu_update: list in the direct map", -EFAULT, 1, IN_DIRECT_MAP, 1, 0, SELF);
    CALL("mmu_update: list at the hypervisor's end", -EFAULT, 1, LAST_OF_HYPERVISOR, 2, 0, SELF);
    CALL("mmu_update: list not canonical", -EFAULT, 1, NOT_CANONICAL, 1, 0, SELF);
    CALL("mmu_update: list not mapped", -EFAULT, 1, UNMAPPED, 1, 0, SELF);
    CALL("mmu_update: 2^31 - 1 elements of nothing", -EFAULT, 1, UNMAPPED, 0x7fffffff, 0, SELF);
    CALL("mmu_update: none", 0, 1, UNMAPPED, 0, 0, SELF);
    check("mmu_update: no such domain", -ESRCH, update(own_mfn * PAGE, 0, NO_DOMAIN));
    check("mmu_update: no such table owner", -ESRCH, update(own_mfn * PAGE, 0, (NO_DOMAIN + 1) << 16 | SELF));
    check("mmu_update: command 3", 0, update(own_mfn * PAGE | 3, 0, SELF));
    check("mmu_update: the hypervisor's frame as table", -EINVAL, update(xen_mfn * PAGE, rw, SELF));
    check("mmu_update: beyond RAM", -EINVAL, update(BEYOND * PAGE, rw, SELF));
    check("mmu_update: M2P of the hypervisor's", -EINVAL, update(xen_mfn * PAGE | 1, 5, SELF));
    check("mmu_update: M2P beyond RAM", -EINVAL, update(BEYOND * PAGE | 1, 5, SELF));
    check("mmu_update: M2P of a device", -EINVAL, update(IO_APIC * PAGE | 1, 5, SELF));
}

static void va_mappings(void)
{
    const uint64_t rw = 0x67, ro = 0x65;
    const uint64_t op = __HYPERVISOR_update_va_mapping;

    CALL("va_mapping: a page table writable", -EBUSY, op, own_page, table_mfn * PAGE | rw, 0);
    CALL("va_mapping: the hypervisor's frame", -EBUSY, op, own_page, xen_mfn * PAGE | rw, 0);
    CALL("va_mapping: the hypervisor's frame, read-only", -EBUSY, op, own_page, xen_mfn * PAGE | ro, 0);
    CALL("va_mapping: the local APIC", -EPERM, op, own_page, LOCAL_APIC * PAGE | rw, 0);
    CALL("va_mapping: beyond all addresses", -EPERM, op, own_page, BEYOND * PAGE | rw, 0);
    CALL("va_mapping: an address of the hypervisor's", -EINVAL, op, IN_DIRECT_MAP, own_mfn * PAGE | rw, 0);
    CALL("va_mapping: an address of the M2P", -EINVAL, op, IN_M2P, own_mfn * PAGE | rw, 0);
    CALL("va_mapping: where there is no table", -EINVAL, op, 0x00007f0000000000UL, own_mfn * PAGE | rw, 0);
    CALL("va_mapping: the same again", 0, op, own_page, own_mfn * PAGE | rw, 2);
    CALL("va_mapping: flush in a wild bitmap", -EFAULT, op, own_page, own_mfn * PAGE | rw, IN_HYPERVISOR | 2);
    CALL("va_mapping of no domain", -ESRCH, __HYPERVISOR_update_va_mapping_otherdomain, own_page, 0, 0, NO_DOMAIN);
}

static void extended_operations(void)
{
    CALL("mmuext: list in the image", -EFAULT, 26, IN_HYPERVISOR, 1, 0, SELF);
    CALL("mmuext: list not mapped", -EFAULT, 26, UNMAPPED, 1, 0, SELF);
    CALL("mmuext: 2^31 - 1 of nothing", -EFAULT, 26, UNMAPPED, 0x7fffffff, 0, SELF);
    check("mmuext: no such domain", -ESRCH, extended(0, own_mfn, 0, NO_DOMAIN));
    for (unsigned level = 0; level < 4; level++) {
        check("pin: the hypervisor's frame", -EINVAL, extended(level, xen_mfn, 0, SELF));
        check("pin: beyond RAM", -EINVAL, extended(level, BEYOND, 0, SELF));
        check("pin: a page that is mapped writable", -EINVAL, extended(level, own_mfn, 0, SELF));
    }
    check("unpin: a data page", -EINVAL, extended(4, own_mfn, 0, SELF));
    check("unpin: the hypervisor's frame", -EINVAL, extended(4, xen_mfn, 0, SELF));
    check("unpin: beyond RAM", -EINVAL, extended(4, BEYOND, 0, SELF));
    check("new root: a data page", -EINVAL, extended(5, own_mfn, 0, SELF));
    check("new root: the hypervisor's frame", -EINVAL, extended(5, xen_mfn, 0, SELF));
    check("new root: beyond RAM", -EINVAL, extended(5, BEYOND, 0, SELF));
    check("new user root: a data page", -EINVAL, extended(15, own_mfn, 0, SELF));
    check("new user root: the hypervisor's frame", -EINVAL, extended(15, xen_mfn, 0, SELF));
    check("flush: a wild CPU mask", -EINVAL, extended(8, 0, IN_HYPERVISOR, SELF));
    check("flush one: a wild CPU mask", -EINVAL, extended(9, own_page, UNMAPPED, SELF));
    check("LDT: not aligned", -EINVAL, extended(13, own_page + 8, 1, SELF));
    check("LDT: too long", -EINVAL, extended(13, own_page, 8193, SELF));
    check("LDT: in the hypervisor", -EINVAL, extended(13, IN_DIRECT_MAP, 1, SELF));
    check("clear: the hypervisor's frame", -EINVAL, extended(16, xen_mfn, 0, SELF));
    check("clear: a page table", -EINVAL, extended(16, table_mfn, 0, SELF));
    check("clear: beyond RAM", -EINVAL, extended(16, BEYOND, 0, SELF));
    check("copy: from the hypervisor", -EINVAL, extended(17, own_mfn, xen_mfn, SELF));
    check("copy: to the hypervisor", -EINVAL, extended(17, xen_mfn, own_mfn, SELF));
    check("copy: to a page table", -EINVAL, extended(17, table_mfn, own_mfn, SELF));
    check("mmuext: command 12", 0, extended(12, 0, 0, SELF));
    check("mmuext: command 21", -ENOSYS, extended(21, 0, 0, SELF));
    check("mmuext: command 2^32 - 1", -ENOSYS, extended(~0U, 0, 0, SELF));
}

static void memory_operations(void)
{
    CALL("memory_op: command 63", -ENOSYS, 12, 63, own_page);
    for (unsigned cmd = 0; cmd < 2; cmd++) {
        CALL("reservation: argument in the image", 0, 12, cmd, IN_HYPERVISOR);
        CALL("reservation: argument not mapped", 0, 12, cmd, UNMAPPED);
        check("reservation: list in the hypervisor", 0, memory(cmd, IN_DIRECT_MAP, 1, SELF << 32));
    }
    check("reservation: no such domain", 0, memory(6, own_page, 1, NO_DOMAIN << 32));
    CALL("exchange: argument in the image", -EFAULT, 12, 11, IN_HYPERVISOR);
    CALL("exchange: argument not mapped", -EFAULT, 12, 11, UNMAPPED);
    CALL("current reservation: not mapped", -EFAULT, 12, 3, UNMAPPED);
    CALL("memory map: not mapped", -EFAULT, 12, 9, UNMAPPED);
    CALL("machine map: not mapped", -EFAULT, 12, 10, UNMAPPED);
    CALL("M2P list: not mapped", -EFAULT, 12, 5, UNMAPPED);
    CALL("M2P mapping: in the hypervisor", -EFAULT, 12, 12, IN_HYPERVISOR);
}

static void control(void)
{
    CALL("trap table: in the hypervisor", -EFAULT, 0, IN_HYPERVISOR);
    CALL("trap table: not mapped", -EFAULT, 0, UNMAPPED);
    buffer[0] = xen_mfn;
    CALL("GDT: the hypervisor's frame", -EINVAL, 2, (uint64_t)buffer, 512);
    buffer[0] = BEYOND;
    CALL("GDT: beyond RAM", -EINVAL, 2, (uint64_t)buffer, 512);
    buffer[0] = own_mfn;
    CALL("GDT: a page that is mapped writable", -EINVAL, 2, (uint64_t)buffer, 512);
    CALL("GDT: too many entries", -EINVAL, 2, (uint64_t)buffer, 8192);
    CALL("GDT: list in the hypervisor", -EFAULT, 2, IN_HYPERVISOR, 512);
    CALL("GDT: list not mapped", -EFAULT, 2, UNMAPPED, 512);
    CALL("descriptor: in the hypervisor's frame", -EINVAL, 10, xen_mfn * PAGE, 0);
    CALL("descriptor: not aligned", -EINVAL, 10, own_mfn * PAGE + 4, 0);
    CALL("descriptor: beyond RAM", -EINVAL, 10, BEYOND * PAGE, 0);
    CALL("descriptor: a ring 0 code segment", 0, 10, own_mfn * PAGE, 0x00af9b000000ffffUL);
    CALL("descriptor: a call gate into the hypervisor", -EINVAL, 10, own_mfn * PAGE, 0xffffec00e0080000UL);
    CALL("segment base: which 9", -EINVAL, 25, 9, 0);
    CALL("segment base: not canonical", -EINVAL, 25, 1, NOT_CANONICAL);
    for (unsigned reg = 0; reg < 4; reg++) {
        CALL("debug register: in the hypervisor", -EPERM, 8, reg, IN_HYPERVISOR);
        CALL("debug register: not canonical", -EPERM, 8, reg, NOT_CANONICAL);
    }
    CALL("debug register 9", -ENODEV, 8, 9, 0);
    CALL("debug register 7: I/O breakpoint", -EPERM, 8, 7, 0x20002);
    CALL("get debug register 9", -ENODEV, 9, 9);
    CALL("callback: wild", -EFAULT, 30, 0, IN_HYPERVISOR);
    CALL("callback: command 2", -ENOSYS, 30, 2, own_page);
    check("callback: type 9", -ENOSYS, words(30, 0, 9, 0, 0));
    check("callback: not canonical", -EINVAL, words(30, 0, 2, NOT_CANONICAL, 0));
    check("callback: type 65535", -ENOSYS, words(30, 0, 0xffff, 0, 0));
    CALL("assist: command 2", -ENOSYS, 21, 2, 0);
    CALL("assist: type 63", -EINVAL, 21, 0, 63);
    CALL("assist: type 2^31", -EINVAL, 21, 0, 1UL << 31);
}

static void vcpus(void)
{
    for (unsigned cmd = 0; cmd < 8; cmd++) {
        CALL("vcpu_op: vCPU 200", -ENOENT, 24, cmd, 200, own_page);
        CALL("vcpu_op: vCPU 2^32 - 1", -ENOENT, 24, cmd, 0xffffffffUL, own_page);
    }
    CALL("vcpu_op: command 99", -ENOSYS, 24, 99, 0, own_page);
    CALL("vcpu_op: initialise vCPU 0 again", -EFAULT, 24, 0, 0, own_page);
    CALL("vcpu_op: initialise from the hypervisor", -EFAULT, 24, 0, 0, IN_HYPERVISOR);
    CALL("vcpu_op: runstate into the hypervisor", -EFAULT, 24, 4, 0, IN_HYPERVISOR);
    CALL("vcpu_op: vcpu_info from the hypervisor", -EFAULT, 24, 10, 0, IN_HYPERVISOR);
    check("vcpu_op: vcpu_info again", -EINVAL, (buffer[0] = own_mfn, buffer[1] = 0, hypercall(24, 10, 0, (uint64_t)buffer, 0, 0)));
    check("sched_op: command 99", -ENOSYS, words(29, 99, 0, 0, 0));
    CALL("sched_op: poll in the hypervisor", -EFAULT, 29, 3, IN_HYPERVISOR);
    check("sched_op: poll 2^31 ports", -EINVAL, words(29, 3, own_page, 1UL << 31, 0));
    check("sched_op: poll ports of the hypervisor", -EFAULT, words(29, 3, IN_HYPERVISOR, 1, 1));
    check("sched_op: poll port 2^31", -EINVAL, (((uint32_t *)own_page)[0] = 1U << 31, words(29, 3, own_page, 1, 1)));
    CALL("sched_op: watchdog wild", -EFAULT, 29, 6, IN_HYPERVISOR);
    check("sched_op: watchdog 77", -EINVAL, words(29, 6, 10UL << 32 | 77, 0, 0));
}

static void events(void)
{
    for (unsigned cmd = 0; cmd < 14; cmd++) {
        if (cmd != 10) {
            CALL("event: argument in the hypervisor", -EFAULT, 32, cmd, IN_HYPERVISOR);
            CALL("event: argument not mapped", -EFAULT, 32, cmd, UNMAPPED);
        }
    }
    check("event: command 99", -ENOSYS, words(32, 99, 0, 0, 0));
    check("close: port 0", -EINVAL, words(32, 3, 0, 0, 0));
    check("close: port 2^31", -EINVAL, words(32, 3, 1UL << 31, 0, 0));
    check("close: port 4000", -EINVAL, words(32, 3, 4000, 0, 0));
    check("send: port 0", -EINVAL, words(32, 4, 0, 0, 0));
    check("send: port 2^31", -EINVAL, words(32, 4, 1UL << 31, 0, 0));
    check("status: port 2^31", -EINVAL, words(32, 5, SELF | 1UL << 63, 0, 0));
    check("status: no such domain", -ESRCH, words(32, 5, NO_DOMAIN, 0, 0));
    check("alloc: for no such domain", -ESRCH, words(32, 6, NO_DOMAIN, 0, 0));
    check("bind: a VIRQ of vCPU 200", -ENOENT, words(32, 1, 200UL << 32 | 0, 0, 0));
    check("bind: VIRQ 99", -EINVAL, words(32, 1, 99, 0, 0));
    check("bind: VIRQ 2^32 - 1", -EINVAL, words(32, 1, 0xffffffffUL, 0, 0));
    check("bind: VIRQ TIMER again", -EEXIST, words(32, 1, 0, 0, 0));
    check("bind: an IPI of vCPU 200", -ENOENT, words(32, 7, 200, 0, 0));
    check("bind: an interdomain port of nobody", -ESRCH, words(32, 0, 1UL << 32 | NO_DOMAIN, 0, 0));
    check("bind: an interdomain port 2^31", -EINVAL, words(32, 0, 1UL << 63 | SELF, 0, 0));
    check("bind: PIRQ 2^31", -EINVAL, words(32, 2, 1UL << 31, 0, 0));
    check("bind: port 2^31 to vCPU 0", -EINVAL, words(32, 8, 1UL << 31, 0, 0));
    check("bind: port 1 to vCPU 200", -ENOENT, words(32, 8, 200UL << 32 | 1, 0, 0));
    check("unmask: port 2^31", -EINVAL, words(32, 9, 1UL << 31, 0, 0));
    check("init control: the hypervisor's frame", -EINVAL, words(32, 11, xen_mfn, 0, 0));
    check("init control: vCPU 200", -ENOENT, words(32, 11, own_mfn, 200UL << 32, 0));
    check("expand array: the hypervisor's frame", -EINVAL, words(32, 12, xen_mfn, 0, 0));
    check("set priority: 99", -EINVAL, words(32, 13, 99UL << 32 | 1, 0, 0));
}

static void grants(void)
{
    for (unsigned cmd = 0; cmd < 13; cmd++) {
        if (cmd != 12) {
            CALL("grant: list in the hypervisor", cmd == 3 ? -ENOSYS : -EFAULT, 20, cmd, IN_HYPERVISOR, 1);
        }
        CALL("grant: 2^31 elements", -EINVAL, 20, cmd, own_page, 1UL << 31);
    }
    CALL("grant: command 99", -ENOSYS, 20, 99, own_page, 1);
}

static void devices(void)
{
    CALL("physdev: command 99", -ENOSYS, 33, 99, own_page);
    for (unsigned cmd = 5; cmd < 32; cmd++) {
        if (cmd == 11 || cmd == 18) {
            CALL("physdev: a command of the past", -ENOSYS, 33, cmd, IN_HYPERVISOR);
        } else if (cmd != 6 && cmd != 7 && cmd != 14 && cmd != 20 && cmd != 22 && cmd != 26 && cmd != 27) {
            CALL("physdev: argument in the hypervisor", -EFAULT, 33, cmd, IN_HYPERVISOR);
        }
    }
    check("physdev: I/O privilege level 4", -EINVAL, words(33, 6, 4, 0, 0));
    check("physdev: 2^31 I/O ports", -EINVAL, words(33, 7, 0, 1UL << 31, 0));
    check("physdev: end of interrupt 2^31", -EINVAL, words(33, 12, 1UL << 31, 0, 0));
    check("physdev: status of interrupt 2^31", -EINVAL, words(33, 5, 1UL << 31, 0, 0));
    check("physdev: unmap PIRQ 2^31", 0, words(33, 15, 1UL << 63 | SELF, 0, 0));
    check("physdev: APIC at a wild address", -EINVAL, words(33, 8, own_page, 0, 0));
}

static void others(void)
{
    CALL("version: in the hypervisor", -EFAULT, 17, 1, IN_HYPERVISOR);
    CALL("version: command 99", -ENOSYS, 17, 99, own_page);
    CALL("console: write from the hypervisor", -EFAULT, 18, 0, 16, IN_HYPERVISOR);
    CALL("console: write 2^31 from nowhere", -EFAULT, 18, 0, 1UL << 31, UNMAPPED);
    CALL("console: command 9", -ENOSYS, 18, 9, 0, own_page);
    CALL("multicall: in the hypervisor", -EFAULT, 13, IN_HYPERVISOR, 1);
    CALL("multicall: not mapped", -EFAULT, 13, UNMAPPED, 1);
    CALL("multicall: 2^31 of nothing", -EFAULT, 13, UNMAPPED, 1UL << 31);
    memset(buffer, 0, 64);
    buffer[0] = __HYPERVISOR_multicall;
    CALL("multicall: of a multicall", 0, 13, (uint64_t)buffer, 1);
    check("multicall: the inner one", -EINVAL, (long)buffer[1]);
    buffer[0] = 1UL << 40;
    CALL("multicall: of hypercall 2^40", 0, 13, (uint64_t)buffer, 1);
    check("multicall: that one", -ENOSYS, (long)buffer[1]);
    CALL("platform: in the hypervisor", -EFAULT, 7, IN_HYPERVISOR);
    check("platform: another interface", -EACCES, (buffer[0] = 7UL << 32 | 24, hypercall(7, (uint64_t)buffer, 0, 0, 0, 0)));
    CALL("hypercall 62", -ENOSYS, 62);
    CALL("hypercall 64", -ENOSYS, 64);
    CALL("hypercall 2^31", -ENOSYS, 1UL << 31);
    CALL("hypercall 2^64 - 1", -ENOSYS, ~0UL);
}

/* A frame of Linux's that is in use as a page table: bit 26 in /proc/kpageflags. */
static uint64_t page_table(void)
{
    int file = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
    uint64_t flags;

    for (uint64_t gfn = 256; pread(file, &flags, 8, gfn * 8) == 8; gfn++) {
        if (flags >> 26 & 1) {
            return machine_frame(gfn);
        }
    }
    fprintf(stderr, "no page table found\n");
    exit(2);
}

int main(int argc, char **argv)
{
    verbose = argc > 1;
    open_privcmd();
    buffer = locked_pages(2);
    own_page = (uint64_t)buffer + PAGE;
    own_mfn = machine_frame(guest_frame((void *)own_page));
    table_mfn = page_table();
    xen_mfn = last_frame() - 1;
    mmu_updates();
    va_mappings();
    extended_operations();
    memory_operations();
    control();
    vcpus();
    events();
    grants();
    devices();
    others();
    printf("%d answers differ\n", wrong);
    return wrong != 0;
}
