// SPDX-License-Identifier: Apache-2.0
/*
 * Memory that changes all the time and is checked all the time: pages are written, dropped, unmapped, moved, made to grow,
 * protected, forked. What each page must hold is noted in a table of its own. A thread only reads, in memory that does not
 * change. `churns LOG [MIB [SEED [FORKS]]]` (FORKS 0: none) writes the number of each hundred steps to LOG, or "BAD ..." and
 * ends with status 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, MOST = 1024, WORDS = PAGE / 8 };

/* A mapping, and of each page the version that it holds; 0: zeros. */
struct area {
	uint8_t *at;
	uint32_t pages;
	uint32_t versions[MOST];
};

static struct area *areas;
static uint32_t num_areas, version = 1;
static uint64_t *still;
static size_t still_words;
static int forks = 1;
static FILE *out;
static uint64_t state;

static uint64_t below(uint64_t limit)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % limit;
}

__attribute__((format(printf, 1, 2))) static void bad(const char *format, ...)
{
	va_list list;
	va_start(list, format);
	fputs("BAD ", out);
	vfprintf(out, format, list);
	fputs("\n", out);
	fflush(out);
	va_end(list);
	_exit(1);
}

static uint64_t word(uint32_t held, uint64_t index)
{
	return held ? (held + index) * 0x9e3779b97f4a7c15ul : 0;
}

static void write_page(struct area *area, uint32_t page)
{
	uint64_t *words = (uint64_t *)(area->at + (size_t)page * PAGE);
	area->versions[page] = version++;
	for (uint64_t i = 0; i < WORDS; i++) words[i] = word(area->versions[page], i);
}

static void check_page(const struct area *area, uint32_t page, const char *who)
{
	const uint64_t *words = (const uint64_t *)(area->at + (size_t)page * PAGE);
	for (uint64_t i = 0; i < WORDS; i++)
		if (words[i] != word(area->versions[page], i))
			bad("%s: area %ld page %u word %lu is %lx, not %lx", who, area - areas, page, i, words[i], word(area->versions[page], i));
}

static void *map(uint32_t pages)
{
	void *at = mmap(0, (size_t)pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED) bad("mmap: %s", strerror(errno));
	return at;
}

static void make(struct area *area)
{
	area->pages = 1 + (uint32_t)below(MOST);
	area->at = map(area->pages);
	memset(area->versions, 0, sizeof area->versions);
	for (uint32_t page = 0; page < area->pages; page++)
		if (below(4)) write_page(area, page);
}

static void range(const struct area *area, uint32_t *from, uint32_t *count)
{
	*from = (uint32_t)below(area->pages);
	*count = 1 + (uint32_t)below(area->pages - *from);
	if (*count > 40 && below(4)) *count = 40;
}

/* Moves an area: to where the kernel likes, or onto fresh memory that it replaces; larger, or smaller. */
static void move(struct area *area)
{
	uint32_t pages = 1 + (uint32_t)below(MOST);
	void *to;
	if (below(2)) {
		void *place = map(pages);
		memset(place, 0x55, PAGE);
		to = mremap(area->at, (size_t)area->pages * PAGE, (size_t)pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place);
	} else {
		to = mremap(area->at, (size_t)area->pages * PAGE, (size_t)pages * PAGE, MREMAP_MAYMOVE);
	}
	/* A mapping that mprotect has cut cannot be moved as one. */
	if (to == MAP_FAILED) return;
	area->at = to;
	for (uint32_t page = area->pages; page < pages; page++) area->versions[page] = 0;
	area->pages = pages;
}

/* A mapping that moves and leaves its place behind, empty. */
static void leave(struct area *area)
{
	uint8_t *old = area->at;
	size_t length = (size_t)area->pages * PAGE;
	uint8_t *to = mremap(old, length, length, MREMAP_MAYMOVE | 4 /* MREMAP_DONTUNMAP */, 0);
	if (to == MAP_FAILED) return;
	for (uint32_t page = 0; page < area->pages; page += 7)
		if (old[(size_t)page * PAGE + 8]) bad("page %u of the place left behind is not empty", page);
	munmap(old, length);
	area->at = to;
}

