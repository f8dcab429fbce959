/* In Dom0, the partner of a guest that measures (bench-guest.c): bench-partner DOMAIN. It answers datagrams, and events of
 * that domain. */
#include "bench-events.h"
#include "bench-talk.h"
#include <signal.h>
#include <sys/prctl.h>

/* A process that answers each event of a port that this makes for the domain. */
static uint32_t answer_events(unsigned domain)
{
    struct ioctl_evtchn_bind_unbound_port unbound = { .remote_domain = domain };

    if (open_events())
        die("/dev/xen/evtchn");

    int port = ioctl(events, IOCTL_EVTCHN_BIND_UNBOUND_PORT, &unbound);

    if (port < 0)
        die("unbound port");
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            receive();
            notify(port);
        }
    }
    close(events);
    return port;
}

int main(int argc, char **argv)
{
    struct sockaddr_in own = partner_address(), other;
    static struct talk said;
    int end = talk_socket();

    if (argc != 2 || bind(end, (struct sockaddr *)&own, sizeof(own)))
        die("bench-partner DOMAIN");
    for (;;) {
        socklen_t length = sizeof(other);
        ssize_t bytes = recvfrom(end, &said, sizeof(said), 0, (struct sockaddr *)&other, &length);
        uint32_t answers = said.what == ECHO || said.what == EVENTS;

        if (bytes < 0)
            die("recvfrom");
        if (said.what == EVENTS)
            said.count = answer_events(atoi(argv[1]));
        if (said.what == GIVE) {
            answers = said.count;
            bytes = sizeof(said);
        }
        while (answers--)
            if (sendto(end, &said, bytes, 0, (struct sockaddr *)&other, length) != bytes)
                die("sendto");
    }
}
