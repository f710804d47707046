// SPDX-License-Identifier: Apache-2.0
/*
 * Memory as runtimes reserve it: 2 GiB without access, 1 GiB never touched, and 8 GiB with three pages written. Prints
 * "ready ADDRESS" of the last when all is there; has one child that only waits.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static char *reserve(size_t bytes, int prot)
{
	return mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

int main(void)
{
	const size_t gib = 1ul << 30;
	char *none = reserve(2 * gib, PROT_NONE), *idle = reserve(gib, PROT_READ | PROT_WRITE), *used = reserve(8 * gib, PROT_READ | PROT_WRITE);

	if (none == MAP_FAILED || idle == MAP_FAILED || used == MAP_FAILED)
		return 1;
	used[3 * gib] = 'a';
	used[3 * gib + (64 << 10)] = 'b';
	used[5 * gib] = 'c';
	if (fork() != 0) {
		printf("ready %p\n", (void *)used);
		fflush(stdout);
	}
	for (;;)
		pause();
}
