/* Random hypercalls as a hostile Dom0 user of privcmd might make them: fuzz SEED COUNT. The kernel that runs it is to
 * live on, so what would end it if granted (its own stack, its running CPUs, ports in use) is left out; everything
 * else must be refused or harmless. The answers go into a sum, so that two runs can be compared. */
#include "hypercall.h"

static uint64_t state;
static uint64_t *buffer;
static uint64_t pages, first_frame;
static uint64_t answers[64], last_ram;

static uint64_t noise(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545f4914f6cdd1dUL;
}

static uint64_t below(uint64_t limit)
{
    return (noise() >> 16) % limit;
}

/* A number that breaks things: edges of every width. */
static uint64_t wild(void)
{
    static const uint64_t edges[] = {
        0, 1, 2, 7, 63, 64, 65, 255, 256, 511, 512, 1023, 4095, 4096, 0x7fff, 0xffff, 0x10000, 1UL << 20, 0x7fffffff,
        0x80000000, 0xffffffff, 1UL << 32, 1UL << 40, 1UL << 47, 1UL << 52, 0x7fffffffffffffff, 1UL << 63, ~0UL,
    };

    switch (below(4)) {
    case 0:
        return noise();
    case 1:
        return noise() & 0xffffffff;
    default:
        return edges[below(sizeof(edges) / sizeof(*edges))] - (below(8) == 0);
    }
}

/* An address that a guest may not name. What lies in our own buffer might by chance be a sound argument. */
static uint64_t pointer(void)
{
    static const uint64_t starts[] = {
        0x1000, 0x7ffffffff000, 0x800000000000, 0xffff7ffffffff000, 0xffff800000000000, 0xffff818000000000,
        0xffff81c000000000, 0xffff820000000000, 0xffff828000000000, 0xffff82d040000000, 0xffff82d040200000,
        0xffff830000000000, 0xffff87fffffff000,
    };

    return starts[below(sizeof(starts) / sizeof(*starts))] + below(4096) / 8 * 8 + (below(16) == 0);
}

/* A machine frame that is not Dom0's to use in this way: the hypervisor's, free, a device's or none. */
static uint64_t foreign(void)
{
    static const uint64_t special[] = { 0xfec00, 0xfee00, 0xfed00, 0xfffff, 0x100000, 0xfffffffff, 0x10000000000 };

    switch (below(4)) {
    case 0:
        return special[below(sizeof(special) / sizeof(*special))];
    case 1:
        return wild() | 1UL << 41;
    default:
        return first_frame + below(last_ram - first_frame);
    }
}

/* A frame of our own data: mapped writable, so no table. */
static uint64_t own_frame(void)
{
    return machine_frame(guest_frame((char *)pages + below(16) * PAGE));
}

/* Descriptors of nobody: Dom0 has no such CPU, port, domain. */
static uint64_t nobody(void)
{
    static const uint64_t ids[] = { 0x7ff1, 0x7ff2, 0x7ff3, 0x7ff4, 1, 2, 77, 0x7fef, 0xffff };

    return ids[below(sizeof(ids) / sizeof(*ids))];
}

static uint64_t domain(void)
{
    return below(3) ? 0x7ff0 : nobody();
}

static void fill(void)
{
    for (unsigned i = 0; i < 64; i++) {
        buffer[i] = below(3) ? wild() : below(2) ? pointer() : foreign();
    }
}

static long mmu_update(void)
{
    uint64_t count = below(2) ? 1 + below(8) : wild();

    for (unsigned i = 0; i < 16; i += 2) {
        uint64_t table = below(2) ? foreign() : own_frame();

        /* Our own pages are no tables: an update there writes our own data, which is ours to write. */
        buffer[i] = table * PAGE + below(512) * 8 + (below(2) ? 0 : 2);
        buffer[i + 1] = foreign() * PAGE | (noise() & 0xfff) | (noise() & 1UL << 63);
        if (below(4) == 0) {
            buffer[i] = foreign() * PAGE | 1;
        }
    }
    return hypercall(1, below(4) ? (uint64_t)buffer : pointer(), count & ~(1UL << 31), below(2) ? 0 : pointer(),
                     domain() | (below(8) ? 0 : nobody() << 16), 0);
}

static long va_mapping(void)
{
    uint64_t entry = foreign() * PAGE | (noise() & 0xfff) | 1 | (noise() & 1UL << 63);
    uint64_t va = below(2) ? pages + below(16) * PAGE : below(2) ? pointer() : wild();

    /* A device's frame is Dom0's to map; Linux would not know the page. */
    if ((entry >> 12 & 0xffffffffff) >= last_ram && va - pages < 16 * PAGE) {
        entry |= 1UL << 51;
    }
    /* An address of the kernel's, which has tables, keeps its entry. */
    if (va >= 0xffff880000000000 || va < 1UL << 47) {
        va = pages + below(16) * PAGE;
        entry |= (1UL << 51);
    }
    return hypercall(below(4) ? 14 : 22, va, entry, wild(), domain(), 0);
}

