/* Asks a hypervisor built with the feature `inject` to fail after some points: break-hypervisor [KIND] POINTS...
   Without points it prints how often it has failed.
   KIND: panic, repeat, hang, hang-locked, ignore-nmi, lost, recovery, hang-recovery, none, firmware. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct hypercall {
    uint64_t op;
    uint64_t arg[5];
};

#define IOCTL_PRIVCMD_HYPERCALL _IOC(_IOC_NONE, 'P', 0, sizeof(struct hypercall))

static const char *const kinds[] = {"panic", "repeat", "hang", "hang-locked", "ignore-nmi", "lost", "recovery",
                                    "hang-recovery", "none", "firmware"};

int main(int argc, char **argv)
{
    int fd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);
    uint64_t kind = 0;

    if (fd < 0) {
        perror("/dev/xen/privcmd");
        return 1;
    }
    if (argc == 1) {
        struct hypercall call = { .op = 63, .arg = { 0, 8 /* none */ } };
        int count = -1;

        /* No answer comes if the virtual CPU has to make room for another just then. */
        for (int tries = 0; count < 0 && tries < 100; tries++)
            count = ioctl(fd, IOCTL_PRIVCMD_HYPERCALL, &call);
        printf("%d\n", count);
    }
    for (int i = 1; i < argc; i++) {
        for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++)
            if (!strcmp(argv[i], kinds[k])) {
                kind = k;
                goto next;
            }
        struct hypercall call = { .op = 63, .arg = { strtoull(argv[i], NULL, 0), kind } };

        /* The answer is ENOSYS: the hypercall does not exist. */
        ioctl(fd, IOCTL_PRIVCMD_HYPERCALL, &call);
next:;
    }
    return 0;
}
