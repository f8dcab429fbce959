/* Weights, caps, affinity and CPU pools, as the control interfaces have them: each answer is Xen 4.17's, and what was
 * set is read back. Needs two CPUs; leaves everything as it was. "scheduler -v" prints all answers, "scheduler -p" also takes away
 * the CPU to which a vCPU is pinned, of which Xen 4.17.7 dies. */
#include "hypercall.h"
#include "verdict.h"
#include <xen/domctl.h>
#include <xen/sysctl.h>

#define ANY 0xffffffffU

static int pinned;
static struct xen_domctl *domctl_op;
static struct xen_sysctl *sysctl_op;
static uint8_t *maps;

static struct xen_domctl *domctl(uint32_t cmd, uint16_t domain)
{
    memset(domctl_op, 0, sizeof(*domctl_op));
    domctl_op->cmd = cmd;
    domctl_op->interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    domctl_op->domain = domain;
    return domctl_op;
}

static long ask_domain(void)
{
    return hypercall(__HYPERVISOR_domctl, (uint64_t)domctl_op, 0, 0, 0, 0);
}

static struct xen_sysctl *machine(uint32_t cmd)
{
    memset(sysctl_op, 0, sizeof(*sysctl_op));
    sysctl_op->cmd = cmd;
    sysctl_op->interface_version = XEN_SYSCTL_INTERFACE_VERSION;
    return sysctl_op;
}

static long ask_machine(void)
{
    return hypercall(__HYPERVISOR_sysctl, (uint64_t)sysctl_op, 0, 0, 0, 0);
}

/* Weight and cap of domain 0, as one number; or an error. */
static long share(uint32_t scheduler, uint32_t cmd, uint16_t weight, uint16_t cap)
{
    struct xen_domctl_scheduler_op *op = &domctl(XEN_DOMCTL_scheduler_op, 0)->u.scheduler_op;
    long result;

    op->sched_id = scheduler;
    op->cmd = cmd;
    op->u.credit2.weight = weight;
    op->u.credit2.cap = cap;
    result = ask_domain();
    return result ? result : op->u.credit2.weight << 16 | op->u.credit2.cap;
}

static void shares(void)
{
    check("share: at first", 256 << 16, share(6, 1, 0, 0));
    check("share: put", 512 << 16 | 150, share(6, 0, 512, 150));
    check("share: no weight leaves it, no cap takes it away", 0, share(6, 0, 0, 0));
    check("share: get", 512 << 16, share(6, 1, 0, 0));
    check("share: put the least, and a cap of all its vCPUs", 1 << 16 | 200, share(6, 0, 1, 200));
    check("share: get it", 1 << 16 | 200, share(6, 1, 0, 0));
    check("share: put a cap of more", -EINVAL, share(6, 0, 0, 201));
    check("share: get what it was", 1 << 16 | 200, share(6, 1, 0, 0));
    check("share: put the first", 256 << 16, share(6, 0, 256, 0));
    check("share: another scheduler", -EINVAL, share(5, 1, 0, 0));
    check("share: of vCPUs, put", -EINVAL, share(6, 2, 0, 0));
    check("share: of vCPUs, get", -EINVAL, share(6, 3, 0, 0));
    check("share: no such command", -EINVAL, share(6, 9, 0, 0));
}

/* Affinity of a vCPU of domain 0: the hard and soft maps that come back, or an error. */
static long affinity(uint32_t cmd, uint32_t vcpu, uint32_t flags, uint8_t hard, uint8_t soft)
{
    struct xen_domctl_vcpuaffinity *op = &domctl(cmd, 0)->u.vcpuaffinity;
    long result;

    maps[0] = hard;
    maps[8] = soft;
    op->vcpu = vcpu;
    op->flags = flags;
    set_xen_guest_handle_raw(op->cpumap_hard.bitmap, maps);
    set_xen_guest_handle_raw(op->cpumap_soft.bitmap, maps + 8);
    op->cpumap_hard.nr_bits = op->cpumap_soft.nr_bits = 8;
    result = ask_domain();
    return result ? result : maps[0] << 8 | maps[8];
}

static long set(uint32_t flags, uint8_t hard, uint8_t soft)
{
    return affinity(XEN_DOMCTL_setvcpuaffinity, 1, flags, hard, soft);
}

