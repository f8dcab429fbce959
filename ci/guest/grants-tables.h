/* What Dom0 asks of tables of grants, formats and entries. */
#ifndef GRANTS_TABLES_H
#define GRANTS_TABLES_H

static long grant_op(unsigned op, void *list, unsigned count)
{
    return hypercall(__HYPERVISOR_grant_table_op, op, (uint64_t)list, count, 0, 0);
}

/* What is asked of tables, formats and entries; the entry is one of ours that nobody uses. */
static void table_calls(uint32_t ref)
{
    uint64_t *page = locked_pages(1);
    struct gnttab_query_size *size = (void *)page;
    struct gnttab_setup_table *setup = (void *)(page + 8);
    struct gnttab_get_version *version = (void *)(page + 16);
    struct gnttab_set_version *format = (void *)(page + 18);
    struct gnttab_get_status_frames *status = (void *)(page + 20);
    struct gnttab_swap_grant_ref *swap = (void *)(page + 28);
    struct gnttab_cache_flush *flush = (void *)(page + 32);

    size->dom = 0x1234;
    OP(GNTTABOP_query_size, size);
    check("query_size of no domain", GNTST_bad_domain, size->status);
    check("query_size of two", -EINVAL, grant_op(GNTTABOP_query_size, size, 2));
    setup->dom = 0x1234;
    OP(GNTTABOP_setup_table, setup);
    check("setup_table of no domain", GNTST_bad_domain, setup->status);
    *setup = (struct gnttab_setup_table) { .dom = DOMID_SELF, .nr_frames = 65 };
    OP(GNTTABOP_setup_table, setup);
    check("setup_table of too many", GNTST_general_error, setup->status);
    *setup = (struct gnttab_setup_table) { .dom = DOMID_SELF };
    OP(GNTTABOP_setup_table, setup);
    check("setup_table of none", GNTST_okay, setup->status);
    check("setup_table of two", -EINVAL, grant_op(GNTTABOP_setup_table, setup, 2));
    *version = (struct gnttab_get_version) { .dom = DOMID_SELF, .version = 9 };
    OP(GNTTABOP_get_version, version);
    check("version", 1, version->version);
    version->dom = 0x1234;
    check("version of no domain", -ESRCH, grant_op(GNTTABOP_get_version, version, 1));
    check("version of two", grant_op(GNTTABOP_get_version, version, 1), grant_op(GNTTABOP_get_version, version, 2));
    format->version = 3;
    check("version 3", -EINVAL, grant_op(GNTTABOP_set_version, format, 1));
    format->version = 1;
    check("version 1 again", 0, grant_op(GNTTABOP_set_version, format, 1));
    check("it", 1, format->version);
    format->version = 1;
    check("version 1 of two", 0, grant_op(GNTTABOP_set_version, format, 2));
    *status = (struct gnttab_get_status_frames) { .dom = DOMID_SELF, .nr_frames = 1 };
    OP(GNTTABOP_get_status_frames, status);
    check("status frames of format 1", GNTST_general_error, status->status);
    status->nr_frames = 0;
    OP(GNTTABOP_get_status_frames, status);
    check("no status frames of format 1", GNTST_okay, status->status);
    status->dom = 0x1234;
    OP(GNTTABOP_get_status_frames, status);
    check("status frames of no domain", GNTST_bad_domain, status->status);
    *swap = (struct gnttab_swap_grant_ref) { .ref_a = ref, .ref_b = 1U << 30 };
    OP(GNTTABOP_swap_grant_ref, swap);
    check("swap with a reference beyond", GNTST_bad_gntref, swap->status);
    swap->ref_b = ref;
    OP(GNTTABOP_swap_grant_ref, swap);
    check("swap with itself", GNTST_okay, swap->status);
    *flush = (struct gnttab_cache_flush) { .a.dev_bus_addr = machine_frame(guest_frame(page)) * PAGE, .length = 64,
        .op = GNTTAB_CACHE_CLEAN };
    check("cache_flush", 0, grant_op(GNTTABOP_cache_flush, flush, 1));
    flush->offset = 4090;
    check("cache_flush beyond a page", -EINVAL, grant_op(GNTTABOP_cache_flush, flush, 1));
    flush->offset = 0;
    flush->op = 8;
    check("cache_flush of another sort", -EINVAL, grant_op(GNTTABOP_cache_flush, flush, 1));
    flush->op = GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_SOURCE_GREF;
    check("cache_flush by reference", -EINVAL, grant_op(GNTTABOP_cache_flush, flush, 1));
    flush->op = GNTTAB_CACHE_CLEAN;
    flush->a.dev_bus_addr = 0xfffffffffUL * PAGE;
    check("cache_flush of no frame", -EINVAL, grant_op(GNTTABOP_cache_flush, flush, 1));
    flush->length = 0;
    check("cache_flush of nothing", 0, grant_op(GNTTABOP_cache_flush, flush, 1));
    check("dump_table", -ENOSYS, grant_op(GNTTABOP_dump_table, page, 1));
    munmap(page, PAGE);
}

#endif
