// SPDX-License-Identifier: Apache-2.0
/*
 * crimg-cuda: the only part of crimg that loads the CUDA driver. A program of its own, since the driver brings threads,
 * descriptors and memory along that neither a dumper nor a process that is being restored may have. An ordinary dynamic
 * executable: build/crimg-cuda serves dumps, and every image of a program that used CUDA carries it (SPEC 3).
 */
#define _GNU_SOURCE /* AT_EMPTY_PATH */
#include "resume.h"
#include "serve.h"

static int list_devices(void)
{
	struct driver driver;
	struct nvml nvml;
	char release[96];
	int version = 0;
	if (driver_open(&driver)) {
		printf("error %s\n", driver.problem);
		return 1;
	}
	nvml_open(&nvml);
	driver_release(&nvml, release, sizeof release);
	driver.version(&version);
	printf("driver\t%d\t%s\n", version, release[0] ? release : "-");
	if (!print_devices(&driver, &nvml, stdout)) return 0;
	printf("error %s\n", driver.problem);
	return 1;
}

/* By hand, for processes that a checkpointer left locked. */
static int give_back_all(int argc, char **argv)
{
	struct driver driver;
	int failures = 0;
	if (driver_open(&driver)) {
		fprintf(stderr, "crimg-cuda: %s\n", driver.problem);
		return 1;
	}
	for (int i = 2; i < argc; i++) {
		if (!give_back(&driver, atoi(argv[i]))) continue;
		fprintf(stderr, "crimg-cuda: process %s: %s\n", argv[i], driver.problem);
		failures++;
	}
	return failures ? 1 : 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "serve")) return serve();
	if (argc == 2 && !strcmp(argv[1], "devices")) return list_devices();
	if (argc >= 3 && !strcmp(argv[1], "give-back")) return give_back_all(argc, argv);
	if (argc >= 3 && !strcmp(argv[1], "resume")) return resume(argc, argv);
	fprintf(stderr, "usage: crimg-cuda devices\n"
			"       crimg-cuda give-back PID…   devices and liberty for processes that a checkpointer left without\n");
	return 2;
}
