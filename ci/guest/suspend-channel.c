/* In a guest: offers the toolstack an event channel by which it may ask for a suspend (device/suspend/event-channel), as
 * kernels did that Xen's own sources had; waits until it asks, and suspends. "suspend-channel", once. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <xen/xen.h>
#include <xen/sys/evtchn.h>
#include <xen/io/xs_wire.h>

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* XenStore's messages go over one file. */
static void write_node(int store, const char *node, const char *value)
{
    size_t name = strlen(node) + 1, length = strlen(value);
    struct xsd_sockmsg head = { .type = XS_WRITE, .len = name + length };
    char body[256], answer[256];

    memcpy(body, &head, sizeof(head));
    memcpy(body + sizeof(head), node, name);
    memcpy(body + sizeof(head) + name, value, length);
    if (write(store, body, sizeof(head) + head.len) < 0)
        die(node);
    if (read(store, &head, sizeof(head)) != sizeof(head) || head.len > sizeof(answer))
        die("answer");
    if (read(store, answer, head.len) != head.len)
        die("answer's body");
    if (head.type != XS_WRITE) {
        fprintf(stderr, "%s: %.*s\n", node, (int)head.len, answer);
        exit(1);
    }
}

int main(void)
{
    struct ioctl_evtchn_bind_unbound_port unbound = { .remote_domain = 0 };
    int events = open("/dev/xen/evtchn", O_RDWR), store = open("/dev/xen/xenbus", O_RDWR);
    uint32_t port, came;
    char text[16];

    if (events < 0 || store < 0)
        die("/dev/xen");
    port = ioctl(events, IOCTL_EVTCHN_BIND_UNBOUND_PORT, &unbound);
    if ((int)port < 0)
        die("unbound port");
    snprintf(text, sizeof(text), "%u", port);
    write_node(store, "device/suspend/event-channel", text);
    printf("LAB-OFFERS %u\n", port);
    fflush(stdout);
    if (read(events, &came, sizeof(came)) != sizeof(came) || came != port)
        die("event");
    printf("LAB-ASKED %u\n", came);
    fflush(stdout);
    write_node(store, "control/shutdown", "suspend");
    // The channel ends with this process: it stays until the guest has been away and goes on.
    sleep(3);
    return 0;
}
