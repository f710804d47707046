// SPDX-License-Identifier: Apache-2.0
/*
 * Seven threads that look at the clock; whichever first sees it jump by more than a second ends the process with status
 * 7. So a resume of it has threads that are let go and end all others at once.
 */
#include <pthread.h>
#include <time.h>
#include <unistd.h>

static void *watch(void *unused)
{
	(void)unused;
	for (time_t before = time(0);;) {
		time_t now = time(0);
		if (now > before + 1) _exit(7);
		before = now;
	}
}

int main(void)
{
	pthread_t thread;
	for (int i = 0; i < 6; i++) pthread_create(&thread, 0, watch, 0);
	watch(0);
}
