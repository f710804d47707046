/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks, and namespaces that a process has for itself. */
#include "probe.h"
#include <sys/timerfd.h>

static int enter(int flag) { return unshare(flag) ? errno : 0; }
static void tell_link(FILE *out, const char *name)
{
	char path[64], link[64];
	ssize_t length;

	snprintf(path, sizeof path, "/proc/self/ns/%s", name);
	length = readlink(path, link, sizeof link - 1);
	fprintf(out, "%.*s", (int)(length > 0 ? length : 0), link);
}

/* Whether it is another one than the parent's, which is the caller of the program or of the image. */
static void tell_own(FILE *out, const char *name)
{
	char path[64], own[64] = "", other[64] = "";

	snprintf(path, sizeof path, "/proc/self/ns/%s", name);
	if (readlink(path, own, sizeof own - 1) < 0) own[0] = 0;
	snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)getppid(), name);
	if (readlink(path, other, sizeof other - 1) < 0) other[0] = 0;
	fprintf(out, "%s", own[0] && other[0] && strcmp(own, other) ? "own" : "the parent's");
}

static int make_user(void) { return enter(CLONE_NEWUSER); }
static void tell_user(FILE *out) { tell_link(out, "user"); }
static int make_mount(void) { return enter(CLONE_NEWNS); }
static void tell_mount(FILE *out) { tell_own(out, "mnt"); }
static int make_network(void) { return enter(CLONE_NEWNET); }
static void tell_network(FILE *out) { tell_own(out, "net"); }
static int make_ipc(void) { return enter(CLONE_NEWIPC); }
static void tell_ipc(FILE *out) { tell_own(out, "ipc"); }
static int make_uts(void) { return enter(CLONE_NEWUTS); }
static void tell_uts(FILE *out) { tell_own(out, "uts"); }
static int make_cgroup(void) { return enter(CLONE_NEWCGROUP); }
static void tell_cgroup(FILE *out) { tell_own(out, "cgroup"); }
static int make_pid(void) { return enter(CLONE_NEWPID); }
static void tell_pid(FILE *out) { tell_link(out, "pid_for_children"); }
static int make_time(void) { return enter(CLONE_NEWTIME); }
static void tell_time(FILE *out) { tell_link(out, "time_for_children"); }

/*
 * A clock goes on where it was: it is never further ahead of the time of day than it was at the start (it stands still
 * between dump and resume), and never back.
 */
static int64_t now(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int64_t ahead[2], last[2];
static int make_clock(int which, clockid_t clock)
{
	ahead[which] = now(clock) - now(CLOCK_REALTIME);
	last[which] = now(clock);
	return 0;
}
static void tell_clock(FILE *out, int which, clockid_t clock)
{
	int64_t time = now(clock), slack = 5000000;

	fprintf(out, "%s", time < last[which] ? "back" : time - now(CLOCK_REALTIME) > ahead[which] + slack ? "jumped" : "goes on");
	last[which] = time;
}
static int make_monotonic(void) { return make_clock(0, CLOCK_MONOTONIC); }
static void tell_monotonic(FILE *out) { tell_clock(out, 0, CLOCK_MONOTONIC); }
static int make_boottime(void) { return make_clock(1, CLOCK_BOOTTIME); }
static void tell_boottime(FILE *out) { tell_clock(out, 1, CLOCK_BOOTTIME); }

/* A timer for a time on the clock: what it says is left is what is left by the clock. */
static int timer;
static int64_t end;
static int make_timer(void)
{
	struct itimerspec setting = { { 0, 0 }, { 0, 0 } };

	timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	end = now(CLOCK_MONOTONIC) + 3600 * (int64_t)1000000000;
	setting.it_value.tv_sec = end / 1000000000;
	setting.it_value.tv_nsec = end % 1000000000;
	return timerfd_settime(timer, TFD_TIMER_ABSTIME, &setting, NULL) ? errno : 0;
}
static void tell_timer(FILE *out)
{
	struct itimerspec left;
	int64_t difference;

	timerfd_gettime(timer, &left);
	difference = end - now(CLOCK_MONOTONIC) - ((int64_t)left.it_value.tv_sec * 1000000000 + left.it_value.tv_nsec);
	fprintf(out, "%s", difference < 500000000 && difference > -500000000 ? "agrees" : "does not agree");
}

PROBES(
	{ "monotonic", make_monotonic, tell_monotonic },
	{ "boottime", make_boottime, tell_boottime },
	{ "timer", make_timer, tell_timer },
	{ "user", make_user, tell_user },
	{ "mount", make_mount, tell_mount },
	{ "network", make_network, tell_network },
	{ "ipc", make_ipc, tell_ipc },
	{ "uts", make_uts, tell_uts },
	{ "cgroup", make_cgroup, tell_cgroup },
	{ "pid", make_pid, tell_pid },
	{ "time", make_time, tell_time },
)
