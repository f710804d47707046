// SPDX-License-Identifier: Apache-2.0
/*
 * Memory that a disk writes to: threads read blocks of a file with O_DIRECT into buffers, many at a time, and check them and others
 * that were read before. `direct-reads LOG FILE [MIB]`: writes FILE, then a number to LOG after each hundred reads, or "BAD ...".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BLOCK = 1 << 18, BLOCKS = 32, THREADS = 3, WORDS = BLOCK / 8 };

static FILE *out;
static int file;
static atomic_ulong reads;
static size_t buffers;

static uint64_t word(uint64_t block, uint64_t index)
{
	return (block * WORDS + index + 1) * 0x9e3779b97f4a7c15ul;
}

static void check(const uint64_t *buffer, uint64_t block, const char *when)
{
	for (uint64_t i = 0; i < WORDS; i++)
		if (buffer[i] != word(block, i)) {
			fprintf(out, "BAD %s: word %lu of block %lu is %lx\n", when, i, block, buffer[i]);
			fflush(out);
			_exit(1);
		}
}

static void *read_all_the_time(void *argument)
{
	uint64_t seed = 88172645463325252ul + (uintptr_t)argument * 7919;
	uint8_t *memory = mmap(0, buffers * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int64_t *held = malloc(buffers * sizeof *held);
	if (memory == MAP_FAILED || !held) _exit(2);
	for (size_t i = 0; i < buffers; i++) held[i] = -1;
	for (;;) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		size_t buffer = seed % buffers, other = (seed >> 20) % buffers;
		uint64_t block = (seed >> 40) % BLOCKS;
		uint8_t *at = memory + buffer * BLOCK;
		if (pread(file, at, BLOCK, (off_t)(block * BLOCK)) != BLOCK) _exit(3);
		held[buffer] = (int64_t)block;
		check((uint64_t *)at, block, "just read");
		if (held[other] >= 0) check((uint64_t *)(memory + other * BLOCK), (uint64_t)held[other], "read before");
		unsigned long now = ++reads;
		if (now % 100 == 0) fprintf(out, "%lu\n", now);
	}
}

int main(int argc, char **argv)
{
	static uint64_t block[WORDS];
	if (argc < 3) return 2;
	buffers = (size_t)(argc > 3 ? atol(argv[3]) : 24) * 4 / THREADS;
	out = fopen(argv[1], "a");
	int made = open(argv[2], O_CREAT | O_TRUNC | O_WRONLY, 0600);
	if (!out || made < 0) return 2;
	setlinebuf(out);
	for (uint64_t i = 0; i < BLOCKS; i++) {
		for (uint64_t j = 0; j < WORDS; j++) block[j] = word(i, j);
		if (write(made, block, BLOCK) != BLOCK) return 2;
	}
	close(made);
	file = open(argv[2], O_RDONLY | O_DIRECT);
	if (file < 0) return 4;
	for (uintptr_t i = 0; i < THREADS; i++) {
		pthread_t thread;
		if (pthread_create(&thread, 0, read_all_the_time, (void *)i)) return 2;
	}
	for (;;) pause();
}
