/* In a guest: what its disks, its network and events to Dom0 cost, where bench-partner answers: bench-guest [ROW...]. The
 * instructions of both domains count. */
#include "bench-disk.h"
#include "bench-events.h"
#include "bench-talk.h"

/* --- Disks --- */

/* Its backend keeps the guest's pages mapped. */
static int disk_read_set_up(void)
{
    return disk_set_up("/dev/xvda", O_RDONLY);
}

static int disk_write_set_up(void)
{
    return disk_set_up("/dev/xvda", O_WRONLY);
}

/* Its backend maps the pages of each request. */
static int mapped_set_up(void)
{
    return disk_set_up("/dev/xvdb", O_RDONLY);
}

/* --- The network --- */

static int wire = -1;

static int wire_set_up(void)
{
    struct sockaddr_in partner = partner_address();
    struct timeval patience = { .tv_sec = 20 };

    wire = talk_socket();
    if (setsockopt(wire, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)))
        die("patience");
    return connect(wire, (struct sockaddr *)&partner, sizeof(partner));
}

static void wire_tear_down(void)
{
    close(wire);
}

static void say(enum what what, uint32_t count, size_t bytes)
{
    static struct talk message;

    message.what = what;
    message.count = count;
    if (send(wire, &message, bytes, 0) != (ssize_t)bytes)
        die("send");
}

static uint32_t hear(void)
{
    static struct talk message;

    if (recv(wire, &message, sizeof(message), 0) < (ssize_t)(2 * sizeof(uint32_t)))
        die("recv");
    return message.count;
}

#define SHORT 64

static void echo_batch(int operations)
{
    while (operations--) {
        say(ECHO, 0, SHORT);
        hear();
    }
}

/* The last one is answered. */
static void send_batch(int operations)
{
    while (--operations)
        say(COUNT, 0, PAYLOAD);
    say(ECHO, 0, SHORT);
    hear();
}

static void receive_batch(int operations)
{
    say(GIVE, operations, SHORT);
    while (operations--)
        hear();
}

/* --- Events --- */

static uint32_t port;

static int partner_events_set_up(void)
{
    if (wire_set_up() || open_events())
        return 1;
    say(EVENTS, 0, SHORT);
    port = bind_to(0, hear());
    return 0;
}

static void partner_events_tear_down(void)
{
    close(events);
    wire_tear_down();
}

static void event_batch(int operations)
{
    while (operations--) {
        notify(port);
        receive();
    }
}

static const struct row rows[] = {
    { "guest_event", 10, 16, partner_events_set_up, event_batch, partner_events_tear_down },
    { "guest_read", 20, 1, disk_read_set_up, disk_read_batch, disk_tear_down },
    { "guest_write", 20, 1, disk_write_set_up, disk_write_batch, disk_tear_down },
    { "guest_read_mapped", 20, 1, mapped_set_up, disk_read_batch, disk_tear_down },
    { "guest_echo", 10, 8, wire_set_up, echo_batch, wire_tear_down },
    { "guest_send", 10, 32, wire_set_up, send_batch, wire_tear_down },
    { "guest_receive", 10, 32, wire_set_up, receive_batch, wire_tear_down },
};

int main(int argc, char **argv)
{
    return bench(rows, sizeof(rows) / sizeof(rows[0]), argc, argv);
}
