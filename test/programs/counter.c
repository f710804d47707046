// SPDX-License-Identifier: Apache-2.0
// One thread, no libc state worth speaking of: counts into the file named by argv[1], ten lines a second.
// Each line is "tick N SUM" where SUM is a checksum over a megabyte that every tick changes, so that a page lost
// or doubled by a checkpoint shows at once.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint32_t cells[256 * 1024];

int main(int argc, char **argv)
{
    int fd = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (argc < 2 || fd < 0)
        return 1;
    for (uint32_t tick = 1;; tick++) {
        uint32_t sum = 0;
        for (uint32_t i = 0; i < sizeof cells / sizeof *cells; i++)
            sum += cells[i] = cells[i] * 1664525u + tick + i;
        char line[64];
        int n = snprintf(line, sizeof line, "tick %u %08x\n", tick, sum);
        if (write(fd, line, n) != n)
            return 1;
        struct timespec pause = { 0, 20 * 1000 * 1000 };
        while (nanosleep(&pause, &pause))
            return 2; // an interrupted call must continue unnoticed: EINTR here is a failure
    }
}
