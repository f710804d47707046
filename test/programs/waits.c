// SPDX-License-Identifier: Apache-2.0
/*
 * A thread for each way to wait for a time: argv[2] seconds from the start by CLOCK_MONOTONIC. Each appends to the file
 * argv[1] what it was, its result and errno, and how long it took by that clock. A line "ready" comes when all wait.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static const char *path;
static int seconds;
/* Only read: a program may use the same one for many calls. */
static struct timespec length;

static struct timespec deadline(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	now.tv_sec += seconds;
	return now;
}

static sigset_t only(int signal)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, signal);
	return set;
}

static long nanosleep_relative(void) { struct timespec left = length; return nanosleep(&left, &left); }
static long nanosleep_absolute(void)
{
	struct timespec end = deadline();
	return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL);
}
static long futex_relative(void) { static uint32_t word; return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &length, NULL, 0); }
static long futex_absolute(void)
{
	static uint32_t word;
	struct timespec end = deadline();
	return syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &end, NULL, FUTEX_BITSET_MATCH_ANY);
}
static long poll_(void) { return poll(NULL, 0, seconds * 1000); }
static long ppoll_(void) { struct timespec left = length; return ppoll(NULL, 0, &left, NULL); }
static long select_(void) { struct timeval left = { seconds, 0 }; return select(0, NULL, NULL, NULL, &left); }
static long epoll_wait_(void) { struct epoll_event event; return epoll_wait(epoll_create1(0), &event, 1, seconds * 1000); }
static long epoll_pwait2_(void) { struct epoll_event event; return epoll_pwait2(epoll_create1(0), &event, 1, &length, NULL); }
static long recv_(void)
{
	int pair[2];
	char byte;
	struct timeval limit = { seconds, 0 };
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return -2;
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	long result = recv(pair[0], &byte, 1, 0);
	int error = errno;
	socklen_t size = sizeof limit;
	getsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, &size);
	errno = error;
	/* The option is what it was. */
	return limit.tv_sec == seconds && limit.tv_usec == 0 ? result : -3;
}
static long sigtimedwait_(void) { sigset_t set = only(SIGUSR2); return sigtimedwait(&set, NULL, &length); }
static long timerfd_absolute(void)
{
	struct itimerspec setting = { { 0, 0 }, deadline() };
	uint64_t count;
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	timerfd_settime(fd, TFD_TIMER_ABSTIME, &setting, NULL);
	return read(fd, &count, sizeof count) == sizeof count ? 0 : -1;
}
static long timer_absolute(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN };
	struct itimerspec setting = { { 0, 0 }, deadline() };
	sigset_t set = only(SIGRTMIN);
	timer_t timer;
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, TIMER_ABSTIME, &setting, NULL);
	return sigwaitinfo(&set, NULL) == SIGRTMIN ? 0 : -1;
}
static long interval_timer(void)
{
	struct itimerval setting = { { 0, 0 }, { seconds, 0 } };
	sigset_t set = only(SIGALRM);
	setitimer(ITIMER_REAL, &setting, NULL);
	return sigwaitinfo(&set, NULL) == SIGALRM ? 0 : -1;
}
static long condition(void)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_condattr_t attributes;
	pthread_cond_t never;
	struct timespec end = deadline();
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&never, &attributes);
	pthread_mutex_lock(&mutex);
	return pthread_cond_timedwait(&never, &mutex, &end) == ETIMEDOUT ? 0 : -1;
}
static long semtimedop_(void)
{
	struct sembuf down = { 0, -1, 0 };
	int set = semget(IPC_PRIVATE, 1, 0600);
	if (set < 0) return -2;
	long result = semtimedop(set, &down, 1, &length);
	int error = errno;
	semctl(set, 0, IPC_RMID);
	errno = error;
	return result;
}

static const struct wait {
	const char *name;
	long (*call)(void);
} waits[] = {
	{ "nanosleep", nanosleep_relative }, { "clock_nanosleep", nanosleep_absolute }, { "futex", futex_relative },
	{ "futex_bitset", futex_absolute }, { "poll", poll_ }, { "ppoll", ppoll_ }, { "select", select_ }, { "epoll_wait", epoll_wait_ },
	{ "epoll_pwait2", epoll_pwait2_ }, { "recv", recv_ }, { "sigtimedwait", sigtimedwait_ }, { "timerfd", timerfd_absolute },
	{ "timer", timer_absolute }, { "itimer", interval_timer }, { "condition", condition },
	/* Last: only there if argv[3] is, since who is killed leaves a set behind. */
	{ "semtimedop", semtimedop_ },
};

static void *run(void *argument)
{
	const struct wait *wait = argument;
	struct timespec begin, end;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	long result = wait->call();
	int error = errno;
	clock_gettime(CLOCK_MONOTONIC, &end);
	FILE *log = fopen(path, "a");
	fprintf(log, "%s %ld %d %.3f %ld\n", wait->name, result, result < 0 ? error : 0,
		(double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9, (long)(length.tv_sec != seconds || length.tv_nsec));
	fclose(log);
	return NULL;
}

int main(int argc, char **argv)
{
	size_t count = sizeof waits / sizeof *waits;
	pthread_t threads[sizeof waits / sizeof *waits];
	sigset_t all;
	if (argc < 3) return 2;
	path = argv[1];
	seconds = atoi(argv[2]);
	length.tv_sec = seconds;
	if (argc < 4) count--;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	for (size_t i = 0; i < count; i++) pthread_create(&threads[i], NULL, run, (void *)&waits[i]);
	usleep(300000);
	FILE *log = fopen(path, "a");
	fprintf(log, "ready\n");
	fclose(log);
	for (size_t i = 0; i < count; i++) pthread_join(threads[i], NULL);
	log = fopen(path, "a");
	fprintf(log, "done\n");
	fclose(log);
	return 0;
}
