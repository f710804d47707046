/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of calls made by the only threads of many frozen processes, all at the same time: what takes long in one such call is
 * that two tasks take turns, so none is waited for before all are on their way.
 *
 * A thread maps the page of inject.h, which takes two stops; runs the list from there, unmaps the page, and stops once more.
 * Nothing of this needs the tracer. Below the stack pointer, low to high:
 *
 *   [ list | what calls store | U | S | F ] red zone, stack in use
 *
 * F is the signal frame with the thread's whole state, U one that unmaps the page and goes on to F, S one that stops the thread by
 * a signal that its process ignores, and goes on to F. If the tracer dies before the code is in the page, the thread returns
 * from mmap to U; later it runs the list, unmaps the page, and returns to S. U and S have no floating point state, and set it to
 * zero: it is set again at the end. rt_sigreturn also forgets how a call with a time limit goes on (ERESTART_RESTARTBLOCK); a
 * thread in such a call stops at the end of its list in the page, which is unmapped when it stands still.
 */
#ifndef CRIMG_INJECT_ALONE_H
#define CRIMG_INJECT_ALONE_H

#include "inject.h"

/* What is told of each process: 12 words. */
struct alone_process {
	int64_t pid, syscall, restorer, stub, signal; /* as in inject_process */
	int64_t range_at, range_count; /* of its writable mappings among those of all */
	int64_t restarted; /* what a restart_syscall continues; -1 if it is in none */
	int64_t reserved[4];
};

enum { AT_TRAP, AT_CALL, AT_SIGNAL, IS_MOVING };

/* A process on its way. */
struct alone {
	const struct alone_process *process;
	const struct stop_row *stop;
	struct inject_row *row;
	uint8_t *saved, *xstate;
	int64_t xstate_length;
	int64_t start, length; /* what is borrowed */
	int64_t unmapping, stopping, frame; /* addresses of U, S, F */
	int64_t owed, result;
	int where;
	int is_timed; /* it is in a call that rt_sigreturn would end */
	int has_begun, has_page; /* there is something to put back; the page is mapped, or may be */
};

/* At most that many at a time: each needs room for what is borrowed. */
enum { MOST_ALONE = 64 };
static uint8_t alone_saved[MOST_ALONE][INJECT_ROOM] __attribute__((aligned(64)));
static uint8_t alone_xstate[MOST_ALONE][XSTATE_ROOM] __attribute__((aligned(64)));

/* Registers for a call at the program's own `syscall; ret`, from where the thread returns to `sp`. */
static void regs_for_call(const struct alone *one, int64_t number, int64_t a, int64_t b, int64_t sp, int64_t regs[REGS_WORDS])
{
	regs_anew(one->stop->regs, regs);
	regs[R_IP] = one->process->syscall;
	regs[R_SP] = sp;
	regs[R_AX] = number;
	regs[R_DI] = a;
	regs[R_SI] = b;
}

/* A frame without floating point state. */
static void build_plain(uint8_t *frame, int64_t restorer, const int64_t *regs, uint64_t mask)
{
	static const uint8_t none[512];
	static uint8_t whole[FRAME_HEAD + 64 + sizeof(none) + 4];

	build_frame(whole, 0, restorer, regs, mask, none, sizeof(none));
	copy_bytes(frame, whole, FRAME_HEAD);
	put_word(frame + 8 + 40 + 184, 0);
}

/* Sends a thread on, to its next system call stop (P_SYSCALL) or signal (P_CONT). */
static int64_t send_on(struct alone *one, int64_t how)
{
	int64_t result = ptrace(how, one->process->pid, 0, 0);

	if (result >= 0)
		one->where = IS_MOVING;
	return result < 0 ? result : 0;
}

/* Behind the call that ends its list. */
static int64_t stop_address(const struct alone *one)
{
	return one->is_timed ? one->process->stub + (crimg_stub_stopped - crimg_stub_begin) : one->process->syscall + 2;
}