static long get(uint32_t flags)
{
    return affinity(XEN_DOMCTL_getvcpuaffinity, 1, flags, 0, 0);
}

static void affinities(void)
{
    check("affinity: at first", 0x303, get(3));
    check("affinity: no flags", -EINVAL, get(0));
    check("affinity: unknown flags", 0, get(8));
    check("affinity: get with force", 0, get(4));
    check("affinity: no such vCPU", -EINVAL, affinity(XEN_DOMCTL_getvcpuaffinity, 64, 1, 0, 0));
    check("affinity: hard to CPU 0", 0x1ff, set(1, 1, 0xff));
    check("affinity: get", 0x103, get(3));
    check("affinity: soft to CPU 1 is never effective", 0x500, set(2, 5, 2));
    check("affinity: get it", 0x102, get(3));
    check("affinity: soft to CPU 0", 0x001, set(2, 0, 1));
    check("affinity: hard to none", -EINVAL, set(1, 0, 0));
    check("affinity: hard to CPUs that there are not", -EINVAL, set(1, 0x30, 0));
    check("affinity: hard to CPU 1 and one that there is not", 0x200, set(1, 0x12, 0));
    check("affinity: both", 0x303, set(3, 0xff, 0xff));
    check("affinity: soft to none", 0x700, set(2, 7, 0));
    check("affinity: soft is none", 0x300, get(3));
    check("affinity: soft to all", 0x003, set(2, 0, 0xff));
    check("affinity: force alone", 0, set(4, 0, 0));
    check("affinity: get all", 0x303, get(3));
}

/* The scheduler's parameter, or an error. */
static long rate(uint32_t pool, uint32_t scheduler, uint32_t cmd, uint32_t us)
{
    struct xen_sysctl_scheduler_op *op = &machine(XEN_SYSCTL_scheduler_op)->u.scheduler_op;
    long result;

    op->cpupool_id = pool;
    op->sched_id = scheduler;
    op->cmd = cmd;
    op->u.sched_credit2.ratelimit_us = us;
    result = ask_machine();
    return result ? result : (long)op->u.sched_credit2.ratelimit_us;
}

static void rates(void)
{
    check("rate: at first", 1000, rate(0, 6, 1, 0));
    check("rate: put", 2000, rate(0, 6, 0, 2000));
    check("rate: get", 2000, rate(0, 6, 1, 0));
    check("rate: too short", -EINVAL, rate(0, 6, 0, 99));
    check("rate: too long", -EINVAL, rate(0, 6, 0, 500001));
    check("rate: none", 0, rate(0, 6, 0, 0));
    check("rate: is none", 0, rate(0, 6, 1, 7));
    check("rate: the shortest", 100, rate(0, 6, 0, 100));
    check("rate: the longest", 500000, rate(0, 6, 0, 500000));
    check("rate: the first", 1000, rate(0, 6, 0, 1000));
    check("rate: another scheduler", -EINVAL, rate(0, 5, 1, 0));
    check("rate: no such pool", -ESRCH, rate(7, 6, 1, 0));
    check("rate: no such command", -EINVAL, rate(0, 6, 2, 0));
}

static struct xen_sysctl_cpupool_op *pool_op;

static long pool(uint32_t op, uint32_t id, uint32_t scheduler, uint32_t domain, uint32_t cpu)
{
    pool_op = &machine(XEN_SYSCTL_cpupool_op)->u.cpupool_op;
    pool_op->op = op;
    pool_op->cpupool_id = id;
    pool_op->sched_id = scheduler;
    pool_op->domid = domain;
    pool_op->cpu = cpu;
    maps[0] = 0xee;
    set_xen_guest_handle_raw(pool_op->cpumap.bitmap, maps);
    pool_op->cpumap.nr_bits = 8;
    return ask_machine();
}

/* Number, domains and CPUs of the pool with this number or the next larger one. */
static long pool_info(uint32_t id)
{
    long result = pool(3, id, 0, 0, 0);

    return result ? result : (long)pool_op->cpupool_id << 16 | pool_op->n_dom << 8 | maps[0];
}

static long loose(void)
{
    long result = pool(7, 0, 0, 0, 0);

    return result ? result : maps[0];
}

