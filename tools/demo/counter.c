// SPDX-License-Identifier: Apache-2.0
// The program that `npm run demo` freezes: two threads that count, a child that squares what it reads from one pipe
// and answers on another, and a main thread that prints all of it four times a second.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static volatile unsigned long work[2];

static void *count(void *cell)
{
    for (;;) {
        ++*(volatile unsigned long *)cell;
        nanosleep(&(struct timespec){ 0, 1000 * 1000 }, NULL);
    }
    return NULL;
}

static void square(int from, int to)
{
    unsigned long n;
    while (read(from, &n, sizeof n) == sizeof n) {
        n *= n;
        if (write(to, &n, sizeof n) != sizeof n)
            break;
    }
    _exit(0);
}

int main(void)
{
    int ask[2], answer[2];
    close_range(3, ~0U, 0); // what a shell or a build system leaked to us is not ours to keep
    if (pipe(ask) || pipe(answer))
        return 1;
    pid_t child = fork();
    if (child == 0) {
        close(ask[1]);
        close(answer[0]);
        square(ask[0], answer[1]);
    }
    close(ask[0]);
    close(answer[1]);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, count, (void *)&work[i]))
            return 1;
    for (unsigned long n = 1;; n++) {
        unsigned long squared = 0;
        if (write(ask[1], &n, sizeof n) != sizeof n || read(answer[0], &squared, sizeof squared) != sizeof squared)
            return 1;
        printf("count %lu, squared by the child %lu, threads at %lu and %lu\n", n, squared, work[0], work[1]);
        fflush(stdout);
        nanosleep(&(struct timespec){ 0, 250 * 1000 * 1000 }, NULL);
    }
}
