/* What the toolstack is told of processors: "cpu-policies" prints the feature sets and policies of processor, hypervisor
 * and PV guests, Dom0's own, and what wrong requests get; "cpu-policies domain" changes the policy of a domain made for
 * it. Two hypervisors that are the same print the same. Left out is what depends on the CPU that answers and on what the
 * hypervisor has turned on there. */
#include "hypercall.h"

#include <xen/domctl.h>
#include <xen/sysctl.h>

#define LEAVES 120
#define MSRS 2
#define NOBODY 0x7ef0
#define OSXSAVE (1u << 27)
#define OSPKE (1u << 4)

static xen_sysctl_t *sysctl;
static xen_domctl_t *domctl;
static xen_cpuid_leaf_t *leaves;
static xen_msr_entry_t *msrs;
static uint32_t *words;

static long ask_machine(uint32_t command)
{
    sysctl->cmd = command;
    sysctl->interface_version = XEN_SYSCTL_INTERFACE_VERSION;
    return hypercall(__HYPERVISOR_sysctl, (uintptr_t)sysctl, 0, 0, 0, 0);
}

static long ask_domain(uint32_t command, uint16_t domain)
{
    domctl->cmd = command;
    domctl->interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    domctl->domain = domain;
    return hypercall(__HYPERVISOR_domctl, (uintptr_t)domctl, 0, 0, 0, 0);
}

static void feature_set(uint32_t index, uint32_t room, int with_buffer)
{
    memset(sysctl, 0, sizeof(*sysctl));
    memset(words, 0, PAGE);
    sysctl->u.cpu_featureset.index = index;
    sysctl->u.cpu_featureset.nr_features = room;
    if (with_buffer) {
        set_xen_guest_handle_raw(sysctl->u.cpu_featureset.features, words);
    }
    long result = ask_machine(XEN_SYSCTL_get_cpu_featureset);

    printf("features %u of %u: %ld, %u:", index, room, result, sysctl->u.cpu_featureset.nr_features);
    if (index == XEN_SYSCTL_cpu_featureset_raw) {
        words[1] &= ~OSXSAVE;
        words[6] &= ~OSPKE;
    }
    for (unsigned i = 0; i < 19; i++) {
        printf(" %08x", words[i]);
    }
    printf("\n");
}

static void leave_out(xen_cpuid_leaf_t *leaf, int raw)
{
    if (!raw) {
        return;
    }
    if (leaf->leaf == 1) {
        leaf->b &= 0xffffff;
        leaf->c &= ~OSXSAVE;
    } else if (leaf->leaf == 7 && leaf->subleaf == 0) {
        leaf->c &= ~OSPKE;
    } else if (leaf->leaf == 0xb) {
        leaf->d = 0;
    } else if (leaf->leaf == 0xd && leaf->subleaf < 2) {
        leaf->b = 0;
    } else if (leaf->leaf == 0x8000001e) {
        leaf->a = 0;
    }
}

static void show(const char *name, long result, uint32_t nr_leaves, uint32_t nr_msrs)
{
    printf("%s: %ld, %u leaves, %u MSRs\n", name, result, nr_leaves, nr_msrs);
    if (result != 0) {
        return;
    }
    for (unsigned i = 0; i < LEAVES && (leaves[i].leaf || leaves[i].subleaf); i++) {
        leave_out(&leaves[i], strcmp(name, "policy 0") == 0);
        printf("%s %08x.%08x %08x %08x %08x %08x\n", name, leaves[i].leaf, leaves[i].subleaf, leaves[i].a, leaves[i].b,
               leaves[i].c, leaves[i].d);
    }
    for (unsigned i = 0; i < MSRS && msrs[i].idx; i++) {
        printf("%s msr %x %x %llx\n", name, msrs[i].idx, msrs[i].flags, (unsigned long long)msrs[i].val);
    }
}

/* `which`: bit 0 with a buffer for leaves, bit 1 with one for registers. */
static void policy(uint32_t index, uint32_t nr_leaves, uint32_t nr_msrs, int which)
{
    char name[32];

    memset(sysctl, 0, sizeof(*sysctl));
    memset(leaves, 0, PAGE);
    memset(msrs, 0, PAGE);
    sysctl->u.cpu_policy.index = index;
    sysctl->u.cpu_policy.nr_leaves = nr_leaves;
    sysctl->u.cpu_policy.nr_msrs = nr_msrs;
    if (which & 1) {
        set_xen_guest_handle_raw(sysctl->u.cpu_policy.leaves, leaves);
    }
    if (which & 2) {
        set_xen_guest_handle_raw(sysctl->u.cpu_policy.msrs, msrs);
    }
    long result = ask_machine(XEN_SYSCTL_get_cpu_policy);

    snprintf(name, sizeof(name), "policy %u", index);
    show(name, result, sysctl->u.cpu_policy.nr_leaves, sysctl->u.cpu_policy.nr_msrs);
}

