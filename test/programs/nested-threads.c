// SPDX-License-Identifier: Apache-2.0
/* Threads at known depths of the stack, and a child, all waiting: what a debugger shows of them does not change. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int deep(int depth, const char *note)
{
	volatile int here = depth;
	if (depth == 0) {
		pause();
		return (int)strlen(note);
	}
	return deep(depth - 1, note) + here;
}

static void *run(void *argument)
{
	deep((int)(long)argument, "thread");
	return argument;
}

int main(void)
{
	pthread_t threads[3];
	char *heap = malloc(100000);
	memset(heap, 0x5a, 100000);
	if (fork() == 0)
		deep(4, "child");
	for (long index = 0; index < 3; index++)
		pthread_create(&threads[index], NULL, run, (void *)(index + 2));
	puts("ready");
	fflush(stdout);
	return deep(6, heap);
}
