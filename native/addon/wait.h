/* SPDX-License-Identifier: Apache-2.0 */
/* wait4 that gives up: a timer signals this very thread. */
#ifndef CRIMG_WAIT_H
#define CRIMG_WAIT_H

#include "raw.h"

static void on_tick(int signal)
{
	(void)signal; /* Its only use is that a blocking wait4 returns EINTR. */
}

/* Where a signal handler returns to; the C library's own is not ours to use. */
extern void return_from_signal(void) __attribute__((visibility("hidden")));
__asm__(".text\n"
	".type return_from_signal, @function\n"
	"	nop\n" /* unwinders look at the byte before */
	"return_from_signal:\n"
	"	mov $15, %eax\n" /* rt_sigreturn */
	"	syscall\n");

/* The kernel's structures (asm/signal.h, asm-generic/siginfo.h), which differ from those of C libraries. */
struct kernel_sigaction {
	void (*handler)(int);
	uint64_t flags;
	void (*restorer)(void);
	uint64_t mask;
};
struct kernel_sigevent {
	uint64_t value;
	int32_t signo, notify, tid, padding[11];
};
_Static_assert(sizeof(struct kernel_sigevent) == 64, "sigevent");

enum { TICK_SIGNAL = 61, SA_RESTORER_FLAG = 0x04000000, NOTIFY_THREAD_ID = 4, MONOTONIC = 1, NO_HANG = 1 };

/* A timer that signals this very thread. Returns 0 or -errno. */
static int64_t make_timer(int32_t *timer)
{
	struct kernel_sigaction action = { .handler = on_tick, .flags = SA_RESTORER_FLAG, .restorer = return_from_signal };
	struct kernel_sigevent event = { .signo = TICK_SIGNAL, .notify = NOTIFY_THREAD_ID };
	int64_t result = call(__NR_rt_sigaction, TICK_SIGNAL, address_of(&action), 0, 8);

	if (result < 0)
		return result;
	event.tid = (int32_t)call(__NR_gettid, 0, 0, 0, 0);
	return call(__NR_timer_create, MONOTONIC, address_of(&event), address_of(timer), 0);
}

static void set_timer(int32_t timer, const struct __kernel_itimerspec *period)
{
	call(__NR_timer_settime, timer, 0, address_of(period), 0);
}

static void look_at_clock(struct __kernel_timespec *now)
{
	call(__NR_clock_gettime, MONOTONIC, address_of(now), 0, 0);
}

/* The timer of `wait_bounded`, and whether it goes on from wait to wait. */
static int32_t wait_timer;
static int have_wait_timer, is_wait_timer_on;

static int64_t need_wait_timer(void)
{
	int64_t result = have_wait_timer ? 0 : make_timer(&wait_timer);

	if (result >= 0)
		have_wait_timer = 1;
	return result;
}

/* Many waits follow: the timer is set once for all of them, until end_waits. */
static void begin_waits(void)
{
	const struct __kernel_itimerspec period = { .it_interval.tv_nsec = 20000000, .it_value.tv_nsec = 20000000 };

	if (need_wait_timer() < 0)
		return;
	set_timer(wait_timer, &period);
	is_wait_timer_on = 1;
}

static void end_waits(void)
{
	const struct __kernel_itimerspec none = { 0 };

	if (is_wait_timer_on)
		set_timer(wait_timer, &none);
	is_wait_timer_on = 0;
}

static struct __kernel_timespec time_in(uint32_t milliseconds)
{
	struct __kernel_timespec end;

	look_at_clock(&end);
	end.tv_sec += milliseconds / 1000;
	end.tv_nsec += (long)(milliseconds % 1000) * 1000000;
	if (end.tv_nsec >= 1000000000) {
		end.tv_nsec -= 1000000000;
		end.tv_sec++;
	}
	return end;
}

/*
 * wait4 that gives up. Returns the pid, 0 (WNOHANG), or -errno; -ETIMEDOUT when time is up. A timer signal to this very
 * thread breaks the wait; it repeats, so that one that comes just before wait4 sleeps is not the only one.
 */
static int64_t wait_bounded(int32_t pid, int32_t *status, int32_t options, uint32_t milliseconds)
{
	struct __kernel_timespec now, end = { 0 };
	struct __kernel_itimerspec period = { 0 };
	int64_t result = count_call();

	if (result)
		return -result;
	/* Most often there is nothing to wait for, or not for long. */
	result = call(__NR_wait4, pid, address_of(status), options | NO_HANG, 0);
	if (result != 0 || (options & NO_HANG))
		return result;
	result = need_wait_timer();
	if (result < 0)
		return result;
	if (!is_wait_timer_on) {
		end = time_in(milliseconds);
		period.it_interval.tv_nsec = 20000000;
		period.it_value.tv_nsec = milliseconds < 20 ? (long)milliseconds * 1000000 + 1 : 20000000;
		set_timer(wait_timer, &period);
	}
	for (;;) {
		result = call(__NR_wait4, pid, address_of(status), options, 0);
		if (result != -EINTR)
			break;
		if (is_wait_timer_on && end.tv_sec == 0)
			end = time_in(milliseconds); /* at the first tick: nearly always a wait is over long before */
		look_at_clock(&now);
		if (now.tv_sec > end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec >= end.tv_nsec)) {
			result = -ETIMEDOUT;
			break;
		}
	}
	period = (struct __kernel_itimerspec){ 0 };
	if (!is_wait_timer_on)
		set_timer(wait_timer, &period);
	return result;
}

#endif
