/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every program of probes has: `PROGRAM DIRECTORY NAME…` makes the states named, tells each from inside in
 * DIRECTORY/told.0 (a line `NAME VALUE`), and again in told.1, told.2, … at each SIGUSR1. A state that this kernel or
 * processor does not have is told as `NAME unavailable: WHY`.
 *
 *     #include "probe.h"
 *     static int make_x(void) { return prctl(PR_SET_X, 1) ? errno : 0; }
 *     static void tell_x(FILE *out) { fprintf(out, "%d", prctl(PR_GET_X)); }
 *     PROBES({ "x", make_x, tell_x })
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct probe {
	const char *name;
	int (*make)(void);        /* 0, or the errno that says why it is not there */
	void (*tell)(FILE *out);  /* its value, without a newline */
};
static const struct probe probes[];
static const unsigned number_of_probes;

#define PROBES(...) \
	static const struct probe probes[] = { __VA_ARGS__ }; \
	static const unsigned number_of_probes = sizeof probes / sizeof *probes;

/* Work for a second thread, which lives as long as the program: `on_thread(tell, out)` runs there and waits. */
static pthread_mutex_t helper_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t helper_news = PTHREAD_COND_INITIALIZER;
static void (*helper_work)(FILE *);
static FILE *helper_out;
static int helper_exists;

static inline void *helper_main(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&helper_lock);
	for (;;) {
		while (!helper_work)
			pthread_cond_wait(&helper_news, &helper_lock);
		helper_work(helper_out);
		helper_work = NULL;
		pthread_cond_broadcast(&helper_news);
	}
	return NULL;
}

static inline void on_thread(void (*work)(FILE *), FILE *out)
{
	pthread_t thread;

	if (!helper_exists++)
		pthread_create(&thread, NULL, helper_main, NULL);
	pthread_mutex_lock(&helper_lock);
	helper_work = work;
	helper_out = out;
	pthread_cond_broadcast(&helper_news);
	while (helper_work)
		pthread_cond_wait(&helper_news, &helper_lock);
	pthread_mutex_unlock(&helper_lock);
}

/* The VmFlags (or another line) of the mapping that begins at `address`, as smaps has it. */
static inline void tell_smaps(FILE *out, const void *address, const char *line_name)
{
	char line[512], start[32];
	FILE *smaps = fopen("/proc/self/smaps", "r");
	int inside = 0, length = snprintf(start, sizeof start, "%lx-", (unsigned long)address);

	if (!smaps)
		return;
	while (fgets(line, sizeof line, smaps)) {
		if (strncmp(line, start, length) == 0)
			inside = 1;
		else if (inside && strncmp(line, line_name, strlen(line_name)) == 0) {
			line[strcspn(line, "\n")] = 0;
			fprintf(out, "%s", line + strlen(line_name));
			break;
		}
	}
	fclose(smaps);
}

/* The first line of a file. */
static inline void tell_file(FILE *out, const char *path)
{
	char line[256] = "";
	FILE *file = fopen(path, "r");

	if (!file || !fgets(line, sizeof line, file))
		snprintf(line, sizeof line, "(%s)", strerror(errno));
	if (file)
		fclose(file);
	line[strcspn(line, "\n")] = 0;
	fprintf(out, "%s", line);
}

static int unavailable[256];

static void tell_all(const char *directory, int round, int count, char **names)
{
	char path[4096], final[4096];
	FILE *out;

	snprintf(path, sizeof path, "%s/telling", directory);
	snprintf(final, sizeof final, "%s/told.%d", directory, round);
	out = fopen(path, "w");
	if (!out)
		_exit(3);
	for (int index = 0; index < count; index++)
		for (unsigned probe = 0; probe < number_of_probes; probe++) {
			if (strcmp(probes[probe].name, names[index]))
				continue;
			fprintf(out, "%s ", names[index]);
			if (unavailable[probe])
				fprintf(out, "unavailable: %s", strerror(unavailable[probe]));
			else
				probes[probe].tell(out);
			fprintf(out, "\n");
		}
	fclose(out);
	if (rename(path, final))
		_exit(3);
}

int main(int argc, char **argv)
{
	sigset_t set;

	if (argc < 3)
		return 2;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (int index = 2; index < argc; index++)
		for (unsigned probe = 0; probe < number_of_probes; probe++)
			if (strcmp(probes[probe].name, argv[index]) == 0)
				unavailable[probe] = probes[probe].make();
	for (int round = 0;; round++) {
		int signal;

		tell_all(argv[1], round, argc - 2, argv + 2);
		while (sigwait(&set, &signal))
			;
	}
}
