// SPDX-License-Identifier: Apache-2.0
// Usage: deep-stack LOG
// Waits 600 bytes above the end of its stack, less than a signal frame takes, and writes a line now and then. The kernel would let the
// stack grow for a signal.
#include <alloca.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uintptr_t stack_start(void)
{
    char line[256];
    unsigned long start = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
        if (strstr(line, "[stack]") != NULL)
            sscanf(line, "%lx", &start);
    return start;
}

int main(int argc, char **argv)
{
    int log = argc == 2 ? open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    struct timespec pause = { 0, 20 * 1000 * 1000 };
    uintptr_t start = stack_start();
    timer_t timer;
    // It has to be asked about one by calls of its own.
    struct sigevent none = { .sigev_notify = SIGEV_NONE };
    if (log < 0 || start == 0 || timer_create(CLOCK_MONOTONIC, &none, &timer))
        return 2;
    volatile char *bottom = alloca((uintptr_t)__builtin_frame_address(0) - start - 700);
    bottom[0] = 1;
    for (;;) {
        syscall(SYS_write, log, "on\n", 3);
        syscall(SYS_nanosleep, &pause, NULL);
    }
}
