/* A domain's state by the control interfaces, as it is saved and given back: each answer is Xen 4.17's. "vcpu-state
 * [-v] DOMAIN", which has two vCPUs and goes on as it was. */
#include "hypercall.h"
#include "verdict.h"
#include <xen/domctl.h>

#define IMAGE 66 /* The word of XSAVE's header that says what an image has, behind two others. */

static uint16_t domain;
static struct xen_domctl *op;
static uint64_t *list;
static uint64_t mask;

static struct xen_domctl *domctl(uint32_t cmd)
{
    memset(op, 0, sizeof(*op));
    op->cmd = cmd;
    op->interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    op->domain = domain;
    return op;
}

static long ask(void)
{
    return hypercall(__HYPERVISOR_domctl, (uint64_t)op, 0, 0, 0, 0);
}

static long context(uint32_t cmd, uint32_t vcpu, void *at)
{
    domctl(cmd)->u.vcpucontext.vcpu = vcpu;
    set_xen_guest_handle_raw(op->u.vcpucontext.ctxt, at);
    return ask();
}

static void contexts(void)
{
    const uint32_t get = XEN_DOMCTL_getvcpucontext, set = XEN_DOMCTL_setvcpucontext;
    struct vcpu_guest_context *c = (void *)list;

    check("context: of a vCPU that there is not", -EINVAL, context(get, 2, c));
    check("context: to nowhere", -EFAULT, context(get, 0, (void *)8));
    check("context: of vCPU 1", 0, context(get, 1, c));
    check("context: its callbacks mask events", 0x10, c->flags & 0x10);
    check("context: of vCPU 0", 0, context(get, 0, c));
    check("context: it is online and has registers", 0x21, c->flags & 0x21);
    check("context: CR0", 0x80050033, c->ctrlreg[0] & ~8UL);
    check("context: CR4", 0x50660, c->ctrlreg[4]);
    check("context: DR7", 0x400, c->debugreg[7]);
    check("context: entries of the descriptor table", 16, c->gdt_ents);
    // In its kernel, or in a program of its.
    check("context: ring and privilege", c->flags & VGCF_in_kernel ? 0xe033 : 0x33, c->user_regs.cs);
    check("context: privilege for ports", 0x1000, c->user_regs.rflags & 0x3000);
    check("context: the trap table's first", 0, c->trap_ctxt[0].vector);
    check("context: the trap table's breakpoint", 3, c->trap_ctxt[3].vector);
    // Linux 6.12 wants less than 6.1.
    check("context: what it wants", getenv("GUEST") ? 0x24 : 0x2d, c->vm_assist);
    check("context: given again", 0, context(set, 0, c));
    c->ctrlreg[3] += PAGE;
    check("context: with another root", -EOPNOTSUPP, context(set, 0, c));
    c->ctrlreg[3] -= PAGE;
    c->ctrlreg[1] += PAGE;
    check("context: with another root of processes", -EOPNOTSUPP, context(set, 0, c));
    c->ctrlreg[1] -= PAGE;
    c->gdt_ents++;
    check("context: with more descriptors", -EOPNOTSUPP, context(set, 0, c));
    c->gdt_ents--;
    c->gdt_frames[0]++;
    check("context: with other descriptors", -EOPNOTSUPP, context(set, 0, c));
    c->gdt_frames[0]--;
    c->ldt_ents++;
    check("context: with local descriptors", -EOPNOTSUPP, context(set, 0, c));
    c->ldt_ents--;
    c->user_regs.rip ^= 1UL << 63;
    check("context: an impossible RIP", -EINVAL, context(set, 0, c));
    check("context: from nowhere", -EFAULT, context(set, 0, (void *)8));
    check("context: for a vCPU that there is not", -EINVAL, context(set, 7, c));
}

static long state(uint32_t cmd, uint32_t vcpu, uint64_t known, uint64_t size, void *at)
{
    domctl(cmd)->u.vcpuextstate.vcpu = vcpu;
    op->u.vcpuextstate.xfeature_mask = known;
    op->u.vcpuextstate.size = size;
    set_xen_guest_handle_raw(op->u.vcpuextstate.buffer, at);
    return ask();
}

/* With one word of the image changed. */
static long changed(uint64_t size, unsigned word, uint64_t value)
{
    uint64_t was = list[word];
    long result;

    list[word] = value;
    result = state(XEN_DOMCTL_setvcpuextstate, 0, 0, size, list);
    list[word] = was;
    return result;
}