static void pools(void)
{
    long id;

    check("pool: the first", 0x00103, pool_info(0));
    check("pool: no more", -ENOENT, pool_info(1));
    check("pool: no loose CPUs", 0, loose());
    check("pool: no such command", -ENOSYS, pool(9, 0, 0, 0, 0));
    check("pool: create one that there is", -EEXIST, pool(1, 0, 6, 0, 0));
    check("pool: create, no such scheduler", -ENOENT, pool(1, ANY, 99, 0, 0));
    check("pool: create", 0, pool(1, ANY, 6, 0, 0));
    id = pool_op->cpupool_id;
    check("pool: its number", 1, id);
    check("pool: create number 5", 0, pool(1, 5, 6, 0, 0));
    check("pool: the number stays", 5, pool_op->cpupool_id);
    check("pool: create after it", 0, pool(1, ANY, 6, 0, 0));
    check("pool: the next number", 6, pool_op->cpupool_id);
    check("pool: info of it", 0x60000, pool_info(6));
    check("pool: its scheduler", 6, pool_op->sched_id);
    check("pool: its rate", 1000, rate(6, 6, 1, 0));
    check("pool: destroy it", 0, pool(2, 6, 0, 0, 0));
    check("pool: destroy number 5", 0, pool(2, 5, 0, 0, 0));
    check("pool: destroy it again", -ENOENT, pool(2, 5, 0, 0, 0));
    check("pool: destroy the first", -EBUSY, pool(2, 0, 0, 0, 0));
    check("pool: info of the next", 0x10000, pool_info(1));
    check("pool: no rate of no pool", -ESRCH, rate(5, 6, 1, 0));
    check("pool: add a CPU of another's", -ENODEV, pool(4, 1, 0, 0, 1));
    check("pool: add one that there is not", -EINVAL, pool(4, 1, 0, 0, 9000));
    check("pool: add CPU 7", -EINVAL, pool(4, 1, 0, 0, 7));
    check("pool: add any, none is loose", -ENODEV, pool(4, 1, 0, 0, ANY));
    check("pool: add to no pool", -ENOENT, pool(4, 9, 0, 0, 1));
    check("pool: add to no pool a CPU that there is not", -ENOENT, pool(4, 9, 0, 0, 7));
    check("pool: remove from no pool", -ENOENT, pool(5, 9, 0, 0, 1));
    check("pool: remove what it does not have", -EADDRNOTAVAIL, pool(5, 1, 0, 0, 1));
    check("pool: remove any, it has none", -EINVAL, pool(5, 1, 0, 0, ANY));
    check("pool: remove one that there is not", -EINVAL, pool(5, 0, 0, 0, 9000));
    check("pool: remove CPU 7", -EINVAL, pool(5, 0, 0, 0, 7));
    if (pinned) {
        check("pool: pin vCPU 1", 0x200, set(1, 2, 0));
    }
    check("pool: remove CPU 1", 0, pool(5, 0, 0, 0, 1));
    check("pool: affinity is broken or what it was", 0x303, get(3));
    check("pool: CPU 1 is loose", 2, loose());
    check("pool: the first has CPU 0", 0x00101, pool_info(0));
    check("pool: remove the last CPU", -EINVAL, pool(5, 0, 0, 0, 0));
    check("pool: remove the last CPU, any", -EINVAL, pool(5, 0, 0, 0, ANY));
    check("affinity: hard to a CPU that is not in the pool", -EINVAL, set(1, 2, 0));
    check("affinity: hard to all", 0x100, set(1, 3, 0));
    check("affinity: all are kept", 0x303, get(3));
    check("affinity: soft to all", 0x001, set(2, 0, 3));
    check("pool: add it to number 1", 0, pool(4, 1, 0, 0, ANY));
    check("pool: number 1 has it", 0x10002, pool_info(1));
    check("pool: destroy one with a CPU", -EBUSY, pool(2, 1, 0, 0, 0));
    check("pool: add it again", -ENODEV, pool(4, 1, 0, 0, 1));
    check("pool: move domain 0", -EPERM, pool(6, 1, 0, 0, 0));
    check("pool: move a domain that there is not", -ESRCH, pool(6, 1, 0, 77, 0));
    check("pool: move to a pool that there is not", -EPERM, pool(6, 9, 0, 0, 0));
    check("pool: move no domain to no pool", -ESRCH, pool(6, 9, 0, 77, 0));
    check("pool: move where it is", -EPERM, pool(6, 0, 0, 0, 0));
    check("pool: remove CPU 1 from number 1", 0, pool(5, 1, 0, 0, ANY));
    check("pool: destroy number 1", 0, pool(2, 1, 0, 0, 0));
    check("pool: give CPU 1 back", 0, pool(4, 0, 0, 0, 1));
    check("pool: as at first", 0x00103, pool_info(0));
    check("pool: affinity", 0x303, get(3));
    check("pool: move an impossible domain", -ESRCH, pool(6, 0, 0, 0x7ff0, 0));
}

