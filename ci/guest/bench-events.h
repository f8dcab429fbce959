/* Event channels of a process, by /dev/xen/evtchn. */
#ifndef BENCH_EVENTS_H
#define BENCH_EVENTS_H

#include "bench.h"
#include <poll.h>
#include <xen/sys/evtchn.h>

static int events = -1;

/* Not 0 if there are none here. A process reads only what comes to ports of its own file. */
static inline int open_events(void)
{
    events = open("/dev/xen/evtchn", O_RDWR | O_CLOEXEC);
    return events < 0;
}

static inline void notify(uint32_t port)
{
    struct ioctl_evtchn_notify notice = { .port = port };

    if (ioctl(events, IOCTL_EVTCHN_NOTIFY, &notice))
        die("notify");
}

static inline void receive(void)
{
    uint32_t port;

    if (read(events, &port, sizeof(port)) != sizeof(port))
        die("event");
    if (write(events, &port, sizeof(port)) != sizeof(port))
        die("unmask");
}

/* Who binds to a channel finds an event in it, in case one was lost: it is taken out. */
static inline void drain(void)
{
    struct pollfd ready = { .fd = events, .events = POLLIN };

    while (poll(&ready, 1, 10) > 0)
        receive();
}

/* A channel to a port that another end has for us; its port here. */
static inline uint32_t bind_to(unsigned domain, uint32_t port)
{
    struct ioctl_evtchn_bind_interdomain bound = { .remote_domain = domain, .remote_port = port };
    int near = ioctl(events, IOCTL_EVTCHN_BIND_INTERDOMAIN, &bound);

    if (near < 0)
        die("interdomain");
    drain();
    return near;
}

#endif
