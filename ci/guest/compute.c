/* Computes the same again and again, with values in general, floating-point and vector registers, in memory and behind
 * the FS base; compares the results, and sees that time goes forward, until it is killed; a difference is
 * shown as a loss. */
#include <stdint.h>
#include <stdio.h>
#include <time.h>

typedef uint64_t vector __attribute__((vector_size(16)));

static __thread uint64_t local;

static uint64_t mix(uint64_t value)
{
    value ^= value >> 31;
    value *= 0x7fb5d329728ea185u;
    value ^= value >> 27;
    return value * 0x81dadef4bc2dd44du;
}

static uint64_t round_of_work(void)
{
    uint64_t a = 1, b = 2, c = 3, d = 4, e = 5, f = 6;
    vector v = { 7, 8 }, w = { 9, 10 };
    double x = 1.0, y = 0.5;

    local = 11;
    for (int i = 0; i < 2000000; i++) {
        a = mix(a + b);
        b += c ^ a;
        c = c << 7 | c >> 57;
        d += mix(e ^ f);
        e ^= d + i;
        f += e;
        v = v * 3 + w;
        w ^= v << 5;
        x = x * 0.75 + y;
        y = y * 1.0000001 - x * 1e-9;
        local += a ^ d;
    }
    union {
        double number;
        uint64_t bits;
    } sum = { .number = x + y };
    return a ^ b ^ c ^ d ^ e ^ f ^ v[0] ^ v[1] ^ w[0] ^ w[1] ^ sum.bits ^ local;
}

int main(void)
{
    uint64_t wanted = round_of_work();
    struct timespec last = { 0 }, now;

    for (unsigned long rounds = 1;; rounds++) {
        uint64_t found = round_of_work();

        clock_gettime(CLOCK_MONOTONIC, &now);
        if (found != wanted || now.tv_sec < last.tv_sec ||
            (now.tv_sec == last.tv_sec && now.tv_nsec < last.tv_nsec)) {
            printf("LAB-LOST compute: %llx is not %llx in round %lu, or time went back\n", (unsigned long long)found,
                   (unsigned long long)wanted, rounds);
            return 1;
        }
        last = now;
        FILE *file = fopen("rounds.compute", "w");
        if (file) {
            fprintf(file, "%lu\n", rounds);
            fclose(file);
        }
    }
}
