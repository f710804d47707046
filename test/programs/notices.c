// SPDX-License-Identifier: Apache-2.0
/*
 * Programs that would notice a dump that leaves them running. `notices HOW`: says "ready"; after SIGUSR1, what it has noticed, and ends.
 * subreaper: children that it has not made. namespace: that it cannot fork (CLONE_NEWPID unshared). mremap: that a mapping cannot
 * be moved as a whole. stack: bytes that have changed beside the short stack of a thread that waits for a socket with a timeout.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, STACK = 16 << 10, STACKS = 4 };

static volatile sig_atomic_t asked, ended;

static void handle(int signal)
{
	if (signal == SIGCHLD)
		ended++;
	else
		asked++;
}

static char *map(size_t length, size_t touched)
{
	char *at = mmap(0, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; at != MAP_FAILED && i < touched; i += PAGE) at[i] = (char)(i / PAGE + 1);
	return at;
}

static void *receive(void *fd)
{
	char byte;
	while (recv(*(int *)fd, &byte, 1, 0) <= 0)
		;
	return 0;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	size_t length = (strcmp(how, "mremap") ? 8u : 160u) << 20;
	char *at = map(length, length);
	static int pair[2];

	if (at == MAP_FAILED) return 2;
	signal(SIGUSR1, handle);
	signal(SIGCHLD, handle);
	if (!strcmp(how, "subreaper")) prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (!strcmp(how, "namespace") && unshare(CLONE_NEWPID)) {
		puts("skip");
		return 77;
	}
	if (!strcmp(how, "stack")) {
		struct timeval timeout = { .tv_sec = 600 };
		pthread_attr_t attributes;
		pthread_t thread;
		char *stacks = map(STACKS * STACK, 0);
		memset(stacks, 0x5a, (STACKS - 1) * STACK);
		socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
		setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
		pthread_attr_init(&attributes);
		pthread_attr_setstack(&attributes, stacks + (STACKS - 1) * STACK, STACK);
		if (pthread_create(&thread, &attributes, receive, &pair[0])) return 2;
		at = stacks;
	}
	puts("ready");
	fflush(stdout);
	if (!strcmp(how, "mremap")) {
		long failures = 0;
		for (size_t now = length, next; !asked; usleep(50)) {
			next = now == length ? length + PAGE : length;
			char *moved = mremap(at, now, next, MREMAP_MAYMOVE);
			if (moved == MAP_FAILED) {
				failures++;
				continue;
			}
			at = moved;
			now = next;
		}
		printf("%ld calls failed\n", failures);
		return 0;
	}
	while (!asked) pause();
	if (!strcmp(how, "subreaper")) {
		int found = 0;
		while (waitpid(-1, 0, WNOHANG) > 0) found++;
		printf("%d signals, %d children\n", (int)ended, found);
	} else if (!strcmp(how, "namespace")) {
		pid_t child = fork();
		if (child == 0) _exit(0);
		printf("%s\n", child < 0 ? strerror(errno) : "forked");
	} else {
		int changed = 0;
		for (int i = 0; i < (STACKS - 1) * STACK; i++) changed += at[i] != 0x5a;
		printf("%d bytes\n", changed);
	}
	return 0;
}
