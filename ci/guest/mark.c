/* Tells the plugin where a stretch begins or ends (ci/plugin/count.c): mark begin, mark end. As a guest's first process it
 * ends one, unless the kernel was told UNMARKED=, says so and does nothing more. */
#include "bench.h"

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "begin") == 0) {
        MARK_BEGIN;
        return 0;
    }
    if (!getenv("UNMARKED"))
        MARK_END;
    if (getpid() != 1)
        return 0;
    puts("LAB-ARRIVED");
    fflush(stdout);
    for (;;)
        pause();
}
