/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fork of a frozen process that keeps its memory (src/dump/fork-snapshot.ts says why it is made so): its first thread makes a
 * helper, the helper the fork. Some ten stops, of which none goes through JavaScript, because all of the tree waits for them. While
 * the kernel copies page tables, which takes most of the time, the tracer may do something else: what it asks of the thread meanwhile
 * must not be its registers, its signal mask, or a call in it.
 *
 * Below `top`, low to high:   [ W | E | F ]
 *
 * F is the signal frame with the thread's whole state, as in inject-alone.h. E ends who runs on to it: helper and fork begin their
 * lives there, should the tracer die before it holds them. W waits for the end of the helper, and goes on to F: it would be a
 * zombie of the program otherwise.
 */
#ifndef CRIMG_FORK_ALONE_H
#define CRIMG_FORK_ALONE_H

#include "inject-alone.h"

/* What is to be done, and what came of it: 16 words. */
struct fork_job {
	int64_t pid, syscall, restorer; /* as in inject_process */
	int64_t top, room; /* end of what may be borrowed, and its length */
	int64_t restarted; /* what a restart_syscall of the thread continues; -1 if it is in none */
	int64_t options; /* of ptrace, for helper and fork */
	int64_t helper_flags, fork_flags; /* of clone */
	/* Results. */
	int64_t result; /* 0, or -errno: there is no fork */
	int64_t fork; /* its pid */
	int64_t start, length; /* what was borrowed: what it held is in `saved` */
	int64_t owed; /* as in inject_row */
	int64_t is_on_its_way; /* could not be put back: it goes back by itself when it is let go */
	int64_t step; /* where it failed: FORK_... */
};
_Static_assert(sizeof(struct fork_job) == 128, "fork_job");

enum { FORK_PREPARE, FORK_HELPER, FORK_HOLD, FORK_FORK, FORK_REAP };

/* Longest wait for one step, milliseconds: copying the page tables of a TiB takes seconds. */
enum { FORK_TIMEOUT = 60000, KILL = 9 };

/* CLONE_PARENT_SETTID; where in a signal frame the first argument of the call is that it makes. */
enum { SET_PID = 0x00100000, AT_FIRST = 8 + 40 + 64 };

/* Waits until a process that the program has made stands still. */
static int64_t await_held(int64_t pid)
{
	for (;;) {
		int32_t status = 0;
		int64_t result = wait_bounded((int32_t)pid, &status, WAIT_ALL, FORK_TIMEOUT);

		if (result < 0)
			return result;
		if (has_ended(status))
			return -ESRCH;
		if (is_stopped(status))
			return 0;
	}
}

/* Once more if that fails: who is not held is forgotten. */
static int64_t await_held_twice(int64_t pid)
{
	int64_t result = await_held(pid);

	return result < 0 && result != -ESRCH && result != -ETIMEDOUT ? await_held(pid) : result;
}

/* Waits for its first stop, and has it end if the tracer does. */
static int64_t hold(const struct fork_job *job, int64_t pid)
{
	int64_t result = await_held(pid);

	return result < 0 ? result : ptrace(0x4200 /* SETOPTIONS */, pid, 0, job->options);
}

/* Ends it, as far as the tracer is concerned. */
static void end_held(int64_t pid)
{
	if (counted_call(__NR_kill, pid, KILL, 0, 0) < 0)
		call(__NR_kill, pid, KILL, 0, 0);
	for (int faults = 0; faults < 2;) {
		int32_t status = 0;
		int64_t result = wait_bounded((int32_t)pid, &status, WAIT_ALL, FORK_TIMEOUT);

		if (result < 0)
			faults += result == -ECHILD ? 2 : 1;
		else if (has_ended(status))
			return;
	}
}

/* What the call returned at whose exit a thread stands. Tried twice: who was made would be forgotten. */
static int64_t result_of(int64_t tid)
{
	int64_t regs[REGS_WORDS];

	if (ptrace(P_GETREGS, tid, 0, address_of(regs)) < 0) {
		int64_t result = ptrace(P_GETREGS, tid, 0, address_of(regs));

		if (result < 0)
			return result;
	}
	return regs[R_AX];
}

/* Has the helper begin to fork. Returns 0 when it is in the midst of it, or -errno. */
static int64_t begin_fork(const struct fork_job *job, const struct alone *one, int64_t helper)
{
	int64_t regs[REGS_WORDS];
	int64_t result;

	regs_for_call(one, __NR_clone, job->fork_flags, 0, one->stopping, regs);
	regs[R_DX] = regs[R_R10] = regs[R_R8] = 0;
	result = ptrace(P_SETREGS, helper, 0, address_of(regs));
	if (result >= 0)
		result = ptrace(P_SYSCALL, helper, 0, 0);
	if (result >= 0)
		result = await_held_twice(helper);
	return result < 0 ? result : ptrace(P_SYSCALL, helper, 0, 0);
}

