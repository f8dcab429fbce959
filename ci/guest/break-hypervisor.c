/* Asks a hypervisor built with the feature `inject` to panic after some points: break-hypervisor POINTS... */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct hypercall {
    uint64_t op;
    uint64_t arg[5];
};

#define IOCTL_PRIVCMD_HYPERCALL _IOC(_IOC_NONE, 'P', 0, sizeof(struct hypercall))

int main(int argc, char **argv)
{
    int fd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        perror("/dev/xen/privcmd");
        return 1;
    }
    for (int i = 1; i < argc; i++) {
        struct hypercall call = { .op = 63, .arg = { strtoull(argv[i], NULL, 0) } };

        /* The answer is ENOSYS: the hypercall does not exist. */
        ioctl(fd, IOCTL_PRIVCMD_HYPERCALL, &call);
    }
    return 0;
}
