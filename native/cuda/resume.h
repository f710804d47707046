// SPDX-License-Identifier: Apache-2.0
/*
 * `crimg-cuda resume GO ENVIRONMENT SELF MAP RELEASE GPUS PID:NAME…`: what an image does. Its first process starts this from
 * a memfd while the tree is made, so that the driver is ready when the tree is; says `g` on descriptor GO when the tree
 * stands, with nothing of it running but the driver's own threads; and takes the exit status as the answer.
 *
 * ENVIRONMENT is a descriptor with the environment of whoever runs the image (that of the first process is gone by then):
 * the dynamic linker wants it, so this executes itself (descriptor SELF) once more. RELEASE and GPUS are those of the
 * dump, MAP is `OLD=NEW,…` or empty.
 */
#pragma once
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "driver.h"

/* The driver may take long to fill a large memory; to unlock is a matter of milliseconds. */
enum { RESTORE_SECONDS = 900, UNLOCK_SECONDS = 30 };

static char overdue[256];

static void tell_overdue(int signal_number)
{
	(void)signal_number;
	if (write(2, overdue, strlen(overdue)) < 0) _exit(1);
	_exit(1);
}

static void limit(const char *call, const char *process, unsigned int seconds)
{
	snprintf(overdue, sizeof overdue, "crimg: %s: %s has not returned within %u s\n", process, call, seconds);
	alarm(seconds);
}

/* Executes this program again with the environment in `fd`; returns only if it cannot. */
static void execute_with_environment(int fd, int self, char **argv)
{
	struct stat stat;
	if (fstat(fd, &stat) || stat.st_size <= 0) return;
	size_t length = (size_t)stat.st_size, count = 0;
	char *text = malloc(length + 1);
	char **environment = malloc(sizeof *environment * (length + 2));
	if (!text || !environment || pread(fd, text, length, 0) != (ssize_t)length) return;
	text[length] = 0;
	for (char *at = text; at < text + length; at += strlen(at) + 1) environment[count++] = at;
	environment[count] = NULL;
	close(fd);
	syscall(SYS_execveat, self, "", argv, environment, AT_EMPTY_PATH);
}

/* The pairs for the driver: every device of the dump, those that MAP does not name to themselves. */
static int read_map(const char *map, const char *gpus, struct cuda_gpu_pair **pairs, unsigned int *num_pairs)
{
	*pairs = NULL;
	*num_pairs = 0;
	if (!*map) return 0;
	size_t most = 1;
	for (const char *at = gpus; *at; at++) most += *at == ',';
	*pairs = calloc(most, sizeof **pairs);
	if (!*pairs) return -1;
	for (const char *at = gpus, *end; *at; at = *end ? end + 1 : end) {
		end = at + strcspn(at, ",");
		struct cuda_gpu_pair *pair = &(*pairs)[*num_pairs];
		if (uuid_parse(at, end, &pair->from)) continue;
		pair->to = pair->from;
		(*num_pairs)++;
	}
	for (const char *at = map, *end; *at; at = *end ? end + 1 : end) {
		end = at + strcspn(at, ",");
		const char *equals = memchr(at, '=', (size_t)(end - at));
		struct cuda_uuid from, to;
		if (!equals || uuid_parse(at, equals, &from) || uuid_parse(equals + 1, end, &to)) {
			fprintf(stderr, "crimg: --gpu-map takes OLD=NEW[,OLD=NEW…], each GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx; found %.*s\n",
				(int)(end - at), at);
			return -1;
		}
		unsigned int found = 0;
		for (unsigned int i = 0; i < *num_pairs; i++) {
			if (memcmp(&(*pairs)[i].from, &from, sizeof from)) continue;
			(*pairs)[i].to = to;
			found++;
		}
		if (!found) {
			fprintf(stderr, "crimg: --gpu-map: the program had no %.*s; it had %s\n", (int)(equals - at), at, gpus);
			return -1;
		}
	}
	return 0;
}

/* After a refusal: what here differs from the dump. */
static void tell_differences(struct driver *driver, struct nvml *nvml, const char *release, const char *gpus)
{
	char here[96];
	driver_release(nvml, here, sizeof here);
	if (here[0] && release[0] && strcmp(here, release)) fprintf(stderr, "  dumped under driver %s; this is %s\n", release, here);
	int count = 0;
	if (driver->device_count(&count)) return;
	for (const char *at = gpus, *end; *at; at = *end ? end + 1 : end) {
		int found = 0;
		end = at + strcspn(at, ",");
		for (int i = 0; i < count; i++) {
			cuda_device device;
			struct cuda_uuid uuid;
			char text[48];
			if (driver->device_get(&device, i) || driver->device_uuid(&uuid, device)) continue;
			uuid_text(&uuid, text);
			found |= (size_t)(end - at) == strlen(text) && !strncmp(text, at, (size_t)(end - at));
		}
		if (found) continue;
		fprintf(stderr, "  the program used %.*s, which is not here; --gpu-map OLD=NEW names another of the same kind\n",
			(int)(end - at), at);
	}
}

/* `PID:NAME` as `PID (NAME)`. */
static int process_of(const char *argument, char *text, size_t size)
{
	char *name;
	long pid = strtol(argument, &name, 10);
	snprintf(text, size, "process %ld (%s)", pid, *name ? name + 1 : "?");
	return (int)pid;
}

static int resume(int argc, char **argv)
{
	if (argc < 9) {
		fprintf(stderr, "crimg-cuda: resume is for images\n");
		return 2;
	}
	const int go = atoi(argv[2]), environment = atoi(argv[3]), self = atoi(argv[4]);
	const char *map = argv[5], *release = argv[6], *gpus = argv[7];
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (environment >= 0) {
		argv[3] = "-1";
		execute_with_environment(environment, self, argv);
	}
	close(self);
	signal(SIGALRM, tell_overdue);
	struct driver driver;
	struct nvml nvml;
	struct cuda_gpu_pair *pairs;
	unsigned int num_pairs;
	char process[96], byte;
	if (read_map(map, gpus, &pairs, &num_pairs)) return 1;
	if (driver_open(&driver)) {
		fprintf(stderr, "crimg: the program used a GPU: %s\n", driver.problem);
		return 1;
	}
	nvml_open(&nvml);
	if (read(go, &byte, 1) != 1) return 1; /* the restore failed elsewhere */
	/* First all have their devices, then all may go on: they may share memory between them. */
	for (int round = 0; round < 2; round++) {
		for (int i = 8; i < argc; i++) {
			int pid = process_of(argv[i], process, sizeof process);
			limit(round ? "cuCheckpointProcessUnlock" : "cuCheckpointProcessRestore", process, round ? UNLOCK_SECONDS : RESTORE_SECONDS);
			int refused = round ? driver_unlock(&driver, pid) : driver_restore(&driver, pid, pairs, num_pairs);
			alarm(0);
			if (!refused) continue;
			fprintf(stderr, "crimg: %s: its GPU state does not come back: %s\n", process, driver.problem);
			tell_differences(&driver, &nvml, release, gpus);
			return 1;
		}
	}
	return 0;
}