static void fork_one(void)
{
	pid_t child = fork();
	if (child < 0) return;
	if (!child) {
		/* Looks at some of all areas, changes some, forks again at times; its parent does the same meanwhile. */
		state ^= 0x1234567;
		for (uint32_t i = 0; i < num_areas * 40; i++) {
			struct area *area = areas + below(num_areas);
			uint32_t page = (uint32_t)below(area->pages);
			check_page(area, page, "child");
			if (!below(3)) write_page(area, page);
		}
		if (!below(3)) {
			pid_t grandchild = fork();
			if (!grandchild) {
				for (uint32_t i = 0; i < num_areas * 20; i++) {
					struct area *area = areas + below(num_areas);
					check_page(area, (uint32_t)below(area->pages), "grandchild");
				}
				_exit(0);
			}
			int status;
			if (grandchild > 0 && waitpid(grandchild, &status, 0) == grandchild && status) _exit(1);
		}
		_exit(0);
	}
	for (uint32_t i = 0; i < 50; i++) {
		struct area *area = areas + below(num_areas);
		write_page(area, (uint32_t)below(area->pages));
	}
	int status;
	if (waitpid(child, &status, 0) == child && status) bad("a child ended with %x", status);
}

static void step(void)
{
	struct area *area = areas + below(num_areas);
	uint32_t from, count;
	range(area, &from, &count);
	uint8_t *at = area->at + (size_t)from * PAGE;
	switch (below(40)) {
	case 0:
		munmap(area->at, (size_t)area->pages * PAGE);
		make(area);
		break;
	case 1: case 2:
		if (madvise(at, (size_t)count * PAGE, MADV_DONTNEED)) bad("madvise: %s", strerror(errno));
		memset(area->versions + from, 0, count * sizeof *area->versions);
		break;
	case 3: case 4: move(area); break;
	case 5: leave(area); break;
	case 6:
		/* A hole that is filled with new memory. */
		if (mmap(at, (size_t)count * PAGE, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != at) bad("mmap");
		memset(area->versions + from, 0, count * sizeof *area->versions);
		break;
	case 7:
		mprotect(at, (size_t)count * PAGE, PROT_READ);
		for (uint32_t i = 0; i < count; i++) check_page(area, from + i, "read-only");
		mprotect(at, (size_t)count * PAGE, PROT_READ | PROT_WRITE);
		break;
	case 8: if (forks && !below(4)) fork_one(); break;
	case 9: {
		/* The kernel reads what the program has not touched. */
		int ends[2];
		uint64_t copy[WORDS];
		if (pipe(ends)) break;
		if (write(ends[1], at, PAGE) != PAGE || read(ends[0], copy, PAGE) != PAGE) bad("a pipe lost bytes: %s", strerror(errno));
		close(ends[0]);
		close(ends[1]);
		if (memcmp(copy, at, PAGE)) bad("what the kernel read is not what is there");
		check_page(area, from, "written");
		break;
	}
	case 10: case 11: case 12: case 13: case 14: case 15: write_page(area, from); break;
	default: check_page(area, from, "program");
	}
}

static void *read_still(void *unused)
{
	(void)unused;
	for (uint64_t seed = 88172645463325252ul;;) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		size_t i = seed % still_words;
		if (still[i] != i * 0x9e3779b97f4a7c15ul) bad("word %zu of what does not change is %lx", i, still[i]);
		if (!(seed % 64)) usleep(100);
	}
	return 0;
}

int main(int argc, char **argv)
{
	size_t mib = argc > 2 ? (size_t)atol(argv[2]) : 32;
	state = 0x2545f4914f6cdd1dul ^ (argc > 3 ? strtoul(argv[3], 0, 10) * 7919 : 0);
	out = argc > 1 ? fopen(argv[1], "a") : stdout;
	if (argc > 4) forks = atoi(argv[4]);
	if (!out) return 2;
	setlinebuf(out);
	still_words = (mib << 20) / 16;
	still = map((uint32_t)(still_words / WORDS));
	for (size_t i = 0; i < still_words; i++) still[i] = i * 0x9e3779b97f4a7c15ul;
	num_areas = (uint32_t)(mib / 4 ? mib / 4 : 1);
	areas = map((uint32_t)((num_areas * sizeof *areas + PAGE - 1) / PAGE));
	for (uint32_t i = 0; i < num_areas; i++) make(areas + i);
	pthread_t thread;
	if (pthread_create(&thread, 0, read_still, 0)) return 2;
	for (uint64_t steps = 0;; steps++) {
		step();
		if (steps % 100 == 0) fprintf(out, "%lu\n", steps / 100);
		if (steps % 20 == 0) usleep(200);
	}
}
