// SPDX-License-Identifier: Apache-2.0
// usage: named-threads COUNT
// Threads with names, signal masks and alternate stacks of their own; each looks all the time whether it still has them. Prints
// a line whenever all have looked three times more.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST = 256 };
static volatile int looks[MOST];
static char stacks[MOST][16384];

static void wrong(long number, const char *what)
{
    printf("thread %ld has another %s\n", number, what);
    fflush(stdout);
    abort();
}

static void *watch(void *argument)
{
    long number = (long)argument;
    char name[16], found[17];
    sigset_t own, now;
    stack_t stack = { .ss_sp = stacks[number], .ss_size = sizeof stacks[number] }, seen;

    snprintf(name, sizeof name, "watcher-%ld", number);
    pthread_setname_np(pthread_self(), name);
    sigemptyset(&own);
    sigaddset(&own, 34 + number % 20);
    pthread_sigmask(SIG_SETMASK, &own, NULL);
    sigaltstack(&stack, NULL);
    for (;;) {
        struct timespec pause = { 0, 20000000 };
        nanosleep(&pause, NULL);
        pthread_getname_np(pthread_self(), found, sizeof found);
        if (strcmp(found, name))
            wrong(number, "name");
        pthread_sigmask(SIG_BLOCK, NULL, &now);
        for (int signal = 1; signal < 64; signal++)
            if (sigismember(&now, signal) != sigismember(&own, signal))
                wrong(number, "signal mask");
        sigaltstack(NULL, &seen);
        if (seen.ss_sp != stack.ss_sp || seen.ss_size != stack.ss_size)
            wrong(number, "alternate stack");
        looks[number]++;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    long count = argc > 1 ? atol(argv[1]) : 10;
    for (long number = 0; number < count && number < MOST; number++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, watch, (void *)number))
            return 1;
    }
    for (long lines = 1;; lines++) {
        int before[MOST];
        for (long number = 0; number < count; number++)
            before[number] = looks[number];
        for (long number = 0; number < count; number++)
            while (looks[number] < before[number] + 3)
                nanosleep(&(struct timespec){ 0, 5000000 }, NULL);
        printf("tick %ld\n", lines);
        fflush(stdout);
    }
}
