// SPDX-License-Identifier: Apache-2.0
/*
 * A parent and four children that share memory by copy-on-write, with a heap, a grandchild, pages that each child has changed,
 * a MiB that each has dropped, a mapping that is gone in the child, and one that only the child has. All of it is checked.
 * usage: shares-pages DIRECTORY MIB [adjacent]
 * adjacent: the two last lie below the large one, without a gap. Each process writes "tick N" or "broken" to DIRECTORY/WHO.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, CHILDREN = 4, DROPPED = 256, STEP = 64 };

static unsigned fresh(unsigned long page) { return (unsigned)(page * 2654435761u + 1); }

static char *map(unsigned long length)
{
	char *memory = mmap(0, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) _exit(2);
	return memory;
}

int main(int argc, char **argv)
{
	unsigned long pages = (argc >= 3 ? strtoul(argv[2], 0, 10) : 0) * 256;
	int adjacent = argc > 3;
	char *gone = adjacent ? map((64 + pages) * PAGE) : 0, *memory = adjacent ? gone + 64 * PAGE : map(pages * PAGE);
	char *guarded = map(3 * PAGE), *heap = malloc(100000), name[4096];
	if (!adjacent) gone = map(64 * PAGE);
	unsigned who = 0;
	mprotect(guarded + PAGE, PAGE, PROT_NONE);
	memset(gone, 1, 64 * PAGE);
	memset(heap, 7, 100000);
	memset(guarded, 9, PAGE);
	for (unsigned long page = 0; page < pages; page++) *(unsigned *)(memory + page * PAGE) = fresh(page);
	for (unsigned child = 1; child <= CHILDREN && !who; child++)
		if (!fork()) who = child;
	if (who == CHILDREN && !fork()) who++;
	unsigned long from = who * DROPPED, to = from + DROPPED;
	char *own = 0;
	if (who) {
		for (unsigned long page = who; page < pages; page += STEP) *(unsigned *)(memory + page * PAGE) = who;
		if (madvise(memory + from * PAGE, DROPPED * PAGE, MADV_DONTNEED) || munmap(gone, 64 * PAGE)) _exit(2);
		own = !adjacent ? map(16 * PAGE)
				: mmap(memory - 16 * PAGE, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		memset(own, (int)who, 16 * PAGE);
		memset(heap + 50000, (int)who, 1000);
	}
	/* The last is a child of the one before, and has what that one has changed. */
	snprintf(name, sizeof name, "%s/%u", argv[1], who);
	int log = open(name, O_WRONLY | O_CREAT | O_APPEND, 0600);
	for (unsigned n = 1;; n++) {
		for (unsigned long page = 0; page < pages; page++) {
			unsigned found = *(unsigned *)(memory + page * PAGE), wanted = fresh(page);
			if (who > CHILDREN && page % STEP == who - 1) wanted = who - 1;
			if (who && page % STEP == who) wanted = who;
			if (who && page >= from && page < to) wanted = 0;
			/* Dropped by the child before its own child was made: which of both was first does not matter here. */
			if (who > CHILDREN && page >= from - DROPPED && page < from) wanted = found;
			if (who > CHILDREN && page % STEP == who - 1) wanted = found;
			if (found != wanted) dprintf(log, "broken: page %lu is %u, not %u\n", page, found, wanted);
		}
		if (heap[0] != 7 || (who && (heap[50000] != (char)who || own[PAGE] != (char)who)) || guarded[0] != 9) dprintf(log, "broken: heap\n");
		dprintf(log, "tick %u\n", n);
		usleep(100000);
	}
}