static long extended(void)
{
    static const uint32_t commands[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 99 };

    for (unsigned i = 0; i < 12; i += 3) {
        buffer[i] = commands[below(sizeof(commands) / sizeof(*commands))];
        buffer[i + 1] = below(4) ? foreign() : own_frame();
        buffer[i + 2] = below(2) ? pointer() : foreign();
        switch (buffer[i]) {
        case 13: /* A legal LDT would be loaded: the address is not page aligned. */
            buffer[i + 1] = pointer() | 8;
            buffer[i + 2] = 1 + below(10000);
            break;
        case 15: /* None is legal, and would leave the process without one. */
            buffer[i + 1] |= !buffer[i + 1];
            break;
        case 17: /* Copies go to frames that are not ours, or do not. */
            buffer[i + 2] = foreign();
            break;
        }
    }
    return hypercall(26, below(4) ? (uint64_t)buffer : pointer(), below(2) ? 1 + below(4) : wild() & ~(1UL << 31),
                     below(2) ? 0 : pointer(), domain(), 0);
}

static long memory(void)
{
    uint64_t command = below(32);

    fill();
    if (command < 2 || command == 6 || command == 11) {
        /* Lists: foreign frames, or nowhere. */
        for (unsigned i = 0; i < 8; i += 4) {
            buffer[i] = below(2) ? pointer() : (uint64_t)(buffer + 128);
            buffer[i + 1] = below(2) ? 1 + below(8) : wild();
            buffer[i + 2] = below(40) | (noise() & 0xffff) << 32;
            buffer[i + 3] = domain();
        }
        for (unsigned i = 128; i < 192; i++) {
            buffer[i] = foreign();
        }
        if (command == 0 || command == 6) {
            /* Granted, it would give memory that nobody gives back: more at once than there is. */
            buffer[2] = (buffer[2] & ~0xffffffffUL) | (20 + below(300));
        }
    }
    /* Setting what Linux relies on is left out: the memory map, the target. */
    return command == 13 || command == 17 || command == 27 ? 0
        : hypercall(12, command | (below(8) ? 0 : wild() << 6), below(4) ? (uint64_t)buffer : pointer(), 0, 0, 0);
}

static long control(void)
{
    fill();
    switch (below(9)) {
    case 0:
        return hypercall(0, pointer(), 0, 0, 0, 0);
    case 1:
        for (unsigned i = 0; i < 16; i++) {
            buffer[i] = foreign();
        }
        return hypercall(2, below(4) ? (uint64_t)buffer : pointer(), 1 + below(9000), 0, 0, 0);
    case 2:
        return hypercall(10, foreign() * PAGE + below(4096), noise(), 0, 0, 0);
    case 3:
        return hypercall(25, 4 + below(1000), wild(), 0, 0, 0);
    case 4:
        return hypercall(8, below(4) ? 4 + below(2) : 8 + wild() % 1000, wild(), 0, 0, 0);
    case 5:
        return hypercall(9, wild(), 0, 0, 0, 0);
    case 6:
        buffer[0] = 8 + below(0xfff0);
        return hypercall(30, wild(), below(2) ? (uint64_t)buffer : pointer(), 0, 0, 0);
    case 7:
        return hypercall(21, 2 + wild() % 1000, wild(), 0, 0, 0);
    default:
        return hypercall(28, 2 + below(100), pointer(), 0, 0, 0);
    }
}

static long vcpu(void)
{
    fill();
    if (below(3)) {
        return hypercall(24, below(16), 64 + wild() % 1000000, below(2) ? (uint64_t)buffer : pointer(), 0, 0);
    }
    switch (below(3)) {
    case 0: /* Polls of wild lists; what would wait ends at once, for its time is over. */
        buffer[0] = pointer();
        buffer[1] = 129 + (wild() & 0x7fffffff);
        buffer[2] = 1;
        return hypercall(29, 3, (uint64_t)buffer, 0, 0, 0);
    case 1:
        return hypercall(29, 8 + below(1000), pointer(), 0, 0, 0);
    default:
        buffer[0] = 99 + (wild() & 0xffff) * 100;
        return hypercall(29, 6, (uint64_t)buffer, 0, 0, 0);
    }
}

