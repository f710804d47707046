// SPDX-License-Identifier: Apache-2.0
/*
 * usage: large LOG
 * Holds 96 MiB, all of it written, and 6 MiB with every third page written. Again and again looks whether all is as it
 * was written, and then adds a line "tick N" to LOG; if not, says so there and ends with status 9.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, FULL = (96 << 20) / PAGE + 3, SPARSE = (6 << 20) / PAGE };

static uint64_t word_of(uint64_t page, uint64_t index)
{
	return (page * 512 + index + 1) * 0x9e3779b97f4a7c15u;
}

/* Writes, or compares with what was written. */
static int visit(uint64_t *memory, uint64_t pages, uint64_t step, int writes)
{
	for (uint64_t page = 0; page < pages; page++)
		for (uint64_t i = 0; i < PAGE / 8; i++) {
			uint64_t *word = memory + page * (PAGE / 8) + i, wanted = page % step ? 0 : word_of(page, i);
			if (writes && wanted) *word = wanted;
			else if (!writes && *word != wanted) return 0;
		}
	return 1;
}

int main(int argc, char **argv)
{
	uint64_t *full = mmap(NULL, FULL * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t *sparse = mmap(NULL, SPARSE * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	FILE *log = fopen(argc > 1 ? argv[1] : "/dev/null", "a");

	if (full == MAP_FAILED || sparse == MAP_FAILED || !log)
		return 1;
	visit(full, FULL, 1, 1);
	visit(sparse, SPARSE, 3, 1);
	for (int tick = 1;; tick++) {
		if (!visit(full, FULL, 1, 0) || !visit(sparse, SPARSE, 3, 0))
			return fputs("broken\n", log), fclose(log), 9;
		fprintf(log, "tick %d\n", tick);
		fflush(log);
		usleep(20000);
	}
}
