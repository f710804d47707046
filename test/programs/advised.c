// SPDX-License-Identifier: Apache-2.0
// usage: advised FILE. Has 80 MiB of memory and writes its address to FILE. With each SIGUSR1 it does something else to it, and
// adds a line to FILE when that is done: a change of flags, the same undone and 2 MiB dropped, a memory policy,
// the last page unmapped.
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LENGTH = 80 << 20 };

static volatile sig_atomic_t signals;

static void count(int number)
{
    signals += number == SIGUSR1;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    close_range(3, ~0U, 0);
    char *at = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return 1;
    for (int i = 0; i < LENGTH; i += 4096)
        memset(at + i, 1 + i / 4096, 4096);
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    signal(SIGUSR1, count);
    for (int done = 0;; done++) {
        if (done == 1)
            madvise(at, LENGTH, MADV_DONTDUMP);
        if (done == 2)
            madvise(at, LENGTH, MADV_DODUMP), madvise(at, 2 << 20, MADV_DONTNEED);
        if (done == 3) {
            memset(at, 1, 2 << 20);
            syscall(SYS_mbind, at, LENGTH, 1 /* MPOL_PREFERRED */, &(unsigned long){1}, 64, 0);
        }
        if (done == 4)
            munmap(at + LENGTH - 4096, 4096);
        FILE *file = fopen(argv[1], "a");
        if (!file)
            return 1;
        fprintf(file, "%lx\n", (unsigned long)at);
        fclose(file);
        while (signals == done)
            sigsuspend(&before);
    }
}
