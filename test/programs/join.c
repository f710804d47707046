// SPDX-License-Identifier: Apache-2.0
/*
 * A thread that waits until the file argv[1] is there; prints "ready". Joins it, then starts and joins three others, and prints
 * "joined". Whether the kernel clears the thread ids of threads that end decides that.
 */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static void *wait_for_file(void *path)
{
	while (access(path, F_OK))
		usleep(5000);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc < 2 || pthread_create(&thread, NULL, wait_for_file, argv[1]))
		return 1;
	puts("ready");
	fflush(stdout);
	if (pthread_join(thread, NULL))
		return 1;
	for (int i = 0; i < 3; i++)
		if (pthread_create(&thread, NULL, wait_for_file, argv[1]) || pthread_join(thread, NULL))
			return 1;
	puts("joined");
	return 0;
}