/* Waits for it. Returns the pid of the fork, or -errno. */
static int64_t await_fork(int64_t helper)
{
	int64_t result = await_held_twice(helper);

	return result < 0 ? result : result_of(helper);
}

/* Has the thread make a call, from a trap or the exit of another; it stands at its exit then, from where it
 * would go on by the frame `back`. Returns its result, or -errno. */
static int64_t call_alone(struct alone *one, int64_t number, int64_t a, int64_t b, int64_t c, int64_t back)
{
	int64_t regs[REGS_WORDS];
	int64_t result;

	regs_for_call(one, number, a, b, back, regs);
	regs[R_DX] = c;
	regs[R_R10] = regs[R_R8] = 0;
	result = ptrace(P_SETREGS, one->process->pid, 0, address_of(regs));
	for (int stop = 0; stop < 2 && result >= 0; stop++) {
		result = send_on(one, P_SYSCALL);
		/* Once more if that fails: whom an unseen call makes nobody would end. */
		for (int attempt = 0; attempt < 2 && result >= 0 && one->where != AT_CALL; attempt++) {
			int64_t found = await_alone(one, AT_CALL, P_SYSCALL);

			if (found < 0 && (attempt > 0 || one->where != IS_MOVING || found == -ESRCH || found == -ETIMEDOUT))
				result = found;
		}
	}
	if (result >= 0)
		return result_of(one->process->pid);
	if (one->where == AT_CALL) { /* at its entry, perhaps: it is not to be made any more */
		regs[R_AX] = regs[R_ORIG_AX] = __NR_getpid;
		ptrace(P_SETREGS, one->process->pid, 0, address_of(regs));
	}
	return result;
}

/* Borrows memory, and puts the frames there. */
static int64_t prepare_fork(struct fork_job *job, struct alone *one)
{
	const uint64_t all = ~0ull;
	int64_t io[2] = { address_of(inject_xstate), XSTATE_ROOM };
	int64_t regs[REGS_WORDS], result;

	result = ptrace(P_GETREGSET, job->pid, 0x202, address_of(io)); /* NT_X86_XSTATE */
	if (result < 0)
		return result;
	one->xstate_length = io[1];
	copy_bytes(one->xstate, inject_xstate, io[1]);
	one->frame = frame_below(job->top, io[1]);
	one->stopping = ((one->frame - FRAME_HEAD) & ~15ll) - 8;
	one->unmapping = ((one->stopping - FRAME_HEAD) & ~15ll) - 8; /* W */
	one->start = job->start = one->unmapping & ~63ll;
	one->length = job->length = job->top - one->start;
	if (one->length > INJECT_ROOM || one->length > job->room)
		return -ENOSPC;
	result = read_memory((int32_t)job->pid, one->start, one->saved, one->length);
	if (result != one->length)
		return result < 0 ? result : -EFAULT;
	clear_bytes(inject_image, one->length);
	regs_for_call(one, __NR_exit_group, 0, 0, one->frame, regs);
	build_plain(inject_image + (one->stopping - one->start), job->restorer, regs, all);
	/* There is no process of that number: the kernel puts the helper's here. */
	regs_for_call(one, __NR_wait4, 0x7fffffff, 0, one->frame, regs);
	regs[R_DX] = WAIT_ALL;
	regs[R_R10] = 0;
	build_plain(inject_image + (one->unmapping - one->start), job->restorer, regs, all);
	regs_to_go_on(one->stop->regs, job->restarted, regs);
	build_frame(inject_image + (one->frame - one->start), one->frame, job->restorer, regs, (uint64_t)one->stop->sigmask, inject_xstate,
		    one->xstate_length);
	one->has_begun = 1;
	result = write_memory((int32_t)job->pid, one->start, inject_image, one->length);
	if (result != one->length)
		return result < 0 ? result : -EFAULT;
	/* From here the thread, if it ran, would make this harmless call and return through the frame. */
	regs_for_call(one, __NR_getpid, 0, 0, one->frame, regs);
	result = ptrace(P_SETREGS, job->pid, 0, address_of(regs));
	return result < 0 ? result : ptrace(P_SETSIGMASK, job->pid, 8, address_of(&all));
}

/* The nice value of a process, 0 stands for this thread; it is told as 20 less that. */
static int64_t nice_of(int64_t pid)
{
	return 20 - call(__NR_getpriority, 0 /* PRIO_PROCESS */, pid, 0, 0);
}