/* Waits until a thread stands at a stop of this kind; with `how` 0, at any. Stop signals that come first are owed. */
static int64_t await_alone(struct alone *one, int wanted, int64_t how)
{
	for (;;) {
		int32_t status = 0;
		int64_t result = wait_bounded((int32_t)one->process->pid, &status, WAIT_ALL, wanted == AT_TRAP ? STOP_TIMEOUT : LIST_TIMEOUT);
		int64_t number = status >> 8 & 0xff;

		if (result < 0)
			return result;
		if (has_ended(status))
			return -ESRCH;
		if (!is_stopped(status))
			continue;
		if (status >> 16 != 0) {
			one->where = AT_TRAP;
		} else if (number & 0x80) {
			one->where = AT_CALL;
		} else {
			one->where = AT_SIGNAL;
			result = ends_list(one->process->pid, number, one->process->signal, stop_address(one), &one->owed);
			if (result < 0)
				return result;
			if (result > 0 && wanted == AT_SIGNAL)
				return 0;
		}
		if (how == 0 || (one->where == wanted && wanted != AT_SIGNAL))
			return 0;
		result = send_on(one, how);
		if (result < 0)
			return result;
	}
}

/* Brings a thread to a stop where its registers can be set to whatever is to go on: not that of a system call. */
static int64_t settle(struct alone *one)
{
	int64_t result = 0;

	if (one->where == IS_MOVING) {
		ptrace(P_INTERRUPT, one->process->pid, 0, 0);
		result = await_alone(one, AT_TRAP, 0);
	}
	if (result >= 0 && one->where == AT_CALL) {
		result = ptrace(P_INTERRUPT, one->process->pid, 0, 0);
		if (result >= 0)
			result = send_on(one, P_CONT);
		if (result >= 0)
			result = await_alone(one, AT_TRAP, P_CONT);
	}
	return result;
}

/* Has a thread unmap the page, which may be gone already. */
static int64_t unmap_page(struct alone *one)
{
	int64_t regs[REGS_WORDS];
	int64_t result;

	regs_for_call(one, __NR_munmap, one->process->stub, STUB_PAGE, one->frame, regs);
	result = ptrace(P_SETREGS, one->process->pid, 0, address_of(regs));
	if (result >= 0)
		result = send_on(one, P_SYSCALL);
	if (result >= 0)
		result = await_alone(one, AT_CALL, P_SYSCALL);
	if (result >= 0)
		result = settle(one);
	if (result >= 0)
		result = ptrace(P_GETREGS, one->process->pid, 0, address_of(regs));
	if (result >= 0 && regs[R_AX] < 0)
		result = regs[R_AX];
	if (result < 0)
		return result;
	one->has_page = 0;
	return 0;
}

/* Puts a thread back to where it stood. Order matters: at every point it could go on. */
static void put_alone_back(struct alone *one)
{
	const int64_t state[2] = { address_of(one->xstate), one->xstate_length };
	int64_t result = 0;

	for (int attempt = 0; attempt < 4; attempt++) {
		result = settle(one);
		if (result >= 0 && one->has_page)
			result = unmap_page(one);
		if (result >= 0)
			result = ptrace(P_SETREGSET, one->process->pid, 0x202, address_of(state)); /* NT_X86_XSTATE */
		if (result >= 0)
			result = ptrace(P_SETSIGMASK, one->process->pid, 8, address_of(&one->stop->sigmask));
		if (result >= 0)
			result = ptrace(P_SETREGS, one->process->pid, 0, address_of(one->stop->regs));
		if (result >= 0)
			result = write_memory((int32_t)one->process->pid, one->start, one->saved, one->length) == one->length ? 0 : -EFAULT;
		if (result >= 0)
			return;
	}
	one->result = result;
	one->row->is_on_its_way = 1;
}

