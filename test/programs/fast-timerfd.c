// SPDX-License-Identifier: Apache-2.0
/* A periodic timerfd of NS nanoseconds, read all the time; a line "tick N" a thousand expirations or more. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int log = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0600), timer = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec time = { .it_interval = { 0, argc == 3 ? atol(argv[2]) : 0 }, .it_value = { 0, 1000000 } };
	if (timerfd_settime(timer, 0, &time, 0)) return 2;
	for (unsigned n = 1;; n++) {
		uint64_t sum = 0, expired;
		while (sum < 1000 && read(timer, &expired, sizeof expired) == sizeof expired) sum += expired;
		dprintf(log, "tick %u\n", n);
	}
}