static int64_t microseconds(void)
{
	struct __kernel_timespec now;

	look_at_clock(&now);
	return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Processors, by bits; and how long one takes to begin with something new if it has nothing else to do, at most: microseconds. */
enum { MOST_PROCESSORS = 8192, SOON = 250 };
struct processors {
	uint64_t bits[MOST_PROCESSORS / 64];
};

static int64_t processors_of(int64_t pid, struct processors *mask)
{
	return call(__NR_sched_getaffinity, pid, sizeof(*mask), address_of(mask), 0);
}

/* A fork under way: there is one at a time. */
static struct {
	struct fork_job *job; /* 0: none */
	struct alone_process process;
	struct inject_row row;
	struct alone one;
	int64_t helper; /* its pid, if there is one */
	int64_t nice; /* of the process */
	struct processors allowed; /* to it, as far as they are */
	int64_t allowed_length; /* 0: the helper may run there */
	int64_t result;
} forking;

/*
 * Keeps the helper on this processor, where it runs as soon as this thread waits: the other one is busy. A kernel with lazy preemption
 * would have it wait for the next tick, at each of its stops.
 */
static void keep_helper_here(void)
{
	struct processors own;
	int64_t length = processors_of(0, &own);

	if (length > 0)
		forking.allowed_length = processors_of(forking.helper, &forking.allowed);
	if (forking.allowed_length > 0)
		call(__NR_sched_setaffinity, forking.helper, length, address_of(&own), 0);
}

/*
 * Has the process begin to be forked, by the helper, which copies the page tables on another processor if there is one. The first
 * thread stands at the exit of its call, from where it goes on to W, and what is borrowed of its memory is in `saved` (at least `room`
 * bytes), until `end_fork`. Both, and `stop`, must be there until then.
 */
static void begin_fork_alone(struct fork_job *job, const struct stop_row *stop, uint8_t *saved)
{
	static uint8_t xstate[XSTATE_ROOM] __attribute__((aligned(64)));
	struct alone *one = &forking.one;
	int64_t result, begin;

	forking.job = job;
	forking.process = (struct alone_process){ .pid = job->pid, .syscall = job->syscall, .restorer = job->restorer };
	forking.row = (struct inject_row){ 0 };
	forking.one = (struct alone){ .process = &forking.process, .stop = stop, .row = &forking.row, .saved = saved, .xstate = xstate };
	forking.helper = forking.allowed_length = 0;
	begin_waits();
	job->step = FORK_PREPARE;
	result = prepare_fork(job, one);
	if (result >= 0) {
		job->step = FORK_HELPER;
		/* Its stack pointer is at E, its pid where W has it. */
		result = forking.helper =
			call_alone(one, __NR_clone, job->helper_flags | SET_PID, one->stopping, one->unmapping + AT_FIRST, one->unmapping);
	}
	if (forking.helper > 0) {
		job->step = FORK_HOLD;
		begin = microseconds();
		result = hold(job, forking.helper);
		if (result >= 0) {
			if (microseconds() - begin > SOON)
				keep_helper_here();
			job->step = FORK_FORK;
			/* All wait for it: it does not wait for others. Failure only costs time. */
			forking.nice = nice_of(forking.helper);
			call(__NR_setpriority, 0, forking.helper, nice_of(0), 0);
			result = begin_fork(job, one, forking.helper);
		}
	}
	end_waits();
	forking.result = result;
}

/* The process stands where it stood when this returns. */
static void end_fork(void)
{
	struct fork_job *job = forking.job;
	struct alone *one = &forking.one;
	int64_t result = forking.result, reaped;

	if (!job)
		return;
	forking.job = 0;
	begin_waits();
	if (forking.helper > 0) {
		if (result >= 0)
			result = job->fork = await_fork(forking.helper);
		if (job->fork > 0) {
			job->step = FORK_HOLD;
			result = hold(job, job->fork);
			call(__NR_setpriority, 0, job->fork, forking.nice, 0);
			if (forking.allowed_length > 0)
				call(__NR_sched_setaffinity, job->fork, forking.allowed_length, address_of(&forking.allowed), 0);
		}
		end_held(forking.helper);
		reaped = call_alone(one, __NR_wait4, forking.helper, 0, WAIT_ALL, one->frame);
		if (reaped < 0 && reaped != -ECHILD && settle(one) >= 0)
			reaped = call_alone(one, __NR_wait4, forking.helper, 0, WAIT_ALL, one->frame);
		if (reaped < 0 && result >= 0) {
			job->step = FORK_REAP;
			result = reaped;
		}
		if (result < 0 && job->fork > 0)
			end_held(job->fork);
	}
	if (one->has_begun)
		put_alone_back(one);
	if (result >= 0 && one->result < 0 && job->fork > 0)
		end_held(job->fork);
	end_waits();
	job->result = result < 0 ? result : one->result < 0 ? one->result : 0;
	job->owed = one->owed;
	job->is_on_its_way = forking.row.is_on_its_way;
}

#endif
