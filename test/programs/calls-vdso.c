/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls every function of the vDSO by addresses that it looked up once, all the time, and holds what they say against the
 * system calls. Appends a line "tick N" to the log of its argument every 20 ms; what is wrong it says as "broken".
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static FILE *out;

static void broken(const char *what)
{
	fprintf(out, "broken %s\n", what);
	fflush(out);
	exit(1);
}

static double seconds(struct timespec t)
{
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	static const int clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_COARSE, CLOCK_THREAD_CPUTIME_ID };
	void *vdso = dlopen("linux-vdso.so.1", RTLD_NOW | RTLD_NOLOAD);
	int (*gettime)(clockid_t, struct timespec *) = dlsym(vdso, "__vdso_clock_gettime");
	int (*getres)(clockid_t, struct timespec *) = dlsym(vdso, "__vdso_clock_getres");
	int (*timeofday)(struct timeval *, void *) = dlsym(vdso, "__vdso_gettimeofday");
	time_t (*get_time)(time_t *) = dlsym(vdso, "__vdso_time");
	long (*getcpu)(unsigned *, unsigned *, void *) = dlsym(vdso, "__vdso_getcpu");
	long tick = 0;
	double last = 0, told = 0;
	if (argc != 2 || !vdso || !gettime || !getres || !timeofday || !get_time || !getcpu) return 1;
	out = fopen(argv[1], "a");
	for (;;) {
		struct timespec mine, kernels;
		struct timeval now;
		unsigned cpu = 1 << 20, node;
		for (unsigned i = 0; i < sizeof clocks / sizeof *clocks; i++) {
			if (gettime(clocks[i], &mine) || syscall(SYS_clock_gettime, clocks[i], &kernels)) broken("clock_gettime");
			/* That of the processor begins again at a resume. */
			if (clocks[i] != CLOCK_THREAD_CPUTIME_ID &&
			    (seconds(kernels) < seconds(mine) - 0.02 || seconds(kernels) > seconds(mine) + 60)) broken("a clock");
			if (getres(clocks[i], &mine) || syscall(SYS_clock_getres, clocks[i], &kernels)) broken("clock_getres");
			if (memcmp(&mine, &kernels, sizeof mine)) broken("a resolution");
		}
		if (timeofday(&now, NULL) || labs((long)now.tv_sec - (long)time(NULL)) > 60) broken("gettimeofday");
		if (labs((long)get_time(NULL) - (long)now.tv_sec) > 60) broken("time");
		if (getcpu(&cpu, &node, NULL) || cpu >= 1 << 20) broken("getcpu");
		gettime(CLOCK_MONOTONIC, &mine);
		if (seconds(mine) < last) broken("it went back");
		last = seconds(mine);
		if (last < told + 0.02) continue;
		told = last;
		fprintf(out, "tick %ld\n", ++tick);
		fflush(out);
	}
}
