/* SPDX-License-Identifier: Apache-2.0 */
/* Waits until seized and interrupted threads stand still, and takes what is known of a thread from then on. */
#ifndef CRIMG_STOPS_H
#define CRIMG_STOPS_H

#include "wait.h"

enum { P_CONT = 7, P_GETREGS = 12, P_SETREGS = 13, P_SYSCALL = 24, P_GETREGSET = 0x4204, P_SETREGSET = 0x4205, P_INTERRUPT = 0x4207,
       P_PEEKSIGINFO = 0x4209, P_GETSIGMASK = 0x420a, P_SETSIGMASK = 0x420b, P_RSEQ = 0x420f };
enum { WAIT_ALL = 0x40000000, EVENT_STOP = 128, TRAP = 5, REGS_WORDS = 27 };

static int64_t ptrace(int64_t request, int64_t tid, int64_t address, int64_t data)
{
	return counted_call(__NR_ptrace, request, tid, address, data);
}

/* What is known of a thread that has stopped: 40 words. */
struct stop_row {
	int64_t result; /* 0: it stands still; 1: it has ended; -errno */
	int64_t status; /* as wait4 tells it */
	int64_t stopped_at; /* CLOCK_MONOTONIC, nanoseconds */
	int64_t sigmask;
	int64_t rseq[3]; /* struct ptrace_rseq_configuration */
	int64_t rseq_cs; /* what its rseq_cs points to; 0: it is in no restartable sequence */
	int64_t regs[REGS_WORDS];
	int64_t reserved[5];
};
_Static_assert(sizeof(struct stop_row) == 320, "stop_row");

static int64_t read_memory(int32_t pid, int64_t address, void *into, int64_t length)
{
	const int64_t local[2] = { address_of(into), length }, remote[2] = { address, length };
	const int64_t words[7] = { __NR_process_vm_readv, pid, address_of(local), 1, address_of(remote), 1, 0 };

	return counted(words);
}

static int64_t write_memory(int32_t pid, int64_t address, const void *from, int64_t length)
{
	const int64_t local[2] = { address_of(from), length }, remote[2] = { address, length };
	const int64_t words[7] = { __NR_process_vm_writev, pid, address_of(local), 1, address_of(remote), 1, 0 };

	return counted(words);
}

static int is_stopped(int32_t status)
{
	return (status & 0xff) == 0x7f;
}

static int has_ended(int32_t status)
{
	return (status & 0x7f) == 0 || (!is_stopped(status) && status != 0xffff);
}

static int64_t take_state(int32_t pid, int32_t tid, struct stop_row *row)
{
	struct __kernel_timespec now;
	int64_t result = ptrace(P_GETREGS, tid, 0, address_of(row->regs));

	if (result >= 0)
		result = ptrace(P_GETSIGMASK, tid, 8, address_of(&row->sigmask));
	if (result >= 0)
		result = ptrace(P_RSEQ, tid, sizeof(row->rseq), address_of(row->rseq));
	if (result < 0)
		return result;
	row->rseq_cs = 0;
	if (row->rseq[0] && read_memory(pid, row->rseq[0] + 8, &row->rseq_cs, 8) != 8)
		row->rseq_cs = 0;
	look_at_clock(&now);
	row->stopped_at = now.tv_sec * 1000000000 + now.tv_nsec;
	return 0;
}

static void await_stop(int32_t pid, int32_t tid, struct stop_row *row, uint32_t milliseconds)
{
	for (;;) {
		int32_t status = 0;
		int64_t result = wait_bounded(tid, &status, WAIT_ALL, milliseconds);

		if (result == -ECHILD || (result > 0 && has_ended(status))) {
			row->result = 1;
			return;
		}
		if (result < 0) {
			row->result = result;
			return;
		}
		if (!is_stopped(status))
			continue;
		if (status >> 16 == EVENT_STOP) {
			row->status = status;
			row->result = take_state(pid, tid, row);
			return;
		}
		/* A signal came first: it has left the queue, so it is delivered now; the trap that we asked for follows. */
		result = ptrace(P_CONT, tid, 0, status >> 16 == 0 && !(status >> 8 & 0x80) ? status >> 8 & 0xff : 0);
		if (result < 0) {
			row->result = result;
			return;
		}
	}
}

#endif
