/* The first process when a boot is measured: notes the TSC, then becomes /init, which prints it (LAB_TSC). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(void)
{
    static char *arguments[] = { "/init", NULL };
    uint32_t low, high;
    char text[24];

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    snprintf(text, sizeof(text), "%llu", (unsigned long long)((uint64_t)high << 32 | low));
    setenv("LAB_TSC", text, 1);
    execv(arguments[0], arguments);
    return 1;
}
