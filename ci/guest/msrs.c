/* Model-specific registers as Linux shows them (/dev/cpu/0/msr): "msrs" prints a line for each that can be read, its
 * number and value. Two hypervisors that are the same print the same. Left out are the clock and bases of segments. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#define TSC 0x10

static const struct { uint32_t first, last; } ranges[] = {
    { 0, 0x1fff },
    { 0x40000000, 0x400001ff },
    { 0x4b564d00, 0x4b564d0f },
    { 0xc0000000, 0xc00000ff },
    { 0xc0000104, 0xc0002fff },
    { 0xc0010000, 0xc00113ff },
};

int main(void)
{
    int file = open("/dev/cpu/0/msr", O_RDONLY);

    if (file < 0) {
        perror("/dev/cpu/0/msr");
        return 1;
    }
    for (unsigned i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        for (uint32_t number = ranges[i].first; number <= ranges[i].last; number++) {
            uint64_t value;

            if (number != TSC && pread(file, &value, sizeof value, number) == sizeof value)
                printf("msr %08x %016llx\n", number, (unsigned long long)value);
        }
    }
    return 0;
}
