// SPDX-License-Identifier: Apache-2.0
/* Much memory, some of it in holes, and rest. `mapped-much LOG MIB` */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	size_t length = (size_t)(argc > 2 ? atol(argv[2]) : 32) << 20;
	char *at = mmap(0, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	FILE *log = fopen(argc > 1 ? argv[1] : "/dev/null", "w");
	if (at == MAP_FAILED || !log) return 2;
	for (size_t i = 0; i < length; i += 4096) memset(at + i, i % (31 * 4096) ? 1 + (int)(i >> 12) % 250 : 0, 4096);
	madvise(at + length / 2, length / 16, MADV_DONTNEED);
	mprotect(at + length / 4, length / 16, PROT_READ);
	fputs("ready\n", log);
	fclose(log);
	for (;;) pause();
}
