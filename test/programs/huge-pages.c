// SPDX-License-Identifier: Apache-2.0
// usage: huge-pages FILE. Has four areas, writes their addresses to FILE, and rests:
// full; small, the same under MADV_NOHUGEPAGE; gappy, with every second page; shared, which a child has, too, since a fork.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

enum { LENGTH = 16 << 20, BORDER = 2 << 20 };

// Aligned, and far from all others: mappings with the same flags become one.
static char *area(int step, int isSmall)
{
    char *room = mmap(NULL, LENGTH + 2 * BORDER, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *at = (char *)(((unsigned long)room + 2 * BORDER - 1) & -(unsigned long)BORDER);
    if (room == MAP_FAILED || mprotect(at, LENGTH, PROT_READ | PROT_WRITE))
        exit(1);
    if (isSmall)
        madvise(at, LENGTH, MADV_NOHUGEPAGE);
    for (int i = 0; i < LENGTH; i += step)
        at[i] = 1 + i / 4096;
    return at;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    close_range(3, ~0U, 0);
    char *shared = area(4096, 0);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    char *full = area(4096, 0), *small = area(4096, 1), *gappy = area(8192, 0);
    FILE *file = fopen(argv[1], "w");
    if (!file || child < 0)
        return 1;
    fprintf(file, "%lx %lx %lx %lx\n", (unsigned long)full, (unsigned long)small, (unsigned long)gappy, (unsigned long)shared);
    fclose(file);
    for (;;)
        pause();
}
