/* Exceptions at an instruction: what QEMU's interface for plugins does not have, by functions of QEMU's own. They are
 * looked up by name, which a QEMU that was built with modules allows, as Debian's is. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MACHINE_CHECK 18
/* QEMU's bit of an interrupt request. */
#define NMI 0x200

static void *(*get_cpu)(int);
static void *(*class_by_name)(const char *);
/* Bytes of what all kinds of CPUs have; the registers come right behind it. */
static size_t general_size;
static void (*raise_exception)(void *, int, uintptr_t);
static void (*interrupt)(void *, int);
static void (*leave_code)(void *, uintptr_t);
static void (*lock)(const char *, int);
static void (*unlock)(void);

/* Learns the size of QEMU's CPUState from QEMU's own record of the type, whose first words are name, size of the class
 * and size of an instance; the name shows that they are. */
static bool measure(void)
{
    struct type {
        const char *name;
        size_t class_size, instance_size;
    } *const *class = class_by_name("cpu");

    if (!class || !*class || strcmp((*class)->name, "cpu") != 0)
        return false;
    general_size = (*class)->instance_size;
    return general_size != 0 && general_size % 16 == 0 && general_size < 1 << 20;
}

/* Finds functions of QEMU's own. */
static bool find_functions(void)
{
    const struct {
        const char *name;
        void *to;
    } wanted[] = {
        { "qemu_get_cpu", &get_cpu },        { "object_class_by_name", &class_by_name },
        { "raise_exception_ra", &raise_exception }, { "cpu_interrupt", &interrupt },
        { "cpu_loop_exit_restore", &leave_code },   { "bql_lock_impl", &lock },
        { "bql_unlock", &unlock },
    };
    bool all = true;

    for (unsigned i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
        void *found = dlsym(RTLD_DEFAULT, wanted[i].name);

        memcpy(wanted[i].to, &found, sizeof(found));
        all &= found != NULL;
    }
    return all;
}

/* Does not return: the CPU takes a machine check at the instruction that the code at `from` stands for. */
static void take_machine_check(unsigned cpu, uintptr_t from)
{
    raise_exception((char *)get_cpu(cpu) + general_size, MACHINE_CHECK, from);
}

/* Does not return: the CPU takes an NMI there, as one that an APIC sends; so no other comes until its handler ends. */
static void take_nmi(unsigned cpu, uintptr_t from)
{
    lock(__FILE__, __LINE__);
    interrupt(get_cpu(cpu), NMI);
    unlock();
    leave_code(get_cpu(cpu), from);
}
