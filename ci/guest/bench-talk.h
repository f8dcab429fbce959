/* What a guest that measures and its partner in Dom0 say to each other, in datagrams. */
#ifndef BENCH_TALK_H
#define BENCH_TALK_H

#include "bench.h"
#include <arpa/inet.h>
#include <sys/socket.h>

#define PARTNER_ADDRESS "10.9.0.1"
#define PARTNER_PORT 7000
/* With its heads, as much as an Ethernet frame holds. */
#define PAYLOAD 1472

enum what {
    ECHO,   /* the partner sends it back */
    COUNT,  /* it says nothing */
    GIVE,   /* it sends `count` datagrams of the full size */
    EVENTS, /* it has a port for the guest, in `count`, and answers events there */
};

struct talk {
    uint32_t what, count;
    char rest[PAYLOAD - 2 * sizeof(uint32_t)];
};

static int talk_socket(void)
{
    int end = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (end < 0)
        die("socket");
    return end;
}

static struct sockaddr_in partner_address(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(PARTNER_PORT) };

    inet_pton(AF_INET, PARTNER_ADDRESS, &address.sin_addr);
    return address;
}

#endif
