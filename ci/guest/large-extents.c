/* Extents larger than 64 frames: Dom0 gets them, exchanges them for single frames and back, and gives them up.
 * With an argument: one of them, as load. */
#include "hypercall.h"

#define SELF 0x7ff0
#define INCREASE 0
#define DECREASE 1
#define CURRENT 3
#define POPULATE 6
#define EXCHANGE 11
#define FRAMES 512

struct reservation { uint64_t list, count; uint32_t order, flags; uint16_t domain, pad[3]; };
struct exchange { struct reservation given, taken; uint64_t done; };

static uint64_t *one, *many;
static struct reservation *argument;
static int wrong;

static void check(const char *what, long wanted, long got)
{
    if (got != wanted) {
        printf("%s: %ld, not %ld\n", what, got, wanted);
        wrong++;
    }
}

static long memory(uint64_t command)
{
    return hypercall(__HYPERVISOR_memory_op, command, (uint64_t)argument, 0, 0, 0);
}

static struct reservation extents(uint64_t *list, uint64_t count, uint32_t order, uint32_t bits)
{
    return (struct reservation) { (uint64_t)list, count, order, bits, SELF };
}

static long reserve(uint64_t command, uint64_t *list, uint64_t count, uint32_t order)
{
    *argument = extents(list, count, order, 0);
    return memory(command);
}

static long exchange(struct reservation given, struct reservation taken, uint64_t *done)
{
    struct exchange *e = (void *)argument;

    *e = (struct exchange) { given, taken, 0 };
    long result = memory(EXCHANGE);
    *done = e->done;
    return result;
}

static long pages(void)
{
    *(uint16_t *)argument = SELF;
    return memory(CURRENT);
}

/* Two MiB in one piece, to single frames and back. */
static void there_and_back(void)
{
    uint64_t done;

    check("2 MiB", 1, reserve(INCREASE, one, 1, 9));
    check("aligned", 0, (long)(*one % FRAMES));
    for (unsigned i = 0; i < FRAMES; i++) {
        many[i] = 0x40000000 + i;
    }
    check("to single frames", 0, exchange(extents(one, 1, 9, 0), extents(many, FRAMES, 0, 0), &done));
    check("extents exchanged", 1, (long)done);
    check("a number became a frame", 1, many[0] < 0x40000000 && many[FRAMES - 1] < 0x40000000);
    uint64_t kept = many[FRAMES - 1];
    many[FRAMES - 1] = many[0];
    *one = 0x50000000;
    check("one of them twice", -EINVAL, exchange(extents(many, FRAMES, 0, 0), extents(one, 1, 9, 0), &done));
    check("none exchanged", 0, (long)done);
    many[FRAMES - 1] = kept;
    *one = 0x50000000;
    check("to 2 MiB below 1 GiB", 0, exchange(extents(many, FRAMES, 0, 0), extents(one, 1, 9, 30), &done));
    check("extents exchanged", FRAMES, (long)done);
    check("aligned", 0, (long)(*one % FRAMES));
    check("below 1 GiB", 1, *one + FRAMES <= 1 << 18);
    check("given back", 1, reserve(DECREASE, one, 1, 9));
}

int main(int argc, char **argv)
{
    uint64_t done;

    (void)argv;
    open_privcmd();
    one = locked_pages(3);
    argument = (void *)(one + 512);
    many = one + 1024;
    long before = pages();
    if (argc > 1) {
        there_and_back();
        check("as many pages as before", before, pages());
        return wrong != 0;
    }
    for (unsigned round = 0; round < 4; round++) {
        there_and_back();
    }
    for (unsigned order = 7; order <= 12; order++) {
        one[0] = 0x60000000;
        check("populate", 1, reserve(POPULATE, one, 1, order));
        check("aligned", 0, (long)(*one % (1UL << order)));
        check("given back", 1, reserve(DECREASE, one, 1, order));
    }
    check("several", 3, reserve(INCREASE, one, 3, 8));
    check("given back", 3, reserve(DECREASE, one, 3, 8));
    check("as many pages as before", before, pages());
    check("order 19", 0, reserve(INCREASE, one, 1, 19));
    check("exchange for order 19", -EPERM, exchange(extents(many, 1UL << 19, 0, 0), extents(one, 1, 19, 0), &done));
    check("not as many", -EINVAL, exchange(extents(many, FRAMES - 1, 0, 0), extents(one, 1, 9, 0), &done));
    check("more than there is", 0, reserve(INCREASE, one, 1, 18));
    return wrong != 0;
}