/* Borrows memory, puts frames and list there, and has the thread map the page. */
static int64_t begin_alone(struct injecting *inject, struct alone *one)
{
	const struct inject_process *process = inject->process;
	const uint64_t all = ~0ull, others = ~(1ull << (process->signal - 1));
	int32_t pid = (int32_t)process->pid;
	int64_t regs[REGS_WORDS], result, xstate_length, top;
	struct injected room;

	for (int64_t flags = 0; flags < 2; flags++) {
		result = is_signal_waiting(pid, flags);
		if (result != 0)
			return result < 0 ? result : -EBUSY;
	}
	result = take_xstate(inject, pid, one->row);
	if (result < 0)
		return result;
	/* It stopped in one, or just before it goes on with one. */
	one->is_timed = (one->stop->regs[R_ORIG_AX] >= 0 && one->stop->regs[R_AX] == -516) || one->stop->regs[R_AX] == __NR_restart_syscall;
	one->xstate_length = xstate_length = result;
	copy_bytes(one->xstate, inject_xstate, xstate_length);
	top = (one->stop->regs[R_SP] - RED_ZONE) & ~63ll;
	/* (x mod 16 = 8) at each, as after a call. */
	one->frame = frame_below(top, xstate_length);
	one->stopping = ((one->frame - FRAME_HEAD) & ~15ll) - 8;
	one->unmapping = ((one->stopping - FRAME_HEAD) & ~15ll) - 8;
	one->start = (one->unmapping - list_length(inject)) & ~63ll;
	one->length = top - one->start;
	if (one->length > INJECT_ROOM || !is_writable(inject, one->start - STUB_STACK, top))
		return -ENOSPC;
	result = read_memory(pid, one->start, one->saved, one->length);
	if (result != one->length)
		return result < 0 ? result : -EFAULT;
	room = (struct injected){ .start = one->start, .length = one->length };
	build_list(inject, &room);
	regs_for_call(one, __NR_munmap, process->stub, STUB_PAGE, one->frame, regs);
	build_plain(inject_image + (one->unmapping - one->start), process->restorer, regs, all);
	regs_for_call(one, __NR_tkill, 0, process->signal, one->frame, regs);
	build_plain(inject_image + (one->stopping - one->start), process->restorer, regs, others);
	regs_to_go_on(one->stop->regs, one->process->restarted, regs);
	build_frame(inject_image + (one->frame - one->start), one->frame, process->restorer, regs, (uint64_t)one->stop->sigmask, inject_xstate,
		    xstate_length);
	one->has_begun = 1;
	result = write_memory(pid, one->start, inject_image, one->length);
	if (result == one->length) {
		regs_for_call(one, __NR_mmap, process->stub, STUB_PAGE, one->unmapping, regs);
		regs[R_DX] = PROT_READ | PROT_EXEC;
		regs[R_R10] = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
		regs[R_R8] = -1;
		regs[R_R9] = 0;
		result = ptrace(P_SETREGS, pid, 0, address_of(regs));
	} else if (result >= 0) {
		result = -EFAULT;
	}
	if (result >= 0)
		result = ptrace(P_SETSIGMASK, pid, 8, address_of(&all));
	if (result >= 0) {
		one->has_page = 1;
		result = send_on(one, P_SYSCALL);
	}
	return result < 0 ? result : 0;
}

/* Writes the code into the page, which the program itself may not write. */
static int64_t write_code(int64_t pid, int64_t page)
{
	static const struct gathering name = { .names = (const uint8_t *)"/proc/\1/mem", .names_length = 12 };
	const int32_t ids[2] = { (int32_t)pid, (int32_t)pid };
	int64_t length = crimg_stub_end - crimg_stub_begin, fd, result;
	char path[PATH_ROOM];

	if (!make_path(&name, 0, ids, path))
		return -ENAMETOOLONG;
	fd = counted_call(__NR_openat, -100, address_of(path), 2 /* O_RDWR */ | O_CLOEXEC_FLAG, 0);
	if (fd < 0)
		return fd;
	result = counted_call(__NR_pwrite64, fd, address_of(crimg_stub_begin), length, page);
	call(__NR_close, fd, 0, 0, 0);
	return result == length ? 0 : result < 0 ? result : -EFAULT;
}