static void extended_states(void)
{
    const uint32_t get = XEN_DOMCTL_getvcpuextstate, set = XEN_DOMCTL_setvcpuextstate;
    uint64_t most, size;

    check("extended state: of a vCPU that there is not", -ESRCH, state(get, 2, 0, 0, NULL));
    check("extended state: how much", 0, state(get, 0, 0, 0, NULL));
    most = op->u.vcpuextstate.size;
    mask = op->u.vcpuextstate.xfeature_mask;
    check("extended state: without the mask", -EINVAL, state(get, 0, 0, most, list));
    check("extended state: too little room", -EINVAL, state(get, 0, mask, 100, list));
    check("extended state: too much room", 0, state(get, 0, mask, most + 64, list));
    check("extended state: read", 0, state(get, 0, mask, most, list));
    size = op->u.vcpuextstate.size;
    if (verbose) {
        printf("%lu of %lu bytes, mask %lx: %lx %lx, %lx\n", size, most, mask, list[0], list[1], list[IMAGE]);
    }
    check("extended state: XCR0", 7, list[0]);
    check("extended state: to nowhere", -EFAULT, state(get, 0, mask, most, (void *)8));
    check("extended state: given again", 0, state(set, 0, 0, size, list));
    check("extended state: from nowhere", -EFAULT, state(set, 0, 0, size, (void *)8));
    check("extended state: nothing", -EINVAL, state(set, 0, 0, 0, list));
    check("extended state: two words", -EINVAL, state(set, 0, 0, 16, list));
    check("extended state: no header", -EINVAL, state(set, 0, 0, 100, list));
    check("extended state: half a header", -EINVAL, state(set, 0, 0, 16 + 520, list));
    check("extended state: much more", -EINVAL, state(set, 0, 0, 0x5000, list));
    check("extended state: XCR0 of 0", -EINVAL, changed(size, 0, 0));
    check("extended state: XCR0 without x87", -EINVAL, changed(size, 0, 2));
    check("extended state: XCR0 without SSE", -EINVAL, changed(size, 0, 5));
    check("extended state: XCR0 of what there is not", -EINVAL, changed(size, 0, 0x1000007));
    check("extended state: x87 alone", 0, changed(size, 0, 1));
    check("extended state: never anything", -EINVAL, changed(size, 1, 0));
    check("extended state: less than there is", -EINVAL, changed(size, 1, 1));
    check("extended state: ever what there is not", -EINVAL, changed(size, 1, 0x1000007));
    check("extended state: a component that is not on", -EINVAL, changed(size, IMAGE, 0x1000007));
    check("extended state: packed", -EOPNOTSUPP, changed(size, IMAGE + 1, 1UL << 63 | 7));
    check("extended state: reserved", -EIO, changed(size, IMAGE + 2, 1));
    check("extended state: reserved, the last", -EIO, changed(size, IMAGE + 7, 1));
    check("extended state: no component", 0, changed(size, IMAGE, 0));
    check("extended state: as it was", 0, state(set, 0, 0, size, list));
}

static long registers(uint32_t cmd, uint32_t vcpu, uint32_t count, void *at)
{
    domctl(cmd)->u.vcpu_msrs.vcpu = vcpu;
    op->u.vcpu_msrs.msr_count = count;
    set_xen_guest_handle_raw(op->u.vcpu_msrs.msrs, at);
    return ask();
}

static void some_registers(void)
{
    const uint32_t get = XEN_DOMCTL_get_vcpu_msrs, set = XEN_DOMCTL_set_vcpu_msrs;

    check("registers: of a vCPU that there is not", -ESRCH, registers(get, 2, 0, NULL));
    check("registers: how many", 0, registers(get, 0, 0, NULL));
    check("registers: at most", 7, op->u.vcpu_msrs.msr_count);
    check("registers: EFER", -EINVAL, (list[0] = 0xc0000080, list[1] = 0, registers(set, 0, 1, list)));
    check("registers: the first is wrong", 0, op->u.vcpu_msrs.msr_count);
    check("registers: a reserved bit", -EINVAL, (list[0] = 1UL << 32 | 0xc0000103, registers(set, 0, 1, list)));
    check("registers: too wide a value", -EINVAL,
          (list[0] = 0xc0000103, list[1] = 1UL << 33, registers(set, 0, 1, list)));
    check("registers: TSC_AUX", 0, (list[1] = 5, registers(set, 0, 1, list)));
    check("registers: no room", -ENOBUFS, registers(get, 0, 0, list));
    list[1] = 0;
    check("registers: read", 0, registers(get, 0, 7, list));
    check("registers: one", 1, op->u.vcpu_msrs.msr_count);
    check("registers: its value", 5, list[1]);
    check("registers: more than there are", -EINVAL, registers(set, 0, 8, list));
    check("registers: from nowhere", -EFAULT, registers(set, 0, 1, (void *)8));
    check("registers: back", 0, (list[1] = 0, registers(set, 0, 1, list)));
}

