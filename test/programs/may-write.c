// SPDX-License-Identifier: Apache-2.0
/* Has something through which the kernel may write to its memory while no thread of it waits for that: `may-write KIND`. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

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
	if (got < 0) return 77;
	puts("ready");
	fflush(stdout);
	for (;;) pause();
}