static void domain_policy(uint16_t domain, uint32_t nr_leaves, uint32_t nr_msrs, int which)
{
    memset(domctl, 0, sizeof(*domctl));
    memset(leaves, 0, PAGE);
    memset(msrs, 0, PAGE);
    domctl->u.cpu_policy.nr_leaves = nr_leaves;
    domctl->u.cpu_policy.nr_msrs = nr_msrs;
    if (which & 1) {
        set_xen_guest_handle_raw(domctl->u.cpu_policy.leaves, leaves);
    }
    if (which & 2) {
        set_xen_guest_handle_raw(domctl->u.cpu_policy.msrs, msrs);
    }
    long result = ask_domain(XEN_DOMCTL_get_cpu_policy, domain);

    show("domain", result, domctl->u.cpu_policy.nr_leaves, domctl->u.cpu_policy.nr_msrs);
}

static void set_policy(const char *what, uint16_t domain, uint32_t nr_leaves, uint32_t nr_msrs)
{
    memset(domctl, 0, sizeof(*domctl));
    domctl->u.cpu_policy.nr_leaves = nr_leaves;
    domctl->u.cpu_policy.nr_msrs = nr_msrs;
    domctl->u.cpu_policy.err_leaf = domctl->u.cpu_policy.err_subleaf = domctl->u.cpu_policy.err_msr = 0x1234;
    set_xen_guest_handle_raw(domctl->u.cpu_policy.leaves, leaves);
    set_xen_guest_handle_raw(domctl->u.cpu_policy.msrs, msrs);
    long result = ask_domain(XEN_DOMCTL_set_cpu_policy, domain);

    printf("set %s: %ld, %x.%x, %x\n", what, result, domctl->u.cpu_policy.err_leaf, domctl->u.cpu_policy.err_subleaf,
           domctl->u.cpu_policy.err_msr);
}

static void set_leaf(const char *what, uint16_t domain, xen_cpuid_leaf_t leaf)
{
    leaves[0] = leaf;
    set_policy(what, domain, 1, 0);
}

static void set_msr(const char *what, uint16_t domain, xen_msr_entry_t entry)
{
    msrs[0] = entry;
    set_policy(what, domain, 0, 1);
}

static void machine(void)
{
    /* Without those of HVM guests. */
    static const uint32_t sets[] = { 0, 1, 2, 4, 6 }, policies[] = { 0, 1, 2, 4, 6 };

    memset(sysctl, 0, sizeof(*sysctl));
    printf("levelling: %ld\n", ask_machine(XEN_SYSCTL_get_cpu_levelling_caps));
    for (unsigned i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        feature_set(sets[i], 19, 1);
    }
    feature_set(9, 0, 0);
    feature_set(2, 3, 1);
    feature_set(2, 100, 1);
    feature_set(9, 3, 1);
    for (unsigned i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
        policy(policies[i], LEAVES, MSRS, 3);
    }
    policy(4, 0, 0, 0);
    policy(4, 7, 0, 0);
    policy(6, 0, 0, 0);
    policy(4, 10, 2, 3);
    policy(4, LEAVES, 1, 3);
    policy(4, LEAVES, 0, 1);
    policy(4, 0, 1, 2);
    policy(4, 0, 2, 2);
    memset(sysctl, 0, sizeof(*sysctl));
    sysctl->u.cpu_policy.index = 4;
    sysctl->u.cpu_policy._rsvd = 1;
    printf("reserved: %ld\n", ask_machine(XEN_SYSCTL_get_cpu_policy));
    memset(sysctl, 0, sizeof(*sysctl));
    sysctl->u.cpu_policy.index = 4;
    sysctl->u.cpu_policy.nr_leaves = LEAVES;
    set_xen_guest_handle_raw(sysctl->u.cpu_policy.leaves, (void *)0xffffffffff000000);
    printf("no buffer: %ld\n", ask_machine(XEN_SYSCTL_get_cpu_policy));
    domain_policy(0, LEAVES, MSRS, 3);
    domain_policy(0, 0, 0, 0);
    domain_policy(0, 5, 0, 1);
    domain_policy(0, 5, 1, 3);
    domain_policy(NOBODY, LEAVES, MSRS, 3);
    set_policy("own", 0, 0, 0);
    set_policy("nobody's", NOBODY, 0, 0);
}

