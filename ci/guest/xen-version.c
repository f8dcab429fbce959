/* Asks the hypervisor for its version through /dev/xen/privcmd and prints "MAJOR.MINOR".
 * The smallest whole path of a toolstack: Linux's privcmd driver, one hypercall, one answer. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include <xen/xen.h>
#include <xen/version.h>
#include <xen/sys/privcmd.h>

int main(void)
{
    privcmd_hypercall_t call = { .op = __HYPERVISOR_xen_version, .arg = { XENVER_version, 0 } };
    int device = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);
    if (device < 0) {
        perror("/dev/xen/privcmd");
        return 1;
    }
    int version = ioctl(device, IOCTL_PRIVCMD_HYPERCALL, &call);
    if (version < 0) {
        perror("xen_version");
        return 1;
    }
    printf("%d.%d\n", version >> 16, version & 0xffff);
    return 0;
}
