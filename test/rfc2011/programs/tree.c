// SPDX-License-Identifier: Apache-2.0
/* A root and two children that hand a counter on through pipes, with shared memory, a mapped file, a page that may not
 * be touched but has content, and a descriptor with an offset. */
#include "status.h"

int main(void)
{
	int ring[3][2], fd = open("tree-file.dat", O_RDWR | O_CREAT | O_TRUNC, 0600);
	unsigned char block[8192];
	fill(block, sizeof block, 41);
	need(fd >= 0 && write(fd, block, sizeof block) == sizeof block && lseek(fd, 1234, SEEK_SET) == 1234);
	unsigned char *mapped = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096);
	volatile uint64_t *shared = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned char *forbidden = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(mapped != MAP_FAILED && shared != MAP_FAILED && forbidden != MAP_FAILED);
	fill(forbidden, 4096, 42);
	need(!mprotect(forbidden, 4096, PROT_NONE));
	for (int i = 0; i < 3; i++)
		need(!pipe(ring[i]));
	status_open();
	int self = 0;
	for (int child = 1; child < 3 && !self; child++) {
		pid_t pid = fork();
		need(pid >= 0);
		if (!pid)
			self = child;
	}
	uint64_t token = 0;
	if (!self)
		need(write(ring[0][1], &token, sizeof token) == sizeof token);
	status_ready();
	for (;;) {
		uint64_t last = token;
		need(read(ring[self][0], &token, sizeof token) == sizeof token);
		token++;
		/* Each of the three adds one, so a full turn adds three; the last value of each is in shared memory. */
		int is_sound = !last || token == last + 3;
		is_sound = is_sound && shared[(self + 2) % 3 * 512] == token - 1;
		shared[self * 512] = token;
		need(write(ring[(self + 1) % 3][1], &token, sizeof token) == sizeof token);
		is_sound = is_sound && lseek(fd, 0, SEEK_CUR) == 1234 && holds(mapped, 4096, 41 + 4096 * 7 + 16);
		need(!mprotect(forbidden, 4096, PROT_READ));
		is_sound = is_sound && holds(forbidden, 4096, 42);
		need(!mprotect(forbidden, 4096, PROT_NONE));
		status_round(is_sound);
	}
}
