// SPDX-License-Identifier: Apache-2.0
/*
 * Notices whatever a dump does to it. Threads compute the same sums twice (registers, x87, SSE), sleep, poll and wait
 * on epoll; an interrupted call, a changed sum, a lost alternate stack or a changed signal mask ends it with status 9
 * and a word on standard error. Every 20 ms the main thread prints the number of rounds all of them have made.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static volatile unsigned long rounds[5];

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	_exit(9);
}

static void *compute(void *unused)
{
	long double x = 1;
	unsigned long seed = 1;

	(void)unused;
	for (;; rounds[0]++) {
		long double a[2];
		unsigned long b[2];
		double c[2];

		for (int pass = 0; pass < 2; pass++) {
			long double y = x;
			double z = (double)x;
			unsigned long s = seed;

			for (int i = 0; i < 20000; i++) {
				y = y * 1.0000001L + 0.5L;
				z = z * 1.0000001 + 0.25;
				s = s * 6364136223846793005UL + 1;
			}
			a[pass] = y;
			b[pass] = s;
			c[pass] = z;
		}
		if (a[0] != a[1] || b[0] != b[1] || c[0] != c[1])
			fail("sums differ");
		seed = b[0];
		usleep(500); /* others want the processor too */
	}
	return NULL;
}

static void *sleeper(void *unused)
{
	const struct timespec pause = { 0, 2000000 };

	(void)unused;
	for (;; rounds[1]++)
		if (nanosleep(&pause, NULL))
			fail("nanosleep");
	return NULL;
}

static void *poller(void *unused)
{
	int ends[2];

	(void)unused;
	if (pipe(ends))
		fail("pipe");
	for (;; rounds[2]++) {
		struct pollfd fd = { ends[0], POLLIN, 0 };

		if (poll(&fd, 1, 3) != 0)
			fail("poll");
	}
	return NULL;
}

/* With an argument, EINTR is allowed here: when a tracer dies at the wrong moment, nobody can hide it. */
static void *watcher(void *tolerant)
{
	int epoll = epoll_create1(0);

	for (;; rounds[3]++) {
		struct epoll_event event;

		if (epoll_wait(epoll, &event, 1, 3) != 0 && !tolerant)
			fail("epoll_wait");
	}
	return NULL;
}

int main(int argc, char **argv)
{
	void *(*work[])(void *) = { compute, sleeper, poller, watcher };
	stack_t stack = { .ss_size = 65536 }, now;
	sigset_t mask, seen;
	pthread_t thread;

	(void)argv;
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	stack.ss_sp = malloc(stack.ss_size);
	if (!stack.ss_sp || sigaltstack(&stack, NULL))
		fail("sigaltstack");
	for (int i = 0; i < 4; i++)
		if (pthread_create(&thread, NULL, work[i], argc > 1 ? &mask : NULL))
			fail("pthread_create");
	for (;;) {
		const struct timespec pause = { 0, 20000000 };

		if (clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL))
			fail("clock_nanosleep");
		pthread_sigmask(SIG_SETMASK, NULL, &seen);
		if (memcmp(&mask, &seen, 8))
			fail("signal mask");
		if (sigaltstack(NULL, &now) || now.ss_sp != stack.ss_sp)
			fail("alternate stack");
		printf("%lu %lu %lu %lu\n", rounds[0], rounds[1], rounds[2], rounds[3]);
		fflush(stdout);
	}
}
