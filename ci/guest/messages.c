/*
 * Tries to change interrupt messages of devices behind the hypervisor's back: through memory-mapped configuration space
 * and in MSI-X tables, by stores of the kernel's (an ioctl that puts a number to an address of ours) and of our own. What
 * is no message is written through the same memory, and must arrive.
 *
 * Usage: messages DEVICE (as in /sys/bus/pci/devices). Prints what did happen and must not; the result is 1 then. Needs
 * iomem=relaxed. Of a page-table entry that shows read-only memory Linux believes that it could be written: our own
 * store faults for ever, so a child makes it and is ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define MSIX 0x11
#define ERRORS 0x0001
#define ERRORS_MASK 8

static int config, wrong, checks;
static const char *device;

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", device, what, strerror(errno));
    exit(2);
}

static void check(int right, const char *what)
{
    checks++;
    if (!right) {
        printf("%s: %s: no\n", device, what);
        wrong = 1;
    }
}

static uint32_t get(unsigned at)
{
    uint32_t value;

    if (pread(config, &value, 4, at) != 4)
        fail("configuration space");
    return value;
}

static void put(unsigned at, uint32_t value, unsigned bytes)
{
    if (pwrite(config, &value, bytes, at) != (ssize_t)bytes)
        fail("writing configuration space");
}

/* A page of the machine's, mapped as if it could be written. */
static volatile uint32_t *map(uint64_t at)
{
    int memory = open("/dev/mem", O_RDWR | O_SYNC | O_CLOEXEC);
    char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, (off_t)(at & -PAGE));

    if (memory < 0 || page == MAP_FAILED)
        fail("/dev/mem");
    close(memory);
    return (volatile uint32_t *)(page + at % PAGE);
}

/* The kernel stores a number at an address of ours. Zero: it could. */
static int kernel_store(volatile uint32_t *to, unsigned number)
{
    static const char zeros[PAGE];
    int ends[2];

    if (pipe(ends) != 0)
        fail("pipe");
    for (unsigned left = number, some; left > 0; left -= some) {
        some = left < PAGE ? left : PAGE;
        if (write(ends[1], zeros, some) != (ssize_t)some)
            fail("filling the pipe");
    }
    int result = ioctl(ends[0], FIONREAD, to);
    close(ends[0]);
    close(ends[1]);
    return result;
}

/* A store of our own, which may never come to its end. */
static void own_store(volatile uint32_t *to, uint32_t value)
{
    pid_t child = fork();

    if (child == 0) {
        *to = value;
        _exit(0);
    }
    usleep(100000);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static unsigned capability(unsigned id)
{
    for (unsigned at = get(0x34) & 0xfc, left = 48; at >= 0x40 && left > 0; at = get(at) >> 8 & 0xfc, left--) {
        if ((get(at) & 0xff) == id)
            return at;
    }
    fprintf(stderr, "%s: no capability %#x\n", device, id);
    exit(2);
}

static uint64_t base_address(unsigned bar)
{
    uint32_t low = get(0x10 + 4 * bar);
    uint64_t high = (low & 6) == 4 ? get(0x14 + 4 * bar) : 0;

    return high << 32 | (low & ~0xfU);
}

/* The device's page of configuration space, by ACPI's table. */
static volatile uint32_t *config_page(void)
{
    unsigned segment, bus, slot, function;
    uint64_t base;
    int table = open("/sys/firmware/acpi/tables/MCFG", O_RDONLY | O_CLOEXEC);

    if (table < 0 || pread(table, &base, 8, 44) != 8)
        fail("MCFG");
    close(table);
    if (sscanf(device, "%x:%x:%x.%x", &segment, &bus, &slot, &function) != 4 || segment != 0)
        fail("no such name");
    return map(base + ((uint64_t)bus << 20 | slot << 15 | function << 12));
}

/* An error's mask has no messages: it can be written, in every width. */
static void extended_registers(volatile uint32_t *page)
{
    const unsigned at = 0x100 + ERRORS_MASK;
    uint32_t first;

    if (pread(config, &first, 4, 0x100) != 4 || (first & 0xffff) != ERRORS)
        return;
    uint32_t before = get(at);
    put(at, before ^ 0x1000, 4);
    check(get(at) == (before ^ 0x1000) && page[at / 4] == get(at), "4 bytes of an extended register");
    put(at, before ^ 0x4000, 2);
    check(get(at) == (before ^ 0x4000), "2 bytes");
    put(at, before, 4);
    put(at + 1, (before >> 8 & 0xff) ^ 0x10, 1);
    check(get(at) == (before ^ 0x1000), "1 byte");
    check(kernel_store(page + at / 4, 0x4000) == 0 && get(at) == 0x4000, "4 bytes by another mapping");
    put(at, before, 4);
    check(get(at) == before, "as before");
}

static void messages(volatile uint32_t *page)
{
    unsigned at = capability(MSIX);
    uint32_t place = get(at + 4), control = get(at);
    volatile uint32_t *entry = map(base_address(place & 7) + (place & ~7U));
    uint32_t before[4] = { entry[0], entry[1], entry[2], entry[3] };

    check(control >> 31, "MSI-X is on");
    for (unsigned word = 0; word < 4; word++) {
        check(kernel_store(entry + word, 0x402) == 0, "the kernel's store does not fault");
        check(entry[word] == before[word], "the kernel's store is ignored");
        own_store(entry + word, 0x402);
        check(entry[word] == before[word], "a process's store is not made");
    }
    check(kernel_store(page + at / 4, MSIX) == 0, "capability: the store does not fault");
    check(get(at) == control, "capability: the store is ignored");
    own_store(page + at / 4, MSIX);
    check(get(at) == control, "capability: a process's store is not made");
    put(at + 4, place ^ 8, 4);
    check(get(at + 4) == place, "capability: the table's place");
    /* An ordinary write to the only word that may be written. */
    put(at + 2, control >> 16, 2);
    check(get(at) == control, "capability: the control word");
}

/* A table in use does not move. (Xen lets it.) */
static void base_addresses(void)
{
    unsigned place = get(capability(MSIX) + 4), at = 0x10 + 4 * (place & 7);
    uint32_t before = get(at);

    put(at, before, 4);
    check(get(at) == before, "base address: the same again");
    put(at, 0xffffffff, 4);
    check(get(at) == before, "base address: another");
    put(at, before, 4);
}

int main(int argc, char **argv)
{
    char path[128];

    device = argc > 1 ? argv[1] : "";
    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", device);
    config = open(path, O_RDWR | O_CLOEXEC);
    if (config < 0)
        fail(path);
    volatile uint32_t *page = config_page();

    check(page[0] == get(0), "configuration space is where ACPI says");
    extended_registers(page);
    messages(page);
    if (!getenv("PEER"))
        base_addresses();
    printf("%s: %d checks\n", device, checks);
    return wrong;
}
