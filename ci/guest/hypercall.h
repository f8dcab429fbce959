/* Hypercalls with arbitrary arguments from Dom0's user space, and what there is to know of machine frames. */
#ifndef HYPERCALL_H
#define HYPERCALL_H

#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define __XEN_TOOLS__
#include <xen/xen.h>
#include <xen/sys/privcmd.h>

#define PAGE 4096UL
static int privcmd = -1;

static inline void open_privcmd(void)
{
    privcmd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);
    if (privcmd < 0) {
        perror("/dev/xen/privcmd");
        exit(2);
    }
}

/* The hypercall's answer: a value, or minus an errno. */
static inline long hypercall(uint64_t op, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
    privcmd_hypercall_t call = { .op = op, .arg = { a, b, c, d, e } };
    long result = ioctl(privcmd, IOCTL_PRIVCMD_HYPERCALL, &call);

    return result < 0 ? -errno : result;
}

/* The highest machine frame of RAM (XENMEM_maximum_ram_page). */
static inline uint64_t last_frame(void)
{
    long last = hypercall(__HYPERVISOR_memory_op, 2, 0, 0, 0, 0);

    return last < 0 ? 0 : (uint64_t)last;
}

/* Reads the kernel's memory through /proc/kcore. */
static inline void kernel_read(uint64_t address, void *to, size_t bytes)
{
    static int core = -1;
    Elf64_Ehdr head;
    Elf64_Phdr part;

    if (core < 0) {
        core = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
    }
    if (pread(core, &head, sizeof(head), 0) != sizeof(head)) {
        perror("/proc/kcore");
        exit(2);
    }
    for (unsigned i = 0; i < head.e_phnum; i++) {
        pread(core, &part, sizeof(part), head.e_phoff + i * sizeof(part));
        if (part.p_type == PT_LOAD && address >= part.p_vaddr && address - part.p_vaddr + bytes <= part.p_memsz
            && pread(core, to, bytes, part.p_offset + (address - part.p_vaddr)) == (ssize_t)bytes) {
            return;
        }
    }
    fprintf(stderr, "/proc/kcore does not show %#lx\n", address);
    exit(2);
}

/* The address of a symbol of the kernel's. */
static inline uint64_t kernel_symbol(const char *wanted)
{
    FILE *symbols = fopen("/proc/kallsyms", "r");
    unsigned long address;
    char name[256];

    while (symbols && fscanf(symbols, "%lx %*c %255[^\n]", &address, name) == 2) {
        if (strcmp(name, wanted) == 0) {
            fclose(symbols);
            return address;
        }
    }
    fprintf(stderr, "no symbol %s\n", wanted);
    exit(2);
}

/* Linux's list of machine frames, by guest frame; `count` gets its length. */
static inline const uint64_t *machine_list(uint64_t *count)
{
    static uint64_t *list, length;
    uint64_t address;

    if (!list) {
        kernel_read(kernel_symbol("xen_p2m_addr"), &address, 8);
        kernel_read(kernel_symbol("xen_p2m_size"), &length, 8);
        /* The list has room for memory that may be added. */
        length = length < 1UL << 20 ? length : 1UL << 20;
        list = malloc(length * 8);
        for (uint64_t gfn = 0; gfn < length; gfn += PAGE / 8) {
            uint64_t left = length - gfn;

            kernel_read(address + gfn * 8, list + gfn, (left < PAGE / 8 ? left : PAGE / 8) * 8);
        }
    }
    *count = length;
    return list;
}

/* The guest frame behind an address of ours. */
static inline uint64_t guest_frame(const volatile void *address)
{
    uint64_t entry = 0;
    int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    if (map < 0 || pread(map, &entry, 8, (uintptr_t)address / PAGE * 8) != 8 || !(entry >> 63)) {
        perror("/proc/self/pagemap");
        exit(2);
    }
    close(map);
    return entry & ((1UL << 55) - 1);
}

/* The machine frame of a guest frame of ours. */
static inline uint64_t machine_frame(uint64_t gfn)
{
    uint64_t count;
    const uint64_t *list = machine_list(&count);

    if (gfn >= count || list[gfn] >> 62) {
        fprintf(stderr, "no machine frame for %#lx\n", gfn);
        exit(2);
    }
    return list[gfn];
}

/* The start of the highest run of RAM that ends at `end` and is not Dom0's: the hypervisor's, or free. */
static inline uint64_t foreign_run(uint64_t end)
{
    uint64_t count, start = end;
    const uint64_t *list = machine_list(&count);
    char *own = calloc(end, 1);

    for (uint64_t gfn = 0; gfn < count; gfn++) {
        if (list[gfn] < end) {
            own[list[gfn]] = 1;
        }
    }
    while (start > 0 && !own[start - 1]) {
        start--;
    }
    free(own);
    return start;
}

/* Pages of ours, in memory and at rest. */
static inline void *locked_pages(unsigned count)
{
    void *pages = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (pages == MAP_FAILED || mlock(pages, count * PAGE) != 0) {
        perror("pages");
        exit(2);
    }
    memset(pages, 0, count * PAGE);
    return pages;
}

#endif
