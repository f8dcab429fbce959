/* Writes messages of its own into a disk's MSI-X table: whatever vector an interrupt comes with, the hypervisor goes on,
 * and so does the disk once its messages are right again. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MSIX 0x11
#define NMI 0x400

/* The device behind /dev/vda. */
static char folder[256] = "/sys/block/vda/device/..";

static int file_of(const char *name, int flags)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    int file = open(path, flags | O_CLOEXEC);
    if (file < 0) {
        perror(path);
        exit(2);
    }
    return file;
}

/* The first entries of its table. */
static volatile uint32_t *table(unsigned *entries)
{
    uint8_t config[256];
    char name[16];

    if (pread(file_of("config", O_RDONLY), config, sizeof(config), 0) != sizeof(config)) {
        perror("config");
        exit(2);
    }
    for (unsigned at = config[0x34], i = 0; at >= 0x40 && i < 48; at = config[at + 1], i++) {
        if (config[at] == MSIX) {
            uint32_t where;

            memcpy(&where, config + at + 4, 4);
            *entries = 1 + ((config[at + 2] | config[at + 3] << 8) & 0x7ff);
            snprintf(name, sizeof(name), "resource%u", where & 7);
            char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file_of(name, O_RDWR), where & ~4095U);
            if (page == MAP_FAILED) {
                perror(name);
                exit(2);
            }
            return (void *)(page + (where & 4088));
        }
    }
    fprintf(stderr, "no MSI-X\n");
    exit(2);
}

/* Reads a sector past all caches. */
static void read_disk(unsigned sector)
{
    void *buffer = aligned_alloc(4096, 4096);
    int disk = open("/dev/vda", O_RDONLY | O_DIRECT);

    if (disk < 0 || pread(disk, buffer, 4096, sector * 4096L) != 4096) {
        perror("/dev/vda");
        _exit(1);
    }
    _exit(0);
}

static pid_t reader(unsigned sector)
{
    pid_t child = fork();

    if (child == 0) {
        alarm(20);
        read_disk(sector);
    }
    return child;
}

int main(void)
{
    static const uint32_t messages[] = {
        0x20, 0x2f, 0x30, 0x31, 0x40, 0x80, 0xc0, 0xdf, 0xe0, 0xef, 0xf0, 0xf1, 0xf2, 0xf3, 0xfe, 0xff, NMI,
    };
    unsigned entries, wrong = 0;
    volatile uint32_t *words = table(&entries);

    for (unsigned i = 0; i < sizeof(messages) / sizeof(*messages); i++) {
        uint32_t old[16];
        int status[2];

        for (unsigned e = 0; e < entries && e < 16; e++) {
            old[e] = words[4 * e + 2];
            words[4 * e + 2] = messages[i];
        }
        pid_t first = reader(i);
        usleep(100000);
        for (unsigned e = 0; e < entries && e < 16; e++) {
            words[4 * e + 2] = old[e];
        }
        /* The next interrupt is for both. */
        pid_t second = reader(i + 32);
        waitpid(first, &status[0], 0);
        waitpid(second, &status[1], 0);
        if (status[0] || status[1]) {
            fprintf(stderr, "after message %#x: %#x %#x\n", messages[i], status[0], status[1]);
            wrong++;
        }
    }
    return wrong != 0;
}
