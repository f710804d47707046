// SPDX-License-Identifier: Apache-2.0
/*
 * many-mappings LOG COUNT [advise|move|guard]: memory of COUNT small mappings, every other one readable only, and half of these never
 * written to. Writes the number of the
 * round to each page that it can, sees whether it is in all of them, and adds a line to LOG: "round N", or "BAD ...". With
 * "advise" another thread changes a flag of a mapping that nobody sees in /proc/PID/maps, all the time; with "guard" what was never
 * written to cannot be accessed.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };

static void *advise(void *page)
{
	for (;;) {
		madvise(page, PAGE, MADV_DONTDUMP);
		usleep(300);
		madvise(page, PAGE, MADV_DODUMP);
		usleep(300);
	}
	return NULL;
}

static void *move(void *unused)
{
	char *page = mmap(NULL, 9 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *other = page + 4 * PAGE;

	munmap(page, PAGE);
	munmap(page + 2 * PAGE, 7 * PAGE);
	page += PAGE;
	*page = 1;
	for (;;) {
		char *moved = mremap(page, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, other);

		if (moved != other || *moved != 1)
			_exit(4);
		other = page;
		page = moved;
		usleep(300);
	}
	return unused;
}

int main(int argc, char **argv)
{
	int guards = argc > 3 && !strcmp(argv[3], "guard");
	long count = argc > 2 ? atol(argv[2]) : 0, round = 0;
	FILE *log = argc > 2 ? fopen(argv[1], "a") : NULL;
	char *pages = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t thread;

	if (!log || pages == MAP_FAILED)
		return 1;
	for (long page = 1; page < count; page += 2) {
		if (page % 4 == 1)
			*(long *)(pages + page * PAGE) = -page;
		if (mprotect(pages + page * PAGE, PAGE, guards && page % 4 == 3 ? PROT_NONE : PROT_READ))
			return 2;
	}
	if (argc > 3 && !guards && pthread_create(&thread, NULL, strcmp(argv[3], "move") ? advise : move, pages + 2 * PAGE))
		return 3;
	for (;; round++) {
		const char *state = "round";

		for (long page = 0; page < count; page += 2)
			*(volatile long *)(pages + page * PAGE) = round + page;
		for (long page = 0; page < count; page++)
			if (!(guards && page % 4 == 3) && *(volatile long *)(pages + page * PAGE) != (page % 4 == 3 ? 0 : page % 4 == 1 ? -page : round + page))
				state = "BAD round";
		fprintf(log, "%s %ld\n", state, round);
		fflush(log);
		usleep(2000);
	}
}
