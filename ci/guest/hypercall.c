/* Makes one hypercall through privcmd: hypercall NUMBER [ARGUMENT | WORD,WORD,... ]...
 * An argument with a comma is a buffer of 64-bit words, zero behind those given; &N in it is the address of the N-th
 * buffer. Prints the result and, for each buffer, as many words as were given, in hexadecimal or, if it is the address
 * of the N-th buffer, as &N. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

struct hypercall {
    uint64_t op;
    uint64_t arg[5];
};

#define IOCTL_PRIVCMD_HYPERCALL _IOC(_IOC_NONE, 'P', 0, sizeof(struct hypercall))
#define BUFFERS 5
#define WORDS 512

static uint64_t buffers[BUFFERS][WORDS] __attribute__((aligned(4096)));
static int given[BUFFERS];

static uint64_t number(const char *text)
{
    return *text == '&' ? (uint64_t)(uintptr_t)buffers[atoi(text + 1) % BUFFERS] : strtoull(text, NULL, 0);
}

static void print(uint64_t word)
{
    for (int buffer = 0; buffer < BUFFERS; buffer++) {
        if (word == (uint64_t)(uintptr_t)buffers[buffer]) {
            printf(" &%d", buffer);
            return;
        }
    }
    printf(" %llx", (unsigned long long)word);
}

int main(int argc, char **argv)
{
    struct hypercall call = { 0 };
    int used = 0, device = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);

    if (device < 0 || argc < 2 || argc > 7 || mlock(buffers, sizeof(buffers)) != 0) {
        fprintf(stderr, "hypercall NUMBER ARGUMENT...: %s\n", strerror(errno));
        return 1;
    }
    call.op = strtoull(argv[1], NULL, 0);
    for (int i = 2; i < argc; i++) {
        if (strchr(argv[i], ',') == NULL) {
            call.arg[i - 2] = number(argv[i]);
            continue;
        }
        for (char *word = strtok(argv[i], ","); word != NULL && given[used] < WORDS; word = strtok(NULL, ","))
            buffers[used][given[used]++] = number(word);
        call.arg[i - 2] = (uint64_t)(uintptr_t)buffers[used++];
    }
    int result = ioctl(device, IOCTL_PRIVCMD_HYPERCALL, &call);
    printf("%d", result < 0 ? -errno : result);
    for (int buffer = 0; buffer < used; buffer++)
        for (int word = 0; word < given[buffer]; word++)
            print(buffers[buffer][word]);
    printf("\n");
    return 0;
}
