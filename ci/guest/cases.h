/* Cases that each run in a process of their own and end in a known way. */
#ifndef CASES_H
#define CASES_H

#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int failed;

/* SIGSEGV or SIGBUS: QEMU and processors differ. */
#define EITHER 1000

/* Runs a case; it is to exit with 0, or to die of a signal. */
static void expect(const char *name, int signal, void (*what)(void))
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        alarm(60);
        what();
        _exit(0);
    }
    waitpid(child, &status, 0);
    if (signal == EITHER && WIFSIGNALED(status) && (WTERMSIG(status) == SIGBUS || WTERMSIG(status) == SIGSEGV)) {
        return;
    }
    if (signal ? !WIFSIGNALED(status) || WTERMSIG(status) != signal : status != 0) {
        printf("FAILED: %s: status %#x, wanted signal %d\n", name, status, signal);
        failed++;
    }
}

/* Ends a case that found something wrong. */
static void __attribute__((format(printf, 1, 2), noreturn, unused)) fail(const char *format, ...)
{
    va_list words;

    va_start(words, format);
    vprintf(format, words);
    va_end(words);
    printf("\n");
    fflush(stdout);
    _exit(1);
}

/* Has `handler` called for a signal, with everything about it. */
static void __attribute__((unused)) handle(int signal, void (*handler)(int, siginfo_t *, void *))
{
    struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_NODEFER };

    sigaction(signal, &action, NULL);
}

#endif
