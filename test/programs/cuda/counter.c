// SPDX-License-Identifier: Apache-2.0
/*
 * A program that counts on the device: each step reads device memory back, checks that every word is what it was, writes
 * the next, and logs "tick N". Beside it a thread that never touches the device logs its own steps ("host N").
 * counter LOG [MIB [PROCESSES]]: with PROCESSES, that many children do the same, each with a log LOG.N. COUNTER_HOLDS in the
 * environment names a file that it opens besides.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int (*init)(unsigned int);
static int (*allocate)(uint64_t *, size_t);
static int (*to_device)(uint64_t, const void *, size_t);
static int (*to_host)(void *, uint64_t, size_t);

static int count(const char *name, size_t words)
{
	FILE *log = fopen(name, "w");
	uint32_t *host = malloc(words * sizeof *host);
	uint64_t device;
	if (!log || !host) return 2;
	if (init(0) || allocate(&device, words * sizeof *host)) return 3;
	memset(host, 0, words * sizeof *host);
	if (to_device(device, host, words * sizeof *host)) return 3;
	for (uint32_t step = 1;; step++) {
		memset(host, 0xff, words * sizeof *host);
		to_host(host, device, words * sizeof *host);
		for (size_t i = 0; i < words; i++) {
			if (host[i] != step - 1) {
				fprintf(log, "broken at word %zu: %u for %u\n", i, host[i], step - 1);
				fflush(log);
				return 1;
			}
			host[i] = step;
		}
		to_device(device, host, words * sizeof *host);
		fprintf(log, "tick %u\n", step);
		fflush(log);
		usleep(20000);
	}
}

static void *host_thread(void *name)
{
	char path[4096];
	snprintf(path, sizeof path, "%s.host", (const char *)name);
	FILE *log = fopen(path, "w");
	for (unsigned int step = 1; log; step++) {
		fprintf(log, "tick %u\n", step);
		fflush(log);
		usleep(20000);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	void *library = dlopen("libcuda.so.1", RTLD_NOW);
	size_t words = (size_t)(argc > 2 ? atoi(argv[2]) : 1) << 18;
	int processes = argc > 3 ? atoi(argv[3]) : 0;
	pthread_t thread;
	if (getenv("COUNTER_HOLDS")) open(getenv("COUNTER_HOLDS"), O_RDONLY | O_NONBLOCK);
	if (!library) return fprintf(stderr, "%s\n", dlerror()), 2;
	init = (int (*)(unsigned int))dlsym(library, "cuInit");
	allocate = (int (*)(uint64_t *, size_t))dlsym(library, "cuMemAlloc_v2");
	to_device = (int (*)(uint64_t, const void *, size_t))dlsym(library, "cuMemcpyHtoD_v2");
	to_host = (int (*)(void *, uint64_t, size_t))dlsym(library, "cuMemcpyDtoH_v2");
	for (int i = 1; i <= processes; i++) {
		char name[4096];
		snprintf(name, sizeof name, "%s.%d", argv[1], i);
		if (fork() == 0) return count(name, words);
	}
	pthread_create(&thread, NULL, host_thread, argv[1]);
	return count(argv[1], words);
}
