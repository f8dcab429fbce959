/* Loads data selectors that are not null into ds, es and gs, and sees that they stay as they are.
 *
 * hold-selectors SECONDS: several processes, each with descriptors of its own in a local descriptor table and with
 * an FS base of its own (glibc's, by arch_prctl), look at their selectors, read through GS and give way to each
 * other, until the time is over. More of them than CPUs make tasks change CPUs and, on a hypervisor with more
 * virtual CPUs than CPUs, virtual CPUs change hands. */
#include <asm/ldt.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES 8

static __thread uint64_t mine;
static uint64_t word;

static unsigned add_descriptor(unsigned entry, uint32_t base)
{
    struct user_desc desc = {
        .entry_number = entry,
        .base_addr = base,
        .limit = 0xfffff,
        .seg_32bit = 1,
        .limit_in_pages = 1,
        .useable = 1,
    };
    if (syscall(SYS_modify_ldt, 1, &desc, sizeof desc)) {
        perror("modify_ldt");
        exit(1);
    }
    return entry << 3 | 7; /* in the local table, for privilege level 3 */
}

/* One process: returns how often it looked; ends the process if something is not as it was. */
static void hold(unsigned number, int seconds)
{
    unsigned ds = add_descriptor(3 * number, 0), es = add_descriptor(3 * number + 1, 0);
    /* A non-PIE program has its variables below 4 GiB, where a descriptor's base can be. */
    unsigned gs = add_descriptor(3 * number + 2, (uint32_t)(uintptr_t)&word);
    word = mine = 0x1234567800 + number;
    __asm__ volatile("mov %0, %%ds; mov %1, %%es; mov %2, %%gs" : : "r"(ds), "r"(es), "r"(gs) : "memory");
    time_t end = time(NULL) + seconds;
    unsigned long looks = 0;
    do {
        unsigned now[3];
        uint64_t through;
        __asm__ volatile("mov %%ds, %0; mov %%es, %1; mov %%gs, %2; mov %%gs:0, %3"
                         : "=r"(now[0]), "=r"(now[1]), "=r"(now[2]), "=r"(through) : : "memory");
        if (now[0] != ds || now[1] != es || now[2] != gs || through != word || mine != word) {
            printf("process %u after %lu looks: ds %x es %x gs %x, were %x %x %x; %lx %lx, was %lx\n", number, looks,
                   now[0], now[1], now[2], ds, es, gs, through, mine, word);
            fflush(stdout);
            _exit(1);
        }
        if (++looks % 64 == 0) {
            sched_yield();
        }
        if (looks % 1024 == 0) {
            usleep(1000);
        }
    } while (time(NULL) < end);
    _exit(0);
}

int main(int count, char **args)
{
    int seconds = count > 1 ? atoi(args[1]) : 3, failed = 0;
    for (unsigned number = 0; number < PROCESSES; number++) {
        if (fork() == 0) {
            hold(number, seconds);
        }
    }
    for (unsigned number = 0; number < PROCESSES; number++) {
        int status;
        wait(&status);
        failed |= status;
    }
    return failed != 0;
}
