// SPDX-License-Identifier: Apache-2.0
/*
 * `crimg-cuda serve`: what a dump asks of the driver, one line a question on standard input, one line an answer on
 * standard output: `ok …` or `error …`. It holds the locks, not crimg: when the pipe closes, whatever crimg came to, every
 * process that is still held gets its devices back and is unlocked. So nobody stays locked because crimg was killed.
 *
 *   devices          a `gpu …` line for each device, then ok
 *   state PID        ok STATE
 *   thread PID       ok TID of the thread that restores
 *   lock PID MS      from here on PID is held
 *   checkpoint PID
 *   give-back PID    restores and unlocks; PID is held no more
 *   forget PID       PID is about to end: held no more
 */
#pragma once
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "driver.h"

/* A process that we locked. The descriptor tells whether it is still that process. */
struct held {
	int pid, pidfd;
};

struct held_list {
	struct held *items;
	int count;
};

static int has_ended(const struct held *held)
{
	struct pollfd poll_fd = { .fd = held->pidfd, .events = POLLIN };
	return held->pidfd >= 0 && poll(&poll_fd, 1, 0) == 1;
}

/* Whatever state the driver has it in: afterwards it runs. Returns 0, or -1 with `problem`. */
static int give_back(struct driver *driver, int pid)
{
	int state;
	if (driver_state(driver, pid, &state)) return -1;
	if (state == CUDA_CHECKPOINTED) {
		if (driver_restore(driver, pid, NULL, 0)) return -1;
		state = CUDA_LOCKED;
	}
	return state == CUDA_LOCKED ? driver_unlock(driver, pid) : 0;
}

static void hold(struct held_list *list, int pid)
{
	struct held *grown = realloc(list->items, sizeof *grown * (size_t)(list->count + 1));
	if (!grown) return;
	list->items = grown;
	list->items[list->count++] = (struct held) { pid, (int)syscall(SYS_pidfd_open, pid, 0) };
}

static void let_go(struct held_list *list, int pid)
{
	for (int i = 0; i < list->count; i++) {
		if (list->items[i].pid != pid) continue;
		if (list->items[i].pidfd >= 0) close(list->items[i].pidfd);
		list->items[i] = list->items[--list->count];
		return;
	}
}

static void answer(struct driver *driver, int refused)
{
	if (refused) printf("error %s\n", driver->problem);
	else printf("ok\n");
}

static void answer_number(struct driver *driver, int refused, int number)
{
	if (refused) printf("error %s\n", driver->problem);
	else printf("ok %d\n", number);
}

static void serve_line(struct driver *driver, struct nvml *nvml, struct held_list *held, const char *line)
{
	int pid, number = 0;
	if (!strncmp(line, "devices", 7)) {
		answer(driver, print_devices(driver, nvml, stdout));
	} else if (sscanf(line, "state %d", &pid) == 1) {
		int refused = driver_state(driver, pid, &number);
		answer_number(driver, refused, number);
	} else if (sscanf(line, "thread %d", &pid) == 1) {
		int refused = driver_thread(driver, pid, &number);
		answer_number(driver, refused, number);
	} else if (sscanf(line, "lock %d %d", &pid, &number) == 2) {
		int refused = driver_lock(driver, pid, (unsigned int)number);
		if (!refused) hold(held, pid);
		answer(driver, refused);
	} else if (sscanf(line, "checkpoint %d", &pid) == 1) {
		answer(driver, driver_checkpoint(driver, pid));
	} else if (sscanf(line, "give-back %d", &pid) == 1) {
		int refused = give_back(driver, pid);
		if (!refused) let_go(held, pid);
		answer(driver, refused);
	} else if (sscanf(line, "forget %d", &pid) == 1) {
		let_go(held, pid);
		answer(driver, 0);
	} else {
		printf("error not a question\n");
	}
}

static int serve(void)
{
	/* Keys of the terminal and the end of the session are for crimg; we end when its end of the pipe is closed. */
	const int ignored[] = { SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU };
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) signal(ignored[i], SIG_IGN);
	struct driver driver;
	struct nvml nvml;
	struct held_list held = { 0 };
	char line[256], release[96];
	int version = 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (driver_open(&driver)) {
		printf("error %s\n", driver.problem);
		return 1;
	}
	nvml_open(&nvml);
	driver_release(&nvml, release, sizeof release);
	driver.version(&version);
	printf("ok %d %s\n", version, release[0] ? release : "-");
	while (fgets(line, sizeof line, stdin)) serve_line(&driver, &nvml, &held, line);
	int failures = 0;
	for (int i = 0; i < held.count; i++)
		if (!has_ended(&held.items[i]) && give_back(&driver, held.items[i].pid)) failures++;
	return failures ? 1 : 0;
}
