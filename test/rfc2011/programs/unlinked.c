// SPDX-License-Identifier: Apache-2.0
/* Maps files whose names are gone: one shared, one private and half copied on write. */
#include "status.h"

static int made(const char *name, unsigned seed)
{
	unsigned char block[4 * 4096];
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	fill(block, sizeof block, seed);
	need(fd >= 0 && write(fd, block, sizeof block) == sizeof block && !unlink(name));
	return fd;
}

int main(void)
{
	int shared_fd = made("unlinked-shared.dat", 31), private_fd = made("unlinked-private.dat", 32);
	unsigned char *shared = mmap(0, 4 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);
	unsigned char *private = mmap(0, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, private_fd, 0);
	need(shared != MAP_FAILED && private != MAP_FAILED && !close(shared_fd) && !close(private_fd));
	fill(private + 4096, 4096, 33);
	status_open();
	status_ready();
	for (;;)
		status_round(holds(shared, 4 * 4096, 31) && holds(private, 4096, 32) && holds(private + 4096, 4096, 33));
}
