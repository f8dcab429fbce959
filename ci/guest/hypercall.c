/* Makes one hypercall through privcmd: hypercall NUMBER [ARGUMENT | WORD,WORD,... ]...
 * An argument with a comma is a buffer of 64-bit words, zero behind those given; &N in it is the address of the N-th
 * buffer. Prints the result and, for each buffer, as many words as were given, in hexadecimal or, if it is the address
 * of the N-th buffer, as &N.
 * Without an argument: reads lines of a wanted result and such a call, and prints those that differ. */
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
#define WORDS_OF_LINE 7

static uint64_t buffers[BUFFERS][WORDS] __attribute__((aligned(4096)));
static int given[BUFFERS];
static int device;

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

/* The result of the call that these words are; `used` gets the number of buffers. */
static int run(char **words, int count, int *used)
{
    struct hypercall call = { .op = strtoull(words[0], NULL, 0) };

    *used = 0;
    memset(buffers, 0, sizeof(buffers));
    memset(given, 0, sizeof(given));
    for (int i = 1; i < count; i++) {
        if (strchr(words[i], ',') == NULL) {
            call.arg[i - 1] = number(words[i]);
            continue;
        }
        char *rest, *word = strtok_r(words[i], ",", &rest);
        for (; word != NULL && given[*used] < WORDS; word = strtok_r(NULL, ",", &rest))
            buffers[*used][given[*used]++] = number(word);
        call.arg[i - 1] = (uint64_t)(uintptr_t)buffers[(*used)++];
    }
    int result = ioctl(device, IOCTL_PRIVCMD_HYPERCALL, &call);
    return result < 0 ? -errno : result;
}

/* Compares; returns how many lines differ. */
static int compare(FILE *lines)
{
    char line[512], copy[512];
    int wrong = 0, used;

    while (fgets(line, sizeof(line), lines) != NULL) {
        char *words[WORDS_OF_LINE + 1], *rest;
        int count = 0;

        line[strcspn(line, "\n")] = 0;
        strcpy(copy, line);
        for (char *word = strtok_r(copy, " ", &rest); word != NULL && count <= WORDS_OF_LINE;
             word = strtok_r(NULL, " ", &rest))
            words[count++] = word;
        if (count < 2)
            continue;
        int result = run(words + 1, count - 1, &used);
        if (result != atoi(words[0])) {
            fprintf(stderr, "%d, wanted %s\n", result, line);
            wrong++;
        }
    }
    return wrong;
}

int main(int argc, char **argv)
{
    int used;

    device = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);
    if (device < 0 || argc > WORDS_OF_LINE || mlock(buffers, sizeof(buffers)) != 0) {
        fprintf(stderr, "hypercall NUMBER ARGUMENT...: %s\n", strerror(errno));
        return 1;
    }
    if (argc == 1)
        return compare(stdin) != 0;
    printf("%d", run(argv + 1, argc - 1, &used));
    for (int buffer = 0; buffer < used; buffer++)
        for (int word = 0; word < given[buffer]; word++)
            print(buffers[buffer][word]);
    printf("\n");
    return 0;
}
