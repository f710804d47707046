// SPDX-License-Identifier: Apache-2.0
/* What the programs here tell the test, without a descriptor or a signal: a page at a fixed address, read by the
 * test through /proc/PID/mem. Each program checks its own state every round. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct status {
	uint64_t magic;  /* "rfc2011!" once the program is ready */
	uint64_t rounds; /* grows for as long as it runs */
	uint64_t faults; /* rounds in which something was not as it should be */
};

#define STATUS ((volatile struct status *)0x13370000)
#define STATUS_MAGIC 0x3131303263667221ull
#define need(condition) do { if (!(condition)) _exit(100); } while (0)

/* Whatever the caller's shell left open is not the program's, and its other ends would lie outside the tree. */
__attribute__((constructor)) static void close_inherited(void) { syscall(SYS_close_range, 3u, ~0u, 0u); }

/* Private: after fork, every process has its own. */
static inline void status_open(void)
{
	void *page = mmap((void *)STATUS, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	need(page == (void *)STATUS);
}

static inline void status_ready(void) { STATUS->magic = STATUS_MAGIC; }

static inline void status_round(int is_sound)
{
	if (!is_sound)
		STATUS->faults++;
	STATUS->rounds++;
	struct timespec pause = { 0, 2000000 };
	nanosleep(&pause, 0);
}

static inline void fill(unsigned char *memory, size_t length, unsigned seed)
{
	for (size_t i = 0; i < length; i++)
		memory[i] = seed + i * 7 + (i >> 8);
}

static inline int holds(const unsigned char *memory, size_t length, unsigned seed)
{
	for (size_t i = 0; i < length; i++)
		if (memory[i] != (unsigned char)(seed + i * 7 + (i >> 8)))
			return 0;
	return 1;
}