static long events(void)
{
    uint64_t command = below(16);
    uint32_t *words = (void *)buffer;

    fill();
    switch (command) {
    case 0: /* Ports of nobody. */
        words[0] = nobody();
        break;
    case 1: /* VIRQs and IPIs of CPUs that are not there. */
        words[1] = 64 + (wild() & 0xffffff);
        break;
    case 7:
        words[0] = 64 + (wild() & 0xffffff);
        break;
    case 2:
        words[0] = 5000 + (wild() & 0x7fffffff);
        break;
    case 3:
    case 8:
    case 9:
    case 13: /* Ports that are not in use. */
        words[0] = 3000 + (wild() & 0x7fffffff);
        break;
    case 6: /* A port that others may bind is closed again. */
        words[0] = 0x7ff0 | nobody() << 16;
        if (hypercall(32, 6, (uint64_t)buffer, 0, 0, 0) == 0) {
            words[0] = words[1];
            return hypercall(32, 3, (uint64_t)buffer, 0, 0, 0);
        }
        return 1;
    case 10:
        return 0;
    case 11:
        buffer[0] = foreign();
        words[2] = below(4096);
        words[3] = below(300);
        break;
    case 12:
        buffer[0] = foreign();
        break;
    }
    return hypercall(32, command, below(4) ? (uint64_t)buffer : pointer(), 0, 0, 0);
}

static long devices(void)
{
    uint64_t command = below(34);
    uint32_t *words = (void *)buffer;

    fill();
    switch (command) {
    case 6:
        words[0] = 4 + below(1000);
        break;
    case 7:
        buffer[1] = 65537 + (wild() & 0xfffffff);
        break;
    case 13: /* Interrupts that do not exist: mapping, unmapping, ending. */
        words[0] = 0x7ff0;
        words[1] = below(5);
        words[2] = 5000 + (wild() & 0xffffff);
        words[3] = 5000;
        break;
    case 15:
        words[0] = 0x7ff0;
        words[1] = 5000 + (wild() & 0x7fffffff);
        break;
    case 8: case 9: case 10: case 11: case 12: case 5: case 19: case 21:
        words[0] = 5000 + (wild() & 0x7fffffff);
        break;
    default: /* Devices are Linux's business: only wild arguments. */
        return hypercall(33, command, pointer(), 0, 0, 0);
    }
    return hypercall(33, command, below(4) ? (uint64_t)buffer : pointer(), 0, 0, 0);
}

static long others(void)
{
    uint64_t op;

    fill();
    switch (below(8)) {
    case 0:
        return hypercall(17, wild(), pointer(), 0, 0, 0);
    case 1:
        return hypercall(18, below(2) ? 1 : 3 + below(100), wild(), pointer(), 0, 0);
    case 2: /* A list of calls, each as wild as any. */
        for (unsigned i = 0; i < 4; i++) {
            static const uint64_t calls[] = { 9, 13, 17, 43, 62, 100, 1UL << 32, ~0UL };

            buffer[8 * i] = calls[below(8)];
        }
        return below(4) ? hypercall(13, (uint64_t)buffer, 1 + below(4), 0, 0, 0)
            : hypercall(13, pointer(), wild(), 0, 0, 0);
    case 3: /* Administration with another interface version. */
        buffer[0] = below(100) | 0xdead0000UL << 32;
        op = (uint64_t[]) { 7, 35, 36 }[below(3)];
        return hypercall(op, below(4) ? (uint64_t)buffer : pointer(), 0, 0, 0, 0);
    case 4: /* Transfers and copies of garbage might name our own frames: only from nowhere. */
        op = (uint64_t[]) { 0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 99 }[below(13)];
        return hypercall(20, op, below(4) && op != 4 && op != 5 && op != 11 ? (uint64_t)buffer : pointer(),
                         below(2) ? below(4) : wild(), 0, 0);
    case 5:
        return hypercall((uint64_t[]) { 27, 31, 34, 37, 38, 39, 40, 41, 42 }[below(9)], wild(), pointer(),
                         pointer(), wild(), wild());
    case 6:
        return hypercall(43 + below(20), wild(), wild(), wild(), wild(), wild());
    default:
        return hypercall(64 + (noise() >> 1), wild(), wild(), wild(), wild(), wild());
    }
}

int main(int argc, char **argv)
{
    static long (*const families[])(void) = {
        mmu_update, va_mapping, extended, memory, control, vcpu, events, devices, others,
    };
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 0) : 1000;
    uint64_t done = 0, refused = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    open_privcmd();
    buffer = locked_pages(4);
    pages = (uint64_t)locked_pages(16);
    last_ram = last_frame();
    /* The highest run of frames that are not Dom0's. */
    first_frame = foreign_run(last_ram);
    printf("fuzz: seed %lu, %lu calls, frames %#lx to %#lx\n", seed, count, first_frame, last_ram);
    for (uint64_t i = 0; i < count; i++) {
        /* Each call from a seed of its own, so that one can be repeated alone. */
        state = (seed << 32 | (i + 1)) * 0x9e3779b97f4a7c15UL;
        noise();
        long answer = families[below(sizeof(families) / sizeof(*families))]();

        done++;
        refused += answer < 0;
        answers[answer < 0 && answer > -64 ? -answer : 0]++;
    }
    printf("fuzz: %lu calls, %lu refused:", done, refused);
    for (unsigned i = 1; i < 64; i++) {
        if (answers[i]) {
            printf(" %s %lu", strerrorname_np(i), answers[i]);
        }
    }
    printf("\n");
    return refused * 2 < done;
}