static void domain(void)
{
    static const struct { uint32_t leaf, subleaf; } odd[] = {
        { 0xe, -1 }, { 1, 0 }, { 4, 6 }, { 7, 3 }, { 0xb, 2 }, { 0xd, 63 }, { 0x40000000, 0 }, { 0x40000001, -1 },
        { 0x80000001, 0 }, { 0x80000022, -1 },
    };

    memset(domctl, 0, sizeof(*domctl));
    domctl->u.createdomain.max_vcpus = 1;
    domctl->u.createdomain.max_evtchn_port = 1023;
    domctl->u.createdomain.max_grant_frames = -1;
    domctl->u.createdomain.max_maptrack_frames = -1;
    domctl->u.createdomain.grant_opts = 2;
    domctl->u.createdomain.handle[0] = 1;
    long result = ask_domain(XEN_DOMCTL_createdomain, 0xffff);
    uint16_t id = domctl->domain;

    printf("create: %ld\n", result);
    if (result != 0) {
        return;
    }
    domain_policy(id, LEAVES, MSRS, 3);
    for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        set_leaf("odd leaf", id, (xen_cpuid_leaf_t){ odd[i].leaf, odd[i].subleaf });
    }
    set_leaf("high basic leaf", id, (xen_cpuid_leaf_t){ 0, -1, 0xe, 0x68747541, 0x444d4163, 0x69746e65 });
    set_leaf("high subleaf", id, (xen_cpuid_leaf_t){ 7, 0, 3 });
    set_leaf("high extended leaf", id, (xen_cpuid_leaf_t){ 0x80000000, -1, 0x80000022 });
    set_msr("faulting", id, (xen_msr_entry_t){ 0xce, 0, 1ull << 31 });
    set_msr("more", id, (xen_msr_entry_t){ 0xce, 0, 1 });
    set_msr("long", id, (xen_msr_entry_t){ 0xce, 0, 1ull << 32 });
    set_msr("flags", id, (xen_msr_entry_t){ 0xce, 1, 0 });
    set_msr("odd", id, (xen_msr_entry_t){ 0xcf, 0, 0 });
    set_msr("capabilities", id, (xen_msr_entry_t){ 0x10a, 0, 1ull << 40 | 1 });
    set_policy("many leaves", id, 121, 0);
    set_policy("many registers", id, 0, 3);
    domain_policy(id, LEAVES, MSRS, 3);
    /* All that there might be. */
    set_leaf("all of 1", id, (xen_cpuid_leaf_t){ 1, -1, -1, -1, -1, -1 });
    set_leaf("all of 7", id, (xen_cpuid_leaf_t){ 7, 0, 2, -1, -1, -1 });
    set_leaf("all of 7.1", id, (xen_cpuid_leaf_t){ 7, 1, -1, -1, -1, -1 });
    set_leaf("all of 7.2", id, (xen_cpuid_leaf_t){ 7, 2, 0, 0, 0, -1 });
    set_leaf("all of 4.0", id, (xen_cpuid_leaf_t){ 4, 0, -1, -1, -1, -1 });
    set_leaf("all of d.0", id, (xen_cpuid_leaf_t){ 0xd, 0, -1, -1, -1, -1 });
    set_leaf("all of d.1", id, (xen_cpuid_leaf_t){ 0xd, 1, -1, -1, -1, -1 });
    for (uint32_t leaf = 2; leaf < 0xd; leaf++) {
        if (leaf != 4 && leaf != 7 && leaf != 0xb) {
            set_leaf("all of", id, (xen_cpuid_leaf_t){ leaf, -1, -1, -1, -1, -1 });
        }
    }
    for (uint32_t leaf = 0x80000001; leaf < 0x80000022; leaf++) {
        set_leaf("all of", id, (xen_cpuid_leaf_t){ leaf, -1, -1, -1, -1, -1 });
    }
    domain_policy(id, LEAVES, MSRS, 3);
    set_leaf("limits", id, (xen_cpuid_leaf_t){ 0x40000000, -1, 0x40000005 });
    set_leaf("physical address", id, (xen_cpuid_leaf_t){ 0x80000008, -1, 0x1010 });
    set_leaf("few basic leaves", id, (xen_cpuid_leaf_t){ 0, -1, 6, 0x68747541, 0x444d4163, 0x69746e65 });
    set_leaf("few extended leaves", id, (xen_cpuid_leaf_t){ 0x80000000, -1, 0x80000008 });
    domain_policy(id, LEAVES, MSRS, 3);
    set_leaf("basic leaves again", id, (xen_cpuid_leaf_t){ 0, -1, 0xd, 0x68747541, 0x444d4163, 0x69746e65 });
    set_leaf("no XSAVE", id, (xen_cpuid_leaf_t){ 1, -1, 0, 0, ~(1u << 26), -1 });
    set_leaf("another's processor", id, (xen_cpuid_leaf_t){ 0, -1, 0xd, 0x756e6547, 0x6c65746e, 0x49656e69 });
    domain_policy(id, LEAVES, MSRS, 3);
    set_leaf("odd extended leaf", id, (xen_cpuid_leaf_t){ 0x80000000, -1, 0x21 });
    domain_policy(id, LEAVES, MSRS, 3);
    set_leaf("anything", id, (xen_cpuid_leaf_t){ 0x80000001, -1 });
    domain_policy(id, LEAVES, MSRS, 3);
    printf("destroy: %ld\n", ask_domain(XEN_DOMCTL_destroydomain, id));
}

int main(int count, char **arguments)
{
    char *pages = locked_pages(5);

    sysctl = (void *)pages;
    domctl = (void *)(pages + PAGE);
    leaves = (void *)(pages + 2 * PAGE);
    msrs = (void *)(pages + 3 * PAGE);
    words = (void *)(pages + 4 * PAGE);
    open_privcmd();
    if (count > 1 && strcmp(arguments[1], "domain") == 0) {
        domain();
    } else {
        machine();
    }
    return 0;
}
