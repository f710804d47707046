// SPDX-License-Identifier: Apache-2.0
/*
 * usage: neighbours SEED
 * An arena of 4096 pages cut into anonymous mappings that lie side by side and differ in one thing or another: protection,
 * pages or none, accounted or not, advice, a name. Prints "ready ADDRESS BYTES"; has one child that only waits.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 4096 };

static unsigned state;

static unsigned next(unsigned below)
{
	state = state * 1664525 + 1013904223;
	return (state >> 16) % below;
}

/* A stretch of the arena becomes something else. */
static int change(char *at, size_t length)
{
	static const int prots[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC };
	static const int advices[] = { MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_DONTFORK, MADV_RANDOM };
	int prot = prots[next(5)];

	switch (next(8)) {
	case 0: /* as runtimes take memory into use: accounted from then on */
		return mmap(at, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED || mprotect(at, length, prot);
	case 1:
		return mmap(at, length, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED;
	case 2:
		return madvise(at, length, advices[next(4)]);
	case 3:
		prctl(PR_SET_VMA, 0 /* PR_SET_VMA_ANON_NAME */, at, length, next(2) ? "one" : "another");
		return 0;
	case 4:
		if (mprotect(at, length, PROT_READ | PROT_WRITE))
			return 1;
		for (size_t done = 0; done < length; done += PAGE * (1 + next(3)))
			at[done + next(PAGE)] = (char)(1 + next(250));
		return mprotect(at, length, prot);
	default:
		return mprotect(at, length, prot);
	}
}

int main(int argc, char **argv)
{
	char *arena = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (argc < 2 || arena == MAP_FAILED)
		return 2;
	state = (unsigned)atoi(argv[1]);
	for (int round = 0; round < 1500; round++) {
		unsigned first = next(PAGES), count = 1 + next(8);

		if (count > PAGES - first)
			count = PAGES - first;
		if (change(arena + (size_t)first * PAGE, (size_t)count * PAGE))
			return 1;
	}
	if (fork() != 0) {
		printf("ready %p %d\n", (void *)arena, PAGES * PAGE);
		fflush(stdout);
	}
	for (;;)
		pause();
}
