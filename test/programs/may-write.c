// SPDX-License-Identifier: Apache-2.0
/*
 * Has something through which the kernel may write to its memory while no thread of it waits for that: `may-write KIND`. "outside":
 * memory that is protected by a userfaultfd which only another process has; its pid is told.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MEMORY = 8 << 20, PROTECTED = 1 << 20 };

/* Leaves a userfaultfd of memory to a process that is no child. Returns its pid, or -1. */
static long leave_outside(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	char *at = mmap(0, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *apart = mmap(0, PROTECTED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register range = { .range = { (uintptr_t)apart, PROTECTED }, .mode = UFFDIO_REGISTER_MODE_WP };
	int fd = (int)syscall(SYS_userfaultfd, 1), tell[2];
	long outside = -1;

	if (at == MAP_FAILED || apart == MAP_FAILED || fd < 0 || pipe(tell)) return -1;
	memset(at, 1, MEMORY);
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range)) return -1;
	if (fork() == 0) {
		outside = fork();
		if (outside == 0) {
			alarm(60);
			for (;;) pause();
		}
		_exit(write(tell[1], &outside, sizeof(outside)) < 0);
	}
	wait(0);
	if (read(tell[0], &outside, sizeof(outside)) != sizeof(outside)) return -1;
	close(tell[0]);
	close(tell[1]);
	close(fd);
	return outside;
}

int main(int argc, char **argv)
{
	static unsigned long context;
	static uint32_t parameters[30];
	const char *kind = argc > 1 ? argv[1] : "";
	long got = 0;
	if (!strcmp(kind, "aio")) got = syscall(SYS_io_setup, 8, &context);
	else if (!strcmp(kind, "ring")) got = syscall(SYS_io_uring_setup, 8, parameters);
	else if (!strcmp(kind, "packet")) got = socket(AF_PACKET, SOCK_DGRAM, 0);
	else if (!strcmp(kind, "uffd")) got = syscall(SYS_userfaultfd, 1);
	else if (!strcmp(kind, "socket")) got = socket(AF_INET, SOCK_STREAM, 0);
	else if (!strcmp(kind, "child")) got = fork();
	else if (!strcmp(kind, "outside")) got = leave_outside();
	if (got < 0) return 77;
	printf("%ld\n", got);
	fflush(stdout);
	for (;;) pause();
}