static long entries(uint32_t cmd, uint32_t vcpu, uint32_t size)
{
    op->cmd = cmd;
    op->u.ext_vcpucontext.vcpu = vcpu;
    op->u.ext_vcpucontext.size = size;
    return ask();
}

static void some_entries(void)
{
    const uint32_t get = XEN_DOMCTL_get_ext_vcpucontext, set = XEN_DOMCTL_set_ext_vcpucontext;

    domctl(get);
    check("entries: of a vCPU that there is not", -ESRCH, entries(get, 2, 0));
    check("entries: read", 0, entries(get, 0, 0));
    check("entries: their size", 64, op->u.ext_vcpucontext.size);
    check("entries: too few", -EINVAL, entries(set, 0, 31));
    check("entries: given again", 0, entries(set, 0, 64));
    op->u.ext_vcpucontext.sysenter_callback_eip ^= 1UL << 50;
    check("entries: an impossible address", -EINVAL, entries(set, 0, 64));
    op->u.ext_vcpucontext.sysenter_callback_eip ^= 1UL << 50;
    op->u.ext_vcpucontext.mcg_cap |= 1UL << 25;
    check("entries: machine checks of another machine", -EINVAL, entries(set, 0, 64));
}

static long shadow(uint32_t command, uint32_t mode)
{
    domctl(XEN_DOMCTL_shadow_op)->u.shadow_op.op = command;
    op->u.shadow_op.mode = mode;
    return ask();
}

static long frames(uint64_t count, void *at)
{
    domctl(XEN_DOMCTL_getpageframeinfo3)->u.getpageframeinfo3.num = count;
    set_xen_guest_handle_raw(op->u.getpageframeinfo3.array, at);
    return ask();
}

static void frames_and_shadow(void)
{
    struct vcpu_guest_context *c = (void *)(list + 1024);

    check("shadow: off", -EINVAL, shadow(0, 0));
    check("shadow: for a test", -EINVAL, shadow(1, 0));
    check("shadow: notes", -EOPNOTSUPP, shadow(2, 0));
    check("shadow: on, with notes", -EOPNOTSUPP, shadow(32, 4));
    check("shadow: on", -EINVAL, shadow(32, 0));
    check("shadow: which are dirty", 0, shadow(12, 0));
    check("shadow: which, in another way", -EINVAL, shadow(11, 2));
    context(XEN_DOMCTL_getvcpucontext, 0, c);
    list[0] = c->ctrlreg[3] >> 12;
    list[1] = c->gdt_frames[0];
    domctl(XEN_DOMCTL_getdomaininfo);
    ask();
    list[2] = op->u.getdomaininfo.shared_info_frame;
    list[3] = 1;
    list[4] = ~0UL;
    check("frames: some", 0, frames(5, list));
    check("frames: a root", 0xc0000000, list[0]);
    check("frames: descriptors", 0, list[1]);
    check("frames: what is shared", 0xf0000000, list[2]);
    check("frames: Dom0's", 0xf0000000, list[3]);
    check("frames: none", 0xf0000000, list[4]);
    check("frames: too many", -E2BIG, frames(1025, list));
    check("frames: nowhere", -EFAULT, frames(1, (void *)8));
    check("frames: no frame", 0, frames(0, NULL));
    domctl(XEN_DOMCTL_gettscinfo);
    check("time: told", 0, ask());
    check("time: mode", 0, op->u.tsc_info.tsc_mode);
    check("time: moved", 1, op->u.tsc_info.incarnation >= 1);
    check("time: its age", 1, op->u.tsc_info.elapsed_nsec > 1000000000 && op->u.tsc_info.elapsed_nsec >> 44 == 0);
}

int main(int count, char **words)
{
    verbose = count > 2 && strcmp(words[1], "-v") == 0;
    domain = atoi(words[count - 1]);
    open_privcmd();
    op = locked_pages(1);
    list = locked_pages(8);
    domctl(XEN_DOMCTL_pausedomain);
    check("pause", 0, ask());
    contexts();
    extended_states();
    some_registers();
    some_entries();
    frames_and_shadow();
    domctl(XEN_DOMCTL_unpausedomain);
    check("unpause", 0, ask());
    if (wrong) {
        fprintf(stderr, "%d answers differ\n", wrong);
    }
    return wrong != 0;
}
