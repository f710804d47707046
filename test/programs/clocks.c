// SPDX-License-Identifier: Apache-2.0
/* Ten times a second, a line in the file argv[1]: CLOCK_MONOTONIC and CLOCK_BOOTTIME, by the vDSO and by system calls. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double vdso(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double kernel(clockid_t clock)
{
	struct timespec now;
	syscall(SYS_clock_gettime, clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	if (argc != 2) return 2;
	for (;;) {
		FILE *log = fopen(argv[1], "a");
		if (!log) return 1;
		fprintf(log, "%.6f %.6f %.6f %.6f\n", vdso(CLOCK_MONOTONIC), kernel(CLOCK_MONOTONIC), vdso(CLOCK_BOOTTIME), kernel(CLOCK_BOOTTIME));
		fclose(log);
		usleep(100000);
	}
}