static long nodes(uint32_t cmd, uint8_t map)
{
    struct xen_domctl_nodeaffinity *op = &domctl(cmd, 0)->u.nodeaffinity;
    long result;

    memset(maps, 0, 8);
    maps[0] = map;
    set_xen_guest_handle_raw(op->nodemap.bitmap, maps);
    op->nodemap.nr_bits = 8;
    result = ask_domain();
    return result ? result : maps[0];
}

static void idle(void)
{
    struct xen_sysctl_getcpuinfo *op = &machine(XEN_SYSCTL_getcpuinfo)->u.getcpuinfo;
    uint64_t *times = (uint64_t *)(maps + 64), first;

    op->max_cpus = 8;
    memset(times, 0, 64);
    set_xen_guest_handle_raw(op->info, (void *)times);
    check("idle times", 0, ask_machine());
    check("idle times: CPUs", 2, op->nr_cpus);
    first = times[0] + times[1];
    check("idle times: some", 1, first > 0);
    usleep(200000);
    check("idle times: again", 0, ask_machine());
    check("idle times: they grow", 1, times[0] + times[1] > first);
    check("idle times: no third", 0, times[2]);
    op->max_cpus = 1;
    times[1] = 5;
    check("idle times: of one CPU", 0, ask_machine());
    check("idle times: one", 1, op->nr_cpus);
    check("idle times: not of the second", 5, times[1]);
    set_xen_guest_handle_raw(op->info, (void *)0x1000);
    check("idle times: to nowhere", -EFAULT, ask_machine());
    op->max_cpus = 0;
    check("idle times: of none", 0, ask_machine());
    check("idle times: none", 0, op->nr_cpus);
}

int main(int argc, char **argv)
{
    uint8_t *pages = locked_pages(4);

    verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
    pinned = argc > 1 && strcmp(argv[1], "-p") == 0;
    open_privcmd();
    domctl_op = (void *)pages;
    sysctl_op = (void *)(pages + PAGE);
    maps = pages + 2 * PAGE;
    shares();
    affinities();
    rates();
    pools();
    check("nodes: at first", 1, nodes(XEN_DOMCTL_getnodeaffinity, 0));
    check("nodes: none", -EINVAL, nodes(XEN_DOMCTL_setnodeaffinity, 0));
    check("nodes: one that there is not", -EINVAL, nodes(XEN_DOMCTL_setnodeaffinity, 4));
    check("nodes: 0 and 2", 5, nodes(XEN_DOMCTL_setnodeaffinity, 5));
    check("nodes: get", 5, nodes(XEN_DOMCTL_getnodeaffinity, 0));
    check("nodes: 8 of them", 0xff, nodes(XEN_DOMCTL_setnodeaffinity, 0xff));
    check("nodes: get 8", 0xff, nodes(XEN_DOMCTL_getnodeaffinity, 0));
    memset(maps, 0xff, 8);
    domctl(XEN_DOMCTL_setnodeaffinity, 0)->u.nodeaffinity.nodemap.nr_bits = 64;
    set_xen_guest_handle_raw(domctl_op->u.nodeaffinity.nodemap.bitmap, maps);
    check("nodes: all that there may ever be", 0, ask_domain());
    check("nodes: as at first", 1, nodes(XEN_DOMCTL_getnodeaffinity, 0));
    idle();
    printf("%d answers differ\n", wrong);
    return wrong != 0;
}
