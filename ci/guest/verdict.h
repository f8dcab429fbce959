/* Whether answers are those wanted: one that is not is shown and counted, with `verbose` all are shown. */
#ifndef VERDICT_H
#define VERDICT_H

#include <stdio.h>

static int verbose, wrong;

static void check(const char *what, long wanted, long got)
{
    if (got != wanted || verbose) {
        printf("%s %-60s %ld%s", got == wanted ? "same     " : "DIFFERENT", what, got, got == wanted ? "\n" : "");
        if (got != wanted) {
            printf(", not %ld\n", wanted);
        }
    }
    wrong += got != wanted;
}

#endif