/* At the exit of mmap: sends the thread through its list. */
static int64_t list_alone(const struct injecting *inject, struct alone *one)
{
	const struct inject_process *process = inject->process;
	const uint64_t others = ~(1ull << (process->signal - 1));
	int64_t regs[REGS_WORDS];
	int64_t result = ptrace(P_GETREGS, process->pid, 0, address_of(regs));

	if (result < 0)
		return result;
	if (regs[R_AX] != process->stub) { /* -EEXIST, -ENOMEM, ... */
		one->has_page = 0;
		return -ENOSPC;
	}
	result = write_code(process->pid, process->stub);
	if (result < 0)
		return result;
	regs_for_list(process, one->stop->regs, one->start, regs);
	regs[R_R14] = one->is_timed ? one->frame : one->stopping;
	/* No other thread is in there: a zero behind the list says so. */
	regs[R_R15] = one->is_timed ? one->start + process->entry_count * STUB_LIST * 8 + 8 : 0;
	regs[R_BP] = process->stub;
	result = ptrace(P_SETREGS, process->pid, 0, address_of(regs));
	if (result >= 0)
		result = ptrace(P_SETSIGMASK, process->pid, 8, address_of(&others));
	return result < 0 ? result : send_on(one, P_CONT);
}

static void set_process(struct inject_process *all, struct injecting *inject, const int64_t *ranges, const struct alone_process *one)
{
	all->pid = one->pid;
	all->syscall = one->syscall;
	all->restorer = one->restorer;
	all->stub = one->stub;
	all->signal = one->signal;
	all->range_count = one->range_count;
	inject->process = all;
	inject->ranges = ranges + one->range_at * 2;
}

/*
 * At most MOST_ALONE processes. `all` says what is the same for each; `ranges` are those of all. Every thread stands where it
 * stood when this returns; one that could not be put back goes back by itself when it is let go, and its result says so.
 */
static void inject_alone(struct inject_process *all, struct injecting *inject, const struct alone_process *processes, int64_t count,
			 const struct stop_row *stops, uint8_t *out)
{
	static struct alone every[MOST_ALONE];
	int64_t stride = (int64_t)sizeof(struct inject_row) + all->entry_count * 8 + all->stored;
	const int64_t *ranges = inject->ranges;

	begin_waits();
	for (int64_t i = 0; i < count; i++) {
		every[i] = (struct alone){ .process = processes + i, .stop = stops + i, .row = (struct inject_row *)(void *)(out + i * stride),
					   .saved = alone_saved[i], .xstate = alone_xstate[i] };
		set_process(all, inject, ranges, processes + i);
		every[i].result = begin_alone(inject, every + i);
		if (every[i].result < 0 && every[i].has_begun)
			put_alone_back(every + i);
	}
	for (int step = 0; step < 3; step++) {
		for (int64_t i = 0; i < count; i++) {
			struct alone *one = every + i;

			if (one->result < 0)
				continue;
			set_process(all, inject, ranges, processes + i);
			one->result = await_alone(one, step < 2 ? AT_CALL : AT_SIGNAL, step < 2 ? P_SYSCALL : P_CONT);
			if (one->result >= 0 && step == 0)
				one->result = send_on(one, P_SYSCALL);
			if (one->result >= 0 && step == 1)
				one->result = list_alone(inject, one);
			if (one->result >= 0 && step == 2) {
				one->has_page = one->is_timed;
				one->result = take_results(all, one->start, one->length, one->row);
			}
			if (one->result < 0 || step == 2)
				put_alone_back(one);
		}
	}
	end_waits();
	for (int64_t i = 0; i < count; i++) {
		every[i].row->result = every[i].result;
		every[i].row->owed = every[i].owed;
	}
}

#endif
