// SPDX-License-Identifier: Apache-2.0
/*
 * A program that changes, drops, moves and forks its memory all the time, on two threads, and checks all of it: every region
 * has a sum of its pages' values, which only memory of one moment has. Its regions are private, shared, not passed on to forks,
 * wiped in forks, of a memfd, and of a file mapped privately. It also counts its children and their signals.
 * usage: changes-memory LOG MIB [MIB THAT STAY]; LOG gets "tick N", or "broken: …".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, WORDS = PAGE / 8, PRIVATE = 0, SHARED, LOCAL, WIPED, MEMFD, FILED, THREADS, REGIONS };

static struct region {
	uint64_t *memory;
	size_t pages;
	uint64_t sum;
} regions[REGIONS];

static int log_fd;
static volatile sig_atomic_t children_ended;

static void on_child(int signal)
{
	(void)signal;
	children_ended++;
}

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	return *state ^= *state << 17;
}

/* A page holds its value in its first word and the opposite in its last, or nothing at all. */
static void set(struct region *region, size_t page, uint64_t value)
{
	uint64_t *words = region->memory + page * WORDS;

	region->sum += value - words[0];
	words[0] = value;
	words[WORDS - 1] = value ? ~value : 0;
}

static int check(const struct region *region, const char *who, int name)
{
	uint64_t sum = 0;

	for (size_t page = 0; page < region->pages; page++) {
		const uint64_t *words = region->memory + page * WORDS;

		sum += words[0];
		if (words[WORDS - 1] != (words[0] ? ~words[0] : 0)) {
			dprintf(log_fd, "broken: %s: region %d, page %zu of %zu: %lx, %lx\n", who, name, page, region->pages, words[0], words[WORDS - 1]);
			return 1;
		}
	}
	if (sum == region->sum) return 0;
	dprintf(log_fd, "broken: %s: region %d has the sum %lx, not %lx\n", who, name, sum, region->sum);
	return 1;
}

static void *thread(void *unused)
{
	struct region *region = &regions[THREADS];
	uint64_t state = 88172645463325252u;

	(void)unused;
	for (int n = 0;; n++) {
		for (int i = 0; i < 200; i++) set(region, next(&state) % region->pages, next(&state) % 5 ? next(&state) : 0);
		if (n % 10 == 0 && check(region, "thread", THREADS)) _exit(3);
		usleep(1000);
	}
	return 0;
}

/* What a child sees: all but what is not for it. */
static int child(void)
{
	for (int i = 0; i < THREADS; i++) {
		if (i == LOCAL) continue;
		if (i != WIPED) {
			if (check(&regions[i], "child", i)) return 1;
			continue;
		}
		for (size_t word = 0; word < regions[i].pages * WORDS; word++)
			if (regions[i].memory[word]) return 2;
	}
	return 0;
}

static void forks(int n)
{
	int status = -1, before = children_ended;
	pid_t pid = fork();

	if (!pid) _exit(child());
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR);
	if (status) dprintf(log_fd, "broken: child %d ended with %x\n", n, status);
	if (children_ended != before + 1) dprintf(log_fd, "broken: %d signals for one child\n", children_ended - before);
	if (waitpid(-1, &status, __WALL) != -1 || errno != ECHILD) dprintf(log_fd, "broken: there is a child that is not mine\n");
}

static void *map(size_t pages, int flags, int fd)
{
	void *memory = mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (memory == MAP_FAILED) _exit(2);
	return memory;
}

int main(int argc, char **argv)
{
	size_t pages = (argc >= 3 ? strtoul(argv[2], 0, 10) : 0) * 256;
	struct sigaction action = { .sa_handler = on_child, .sa_flags = SA_RESTART };
	uint64_t state = 0x9e3779b97f4a7c15u;
	char name[4096];
	int memfd = memfd_create("changing", 0), file;
	size_t kept = argc >= 4 ? strtoul(argv[3], 0, 10) << 17 : 0;
	uint64_t *keeps = kept ? mmap(0, kept * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : 0;
	pthread_t other;

	log_fd = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0600);
	snprintf(name, sizeof name, "%s.file", argv[1]);
	file = open(name, O_RDWR | O_CREAT, 0600);
	if (pages < 256 || log_fd < 0 || memfd < 0 || file < 0 || ftruncate(memfd, 200 * PAGE) || ftruncate(file, 100 * PAGE)) return 2;
	sigaction(SIGCHLD, &action, 0);
	for (int i = 0; i < REGIONS; i++) regions[i].pages = i == PRIVATE ? pages : i == FILED ? 100 : 200;
	for (int i = 0; i < REGIONS; i++)
		regions[i].memory = i == MEMFD  ? map(200, MAP_SHARED, memfd)
				    : i == FILED ? map(100, MAP_PRIVATE, file)
						 : map(regions[i].pages, (i == SHARED ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1);
	madvise(regions[LOCAL].memory, 200 * PAGE, MADV_DONTFORK);
	madvise(regions[WIPED].memory, 200 * PAGE, MADV_WIPEONFORK);
	for (int i = 0; i < REGIONS; i++)
		for (size_t page = 0; page < regions[i].pages; page++) set(&regions[i], page, page % 3 ? next(&state) : 0);
	/* The signal of a child is for this thread, so that it has come when the child has been waited for. */
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &signals, 0);
	for (size_t i = 0; i < kept; i++) keeps[i] = i * 0x9e3779b97f4a7c15u + 1;
	if (pthread_create(&other, 0, thread, 0)) return 2;
	pthread_sigmask(SIG_UNBLOCK, &signals, 0);
	for (int n = 1;; n++) {
		for (int i = 0; i < 2000; i++) set(&regions[next(&state) % THREADS], next(&state) % 100, next(&state) % 5 ? next(&state) : 0);
		for (int i = 0; i < 500; i++) set(&regions[PRIVATE], next(&state) % pages, next(&state) % 5 ? next(&state) : 0);
		for (int i = 0; i < 3; i++) {
			size_t from = next(&state) % (pages - 16);

			for (size_t page = from; page < from + 16; page++) set(&regions[PRIVATE], page, 0);
			madvise(regions[PRIVATE].memory + from * WORDS, 16 * PAGE, MADV_DONTNEED);
		}
		if (n % 3 == 0) {
			struct region *region = &regions[n % 2 ? PRIVATE : LOCAL];
			void *place = mmap(0, region->pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

			region->memory = mremap(region->memory, region->pages * PAGE, region->pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place);
			if (region->memory == MAP_FAILED) _exit(2);
		}
		if (n % 4 == 0) forks(n);
		for (int i = 0; i < THREADS; i++)
			if (check(&regions[i], "main", i)) _exit(3);
		for (size_t i = 0; i < kept; i += 509)
			if (keeps[i] != i * 0x9e3779b97f4a7c15u + 1) dprintf(log_fd, "broken: word %zu of what stays\n", i);
		dprintf(log_fd, "tick %d\n", n);
		usleep(2000);
	}
}
