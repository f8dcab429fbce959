/* Shows why the hypervisor failed last: registers, return addresses, what the CPU had handled, what the recovery did.
 * For Dom0. The text comes by `console_io`, command CONSOLEIO_EPITAPH, which is Revenant's own: another hypervisor
 * answers ENOSYS. Ends with 0 if there is an epitaph, 1 if nothing has failed since boot, 2 if there is no answer. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

struct hypercall {
    uint64_t op;
    uint64_t arg[5];
};

#define IOCTL_PRIVCMD_HYPERCALL _IOC(_IOC_NONE, 'P', 0, sizeof(struct hypercall))
#define CONSOLE_IO 18
#define CONSOLEIO_EPITAPH 0x65766552

int main(void)
{
    static char text[3072];
    struct hypercall call = { .op = CONSOLE_IO, .arg = { CONSOLEIO_EPITAPH, sizeof(text), (uintptr_t)text } };
    int fd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);

    /* The hypervisor gets no page that the kernel has not given yet. */
    memset(text, ' ', sizeof(text));
    int length = fd < 0 ? -1 : ioctl(fd, IOCTL_PRIVCMD_HYPERCALL, &call);
    if (length < 0) {
        perror("revenant-epitaph");
        return 2;
    }
    if (length == 0) {
        puts("nothing has failed since boot");
        return 1;
    }
    fwrite(text, 1, length, stdout);
    return 0;
}
