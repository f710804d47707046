// SPDX-License-Identifier: Apache-2.0
/*
 * usage: crash-threads [wait]
 * Three threads beside the main one, private, shared and MADV_DONTDUMP memory, a file mapping written to; then a write to
 * address 8, or with an argument "ready" and a wait for ever. Thread-local and static data have values of their own.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static __thread long local = 0x10ca1;
char written[8192] = "written";

static void *wait_for_ever(void *value)
{
	local += (long)value;
	for (;;)
		pause();
}

static char *memory(int flags, const char *text)
{
	char *start = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	return start == MAP_FAILED ? NULL : strcpy(start, text);
}

int main(int argc, char **argv)
{
	char *private = memory(MAP_PRIVATE, "private"), *shared = memory(MAP_SHARED, "shared"), *left_out = memory(MAP_PRIVATE, "left out");
	pthread_t thread;

	(void)argv;
	if (!private || !shared || !left_out || madvise(left_out, 1 << 20, MADV_DONTDUMP))
		return 1;
	written[5000] = 1;
	for (long value = 1; value <= 3; value++)
		if (pthread_create(&thread, NULL, wait_for_ever, (void *)value))
			return 1;
	usleep(50000);
	if (argc > 1) {
		puts("ready");
		fflush(stdout);
		for (;;)
			pause();
	}
	*(volatile int *)8 = 1;
}
