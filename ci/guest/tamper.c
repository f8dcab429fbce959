/* Changes the first bytes of an EFI runtime service in memory: tamper SERVICE fault|hang|restore
 *
 * SERVICE is the place in the firmware's table. The table is looked for in the reserved memory that /proc/iomem lists,
 * by its signature. The bytes that were there are kept in /tmp. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIGNATURE "RUNTSERV"
#define HEADER 24
#define PAGE 4096ULL

static int memory;

static uint8_t *map(uint64_t address, uint64_t length)
{
    uint8_t *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, memory, (off_t)address);
    return at == MAP_FAILED ? NULL : at;
}

/* The service's address, or 0. */
static uint64_t find(unsigned service)
{
    FILE *regions = fopen("/proc/iomem", "r");
    char line[256];
    unsigned long long start, end;
    while (regions && fgets(line, sizeof line, regions)) {
        if (*line == ' ' || sscanf(line, "%llx-%llx", &start, &end) != 2 || end >> 32 || !strstr(line, "eserved"))
            continue;
        for (uint64_t page = start; page < end; page += PAGE) {
            uint8_t *at = map(page & ~(PAGE - 1), PAGE);
            if (!at)
                continue;
            for (unsigned offset = 0; offset + HEADER + 8 * 14 <= PAGE; offset += 8) {
                /* The signature is in code, too: the header's size tells. */
                if (!memcmp(at + offset, SIGNATURE, 8) && *(uint32_t *)(at + offset + 12) == HEADER + 8 * 14)
                    return *(uint64_t *)(at + offset + HEADER + 8 * service);
            }
            munmap(at, PAGE);
        }
    }
    return 0;
}

int main(int count, char **args)
{
    static const uint8_t fault[2] = {0x0f, 0x0b}, hang[2] = {0xeb, 0xfe};
    uint8_t kept[2];
    if (count != 3)
        return 2;
    memory = open("/dev/mem", O_RDWR | O_SYNC);
    uint64_t address = memory < 0 ? 0 : find((unsigned)atoi(args[1]));
    if (!address) {
        fprintf(stderr, "no table of runtime services in memory\n");
        return 1;
    }
    uint8_t *page = map(address & ~(PAGE - 1), PAGE);
    if (!page) {
        fprintf(stderr, "the service's code at %#llx: ", (unsigned long long)address);
        perror("");
        return 1;
    }
    uint8_t *code = page + (address & (PAGE - 1));
    const uint8_t *now = strcmp(args[2], "hang") ? fault : hang;
    int file = open("/tmp/tampered", O_RDWR | O_CREAT, 0600);
    if (!strcmp(args[2], "restore")) {
        if (pread(file, kept, 2, 0) != 2)
            return 1;
        now = kept;
    } else if (memcmp(code, fault, 2) && memcmp(code, hang, 2) && pwrite(file, code, 2, 0) != 2) {
        return 1;
    }
    memcpy(code, now, 2);
    printf("service %s at %#llx: %s\n", args[1], (unsigned long long)address, args[2]);
    return 0;
}
